"""Arithmetic exactly as the IR defines it (see nodes.py), on Python scalars and on NumPy arrays.

Scalars: a float of any dtype is a Python float whose value that dtype can represent, an integer is a Python int in
range, a bool is a bool. Arrays have the dtype's NumPy dtype. Scalar and array versions agree bit for bit (NaN
payloads aside).
"""

from __future__ import annotations

import ctypes
import math
import struct
from collections.abc import Callable
from fractions import Fraction
from functools import cache
from typing import Any

import numpy as np

from tensorlang.ir import dtypes

_c_float = ctypes.c_float  # its constructor is a C cast: round to nearest even, overflow gives infinity
_float64_bits = struct.Struct("<d"), struct.Struct("<q")
_float32, _uint32, _float16, _uint16 = map(struct.Struct, ("<f", "<I", "<e", "<H"))


# -------------------------------------------------------------------------------------------------- scalars
def round_float(x: float, dtype: str) -> float:
    """`x` rounded to a float dtype; to the narrow ones by way of float32, as all their arithmetic.

    >>> round_float(0.1, "float32")
    0.10000000149011612
    """
    if dtype == "float64":
        return x
    x = _c_float(x).value
    return x if dtype == "float32" else narrow_values(dtype)[narrow_bits(x, dtype)]


def narrow_bits(x: float, dtype: str) -> int:
    """The bit pattern of the float32 value `x` rounded to a narrow float dtype.

    >>> hex(narrow_bits(1.0, "bfloat16"))
    '0x3f80'
    """
    if dtype in dtypes.FLOATS8:
        return int(np.float32(x).astype(dtypes.to_numpy(dtype)).view(np.uint8))
    if dtype == "bfloat16":
        if x != x:
            return 0x7FC0
        bits: int = _uint32.unpack(_float32.pack(x))[0]
        return (bits + 0x7FFF + (bits >> 16 & 1)) >> 16
    try:
        return _uint16.unpack(_float16.pack(x))[0]
    except OverflowError:
        return 0x7C00 if x > 0 else 0xFC00


@cache
def narrow_values(dtype: str) -> list[float]:
    """The value of each bit pattern of a narrow float dtype."""
    bits = dtypes.bits(dtype)
    with np.errstate(invalid="ignore"):  # signalling NaNs
        return np.arange(1 << bits, dtype=f"uint{bits}").view(dtypes.to_numpy(dtype)).astype(np.float64).tolist()


def wrap(x: int, dtype: str) -> int:
    """`x` modulo two to the number of bits, as a value of the integer dtype; index keeps it as it is.

    >>> wrap(200, "int8")
    -56
    """
    if dtype == "index":
        return x
    bits = dtypes.bits(dtype)
    x &= (1 << bits) - 1
    return x - (1 << bits) if dtype in dtypes.SIGNED and x >> (bits - 1) else x


def float_to_int(x: float, dtype: str) -> int:
    """`x` truncated and saturated to an integer dtype (index as int64); NaN gives 0.

    >>> float_to_int(-1e9, "int16"), float_to_int(3.9, "uint8")
    (-32768, 3)
    """
    if x != x:
        return 0
    low, high = _limits(dtype)
    return low if x <= low else high if x >= high else int(x)


def int_to_float(x: int, dtype: str) -> float:
    """`x` rounded once to float32 or float64, or by way of float32 to the narrow ones."""
    if dtype == "float64" or -(1 << 53) <= x <= 1 << 53:
        return round_float(float(x), dtype)
    return round_float(float((np.uint64 if x >= 1 << 63 else np.int64)(x).astype(np.float32)), dtype)


def cast(x: Any, source: str, dtype: str) -> Any:
    """The scalar `x` of dtype `source`, converted to `dtype`."""
    if dtype == "bool":
        return x != 0
    if dtypes.is_float(dtype):
        return round_float(x, dtype) if dtypes.is_float(source) else int_to_float(int(x), dtype)
    return float_to_int(x, dtype) if dtypes.is_float(source) else wrap(int(x), dtype)


