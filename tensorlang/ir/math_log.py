"""The logarithms: log log2 log10 log1p, on float32 and float64.

x = 2**k * (1 + f) with 1 + f from sqrt(1/2) to sqrt(2), read off the bits, and log(1 + f) = f + rest:
float32 has rest = -f**2 / 2 + f**3 * p(f); float64 uses the series of atanh: with s = f / (2 + f), log(1 + f) =
2 * s + s**3 * p(s**2), and 2 * s = f - s * f. The polynomials are interpolations at Chebyshev nodes, made by
tests/tools/fit_math.py.
"""

from __future__ import annotations

import math

from tensorlang.ir.math_exp import LN2
from tensorlang.ir.math_tools import (
    FORMATS,
    bits,
    constant,
    fast_two_sum,
    fma,
    from_bits,
    polynomial,
    select,
    size,
    two_product,
)
from tensorlang.ir.nodes import Expr

# (log(1 + f) - f + f**2 / 2) / f**3 from sqrt(1/2) - 1 to sqrt(2) - 1
LOG = (
    *(0.3333333118, -0.2499999696, 0.2000071575, -0.1666780232, 0.1424905765, -0.1242568733, 0.1168541992),
    *(-0.1147973385, 0.06971611471),
)
# (log((1 + s) / (1 - s)) / s - 2) / s**2 as a polynomial in s**2 <= 0.02945
LOG_ATANH = (
    *(0.666666666666667, 0.3999999999989924, 0.2857142862609589, 0.2222221111514416, 0.18182890556695602),
    *(0.1533167403016786, 0.1461703754879165),
)
# Constants in two parts, so that products keep their bits.
LOG2_E = {
    "float32": (1.4426950216293335, 1.9259629911266175e-08),
    "float64": (1.4426950408889634, 2.0355273740931033e-17),
}
_LOG10_E = {
    "float32": (0.4342944920063019, -1.0103050052231683e-08),
    "float64": (0.4342944819032518, 1.098319650216765e-17),
}
_LOG10_2 = {
    "float32": (0.3010300099849701, -1.4320988897559699e-08),
    "float64": (0.3010299956639812, -2.8037281277851704e-18),
}
_SQRT_HALF_BITS = {"float32": 0x3F3504F3, "float64": 0x3FE6A09E667F3BCD}


def exponent_and_fraction(x: Expr) -> tuple[Expr, Expr]:
    """(k, m) with x = 2**k * m and m from sqrt(1/2) to sqrt(2), for positive, finite x, subnormals included."""
    form = FORMATS[x.dtype]
    tiny = x < 2.0 ** (1 - form.bias)
    lifted = select(tiny, x * 2.0**form.mantissa, x)
    below = form.one - _SQRT_HALF_BITS[x.dtype]
    # Now the exponent field counts from sqrt(1/2); it becomes the mantissa of a float of fixed exponent.
    moved = bits(lifted) + below
    steps = from_bits((moved >> form.mantissa) | ((form.bias + form.mantissa) << form.mantissa))
    base = 2.0**form.mantissa + form.bias
    k = steps - select(tiny, base + form.mantissa, constant(x, base))
    mask = (1 << form.mantissa) - 1
    return k, from_bits((moved & mask) + _SQRT_HALF_BITS[x.dtype])


def _rest(f: Expr) -> Expr:
    """log(1 + f) - f for 1 + f from sqrt(1/2) to sqrt(2)."""
    if f.dtype == "float32":
        return f * f * fma(f, polynomial(f, LOG), -0.5)
    s = f / (2.0 + f)
    z = s * s
    return s * fma(z, polynomial(z, LOG_ATANH), -f)


def _with_limits(x: Expr, result: Expr, infinity_at: float = 0.0) -> Expr:
    """`result`, and the values at infinity, at the pole, and left of it."""
    result = select(x == math.inf, math.inf, result)
    result = select(x == infinity_at, -math.inf, result)
    return select(x < infinity_at, math.nan, select(x != x, x, result))


def log(x: Expr) -> Expr:
    k, m = exponent_and_fraction(x)
    f = m - 1.0
    high, low = LN2[x.dtype]
    return _with_limits(x, fma(k, high, f + fma(k, low, _rest(f))))


def _sum(k: Expr, f: Expr, rest: Expr, high: float, low: float) -> Expr:
    """k * (high + low) + f + rest with one rounding that counts, so that exact results are; |f| < high / 2 or so."""
    whole, error = two_product(k, high)
    total, more = fast_two_sum(whole, f)
    return total + (more + (fma(k, low, error) + rest))


def log2(x: Expr) -> Expr:
    """k + log(1 + f) / ln 2: powers of two are exact."""
    return _scaled(x, 1.0, 0.0, LOG2_E[x.dtype])


def log10(x: Expr) -> Expr:
    return _scaled(x, *_LOG10_2[x.dtype], _LOG10_E[x.dtype])


def _scaled(x: Expr, high: float, low: float, factor: tuple[float, float]) -> Expr:
    """k * (high + low) + log(1 + f) * factor."""
    k, m = exponent_and_fraction(x)
    f = m - 1.0
    whole, error = two_product(f, factor[0])
    return _with_limits(x, _sum(k, whole, fma(_rest(f), factor[0], fma(f, factor[1], error)), high, low))


def log1p(x: Expr) -> Expr:
    """log(u + c) = log(u) + c / u with u = 1 + x rounded and c its error; near 0, f is x itself and c / u left out."""
    u: Expr = 1.0 + x
    big = x > 1.0
    larger, smaller = select(big, x, constant(x, 1.0)), select(big, constant(x, 1.0), x)
    missing = smaller - (u - larger)
    k, m = exponent_and_fraction(u)
    near: Expr = k == 0.0
    f = select(near, x, m - 1.0)
    rest = _rest(f) + select(near, constant(x, 0.0), missing / u)
    high, low = LN2[x.dtype]
    result = _with_limits(x, fma(k, high, f + fma(k, low, rest)), -1.0)
    return select(size(x) < FORMATS[x.dtype].tiny, x, result)  # keeps -0.0 and all bits of subnormals
