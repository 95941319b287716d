"""Intrinsics of CPUs, as LLVM IR: sums of byte products, and a row of fused multiply-adds."""

from __future__ import annotations

from collections.abc import Iterable

from tensorlang.create_func import create_func
from tensorlang.intrin.intrin import Intrinsic, plain
from tensorlang.ir import ops
from tensorlang.ir.nodes import SERIAL, ZERO, Buffer, For, Func, Load, Store, Var, const
from tensorlang.reducers import sum as sum_of
from tensorlang.target.target import Target
from tensorlang.te import compute, placeholder, reduce_axis


def dot4(lanes: int = 16) -> Intrinsic:
    """C[j] += sum over k < 4 of A[k] * B[j, k] for j < lanes: uint8 times int8 into int32, which wraps around.

    A is four neighbouring bytes, B is packed: `lanes` groups of four. For 16, 8 and 4 lanes it is one instruction,
    vpdpbusd, where the CPU has it (avx512vnni, or avxvnni up to 8 lanes).

    >>> dot4(4)
    dot4x4
    """
    a, b = placeholder((4,), "uint8", name="A"), placeholder((lanes, 4), "int8", name="B")
    k = reduce_axis(4, name="k")
    c = compute((lanes,), lambda j: sum_of(a[k].astype("int32") * b[j, k].astype("int32"), axis=k), name="C")
    name = f"dot4x{lanes}"
    semantics = plain(create_func(c, args=[c, a, b], name=name))
    return Intrinsic(name, semantics, code=lambda target: _dot4(name, lanes, target))


def fma_row(lanes: int = 16) -> Intrinsic:
    """C[j] = fma(A[0], B[j], C[j]) for j < lanes, in float32: a row of a matrix product.

    >>> fma_row(8)
    fma_row8
    """
    a, b = Buffer("A", (const(1),), "float32"), Buffer("B", (const(lanes),), "float32")
    c, j = Buffer("C", (const(lanes),), "float32"), Var("j")
    value = ops.make("fma", Load(a, (ZERO,)), Load(b, (j,)), Load(c, (j,)))
    name = f"fma_row{lanes}"
    semantics = Func(name, (c, a, b), (c,), For(j, const(lanes), SERIAL, Store(c, (j,), value)))
    return Intrinsic(name, semantics, code=lambda _: _fma_row(name, lanes))


INTRINSICS = (dot4(16), dot4(8), dot4(4), fma_row(16), fma_row(8), fma_row(4))
"""Those that a schedule knows by name."""


def _dot4(name: str, n: int, target: Target) -> str:
    wide, words, narrow = f"<{n} x i32>", f"<{4 * n} x i32>", f"<{4 * n} x i8>"
    load_c = f"  %c = load {wide}, ptr %C, align 4"
    load_b = f"  %b = load {narrow}, ptr %B, align 1"
    if _has_vpdpbusd(n, target):
        instruction = f"@llvm.x86.avx512.vpdpbusd.{32 * n}"
        return "\n".join(
            [
                f"declare {wide} {instruction}({wide}, {narrow}, {narrow})",
                f"define internal void @{name}(ptr %C, ptr %A, ptr %B) alwaysinline {{",
                load_c,
                load_b,
                "  %word = load i32, ptr %A, align 1",
                f"  %one = insertelement {wide} poison, i32 %word, i32 0",
                f"  %all = shufflevector {wide} %one, {wide} poison, {_indices([0] * n)}",
                f"  %a = bitcast {wide} %all to {narrow}",
                f"  %sum = call {wide} {instruction}({wide} %c, {narrow} %a, {narrow} %b)",
                f"  store {wide} %sum, ptr %C, align 4",
                "  ret void",
                "}",
            ]
        )
    parts = [f"  %c{k + 1} = add {wide} {'%c' if k == 0 else f'%c{k}'}, %p{k}" for k in range(4)]
    picked = [
        f"  %p{k} = shufflevector {words} %products, {words} poison, {_indices(range(k, 4 * n, 4))}" for k in range(4)
    ]
    return "\n".join(
        [
            f"define internal void @{name}(ptr %C, ptr %A, ptr %B) alwaysinline {{",
            load_c,
            load_b,
            "  %four = load <4 x i8>, ptr %A, align 1",
            "  %bytes = zext <4 x i8> %four to <4 x i32>",
            f"  %a = shufflevector <4 x i32> %bytes, <4 x i32> poison, {_indices([0, 1, 2, 3] * n)}",
            f"  %signed = sext {narrow} %b to {words}",
            f"  %products = mul {words} %a, %signed",
            *picked,
            *parts,
            f"  store {wide} %c4, ptr %C, align 4",
            "  ret void",
            "}",
        ]
    )


def _has_vpdpbusd(lanes: int, target: Target) -> bool:
    if lanes == 16:
        return target.has("avx512vnni")
    whole = lanes in (4, 8)
    return whole and (target.has("avxvnni") or (target.has("avx512vnni") and target.has("avx512vl")))


def _fma_row(name: str, n: int) -> str:
    wide = f"<{n} x float>"
    return "\n".join(
        [
            f"declare {wide} @llvm.fma.v{n}f32({wide}, {wide}, {wide})",
            f"define internal void @{name}(ptr %C, ptr %A, ptr %B) alwaysinline {{",
            f"  %c = load {wide}, ptr %C, align 4",
            f"  %b = load {wide}, ptr %B, align 4",
            "  %scalar = load float, ptr %A, align 4",
            f"  %one = insertelement {wide} poison, float %scalar, i32 0",
            f"  %a = shufflevector {wide} %one, {wide} poison, {_indices([0] * n)}",
            f"  %sum = call {wide} @llvm.fma.v{n}f32({wide} %a, {wide} %b, {wide} %c)",
            f"  store {wide} %sum, ptr %C, align 4",
            "  ret void",
            "}",
        ]
    )


def _indices(values: Iterable[int]) -> str:
    """The mask of a shuffle."""
    lanes = [f"i32 {v}" for v in values]
    return f"<{len(lanes)} x i32> <{', '.join(lanes)}>"
