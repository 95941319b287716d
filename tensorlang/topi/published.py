"""The workloads that papers on tuning compare on, as the command line names them; images are channels last."""

from __future__ import annotations

from collections.abc import Mapping

PUBLISHED: Mapping[str, tuple[str, ...]] = {
    "GMM": (
        "batch_matmul:1,128,128,128",
        "batch_matmul:1,512,32,512",
        "batch_matmul:1,512,512,512",
        "batch_matmul:1,1024,1024,1024",
    ),
    "C1D": (
        "conv1d:1,256,64,128,3,2,1,layout=NLC",
        "conv1d:1,128,128,256,1,2,0,layout=NLC",
        "conv1d:1,64,256,256,5,1,2,layout=NLC",
        "conv1d:1,32,512,512,3,1,1,layout=NLC",
    ),
    "C2D": (
        "conv2d:1,224,224,3,64,7,2,3,layout=NHWC",
        "conv2d:1,56,56,64,64,1,1,0,layout=NHWC",
        "conv2d:1,14,14,256,256,3,1,1,layout=NHWC",
        "conv2d:1,7,7,512,512,3,1,1,layout=NHWC",
    ),
    "C3D": (
        "conv3d:1,16,56,56,64,64,1,1,0,layout=NDHWC",
        "conv3d:1,16,14,14,256,256,3,1,1,layout=NDHWC",
    ),
    "GRP": (
        "conv2d:1,56,56,64,128,3,2,1,1,4,layout=NHWC",
        "conv2d:1,14,14,256,256,3,1,1,1,4,layout=NHWC",
    ),
    "DIL": (
        "conv2d:1,56,56,64,64,1,1,0,2,layout=NHWC",
        "conv2d:1,14,14,256,256,3,1,1,2,layout=NHWC",
    ),
    "DEP": (
        "depthwise_conv2d:1,112,112,32,3,1,1,layout=NHWC",
        "depthwise_conv2d:1,112,112,64,3,2,1,layout=NHWC",
        "depthwise_conv2d:1,14,14,512,3,2,1,layout=NHWC",
        "depthwise_conv2d:1,7,7,1024,3,1,1,layout=NHWC",
    ),
    "T2D": (
        "conv_transpose2d:1,4,4,512,256,4,2,1,layout=NHWC",
        "conv_transpose2d:1,16,16,128,64,4,2,1,layout=NHWC",
    ),
    "CAP": (
        "conv2d_capsule:1,16,16,32,32,3,2,1",
        "conv2d_capsule:1,8,8,32,32,3,1,1",
    ),
    "NRM": ("matrix_norm:1,1024,1024", "matrix_norm:1,4096,1024"),
    "SFM": ("softmax:256,256", "softmax:1024,1024", "softmax:2048,2048"),
    "CBR": (
        "conv2d_bn_relu:1,224,224,3,64,7,2,3,layout=NHWC",
        "conv2d_bn_relu:1,14,14,256,256,3,1,1,layout=NHWC",
    ),
    "TBG": ("transpose_batch_matmul:1,128,12,64", "transpose_batch_matmul:1,256,12,64"),
}
