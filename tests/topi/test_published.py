"""The published workloads: the command line knows them, with the work that the papers count, and they compile."""

import math

import pytest

import tensorlang as tl
from autotune.workload import parse
from tensorlang.topi.published import PUBLISHED

FAMILIES = {"GMM", "C1D", "C2D", "C3D", "GRP", "DIL", "DEP", "T2D", "CAP", "NRM", "SFM", "CBR", "TBG"}
WORKLOADS = [(family, name) for family, names in PUBLISHED.items() for name in names]

# Floating-point operations of the largest stage, as the formulas of the papers have them.
FLOPS = {
    "batch_matmul:1,512,512,512": 2 * 512**3,
    "conv1d:1,64,256,256,5,1,2,layout=NLC": 2 * 64 * 256 * 256 * 5,
    "conv2d:1,224,224,3,64,7,2,3,layout=NHWC": 2 * 112 * 112 * 64 * 7 * 7 * 3,
    "conv2d:1,14,14,256,256,3,1,1,1,4,layout=NHWC": 2 * 14 * 14 * 256 * 64 * 9,
    "conv2d:1,14,14,256,256,3,1,1,2,layout=NHWC": 2 * 12 * 12 * 256 * 256 * 9,
    "conv3d:1,16,14,14,256,256,3,1,1,layout=NDHWC": 2 * 16 * 14 * 14 * 256 * 256 * 27,
    "depthwise_conv2d:1,14,14,512,3,2,1,layout=NHWC": 2 * 7 * 7 * 512 * 9,
    "conv_transpose2d:1,16,16,128,64,4,2,1,layout=NHWC": 2 * 32 * 32 * 64 * 128 * 4,
    "transpose_batch_matmul:1,128,12,64": 2 * 128 * 128 * 12 * 64,
}


def test_all_families_are_here():
    assert set(PUBLISHED) == FAMILIES
    assert {name for _, name in WORKLOADS} >= set(FLOPS)


@pytest.mark.parametrize(("family", "name"), WORKLOADS)
def test_published_workloads_are_lowered(family, name):
    task = parse(name)
    assert task.name == name
    expected = FLOPS.get(name)
    if expected is not None:
        assert math.isclose(task.flops, expected, rel_tol=1e-6)
    module = tl.lower(task.func)
    assert module.params == task.func.params
