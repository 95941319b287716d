"""pow on float32 and float64: 2**(y * log2(|x|)), and the cases of C99.

log2(|x|) = k + 2 / ln(2) * atanh(s) with |x| = 2**k * m, s = (m - 1) / (m + 1). An error of the logarithm comes out
multiplied by the exponent of the result: float32 does it in float64, float64 with pairs of floats, to 2**-64. The
polynomials are interpolations at Chebyshev nodes, made by tests/tools/fit_math.py.
"""

from __future__ import annotations

import math

from tensorlang.ir import math_exp, ops
from tensorlang.ir.math_log import exponent_and_fraction
from tensorlang.ir.math_tools import (
    FORMATS,
    Pair,
    at_least,
    at_most,
    bits,
    constant,
    fast_two_sum,
    fma,
    from_bits,
    pair_product,
    polynomial,
    scale,
    scale_far,
    select,
    size,
    two_product,
    whole_part,
)
from tensorlang.ir.nodes import Expr
from tensorlang.ir.ops import make

# (atanh(s) / s - 1) / s**2 as a polynomial in s**2 <= 0.02945, good enough for float32
POW_ATANH = (0.3333333333, 0.199999994, 0.1428587748, 0.1109568669, 0.09681593466)
# ((atanh(s) / s - 1) / s**2 - 1 / 3) / s**2 as a polynomial in s**2 <= 0.02945
POW_LOG = (
    *(0.2, 0.14285714285714285, 0.11111111111111079, 0.09090909090923274, 0.07692307689183771),
    *(0.06666667061452963, 0.05882322616988312, 0.052645956153852494, 0.047209297130208196, 0.049858994107888625),
)
# (2**r - 1) / r on |r| <= 0.5, good enough for float32
POW_EXP2 = (
    *(0.6931471806, 0.240226507, 0.05550410907, 0.009618129151, 0.001333347815),
    *(0.0001540345962, 1.530380568e-05, 1.32549593e-06),
)
_THIRD = (0.3333333333333333, 1.850371707708594e-17)
_TWO_LOG2_E = (2.8853900817779268, 4.0710547481862066e-17)
_LN2 = math_exp.LN2["float64"]
_LIMIT = 1100.0  # exponents beyond overflow or vanish in float64


def pow(x: Expr, y: Expr) -> Expr:
    """x to the power of y."""
    if x.dtype == "float32":
        wide = _power_narrow(ops.cast(size(x), "float64"), ops.cast(y, "float64"))
        return _cases(x, y, ops.cast(wide, "float32"))
    return _cases(x, y, _power_wide(size(x), y))


def _power_narrow(x: Expr, y: Expr) -> Expr:
    """x**y for positive, finite x, in float64 with a relative error of 2**-30 or so."""
    k, m = exponent_and_fraction(x)
    s = (m - 1.0) / (m + 1.0)
    z = s * s
    logarithm = fma(fma(s * z, polynomial(z, POW_ATANH), s), _TWO_LOG2_E[0], k)
    exponent = at_least(at_most(y * logarithm, 200.0), -200.0)
    shifted, n = whole_part(exponent, 1.0, "float64")
    r = exponent - n
    return scale(fma(r, polynomial(r, POW_EXP2), 1.0), shifted)


def _log2_pair(x: Expr) -> Pair:
    """log2(x) for positive, finite x, with a relative error of 2**-64."""
    k, m = exponent_and_fraction(x)
    f, below = m - 1.0, m + 1.0
    below_error = m - (below - 1.0)
    s = f / below
    s_error = fma(-s, below_error, fma(-s, below, f)) / below
    z, z_error = two_product(s, s)
    z_error = fma(s + s, s_error, z_error)
    # atanh(s) = s + s * (z * u), u = 1/3 + z * p(z)
    rest = polynomial(z, POW_LOG)
    u, u_error = fast_two_sum(_THIRD[0], z * rest)
    u_error = u_error + fma(z_error, POW_LOG[0], fma(z, rest, -(z * rest)) + _THIRD[1])
    cubic = pair_product((s, s_error), pair_product((z, z_error), (u, u_error)))
    total, error = fast_two_sum(s, cubic[0])
    part = pair_product((total, error + (s_error + cubic[1])), _TWO_LOG2_E)
    high, low = fast_two_sum(k, part[0])
    return high, low + part[1]


def _power_wide(x: Expr, y: Expr) -> Expr:
    """x**y for positive, finite x in float64."""
    y = at_least(at_most(y, 2.0**65), -(2.0**65))  # larger ones change nothing; the products stay finite
    high, low = pair_product(_log2_pair(x), (y, constant(y, 0.0)))
    inside = size(high) < _LIMIT
    high = at_least(at_most(high, _LIMIT), -_LIMIT)
    low = select(inside, low, 0.0)
    shifted, n = whole_part(high, 1.0, "float64")
    r, r_error = pair_product(fast_two_sum(high - n, low), _LN2)
    total, error = fast_two_sum(1.0, r)
    rest = fma(r * r, polynomial(r, math_exp.EXP["float64"]), fma(r, r_error, r_error))
    return scale_far(total + (error + rest), shifted)


def _cases(x: Expr, y: Expr, power: Expr) -> Expr:
    """The result for any x and y, given that for |x| if that is positive and finite."""
    form, a = FORMATS[x.dtype], size(x)
    extreme = (a == 0.0) | (a == math.inf) | make("isinf", y)
    grows = make("ne", a > 1.0, y < 0.0)
    power = select(extreme, select(grows, math.inf, constant(x, 0.0)), power)
    power = select(a == 1.0, 1.0, power)
    whole = make("floor", y) == y
    half = y * 0.5
    odd = whole & (make("floor", half) != half)
    negated = from_bits(bits(power) | (bits(x) & form.sign))
    power = select(odd, negated, power)
    power = select((x < 0.0) & (x > -math.inf) & ~whole, math.nan, power)
    power = select(make("isnan", x) | make("isnan", y), math.nan, power)
    return select((y == 0.0) | (x == 1.0), 1.0, power)