def reinterpret(x: Any, source: str, dtype: str) -> Any:
    """The bits of the scalar `x` of dtype `source`, as a value of `dtype`."""
    value = np.array([x], dtypes.to_numpy(source)).view(dtypes.to_numpy(dtype))[0]
    return float(value) if dtypes.is_float(dtype) else value.item()


def fma32(a: float, b: float, c: float) -> float:
    """a * b + c of float32 values, rounded once to float32.

    The product is exact in float64. Its sum with `c` is rounded to odd there, which leaves enough to round again.
    """
    p = a * b
    s = p + c
    t = s - p
    error = (p - (s - t)) + (c - t)
    return _c_float(_to_odd(s, error) if error else s).value


def fma64(a: float, b: float, c: float) -> float:
    """a * b + c of float64 values, rounded once.

    Boldo and Melquiond (2008): split the product and the sums without error, and add the small parts rounded to odd.
    Where a part might overflow or underflow, it is done in fractions.
    """
    p = a * b
    if p == 0.0 and (a == 0.0 or b == 0.0):
        return p + c
    if not (_TINY < abs(a) < _HUGE and _TINY < abs(b) < _HUGE and abs(c) < _HUGE):
        return _fma_wide(a, b, c)
    ah, bh = _upper(a), _upper(b)
    al, bl = a - ah, b - bh
    low = al * bl - (((p - ah * bh) - al * bh) - ah * bl)
    th, tl = _two_sum(c, low)
    vh, vl = _two_sum(p, th)
    z, error = _two_sum(tl, vl)
    return vh + (_to_odd(z, error) if error else z)


_TINY, _HUGE = 2.0**-480, 2.0**480
_SPLITTER = 2.0**27 + 1


def _upper(x: Any) -> Any:
    """The upper 26 bits of a float64 (Veltkamp)."""
    t = _SPLITTER * x
    return t - (t - x)


def _two_sum(a: Any, b: Any) -> tuple[Any, Any]:
    """The rounded sum and its error (Knuth), exact in sum."""
    s = a + b
    t = s - a
    return s, (a - (s - t)) + (b - t)


def _to_odd(s: float, error: float) -> float:
    """`s`, rounded to nearest with this `error` left over, rounded to odd instead."""
    if error != error or s - s != 0.0:
        return s
    as_float, as_int = _float64_bits
    odd = as_int.unpack(as_float.pack(s))[0] & 1
    return s if odd else math.nextafter(s, math.copysign(math.inf, error))


def _fma_wide(a: float, b: float, c: float) -> float:
    if not (math.isfinite(a) and math.isfinite(b)):
        return a * b + c
    if not math.isfinite(c):
        return c
    exact = Fraction(a) * Fraction(b) + Fraction(c)
    try:
        return float(exact)
    except OverflowError:
        return math.inf if exact > 0 else -math.inf


def fma(a: float, b: float, c: float, dtype: str) -> float:
    """a * b + c, rounded once to float32 or float64; narrow ones round the float32 result."""
    if dtype == "float64":
        return fma64(a, b, c)
    return fma32(a, b, c) if dtype == "float32" else round_float(fma32(a, b, c), dtype)


def maximum(a: float, b: float) -> float:
    """The larger float; NaN if one of them is, and 0.0 above -0.0 (IEEE 754-2019 maximum)."""
    if a > b:
        return a
    if a < b:
        return b
    if a == b:  # they differ at most in the sign of zero
        return b if math.copysign(1.0, a) < 0 else a
    return math.nan


def minimum(a: float, b: float) -> float:
    """The smaller float; NaN if one of them is, and -0.0 below 0.0 (IEEE 754-2019 minimum)."""
    return -maximum(-a, -b)


def divide(a: float, b: float) -> float:
    """a / b in float64, with IEEE's results for a zero divisor."""
    if b != 0.0:
        return a / b
    if a == 0.0 or a != a:
        return math.nan
    return math.copysign(math.inf, a) * math.copysign(1.0, b)


