"""exp and its family: exp exp2 expm1 sigmoid sinh cosh tanh, on float32 and float64.

exp(x) = 2**n * exp(r) with n = round(x / ln 2) and r = x - n * ln 2, |r| <= ln(2) / 2, where ln 2 has two parts (Cody
and Waite, 1980) and exp(r) = 1 + r + r**2 * q(r). The polynomials are interpolations at Chebyshev nodes, made by
tests/tools/fit_math.py. Arguments are clamped where results have overflowed or vanished for certain, so that
infinities need no case of their own; NaN passes through all of it.
"""

from __future__ import annotations

from tensorlang.ir.math_tools import (
    FORMATS,
    Pair,
    at_least,
    at_most,
    constant,
    fast_two_sum,
    fma,
    polynomial,
    power_of_two,
    scale,
    scale_far,
    select,
    size,
    whole_part,
    with_sign,
)
from tensorlang.ir.nodes import Expr

LOG2_E = 1.4426950408889634
LN2 = {  # in two parts
    "float32": (0.6931471824645996, -1.904654299957768e-09),
    "float64": (0.6931471805599453, 2.3190468138462996e-17),
}

# (exp(r) - 1 - r) / r**2 on |r| <= 0.35, and on |r| <= 0.53
EXP = {
    "float32": (0.5000000005, 0.1666657287, 0.04166650366, 0.008363857509, 0.001393200302),
    "float64": (
        *(0.5, 0.1666666666666667, 0.041666666666666685, 0.008333333333325461, 0.0013888888888874294),
        *(0.00019841269877150675, 2.4801587350585186e-05, 2.755725247844592e-06, 2.7557247094419095e-07),
        *(2.5106419216234764e-08, 2.0924395459525785e-09),
    ),
}
EXPM1 = {
    "float32": (0.5000000174, 0.1666666697, 0.04166555648, 0.008333189038, 0.001399396753, 0.0001996542585),
    "float64": (
        *(0.5, 0.16666666666666666, 0.041666666666666664, 0.008333333333333453, 0.001388888888888905),
        *(0.00019841269840927626, 2.480158730122753e-05, 2.755731964080251e-06, 2.755731959554702e-07),
        *(2.5051861631806197e-08, 2.087656420041605e-09, 1.6129136311315478e-10, 1.1519532582635397e-11),
    ),
}
# (2**r - 1) / r on |r| <= 0.5
EXP2 = {
    "float32": (
        *(0.6931471806, 0.2402265092, 0.05550410895, 0.009618056378, 0.001333348763, 0.0001546156456),
        1.530205318e-05,
    ),
    "float64": (
        *(0.6931471805599453, 0.24022650695910072, 0.05550410866482158, 0.009618129107628484, 0.0013333558146428452),
        *(0.00015403530393362603, 1.525273380404195e-05, 1.3215486816157625e-06, 1.0178086029049364e-07),
        *(7.054894316421413e-09, 4.4455272357010315e-10, 2.5733679969697214e-11, 1.3721428589905706e-12),
    ),
}
# (sinh(x) / x - 1) / x**2 as a polynomial in x**2, |x| <= 1; tanh likewise, |x| <= 0.6
SINH = {
    "float32": (0.1666666665, 0.008333339676, 0.0001983810197, 2.806280258e-06),
    "float64": (
        *(0.16666666666666666, 0.008333333333333333, 0.00019841269841269773, 2.755731922404034e-06),
        *(2.505210836405804e-08, 1.6059048396350562e-10, 7.646625361656657e-13, 2.8445264169895285e-15),
    ),
}
TANH = {
    "float32": (-0.3333333323, 0.1333331287, -0.05396155178, 0.021788322, -0.008410070802, 0.00237076564),
    "float64": (
        *(-0.3333333333333333, 0.13333333333333328, -0.05396825396824606, 0.02186948853566979),
        *(-0.008863235514397341, 0.0035921277411351256, -0.0014558307624244699, 0.0005899975134262517),
        *(-0.0002389588822245776, 9.62435984783182e-05, -3.7455026133315814e-05, 1.2606082506231025e-05),
        -2.622223992400359e-06,
    ),
}
# Beyond these, exp, exp2 and expm1 are 0 (or -1), or infinite.
_EXP_RANGE = {"float32": (-104.0, 89.0), "float64": (-746.0, 710.0)}
_EXP2_RANGE = {"float32": (-151.0, 129.0), "float64": (-1076.0, 1025.0)}
_EXPM1_RANGE = {"float32": (-20.0, 89.0), "float64": (-40.0, 710.0)}
_HYPERBOLIC_MOST = {"float32": 91.0, "float64": 712.0}
_TANH_MOST = {"float32": 10.0, "float64": 20.0}


