"""What a schedule step costs, and what lowering costs: the time of every primitive on matmul and convolution schedules.

    python -m benchmarks.schedule_speed [--repeats 15] [--profile]

Each schedule below is made again and again from nothing (tensors, Func, names), so that nothing found out about one
serves the next. Times are CPU time of the one thread that works; the time of a step is its median over the repeats, and
its least time is recorded too, which other work on the machine disturbs less. How fast Python runs there just then is
told by the time of an empty loop. The same schedules are also made in a Func of 50 blocks, elementwise operations
before and after. Bars: a step takes 1 ms or less in the median and 5 ms at the 99th percentile, at most twice that in
50 blocks; lowering the tuned convolution takes 50 ms.
"""

from __future__ import annotations

import argparse
import cProfile
import pstats
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import tensorlang as tl
from benchmarks.harness import Row, record
from benchmarks.machine import empty_loop, versions
from tensorlang.intrin import cpu
from tensorlang.schedule import library

ROWS, VECTORS, LANES = 6, 2, 16
Make = Callable[[int], tl.Schedule]
Steps = Callable[[tl.Schedule], None]


# --------------------------------------------------------------------------------------------------- programs
def elementwise(x: tl.Tensor, count: int, name: str) -> tl.Tensor:
    """`count` operations on each element, one after the other."""
    for number in range(count):
        x = tl.compute(x.shape, lambda *i, x=x: x[i] * 0.5 + 1.0, name=f"{name}{number}")
    return x


def matmul(around: int, n: int = 1024) -> tl.Schedule:
    """C = A @ B, then relu; `around` elementwise operations before and as many after."""
    a, b = tl.placeholder((n, n), name="A"), tl.placeholder((n, n), name="B")
    left, k = elementwise(a, around, "before"), tl.reduce_axis(n, name="k")
    c = tl.compute((n, n), lambda i, j: tl.sum(left[i, k] * b[k, j], axis=k), name="C")
    e = tl.compute((n, n), lambda i, j: tl.maximum(c[i, j], 0.0), name="E")
    return tl.Schedule(elementwise(e, around, "after"))


def convolution(around: int, size: int = 56, channels: int = 64) -> tl.Schedule:
    """A 3 x 3 convolution C of P, which is X padded, layout NHWC, then relu; operations around as for `matmul`."""
    x = elementwise(tl.placeholder((1, size, size, channels), name="X"), around, "before")
    weight = tl.placeholder((3, 3, channels, channels), name="W")
    inside = lambda h, w: (h >= 1) & (h < size + 1) & (w >= 1) & (w < size + 1)  # noqa: E731
    padded = tl.compute(
        (1, size + 2, size + 2, channels),
        lambda n, h, w, c: tl.if_then_else(inside(h, w), x[n, h - 1, w - 1, c], 0.0),
        name="P",
    )
    kh, kw, ci = tl.reduce_axis(3, "kh"), tl.reduce_axis(3, "kw"), tl.reduce_axis(channels, "ci")
    conv = tl.compute(
        (1, size, size, channels),
        lambda n, h, w, o: tl.sum(padded[n, h + kh, w + kw, ci] * weight[kh, kw, ci, o], axis=(kh, kw, ci)),
        name="C",
    )
    relu = tl.compute(conv.shape, lambda n, h, w, o: tl.maximum(conv[n, h, w, o], 0.0), name="E")
    return tl.Schedule(elementwise(relu, around, "after"))


# -------------------------------------------------------------------------------------------------- schedules
def goto(s: tl.Schedule) -> None:
    """Register tiles and packed operands for a matrix product; the rest in vectors, on all threads."""
    library.matmul(s, "C", LANES, ROWS, VECTORS, 8)
    library.map_in_vectors(s, "E", LANES, 4)
    library.parallel_outer(s, "E")


def fused_matmul(s: tl.Schedule) -> None:
    """relu in the tiles of the product, whose reduction is split in two parts and started apart."""
    i0, j0, i1, j1 = s.tile(["C.i", "C.j"], [32, 64])
    k0, k1 = s.split("C.k", [None, 4])
    s.reorder(i0, j0, k0, i1, k1, j1)
    s.reverse_compute_at("E", j0)
    s.cache_read("C", "B", "local")
    s.compute_at("B.local", k0)
    s.decompose_reduction("C", k0)
    s.parallel(s.fuse(i0, j0))
    s.vectorize(j1)
    s.unroll(k1)
    s.annotate("C", "note", "tile")


