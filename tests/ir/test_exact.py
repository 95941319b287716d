"""exact.py against exact rational arithmetic."""

import math
import random
from fractions import Fraction

import numpy as np
import pytest

from tensorlang.ir import dtypes, exact

PRECISION = {"float32": (24, -126), "float64": (53, -1022)}


def round_fraction(x: Fraction, dtype: str) -> float:
    """`x` rounded to nearest even, from the definition."""
    digits, smallest = PRECISION[dtype]
    if x == 0:
        return 0.0
    size = abs(x)
    exponent = max(size.numerator.bit_length() - size.denominator.bit_length() - 1, smallest)
    while Fraction(2) ** (exponent + 1) <= size:
        exponent += 1
    unit = Fraction(2) ** (exponent - digits + 1)
    rounded = round(size / unit) * unit
    value = math.inf if rounded >= Fraction(2) ** (2 - smallest) else float(rounded)
    return math.copysign(value, -1.0 if x < 0 else 1.0)


def draw(rng: random.Random, dtype: str) -> float:
    if rng.random() < 0.1:
        return exact.round_float(
            rng.choice([0.0, -0.0, 1.0, -1.0, 2.0**-149, 2.0**-1074, 3.4028234663852886e38]), dtype
        )
    scale = rng.choice([3, 60, 500]) * rng.uniform(-1, 1)
    x = exact.round_float(rng.choice([rng.uniform(-1, 1), rng.randint(-8, 8) / 8]) * 2.0**scale, dtype)
    return x if math.isfinite(x) else 1.0


def triples(dtype: str, count: int) -> list[tuple[float, float, float]]:
    """Random operands, many of them with cancellation or next to a midpoint of the result's grid."""
    rng, result = random.Random(7), []
    for _ in range(count):
        a, b, c = (draw(rng, dtype) for _ in range(3))
        if rng.random() < 0.4 and math.isfinite(a * b):
            c = exact.round_float(-a * b * rng.choice([1.0, 1.0 + 2**-20, 2.0**24, 2.0**25, -(2.0**53)]), dtype)
        result.append((a, b, c if math.isfinite(c) else 0.0))
    return result


@pytest.mark.parametrize("dtype", PRECISION)
def test_fma_rounds_once(dtype):
    cases = triples(dtype, 4000)
    for a, b, c in cases:
        expected = round_fraction(Fraction(a) * Fraction(b) + Fraction(c), dtype)
        assert exact.fma(a, b, c, dtype) == expected, (a, b, c)
    on_arrays = exact.array_fma(*(np.array(column, dtype) for column in zip(*cases, strict=True)))
    one_by_one = np.array([exact.fma(*case, dtype) for case in cases], dtype)
    assert on_arrays.tobytes() == one_by_one.tobytes()


@pytest.mark.parametrize("dtype", PRECISION)
def test_fma_of_special_values(dtype):
    inf, nan = math.inf, math.nan
    assert exact.fma(inf, 1.0, 1.0, dtype) == inf
    assert exact.fma(2.0**100, 2.0**27, -inf, dtype) == -inf
    assert exact.fma(1e30, -1e30, inf, dtype) == inf
    for case in [(inf, 0.0, 1.0), (inf, 1.0, -inf), (nan, 1.0, 1.0), (1.0, 1.0, nan)]:
        assert math.isnan(exact.fma(*case, dtype))
        assert np.isnan(exact.array_fma(*(np.array([x], dtype) for x in case)))[0]
    assert math.copysign(1, exact.fma(-0.0, 1.0, -0.0, dtype)) == -1
    assert math.copysign(1, exact.fma(-1.0, 1.0, 1.0, dtype)) == 1


def test_fma64_overflow_is_infinite_and_products_that_overflow_can_cancel():
    assert exact.fma64(1e300, 1e300, 0.0) == math.inf
    assert exact.fma64(2.0**600, 2.0**424, -(2.0**1023)) == 2.0**1023
    assert exact.fma64(5e-324, 0.5, 0.0) == 0.0
    assert math.copysign(1, exact.fma64(-5e-324, 0.5, 0.0)) == -1


@pytest.mark.parametrize("dtype", dtypes.NARROW)
def test_fma_of_halves_goes_through_float32(dtype):
    rng = np.random.default_rng(3)
    kind = dtypes.to_numpy(dtype)
    a, b, c = rng.standard_normal((3, 500)).astype(kind)
    wide = exact.array_fma(*(x.astype(np.float32) for x in (a, b, c))).astype(kind)
    assert exact.array_fma(a, b, c).tobytes() == wide.tobytes()
    scalars = [exact.fma(float(x), float(y), float(z), dtype) for x, y, z in zip(a, b, c, strict=True)]
    assert np.array(scalars).astype(kind).tobytes() == wide.tobytes()


