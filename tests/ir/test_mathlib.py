"""Mathematical functions by their definitions: accuracy against mpmath, special values, exact results.

The interpreter evaluates them here; tests/backend/test_math.py shows that compiled code does the same.
"""

import math
from collections.abc import Callable
from typing import Any

import mpmath
import numpy as np
import pytest

from tensorlang.ir import dtypes, interp, math_erf, math_exp, math_log, math_pow, math_trig, mathlib, ops, walk
from tensorlang.ir.nodes import Buffer, Expr, Func, Load, Op, Ramp, Store, Var, const
from tests.tools.fit_math import FITS, fit

INF, NAN = math.inf, math.nan
MOST = 2.0  # units in the last place
REFERENCE: dict[str, Callable[..., Any]] = {
    "exp2": lambda x: mpmath.mpf(2) ** x,
    "log2": lambda x: mpmath.log(x) / mpmath.log(2),
    "log10": lambda x: mpmath.log(x) / mpmath.log(10),
    "rsqrt": lambda x: 1 / mpmath.sqrt(x),
    "sigmoid": lambda x: 1 / (1 + mpmath.exp(-x)),
    "pow": mpmath.power,
}
# Where definitions change from one formula to another, and where results overflow or vanish.
CRITICAL = (
    *(0.5, 1.0, 2.0, 0.52, 0.6, 0.7071067811865476, 1.4142135623730951, math.pi / 4, math.pi / 2, math.pi),
    *(17.3, 88.72, 87.33, 103.97, 89.41, 127.9, 149.5, 709.78, 708.39, 745.13, 710.47, 1023.9, 1074.5),
)


def evaluate(op: str, *arrays: np.ndarray) -> np.ndarray:
    """`op` on arrays, by the interpreter, as one vector."""
    lanes, dtype = len(arrays[0]), dtypes.from_numpy(arrays[0].dtype) or ""
    inputs = [Buffer(f"x{n}", (const(lanes),), dtype) for n in range(len(arrays))]
    out, at = Buffer("out", (const(lanes),), dtype), Ramp(const(0), const(1), lanes)
    value = ops.make(op, *(Load(b, (at,)) for b in inputs))
    result = np.zeros(lanes, arrays[0].dtype)
    interp.run(Func(op, (*inputs, out), (out,), Store(out, (at,), value)), [*arrays, result])
    return result


def points(dtype: str, seed: int) -> np.ndarray:
    """Random bits, numbers of common sizes, numbers near CRITICAL ones, and subnormal ones."""
    rng, kind = np.random.default_rng(seed), np.dtype(dtype)
    unsigned = np.dtype(f"u{kind.itemsize}")
    bits = rng.integers(0, np.iinfo(unsigned).max, 600, unsigned).view(kind)
    usual = rng.uniform(-1, 1, (10, 120)) * np.array([[1e-3, 0.1, 0.4, 1, 2, 5, 20, 100, 800, 1e5]]).T
    near = np.repeat(CRITICAL, 6) * (1 + rng.standard_normal(6 * len(CRITICAL)) * 10.0 ** rng.integers(-16, -1, 138))
    tiny = rng.standard_normal(30) * float(np.finfo(kind).tiny)
    found = np.concatenate([bits, usual.ravel().astype(kind), near.astype(kind), -near.astype(kind), tiny.astype(kind)])
    return found[np.isfinite(found)]


def error(got: float, exact: Any, info: Any) -> float:
    """|got - exact| in units in the last place of `exact`; infinite for the wrong kind of result."""
    if math.isnan(got) or isinstance(exact, mpmath.mpc) or mpmath.isnan(exact):
        return 0.0 if math.isnan(got) and (isinstance(exact, mpmath.mpc) or mpmath.isnan(exact)) else INF
    place = max(int(mpmath.frexp(exact)[1]) - 1, info.minexp) - info.nmant
    unit = mpmath.ldexp(1, min(place, info.maxexp - 1 - info.nmant))
    if math.isinf(got):  # as if the exponent went on
        got_value = math.copysign(1, got) * mpmath.ldexp(1, info.maxexp)
        exact = max(min(exact, abs(got_value)), -abs(got_value))
        return float(abs(got_value - exact) / unit)
    return float(abs(got - exact) / unit)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("op", ops.MATH)
