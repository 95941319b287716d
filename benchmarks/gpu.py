"""Operators on a GPU: schedules written by hand with public primitives, beside torch and a copy of as many bytes.

    python -m benchmarks.gpu [--only softmax matmul] [--rounds 11]

Contenders take turns in one process (A B A B ...) on random data, each launch timed by events after the second-level
cache was emptied; medians count. Results are compared with float64. Writes benchmarks/results/gpu.jsonl.
"""

from __future__ import annotations

import argparse
import datetime
import json
import statistics
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import tensorlang as tl
from benchmarks.harness import RESULTS
from tensorlang.schedule import gpu_library as library
from tensorlang.topi import elementwise, linalg, normalization, reduction

FLUSH_BYTES = 256 << 20
Schedule = Callable[[], tl.Schedule]


@dataclass(frozen=True)
class Row:
    """One operator at one size. schedules: by name; inputs: makes torch tensors; peer: the same with torch, into out;
    reference: with float64; bytes: that must move; flops: that must be done; tolerance: of the relative error."""

    name: str
    schedules: dict[str, Schedule]
    inputs: Callable[[Any], list[Any]]
    peer: Callable[..., Any]
    reference: Callable[..., Any]
    bytes: int
    flops: int = 0
    tolerance: float = 1e-5
    notes: dict[str, Any] = field(default_factory=dict)


# ------------------------------------------------------------------------------------------------ the operators
def _normal(*shape: int, dtype: str = "float32") -> Callable[[Any], Any]:
    return lambda torch: torch.randn(shape, device="cuda").to(getattr(torch, dtype))


def _several(*makers: Callable[[Any], Any]) -> Callable[[Any], list[Any]]:
    return lambda torch: [make(torch) for make in makers]


def matmul(m: int, n: int, k: int) -> Row:
    def by_hand(**parameters: Any) -> Schedule:
        def make() -> tl.Schedule:
            s = tl.Schedule(linalg.matmul(m, n, k))
            library.matmul(s, "C", **parameters)
            return s

        return make

    options: list[dict[str, Any]] = [
        {"tile": (128, 128, 16), "stages": 1},
        {"tile": (128, 128, 16), "stages": 1, "asynchronous": True},
        {"tile": (64, 128, 16), "stages": 2, "asynchronous": True, "group": 4},
        {"tile": (64, 128, 16), "stages": 2, "resident": 4},
        {"tile": (64, 128, 16), "stages": 0},
        {"tile": (64, 64, 16), "each": (8, 4), "stages": 2, "asynchronous": True},
        {"tile": (64, 64, 32), "each": (8, 4), "stages": 2, "asynchronous": True},
    ]
    schedules = {", ".join(f"{k} {v}" for k, v in chosen.items()): by_hand(**chosen) for chosen in options}
    return Row(
        f"matmul f32 {m}x{n}x{k}",
        schedules,
        _several(_normal(m, k), _normal(k, n)),
        lambda torch, out, a, b: torch.mm(a, b, out=out),
        lambda torch, a, b: a.double() @ b.double(),
        4 * (m * k + k * n + m * n),
        2 * m * n * k,
        tolerance=1e-5,
    )