def _clamp(x: Expr, limits: tuple[float, float]) -> Expr:
    return at_least(at_most(x, limits[1]), limits[0])


def _reduced(x: Expr, careful: bool = False) -> Pair:
    """(n + magic, exp(r)) with exp(x) = 2**n * exp(r); x is of moderate size. With `careful`, within 0.8 ulp."""
    shifted, n = whole_part(x, LOG2_E, x.dtype)
    high, low = LN2[x.dtype]
    r = fma(n, -low, fma(n, -high, x))
    rest = polynomial(r, EXP[x.dtype])
    if not careful:
        return shifted, fma(r * r, rest, r) + 1.0
    total, error = fast_two_sum(1.0, r)
    return shifted, total + fma(r * r, rest, error)


def exp_of_moderate(x: Expr) -> Expr:
    """exp(x) where it is a normal number."""
    shifted, value = _reduced(x)
    return scale(value, shifted)


def exp(x: Expr) -> Expr:
    shifted, value = _reduced(_clamp(x, _EXP_RANGE[x.dtype]))
    return scale_far(value, shifted)


def exp2(x: Expr) -> Expr:
    x = _clamp(x, _EXP2_RANGE[x.dtype])
    shifted, n = whole_part(x, 1.0, x.dtype)
    r = x - n
    return scale_far(fma(r, polynomial(r, EXP2[x.dtype]), 1.0), shifted)


def expm1(x: Expr) -> Expr:
    """2**n * expm1(r) + (2**n - 1); n is 0 up to |x| = 0.52, where the two terms would cancel.

    2**n has to be finite, so it is halved, and the sum doubled.
    """
    clamped = _clamp(x, _EXPM1_RANGE[x.dtype])
    shifted, n = whole_part(clamped, select(size(x) < 0.52, 0.0, constant(x, LOG2_E)), x.dtype)
    high, low = LN2[x.dtype]
    r = fma(n, -low, fma(n, -high, clamped))
    part = fma(r * r, polynomial(r, EXPM1[x.dtype]), r)
    power = power_of_two(shifted, -1)
    result = fma(power, part, power - 0.5) * 2.0
    return select(size(x) < FORMATS[x.dtype].tiny, x, result)  # keeps -0.0 and all bits of subnormals


def sigmoid(x: Expr) -> Expr:
    """1 / (1 + exp(-x)), or exp(x) / (1 + exp(x)) for negative x, without losing the errors of sum and division."""
    shifted, value = _reduced(at_least(-size(x), _EXP_RANGE[x.dtype][0]), careful=True)
    e = scale_far(value, shifted)
    below, below_error = fast_two_sum(1.0, e)
    top, inverse = select(x < 0.0, e, constant(x, 1.0)), 1.0 / below
    quotient = top * inverse
    missing = fma(-quotient, below, top) - quotient * below_error
    return fma(missing, inverse, quotient)


def _half_exp(x: Expr) -> Expr:
    """exp(|x|) / 2, which overflows only where sinh and cosh do."""
    shifted, value = _reduced(at_most(size(x), _HYPERBOLIC_MOST[x.dtype]))
    return scale_far(value, shifted, -1)


def sinh(x: Expr) -> Expr:
    """x + x**3 * p(x**2) up to |x| = 1, else (exp(|x|) - exp(-|x|)) / 2 with the sign of x."""
    half, big = _half_exp(x), size(x)
    return with_sign(select(big < 1.0, _odd(big, SINH[x.dtype]), half - 0.25 / half), x)


def cosh(x: Expr) -> Expr:
    half = _half_exp(x)
    return half + 0.25 / half


def tanh(x: Expr) -> Expr:
    """x + x**3 * p(x**2) up to |x| = 0.6, else 1 - 2 / (exp(2 * |x|) + 1) with the sign of x."""
    big = at_most(size(x), _TANH_MOST[x.dtype])
    far = 1.0 - 2.0 / (exp_of_moderate(big + big) + 1.0)
    return with_sign(select(big < 0.6, _odd(big, TANH[x.dtype]), far), x)


def _odd(x: Expr, coefficients: tuple[float, ...]) -> Expr:
    """x + x**3 * p(x**2)."""
    z = x * x
    return fma(x * z, polynomial(z, coefficients), x)
