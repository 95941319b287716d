"""Functions of scalars for tensor expressions. Names and meaning follow NumPy; ops.py holds the table behind them."""

from __future__ import annotations

from typing import Any

import numpy as np

from tensorlang.errors import ExprError
from tensorlang.ir import ops
from tensorlang.ir.nodes import Expr
from tensorlang.te import check_dtype


def if_then_else(condition: Any, value: Any, otherwise: Any) -> Expr:
    """`value` if `condition` holds, else `otherwise`; only the one taken is evaluated, so it may guard an access.

    >>> tl.if_then_else(i > 0, A[i, j], 0.0)
    if_then_else(i > 0, A[i, j], 0.0)
    """
    return ops.make("if_then_else", condition, value, otherwise)


def select(condition: Any, value: Any, otherwise: Any) -> Expr:
    """`value` if `condition` holds, else `otherwise`; both are evaluated, so both must be accesses in bounds.

    >>> tl.select(A[i, j] > 0.0, A[i, j], 0.0)
    select(A[i, j] > 0.0, A[i, j], 0.0)
    """
    return ops.make("select", condition, value, otherwise)


def cast(value: Any, dtype: Any) -> Expr:
    """`value` converted to `dtype` as NumPy's astype; floats truncate and saturate on the way to integers, NaN is 0.

    `dtype` may also be "index", for arithmetic on subscripts that depend on data.

    >>> tl.cast(A[i, j], "int32")
    i32(A[i, j])
    """
    return ops.cast(_expr(value), dtype if dtype == "index" else check_dtype(dtype))


def reinterpret(value: Any, dtype: Any) -> Expr:
    """The bits of `value` as another dtype of the same size. Raises ExprError if the sizes differ.

    >>> tl.reinterpret(A[i, j], "int32")
    reinterpret_i32(A[i, j])
    """
    return ops.reinterpret(_expr(value), check_dtype(dtype))


def maximum(a: Any, b: Any) -> Expr:
    """The larger one; NaN if either is NaN.

    >>> tl.maximum(A[i, j], 0.0)
    max(A[i, j], 0.0)
    """
    return ops.make("max", a, b)


def minimum(a: Any, b: Any) -> Expr:
    """The smaller one; NaN if either is NaN.

    >>> tl.minimum(A[i, j], B[i, j])
    min(A[i, j], B[i, j])
    """
    return ops.make("min", a, b)


def abs(x: Any) -> Expr:
    """The absolute value; that of the smallest integer wraps around to itself.

    >>> tl.abs(A[i, j])
    abs(A[i, j])
    """
    return ops.make("abs", x)


def power(x: Any, exponent: Any) -> Expr:
    """x ** exponent; a whole exponent from 1 to 16 becomes multiplications.

    >>> tl.power(A[i, j], 0.5)
    pow(A[i, j], 0.5)
    """
    return ops.power(_expr(x), exponent)


def exp(x: Any) -> Expr:
    """e ** x.

    >>> tl.exp(A[i, j])
    exp(A[i, j])
    """
    return ops.make("exp", x)


def exp2(x: Any) -> Expr:
    """2 ** x.

    >>> tl.exp2(A[i, j])
    exp2(A[i, j])
    """
    return ops.make("exp2", x)


def expm1(x: Any) -> Expr:
    """e ** x - 1, exact for small x.

    >>> tl.expm1(A[i, j])
    expm1(A[i, j])
    """
    return ops.make("expm1", x)


def log(x: Any) -> Expr:
    """The natural logarithm.

    >>> tl.log(A[i, j])
    log(A[i, j])
    """
    return ops.make("log", x)


def log2(x: Any) -> Expr:
    """The logarithm to base 2.

    >>> tl.log2(A[i, j])
    log2(A[i, j])
    """
    return ops.make("log2", x)


def log10(x: Any) -> Expr:
    """The logarithm to base 10.

    >>> tl.log10(A[i, j])
    log10(A[i, j])
    """
    return ops.make("log10", x)


