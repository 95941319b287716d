"""The analytical model for GPUs, and the features that it is made of: what kernels move, compute and keep busy.

Features are those of the kernel that takes longest.

A kernel takes as long as its busiest resource, softly: memory, the second-level cache, shared memory, arithmetic, or
the latency of its blocks, wave after wave. Rates are those of NVIDIA's H100 for each multiprocessor and clock cycle
(NVIDIA, "CUDA C++ Programming Guide", "Arithmetic Instructions", and "Hopper Tuning Guide"); other GPUs scale by their
number of multiprocessors. The learnt correction (cost_model.py) takes up the rest.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from itertools import groupby

import numpy as np

from autotune.counts import Count, product
from autotune.tables import Rows, Table
from autotune.task import (
    Expr,
    Footprint,
    Func,
    Knob,
    LoopInfo,
    Nest,
    Pattern,
    Target,
    Task,
    nests,
    numpy_function,
    patterns,
)
from autotune.warps import WARP, table

NAMES = (
    *("threads", "grid", "resident", "waves", "busy", "registers", "shared_bytes", "in_flight", "vector_bytes"),
    *("serial", "memory", "cache", "shared", "arithmetic", "latency", "kernels", "estimate"),
)

_CLOCK = 1.7e9
_LANES = 128  # multiply-adds that a multiprocessor starts in a cycle
_TENSOR_CORES = 1280  # the same by mma.sync
_MEMORY = 13.5  # bytes a cycle and multiprocessor from and to memory: 3.0e12 bytes a second of 132
_CACHE = 25.0  # the same for the second-level cache
_SHARED = 128.0  # of shared memory
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
_FLOPS = {"div": 8, "sqrt": 8, "rsqrt": 8, "exp": 12, "tanh": 20, "erf": 20, "log": 12, "power": 30}

_Known = Mapping[Expr, Count]


class GpuFeatures:
    """Evaluates a symbolic program. `GpuFeatures(task, func, knobs)(values)`: (float32[n, len(NAMES)], seconds[n])."""

    def __init__(self, task: Task, func: Func, knobs: Sequence[Knob]):
        self._target = task.target
        touched, self._knobs = patterns(func), tuple(knobs)
        found = [_Part.of(nest, touched[nest.block], knobs) for nest in nests(func)]
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


@dataclass(frozen=True)
class _Part:
    """A block of a kernel. varies: the loops on which the element that it touches of a buffer depends; tables: of each
    footprint, see warps.py; accesses: what they say of knob vectors: (elements, cycles); share: of its iterations,
    those that its guard lets run."""

    nest: Nest
    varies: Mapping[str, set[str]]
    tables: tuple[Table | None, ...]
    accesses: tuple[tuple[Count, Count], ...] = ()
    share: Count = 1.0

    @property
    def warp(self) -> list[LoopInfo]:
        """The loops over the threads of a warp that an intrinsic is for."""
        return [n for n in self.nest.loops[len(self.nest.loops) - self.nest.tensorized :] if _is(n, "threadIdx")]

    @property
    def sharing(self) -> list[LoopInfo]:
        """The other loops over threads that share the work."""
        inner, start = self.warp, _depth_of_last_sharing(self.nest)
        return [n for n in self.nest.loops[start:] if _is(n, "threadIdx") and n not in inner]

    @classmethod
    def of(cls, nest: Nest, pattern: Pattern, knobs: Sequence[Knob]) -> _Part:
        varies: dict[str, set[str]] = {}
        for access in pattern.accesses:
            varies.setdefault(access.buffer, set()).update(access.loops)
        return cls(nest, varies, tuple(table(f, knobs) for f in nest.footprints))

    def at(self, rows: Rows) -> _Part:
        one = np.float32(1)
        return replace(self, accesses=tuple((one, one) if t is None else t(rows) for t in self.tables))  # type: ignore[misc]


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


def _kernel(part: _Part) -> str:
    """What the blocks of one kernel have in common: their outermost loop."""
    return part.nest.loops[0].name if part.nest.loops else part.nest.block


def _expressions(nest: Nest) -> Iterator[Expr]:
    """All that needs values."""
    yield from (loop.extent for loop in nest.loops)
    for f in nest.footprints:
        for shape in (f.shape, *f.extents):
            yield from shape


def _is(loop: LoopInfo, *kinds: str) -> bool:
    return loop.kind.startswith(kinds)


def _kernel_times(parts: Sequence[_Part], known: _Known, target: Target) -> _Kernel:
    kernel = [part.nest for part in parts]
    grid = product(known[loop.extent] for loop in kernel[-1].loops if _is(loop, "blockIdx"))
    threads = _threads(kernel, known)
    sizes = _shared_sizes(kernel, known)
    parts = [replace(part, share=_share(part, known, sizes)) for part in parts]
    registers, shared_bytes = _OWN_REGISTERS + _held(parts, known) / 4, _shared_bytes(kernel, sizes)
    resident = np.minimum(_BLOCKS, _THREADS / threads)
    for each, have in ((registers * threads, _REGISTERS), (shared_bytes + 1024, _SHARED_BYTES)):
        resident = np.minimum(resident, have / each)
    resident = np.maximum(np.floor(resident), 1)
    waves = grid / (resident * target.cores)
    loads = [_asked_for(nest, known) for nest in kernel]
    in_flight = _largest(bytes_ for bytes_, _ in loads) * threads * resident
    steps = _largest(_iterations(nest, known) for nest in kernel)
    meetings = sum(any(loop.reduce and _is(loop, "threadIdx") for loop in nest.loops) for nest in kernel)
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
        shared_bytes=shared_bytes,
        in_flight=in_flight,
        vector_bytes=_largest(vector for _, vector in loads),
        serial=steps,
        memory=_unique(kernel, known) / (_MEMORY * rate * fed),
        cache=_traffic(parts, known, sizes) * grid / (_CACHE * rate * some),
        shared=sum(_cycles(part, known) for part in parts) * grid / even,
        arithmetic=sum(_operations(part, known) for part in parts) / (_LANES * even * warps / (warps + hiding)),
        latency=np.ceil(waves) * (_LATENCY + _STEP * steps + _MEETING * meetings),
        apart=1 + (_GAPS if meetings > 1 else 0) / resident,
        waiting=_waiting(parts, known) * np.ceil(each) / np.minimum(resident, np.ceil(each)),
    )


def _largest(counts: Iterable[Count]) -> Count:
    return reduce(np.maximum, counts)


def _threads(kernel: Sequence[Nest], known: _Known) -> Count:
    """Of a block."""
    along: dict[str, Count] = {}
    for nest in kernel:
        for loop in nest.loops:
            if _is(loop, "threadIdx"):
                along[loop.kind] = np.maximum(along.get(loop.kind, 1), known[loop.extent])
    return product(along.values())


def _depth(nest: Nest, *kinds: str) -> int:
    """How many loops there are down to the innermost one of these kinds."""
    return max((n + 1 for n, loop in enumerate(nest.loops) if _is(loop, *kinds)), default=0)


def _bytes(f: Footprint, depth: int, known: _Known) -> Count:
    """Of what is touched inside so many loops."""
    return np.float32(f.item_bytes) * product(known[e] for e in f.extents[depth])


def _shared_sizes(kernel: Sequence[Nest], known: _Known) -> dict[str, Count]:
    """Elements of each buffer in shared memory: what is read of it, for what fills it may stop before its last ones."""
    read: dict[str, Count] = {}
    written: dict[str, Count] = {}
    for f in (f for nest in kernel for f in nest.footprints if f.scope == "shared"):
        found, here = written if f.written else read, product(known[e] for e in f.shape)
        found[f.buffer] = found.get(f.buffer, 0) + here
    return {buffer: np.minimum(size, read[buffer]) if buffer in read else size for buffer, size in written.items()}


def _share(part: _Part, known: _Known, sizes: Mapping[str, Count]) -> Count:
    """Of the iterations of a block that fills shared memory, those that have something to fill."""
    loops = part.nest.loops
    filled = next((f for f in part.nest.footprints if f.written and f.scope == "shared"), None)
    if filled is None:
        return np.float32(1)
    fills = [n for n in loops[: _alive(filled)] if not _is(n, "blockIdx", "threadIdx")]
    own = [n for n in loops if not _is(n, "blockIdx", "threadIdx")]
    points = product(known[n.extent] for n in (*own, *part.sharing, *part.warp))
    return np.minimum(sizes[filled.buffer] * product(known[n.extent] for n in fills) / points, 1)


def _shared_bytes(kernel: Sequence[Nest], sizes: Mapping[str, Count]) -> Count:
    """That a block has in shared memory."""
    each = {f.buffer: f.versions * f.item_bytes for nest in kernel for f in nest.footprints if f.scope == "shared"}
    return sum((np.float32(size) * sizes[buffer] for buffer, size in each.items()), np.float32(0))


def _held(parts: Sequence[_Part], known: _Known) -> Count:
    """Bytes that a thread has in registers: elements, whatever box they lie in. What it loads again, it still has."""
    found: dict[str, Count] = {}
    loads = Counter(f.buffer for p in parts for f in p.nest.footprints if f.scope == "global" and not f.written)
    for part in parts:
        for f in part.nest.footprints:
            if f.scope == "local" or loads[f.buffer] > 1:
                found[f.buffer] = np.maximum(found.get(f.buffer, 0), _held_by_thread(part, f, known))
    return sum(found.values(), np.float32(0))


def _held_by_thread(part: _Part, f: Footprint, known: _Known) -> Count:
    """Bytes of one buffer. A warp that an intrinsic is for has its elements among its threads."""
    loops = [n for n in part.nest.loops[_alive(f) :] if n.name in part.varies[f.buffer]]
    own = product(known[n.extent] for n in loops if not _is(n, "blockIdx", "threadIdx"))
    if not part.nest.tensorized:
        return np.float32(max(f.item_bytes, 4)) * own
    return np.float32(f.item_bytes / WARP) * own * product(known[n.extent] for n in loops if n in part.warp)


def _asked_for(nest: Nest, known: _Known) -> tuple[Count, Count]:
    """Bytes that a thread loads from memory before it waits, and in one access."""
    waits = _depth(nest, "serial")
    inside = [loop for loop in nest.loops[waits:] if not _is(loop, "blockIdx", "threadIdx")]
    vector = product(known[loop.extent] for loop in inside if _is(loop, "vectorize"))
    sizes = [np.float32(f.item_bytes) for f in nest.footprints if f.scope == "global" and not f.written]
    once = sum(sizes, np.float32(0)) * product(known[loop.extent] for loop in inside)
    return once, max(sizes, default=np.float32(0)) * vector


def _traffic(parts: Sequence[_Part], known: _Known, sizes: Mapping[str, Count]) -> Count:
    """Bytes that a block moves; what several parts of the kernel load, the first one does."""
    found: dict[tuple[str, bool], Count] = {}
    for part in parts:
        for key, here in _moved(part, known, sizes):
            found[key] = np.maximum(found.get(key, 0), here)
    return sum(found.values(), np.float32(0))


def _moved(part: _Part, known: _Known, sizes: Mapping[str, Count]) -> Iterator[tuple[tuple[str, bool], Count]]:
    """Bytes of each buffer; no more than there are iterations, where the box has gaps, and than go to shared memory."""
    depth = _depth(part.nest, "blockIdx")
    start = max(depth, _depth_of_last_sharing(part.nest))
    for f in part.nest.footprints:
        if f.scope == "global":
            loops = [loop for loop in part.nest.loops[start:] if loop.name in part.varies[f.buffer]]
            most = f.item_bytes * product(known[loop.extent] for loop in loops)
            outer = [loop for loop in part.nest.loops[depth:start] if not _is(loop, "threadIdx")]
            most = most * product(known[loop.extent] for loop in outer)
            for filled in (g for g in part.nest.footprints if g.written and g.scope == "shared" and not f.written):
                fills = [n for n in part.nest.loops[depth : _alive(filled)] if not _is(n, "threadIdx")]
                most = np.minimum(most, f.item_bytes * sizes[filled.buffer] * product(known[n.extent] for n in fills))
            yield (f.buffer, f.written), np.minimum(_bytes(f, depth, known), most)


def _unique(kernel: Sequence[Nest], known: _Known) -> Count:
    """Bytes of all that is touched in memory, each counted once for loads and once for stores."""
    found = {(f.buffer, f.written): _bytes(f, 0, known) for n in kernel for f in n.footprints if f.scope == "global"}
    return sum(found.values(), np.float32(0))


def _cycles(part: _Part, known: _Known) -> Count:
    """In which a block reaches shared memory, or lines of another one: an access by a warp takes two at least."""
    total = np.float32(0)
    for n, f in enumerate(part.nest.footprints):
        if f.scope != "local":
            total = total + _cycles_of(part, n, known)
    return total


def _cycles_of(part: _Part, number: int, known: _Known) -> Count:
    """The same for one footprint."""
    f, (width, cycles) = part.nest.footprints[number], part.accesses[number]
    threads, times = product(known[n.extent] for n in part.sharing), _accesses(part, f, known)
    if part.nest.tensorized:
        times = times * product(known[n.extent] for n in part.warp if n.name in part.varies[f.buffer])
        return times * threads * np.float32(f.item_bytes / _SHARED)
    return part.share * times / width * np.maximum(cycles, 2) * np.ceil(threads / WARP)


def _waiting(parts: Sequence[_Part], known: _Known) -> Count:
    """Seconds that a block waits, again and again, for what it copies to shared memory before it uses it."""
    phases, cycles = np.float32(0), np.float32(0)
    for part in parts:
        filled = [f for f in part.nest.footprints if f.written and f.scope == "shared"]
        sources = [n for n, f in enumerate(part.nest.footprints) if not f.written and f.scope == "global"]
        again = [n for f in filled for n in part.nest.loops[: _alive(f)] if _is(n, "serial")]
        if sources and again and filled[0].versions == 1:
            phases = np.maximum(phases, product(known[n.extent] for n in again))
            cycles = cycles + sum(_cycles_of(part, n, known) for n in sources)
    return phases * np.float32(_FETCH) + cycles / np.float32(_CLOCK)


def _accesses(part: _Part, f: Footprint, known: _Known) -> Count:
    """Of a thread to a buffer: what it has loaded of shared memory, it does not load again while that lives."""
    alive, own = _alive(f), part.varies[f.buffer]
    loops = [n for at, n in enumerate(part.nest.loops) if f.scope == "global" or at < alive or n.name in own]
    return product(known[n.extent] for n in loops if not _is(n, "blockIdx", "threadIdx"))


def _alive(f: Footprint) -> int:
    """The number of loops in whose iterations the buffer lives."""
    return max(n for n, shape in enumerate(f.extents) if shape is f.extents[0])


def _depth_of_last_sharing(nest: Nest) -> int:
    """The loops before it are bound to axes that others inside are bound to again: these share the work."""
    inner: set[str] = set()
    for n in range(len(nest.loops) - 1, -1, -1):
        kind = nest.loops[n].kind
        if kind in inner:
            return n + 1
        if kind.startswith("threadIdx"):
            inner.add(kind)
    return 0


def _operations(part: _Part, known: _Known) -> Count:
    """Instructions of all threads, as multiply-adds."""
    nest = part.nest
    start = _depth_of_last_sharing(nest)
    again = {loop.name for loop in nest.loops[:start] if _is(loop, "threadIdx")}
    points = product(known[loop.extent] for loop in nest.loops if loop.name not in again)
    if nest.tensorized:
        return points * np.float32(nest.operations.get("fma", 0) * _LANES / _TENSOR_CORES)
    moved = sum(1 / width for f, (width, _) in zip(nest.footprints, part.accesses, strict=True) if f.scope != "local")
    return part.share * points * (sum(count * _FLOPS.get(op, 1) for op, count in nest.operations.items()) + moved)


def _iterations(nest: Nest, known: _Known) -> Count:
    """Of all loops that are loops at run time."""
    return product(known[loop.extent] for loop in nest.loops if _is(loop, "serial"))