def test_accuracy(op: str, dtype: str) -> None:
    arrays = [points(dtype, seed=1)]
    if op == "pow":
        arrays = [np.abs(arrays[0]), np.random.default_rng(2).permutation(arrays[0])]
    if op in ("log", "log2", "log10", "rsqrt"):
        arrays = [np.abs(arrays[0])]
    if op == "log1p":
        arrays = [np.where(arrays[0] <= -1, -arrays[0], arrays[0])]
    arrays = [a[np.logical_and.reduce([b != 0 for b in arrays])] for a in arrays]
    reference, info = REFERENCE.get(op) or getattr(mpmath, op), np.finfo(dtype)
    worst = (0.0, ())
    with mpmath.workprec(120):
        for got, *xs in zip(evaluate(op, *arrays), *arrays, strict=True):
            try:
                exact = reference(*(mpmath.mpf(float(x)) for x in xs))
            except ZeroDivisionError:
                continue
            worst = max(worst, (error(float(got), exact, info), tuple(map(float, xs))))
    assert worst[0] <= MOST, worst


@pytest.mark.parametrize("op", ["sin", "cos", "tan"])
def test_huge_angles(op: str) -> None:
    """Floats nearest to multiples of pi / 2 (Muller, Elementary Functions), and others of all sizes."""
    near = [float(np.float64(k * math.pi / 2)) for k in (1, 2, 3, 12345, 2**40 + 1)]
    hard = np.array([6381956970095103 * 2.0**797, 5319372648326541 * 2.0**245, 1e22, 1.7976931348623157e308, *near])
    narrow = np.array([16367173 * 2.0**72, 3.4028235e38, *near], np.float32)
    for values, bits in ((hard, 53), (narrow, 24)):
        with mpmath.workprec(200):
            exact = [getattr(mpmath, op)(mpmath.mpf(float(v))) for v in values]
        for got, value, expected in zip(evaluate(op, values), values, exact, strict=True):
            assert abs(mpmath.mpf(float(got)) / expected - 1) < MOST * 2.0 ** (1 - bits), value


# op: values at inf, -inf, nan, 0, -0
SPECIAL = {
    "exp": (INF, 0.0, NAN, 1.0, 1.0),
    "exp2": (INF, 0.0, NAN, 1.0, 1.0),
    "expm1": (INF, -1.0, NAN, 0.0, -0.0),
    "log": (INF, NAN, NAN, -INF, -INF),
    "log2": (INF, NAN, NAN, -INF, -INF),
    "log10": (INF, NAN, NAN, -INF, -INF),
    "log1p": (INF, NAN, NAN, 0.0, -0.0),
    "rsqrt": (0.0, NAN, NAN, INF, -INF),
    "sin": (NAN, NAN, NAN, 0.0, -0.0),
    "cos": (NAN, NAN, NAN, 1.0, 1.0),
    "tan": (NAN, NAN, NAN, 0.0, -0.0),
    "sinh": (INF, -INF, NAN, 0.0, -0.0),
    "cosh": (INF, INF, NAN, 1.0, 1.0),
    "tanh": (1.0, -1.0, NAN, 0.0, -0.0),
    "atan": (math.pi / 2, -math.pi / 2, NAN, 0.0, -0.0),
    "erf": (1.0, -1.0, NAN, 0.0, -0.0),
    "sigmoid": (1.0, 0.0, NAN, 0.5, 0.5),
}


