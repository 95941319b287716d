"""The analytical model for GPUs, and the features that it is made of: what kernels move, compute and keep busy.

Features are those of the kernel that takes longest.

A kernel takes as long as its busiest resource, softly: memory, the second-level cache, shared memory, arithmetic, or
the latency of its blocks, wave after wave. Rates are those of NVIDIA's H100 for each multiprocessor and clock cycle
(NVIDIA, "CUDA C++ Programming Guide", "Arithmetic Instructions", and "Hopper Tuning Guide"); other GPUs scale by their
number of multiprocessors. The learnt correction (cost_model.py) takes up the rest.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

import numpy as np

from autotune.counts import Count, product
from autotune.gpu_counts import (
    LANES,
    Known,
    Part,
    asked_for,
    cycles_of,
    held,
    is_kind,
    iterations,
    largest,
    operations,
    share_of,
    shared_bytes,
    shared_sizes,
    threads_of,
    traffic,
    unique,
    waits,
)
from autotune.tables import Rows
from autotune.task import Expr, Func, Knob, Nest, Target, Task, nests, numpy_function, patterns
from autotune.warps import WARP

NAMES = (
    *("threads", "grid", "resident", "waves", "busy", "registers", "shared_bytes", "in_flight", "vector_bytes"),
    *("serial", "memory", "cache", "shared", "arithmetic", "latency", "kernels", "estimate"),
)

_CLOCK = 1.7e9
_MEMORY = 13.5  # bytes a cycle and multiprocessor from and to memory: 3.0e12 bytes a second of 132
_CACHE = 25.0  # the same for the second-level cache
_IN_FLIGHT = 12_000.0  # bytes that a multiprocessor must have asked for to keep memory busy
_THREADS, _BLOCKS, _REGISTERS, _SHARED_BYTES = 2048, 32, 65536, 227 << 10  # of a multiprocessor
_MOST_REGISTERS = 230  # of a thread, before some are spilled
_OWN_REGISTERS = 26  # of a thread, besides its values
_ALLOCATED = 128  # threads, of which the compiler takes a multiple when it counts registers
_SPILLING = 4  # power of the share of registers that there are not, by which it takes longer
_HIDING, _HIDING_ALONE = 5.0, 2.0  # warps of a multiprocessor that are busy half of the time, if threads meet or not
_LATENCY = 1.0e-6  # of a block that loads, computes and stores
_STEP = 0.05e-6  # of an iteration of a loop
_MEETING = 0.3e-6  # of a reduction by several threads
_FETCH = 0.7e-6  # of a load from memory that nothing overlaps
_GAPS = 0.2  # of a block's time, in which its threads wait for each other
_LAUNCH = 2.0e-6
_SOFTNESS = 4  # exponent of the norm that takes the place of a maximum
_ISSUE = 1.5  # the same for arithmetic and loads from shared memory, which take turns


class GpuFeatures:
    """Evaluates a symbolic program. `GpuFeatures(task, func, knobs)(values)`: (float32[n, len(NAMES)], seconds[n])."""

    def __init__(self, task: Task, func: Func, knobs: Sequence[Knob]):
        self._target = task.target
        touched, self._knobs = patterns(func), tuple(knobs)
        found = [Part.of(nest, touched[nest.block], knobs) for nest in nests(func)]
        self._kernels = [list(group) for _, group in groupby(found, key=_kernel)]
        exprs = (e for part in found for e in _expressions(part.nest))
        self._exprs = list(dict.fromkeys(exprs))
        self._evaluate = numpy_function(self._exprs, self._knobs)

    def __call__(self, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        columns = np.ascontiguousarray(values.T, np.float32)
        known = {
            expr: np.asarray(value, np.float32)[()]
            for expr, value in zip(self._exprs, self._evaluate(*columns), strict=True)
        }
        vectors = Rows(self._knobs, values)
        kernels = [[part.at(vectors) for part in kernel] for kernel in self._kernels]
        found = [_kernel_times(kernel, known, self._target) for kernel in kernels]
        shape = (len(values),)
        seconds = np.stack([np.broadcast_to(k.seconds, shape) for k in found]).astype(np.float32)
        longest, rows = seconds.argmax(axis=0), np.arange(len(values))
        table = np.empty((len(values), len(NAMES)), np.float32)
        for at, each in enumerate(zip(*(k.columns() for k in found), strict=True)):
            table[:, at] = np.stack([np.broadcast_to(c, shape) for c in each])[longest, rows]
        total = seconds.sum(axis=0)
        table[:, -2], table[:, -1] = len(found), 1e6 * total
        return table, total

    def estimate(self, values: np.ndarray) -> np.ndarray:
        """Seconds of knob vectors."""
        return self(values)[1]


@dataclass(frozen=True)
class _Kernel:
    """Of one kernel. Times in seconds, what is in flight in bytes of a multiprocessor."""

    threads: Count
    grid: Count
    resident: Count
    waves: Count
    busy: Count
    registers: Count
    shared_bytes: Count
    in_flight: Count
    vector_bytes: Count
    serial: Count
    memory: Count
    cache: Count
    shared: Count
    arithmetic: Count
    latency: Count
    apart: Count  # by what factor phases of a block take longer because no other block fills the gaps
    waiting: Count

    @property
    def seconds(self) -> Count:
        """What the kernel should take."""
        fed = (self.shared**_ISSUE + self.arithmetic**_ISSUE) ** (1 / _ISSUE)
        busy = [self.memory, self.cache, fed, self.latency]
        together = np.ceil(self.threads / _ALLOCATED) * _ALLOCATED
        most = np.minimum(_MOST_REGISTERS, _REGISTERS / together)
        spilling = np.maximum(self.registers / most, 1) ** _SPILLING
        return sum(t**_SOFTNESS for t in busy) ** (1 / _SOFTNESS) * spilling * self.apart + self.waiting + _LAUNCH

    def columns(self) -> Iterator[Count]:
        """In the order of NAMES but for the last two, times in microseconds."""
        yield from (self.threads, self.grid, self.resident, self.waves, self.busy, self.registers)
        yield from (self.shared_bytes, self.in_flight, self.vector_bytes, self.serial)
        yield from (1e6 * t for t in (self.memory, self.cache, self.shared, self.arithmetic, self.latency))


def _kernel(part: Part) -> str:
    """What the blocks of one kernel have in common: their outermost loop."""
    return part.nest.loops[0].name if part.nest.loops else part.nest.block


def _expressions(nest: Nest) -> Iterator[Expr]:
    """All that needs values."""
    yield from (loop.extent for loop in nest.loops)
    for f in nest.footprints:
        for shape in (f.shape, *f.extents):
            yield from shape


def _kernel_times(parts: Sequence[Part], known: Known, target: Target) -> _Kernel:
    kernel = [part.nest for part in parts]
    grid = product(known[loop.extent] for loop in kernel[-1].loops if is_kind(loop, "blockIdx"))
    threads = threads_of(kernel, known)
    sizes = shared_sizes(kernel, known)
    parts = [replace(part, share=share_of(part, known, sizes)) for part in parts]
    registers, shared = _OWN_REGISTERS + held(parts, known) / 4, shared_bytes(kernel, sizes)
    resident = np.minimum(_BLOCKS, _THREADS / threads)
    for each, have in ((registers * threads, _REGISTERS), (shared + 1024, _SHARED_BYTES)):
        resident = np.minimum(resident, have / each)
    resident = np.maximum(np.floor(resident), 1)
    waves = grid / (resident * target.cores)
    loads = [asked_for(nest, known) for nest in kernel]
    in_flight = largest(bytes_ for bytes_, _ in loads) * threads * resident
    steps = largest(iterations(nest, known) for nest in kernel)
    meetings = sum(any(loop.reduce and is_kind(loop, "threadIdx") for loop in nest.loops) for nest in kernel)
    phases, copying = waits(parts, known)
    each = grid / target.cores  # blocks that a multiprocessor has to do
    rate = np.float32(_CLOCK * target.cores)
    some, even = np.minimum(each, 1), rate * each / np.ceil(each)
    warps = np.minimum(resident, np.ceil(each)) * threads / WARP
    hiding = np.float32(_HIDING if meetings > 1 else _HIDING_ALONE)
    fed = in_flight * some / (in_flight * some + _IN_FLIGHT / 8)
    return _Kernel(
        threads=threads,
        grid=grid,
        resident=resident,
        waves=waves,
        busy=even / rate,
        registers=registers,
        shared_bytes=shared,
        in_flight=in_flight,
        vector_bytes=largest(vector for _, vector in loads),
        serial=steps,
        memory=unique(kernel, known) / (_MEMORY * rate * fed),
        cache=traffic(parts, known, sizes) * grid / (_CACHE * rate * some),
        shared=sum(cycles_of(part, known) for part in parts) * grid / even,
        arithmetic=sum(operations(part, known) for part in parts) / (LANES * even * warps / (warps + hiding)),
        latency=np.ceil(waves) * (_LATENCY + _STEP * steps + _MEETING * meetings),
        apart=1 + (_GAPS if meetings > 1 else 0) / resident,
        waiting=(phases * _FETCH + copying / _CLOCK) * np.ceil(each) / np.minimum(resident, np.ceil(each)),
    )
