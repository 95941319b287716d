"""Functions of scalars for tensor expressions. Names and meaning follow NumPy; ops.py holds the table behind them."""

from __future__ import annotations

from typing import Any

import numpy as np

from tensorlang.errors import ExprError
from tensorlang.ir import ops
from tensorlang.ir.nodes import Expr
from tensorlang.te import check_dtype


def if_then_else(condition: Any, value: Any, otherwise: Any) -> Expr:
    """`value` if `condition` holds, else `otherwise`; only the one taken is evaluated, so it may guard an access."""
    return ops.make("if_then_else", condition, value, otherwise)


def select(condition: Any, value: Any, otherwise: Any) -> Expr:
    """`value` if `condition` holds, else `otherwise`; both are evaluated, so both must be accesses in bounds."""
    return ops.make("select", condition, value, otherwise)


def cast(value: Any, dtype: Any) -> Expr:
    """`value` converted to `dtype` as NumPy's astype; floats truncate and saturate on the way to integers, NaN is 0.

    `dtype` may also be "index", for arithmetic on subscripts that depend on data.
    """
    return ops.cast(_expr(value), dtype if dtype == "index" else check_dtype(dtype))


def reinterpret(value: Any, dtype: Any) -> Expr:
    """The bits of `value` as another dtype of the same size. Raises ExprError if the sizes differ."""
    return ops.reinterpret(_expr(value), check_dtype(dtype))


def maximum(a: Any, b: Any) -> Expr:
    """The larger one; NaN if either is NaN."""
    return ops.make("max", a, b)


def minimum(a: Any, b: Any) -> Expr:
    """The smaller one; NaN if either is NaN."""
    return ops.make("min", a, b)


def abs(x: Any) -> Expr:
    """The absolute value; that of the smallest integer wraps around to itself."""
    return ops.make("abs", x)


def power(x: Any, exponent: Any) -> Expr:
    """x ** exponent; a whole exponent from 1 to 16 becomes multiplications."""
    return ops.power(_expr(x), exponent)


def exp(x: Any) -> Expr:
    """e ** x."""
    return ops.make("exp", x)


def exp2(x: Any) -> Expr:
    """2 ** x."""
    return ops.make("exp2", x)


def expm1(x: Any) -> Expr:
    """e ** x - 1, exact for small x."""
    return ops.make("expm1", x)


def log(x: Any) -> Expr:
    """The natural logarithm."""
    return ops.make("log", x)


def log2(x: Any) -> Expr:
    """The logarithm to base 2."""
    return ops.make("log2", x)


def log10(x: Any) -> Expr:
    """The logarithm to base 10."""
    return ops.make("log10", x)


def log1p(x: Any) -> Expr:
    """The natural logarithm of 1 + x, exact for small x."""
    return ops.make("log1p", x)


def sqrt(x: Any) -> Expr:
    """The square root, correctly rounded."""
    return ops.make("sqrt", x)


def rsqrt(x: Any) -> Expr:
    """1 / sqrt(x)."""
    return ops.make("rsqrt", x)


def sin(x: Any) -> Expr:
    """The sine of x in radians."""
    return ops.make("sin", x)


def cos(x: Any) -> Expr:
    """The cosine of x in radians."""
    return ops.make("cos", x)


def tan(x: Any) -> Expr:
    """The tangent of x in radians."""
    return ops.make("tan", x)


def sinh(x: Any) -> Expr:
    """The hyperbolic sine."""
    return ops.make("sinh", x)


def cosh(x: Any) -> Expr:
    """The hyperbolic cosine."""
    return ops.make("cosh", x)


def tanh(x: Any) -> Expr:
    """The hyperbolic tangent."""
    return ops.make("tanh", x)


def atan(x: Any) -> Expr:
    """The arc tangent, in radians."""
    return ops.make("atan", x)


def erf(x: Any) -> Expr:
    """The error function."""
    return ops.make("erf", x)


def sigmoid(x: Any) -> Expr:
    """1 / (1 + exp(-x))."""
    return ops.make("sigmoid", x)


def floor(x: Any) -> Expr:
    """The largest whole float <= x."""
    return ops.make("floor", x)


def ceil(x: Any) -> Expr:
    """The smallest whole float >= x."""
    return ops.make("ceil", x)


def trunc(x: Any) -> Expr:
    """x without its fraction."""
    return ops.make("trunc", x)


def round(x: Any) -> Expr:
    """The nearest whole float, halves to even."""
    return ops.make("round", x)


def isnan(x: Any) -> Expr:
    """Whether x is NaN."""
    return ops.make("isnan", x)


def isinf(x: Any) -> Expr:
    """Whether x is inf or -inf."""
    return ops.make("isinf", x)


def isfinite(x: Any) -> Expr:
    """Whether x is neither infinite nor NaN."""
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
