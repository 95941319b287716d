"""Tensor cores: products of a warp mean what they say, are found in programs, and become the instructions."""

import numpy as np
import pytest

import tensorlang as tl
from tensorlang.intrin.mma import load_a, load_b, mma
from tensorlang.ir import dtypes, interp, walk
from tensorlang.ir.nodes import TRUE, Alloc, Block, Do, For, Func, Load, const
from tests.gpu.checking import barriers_of, lowered
from tests.gpu.programs import H100, tensor_cores

SMALL = {"tile": (32, 32, 32), "warp": (16, 16), "stages": 1}


def run(intrinsic, *arrays):
    """What the interpreter makes of the intrinsic alone."""
    meaning = intrinsic.semantics
    origins = tuple(Load(p, (const(0), const(0))) for p in meaning.params)
    block = Block("B", (), (), TRUE, None, None, Do(intrinsic, origins, meaning.body))
    interp.run(Func("f", meaning.params, meaning.outputs, block), list(arrays))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("sizes", [(16, 16), (32, 48)], ids=str)
def test_semantics(sizes, dtype):
    m, n = sizes
    rng = np.random.default_rng(m)
    c = rng.integers(-9, 9, (m, n)).astype("float32")
    a, b = (rng.integers(-9, 9, shape).astype(dtypes.to_numpy(dtype)) for shape in ((m, 16), (16, n)))
    expected = c + a.astype("float32") @ b.astype("float32")
    a_held, b_held = np.zeros_like(a), np.zeros_like(b)
    run(load_a(m, dtype), a_held, a)
    run(load_b(n, dtype), b_held, b)
    run(mma(m, n, dtype), c, a_held, b_held)
    np.testing.assert_array_equal(c, expected)


@pytest.mark.parametrize("wrong", [(8, 16, "float16"), (16, 24, "float16"), (16, 16, "float32")], ids=str)
def test_sizes_and_dtypes_that_there_are(wrong):
    with pytest.raises(ValueError, match="multiples of 16"):
        mma(*wrong)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_machine_code(dtype):
    """Products by tensor cores, operands by ldmatrix, 16 bytes at a time from global memory."""
    kernel = tl.build(tensor_cores(64, 64, 96, dtype, tile=(64, 32, 32), warp=(32, 16), stages=3), H100)
    text, asm = kernel.source(), kernel.asm()
    assert all(f"  {name}_{dtype}(" in text for name in ("mma_32x16", "load_a_32", "load_b_16"))
    assert "async_copy<8>(" in text
    assert ("HMMA.16816" in asm and "LDSM.16" in asm) or ("mma.sync" in asm and "ldmatrix" in asm)
    (usage,) = kernel.usage.values()
    assert (usage.stack, usage.spills) == (0, 0)


def test_a_layout_that_ldmatrix_cannot_read():
    """Rows that do not begin at a multiple of 16 bytes: the plain statements run."""
    s = tensor_cores(32, 32, 32, **SMALL)
    s.storage_align("A.shared", 1, 16, 9)
    text = tl.build(s, H100).source()
    assert "  load_a_16_float16(" not in text and "  mma_16x16_float16(" not in text
    assert "  load_b_16_float16(" not in text  # the product could not read what that leaves


def test_plain_statements_do_not_read_what_intrinsics_keep():
    func = tensor_cores(32, 32, 32, **SMALL).func
    plain = walk.transform(func, lambda n: n.body if isinstance(n, Do) and n.what.name.startswith("mma") else n)
    text = tl.build(plain, H100).source()
    assert "  load_a_16_float16(" not in text and "  load_b_16_float16(" not in text


def test_loads_ahead_take_no_more_registers_and_barriers():
    """The first step of the next tile is loaded to where that of this one was; one barrier a tile."""
    func = lowered(tensor_cores(32, 32, 256, tile=(32, 32, 64), warp=(16, 16), stages=3))
    (steady,) = (n for n in walk.find(func, For) if n.var.name == "C.k.0")
    assert barriers_of(steady) == 1
    sizes = {a.buffer.name: a.buffer.shape[0].value for a in walk.find(func, Alloc)}
    assert sizes["A.shared.local.versions"] == 9 * 64 and sizes["B.shared.local.versions"] == 64 * 10


def test_other_targets_have_none():
    s = tensor_cores(32, 32, 32, **SMALL)
    with pytest.raises(tl.BuildError, match="sm_75"):
        tl.build(s, tl.Target("cuda", arch="sm_75"))
