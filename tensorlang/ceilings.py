"""What this machine can do, measured by kernels of our own: multiply-adds between registers, and a triad in memory."""

from __future__ import annotations

import functools

import numpy as np

from tensorlang import te
from tensorlang.analysis import flops
from tensorlang.build import build
from tensorlang.display.roofline import Peaks
from tensorlang.reducers import sum as sum_of
from tensorlang.runtime import threads
from tensorlang.schedule.schedule import Schedule
from tensorlang.target.target import Target

_ROWS, _VECTORS = 3, 3  # accumulators: enough to hide the latency of two multiply-adds, in 16 registers with operands
_STEPS = 1 << 14
_RUNS, _RUN_SECONDS = 40, 0.002  # many short ones: some of them nobody disturbs


@functools.lru_cache
def peaks() -> Peaks:
    """The peaks of this machine's CPU in float32, on all threads that kernels use; measured once, in about a second.

    >>> tl.peaks().flops, tl.peaks().bandwidth
    """
    target = Target("llvm")
    return Peaks(_operations(target), _bandwidth(target))


def multiply_adds(target: Target, pieces: int) -> Schedule:
    """Each of `pieces` parallel pieces adds x[i] * y[j] to [i, j] again and again; nothing is loaded meanwhile."""
    width = _VECTORS * target.vector_bytes // 4
    x, y = te.placeholder((pieces, _ROWS), name="X"), te.placeholder((pieces, width), name="Y")
    k = te.reduce_axis(_STEPS, name="k")
    c = te.compute((pieces, _ROWS, width), lambda p, i, j: sum_of(x[p, i] * y[p, j], axis=k), name="C")
    s = Schedule(c, target=target)
    s.reorder("C.p", "C.k", "C.i", "C.j")
    s.parallel("C.p")
    s.unroll("C.i")
    s.vectorize("C.j")
    return s


def triad(target: Target, elements: int, pieces: int) -> Schedule:
    """C = A + 3 B, in so many parallel pieces."""
    a, b = te.placeholder((elements,), name="A"), te.placeholder((elements,), name="B")
    s = Schedule(te.compute((elements,), lambda i: a[i] + 3.0 * b[i], name="C"), target=target)
    piece, _, lane = s.split("C.i", [pieces, None, target.vector_bytes // 4])
    s.parallel(piece)
    s.vectorize(lane)
    return s


def _operations(target: Target) -> float:
    """Floating-point operations a second."""
    s = multiply_adds(target, 8 * threads.count())
    return flops(s.func) / _least(s, target)


def _bandwidth(target: Target) -> float:
    """Bytes a second of a triad of arrays that do not fit the caches."""
    n = max(target.l3, 1 << 24) // 4
    return 3 * 4 * n / _least(triad(target, n, 16 * threads.count()), target, _RUNS // 4)


def _least(s: Schedule, target: Target, runs: int = _RUNS) -> float:
    """The least seconds of a call on arrays of ones."""
    shapes = [tuple(int(repr(d)) for d in p.shape) for p in s.func.params if p not in s.func.outputs]
    arrays = [np.ones(shape, "float32") for shape in shapes]
    kernel = build(s, target)
    return kernel.time(*arrays, out=kernel(*arrays), repeat=runs, min_seconds=_RUN_SECONDS).minimum