@pytest.mark.parametrize("dtype", [d for d in dtypes.FLOATS if d != "float8_e4m3fn"])  # which has no infinity
@pytest.mark.parametrize("op", SPECIAL)
def test_special_values(op: str, dtype: str) -> None:
    kind = dtypes.to_numpy(dtype)
    got = evaluate(op, np.array([INF, -INF, NAN, 0.0, -0.0], kind))
    assert repr(got.tolist()) == repr(np.array(SPECIAL[op], kind).tolist())


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_pow_has_the_special_cases_of_c99(dtype: str) -> None:
    """All pairs of special values, as NumPy has them too."""
    values = [0.0, -0.0, 1.0, -1.0, 2.0, -2.0, 0.5, -0.5, 3.0, -3.0, 2.5, -1.5, 1e30, -1e30, INF, -INF, NAN]
    x, y = (g.ravel().astype(dtype) for g in np.meshgrid(values, values))
    got = evaluate("pow", x, y)
    with np.errstate(all="ignore"):
        expected = np.power(x, y)
    np.testing.assert_array_max_ulp(got[np.isfinite(expected)], expected[np.isfinite(expected)], 1)
    np.testing.assert_array_equal(got, np.where(np.isfinite(expected), got, expected))
    zero = expected == 0
    assert (np.signbit(got) == np.signbit(expected))[zero | np.isinf(expected)].all()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_exact_results(dtype: str) -> None:
    info = np.finfo(dtype)
    whole = np.arange(int(info.minexp) - info.nmant, int(info.maxexp)).astype(dtype)
    powers = np.ldexp(1.0, whole.astype(int)).astype(dtype)
    assert (evaluate("exp2", whole) == powers).all() and (evaluate("log2", powers) == whole).all()
    tens = np.array([10.0**k for k in range(11 if dtype == "float32" else 23)], dtype)
    assert (evaluate("log10", tens) == np.arange(len(tens))).all()
    bases, exponents = (g.ravel().astype(dtype) for g in np.meshgrid(np.arange(1, 11), np.arange(-1, 8)))
    expected = [float(b) ** int(e) for b, e in zip(bases, exponents, strict=True)]
    np.testing.assert_array_equal(evaluate("pow", bases, exponents), np.array(expected, dtype))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("op", ops.MATH)
def test_half_floats_round_the_float32_result(op: str, dtype: str) -> None:
    kind = dtypes.to_numpy(dtype)
    bits = np.random.default_rng(3).integers(0, 1 << 16, (ops.OPS[op].arity, 300)).astype(np.uint16)
    arrays = list(bits.view(kind))
    with np.errstate(all="ignore"):
        expected = evaluate(op, *(a.astype(np.float32) for a in arrays)).astype(kind)
    np.testing.assert_array_equal(evaluate(op, *arrays).astype(np.float64), expected.astype(np.float64))


@pytest.mark.parametrize("op", ops.MATH)
def test_definitions_are_of_primitive_ops(op: str) -> None:
    """Of the dtype and lanes of the op, over its operands alone, and not many ops."""
    for dtype in dtypes.FLOATS:
        for lanes in (1, 8):
            operands = [Var(f"x{n}", dtype, lanes) for n in range(ops.OPS[op].arity)]
            expr = ops.make(op, *operands)
            definition = mathlib.define(expr)
            assert (definition.dtype, definition.lanes) == (dtype, lanes) and mathlib.define(expr) is definition
            assert walk.free_vars(definition) == set(operands)
            used = parts(definition)
            assert not {e.op for e in used if isinstance(e, Op)} & {*ops.MATH, "if_then_else"}
            assert len(used) < 450


def parts(expr: Expr) -> set[Expr]:
    """The distinct expressions that `expr` is made of."""
    found, stack = {expr}, [expr]
    while stack:
        fresh = [e for e in walk.children(stack.pop()) if isinstance(e, Expr) and e not in found]
        found.update(fresh)
        stack.extend(fresh)
    return found


MODULES = (math_exp, math_log, math_pow, math_trig, math_erf)


@pytest.mark.parametrize("name", FITS)
def test_coefficients_are_those_of_the_tool(name: str) -> None:
    stored = next(vars(m)[name] for m in MODULES if name in vars(m))
    function, low, high, degrees = FITS[name]
    for dtype, degree in degrees.items():
        coefficients = stored[dtype] if isinstance(stored, dict) else stored
        expected = fit(function, low, high, degree)
        np.testing.assert_allclose(coefficients, expected, rtol=1e-15 if dtype == "float64" else 1e-9)
