"""Calls with NumPy arrays that were checked before, in one native step: the check of what they are now, and the kernel.

A check in Python takes 5 us, and 20 us where the kernel before has filled the caches with its data. So once a kernel
has a record of the arrays of a call, `Kernel.__call__` is the compiled function of records.ll.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Sequence
from functools import lru_cache
from importlib.resources import files
from string import Template
from typing import Any

import llvmlite.binding as llvm
import numpy as np

from tensorlang.runtime import arrays

_WORD = np.dtype(np.int64)
_HEAD = 5  # words before the states: see %Record
_FASTCALL, _KEYWORDS = 0x80, 0x02
_DOC = b"__call__($self, /, *args, out=None, **named)\n--\n\n"
_FUNCTIONS = [
    "PyObject_GetAttr",
    "PyObject_VectorcallMethod",
    "PyTuple_Size",
    "PyTuple_GetItem",
    "PyEval_SaveThread",
    "PyEval_RestoreThread",
    "Py_IncRef",
    "Py_DecRef",
]


def make(
    given: Sequence[Any], outputs: int, dtypes: Sequence[np.dtype], code: int, native: Sequence[int], scratch: int
) -> np.ndarray | None:
    """The record of a call: the states of `given`, whatever their contents, and how the kernel at `code` is called.

    outputs: how many of them are written, the last ones; native: the arguments of the kernel, but for its scratch
    memory, `scratch` bytes of which the record has itself.
    None if not all are NumPy arrays of these very dtypes, which must stay alive: an address tells which dtype it is.
    """
    if not all(type(a) is np.ndarray and a.dtype is dtype for a, dtype in zip(given, dtypes, strict=True)):
        return None
    states = [word for array in given for word in _state(array)]
    words = _HEAD + len(states) + len(native) + 1
    words += -words % (arrays.ALIGNMENT // _WORD.itemsize)
    record = arrays.empty((words + -(-scratch // _WORD.itemsize),), _WORD)
    at = arrays.address(record)
    arguments = _HEAD + len(states)
    record[:arguments] = [0, code, at + arguments * _WORD.itemsize, len(given), outputs, *states]
    record[arguments : arguments + len(native) + 1] = [*native, at + words * _WORD.itemsize]
    return record


def _state(array: np.ndarray) -> list[int]:
    flags = ctypes.c_int.from_address(id(array) + arrays.DATA + 6 * ctypes.sizeof(ctypes.c_void_p)).value
    return [id(np.ndarray), arrays.address(array), array.ndim, id(array.dtype), flags, *array.shape]


class _Method(ctypes.Structure):
    """PyMethodDef."""

    _fields_ = (
        ("name", ctypes.c_char_p),
        ("function", ctypes.c_void_p),
        ("flags", ctypes.c_int),
        ("doc", ctypes.c_char_p),
    )


@lru_cache(1)
def install(owner: type, record: str, general: str) -> None:
    """Make the compiled function `owner.__call__`: instances have their record, or None, in the attribute `record`.

    Calls that no record knows go to the method called `general`. What is made here is never freed: any thread may be
    in the code until the process is gone.
    """
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    for name in _FUNCTIONS:
        llvm.add_symbol(name, ctypes.cast(getattr(ctypes.pythonapi, name), ctypes.c_void_p).value)
    names = {key: sys.intern(value) for key, value in (("record", record), ("general", general), ("out", "out"))}
    text = Template(files(__package__).joinpath("records.ll").read_text()).substitute(
        {key: id(name) for key, name in names.items()}, header=arrays.DATA, ndarray=id(np.ndarray), tuple=id(tuple)
    )
    machine = llvm.Target.from_default_triple().create_target_machine(opt=2, jit=True)
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(text), machine)
    method = _Method(b"__call__", engine.get_function_address("tl_call"), _FASTCALL | _KEYWORDS, _DOC)
    engine.detach()
    ctypes.pythonapi.Py_IncRef(ctypes.py_object((names, method)))
    descriptor = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.py_object, ctypes.c_void_p)
    new = descriptor(("PyDescr_NewMethod", ctypes.pythonapi))
    owner.__call__ = new(owner, ctypes.addressof(method))  # type: ignore[method-assign, operator]
