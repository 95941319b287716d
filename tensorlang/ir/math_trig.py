"""sin cos tan atan on float32 and float64, for arguments of any size.

sin, cos and tan first take whole quarter turns off x: the fraction of x * (2 / pi) has to be known to many bits, of
which those worth whole turns are dropped as soon as they appear (Payne and Hanek, 1983). Here 2 / pi is a sum of
several floats; products with them are exact as pairs, and so is taking multiples of 4 off each.
The polynomials are interpolations at Chebyshev nodes, made by tests/tools/fit_math.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from functools import cache

from tensorlang.ir import ops
from tensorlang.ir.math_tools import (
    FORMATS,
    Pair,
    bits,
    constant,
    fast_two_sum,
    fma,
    from_bits,
    pair_product,
    polynomial,
    select,
    size,
    two_product,
    two_sum,
    whole_part,
    with_sign,
)
from tensorlang.ir.nodes import Expr
from tensorlang.ir.ops import make

# (sin(x) / x - 1) / x**2, (cos(x) - 1 + x**2 / 2) / x**4, as polynomials in x**2 <= 0.63
SIN = {
    "float32": (-0.1666666666, 0.00833333178, -0.0001984003594, 2.724340926e-06),
    "float64": (
        *(-0.16666666666666666, 0.008333333333333331, -0.00019841269841264534, 2.7557319218930736e-06),
        *(-2.5052106092079693e-08, 1.6058509605642e-10, -7.585413158756367e-13),
    ),
}
COS = {
    "float32": (0.04166666453, -0.001388827788, 2.454256398e-05),
    "float64": (
        *(0.041666666666666664, -0.001388888888888723, 2.480158729851767e-05, -2.755731714444461e-07),
        *(2.0876120020701785e-09, -1.1380761312687717e-11),
    ),
}
# (atan(x) / x - 1) / x**2 as a polynomial in x**2 <= 1
ATAN = {
    "float32": (
        *(-0.3333333308, 0.1999994932, -0.1428400379, 0.1108826163, -0.08931826777, 0.0703191425, -0.04896051403),
        *(0.02630500111, -0.009144629761, 0.001488691939),
    ),
    "float64": (
        *(-0.3333333333333333, 0.1999999999999992, -0.14285714285701234, 0.11111111110268297, -0.0909090906193528),
        *(0.07692307078827029, -0.06666657934573768, 0.05882264416776449, -0.052624922290256754),
        *(0.04758080083637821, -0.043306538430670664, 0.03938687540798632, -0.035271331066871296),
        *(0.030330719265790507, -0.024191345810140718, 0.01718398172211335, -0.010412153260359241),
        *(0.005140912856746939, -0.0019612554271685326, 0.0005376839297396244, -9.371186345052626e-05),
        7.767624330289919e-06,
    ),
}
_HALF_PI = {  # in two parts
    "float32": (1.5707963705062866, -4.371139000186241e-08),
    "float64": (1.5707963267948966, 6.123233995736766e-17),
}


@cache
def _pi() -> Fraction:
    """pi to 1400 bits: 16 * atan(1 / 5) - 4 * atan(1 / 239) (Machin, 1706)."""
    one = 1 << 1420

    def inverse_tangent(n: int) -> int:
        total = power = one // n
        odd, sign = 1, 1
        while power:
            power //= n * n
            odd, sign = odd + 2, -sign
            total += sign * (power // odd)
        return total

    return Fraction(16 * inverse_tangent(5) - 4 * inverse_tangent(239), one)


def _parts(value: Fraction, count: int) -> list[float]:
    """`value` as a sum of `count` floats, each the rounding of what is left."""
    parts: list[float] = []
    for _ in range(count):
        parts.append(float(value - sum(map(Fraction, parts))))
    return parts


@cache
def _quarters(power: int, count: int) -> list[float]:
    """2**power * 2 / pi modulo 2**54, in `count` parts."""
    return _parts(Fraction(2**power) * 2 / _pi() % 2**54, count)


def _modulo_turn(terms: Sequence[Expr]) -> tuple[Expr, Expr, list[Expr]]:
    """(q, value, errors): the sum of `terms`, in quarter turns, is q + value + errors, up to whole turns.

    |value| is at most 1/2; q is the low bits of an integer.
    """
    near = [fma(make("round", t * 0.25), -4.0, t) for t in terms]  # exact, and 0 for a large t
    total, errors = near[0], []
    for term in near[1:]:
        total, error = two_sum(total, term)
        errors.append(error)
    shifted, whole = whole_part(total, 1.0, "float64")
    return bits(shifted), total - whole, errors


def _reduced(x: Expr) -> tuple[Expr, Expr, Expr]:
    """(q, high, low): x = q * pi / 2 + high + low up to whole turns, |high| hardly more than pi / 4.

    float32: x has 24 bits and is below 2**128, so 2 / pi to 212 bits will do for all of them.
    """
    if x.dtype == "float64":
        return _reduced_wide(x)
    wide = ops.cast(x, "float64")
    products = [p for part in _quarters(0, 4) for p in two_product(wide, part)]
    q, value, errors = _modulo_turn(products[:5])
    small = sum(errors[1:], errors[0]) + (products[5] + products[6])
    r = (value + small) * float(_pi() / 2)
    high = ops.cast(r, "float32")
    return ops.cast(q, "uint32"), high, ops.cast(r - ops.cast(high, "float64"), "float32")


def _reduced_wide(x: Expr) -> tuple[Expr, Expr, Expr]:
    """float64: x = y * 2**(128 * g) with |y| < 2**128; 2**(128 * g) * 2 / pi is selected by the exponent of x.

    y is a multiple of 2**-52 (unless g is 0), so whole turns of that factor may be left out modulo 2**54.
    """
    form = FORMATS["float64"]
    exponent = (bits(size(x)) >> form.mantissa) - form.bias
    steps = select(size(x) < 1.0, exponent & 0, exponent & (7 * 128))
    y = x * from_bits((form.bias - steps) << form.mantissa)
    rows = [_quarters(128 * g, 6) for g in range(8)]
    parts = [_pick(steps, 128, [row[n] for row in rows], x) for n in range(6)]
    products = [p for part in parts for p in two_product(y, part)]
    q, value, errors = _modulo_turn(products[:7])
    # Where `value` cancels, the errors are what is left, so they are added without error in turn.
    low = products[10]
    for term in (*errors, *products[7:10]):
        value, error = two_sum(value, term)
        low = low + error
    value, low = fast_two_sum(value, low)
    high, low = pair_product((value, low), _HALF_PI["float64"])
    high, low = fast_two_sum(high, low)
    return q, high, low


def _pick(digits: Expr, unit: int, rows: Sequence[float], like: Expr) -> Expr:
    """rows[digits / unit], by a tree of selects."""
    level: list[Expr] = [constant(like, r) for r in rows]
    while len(level) > 1:
        odd = (digits & unit) != 0
        level = [select(odd, b, a) for a, b in zip(level[::2], level[1::2], strict=True)]
        unit *= 2
    return level[0]


def _sin_parts(high: Expr, low: Expr) -> Pair:
    """sin(high + low) as a sum of two."""
    z = high * high
    return fast_two_sum(high, fma(high * z, polynomial(z, SIN[high.dtype]), low * fma(z, -0.5, 1.0)))


def _cos_parts(high: Expr, low: Expr) -> Pair:
    """cos(high + low) as a sum of two."""
    z = high * high
    begin = fma(z, -0.5, 1.0)
    error = fma(z, -0.5, 1.0 - begin)
    return fast_two_sum(begin, fma(z * z, polynomial(z, COS[high.dtype]), fma(-high, low, error)))


def _is_odd(q: Expr) -> Expr:
    return (q & 1) != 0


def _signed(x: Expr, q: Expr) -> Expr:
    """x, negated in the second half turn."""
    sign = FORMATS[x.dtype].sign
    return from_bits(bits(x) ^ ((q << (sign.bit_length() - 2)) & sign))


def sin(x: Expr) -> Expr:
    q, high, low = _reduced(x)
    value = select(_is_odd(q), _cos_parts(high, low)[0], _sin_parts(high, low)[0])
    return select(size(x) < FORMATS[x.dtype].tiny, x, _signed(value, q))


def cos(x: Expr) -> Expr:
    q, high, low = _reduced(x)
    value = select(_is_odd(q), _sin_parts(high, low)[0], _cos_parts(high, low)[0])
    return _signed(value, q + 1)


def tan(x: Expr) -> Expr:
    """sin / cos, or -cos / sin, with a correction for what both have lost."""
    q, high, low = _reduced(x)
    odd, sines, cosines = _is_odd(q), _sin_parts(high, low), _cos_parts(high, low)
    top, top_rest = (select(odd, c, s) for s, c in zip(sines, cosines, strict=True))
    bottom, bottom_rest = (select(odd, -s, c) for s, c in zip(sines, cosines, strict=True))
    quotient = top / bottom
    missing = fma(-quotient, bottom, top) + fma(-quotient, bottom_rest, top_rest)
    return select(size(x) < FORMATS[x.dtype].tiny, x, quotient + missing / bottom)


def atan(x: Expr) -> Expr:
    """x + x**3 * p(x**2) up to |x| = 1, else pi / 2 - atan(1 / |x|), with the sign of x."""
    big = size(x) > 1.0
    t = select(big, 1.0 / size(x), size(x))
    z = t * t
    near = fma(t * z, polynomial(z, ATAN[x.dtype]), t)
    high, low = _HALF_PI[x.dtype]
    return with_sign(select(big, high + (low - near), near), x)
