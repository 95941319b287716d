"""What the definitions of mathematical functions are built from: bits of floats, polynomials, exact sums and products.

All functions take and return expressions of float32 or float64, scalars or vectors. `dtype` is one of these two.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tensorlang.ir import ops
from tensorlang.ir.nodes import Expr, Splat
from tensorlang.ir.ops import make

Number = Expr | float
Pair = tuple[Expr, Expr]  # an unevaluated sum of two floats, the second a rounding error of the first


@dataclass(frozen=True)
class Format:
    """Facts of a float dtype: 1 sign bit, exponent bits (biased by `bias`), `mantissa` bits."""

    dtype: str
    uint: str
    mantissa: int
    bias: int

    @property
    def one(self) -> int:
        """The bits of 1.0."""
        return self.bias << self.mantissa

    @property
    def sign(self) -> int:
        """The sign bit."""
        return 1 << (8 * (4 if self.dtype == "float32" else 8) - 1)

    @property
    def tiny(self) -> float:
        """Below, x + x**2 rounds to x."""
        return 2.0 ** -(self.mantissa + 2)

    @property
    def magic(self) -> float:
        """Adding it rounds a small float to a whole number, which is then the difference of the bits to its own."""
        return 1.5 * 2.0**self.mantissa

    @property
    def magic_bits(self) -> int:
        return ((self.bias + self.mantissa) << self.mantissa) + (1 << (self.mantissa - 1))


FORMATS = {"float32": Format("float32", "uint32", 23, 127), "float64": Format("float64", "uint64", 52, 1023)}


def bits(x: Expr) -> Expr:
    """The bits of a float as an unsigned integer."""
    return ops.reinterpret(x, FORMATS[x.dtype].uint)


def from_bits(x: Expr) -> Expr:
    return ops.reinterpret(x, "float32" if x.dtype == "uint32" else "float64")


def constant(like: Expr, value: float) -> Expr:
    """`value` with the dtype and lanes of `like`."""
    literal = ops.literal(value, like.dtype)
    return literal if like.lanes == 1 else Splat(literal, like.lanes)


def fma(a: Number, b: Number, c: Number) -> Expr:
    return make("fma", a, b, c)


def select(cond: Expr, a: Number, b: Number) -> Expr:
    return make("select", cond, a, b)


def size(x: Expr) -> Expr:
    """The absolute value."""
    return make("abs", x)


def at_most(x: Expr, limit: float) -> Expr:
    """min(x, limit); NaN stays NaN. One instruction where `min` needs several, as it orders zeros too."""
    return select(make("lt", limit, x), limit, x)


def at_least(x: Expr, limit: float) -> Expr:
    """max(x, limit); NaN stays NaN."""
    return select(make("gt", limit, x), limit, x)


def with_sign(x: Expr, sign: Expr) -> Expr:
    """x >= 0 with the sign of `sign`."""
    return from_bits(bits(x) | (bits(sign) & FORMATS[x.dtype].sign))


def polynomial(t: Expr, coefficients: Sequence[float]) -> Expr:
    """c[0] + t * (c[1] + t * (c[2] + ...)) (Horner), each step one fma."""
    value: Number = coefficients[-1]
    for c in reversed(coefficients[:-1]):
        value = fma(t, value, c)
    return value  # type: ignore[return-value]


def whole_part(x: Number, factor: Number, dtype: str) -> Pair:
    """x * factor, rounded to a whole number n: (n + magic, whose low bits are n; n). |n| is below 2**20."""
    magic = FORMATS[dtype].magic
    shifted = fma(x, factor, magic)
    return shifted, shifted - magic


def scale(x: Expr, shifted: Expr) -> Expr:
    """x * 2**n for `shifted` from whole_part and a normal 2**n."""
    return x * power_of_two(shifted)


def power_of_two(shifted: Expr, offset: int = 0) -> Expr:
    """2**(n + offset), a normal number, for `shifted` from whole_part."""
    form = FORMATS[shifted.dtype]
    return from_bits((bits(shifted) << form.mantissa) + ((form.bias + offset) << form.mantissa))


def scale_far(x: Expr, shifted: Expr, offset: int = 0) -> Expr:
    """x * 2**(n + offset), into the subnormals and to infinity, in two steps of which only the second may round."""
    form = FORMATS[x.dtype]
    biased = bits(shifted) - (form.magic_bits - 2 * form.bias - offset)  # n + offset + twice the bias: positive
    half = biased >> 1
    return x * from_bits(half << form.mantissa) * from_bits((biased - half) << form.mantissa)


# ------------------------------------------------------------------------------------ sums and products of pairs
def fast_two_sum(a: Number, b: Expr) -> Pair:
    """a + b and its rounding error; exact if |a| >= |b| or a is 0 (Dekker)."""
    total = a + b
    return total, b - (total - a)


def two_sum(a: Expr, b: Expr) -> Pair:
    """a + b and its rounding error (Knuth)."""
    total = a + b
    part = total - a
    return total, (a - (total - part)) + (b - part)


def two_product(a: Expr, b: Number) -> Pair:
    """a * b and its rounding error."""
    product = a * b
    return product, fma(a, b, -product)


def pair_product(a: Pair, b: Pair | tuple[float, float]) -> Pair:
    """The product of two pairs, but for the product of the small parts."""
    high, error = two_product(a[0], b[0])
    return high, fma(a[0], b[1], fma(a[1], b[0], error))
