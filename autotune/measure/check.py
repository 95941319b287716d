"""Is the answer right? Random inputs, poisoned outputs between canaries, comparison with a tolerance that fits."""

from __future__ import annotations

import contextlib
import ctypes
import math
import mmap
from collections.abc import Sequence

import numpy as np

from autotune.measure.outcome import WrongAnswer
from autotune.task import Array

_ALIGNMENT = 64
_CANARY_BYTES = 4096
_CANARY = 0xA5
_EPS = {
    "float8_e5m2": 2.0**-2,
    "float8_e4m3fn": 2.0**-3,
    "float16": 2.0**-10,
    "bfloat16": 2.0**-7,
    "float32": 2.0**-23,
    "float64": 2.0**-52,
}


def inputs(arrays: Sequence[Array], seed: Sequence[int]) -> list[np.ndarray]:
    """Random inputs in read-only memory: floats between -1 and 1, small integers of either sign, booleans."""
    rng = np.random.default_rng(seed)
    return [_sealed(a, rng) for a in arrays]


class Output:
    """An output to write to: `array` is poisoned, and what lies around it must not change."""

    def __init__(self, spec: Array):
        self.spec = spec
        size = math.prod(spec.shape) * spec.numpy.itemsize
        self._bytes, start = _aligned(size + 2 * _CANARY_BYTES)
        inner = self._bytes[start + _CANARY_BYTES : start + _CANARY_BYTES + size]
        self._around = (self._bytes[: start + _CANARY_BYTES], self._bytes[start + _CANARY_BYTES + size :])
        self.array = inner.view(spec.numpy).reshape(spec.shape)
        self._inner = inner
        self.poison()

    def poison(self) -> None:
        """Fill with what no right answer holds."""
        self._inner.fill(poison(self.spec))
        for side in self._around:
            side.fill(_CANARY)

    def check(self, want: np.ndarray, length: int) -> None:
        """Raise WrongAnswer unless the array holds `want`, which was reduced over up to `length` values."""
        if not all((side == _CANARY).all() for side in self._around):
            raise WrongAnswer(f"memory around {self.spec.name} was written to")
        compare(self.spec.name, self.array, want, self.spec.dtype, length)


def poison(spec: Array) -> int:
    """Bytes that make what no right answer holds: NaN for floats, a pattern for integers."""
    return 0xFF if spec.dtype in _EPS else 0x01 if spec.dtype == "bool" else 0x5A


def compare(name: str, got: np.ndarray, want: np.ndarray, dtype: str, length: int) -> None:
    """Raise WrongAnswer, naming the first element that is off. Integers and booleans must agree exactly.

    Arrays may be of NumPy or of cupy, to which NumPy's functions hand over.
    """
    if np.array_equal(got, want):
        return
    if dtype in _EPS:
        precise = np.float64 if dtype == "float64" else np.float32
        x, y = got.astype(precise), want.astype(precise)
        size = np.abs(y[np.isfinite(y)])
        allowed = tolerance(dtype, length) * (np.abs(y) + (size.mean() if size.size else 0.0))
        with np.errstate(invalid="ignore"):
            near = np.isfinite(y) & (np.abs(x - y) <= allowed)
            good = near | (x == y) | (np.isnan(x) & np.isnan(y))
    else:
        good = got == want
    if good.all():
        return
    at = tuple(int(i) for i in np.unravel_index(int(np.argmin(good)), good.shape))
    raise WrongAnswer(
        f"{name}{list(at)} is {got[at]}, expected {want[at]}; {np.count_nonzero(~good)} of {good.size} elements are off"
    )


def tolerance(dtype: str, length: int) -> float:
    """Relative error to allow when the order of a reduction over `length` values is free: errors add up like a walk."""
    return _EPS[dtype] * (8 + 4 * math.sqrt(length))


def random(spec: Array, rng: np.random.Generator, count: int) -> np.ndarray:
    """So many values for an array."""
    if spec.dtype in _EPS:
        return rng.uniform(-1, 1, count).astype(spec.numpy)
    if spec.dtype == "bool":
        return rng.integers(2, size=count).astype(bool)
    return rng.integers(0 if spec.dtype.startswith("u") else -4, 5, count).astype(spec.numpy)


def _sealed(spec: Array, rng: np.random.Generator) -> np.ndarray:
    memory = mmap.mmap(-1, max(1, math.prod(spec.shape) * spec.numpy.itemsize))
    if hasattr(mmap, "MADV_HUGEPAGE"):  # as NumPy does for its arrays
        with contextlib.suppress(OSError):
            memory.madvise(mmap.MADV_HUGEPAGE)
    array = np.frombuffer(memory, spec.numpy, math.prod(spec.shape)).reshape(spec.shape)
    array[...] = random(spec, rng, array.size).reshape(spec.shape)
    _seal(array, len(memory))
    return array


def _seal(array: np.ndarray, size: int) -> None:
    """Make the pages of an array read-only: a candidate that writes there ends itself, not the ones after it."""
    if ctypes.CDLL(None).mprotect(ctypes.c_void_p(array.ctypes.data), ctypes.c_size_t(size), mmap.PROT_READ):
        raise OSError("mprotect failed")
    array.flags.writeable = False


def _aligned(size: int) -> tuple[np.ndarray, int]:
    """(bytes, where an aligned part of `size` starts)."""
    raw = np.empty(size + _ALIGNMENT, np.uint8)
    return raw, -raw.ctypes.data % _ALIGNMENT
