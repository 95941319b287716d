"""te_eval.py against NumPy written by hand, and against create_func with the interpreter."""

import numpy as np
import pytest

import tensorlang as tl
from tensorlang import te_eval
from tensorlang.ir import interp
from tensorlang.te_eval import evaluate
from tensorlang.topi.linalg import matmul


def numbers(rng, shape, dtype):
    """Small whole numbers, so that sums and products are exact in every dtype."""
    kind = tl.dtypes.to_numpy(dtype)
    low = 0 if dtype == "bool" or dtype.startswith("u") else -3
    return rng.integers(low, 2 if dtype == "bool" else 4, shape).astype(kind)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.mark.parametrize("dtype", [d for d in tl.dtypes.DATA if d not in ("bool", *tl.dtypes.FLOATS8)])
def test_matmul_in_every_dtype(rng, dtype):
    c = matmul(4, 5, 6, dtype)
    a, b = numbers(rng, (4, 6), dtype), numbers(rng, (6, 5), dtype)
    [result] = evaluate(c, dict(zip(c.producer.reads, (a, b), strict=True)))
    assert result.dtype == tl.dtypes.to_numpy(dtype)
    np.testing.assert_array_equal(result.astype("float64"), a.astype("float64") @ b.astype("float64"))


@pytest.mark.parametrize("chunk", [1, 7, 1 << 20])
@pytest.mark.parametrize(
    ("reduce", "numpy", "dtype"),
    [
        (tl.sum, np.sum, "int32"),
        (tl.prod, np.prod, "float64"),
        (tl.max, np.max, "float32"),
        (tl.min, np.min, "uint8"),
        (tl.any, np.any, "bool"),
        (tl.all, np.all, "bool"),
    ],
)
def test_reductions_over_two_axes(rng, monkeypatch, chunk, reduce, numpy, dtype):
    monkeypatch.setattr(te_eval, "CHUNK", chunk)
    a = tl.placeholder((3, 4, 5), dtype)
    j, k = tl.reduce_axis(3), tl.reduce_axis(5)
    c = tl.compute((4,), lambda i: reduce(a[j, i, k], axis=(j, k)))
    x = numbers(rng, (3, 4, 5), dtype)
    np.testing.assert_array_equal(evaluate(c, {a: x})[0], numpy(x, axis=(0, 2)).astype(x.dtype))


def test_empty_reductions_give_the_identity():
    a, k = tl.placeholder((4, 0)), tl.reduce_axis(0)
    x = np.zeros((4, 0), "float32")
    for reduce, value in ((tl.sum, 0), (tl.prod, 1), (tl.max, -np.inf), (tl.min, np.inf)):
        c = tl.compute((4,), lambda i, reduce=reduce: reduce(a[i, k], axis=k))
        np.testing.assert_array_equal(evaluate(c, {a: x})[0], np.full(4, value))


def argmax(commutative):
    return tl.reducer(
        lambda x, y: (tl.select(x[1] >= y[1], x[0], y[0]), tl.maximum(x[1], y[1])),
        lambda position, value: (-1, tl.min_value(value)),
        commutative,
    )


@pytest.mark.parametrize("commutative", [True, False])
def test_argmax(rng, commutative):
    a, k = tl.placeholder((6, 9)), tl.reduce_axis(9)
    outputs = tl.compute((6,), lambda i: argmax(commutative)((k, a[i, k]), axis=k))
    x = rng.permutation(54).reshape(6, 9).astype("float32")
    where, top = evaluate(outputs, {a: x})
    np.testing.assert_array_equal(where, x.argmax(axis=1))
    np.testing.assert_array_equal(top, x.max(axis=1))


def test_ordered_reducers_fold_in_ascending_order():
    j, k = tl.reduce_axis(3), tl.reduce_axis(4)
    last = tl.reducer(lambda x, y: tl.select(y < 0, x, y), -1, commutative=False)
    digits = tl.reducer(lambda x, y: (x[0] * y[1] + y[0], x[1] * y[1]), (0, 1), commutative=False)
    c = tl.compute((), lambda: last(j * 4 + k, axis=(j, k)))
    d, _ = tl.compute((), lambda: digits((j * 2 + 1, tl.cast(10, "int64")), axis=j))
    assert [int(v) for v in evaluate([c, d], {})] == [11, 135]


def test_gather_clamps_its_index():
    a, at = tl.placeholder((4,)), tl.placeholder((5,), "int32")
    c = tl.compute((5,), lambda i: a[at[i]])
    x = np.arange(4, dtype="float32")
    result = evaluate(c, {a: x, at: np.array([-7, 0, 2, 3, 9], "int32")})[0]
    np.testing.assert_array_equal(result, [0, 0, 2, 3, 3])


def test_if_then_else_guards_an_access():
    a = tl.placeholder((4,))
    c = tl.compute((8,), lambda i: tl.if_then_else((i >= 2) & (i < 6), a[i - 2], -1.0))
    np.testing.assert_array_equal(evaluate(c, {a: np.arange(4, dtype="float32")})[0], [-1, -1, 0, 1, 2, 3, -1, -1])


