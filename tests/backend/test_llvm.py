"""Compiled kernels agree bit for bit with the interpreter: every op, every dtype, scalar and vector, odd sizes."""

import gc
import subprocess
import sys
import weakref
from collections.abc import Callable, Sequence

import numpy as np
import pytest

import tensorlang as tl
from tensorlang.backend import llvm
from tensorlang.ir import dtypes, ops
from tensorlang.ir.nodes import Buffer, Expr, Func, Let, Load, Seq, Store, Var, const

N = 21  # not a multiple of any vector


def numbers(dtype: str, shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    """Random values of all magnitudes, with the special ones of the dtype among them."""
    rng = np.random.default_rng(seed)
    kind = dtypes.to_numpy(dtype)
    if dtype == "bool":
        return rng.integers(0, 2, shape).astype(bool)
    if dtypes.is_float(dtype):
        with np.errstate(over="ignore"):
            values = (rng.standard_normal(shape) * 10.0 ** rng.integers(-9, 9, shape)).astype(kind)
            special = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 1.0, 0.5, 2.5, -1.5, 65504.0, 3e38]).astype(kind)
    else:
        info = np.iinfo(kind)
        values = rng.integers(info.min, info.max, shape, dtype=kind, endpoint=True)
        special = np.array([info.min, info.max, 0, 1, 0, 2, 3, 1], dtype=kind)
        if info.min < 0:
            special[-1] = -1
    flat = values.reshape(-1)
    where = rng.permutation(flat.size)[: flat.size // 2]
    flat[where] = special[rng.integers(0, special.size, where.size)]
    return values


def same(a: np.ndarray, b: np.ndarray) -> bool:
    """Equal bit for bit, except that any NaN is as good as another."""
    if a.dtype == bool or a.dtype.kind in "iu":
        return bool((a == b).all())
    bits = f"u{a.dtype.itemsize}"
    nan = np.isnan(a.astype(np.float64))
    equal = (a.view(bits) == b.view(bits)) | nan
    return bool((equal & (nan == np.isnan(b.astype(np.float64)))).all())


def check(kinds: Sequence[str], functions: Sequence[Callable[..., Expr]], target: tl.Target) -> None:
    """Elementwise functions of the same inputs in one kernel, scalar and vectorized, against the interpreter."""
    inputs = [tl.placeholder((3, N), kind, name=f"P{n}") for n, kind in enumerate(kinds)]
    outputs = [
        tl.compute((3, N), lambda i, j, f=f: f(*(p[i, j] for p in inputs)), name=f"C{n}")
        for n, f in enumerate(functions)
    ]
    arrays = [numbers(kind, (3, N), seed) for seed, kind in enumerate(kinds)]
    used = None
    for vector in (False, True):
        s = tl.Schedule(outputs, args=[*inputs, *outputs], target=target)
        if used is None:
            used = tl.interpret(s, *arrays)
        if vector:
            for block in s.blocks():
                s.vectorize(s.loops(block)[1])
        got = tl.build(s, target)(*arrays)
        for n, (x, y) in enumerate(zip(*((r if isinstance(r, tuple) else (r,)) for r in (got, used)), strict=True)):
            assert same(x, y), (kinds, n, vector, x, y)


HOST = tl.Target("llvm")


@pytest.mark.parametrize("dtype", [*dtypes.FLOATS, "int8", "uint16", "int32", "uint64", "int64", "bool"])
def test_ops(dtype: str) -> None:
    """All ops of the table that need no definition."""
    for arity in (1, 2, 3):
        rows = [
            op
            for op, row in ops.OPS.items()
            if row.arity == arity and ops.kind_of(dtype) in row.kinds and op not in ops.MATH
        ]
        if rows:
            check([dtype] * arity, [lambda *args, op=op: ops.make(op, *args) for op in rows], HOST)


@pytest.mark.parametrize("source", dtypes.DATA)
def test_casts(source: str) -> None:
    """All conversions from one dtype."""
    results = (*dtypes.FLOATS, "int8", "uint8", "int32", "uint64", "bool")
    check([source], [lambda x, to=to: x.astype(to) for to in results if to != source], HOST)


@pytest.mark.parametrize("dtype", dtypes.NARROW)
def test_narrow_floats_without_hardware(dtype: str) -> None:
    """The bit code, also what stands in for F16C, converts as NumPy does, all values included."""
    plain = tl.Target("llvm", cpu="x86-64-v2")
    assert not plain.has("f16c")
    check([dtype, dtype], [lambda x, y: x * y], plain)
    check(["float32"], [lambda x: x.astype(dtype)], plain)
    check(["float64"], [lambda x: x.astype(dtype)], plain)
    bits = dtypes.bits(dtype)
    every = np.arange(1 << bits, dtype=f"uint{bits}").view(dtypes.to_numpy(dtype))
    source = tl.placeholder((1 << bits,), dtype, name="A")
    wide = tl.compute((1 << bits,), lambda i: source[i].astype("float32"), name="W")
    s = tl.Schedule(wide)
    s.vectorize(s.split(s.loops("W")[0], [None, 8])[1])
    with np.errstate(all="ignore"):
        assert same(tl.build(s, plain)(every), every.astype(np.float32))


@pytest.mark.parametrize("dtype", ["float32", "int16", "bool"])
def test_conditions(dtype: str) -> None:
    check(["bool", dtype, dtype], [tl.select, tl.if_then_else], HOST)


@pytest.mark.parametrize("vector", [False, True])
def test_if_then_else_guards_loads(vector: bool) -> None:
    """A padded copy: what is outside is never read."""
    a = tl.placeholder((5,), name="A")
    c = tl.compute((23,), lambda i: tl.if_then_else((i >= 9) & (i < 14), a[i - 9], -1.0), name="C")
    s = tl.Schedule(c)
    if vector:
        s.vectorize(s.loops("C")[0])
    x = np.arange(1, 6, dtype=np.float32)
    expected = np.full(23, -1, np.float32)
    expected[9:14] = x
    np.testing.assert_array_equal(tl.build(s)(x), expected)


def test_gather() -> None:
    a, at = tl.placeholder((7,), name="A"), tl.placeholder((N,), "int32", name="at")
    c = tl.compute((N,), lambda i: a[at[i]], name="C")
    s = tl.Schedule(c)
    s.vectorize(s.loops("C")[0])
    x, where = np.arange(7, dtype=np.float32), np.random.default_rng(0).integers(0, 7, N).astype(np.int32)
    np.testing.assert_array_equal(tl.build(s)(x, where), x[where])


@pytest.mark.parametrize("sizes", [(1, 1), (6, 32), (13, 70), (7, 129), (0, 3), (3, 0)])
def test_symbolic_parallel_matmul(sizes: tuple[int, int]) -> None:
    n, m = tl.var("n"), tl.var("m")
    a, b = tl.placeholder((n, 9), name="A"), tl.placeholder((9, m), name="B")
    k = tl.reduce_axis(9, name="k")
    s = tl.Schedule(tl.compute((n, m), lambda i, j: tl.sum(a[i, k] * b[k, j], axis=k), name="C"))
    i, j, kk = s.loops("C")
    i0, i1 = s.split(i, [None, 6])
    j0, j1, lanes = s.split(j, [None, 2, 16])
    s.reorder(i0, j0, kk, i1, j1, lanes)
    s.unroll(i1), s.unroll(j1), s.vectorize(lanes), s.parallel(i0)
    rng = np.random.default_rng(0)
    x, y = (rng.standard_normal(shape).astype(np.float32) for shape in ((sizes[0], 9), (9, sizes[1])))
    np.testing.assert_array_equal(tl.build(s)(x, y), tl.interpret(s, x, y))


def test_workspace_of_threads() -> None:
    """Intermediates inside a parallel loop that are too large for the stack: each thread has its own."""
    a = tl.placeholder((37, 9000), name="A")
    p = tl.compute((37, 9000), lambda i, j: a[i, j] * 2.0, name="P")
    c = tl.compute((37, 9000), lambda i, j: p[i, 8999 - j] + 1.0, name="C")
    s = tl.Schedule(c)
    i, _ = s.loops("C")
    s.compute_at("P", i)
    s.parallel(i)
    x = np.random.default_rng(0).standard_normal((37, 9000)).astype(np.float32)
    module = tl.lower(s)
    assert "memory = 'thread'" in str(module)
    for _ in range(5):
        np.testing.assert_array_equal(tl.build(s)(x), x[:, ::-1] * 2 + 1)


def test_source_and_asm() -> None:
    s = tl.Schedule(tl.compute((4,), lambda i: tl.cast(i, "float32"), name="iota"))
    kernel = tl.build(s)
    assert "define void @kernel_iota(" in kernel.source() and "@kernel_iota__repeat" in kernel.source()
    assert "iota:" in kernel.asm()


def test_let_of_a_value_that_changes() -> None:
    """The same expression again, after a store to what it reads."""
    a, v = Buffer("A", (const(1),), "float32"), Var("v", "float32")
    twice = Store(a, (const(0),), Let(v, Load(a, (const(0),)), v * v + v))
    func = Func("again", (a,), (a,), Seq((twice, twice)))
    x = np.array([2.0], np.float32)
    tl.build(func)(out=x)
    assert x[0] == 42.0


def test_undefined_op() -> None:
    a = tl.placeholder((4,), name="A")
    c = tl.compute((4,), lambda i: a[i] + 1.0, name="C")
    with pytest.raises(tl.BuildError, match="unknown target"):
        tl.build(c, "tpu")


def test_a_kernel_in_a_reference_cycle_is_collected():
    a = tl.placeholder((4,), name="A")
    for n in range(10):
        kernel = tl.build(tl.compute((4,), lambda i: a[i] + float(n), name="C"))  # noqa: B023
        ring = {"kernel": kernel}
        ring["self"] = ring
        alive = weakref.ref(kernel)
        del kernel, ring
        gc.collect()
        assert alive() is None


def test_a_kernel_can_run_when_the_program_ends():
    """At exit, last registered is first called: what the first kernel registered, before this program's own."""
    program = """
import atexit

import numpy as np

import tensorlang as tl

a, b = np.arange(5, dtype="float32"), np.empty(5, "float32")
made = []


def at_exit():
    made[0](a, b)
    print(b.tolist())


atexit.register(at_exit)
A = tl.placeholder((5,), name="A")
made.append(tl.build(tl.Schedule(tl.compute((5,), lambda i: A[i] * 2.0, name="B"))))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "[0.0, 2.0, 4.0, 6.0, 8.0]\n", "")


@pytest.mark.parametrize("name", ["memset", "memcpy", "expf", "main", "launch", "tl_launch"])
def test_kernels_named_like_functions_of_a_library(name):
    """What LLVM calls by these names is still the library's."""
    zeros = tl.compute((100_000,), lambda i: tl.cast(0.0, "float32"), name=name)
    assert not tl.build(zeros)().any()


@pytest.mark.parametrize(("cpu", "bits"), [("x86-64-v2", 128), ("x86-64-v3", 256), ("x86-64-v4", 512)])
def test_llvm_is_to_use_vectors_as_wide_as_ours(cpu: str, bits: int) -> None:
    a = tl.placeholder((4,), name="A")
    module = tl.lower(tl.compute((4,), lambda i: a[i] + 1.0, name="C"), tl.Target("llvm", cpu=cpu))
    source = llvm.emit(module.func, module.sizes, module.target)
    assert f'"prefer-vector-width"="{bits}" "min-legal-vector-width"="{bits}"' in source
