"""What this machine can do, measured by kernels of our own: multiply-adds between registers, and a triad in memory."""

from __future__ import annotations

import functools

import numpy as np

from tensorlang import te
from tensorlang.build import build
from tensorlang.display.roofline import Peaks
from tensorlang.reducers import sum as sum_of
from tensorlang.runtime import threads
from tensorlang.runtime.kernel import Kernel
from tensorlang.schedule.schedule import Schedule
from tensorlang.target.target import Target

_ROWS, _VECTORS = 2, 5  # accumulators: enough to hide the latency of a multiply-add, few enough for 16 registers
_STEPS = 1 << 12
_RUNS, _RUN_SECONDS = 40, 0.002  # many short ones: some of them nobody disturbs


@functools.lru_cache
def peaks() -> Peaks:
    """The peaks of this machine's CPU in float32, on all threads that kernels use; measured once, in about a second.

    >>> tl.peaks().flops, tl.peaks().bandwidth
    """
    target = Target("llvm")
    return Peaks(_operations(target), _bandwidth(target))


def _operations(target: Target) -> float:
    """Floating-point operations a second: each thread adds x[i] * y[j] to [i, j] again and again."""
    pieces, width = 8 * threads.count(), _VECTORS * target.vector_bytes // 4
    x, y = te.placeholder((pieces, _ROWS), name="X"), te.placeholder((pieces, width), name="Y")
    k = te.reduce_axis(_STEPS, name="k")
    c = te.compute((pieces, _ROWS, width), lambda p, i, j: sum_of(x[p, i] * y[p, j], axis=k), name="C")
    s = Schedule(c, target=target)
    s.reorder("C.p", "C.k", "C.i", "C.j")
    s.parallel("C.p")
    s.unroll("C.i")
    s.vectorize("C.j")
    return 2 * pieces * _ROWS * width * _STEPS / _least(build(s, target), (pieces, _ROWS), (pieces, width))


def _bandwidth(target: Target) -> float:
    """Bytes a second of C = A + 3 B, over arrays that do not fit the caches."""
    n = max(target.l3, 1 << 24) // 4
    a, b = te.placeholder((n,), name="A"), te.placeholder((n,), name="B")
    s = Schedule(te.compute((n,), lambda i: a[i] + 3.0 * b[i], name="C"), target=target)
    piece, _, lane = s.split("C.i", [16 * threads.count(), None, target.vector_bytes // 4])
    s.parallel(piece)
    s.vectorize(lane)
    return 3 * 4 * n / _least(build(s, target), (n,), (n,), runs=_RUNS // 4)


def _least(kernel: Kernel, *shapes: tuple[int, ...], runs: int = _RUNS) -> float:
    """The least seconds of a call on arrays of ones of these shapes."""
    arrays = [np.ones(shape, "float32") for shape in shapes]
    return kernel.time(*arrays, out=kernel(*arrays), repeat=runs, min_seconds=_RUN_SECONDS).minimum