def partial_sums(s: tl.Schedule) -> None:
    """The product in partial sums, packed operands, uneven tiles."""
    s.cache_read("C", "B", "global")
    s.transform_layout("B.global", lambda k, j: (j // 32, k, j % 32))
    s.storage_align("B.global", axis=1, factor=64)
    _, k1 = s.split("C.k", [None, 16])
    s.rfactor(k1, factor_axis=0)
    s.split("C.i", [None, 10], tail="cut")
    s.loop_partition("E.j", [24])
    s.add_unit_loop("E")


def padded_matmul(s: tl.Schedule) -> None:
    """Operands padded to whole tiles, and in the order of the block's iterators."""
    s.pad_einsum("C", [5, 48, None])
    s.reindex("C", "B.pad")
    s.tile(["C.i", "C.j"], [5, 48])


def rows_of_multiply_adds(s: tl.Schedule) -> None:
    """The product by an intrinsic, eight columns at a time; relu by blocks."""
    j0, j1 = s.split("C.j", [None, 8])
    s.reorder(j0, "C.k", j1)
    s.decompose_reduction("C", "C.k")
    s.tensorize(j1, cpu.fma_row(8))
    _, rows = s.split("E.i", [None, 4])
    s.blockize(rows)


def by_size(s: tl.Schedule) -> None:
    """Variants for sizes that divide and sizes that do not."""
    n = s.buffers()["B"].shape[1]
    s.specialize(n % 4 == 0)
    s.split("C.j", [None, 4])


def tuned_convolution(s: tl.Schedule) -> None:
    """Register tiles of columns and channels, accumulated in registers, relu in them; padding for each row."""
    w0, w1 = s.split("C.w", [None, ROWS])
    o0, o1, o2 = s.split("C.o", [None, VECTORS, LANES])
    c0, c1 = s.split("C.ci", [None, 4])
    s.reorder("C.n", "C.h", o0, w0, "C.kh", "C.kw", c0, c1, w1, o1, o2)
    copy = s.cache_write("C", "local")
    s.reverse_compute_inline("E")
    s.reverse_compute_at(copy, w0)
    s.compute_at("P", "C.h")
    s.parallel(s.fuse("C.n", "C.h"))
    s.vectorize(o2)
    for loop in (c1, w1, o1):
        s.unroll(loop)
    *_, w, o = s.loops(copy)
    vectors, _ = library.vectorize_or_guard(s, o, LANES)
    s.unroll(w)
    s.unroll(vectors)
    library.vectorize_or_guard(s, s.loops("P")[-1], LANES)


def rolling_rows(s: tl.Schedule) -> None:
    """A rolling window of padded rows, the weights kept close."""
    s.compute_at("P", "C.h")
    s.store_at("P", "C.n")
    s.rolling_buffer("P", "C.h")
    s.cache_read("C", "W", "global")
    s.set_scope("W.global", "local")
    s.reverse_compute_at("E", "C.h")


def padding_apart(s: tl.Schedule) -> None:
    """The border filled first, the inside copied without conditions."""
    s.decompose_padding("P", "P.n")
    s.decompose_reduction("C", "C.kh")
    s.fission("C.o", "C.init")
    s.parallel(s.fuse("P.h", "P.w"))


def padding_inline(s: tl.Schedule) -> None:
    """No padded copy at all."""
    s.compute_inline("P")
    library.map_in_vectors(s, "E", LANES)


SCHEDULES: dict[str, tuple[Make, Steps]] = {
    "matmul, packed": (matmul, goto),
    "matmul, fused": (matmul, fused_matmul),
    "matmul, partial sums": (matmul, partial_sums),
    "matmul, padded": (matmul, padded_matmul),
    "matmul, intrinsic": (matmul, rows_of_multiply_adds),
    "matmul, any size": (lambda around: matmul(around, tl.var("n")), by_size),
    "convolution, tuned": (convolution, tuned_convolution),
    "convolution, rolling": (convolution, rolling_rows),
    "convolution, padding apart": (convolution, padding_apart),
    "convolution, padding inline": (convolution, padding_inline),
}
PRIMITIVES = [name for name, method in vars(tl.Schedule).items() if hasattr(method, "signature")]
FIFTY = 24  # operations before and as many after make a program of 50 blocks (51 for convolutions)


# ----------------------------------------------------------------------------------------------- measurement
@contextmanager
def watched(seconds: list[tuple[str, float]]) -> Iterator[None]:
    """Within this context, every primitive called by a user or a routine adds (name, seconds) to `seconds`."""
    originals = {name: getattr(tl.Schedule, name) for name in PRIMITIVES}

    def timed(name: str, method: Any) -> Any:
        def step(*args: Any, **named: Any) -> Any:
            begin = time.thread_time()
            result = method(*args, **named)
            seconds.append((name, time.thread_time() - begin))
            return result

        step.signature = method.signature  # type: ignore[attr-defined]
        return step

    for name, method in originals.items():
        setattr(tl.Schedule, name, timed(name, method))
    try:
        yield
    finally:
        for name, method in originals.items():
            setattr(tl.Schedule, name, method)


def steps_of(name: str, around: int) -> list[tuple[str, float]]:
    """(primitive, seconds) of each step of a schedule that is made from nothing."""
    make, schedule = SCHEDULES[name]
    s = make(around)
    seconds: list[tuple[str, float]] = []
    with watched(seconds):
        schedule(s)
    return seconds


def measure(around: int, repeats: int) -> dict[str, list[tuple[str, tuple[float, ...]]]]:
    """For each schedule its steps, each with the seconds of all repeats. The schedules take turns."""
    runs: dict[str, list[list[tuple[str, float]]]] = {name: [] for name in SCHEDULES}
    for name in SCHEDULES:
        steps_of(name, around)  # the first is slower: imports, tables
    for _ in range(repeats):
        for name, found in runs.items():
            found.append(steps_of(name, around))
    return {
        name: [(same[0][0], tuple(seconds for _, seconds in same)) for same in zip(*found, strict=True)]
        for name, found in runs.items()
    }


def lowering(repeats: int) -> tuple[float, ...]:
    """Seconds of lowering the tuned convolution, made anew each time."""
    found = []
    for _ in range(repeats + 1):
        s = convolution(0)
        tuned_convolution(s)
        begin = time.thread_time()
        tl.lower(s)
        found.append(time.thread_time() - begin)
    return tuple(found[1:])


def percentile(values: list[float], share: float) -> float:
    """The least of `values` that at least that share of them does not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def row(name: str, turns: tuple[float, ...]) -> Row:
    low, _, high = statistics.quantiles(turns, n=4, method="inclusive")
    return Row(name, 1, statistics.median(turns), high - low, min(turns), turns, versions())


def report(title: str, measured: dict[str, list[tuple[str, tuple[float, ...]]]]) -> dict[str, Any]:
    """Print what the steps cost; returns the figures in milliseconds."""
    steps = [(name, seconds) for found in measured.values() for name, seconds in found]
    medians = [1e3 * statistics.median(seconds) for _, seconds in steps]
    least = [1e3 * min(seconds) for _, seconds in steps]
    every = [1e3 * second for _, seconds in steps for second in seconds]
    figures = {
        "steps": len(steps),
        "median_ms": statistics.median(medians),
        "p99_ms": percentile(medians, 0.99),
        "least_median_ms": statistics.median(least),
        "least_p99_ms": percentile(least, 0.99),
        "single_p99_ms": percentile(every, 0.99),
    }
    print(f"\n{title}: {len(steps)} steps of {len(measured)} schedules, {len(steps[0][1])} times each")
    for prefix, of in (("", "the steps' medians"), ("least_", "their least times")):
        median, p99 = figures[f"{prefix}median_ms"], figures[f"{prefix}p99_ms"]
        print(f"  median {median:.2f} ms, 99th percentile {p99:.2f} ms of {of}")
    print(f"  99th percentile of all single times {figures['single_p99_ms']:.2f} ms")
    by_primitive: dict[str, list[tuple[float, float]]] = {}
    for (name, _), median, low in zip(steps, medians, least, strict=True):
        by_primitive.setdefault(name, []).append((median, low))
    print(f"  {'':22} steps  median ms   worst ms   least ms")
    for name, found in sorted(by_primitive.items(), key=lambda item: -max(item[1])[0]):
        middle, worst = statistics.median(m for m, _ in found), max(m for m, _ in found)
        print(f"  {name:22} {len(found):5} {middle:10.2f} {worst:10.2f} {min(low for _, low in found):10.2f}")
    missing = [name for name in PRIMITIVES if name not in by_primitive]
    if missing:
        print(f"  in no schedule: {', '.join(missing)}")
    return figures


def profile(around: int) -> None:
    """Print where the time goes."""
    profiler = cProfile.Profile()
    for name in SCHEDULES:
        make, schedule = SCHEDULES[name]
        s = make(around)
        profiler.enable()
        schedule(s)
        profiler.disable()
    pstats.Stats(profiler).sort_stats("cumulative").print_stats(60)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=15, help="how often each schedule is made (default 15)")
    parser.add_argument("--profile", action="store_true", help="print a profile and measure nothing")
    parser.add_argument("--note", default="", help="a remark for the record, such as what else the machine does")
    options = parser.parse_args()
    if options.profile:
        profile(0)
        return
    figures: dict[str, Any] = {}
    steps: dict[str, Any] = {}
    for title, around in (("matmul and convolution", 0), ("in 50 blocks", FIFTY)):
        measured = measure(around, options.repeats)
        figures[title] = report(title, measured)
        steps[title] = {
            name: [[op, round(1e3 * statistics.median(times), 3), round(1e3 * min(times), 3)] for op, times in found]
            for name, found in measured.items()
        }
    turns = lowering(options.repeats)
    loops = tuple(empty_loop() for _ in range(options.repeats))
    rows = [row("lower the tuned convolution", turns), row("empty loop of 100,000 rounds", loops)]
    figures["lowering_ms"] = 1e3 * statistics.median(turns)
    print(f"\nlowering the tuned convolution: median {figures['lowering_ms']:.1f} ms, least {1e3 * min(turns):.1f} ms")
    print(f"an empty loop of 100,000 rounds: median {1e3 * rows[1].median:.1f} ms, least {1e3 * min(loops):.1f} ms")
    record("schedule_speed", rows, figures=figures, steps=steps, note=options.note)


if __name__ == "__main__":
    main()
