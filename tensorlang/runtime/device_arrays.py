"""Arrays in the memory of a GPU: where they are and what they hold, whichever library made them; and fresh ones.

cupy arrays and torch tensors tell by their own attributes; anything else by DLPack.
"""

from __future__ import annotations

import ctypes
import sys
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np

from tensorlang.ir import dtypes
from tensorlang.runtime import arrays
from tensorlang.runtime.arrays import Unusable

_CUDA = 2  # kDLCUDA
_NO_WAIT = -1  # to __dlpack__: the consumer takes care of streams


class DeviceArray(NamedTuple):
    """An array in the memory of a GPU, for kernels to take where no library knows its type.

    `device` is the number of the GPU; `owner` keeps the memory alive.

    >>> tl.DeviceArray(0, (4, 8), np.dtype("float32"), compact=True, device=0, writable=True, owner=None).nbytes
    128
    """

    pointer: int
    shape: tuple[int, ...]
    dtype: np.dtype
    compact: bool
    device: int
    writable: bool
    owner: object

    @property
    def nbytes(self) -> int:
        size = self.dtype.itemsize
        for extent in self.shape:
            size *= extent
        return size


def view(array: Any) -> DeviceArray:
    """What `array` is. Raises Unusable if it is no array in the memory of a GPU."""
    if isinstance(array, DeviceArray):
        return array
    library = _library(array)
    if library == "cupy":
        flags = array.flags
        return DeviceArray(array.data.ptr, array.shape, array.dtype, flags.c_contiguous, array.device.id, True, array)
    if library == "torch":
        if not array.is_cuda:
            raise Unusable("a torch tensor in CPU memory (move it: x.cuda())")
        shape = tuple(array.shape)
        return DeviceArray(
            array.data_ptr(), shape, _torch_dtype(array), array.is_contiguous(), array.device.index, True, array
        )
    if isinstance(array, np.ndarray):
        raise Unusable("a NumPy array, which is in CPU memory (copy it: cupy.asarray(x))")
    if not hasattr(array, "__dlpack__"):
        raise Unusable(f"a {type(array).__name__}, which does not offer DLPack")
    kind, device = array.__dlpack_device__()
    if kind != _CUDA:
        raise Unusable(f"a {type(array).__name__} that is not in the memory of a GPU (DLPack device type {int(kind)})")
    return _from_dlpack(array, int(device))


def _from_dlpack(array: Any, device: int) -> DeviceArray:
    capsule, tensor, read_only = arrays.dltensor(array, stream=_NO_WAIT)
    shape = tuple(tensor.shape[: tensor.ndim])
    strides = tuple(tensor.strides[: tensor.ndim]) if tensor.strides else None
    compact, step = True, 1
    for extent, stride in zip(reversed(shape), reversed(strides or ()), strict=False):
        compact &= extent == 1 or stride == step
        step *= extent
    pointer = (tensor.data or 0) + tensor.byte_offset
    return DeviceArray(pointer, shape, arrays.dtype_of(tensor), compact, device, not read_only, (array, capsule))


def _library(array: Any) -> str:
    return type(array).__module__.partition(".")[0]


def _torch_dtype(array: Any) -> np.dtype:
    name = str(array.dtype).removeprefix("torch.")
    try:
        return np.dtype(getattr(ml_dtypes, name, name))
    except TypeError:
        raise Unusable(f"elements of a type that NumPy has not ({array.dtype})") from None


def empty(example: Any, shape: tuple[int, ...], dtype: np.dtype, device: int) -> Any:
    """An array with unspecified contents of the library that `example` is of."""
    if _library(example) == "torch":
        torch = sys.modules["torch"]
        name = dtypes.from_numpy(dtype) or dtype.name
        return torch.empty(shape, dtype=getattr(torch, name), device=f"cuda:{device}")
    import cupy

    with cupy.cuda.Device(device):
        return cupy.empty(shape, dtype)


def current_stream(example: Any, device: int) -> int:
    """The handle of the stream that the library of `example` works on at present."""
    if _library(example) == "torch":
        return int(sys.modules["torch"].cuda.current_stream(device).cuda_stream)
    import cupy

    return int(cupy.cuda.get_current_stream(device).ptr)


def stream_handle(stream: Any) -> int:
    """The handle of a stream: of cupy, of torch, or the number itself. Raises Unusable."""
    for attribute in ("ptr", "cuda_stream"):
        if hasattr(stream, attribute):
            return int(getattr(stream, attribute))
    if isinstance(stream, int | ctypes.c_void_p) and not isinstance(stream, bool):
        return stream if isinstance(stream, int) else stream.value or 0
    raise Unusable(f"a {type(stream).__name__}, which is no stream")
