"""Compiled mathematical functions equal the interpreter bit for bit: scalar code, vectors, their tails, any CPU."""

import numpy as np
import pytest

import tensorlang as tl
from tensorlang.ir import dtypes, ops

ROWS, COLUMNS = 3, 43  # not a multiple of any vector
HOST = tl.Target("llvm")


def numbers(dtype: str, seed: int) -> np.ndarray:
    """Random bits, numbers of common sizes and special ones."""
    rng, kind = np.random.default_rng(seed), dtypes.to_numpy(dtype)
    unsigned = np.dtype(f"u{kind.itemsize}")
    bits = rng.integers(0, np.iinfo(unsigned).max, ROWS * COLUMNS, unsigned).view(kind)
    with np.errstate(over="ignore"):
        usual = (rng.standard_normal(ROWS * COLUMNS) * 10.0 ** rng.integers(-4, 4, ROWS * COLUMNS)).astype(kind)
    special = np.array([np.nan, np.inf, -np.inf, 0, -0.0, 1, -1, 2, 0.5, -3, 88.5, -104, 709.7], kind)
    choice = rng.integers(0, 8, ROWS * COLUMNS)
    values = np.where(choice < 3, bits, np.where(choice < 7, usual, rng.choice(special, ROWS * COLUMNS)))
    return values.astype(kind).reshape(ROWS, COLUMNS)


def assert_same(got: np.ndarray, expected: np.ndarray) -> None:
    """Equal bit for bit, but for the bits of NaN."""
    nan = np.isnan(expected.astype(np.float64))
    unsigned = f"u{got.dtype.itemsize}"
    assert (np.isnan(got.astype(np.float64)) == nan).all()
    assert (got.view(unsigned) == expected.view(unsigned))[~nan].all()


def check(outputs: list[tl.Tensor], arrays: list[np.ndarray], target: tl.Target, vector: bool) -> None:
    s = tl.Schedule(outputs, target=target)
    expected = tl.interpret(s, *arrays)
    if vector:
        for block in s.blocks():
            s.vectorize(s.loops(block)[-1])
    got = tl.build(s, target)(*arrays)
    for one, other in zip(
        *(r if isinstance(r, tuple) else (r,) for r in (got, expected)),
        strict=True,
    ):
        assert_same(one, other)


def all_functions(dtype: str) -> tuple[list[tl.Tensor], list[np.ndarray]]:
    """Every mathematical function of the same inputs."""
    a, b = (tl.placeholder((ROWS, COLUMNS), dtype, name=name) for name in "AB")
    functions = [
        tl.compute(
            (ROWS, COLUMNS), lambda i, j, f=f: ops.make(f, *(a[i, j], b[i, j])[: ops.OPS[f].arity]), name=f"F{f}"
        )
        for f in ops.MATH
    ]
    return functions, [numbers(dtype, 1), numbers(dtype, 2)]


@pytest.mark.parametrize("dtype", dtypes.FLOATS)
def test_vectors_and_tails(dtype: str) -> None:
    functions, arrays = all_functions(dtype)
    check(functions, arrays, HOST, vector=True)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_scalars(dtype: str) -> None:
    functions, arrays = all_functions(dtype)
    check(functions, arrays, HOST, vector=False)


@pytest.mark.parametrize("cpu", ["haswell", "x86-64-v2"])
def test_other_vectors(cpu: str) -> None:
    """Without AVX-512 and without FMA instructions."""
    functions, arrays = all_functions("float32")
    check(functions, arrays, tl.Target("llvm", cpu=cpu), vector=True)


def test_functions_of_functions() -> None:
    """Nested deeply and used repeatedly, code stays small and values the same."""
    a = tl.placeholder((ROWS, COLUMNS), name="A")

    def nested(x: tl.Expr) -> tl.Expr:
        for f in (tl.tanh, tl.exp, tl.sin, tl.erf, tl.log1p, tl.sigmoid):
            x = f(x) * x + f(x)
        return x

    kernel = tl.build(tl.compute((ROWS, COLUMNS), lambda i, j: nested(a[i, j]), name="C"))
    assert len(kernel.source()) < 200_000
    check([tl.compute((ROWS, COLUMNS), lambda i, j: nested(a[i, j]), name="C")], [numbers("float32", 4)], HOST, True)


@pytest.mark.parametrize("vector", [False, True])
def test_softmax(vector: bool) -> None:
    a, k = tl.placeholder((ROWS, COLUMNS), name="A"), tl.reduce_axis(COLUMNS, name="k")
    most = tl.compute((ROWS,), lambda i: tl.max(a[i, k], axis=k), name="most")
    powers = tl.compute((ROWS, COLUMNS), lambda i, j: tl.exp(a[i, j] - most[i]), name="powers")
    n = tl.reduce_axis(COLUMNS, name="n")
    total = tl.compute((ROWS,), lambda i: tl.sum(powers[i, n], axis=n), name="total")
    c = tl.compute((ROWS, COLUMNS), lambda i, j: powers[i, j] / total[i], name="C")
    s = tl.Schedule(c)
    if vector:
        s.vectorize(s.loops("powers")[1])
        s.vectorize(s.loops("C")[1])
    x = np.random.default_rng(5).standard_normal((ROWS, COLUMNS)).astype(np.float32)
    got = tl.build(s)(x)
    assert_same(got, tl.interpret(s, x))
    np.testing.assert_allclose(got.sum(axis=1), 1.0, rtol=1e-6)
