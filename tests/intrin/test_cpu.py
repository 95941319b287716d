"""The intrinsics of CPUs: their code does what their semantics say, with and without the instruction."""

import numpy as np
import pytest

import tensorlang as tl
from tensorlang.intrin import cpu
from tensorlang.ir import interp
from tensorlang.ir.nodes import TRUE, Block, Do, Func, Load, const
from tensorlang.target.target import Target

PLAIN, HOST = Target("llvm", cpu="x86-64-v3"), Target("llvm")


def program(intrinsic):
    """A Func that only does the intrinsic."""
    meaning = intrinsic.semantics
    origins = tuple(Load(p, (const(0),) * len(p.shape)) for p in meaning.params)
    block = Block("B", (), (), TRUE, None, None, Do(intrinsic, origins, meaning.body))
    return Func("f", meaning.params, meaning.outputs, block)


def build(intrinsic, target):
    """The kernel over raw arrays, which updates its output in place."""
    return tl.build(program(intrinsic), target=target)


@pytest.mark.parametrize("target", [PLAIN, HOST], ids=["plain", "host"])
@pytest.mark.parametrize("lanes", [4, 8, 16, 5])
def test_dot4(lanes, target):
    intrinsic = cpu.dot4(lanes)
    rng = np.random.default_rng(lanes)
    c = rng.integers(-(2**31), 2**31, lanes, dtype=np.int32)
    a = rng.integers(0, 256, 4).astype("uint8")
    b = rng.integers(-128, 128, (lanes, 4)).astype("int8")
    expected = c + (a.astype("int32") * b.astype("int32")).sum(axis=1, dtype=np.int32)
    by_interpreter = c.copy()
    interp.run(program(intrinsic), [by_interpreter, a, b])
    np.testing.assert_array_equal(by_interpreter, expected)
    kernel = build(intrinsic, target)
    assert f"call void @{intrinsic.name}(" in kernel.source()
    kernel(a, b, out=c)
    np.testing.assert_array_equal(c, expected)


def test_one_instruction_where_there_is_one():
    for lanes in (4, 8, 16):
        text = cpu.dot4(lanes).code(Target("llvm", cpu="znver4", features="+avx512vnni,+avx512vl"))
        assert f"vpdpbusd.{32 * lanes}" in text
        assert "vpdpbusd" not in cpu.dot4(lanes).code(PLAIN)
    assert "vpdpbusd.256" in cpu.dot4(8).code(Target("llvm", cpu="alderlake", features="+avxvnni"))
    assert "vpdpbusd" not in cpu.dot4(16).code(Target("llvm", cpu="alderlake", features="+avxvnni"))


@pytest.mark.parametrize("lanes", [4, 8, 16, 3])
def test_fma_row(lanes):
    rng = np.random.default_rng(0)
    c, a, b = (rng.standard_normal(n).astype("float32") for n in (lanes, 1, lanes))
    expected = c.copy()
    interp.run(program(cpu.fma_row(lanes)), [expected, a, b])
    build(cpu.fma_row(lanes), PLAIN)(a, b, out=c)
    np.testing.assert_array_equal(c, expected)