def softmax(rows: int, columns: int, dtype: str) -> Row:
    size, vector = (4, 4) if dtype == "float32" else (2, 8)

    def by_hand(threads: int, beside: int = 1) -> Schedule:
        def make() -> tl.Schedule:
            s = tl.Schedule(normalization.softmax(rows, columns, dtype=dtype))
            library.rows(s, "softmax", threads, vector, beside)
            return s

        return make

    counts = [(threads, beside) for threads, beside in ((32, 4), (64, 2), (128, 1), (256, 1), (512, 1))]
    fitting = [(t, b) for t, b in counts if 4 <= columns // t <= 64]
    return Row(
        f"softmax {dtype} {rows}x{columns}",
        {f"{t} threads x {b}": by_hand(t, b) for t, b in fitting},
        _several(_normal(rows, columns, dtype=dtype)),
        lambda torch, out, x: torch.softmax(x, 1, out=out),
        lambda torch, x: torch.softmax(x.double(), 1),
        2 * size * rows * columns,
        tolerance=1e-5 if size == 4 else 5e-3,
    )


def norm(kind: str, rows: int, columns: int, dtype: str) -> Row:
    size, vector = (4, 4) if dtype == "float32" else (2, 8)

    def by_hand(threads: int, beside: int) -> Schedule:
        def make() -> tl.Schedule:
            s = tl.Schedule(getattr(normalization, kind)(rows, columns, dtype=dtype))
            library.rows(s, kind, threads, vector, beside)
            return s

        return make

    layer = kind == "layer_norm"
    weights = [_normal(columns, dtype=dtype)] * (2 if layer else 1)

    def apply(torch: Any, x: Any, *weights: Any) -> Any:
        if layer:
            return torch.nn.functional.layer_norm(x, (columns,), *weights, eps=normalization.EPS)
        return torch.nn.functional.rms_norm(x, (columns,), *weights, eps=normalization.EPS)

    return Row(
        f"{kind} {dtype} {rows}x{columns}",
        {f"{t} threads x {b}": by_hand(t, b) for t, b in ((128, 1), (256, 1), (256, 2), (512, 1))},
        _several(_normal(rows, columns, dtype=dtype), *weights),
        lambda torch, out, *inputs: apply(torch, *inputs),
        lambda torch, *inputs: apply(torch, *(x.double() for x in inputs)),
        2 * size * rows * columns,
        tolerance=1e-5 if size == 4 else 5e-3,
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

    def by_hand(threads: int, each: int) -> Schedule:
        def make() -> tl.Schedule:
            s = tl.Schedule(computed())
            library.elementwise(s, "bias_gelu_mul", threads, 8, each)
            return s

        return make

    def apply(torch: Any, x: Any, bias: Any, y: Any) -> Any:
        return torch.nn.functional.gelu(x + bias, approximate="tanh") * y

    return Row(
        f"bias+gelu+mul {dtype} {rows}x{columns}",
        {f"{t} threads, {each} each": by_hand(t, each) for t in (128, 256) for each in (1, 2, 4)},
        _several(
            _normal(rows, columns, dtype=dtype), _normal(columns, dtype=dtype), _normal(rows, columns, dtype=dtype)
        ),
        lambda torch, out, *inputs: apply(torch, *inputs),
        lambda torch, *inputs: apply(torch, *(x.double() for x in inputs)),
        3 * 2 * rows * columns,
        tolerance=5e-3,
    )


def sums(axis: int, n: int) -> Row:
    def rows(threads: int, each: int) -> Schedule:
        def make() -> tl.Schedule:
            s = tl.Schedule(reduction.sum(n, n))
            library.row_sums(s, "sum", threads, 4, each)
            return s

        return make

    def columns(parts: int, threads: int, each: int) -> Schedule:
        def make() -> tl.Schedule:
            s = tl.Schedule(reduction.sum(n, n, dim=0))
            library.column_sums(s, "sum", parts, threads, 4, each)
            return s

        return make

    by_rows = {f"{t} threads, {e} each": rows(t, e) for t, e in ((128, 4), (256, 2), (256, 4), (512, 4))}
    by_columns = {
        f"{p} parts, {t} threads, {e} each": columns(p, t, e)
        for p, t, e in ((64, 128, 8), (128, 128, 8), (32, 256, 8), (64, 256, 4), (128, 64, 8))
    }
    return Row(
        f"{'row' if axis else 'column'} sum float32 {n}x{n}",
        by_rows if axis else by_columns,
        _several(_normal(n, n)),
        lambda torch, out, x: torch.sum(x, axis, out=out),
        lambda torch, x: x.double().sum(axis),
        4 * n * n,
        tolerance=3e-5,
    )


def transpose(n: int) -> Row:
    def by_hand(*threads: int) -> Schedule:
        def make() -> tl.Schedule:
            s = tl.Schedule(elementwise.transpose(n, n))
            library.transpose(s, "transpose", threads)
            return s

        return make

    return Row(
        f"transpose float32 {n}x{n}",
        {f"{y} x {x} threads": by_hand(y, x) for y, x in ((16, 16), (32, 16), (16, 32))},
        _several(_normal(n, n)),
        lambda torch, out, x: out.copy_(x.t()),
        lambda torch, x: x.t().double(),
        8 * n * n,
        tolerance=0.0,
    )


def every_row() -> list[Row]:
    return [
        matmul(1024, 1024, 1024),
        matmul(4096, 4096, 4096),
        *(softmax(r, c, d) for d in ("float32", "bfloat16") for r, c in ((4096, 4096), (8192, 8192), (65536, 1024))),
        norm("layer_norm", 16384, 8192, "bfloat16"),
        norm("rms_norm", 16384, 8192, "bfloat16"),
        bias_gelu_mul(16384, 8192, "bfloat16"),
        sums(1, 16384),
        sums(0, 16384),
        transpose(16384),
    ]


# ------------------------------------------------------------------------------------------------ the measurement
class Bench:
    """Measures on the current device."""

    def __init__(self, rounds: int):
        import torch

        torch.backends.cuda.matmul.allow_tf32 = False
        self.torch, self.rounds = torch, rounds
        self.flush = torch.empty(FLUSH_BYTES, dtype=torch.uint8, device="cuda")

    def once(self, work: Callable[[], Any]) -> float:
        """Microseconds of one launch, with a cold cache."""
        begin, end = (self.torch.cuda.Event(enable_timing=True) for _ in range(2))
        self.flush.zero_()
        begin.record()
        work()
        end.record()
        end.synchronize()
        return 1e3 * begin.elapsed_time(end)

    def turns(self, contenders: dict[str, Callable[[], Any]]) -> dict[str, list[float]]:
        """The times of each, taken in turns."""
        for work in contenders.values():
            work()
        times: dict[str, list[float]] = {name: [] for name in contenders}
        for number in range(self.rounds):
            names = list(contenders) if number % 2 == 0 else list(reversed(contenders))
            for name in names:
                times[name].append(self.once(contenders[name]))
        return times

    def row(self, row: Row) -> list[dict[str, Any]]:
        torch = self.torch
        torch.manual_seed(0)
        inputs = row.inputs(torch)
        expected = row.reference(torch, *inputs)
        contenders: dict[str, Callable[[], Any]] = {}
        errors: dict[str, float] = {}
        usage: dict[str, Any] = {}
        out = torch.empty(expected.shape, dtype=inputs[0].dtype, device="cuda")
        for name, schedule in row.schedules.items():
            try:
                kernel = tl.build(schedule(), "cuda")
            except tl.TensorlangError as error:
                print(f"  {row.name}: {name} is refused: {str(error).splitlines()[0]}", file=sys.stderr)
                continue
            order = _in_order(kernel, inputs, row)
            out.fill_(float("nan"))
            kernel(*order, out=out)
            errors[name] = _error(out, expected)
            usage[name] = {k: (u.registers, u.spills) for k, u in kernel.usage.items()}
            if not errors[name] <= row.tolerance:
                print(f"  {row.name}: {name} is wrong, relative error {errors[name]:.2e}", file=sys.stderr)
                continue
            contenders[name] = lambda k=kernel, o=order: k(*o, out=out)  # type: ignore[misc]
        half = row.bytes // 2 // 16 * 16
        source, target = (torch.empty(half, dtype=torch.uint8, device="cuda") for _ in range(2))
        source.random_(0, 255)
        del expected
        peer_out = torch.empty_like(out)
        contenders["torch"] = lambda: row.peer(torch, peer_out, *inputs)
        contenders["copy"] = lambda: target.copy_(source)
        times = self.turns(contenders)
        medians = {name: statistics.median(t) for name, t in times.items()}
        return [
            {
                "row": row.name,
                "contender": name,
                "us": round(medians[name], 2),
                "spread": round(_spread(times[name]) / medians[name], 4),
                "GB/s": round(row.bytes / medians[name] / 1e3, 1),
                **({"TFLOP/s": round(row.flops / medians[name] / 1e6, 2)} if row.flops else {}),
                "speed vs torch": round(medians["torch"] / medians[name], 3),
                "speed vs copy": round(medians["copy"] / medians[name], 3),
                **({"error": errors[name], "usage": usage[name]} if name in errors else {}),
            }
            for name in contenders
        ]


def _in_order(kernel: Any, inputs: list[Any], row: Row) -> list[Any]:
    """The inputs in the order of the kernel's parameters: those of the row are in the order of the names given."""
    names = [p.name for p in kernel.params if p not in kernel.outputs]
    wanted = ["x", "weight", "bias", "y"] if "norm" in row.name else ["x", "bias", "y", "A", "B"]
    order = sorted(names, key=wanted.index)
    by_name = dict(zip(order, inputs, strict=True))
    return [by_name[name] for name in names]


def _error(got: Any, expected: Any) -> float:
    """Of the whole result, in the Euclidean norm."""
    return float((got.double() - expected).norm() / expected.norm())


def _spread(times: list[float]) -> float:
    low, _, high = statistics.quantiles(times, n=4, method="inclusive")
    return high - low


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", default=[], help="rows whose names contain one of these words")
    parser.add_argument("--rounds", type=int, default=11)
    options = parser.parse_args()
    bench = Bench(options.rounds)
    RESULTS.mkdir(exist_ok=True)
    when = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
    device = bench.torch.cuda.get_device_name()
    with (RESULTS / "gpu.jsonl").open("a", encoding="utf-8") as file:
        for row in every_row():
            if options.only and not any(word in row.name for word in options.only):
                continue
            found = bench.row(row)
            print(f"\n{row.name}  ({device})")
            for entry in found:
                rate = f"{entry['TFLOP/s']:8.2f} TFLOP/s" if row.flops else f"{entry['GB/s']:8.0f} GB/s"
                print(
                    f"  {entry['contender']:66} {entry['us']:10.1f} us {rate}  "
                    f"{entry['speed vs torch']:6.3f} of torch  {entry['speed vs copy']:6.3f} of copy"
                )
                versions = {"torch": bench.torch.__version__, "cuda": bench.torch.version.cuda}
                file.write(json.dumps({"benchmark": "gpu", "when": when, "gpu": device, **entry, **versions}) + "\n")
            bench.torch.cuda.empty_cache()


if __name__ == "__main__":
    main()
