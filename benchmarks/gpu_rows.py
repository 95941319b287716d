"""The rows of benchmarks/gpu.py: operators with the schedule by hand, with torch, and with float64."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import tensorlang as tl
from tensorlang.schedule import gpu_library as library
from tensorlang.topi import convolution, elementwise, linalg, normalization, reduction


@dataclass(frozen=True)
class Row:
    """One operator at one size. computed: makes the expression; by_hand: schedules it, the best way that is known;
    inputs: makes torch tensors, by the names of the parameters; peer(torch, out, **inputs): the same with torch, into
    `out` if there is one and torch can; reference(torch, **inputs): with float64; bytes: that must move; flops: that
    must be done; tolerance: of the relative error."""

    name: str
    computed: Callable[[], tl.Tensor]
    by_hand: Callable[[tl.Schedule], None]
    inputs: dict[str, Callable[[Any], Any]]
    peer: Callable[..., Any]
    reference: Callable[..., Any]
    bytes: int
    flops: int = 0
    tolerance: float = 1e-5


def _normal(*shape: int, dtype: str = "float32") -> Callable[[Any], Any]:
    return lambda torch: torch.randn(shape, device="cuda").to(getattr(torch, dtype))


def _precise(dtype: str) -> float:
    return 1e-5 if dtype == "float32" else 5e-3


def matmul(m: int, n: int, k: int, **by_hand: Any) -> Row:
    return Row(
        f"matmul f32 {m}x{n}x{k}",
        lambda: linalg.matmul(m, n, k),
        lambda s: library.tiled_matmul(s, "C", asynchronous=True, **by_hand),
        {"A": _normal(m, k), "B": _normal(k, n)},
        lambda torch, out, A, B: torch.mm(A, B, out=out),
        lambda torch, A, B: A.double() @ B.double(),
        4 * (m * k + k * n + m * n),
        2 * m * n * k,
    )


def tensor_core_matmul(n: int, dtype: str, **by_hand: Any) -> Row:
    def computed() -> tl.Tensor:
        product = linalg.matmul(n, n, n, dtype=dtype, out_dtype="float32")
        return tl.compute((n, n), lambda i, j: product[i, j].astype(dtype), name="D")

    return Row(
        f"matmul {dtype} {n}x{n}x{n}",
        computed,
        lambda s: library.tensor_core_matmul(s, "C", **by_hand),
        {"A": _normal(n, n, dtype=dtype), "B": _normal(n, n, dtype=dtype)},
        lambda torch, out, A, B: torch.mm(A, B, out=out),
        lambda torch, A, B: A.double() @ B.double(),
        2 * 3 * n * n,
        2 * n**3,
        tolerance=5e-3,
    )


def conv2d(channels: int, size: int, out: int, kernel: int, stride: int, **by_hand: Any) -> Row:
    """Of 32 images."""
    batch, padding = 32, kernel // 2
    space = (size + 2 * padding - kernel) // stride + 1
    return Row(
        f"conv2d float32 n{batch} c{channels} h{size} k{out} r{kernel}" + (f" s{stride}" if stride > 1 else ""),
        lambda: convolution.conv2d(batch, size, size, channels, out, kernel, stride, padding),
        lambda s: library.conv2d(s, "conv2d", **by_hand),
        {"x": _normal(batch, channels, size, size), "w": _normal(out, channels, kernel, kernel)},
        lambda torch, out, x, w: torch.conv2d(x, w, None, stride, padding),
        lambda torch, x, w: torch.conv2d(x.double(), w.double(), None, stride, padding),
        4 * (batch * channels * size**2 + out * channels * kernel**2 + batch * out * space**2),
        2 * batch * out * space**2 * channels * kernel**2,
    )


def depthwise_conv2d(channels: int, size: int, kernel: int, **by_hand: Any) -> Row:
    """Of 32 images."""
    batch, padding = 32, kernel // 2
    return Row(
        f"depthwise_conv2d float32 n{batch} c{channels} h{size} r{kernel}",
        lambda: convolution.depthwise_conv2d(batch, size, size, channels, kernel, 1, padding),
        lambda s: library.depthwise_conv2d(s, "depthwise_conv2d", **by_hand),
        {"x": _normal(batch, channels, size, size), "w": _normal(channels, 1, kernel, kernel)},
        lambda torch, out, x, w: torch.conv2d(x, w, None, 1, padding, 1, channels),
        lambda torch, x, w: torch.conv2d(x.double(), w.double(), None, 1, padding, 1, channels),
        4 * 2 * batch * channels * size**2,
        2 * batch * channels * size**2 * kernel**2,
    )


def softmax(rows: int, columns: int, dtype: str, threads: int, beside: int = 1) -> Row:
    size, vector = (4, 4) if dtype == "float32" else (2, 8)
    return Row(
        f"softmax {dtype} {rows}x{columns}",
        lambda: normalization.softmax(rows, columns, dtype=dtype),
        lambda s: library.rows(s, "softmax", threads, vector, beside),
        {"x": _normal(rows, columns, dtype=dtype)},
        lambda torch, out, x: torch.softmax(x, 1, out=out),
        lambda torch, x: torch.softmax(x.double(), 1),
        2 * size * rows * columns,
        tolerance=_precise(dtype),
    )


def norm(kind: str, rows: int, columns: int, dtype: str, threads: int, vector: int) -> Row:
    size = 4 if dtype == "float32" else 2
    weights = ("weight", "bias") if kind == "layer_norm" else ("weight",)

    def apply(torch: Any, x: Any, **weights: Any) -> Any:
        function = getattr(torch.nn.functional, kind)
        return function(x, (columns,), **weights, eps=normalization.EPS)

    return Row(
        f"{kind} {dtype} {rows}x{columns}",
        lambda: getattr(normalization, kind)(rows, columns, dtype=dtype),
        lambda s: library.rows(s, kind, threads, vector),
        {"x": _normal(rows, columns, dtype=dtype), **{w: _normal(columns, dtype=dtype) for w in weights}},
        lambda torch, out, **inputs: apply(torch, **inputs),
        lambda torch, **inputs: apply(torch, **{name: x.double() for name, x in inputs.items()}),
        2 * size * rows * columns,
        tolerance=_precise(dtype),
    )


def bias_gelu_mul(rows: int, columns: int, dtype: str) -> Row:
    def computed() -> tl.Tensor:
        x, y = (tl.placeholder((rows, columns), dtype, name=name) for name in ("x", "y"))
        bias = tl.placeholder((columns,), dtype, name="bias")

        def element(i: tl.Expr, j: tl.Expr) -> tl.Expr:
            v = x[i, j].astype("float32") + bias[j].astype("float32")
            inner = v * (v * v * 0.044715 + 1.0) * 0.7978845608028654
            return (v * 0.5 * (tl.tanh(inner) + 1.0) * y[i, j].astype("float32")).astype(dtype)

        return tl.compute((rows, columns), element, name="bias_gelu_mul")

    def apply(torch: Any, x: Any, bias: Any, y: Any) -> Any:
        return torch.nn.functional.gelu(x + bias, approximate="tanh") * y

    return Row(
        f"bias+gelu+mul {dtype} {rows}x{columns}",
        computed,
        lambda s: library.elementwise(s, "bias_gelu_mul", 256, 8),
        {
            "x": _normal(rows, columns, dtype=dtype),
            "bias": _normal(columns, dtype=dtype),
            "y": _normal(rows, columns, dtype=dtype),
        },
        lambda torch, out, **inputs: apply(torch, **inputs),
        lambda torch, **inputs: apply(torch, **{name: x.double() for name, x in inputs.items()}),
        3 * 2 * rows * columns,
        tolerance=_precise(dtype),
    )


def sums(axis: int, n: int) -> Row:
    def by_hand(s: tl.Schedule) -> None:
        if axis:
            library.row_sums(s, "sum", 512, 4, 4)
        else:
            library.column_sums(s, "sum", 16, 512, 4, 2)

    return Row(
        f"{'row' if axis else 'column'} sum float32 {n}x{n}",
        lambda: reduction.sum(n, n, dim=axis),
        by_hand,
        {"x": _normal(n, n)},
        lambda torch, out, x: torch.sum(x, axis, out=out),
        lambda torch, x: x.double().sum(axis),
        4 * n * n,
        tolerance=3e-5,
    )


def transpose(n: int) -> Row:
    return Row(
        f"transpose float32 {n}x{n}",
        lambda: elementwise.transpose(n, n),
        lambda s: library.transpose(s, "transpose", (32, 16)),
        {"x": _normal(n, n)},
        lambda torch, out, x: x.t().contiguous() if out is None else out.copy_(x.t()),
        lambda torch, x: x.t().double(),
        8 * n * n,
        tolerance=0.0,
    )


def every_row() -> list[Row]:
    return [
        matmul(1024, 1024, 1024, threads=(4, 4, 8), far=(2, 1), depth=(1, 32), group=1),
        matmul(4096, 4096, 4096, threads=(8, 4, 4), order="columns", turning=True, resident=4),
        tensor_core_matmul(4096, "float16", tile=(128, 256, 64), stages=3, group=8, staged=True),
        tensor_core_matmul(4096, "bfloat16", tile=(128, 256, 64), stages=3, group=8, staged=True),
        conv2d(64, 56, 64, 3, 1, tile=(64, 4, 28, 8), each=(8, 1, 4), stages=1),
        conv2d(256, 14, 256, 3, 1, tile=(32, 14, 14, 8), each=(4, 1, 14), stages=3),
        conv2d(3, 224, 64, 7, 2, tile=(64, 4, 28, 3), each=(8, 1, 4), stages=1),
        conv2d(256, 56, 64, 1, 1, tile=(64, 4, 28, 16), each=(8, 1, 4), stages=2, vector=4),
        depthwise_conv2d(256, 56, 3),
        softmax(4096, 4096, "float32", 256),
        softmax(8192, 8192, "float32", 1024),
        softmax(65536, 1024, "float32", 64),
        softmax(4096, 4096, "bfloat16", 256),
        softmax(8192, 8192, "bfloat16", 512),
        softmax(65536, 1024, "bfloat16", 128),
        norm("layer_norm", 16384, 8192, "bfloat16", 512, 4),
        norm("rms_norm", 16384, 8192, "bfloat16", 512, 8),
        bias_gelu_mul(16384, 8192, "bfloat16"),
        sums(1, 16384),
        sums(0, 16384),
        transpose(16384),
    ]
