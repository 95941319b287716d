"""Convolutions. Kernels, strides, paddings and dilations are the same along each dimension of space.

Padding is a stage of its own, which a schedule may inline. Weights are OIHW with channels first, as in torch, and
HWIO with channels last, so that output channels run along memory as they do in the image; the same without H, and
with D. Groups: input and output channels are cut into `groups` runs, each output run sees its own input run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from tensorlang import functions as fn
from tensorlang import reducers, te
from tensorlang.errors import ExprError
from tensorlang.ir import ops
from tensorlang.ir.nodes import Expr
from tensorlang.te import Dim, Tensor
from tensorlang.topi.windows import Layout, Window, check_int, pad


def conv1d(
    batch: Dim,
    length: Dim,
    in_channels: int,
    out_channels: int,
    kernel: int,
    stride: int = 1,
    padding: int = 0,
    dilation: int = 1,
    groups: int = 1,
    layout: str = "NCL",
    dtype: str = "float32",
    out_dtype: str | None = None,
) -> Tensor:
    """Convolution along one dimension, layout NCL or NLC.

    >>> print(tl.build(conv1d(2, 7, 3, 5, 3, 2, 1)).signature)
    conv1d(x: float32[2, 3, 7], w: float32[5, 3, 3]) -> conv1d: float32[2, 5, 4]
    """
    window, order = Window(kernel, stride, padding, dilation), Layout.of(layout, 1)
    return _conv((length,), batch, in_channels, out_channels, window, groups, order, dtype, out_dtype)


def conv2d(
    batch: Dim,
    height: Dim,
    width: Dim,
    in_channels: int,
    out_channels: int,
    kernel: int,
    stride: int = 1,
    padding: int = 0,
    dilation: int = 1,
    groups: int = 1,
    layout: str = "NCHW",
    dtype: str = "float32",
    out_dtype: str | None = None,
) -> Tensor:
    """Convolution of images, layout NCHW or NHWC.

    >>> print(tl.build(conv2d(1, 7, 6, 3, 5, 3)).signature)
    conv2d(x: float32[1, 3, 7, 6], w: float32[5, 3, 3, 3]) -> conv2d: float32[1, 5, 5, 4]
    """
    window, order = Window(kernel, stride, padding, dilation), Layout.of(layout, 2)
    return _conv((height, width), batch, in_channels, out_channels, window, groups, order, dtype, out_dtype)


def conv3d(
    batch: Dim,
    depth: Dim,
    height: Dim,
    width: Dim,
    in_channels: int,
    out_channels: int,
    kernel: int,
    stride: int = 1,
    padding: int = 0,
    dilation: int = 1,
    groups: int = 1,
    layout: str = "NCDHW",
    dtype: str = "float32",
    out_dtype: str | None = None,
) -> Tensor:
    """Convolution of volumes, layout NCDHW or NDHWC.

    >>> print(tl.build(conv3d(1, 4, 5, 3, 2, 3, 2, 1, 1)).signature)
    conv3d(x: float32[1, 2, 4, 5, 3], w: float32[3, 2, 2, 2, 2]) -> conv3d: float32[1, 3, 5, 6, 4]
    """
    window, order = Window(kernel, stride, padding, dilation), Layout.of(layout, 3)
    return _conv((depth, height, width), batch, in_channels, out_channels, window, groups, order, dtype, out_dtype)


def depthwise_conv2d(
    batch: Dim,
    height: Dim,
    width: Dim,
    channels: Dim,
    kernel: int,
    stride: int = 1,
    padding: int = 0,
    dilation: int = 1,
    layout: str = "NCHW",
    dtype: str = "float32",
    out_dtype: str | None = None,
) -> Tensor:
    """Each channel convolved with a window of its own; weights[channels, 1, k, k], [k, k, channels] for NHWC.

    >>> print(tl.build(depthwise_conv2d(2, 7, 6, 5, 3, 2, 1)).signature)
    depthwise_conv2d(x: float32[2, 5, 7, 6], w: float32[5, 1, 3, 3]) -> depthwise_conv2d: float32[2, 5, 4, 3]
    """
    window, order, out = Window(kernel, stride, padding, dilation), Layout.of(layout, 2), out_dtype or dtype
    x = te.placeholder(order.order(batch, (height, width), channels), dtype, name="x")
    kernels = (kernel, kernel)
    weight = te.placeholder((*kernels, channels) if order.channels_last else (channels, 1, *kernels), dtype, name="w")
    padded = pad(x, order, (padding, padding))
    taps = window.taps(order)

    def element(*index: Expr) -> Expr:
        n, space, c = order.parts(index)
        places = [window.at(place, tap) for place, tap in zip(space, taps, strict=True)]
        tap = (*taps, c) if order.channels_last else (c, 0, *taps)
        return reducers.sum(padded[order.order(n, places, c)].astype(out) * weight[tap].astype(out), axis=taps)

    shape = order.order(batch, [window.count(extent) for extent in (height, width)], channels)
    return te.compute(shape, element, name="depthwise_conv2d", axes=order.names())


def conv2d_capsule(
    batch: Dim,
    height: Dim,
    width: Dim,
    in_channels: Dim,
    out_channels: Dim,
    kernel: int,
    stride: int = 1,
    padding: int = 0,
    capsule: int = 4,
    dtype: str = "float32",
) -> Tensor:
    """Convolution of images whose elements are square matrices: x[n, h, w, i, k, c] with w[kh, kw, k, j, c, o].

    >>> print(tl.build(conv2d_capsule(1, 5, 6, 3, 2, 3, 2, 1, 2)).signature)
    conv2d_capsule(x: float32[1, 5, 6, 2, 2, 3], w: float32[3, 3, 2, 2, 3, 2]) -> conv2d_capsule: float32[1, 3, 3, 2,
    2, 2]
    """
    window, order = Window(kernel, stride, padding), Layout(("h", "w", "i", "k"), channels_last=True)
    check_int("capsule", capsule, 1)
    x = te.placeholder((batch, height, width, capsule, capsule, in_channels), dtype, name="x")
    weight = te.placeholder((kernel, kernel, capsule, capsule, in_channels, out_channels), dtype, name="w")
    padded = pad(x, order, (padding, padding, 0, 0))
    kh, kw = (te.reduce_axis(kernel, name) for name in ("kh", "kw"))
    k, c = te.reduce_axis(capsule, "k"), te.reduce_axis(in_channels, "c")

    def element(n: Expr, h: Expr, w: Expr, i: Expr, j: Expr, o: Expr) -> Expr:
        value = padded[n, window.at(h, kh), window.at(w, kw), i, k, c]
        return reducers.sum(value * weight[kh, kw, k, j, c, o], axis=(kh, kw, k, c))

    shape = (batch, window.count(height), window.count(width), capsule, capsule, out_channels)
    return te.compute(shape, element, name="conv2d_capsule")


def conv2d_bn_relu(
    batch: Dim,
    height: Dim,
    width: Dim,
    in_channels: int,
    out_channels: int,
    kernel: int,
    stride: int = 1,
    padding: int = 0,
    dilation: int = 1,
    groups: int = 1,
    layout: str = "NCHW",
    dtype: str = "float32",
) -> Tensor:
    """relu((conv2d(x, w) + bias) * scale + shift): batch norm folded into a scale and a shift for each channel.

    >>> print(tl.build(conv2d_bn_relu(1, 5, 6, 3, 4, 3, 2, 1)).signature)
    conv2d_bn_relu(x: float32[1, 3, 5, 6], w: float32[4, 3, 3, 3], bias: float32[4], scale: float32[4], shift:
    float32[4]) -> conv2d_bn_relu: float32[1, 4, 3, 3]
    """
    order = Layout.of(layout, 2)
    y = conv2d(
        batch, height, width, in_channels, out_channels, kernel, stride, padding, dilation, groups, layout, dtype
    )
    bias, scale, shift = (te.placeholder((out_channels,), dtype, name=name) for name in ("bias", "scale", "shift"))

    def element(*index: Expr) -> Expr:
        o = order.parts(index)[2]
        return fn.maximum((y[index] + bias[o]) * scale[o] + shift[o], ops.literal(0, dtype))

    return te.compute(y.shape, element, name="conv2d_bn_relu", axes=order.names("o"))


def _conv(
    space: Sequence[Dim],
    batch: Dim,
    in_channels: int,
    out_channels: int,
    window: Window,
    groups: int,
    layout: Layout,
    dtype: str,
    out_dtype: str | None,
) -> Tensor:
    """A convolution along any number of dimensions, accumulated in `out_dtype` (by default `dtype`)."""
    out, rank = out_dtype or dtype, len(space)
    check_int("groups", groups, 1)
    if groups > 1 and (in_channels % groups or out_channels % groups):
        raise ExprError(f"groups: {in_channels} and {out_channels} channels cannot both be cut into {groups} groups")
    group_in, group_out = in_channels // groups, out_channels // groups
    x = te.placeholder(layout.order(batch, space, in_channels), dtype, name="x")
    w = te.placeholder(layout.weight([window.kernel] * rank, group_in, out_channels), dtype, name="w")
    padded = pad(x, layout, [window.padding] * rank)
    taps, c = window.taps(layout), te.reduce_axis(group_in, "c")

    def element(*index: Expr) -> Expr:
        n, places, o = layout.parts(index)
        source = [window.at(place, tap) for place, tap in zip(places, taps, strict=True)]
        channel = c if groups == 1 else o // group_out * group_in + c
        value, factor = padded[layout.order(n, source, channel)], w[layout.weight(taps, c, o)]
        return reducers.sum(value.astype(out) * factor.astype(out), axis=layout.reduced(taps, c))

    shape = layout.order(batch, [window.count(extent) for extent in space], out_channels)
    return te.compute(shape, element, name=f"conv{rank}d", axes=layout.names("o"))


# ----------------------------------------------------------------------------------------------------- references
def _conv_numpy(
    x: np.ndarray,
    w: np.ndarray,
    stride: int = 1,
    padding: int = 0,
    dilation: int = 1,
    groups: int = 1,
    layout: str = "NC...",
) -> np.ndarray:
    """A convolution by its definition: all windows, times the weights, summed."""
    if layout.endswith("C"):
        x, w = np.moveaxis(x, -1, 1), np.moveaxis(w, (-1, -2), (0, 1))
    rank = x.ndim - 2
    x = np.pad(x, [(0, 0), (0, 0), *[(padding, padding)] * rank])
    reach = [dilation * (kernel - 1) + 1 for kernel in w.shape[2:]]
    windows = np.lib.stride_tricks.sliding_window_view(x, reach, axis=tuple(range(2, 2 + rank)))
    every = (slice(None),)
    windows = windows[every * 2 + (slice(None, None, stride),) * rank + (slice(None, None, dilation),) * rank]
    channels = (1, *range(2 + rank, 2 + 2 * rank))
    runs = zip(np.split(windows, groups, axis=1), np.split(w, groups), strict=True)
    y = np.concatenate([np.tensordot(a, b, (channels, tuple(range(1, 2 + rank)))) for a, b in runs], axis=-1)
    return y if layout.endswith("C") else np.moveaxis(y, -1, 1)


def _depthwise_numpy(
    x: np.ndarray, w: np.ndarray, stride: int = 1, padding: int = 0, dilation: int = 1, layout: str = "NCHW"
) -> np.ndarray:
    channels = x.shape[-1] if layout.endswith("C") else x.shape[1]
    return _conv_numpy(x, w[:, :, None] if layout.endswith("C") else w, stride, padding, dilation, channels, layout)


def _capsule_numpy(x: np.ndarray, w: np.ndarray, stride: int = 1, padding: int = 0) -> np.ndarray:
    x = np.pad(x, [(0, 0), (padding, padding), (padding, padding), (0, 0), (0, 0), (0, 0)])
    windows = np.lib.stride_tricks.sliding_window_view(x, w.shape[:2], axis=(1, 2))[:, ::stride, ::stride]
    return np.einsum("nhwikcyx,yxkjco->nhwijo", windows, w)


def _bn_relu_numpy(
    x: np.ndarray,
    w: np.ndarray,
    bias: np.ndarray,
    scale: np.ndarray,
    shift: np.ndarray,
    stride: int = 1,
    padding: int = 0,
    dilation: int = 1,
    groups: int = 1,
    layout: str = "NCHW",
) -> np.ndarray:
    y = _conv_numpy(x, w, stride, padding, dilation, groups, layout)
    by_channel = (-1,) if layout.endswith("C") else (-1, 1, 1)
    bias, scale, shift = (v.reshape(by_channel) for v in (bias, scale, shift))
    return np.maximum((y + bias) * scale + shift, 0)


NUMPY: Mapping[str, Callable[..., np.ndarray]] = {
    "conv1d": _conv_numpy,
    "conv2d": _conv_numpy,
    "conv3d": _conv_numpy,
    "depthwise_conv2d": _depthwise_numpy,
    "conv2d_capsule": _capsule_numpy,
    "conv2d_bn_relu": _bn_relu_numpy,
}
