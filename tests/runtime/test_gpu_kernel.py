"""Kernels for GPUs on a machine without one: what they take, and what they say."""

from types import SimpleNamespace

import numpy as np
import pytest

import tensorlang as tl
from tensorlang.ir.nodes import Buffer, Size
from tensorlang.runtime import device_arrays
from tensorlang.runtime.arrays import Unusable
from tensorlang.runtime.device_arrays import DeviceArray, stream_handle
from tensorlang.runtime.gpu_kernel import GpuKernel, LaunchPlan

N = Size("n")


class FakeArray(SimpleNamespace):
    """An array in the memory of a GPU that is not there."""


def fake(shape: tuple[int, ...], dtype: str = "float32", pointer: int = 4096, **facts: object) -> FakeArray:
    return FakeArray(view=DeviceArray(pointer, shape, np.dtype(dtype), True, 0, True, None)._replace(**facts))


@pytest.fixture(autouse=True)
def fake_arrays(monkeypatch: pytest.MonkeyPatch) -> None:
    real = device_arrays.view
    monkeypatch.setattr(device_arrays, "view", lambda a: a.view if isinstance(a, FakeArray) else real(a))
    monkeypatch.setattr(device_arrays, "current_stream", lambda *_: 0)


def kernel() -> GpuKernel:
    a, c = Buffer("A", (N,), "float32"), Buffer("C", (N,), "float32")
    return GpuKernel(
        name="twice",
        params=(a, c),
        outputs=(c,),
        sizes=(N,),
        launches=[LaunchPlan("twice", (0, 1, 2), lambda n: (-(-n // 128), 1, n // 10**6), (128, 1, 1), 0)],
        workspaces=lambda n: [],
        aligned=[0],
        cubin=b"",
        arch="sm_90a",
        wide=False,
        usage={},
        source=lambda: "",
        asm=lambda: "",
    )


def test_signature() -> None:
    assert kernel().signature == "twice(A: float32[n]) -> C: float32[n]"
    assert repr(kernel()) == "GpuKernel twice(A: float32[n]) -> C: float32[n]"


@pytest.mark.parametrize(
    ("arrays", "text"),
    [
        ((np.zeros(4, "f"), fake((4,))), "argument A: expected float32.n. in GPU memory, got a NumPy array"),
        ((object(), fake((4,))), "a object, which does not offer DLPack"),
        ((fake((4,), "float64"), fake((4,))), "got float64.4."),
        ((fake((4, 1)), fake((4,))), "got float32.4, 1."),
        ((fake((4,)), fake((5,), pointer=8192)), "argument C: expected float32.n., got float32.5."),
        ((fake((4,), compact=False), fake((4,))), "not compact"),
        ((fake((4,), pointer=4100), fake((4,), pointer=8192)), "no multiple of 16"),
        ((fake((4,)), fake((4,), pointer=8192, device=1)), "on GPU 0, got one on GPU 1"),
        ((fake((4,)), fake((4,), pointer=4104)), "overlaps argument A"),
        ((fake((4,)), fake((4,), pointer=8192, writable=False)), "read-only"),
        ((), "argument A is missing"),
    ],
)
def test_wrong_arguments(arrays: tuple, text: str) -> None:
    with pytest.raises(tl.ArgumentError, match=text):
        kernel()(*arrays)


def test_too_many_blocks() -> None:
    with pytest.raises(tl.ArgumentError, match="70000 blocks along z are more than the 65535 of a grid"):
        kernel()._grids((70000 * 10**6,))


def test_no_gpu() -> None:
    cupy = pytest.importorskip("cupy")
    if cupy.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with pytest.raises(tl.DeviceError, match="twice needs a GPU to run"):
        kernel()(fake((4,)), fake((4,), pointer=8192))
    with pytest.raises(tl.BuildError, match=r"finds no GPU .*Target\('cuda', arch='sm_90a'\)"):
        tl.Target("cuda")


def test_streams() -> None:
    assert stream_handle(SimpleNamespace(ptr=7)) == stream_handle(SimpleNamespace(cuda_stream=7)) == stream_handle(7)
    with pytest.raises(Unusable, match="a str, which is no stream"):
        stream_handle("fast")
    with pytest.raises(tl.ArgumentError, match="stream: expected one of cupy or torch"):
        kernel()(fake((4,)), fake((4,), pointer=8192), stream=1.5)


def test_cpu_tensors_are_refused() -> None:
    class Tensor:
        is_cuda = False

    Tensor.__module__ = "torch"
    with pytest.raises(Unusable, match="in CPU memory"):
        device_arrays.view(Tensor())
