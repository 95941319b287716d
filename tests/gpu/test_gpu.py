"""On a GPU: every program against the loop level, and what a call takes. Run by `make test-gpu`."""

import numpy as np
import pytest

import tensorlang as tl
from tensorlang.schedule import gpu_library
from tests.gpu.checking import inputs, several
from tests.gpu.programs import PROGRAMS, add, tensor_cores

pytestmark = pytest.mark.gpu
cupy = pytest.importorskip("cupy")


@pytest.mark.parametrize("name", [n for n in PROGRAMS if "bfloat16" not in n and "float8" not in n])
def test_programs(name: str) -> None:
    s = PROGRAMS[name]()
    arrays = inputs(s)
    kernel = tl.build(s, "cuda")
    tolerance = 1e-5 if any(n in name for n in ("softmax", "norm", "fused")) else 0
    results = [cupy.full([int(d.value) for d in p.shape], 77, tl.dtypes.to_numpy(p.dtype)) for p in s.func.outputs]
    kernel(*map(cupy.asarray, arrays), out=results)
    for want, got in zip(several(tl.interpret(s, *arrays)), results, strict=True):
        np.testing.assert_allclose(got.get().astype("d"), want.astype("d"), rtol=tolerance, atol=tolerance)


def test_arrays_of_torch() -> None:
    torch = pytest.importorskip("torch")
    x, y = torch.randn(64, 96, device="cuda"), torch.randn(64, 96, device="cuda")
    kernel = tl.build(add(64, 96), "cuda")
    assert torch.equal(kernel(x, y), x + y)
    out = torch.empty_like(x)
    assert kernel(x, y, out=out) is out and torch.equal(out, x + y)
    halves = [x.to(torch.bfloat16), y.to(torch.bfloat16)]
    assert torch.equal(tl.build(add(64, 96, "bfloat16", 8), "cuda")(*halves), halves[0] + halves[1])


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("stages", [1, 2, 3, 4])
def test_tensor_cores(dtype: str, stages: int) -> None:
    torch = pytest.importorskip("torch")
    kernel = tl.build(
        tensor_cores(512, 256, 384, dtype, dtype, tile=(128, 128, 64), stages=stages, staged=stages == 3), "cuda"
    )
    a, b = (torch.randn(shape, device="cuda").to(getattr(torch, dtype)) for shape in ((512, 384), (384, 256)))
    got, want = kernel(a, b).double(), a.double() @ b.double()
    assert float((got - want).norm() / want.norm()) < (1e-3 if dtype == "float16" else 5e-3)


def test_the_current_stream_and_a_graph() -> None:
    torch = pytest.importorskip("torch")
    kernel = tl.build(add(64, 96), "cuda")
    x, y, out = (torch.randn(64, 96, device="cuda") for _ in range(3))
    kernel(x, y, out=out)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        kernel(x, y, out=out)
    out.zero_()
    graph.replay()
    assert torch.equal(out, x + y)
    stream = cupy.cuda.Stream()
    kernel(x, y, out=out, stream=stream)
    stream.synchronize()
    assert torch.equal(out, x + y)


def test_wrong_arguments() -> None:
    kernel = tl.build(add(64, 96), "cuda")
    x = cupy.zeros((64, 96), "float32")
    for arrays, text in [
        ((x, x.astype("float64")), "argument y: expected float32"),
        ((x, x[:, ::2]), "expected float32"),
        ((x, np.zeros((64, 96), "f")), "a NumPy array, which is in CPU memory"),
        ((x, cupy.zeros(64 * 96 + 1, "float32")[1:].reshape(64, 96)), "no multiple of 16"),
        ((x, x, x), "overlaps"),
    ]:
        with pytest.raises(tl.ArgumentError, match=text):
            kernel(*arrays)


def test_another_architecture() -> None:
    kernel = tl.build(add(64, 96), tl.Target("cuda", arch="sm_75"))
    x = cupy.zeros((64, 96), "float32")
    if cupy.cuda.Device().compute_capability[0] != "7":
        with pytest.raises(tl.DeviceError, match="compiled for sm_75"):
            kernel(x, x)


def test_time() -> None:
    kernel = tl.build(add(64, 96), "cuda")
    x = cupy.zeros((64, 96), "float32")
    for cold in (False, True):
        timing = kernel.time(x, x, cold=cold)
        assert 0 < timing.minimum <= timing.median and len(timing.runs) == 20


def test_roofline() -> None:
    kernel = tl.build(add(1024, 4096), "cuda")
    x = cupy.zeros((1024, 4096), "float32")
    r = kernel.roofline(x, x, out=cupy.zeros_like(x))
    assert (r.flops, r.bytes) == (1024 * 4096, 3 * 4 * 1024 * 4096)
    assert r.limit == "memory" and 0 < r.share < 1.5


@pytest.mark.parametrize("dtype", tl.dtypes.NARROW)
@pytest.mark.parametrize("source", ["float32", "float64"])
def test_narrow_floats_round_as_numpy_does(source: str, dtype: str) -> None:
    """From there and back, as bits, with all that is too large, too small or no number."""
    torch = pytest.importorskip("torch")
    kind = tl.dtypes.to_numpy(dtype)
    x = tl.placeholder((1 << 16,), source, name="x")
    narrow = tl.compute((1 << 16,), lambda i: x[i].astype(dtype), name="narrow")
    s = tl.Schedule([narrow, tl.compute((1 << 16,), lambda i: narrow[i].astype(source), name="wide")], target="cuda")
    for block in ("narrow", "wide"):
        gpu_library.elementwise(s, block)
    rng = np.random.default_rng(0)
    values = rng.standard_normal(1 << 16) * 10.0 ** rng.uniform(-12, 8, 1 << 16)
    values[:6] = [464, 465, 448, np.inf, -np.inf, np.nan]
    values = values.astype(source)
    with np.errstate(all="ignore"):
        want = values.astype(kind)
    small, wide = tl.build(s, "cuda")(torch.from_numpy(values).cuda())
    np.testing.assert_array_equal(wide.cpu().numpy(), want.astype(source))
    assert small.dtype == getattr(torch, dtype)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_the_larger_and_the_smaller_of_halves(dtype: str) -> None:
    """Of all pairs of zeros with signs, infinities, no numbers and others, bit by bit."""
    torch = pytest.importorskip("torch")
    x, y = (tl.placeholder((128,), dtype, name=name) for name in "xy")
    s = tl.Schedule(
        [tl.compute((128,), lambda i, f=f: f(x[i], y[i]), name=f.__name__) for f in (tl.maximum, tl.minimum)],
        target="cuda",
    )
    for block in ("maximum", "minimum"):
        gpu_library.elementwise(s, block)
    values = torch.tensor([0.0, -0.0, 1.0, -1.0, 1e-7, 3.0, torch.inf, -torch.inf, torch.nan, 2.0, -2.0], device="cuda")
    pairs = torch.cartesian_prod(values, values).to(getattr(torch, dtype))
    pairs = torch.nn.functional.pad(pairs, (0, 0, 0, 128 - len(pairs)))
    arrays = [pairs[:, 0].contiguous(), pairs[:, 1].contiguous()]
    wants = tl.interpret(s, *(a.float().cpu().numpy().astype(tl.dtypes.to_numpy(dtype)) for a in arrays))
    for got, want in zip(tl.build(s, "cuda")(*arrays), wants, strict=True):
        np.testing.assert_array_equal(got.float().cpu().numpy(), want.astype("float32"))
        numbers = ~np.isnan(want.astype("float32"))
        assert (np.signbit(got.float().cpu().numpy()) == np.signbit(want.astype("float32")))[numbers].all()
