"""Arrays of other libraries as NumPy arrays on the same memory, and back; the address of an array; aligned memory.

Anything that offers DLPack on the CPU is understood. The DLPack structures are read here rather than by
`numpy.from_dlpack`, which knows no bfloat16 and makes the arrays of many libraries read-only.
"""

from __future__ import annotations

import ctypes
import sys
from typing import Any

import ml_dtypes
import numpy as np

ALIGNMENT = 64
_CPU = 1  # kDLCPU
_READ_ONLY = 1  # DLPACK_FLAG_BITMASK_READ_ONLY
_CODES = {0: "int", 1: "uint", 2: "float", 4: "bfloat", 6: "bool"}  # to which the number of bits is added
_CODES8 = {10: "float8_e4m3fn", 12: "float8_e5m2"}

_capsule_is = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.py_object, ctypes.c_char_p)(
    ("PyCapsule_IsValid", ctypes.pythonapi),
)
_capsule_pointer = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p)(
    ("PyCapsule_GetPointer", ctypes.pythonapi),
)


class Unusable(Exception):
    """An object that cannot be read as an array; the text says why, in a form that follows "got"."""


class _Tensor(ctypes.Structure):
    """DLTensor of dlpack.h."""

    _fields_ = (
        ("data", ctypes.c_void_p),
        ("device_type", ctypes.c_int32),
        ("device_id", ctypes.c_int32),
        ("ndim", ctypes.c_int32),
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    )


class _Versioned(ctypes.Structure):
    """DLManagedTensorVersioned of dlpack.h."""

    _fields_ = (
        ("major", ctypes.c_uint32),
        ("minor", ctypes.c_uint32),
        ("manager", ctypes.c_void_p),
        ("deleter", ctypes.c_void_p),
        ("flags", ctypes.c_uint64),
        ("tensor", _Tensor),
    )


class _Memory:
    """Lends memory to NumPy by its array interface, and keeps the capsule that owns it alive as long as needed."""

    def __init__(self, capsule: object, interface: dict[str, Any]):
        self.capsule, self.__array_interface__ = capsule, interface


def as_numpy(array: Any) -> np.ndarray:
    """`array` itself if it is a NumPy array, else a NumPy array on the same memory.

    Raises Unusable if it is no array, not in CPU memory, or of an element type that NumPy has not.
    """
    if isinstance(array, np.ma.MaskedArray):
        raise Unusable("a masked array, whose mask would be lost (use its .data or .filled())")
    if isinstance(array, np.ndarray):
        return array
    if not hasattr(array, "__dlpack__"):
        raise Unusable(f"a {type(array).__name__}, which is neither a NumPy array nor offers DLPack")
    try:
        device, _ = array.__dlpack_device__()
    except (BufferError, RuntimeError, TypeError, ValueError) as error:  # as for tensors of torch without memory
        raise Unusable(f"a {type(array).__name__} that does not give its memory away: {error}") from error
    if device != _CPU:
        raise Unusable(f"a {type(array).__name__} in the memory of another device (DLPack device type {int(device)})")
    return _from_tensor(*dltensor(array))


def dltensor(array: Any, **options: Any) -> tuple[object, _Tensor, bool]:
    """What `array` exports by DLPack, with these options: the capsule that owns it, the tensor, and if it is read-only.

    Raises Unusable if it exports nothing.
    """
    capsule = _export(array, options)
    if _capsule_is(capsule, b"dltensor_versioned"):
        versioned = _Versioned.from_address(_capsule_pointer(capsule, b"dltensor_versioned"))
        return capsule, versioned.tensor, bool(versioned.flags & _READ_ONLY)
    return capsule, _Tensor.from_address(_capsule_pointer(capsule, b"dltensor")), False


def _export(array: Any, options: dict[str, Any]) -> object:
    """The DLPack capsule of `array`. It is not consumed, so its own destructor gives the memory back."""
    try:
        try:
            return array.__dlpack__(max_version=(1, 0), **options)
        except TypeError:  # a library from before DLPack 1.0
            return array.__dlpack__(**options)
    except (BufferError, RuntimeError, TypeError, ValueError) as error:
        raise Unusable(f"a {type(array).__name__} that does not give its memory away: {error}") from error


def _from_tensor(capsule: object, tensor: _Tensor, read_only: bool) -> np.ndarray:
    dtype = dtype_of(tensor)
    shape = tuple(tensor.shape[: tensor.ndim])
    strides = tuple(s * dtype.itemsize for s in tensor.strides[: tensor.ndim]) if tensor.strides else None
    if 0 in shape:  # such an array may have no memory at all
        return np.empty(shape, dtype)
    interface = {
        "version": 3,
        "shape": shape,
        "strides": strides,
        "typestr": f"|V{dtype.itemsize}",
        "data": ((tensor.data or 0) + tensor.byte_offset, read_only),
    }
    return np.asarray(_Memory(capsule, interface)).view(dtype)


def dtype_of(tensor: _Tensor) -> np.dtype:
    """The NumPy dtype of the elements. Raises Unusable if there is none."""
    kind = _CODES.get(tensor.code)
    name = kind if kind in (None, "bool") else f"{kind}{tensor.bits}"
    name = _CODES8.get(tensor.code, name)
    if name is None or tensor.lanes != 1:
        raise Unusable(f"elements of a type that NumPy has not (DLPack type {tensor.code}, {tensor.bits} bits)")
    return np.dtype(getattr(ml_dtypes, name, name))


def like(example: Any, array: np.ndarray) -> Any:
    """`array` as an array of the library that `example` is of, on the same memory."""
    if isinstance(example, np.ndarray):
        return array
    if hasattr(example, "__array_namespace__"):
        library = example.__array_namespace__()
    else:
        library = sys.modules[type(example).__module__.partition(".")[0]]
    if hasattr(ml_dtypes, array.dtype.name):  # NumPy does not export it
        return library.from_dlpack(array.view(f"int{8 * array.itemsize}")).view(getattr(library, array.dtype.name))
    return library.from_dlpack(array)


# ------------------------------------------------------------------------------------------------ memory
# PyArrayObject, the C interface of NumPy arrays: the object's header, then the pointer to the data (see records.ll).
DATA = object.__basicsize__
_pointer_at = ctypes.c_void_p.from_address


def address(array: np.ndarray) -> int:
    """The address of the first element. (array.ctypes.data says the same, ten times as slowly.)"""
    return _pointer_at(id(array) + DATA).value or 0


def empty(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """An array with unspecified contents whose address is a multiple of ALIGNMENT."""
    size = dtype.itemsize
    for extent in shape:
        size *= extent
    memory = np.empty(size + ALIGNMENT, np.uint8)
    return np.ndarray(shape, dtype, memory, -address(memory) % ALIGNMENT)