def log1p(x: Any) -> Expr:
    """The natural logarithm of 1 + x, exact for small x.

    >>> tl.log1p(A[i, j])
    log1p(A[i, j])
    """
    return ops.make("log1p", x)


def sqrt(x: Any) -> Expr:
    """The square root, correctly rounded.

    >>> tl.sqrt(A[i, j])
    sqrt(A[i, j])
    """
    return ops.make("sqrt", x)


def rsqrt(x: Any) -> Expr:
    """1 / sqrt(x).

    >>> tl.rsqrt(A[i, j])
    rsqrt(A[i, j])
    """
    return ops.make("rsqrt", x)


def sin(x: Any) -> Expr:
    """The sine of x in radians.

    >>> tl.sin(A[i, j])
    sin(A[i, j])
    """
    return ops.make("sin", x)


def cos(x: Any) -> Expr:
    """The cosine of x in radians.

    >>> tl.cos(A[i, j])
    cos(A[i, j])
    """
    return ops.make("cos", x)


def tan(x: Any) -> Expr:
    """The tangent of x in radians.

    >>> tl.tan(A[i, j])
    tan(A[i, j])
    """
    return ops.make("tan", x)


def sinh(x: Any) -> Expr:
    """The hyperbolic sine.

    >>> tl.sinh(A[i, j])
    sinh(A[i, j])
    """
    return ops.make("sinh", x)


def cosh(x: Any) -> Expr:
    """The hyperbolic cosine.

    >>> tl.cosh(A[i, j])
    cosh(A[i, j])
    """
    return ops.make("cosh", x)


def tanh(x: Any) -> Expr:
    """The hyperbolic tangent.

    >>> tl.tanh(A[i, j])
    tanh(A[i, j])
    """
    return ops.make("tanh", x)


def atan(x: Any) -> Expr:
    """The arc tangent, in radians.

    >>> tl.atan(A[i, j])
    atan(A[i, j])
    """
    return ops.make("atan", x)


def erf(x: Any) -> Expr:
    """The error function.

    >>> tl.erf(A[i, j])
    erf(A[i, j])
    """
    return ops.make("erf", x)


def sigmoid(x: Any) -> Expr:
    """1 / (1 + exp(-x)).

    >>> tl.sigmoid(A[i, j])
    sigmoid(A[i, j])
    """
    return ops.make("sigmoid", x)


def floor(x: Any) -> Expr:
    """The largest whole float <= x.

    >>> tl.floor(A[i, j])
    floor(A[i, j])
    """
    return ops.make("floor", x)


def ceil(x: Any) -> Expr:
    """The smallest whole float >= x.

    >>> tl.ceil(A[i, j])
    ceil(A[i, j])
    """
    return ops.make("ceil", x)


def trunc(x: Any) -> Expr:
    """x without its fraction.

    >>> tl.trunc(A[i, j])
    trunc(A[i, j])
    """
    return ops.make("trunc", x)


def round(x: Any) -> Expr:
    """The nearest whole float, halves to even.

    >>> tl.round(A[i, j])
    round(A[i, j])
    """
    return ops.make("round", x)


def isnan(x: Any) -> Expr:
    """Whether x is NaN.

    >>> tl.isnan(A[i, j])
    isnan(A[i, j])
    """
    return ops.make("isnan", x)


def isinf(x: Any) -> Expr:
    """Whether x is inf or -inf.

    >>> tl.isinf(A[i, j])
    isinf(A[i, j])
    """
    return ops.make("isinf", x)


def isfinite(x: Any) -> Expr:
    """Whether x is neither infinite nor NaN.

    >>> tl.isfinite(A[i, j])
    isfinite(A[i, j])
    """
    return ops.make("isfinite", x)


def _expr(value: Any) -> Expr:
    """`value`, or a Python number, as an expression."""
    if isinstance(value, Expr):
        return value
    if isinstance(value, bool | np.bool_):
        return ops.literal(value, "bool")
    if isinstance(value, int | float | np.integer | np.floating):
        return ops.literal(value, "float32" if isinstance(value, float | np.floating) else "index")
    raise ExprError(f"expected an expression or a number, got {type(value).__name__}")
