"""What NumPy arrays were when they were checked, so that arrays in the same states need no other check.

A check in Python takes 5 us, and 20 us where the kernel before has filled the caches with its data; this takes one.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from functools import lru_cache
from importlib.resources import files
from string import Template
from typing import Any

import llvmlite.binding as llvm
import numpy as np

from tensorlang.runtime import arrays

MOST = 8  # arrays


class Record:
    """The states of some arrays, whatever their contents: type, address, dtype, layout, flags and shape.

    >>> record = Record.of([a, b], [a.dtype, b.dtype])
    >>> record.holds([a, b]), record.holds([b, a])
    (True, False)
    """

    def __init__(self, states: Sequence[int], count: int):
        self._states = (ctypes.c_int64 * len(states))(*states)
        self._at = ctypes.addressof(self._states)
        self._count, self._unchanged = count, _unchanged(count)

    @classmethod
    def of(cls, given: Sequence[Any], dtypes: Sequence[np.dtype]) -> Record | None:
        """None if there are too many, or if not all are NumPy arrays of these very dtypes, which must stay alive: an
        address tells which dtype it is."""
        if len(given) > MOST or not all(type(a) is np.ndarray for a in given):
            return None
        if any(a.dtype is not dtype for a, dtype in zip(given, dtypes, strict=True)):
            return None
        return cls([word for array in given for word in _state(array)], len(given))

    def holds(self, given: Sequence[Any]) -> bool:
        """Whether these arrays, of the same number, are in the same states."""
        return bool(self._unchanged(self._at, self._count, *map(id, given)))


def _state(array: np.ndarray) -> list[int]:
    flags = ctypes.c_int.from_address(id(array) + arrays.DATA + 6 * ctypes.sizeof(ctypes.c_void_p)).value
    return [id(np.ndarray), arrays.address(array), array.ndim, id(array.dtype), flags, *array.shape]


@lru_cache(MOST + 1)
def _unchanged(count: int) -> Callable[..., int]:
    arguments = [ctypes.c_void_p, *[ctypes.c_int64] * (1 + count)]
    return ctypes.PYFUNCTYPE(ctypes.c_int64, *arguments)(_compiled().get_function_address("tl_unchanged"))


@lru_cache(1)
def _compiled() -> llvm.ExecutionEngine:
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    text = Template(files(__package__).joinpath("records.ll").read_text()).substitute(header=arrays.DATA)
    machine = llvm.Target.from_default_triple().create_target_machine(opt=2, jit=True)
    return llvm.create_mcjit_compiler(llvm.parse_assembly(text), machine)
