"""What this machine and its GPU can do, measured by kernels of our own: multiply-adds between registers, and a triad in
memory."""

from __future__ import annotations

import functools

import numpy as np

from tensorlang import te
from tensorlang.analysis import flops
from tensorlang.build import build
from tensorlang.display.roofline import Peaks
from tensorlang.reducers import sum as sum_of
from tensorlang.runtime import threads
from tensorlang.schedule import gpu_library
from tensorlang.schedule.schedule import Schedule
from tensorlang.target.target import Target

_ROWS, _VECTORS = 3, 3  # accumulators: enough to hide the latency of two multiply-adds, in 16 registers with operands
_STEPS = 1 << 14
_RUNS, _RUN_SECONDS = 40, 0.002  # many short ones: some of them nobody disturbs
_GPU_THREADS, _GPU_EACH = 1 << 20, 8  # enough to fill any GPU; a thread has a square of so many accumulators a side
_GPU_BYTES = 1 << 30  # of each array of the triad: far more than any cache holds


@functools.lru_cache
def peaks(kind: str = "llvm") -> Peaks:
    """The peaks in float32 of this machine's CPU, on all threads that kernels use, or of its current GPU ("cuda"),
    without tensor cores; measured once, in about a second. Raises BuildError if there is no such target here.

    >>> tl.peaks().flops, tl.peaks().bandwidth
    """
    target = Target(kind)
    if kind == "llvm":
        return Peaks(_operations(target), _bandwidth(target))
    adds, sums = gpu_multiply_adds(target), gpu_triad(target)
    return Peaks(flops(adds.func) / _least_on_gpu(adds, target), 3 * _GPU_BYTES / _least_on_gpu(sums, target))


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


def gpu_multiply_adds(target: Target, threads: int = _GPU_THREADS, steps: int = 1 << 12) -> Schedule:
    """Each thread adds x[i] * y[j] to [i, j] again and again, all in its registers."""
    x, y = (te.placeholder((threads, _GPU_EACH), name=name) for name in "XY")
    k = te.reduce_axis(steps, name="k")
    c = te.compute((threads, _GPU_EACH, _GPU_EACH), lambda t, i, j: sum_of(x[t, i] * y[t, j], axis=k), name="C")
    s = Schedule(c, target=target)
    write = s.cache_write("C", "local")
    block, thread = s.split("C.t", [None, 256])
    s.reorder(block, thread, "C.k", "C.i", "C.j")
    s.reverse_compute_at(write, thread)
    for operand in ("X", "Y"):
        copy = s.cache_read("C", operand, "local")
        s.compute_at(copy, thread)
        s.unroll(s.loops(copy)[-1])
    s.bind(block, "blockIdx.x")
    s.bind(thread, "threadIdx.x")
    for loop in (*s.loops("C")[-2:], *s.loops(write)[-2:]):
        s.unroll(loop)
    return s


def gpu_triad(target: Target, elements: int = _GPU_BYTES // 4) -> Schedule:
    """C = A + 3 B by a GPU, 16 bytes at a time."""
    a, b = te.placeholder((elements,), name="A"), te.placeholder((elements,), name="B")
    s = Schedule(te.compute((elements,), lambda i: a[i] + 3.0 * b[i], name="C"), target=target)
    gpu_library.elementwise(s, "C", each=2)
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


def _least_on_gpu(s: Schedule, target: Target) -> float:
    """The least seconds of a launch on arrays of ones."""
    import cupy

    shapes = [tuple(int(repr(d)) for d in p.shape) for p in s.func.params if p not in s.func.outputs]
    arrays = [cupy.ones(shape, "float32") for shape in shapes]
    kernel = build(s, target)
    return kernel.time(*arrays, out=kernel(*arrays), repeat=_RUNS // 4).minimum
