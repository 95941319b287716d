"""Memory as the interpreter sees it: flat, checked, poisoned when fresh.

A buffer is a one-dimensional NumPy array for vector access, and beside it a view of the same memory whose elements
are Python numbers, for scalar access (a memoryview where Python has one for the dtype).
"""

from __future__ import annotations

from typing import Any, NoReturn

import numpy as np

from tensorlang.ir import dtypes, exact


def scalar_view(array: np.ndarray, dtype: str) -> Any:
    """A view of a one-dimensional array that reads and writes Python numbers."""
    return NarrowView(array, dtype) if dtype in dtypes.NARROW else array.data


class NarrowView:
    """Memory of narrow floats as Python floats."""

    def __init__(self, array: np.ndarray, dtype: str):
        self.bits = array.view(f"uint{dtypes.bits(dtype)}").data
        self.values, self.dtype = exact.narrow_values(dtype), dtype

    def __getitem__(self, at: int) -> float:
        return self.values[self.bits[at]]

    def __setitem__(self, at: int, value: float) -> None:
        self.bits[at] = exact.narrow_bits(value, self.dtype)

    def __len__(self) -> int:
        return len(self.bits)


def poison(count: int, dtype: str) -> np.ndarray:
    """Fresh memory with contents that spoil what reads them: NaN, the smallest signed, the largest unsigned integer."""
    kind = dtypes.to_numpy(dtype)
    if dtypes.is_float(dtype):
        return np.full(count, np.nan, kind)
    if dtype == "bool":
        return np.ones(count, kind)
    info = np.iinfo(kind)
    return np.full(count, info.max if dtype in dtypes.UNSIGNED else info.min, kind)


def outside(name: str, *indices: Any) -> NoReturn:
    raise IndexError(f"{name}[{', '.join(map(str, indices))}] is out of bounds")


def outside_iter(block: str, name: str, value: int, extent: int) -> NoReturn:
    raise IndexError(f"block {block}: {name} = {value} is not in 0 .. {extent - 1}, and the predicate lets it pass")


def load_if(place: Any, at: int, on: bool, name: str) -> Any:
    """A scalar load with a mask: zero if it is off."""
    if not on:
        return type(place[0])(0) if len(place) else 0
    if not 0 <= at < len(place):
        outside(name, at)
    return place[at]


def store_if(place: Any, at: int, value: Any, on: bool, name: str) -> None:
    if on:
        if not 0 <= at < len(place):
            outside(name, at)
        place[at] = value


def gather(array: np.ndarray, at: np.ndarray, on: Any, name: str) -> np.ndarray:
    """A vector load: lanes that are off touch nothing and give zero."""
    if on is True:
        _check(array, at, name)
        return array[at]
    result = np.zeros(len(at), array.dtype)
    _check(array, at[on], name)
    result[on] = array[at[on]]
    return result


def scatter(array: np.ndarray, at: np.ndarray, value: Any, on: Any, name: str) -> None:
    """A vector store; where lanes share an element, the last one stays."""
    value = np.broadcast_to(value, at.shape)
    if on is not True:
        at, value = at[on], value[on]
    _check(array, at, name)
    array[at] = value


def _check(array: np.ndarray, at: np.ndarray, name: str) -> None:
    if len(at) and not (at.min() >= 0 and at.max() < len(array)):
        outside(name, next(int(i) for i in at if not 0 <= i < len(array)))