@pytest.mark.parametrize("dtype", dtypes.NARROW)
def test_halves_round_as_numpy_does(dtype):
    kind = dtypes.to_numpy(dtype)
    patterns = np.random.default_rng(0).integers(0, 1 << 32, 20000, dtype=np.uint32)
    patterns[::4] = patterns[::4] & 0xFFFF0000 | 0x8000  # midpoints of bfloat16
    patterns[1::4] = patterns[1::4] & 0xFFFFE000 | 0x1000  # midpoints of float16
    ends = np.array([np.inf, -np.inf], "f")
    values = np.concatenate([patterns.view(np.float32), np.linspace(-7e4, 7e4, 1000, dtype="f"), ends])
    with np.errstate(all="ignore"):
        expected = values.astype(kind).astype(np.float64)
    np.testing.assert_array_equal([exact.round_float(float(v), dtype) for v in values], expected)


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64"])
@pytest.mark.parametrize("source", dtypes.FLOATS)
def test_float_to_int_truncates_and_saturates(dtype, source):
    info = np.iinfo(dtype)
    values = [0.0, -0.0, 0.9, -0.9, 2.5, -2.5, 127.5, -128.5, 1e4, -1e4, 1e30, -1e30, math.inf, -math.inf, math.nan]
    values += [float(info.max), float(info.min), float(info.max) / 2, 2.0**31, 2.0**63, 2.0**64]
    values = [exact.round_float(v, source) for v in values]
    expected = []
    for value in values:
        if math.isnan(value):
            expected.append(0)
        elif math.isinf(value):
            expected.append(int(info.max if value > 0 else info.min))
        else:
            expected.append(min(max(math.trunc(value), int(info.min)), int(info.max)))
    assert [exact.float_to_int(v, dtype) for v in values] == expected
    kind = dtypes.to_numpy(source)
    assert exact.array_cast(np.array(values).astype(kind), dtype).tolist() == expected


def test_int_to_float_rounds_once():
    for value in (2**24 + 1, 2**60 + 2**36 + 1, 2**63 - 1, -(2**63), 2**64 - 1, 2**53 + 1):
        assert exact.int_to_float(value, "float32") == round_fraction(Fraction(value), "float32")
        assert exact.int_to_float(value, "float64") == round_fraction(Fraction(value), "float64")


def test_wrap_is_modular():
    for value in (-300, -129, -128, -1, 0, 127, 128, 255, 256, 2**70 + 5):
        assert exact.wrap(value, "int8") == (value + 128) % 256 - 128
        assert exact.wrap(value, "uint8") == value % 256
    assert exact.wrap(2**70, "index") == 2**70


def test_min_and_max_propagate_nan_and_order_zeros():
    values = [0.0, -0.0, 1.0, -1.0, math.inf, -math.inf, math.nan]
    for a in values:
        for b in values:
            low, high = exact.minimum(a, b), exact.maximum(a, b)
            if math.isnan(a) or math.isnan(b):
                assert math.isnan(low) and math.isnan(high)
                continue
            ordered = sorted((a, b), key=lambda v: (v, math.copysign(1, v)))
            assert [(v, math.copysign(1, v)) for v in (low, high)] == [(v, math.copysign(1, v)) for v in ordered]
    a, b = (np.array(side) for side in zip(*[(x, y) for x in values for y in values], strict=True))
    for array, scalar in ((exact.array_minimum, exact.minimum), (exact.array_maximum, exact.maximum)):
        one_by_one = np.array([scalar(x, y) for x, y in zip(a.tolist(), b.tolist(), strict=True)])
        np.testing.assert_array_equal(array(a, b), one_by_one)
        known = ~np.isnan(one_by_one)
        assert (np.signbit(array(a, b)) == np.signbit(one_by_one))[known].all()


def test_division_square_root_and_rounding_follow_ieee():
    assert exact.divide(1.0, -0.0) == -math.inf and exact.divide(-1.0, 0.0) == -math.inf
    assert math.isnan(exact.divide(0.0, 0.0)) and math.isnan(exact.divide(math.nan, 0.0))
    assert math.isnan(exact.square_root(-1.0)) and exact.square_root(math.inf) == math.inf
    for value in (0.5, 1.5, 2.5, -0.5, -0.2, -0.0, 1e300, math.inf, 4503599627370497.0):
        for ours, numpys in (
            (exact.floor, np.floor),
            (exact.ceil, np.ceil),
            (exact.trunc, np.trunc),
            (exact.nearest, np.rint),
        ):
            assert math.copysign(1, ours(value)) == np.copysign(1, numpys(value)) and ours(value) == numpys(value)


def test_reinterpret_keeps_bits():
    assert exact.reinterpret(1.0, "float32", "int32") == 0x3F800000
    assert exact.reinterpret(-1, "int32", "uint32") == 2**32 - 1
    assert exact.reinterpret(0x3F80, "uint16", "bfloat16") == 1.0