def square_root(x: float) -> float:
    return math.sqrt(x) if x >= 0.0 else math.nan


def floordiv(a: int, b: int) -> int:
    return a // b if b else 0


def mod(a: int, b: int) -> int:
    return a % b if b else 0


def rounding(function: Callable[[float], int]) -> Callable[[float], float]:
    """math.floor, math.ceil, math.trunc or round, from floats to floats: keeps infinities, NaN and the sign of zero."""

    def apply(x: float) -> float:
        return math.copysign(float(function(x)), x) if -(2.0**52) < x < 2.0**52 else x

    return apply


floor, ceil, trunc, nearest = rounding(math.floor), rounding(math.ceil), rounding(math.trunc), rounding(round)


@cache
def _limits(dtype: str) -> tuple[int, int]:
    info = np.iinfo(dtypes.to_numpy(dtype))
    return int(info.min), int(info.max)


# --------------------------------------------------------------------------------------------------- arrays
def in_float32(function: Callable[..., Any]) -> Callable[..., Any]:
    """A NumPy function on arrays of narrow floats that computes in float32 and rounds a float result back."""

    def apply(*arrays: Any) -> Any:
        result = function(*(a.astype(np.float32) for a in arrays))
        return result.astype(arrays[0].dtype) if result.dtype == np.float32 else result

    return apply


def array_fma(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:
    """a * b + c of float arrays of one dtype, rounded as `fma` does."""
    with np.errstate(all="ignore"):
        if a.dtype == np.float64:
            return _array_fma64(a, b, c)
        p = a.astype(np.float64) * b.astype(np.float64)
        s, error = _two_sum(p, c.astype(np.float64))
        return _array_to_odd(s, error).astype(np.float32).astype(a.dtype)


def _array_fma64(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:
    a, b, c = np.broadcast_arrays(a, b, c)
    p = a * b
    ah, bh = _upper(a), _upper(b)
    al, bl = a - ah, b - bh
    low = al * bl - (((p - ah * bh) - al * bh) - ah * bl)
    th, tl = _two_sum(c, low)
    vh, vl = _two_sum(p, th)
    result = np.asarray(vh + _array_to_odd(*_two_sum(tl, vl)))
    usual = (abs(a) > _TINY) & (abs(a) < _HUGE) & (abs(b) > _TINY) & (abs(b) < _HUGE) & (abs(c) < _HUGE)
    for at in zip(*np.nonzero(~usual), strict=True):
        result[at] = fma64(float(a[at]), float(b[at]), float(c[at]))
    return result


def _array_to_odd(s: np.ndarray, error: np.ndarray) -> np.ndarray:
    if not error.any():  # NaN counts as any
        return s
    even = (np.ascontiguousarray(s).view(np.int64).reshape(np.shape(s)) & 1) == 0
    inexact = (error != 0) & np.isfinite(s) & np.isfinite(error)
    return np.where(even & inexact, np.nextafter(s, np.copysign(np.inf, error)), s)


def array_maximum(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore"):
        return np.where((a == 0) & (b == 0), a + b, np.maximum(a, b))


def array_minimum(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore"):
        return np.where((a == 0) & (b == 0), -(-a - b), np.minimum(a, b))


def array_cast(x: np.ndarray, dtype: str) -> np.ndarray:
    """`x` converted as `cast` does: floats saturate to integers, conversions of halves go through float32."""
    target = dtypes.to_numpy(dtype)
    if dtype == "bool":
        return x != 0
    floating = dtypes.is_float(dtypes.from_numpy(x.dtype) or "")
    with np.errstate(all="ignore"):
        if dtypes.is_float(dtype):
            return (x.astype(np.float32) if dtype in dtypes.NARROW else x).astype(target)
        if not floating:
            return x.astype(target)
        low, high = _limits(dtype)
        wide = x.astype(np.float64)
        inside = (wide > low) & (wide < high)
        result = np.where(inside, wide, 0).astype(target)
        result[wide >= high] = high
        result[wide <= low] = low
        return result