def test_casts_truncate_saturate_and_send_nan_to_zero():
    a = tl.placeholder((6,))
    x = np.array([-1.9, 2.9, 300.0, -np.inf, np.inf, np.nan], "float32")
    expected = {"int8": [-1, 2, 127, -128, 127, 0], "uint8": [0, 2, 255, 0, 255, 0], "bool": [1, 1, 1, 1, 1, 1]}
    for dtype, values in expected.items():
        c = tl.compute((6,), lambda i, dtype=dtype: a[i].astype(dtype))
        np.testing.assert_array_equal(evaluate(c, {a: x})[0], np.array(values).astype(dtype))
    c = tl.compute((6,), lambda i: a[i].astype("int64"))
    assert evaluate(c, {a: x})[0].tolist() == [-1, 2, 300, -(2**63), 2**63 - 1, 0]


@pytest.mark.parametrize("name", ["exp", "log1p", "tanh", "erf", "sigmoid", "rsqrt", "floor", "sqrt"])
def test_functions(name):
    from math import erf

    a = tl.placeholder((50,))
    x = np.linspace(0.1, 5, 50).astype("float32")
    plain = {"erf": np.vectorize(erf), "sigmoid": lambda v: 1 / (1 + np.exp(-v)), "rsqrt": lambda v: v**-0.5}
    c = tl.compute((50,), lambda i: getattr(tl, name)(a[i]))
    expected = (plain[name] if name in plain else getattr(np, name))(x.astype("float64"))
    np.testing.assert_allclose(evaluate(c, {a: x})[0], expected, rtol=1e-6)


def test_sizes_come_from_the_arrays_or_are_passed():
    n = tl.var("n")
    a = tl.placeholder((n * 2,), name="a")
    c = tl.compute((n,), lambda i: a[i * 2] + a[i * 2 + 1])
    x = np.arange(6, dtype="float32")
    np.testing.assert_array_equal(evaluate(c, {a: x}, {n: 3})[0], [1, 5, 9])
    b = tl.placeholder((n,), name="b")
    d = tl.compute((n,), lambda i: b[i] + a[i])
    np.testing.assert_array_equal(evaluate(d, {b: x[:3], a: x})[0], x[:3] * 2)
    np.testing.assert_array_equal(evaluate(d, {a: x, b: x[:3]})[0], x[:3] * 2)


def test_arrays_that_do_not_fit_are_refused():
    a = tl.placeholder((4,), name="a")
    c = tl.compute((4,), lambda i: a[i])
    for array in (np.zeros(5, "float32"), np.zeros(4), np.zeros((4, 1), "float32")):
        with pytest.raises(tl.ArgumentError, match="a "):
            evaluate(c, {a: array})
    with pytest.raises(tl.ArgumentError, match="no array for the placeholder a"):
        evaluate(c, {})
    n = tl.var("n")
    b = tl.placeholder((n + 1,), name="b")
    with pytest.raises(tl.ArgumentError, match="size n is not known"):
        evaluate(tl.compute((n,), lambda i: b[i]), {b: np.zeros(4, "float32")})


def test_softmax_of_random_floats_agrees_with_numpy_and_the_interpreter(rng):
    n = tl.var("n")
    a, k = tl.placeholder((n, 7), name="a"), tl.reduce_axis(7)
    top = tl.compute((n,), lambda i: tl.max(a[i, k], axis=k), name="top")
    e = tl.compute((n, 7), lambda i, j: tl.exp(a[i, j] - top[i]), name="e")
    total = tl.compute((n,), lambda i: tl.sum(e[i, k], axis=k), name="total")
    c = tl.compute((n, 7), lambda i, j: e[i, j] / total[i], name="c")
    x = rng.standard_normal((5, 7)).astype("float32")
    expected = np.exp(x) / np.exp(x).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(evaluate(c, {a: x})[0], expected, rtol=1e-6)
    got = np.full((5, 7), np.nan, "float32")
    interp.run(tl.create_func(c), [x, got])
    np.testing.assert_allclose(got, expected, rtol=1e-6)


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_max_and_min_tell_zeros_apart(dtype):
    a = tl.placeholder((4,), dtype, name="A")
    k = tl.reduce_axis(2, "k")
    outputs = [
        tl.compute((2,), lambda i: tl.minimum(a[2 * i], a[2 * i + 1]), name="low"),
        tl.compute((2,), lambda i: tl.maximum(a[2 * i], a[2 * i + 1]), name="high"),
        tl.compute((2,), lambda i: tl.min(a[2 * i + k], axis=k), name="least"),
        tl.compute((2,), lambda i: tl.max(a[2 * i + k], axis=k), name="most"),
    ]
    values = np.array([0.0, -0.0, -0.0, -0.0]).astype(tl.dtypes.to_numpy(dtype))
    for got, signs in zip(evaluate(outputs, {a: values}), [[1, 1], [0, 1], [1, 1], [0, 1]], strict=True):
        assert np.signbit(got).tolist() == [bool(s) for s in signs]
