"""Intrinsics of an invented CPU, which copy rows, and those of tensorlang.intrin.cpu for rows of any length."""

from __future__ import annotations

from tensorlang.backend.llvm_code import memory_type
from tensorlang.intrin import cpu
from tensorlang.intrin.intrin import Intrinsic
from tensorlang.ir.nodes import SERIAL, Buffer, For, Func, Load, Store, Var, const

LANES = (1, 2, 3, 4, 5, 6, 7, 8)
COPIED = ("float32", "float64", "float16", "int8", "int32", "int64", "bool")
COPIES = {"copy": {}, "fetch": {"B": "local"}, "gather": {}}  # how each is called, and what it says about memory


def copy(what: str, count: int, dtype: str) -> Intrinsic:
    """B[i] = A[i] for i < count: `copy` and `fetch` of neighbours, `gather` with any stride."""
    a, b = Buffer("A", (const(count),), dtype), Buffer("B", (const(count),), dtype)
    name, i = f"{what}{count}_{dtype}", Var("i")
    semantics = Func(name, (b, a), (b,), For(i, const(count), SERIAL, Store(b, (i,), Load(a, (i,)))))
    strides = {"A": (None,), "B": (None,)} if what == "gather" else {}
    return Intrinsic(name, semantics, strides, COPIES[what], code=lambda _: _code(name, count, dtype, bool(strides)))


def _code(name: str, count: int, dtype: str, strided: bool) -> str:
    kind = memory_type(dtype)
    steps = ["%by", "%ay"] if strided else ["1", "1"]
    lines = [f"define internal void @{name}(ptr %B, ptr %A{', i64 %by, i64 %ay' if strided else ''}) alwaysinline {{"]
    for n in range(count):
        for pointer, step in zip("BA", steps, strict=True):
            lines.append(f"  %{pointer}o{n} = mul i64 {step}, {n}")
            lines.append(f"  %{pointer}{n} = getelementptr {kind}, ptr %{pointer}, i64 %{pointer}o{n}")
        lines.append(f"  %v{n} = load {kind}, ptr %A{n}")
        lines.append(f"  store {kind} %v{n}, ptr %B{n}")
    return "\n".join([*lines, "  ret void", "}"])


_ALL = [copy(what, count, dtype) for what in COPIES for count in LANES for dtype in COPIED]
_ALL += [of(lanes) for of in (cpu.dot4, cpu.fma_row) for lanes in LANES if lanes not in (4, 8)]
INTRINSICS = {each.name: each for each in _ALL}
