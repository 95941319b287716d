"""Scalar types: their names, sizes and NumPy counterparts.

A dtype is a plain string. Data types are those of `DATA`; `index` is the exact integer of loop variables and
subscripts, which has no size until lowering picks one.

>>> tl.dtypes.bytes_of("bfloat16"), tl.dtypes.is_float("bfloat16"), tl.dtypes.short("uint8")
(2, True, 'u8')
"""

import ml_dtypes
import numpy as np

FLOATS8 = ("float8_e4m3fn", "float8_e5m2")
NARROW = (*FLOATS8, "float16", "bfloat16")  # whose arithmetic happens in float32
FLOATS = (*NARROW, "float32", "float64")
SIGNED = ("int8", "int16", "int32", "int64")
UNSIGNED = ("uint8", "uint16", "uint32", "uint64")
INTEGERS = SIGNED + UNSIGNED
DATA = (*FLOATS, *INTEGERS, "bool")
ALL = (*DATA, "index")

_NUMPY = {name: np.dtype(getattr(ml_dtypes, name, name)) for name in DATA}
_SHORT = {
    "float8_e4m3fn": "f8e4m3",
    "float8_e5m2": "f8e5m2",
    "float16": "f16",
    "bfloat16": "bf16",
    "float32": "f32",
    "float64": "f64",
}


def is_float(dtype: str) -> bool:
    return dtype in FLOATS


def is_integer(dtype: str) -> bool:
    """True for the sized integers; `index` and `bool` are not among them."""
    return dtype in INTEGERS


def bits(dtype: str) -> int:
    """Size in bits of an element in memory (bool takes a byte)."""
    return 8 * to_numpy(dtype).itemsize


def bytes_of(dtype: str) -> int:
    return to_numpy(dtype).itemsize


def to_numpy(dtype: str) -> np.dtype:
    """The NumPy dtype (bfloat16 and those of 8 bits are of ml_dtypes; index is stored as int64).

    >>> to_numpy("float32")
    dtype('float32')
    """
    return _NUMPY["int64" if dtype == "index" else dtype]


def from_numpy(dtype: np.dtype) -> str | None:
    """The dtype of a NumPy array's elements, or None if there is none for it."""
    name = np.dtype(dtype).name
    return name if name in _NUMPY and np.dtype(dtype).isnative else None


def short(dtype: str) -> str:
    """How printers write it: f32, bf16, i8, u16, bool, index."""
    if dtype in _SHORT:
        return _SHORT[dtype]
    return dtype.replace("uint", "u").replace("int", "i") if dtype in INTEGERS else dtype
