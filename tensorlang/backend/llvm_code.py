"""The text of LLVM functions: names, types, constants, instructions in order. Knows nothing of the IR's statements."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable

import numpy as np

from tensorlang.ir import dtypes

_VALUE = {"float32": "float", "float64": "double", "bool": "i1", "index": "i64"}
_SUFFIX = {"float": "f32", "double": "f64", "ptr": "p0"}


def value_type(dtype: str, lanes: int = 1) -> str:
    """The LLVM type of a value: narrow floats are their bits, bool is i1."""
    scalar = _VALUE.get(dtype) or f"i{dtypes.bits(dtype)}"
    return scalar if lanes == 1 else f"<{lanes} x {scalar}>"


def memory_type(dtype: str, lanes: int = 1) -> str:
    """The LLVM type in memory: as the value, but bool is a byte."""
    return value_type("uint8" if dtype == "bool" else dtype, lanes)


def suffix(llvm_type: str) -> str:
    """How intrinsics spell a type: `<16 x float>` is v16f32."""
    vector = re.fullmatch(r"<(\d+) x (\w+)>", llvm_type)
    if vector:
        return f"v{vector[1]}{suffix(vector[2])}"
    return _SUFFIX.get(llvm_type, llvm_type)


def constant(value: int | float | bool, dtype: str) -> str:
    """A literal of `value_type(dtype)`."""
    if dtype == "bool":
        return "true" if value else "false"
    if dtype in dtypes.NARROW:
        with np.errstate(over="ignore"):
            bits = np.array(value).astype(dtypes.to_numpy(dtype)).view(f"uint{dtypes.bits(dtype)}")
        return str(int(bits))
    if dtypes.is_float(dtype):
        with np.errstate(over="ignore"):
            rounded = float(np.float32(value)) if dtype == "float32" else float(value)
        return "0x" + struct.pack(">d", rounded).hex().upper()
    return str(int(value))


def vector_constant(values: Iterable[int], scalar: str) -> str:
    """A vector of integer literals, without its type."""
    return "<" + ", ".join(f"{scalar} {v}" for v in values) + ">"


def splat(literal: str, scalar: str, lanes: int) -> str:
    """A literal in all lanes, without its type."""
    return literal if lanes == 1 else f"splat ({scalar} {literal})"


class Code:
    """One function being written. `names` are taken; `declared` collects the intrinsics of the whole module."""

    def __init__(self, declared: set[str]):
        self.declared = declared
        self.lines: list[str] = []
        self.allocas: list[str] = []
        self.block = "entry"
        self._taken: dict[str, int] = {}

    def name(self, base: str) -> str:
        """A fresh name like `base`, without its % sign."""
        base = re.sub(r"[^A-Za-z0-9_.]", "_", base) or "v"
        name = base
        while name in self._taken:  # a base may itself look like base_1
            self._taken[base] += 1
            name = f"{base}_{self._taken[base]}"
        self._taken[name] = 0
        return name

    def let(self, instruction: str, base: str = "t") -> str:
        """Append `%fresh = instruction`; returns %fresh."""
        result = "%" + self.name(base)
        self.lines.append(f"  {result} = {instruction}")
        return result

    def do(self, instruction: str) -> None:
        """Append an instruction without a result."""
        self.lines.append(f"  {instruction}")

    def label(self, name: str) -> None:
        """Begin the basic block `name`."""
        self.lines.append(f"{name}:")
        self.block = name

    def alloca(self, size: int, base: str) -> str:
        """`size` bytes of stack, aligned to 64, for the whole run of the function."""
        result = "%" + self.name(base)
        self.allocas.append(f"  {result} = alloca [{max(size, 1)} x i8], align 64")
        return result

    def call(self, result: str, function: str, *args: tuple[str, str], overload: bool = True) -> str:
        """Call an intrinsic of LLVM, overloaded on its result type; args are (type, value) pairs."""
        name = f"@{function}.{suffix(result)}" if overload else f"@{function}"
        self.declared.add(f"declare {result} {name}({', '.join(t for t, _ in args)})")
        text = f"call {result} {name}({', '.join(f'{t} {v}' for t, v in args)})"
        if result == "void":
            self.do(text)
            return ""
        return self.let(text)

    def text(self, header: str) -> str:
        """The finished function: `header` is all of `define ...` before its brace."""
        return "\n".join([header + " {", "entry:", *self.allocas, *self.lines, "}"])
