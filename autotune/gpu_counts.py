"""What kernels of a GPU touch, move and do, counted: the inputs of gpu_model.py.

Counts are NumPy float32, one element a knob vector, or a number where the knobs do not matter.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce

import numpy as np

from autotune.counts import Count, product
from autotune.tables import Rows, Table
from autotune.task import Expr, Footprint, Knob, LoopInfo, Nest, Pattern
from autotune.warps import WARP, table

LANES = 128  # multiply-adds that a multiprocessor starts in a cycle
_TENSOR_CORES = 1280  # the same by mma.sync
_SHARED = 128.0  # bytes of shared memory a cycle
_FLOPS = {"div": 8, "sqrt": 8, "rsqrt": 8, "exp": 12, "tanh": 20, "erf": 20, "log": 12, "power": 30}

Known = Mapping[Expr, Count]


@dataclass(frozen=True)
class Part:
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
        return [n for n in self.nest.loops[len(self.nest.loops) - self.nest.tensorized :] if is_kind(n, "threadIdx")]

    @property
    def sharing(self) -> list[LoopInfo]:
        """The other loops over threads that share the work."""
        inner, start = self.warp, _depth_of_last_sharing(self.nest)
        return [n for n in self.nest.loops[start:] if is_kind(n, "threadIdx") and n not in inner]

    @classmethod
    def of(cls, nest: Nest, pattern: Pattern, knobs: Sequence[Knob]) -> Part:
        varies: dict[str, set[str]] = {}
        for access in pattern.accesses:
            varies.setdefault(access.buffer, set()).update(access.loops)
        return cls(nest, varies, tuple(table(f, knobs) for f in nest.footprints))

    def at(self, rows: Rows) -> Part:
        one = np.float32(1)
        return replace(self, accesses=tuple((one, one) if t is None else t(rows) for t in self.tables))  # type: ignore[misc]


def is_kind(loop: LoopInfo, *kinds: str) -> bool:
    return loop.kind.startswith(kinds)


def largest(counts: Iterable[Count]) -> Count:
    return reduce(np.maximum, counts)


def threads_of(kernel: Sequence[Nest], known: Known) -> Count:
    """Of a block."""
    along: dict[str, Count] = {}
    for nest in kernel:
        for loop in nest.loops:
            if is_kind(loop, "threadIdx"):
                along[loop.kind] = np.maximum(along.get(loop.kind, 1), known[loop.extent])
    return product(along.values())


def _depth(nest: Nest, *kinds: str) -> int:
    """How many loops there are down to the innermost one of these kinds."""
    return max((n + 1 for n, loop in enumerate(nest.loops) if is_kind(loop, *kinds)), default=0)


def _bytes(f: Footprint, depth: int, known: Known) -> Count:
    """Of what is touched inside so many loops."""
    return np.float32(f.item_bytes) * product(known[e] for e in f.extents[depth])


def shared_sizes(kernel: Sequence[Nest], known: Known) -> dict[str, Count]:
    """Elements of each buffer in shared memory: what is read of it, for what fills it may stop before its last ones."""
    read: dict[str, Count] = {}
    written: dict[str, Count] = {}
    for f in (f for nest in kernel for f in nest.footprints if f.scope == "shared"):
        found, here = written if f.written else read, product(known[e] for e in f.shape)
        found[f.buffer] = found.get(f.buffer, 0) + here
    return {buffer: np.minimum(size, read[buffer]) if buffer in read else size for buffer, size in written.items()}


def share_of(part: Part, known: Known, sizes: Mapping[str, Count]) -> Count:
    """Of the iterations of a block that fills shared memory, those that have something to fill."""
    loops = part.nest.loops
    filled = next((f for f in part.nest.footprints if f.written and f.scope == "shared"), None)
    if filled is None:
        return np.float32(1)
    fills = [n for n in loops[: _alive(filled)] if not is_kind(n, "blockIdx", "threadIdx")]
    own = [n for n in loops if not is_kind(n, "blockIdx", "threadIdx")]
    points = product(known[n.extent] for n in (*own, *part.sharing, *part.warp))
    return np.minimum(sizes[filled.buffer] * product(known[n.extent] for n in fills) / points, 1)


def shared_bytes(kernel: Sequence[Nest], sizes: Mapping[str, Count]) -> Count:
    """That a block has in shared memory."""
    each = {f.buffer: f.versions * f.item_bytes for nest in kernel for f in nest.footprints if f.scope == "shared"}
    return sum((np.float32(size) * sizes[buffer] for buffer, size in each.items()), np.float32(0))


def held(parts: Sequence[Part], known: Known) -> Count:
    """Bytes that a thread has in registers: elements, whatever box they lie in. What it loads again, it still has."""
    found: dict[str, Count] = {}
    loads = Counter(f.buffer for p in parts for f in p.nest.footprints if f.scope == "global" and not f.written)
    for part in parts:
        for f in part.nest.footprints:
            if f.scope == "local" or loads[f.buffer] > 1:
                found[f.buffer] = np.maximum(found.get(f.buffer, 0), _held_by_thread(part, f, known))
    return sum(found.values(), np.float32(0))


def _held_by_thread(part: Part, f: Footprint, known: Known) -> Count:
    """Bytes of one buffer. A warp that an intrinsic is for has its elements among its threads."""
    loops = [n for n in part.nest.loops[_alive(f) :] if n.name in part.varies[f.buffer]]
    own = product(known[n.extent] for n in loops if not is_kind(n, "blockIdx", "threadIdx"))
    if not part.nest.tensorized:
        return np.float32(max(f.item_bytes, 4)) * own
    return np.float32(f.item_bytes / WARP) * own * product(known[n.extent] for n in loops if n in part.warp)


def asked_for(nest: Nest, known: Known) -> tuple[Count, Count]:
    """Bytes that a thread loads from memory before it waits, and in one access."""
    depth = _depth(nest, "serial")
    inside = [loop for loop in nest.loops[depth:] if not is_kind(loop, "blockIdx", "threadIdx")]
    vector = product(known[loop.extent] for loop in inside if is_kind(loop, "vectorize"))
    sizes = [np.float32(f.item_bytes) for f in nest.footprints if f.scope == "global" and not f.written]
    once = sum(sizes, np.float32(0)) * product(known[loop.extent] for loop in inside)
    return once, max(sizes, default=np.float32(0)) * vector


def traffic(parts: Sequence[Part], known: Known, sizes: Mapping[str, Count]) -> Count:
    """Bytes that a block moves; what several parts of the kernel load, the first one does."""
    found: dict[tuple[str, bool], Count] = {}
    for part in parts:
        for key, here in _moved(part, known, sizes):
            found[key] = np.maximum(found.get(key, 0), here)
    return sum(found.values(), np.float32(0))


def _moved(part: Part, known: Known, sizes: Mapping[str, Count]) -> Iterator[tuple[tuple[str, bool], Count]]:
    """Bytes of each buffer; no more than there are iterations, where the box has gaps, and than go to shared memory."""
    depth = _depth(part.nest, "blockIdx")
    start = max(depth, _depth_of_last_sharing(part.nest))
    for f in part.nest.footprints:
        if f.scope == "global":
            loops = [loop for loop in part.nest.loops[start:] if loop.name in part.varies[f.buffer]]
            most = f.item_bytes * product(known[loop.extent] for loop in loops)
            outer = [loop for loop in part.nest.loops[depth:start] if not is_kind(loop, "threadIdx")]
            most = most * product(known[loop.extent] for loop in outer)
            for filled in (g for g in part.nest.footprints if g.written and g.scope == "shared" and not f.written):
                fills = [n for n in part.nest.loops[depth : _alive(filled)] if not is_kind(n, "threadIdx")]
                most = np.minimum(most, f.item_bytes * sizes[filled.buffer] * product(known[n.extent] for n in fills))
            yield (f.buffer, f.written), np.minimum(_bytes(f, depth, known), most)


def unique(kernel: Sequence[Nest], known: Known) -> Count:
    """Bytes of all that is touched in memory, each counted once for loads and once for stores."""
    found = {(f.buffer, f.written): _bytes(f, 0, known) for n in kernel for f in n.footprints if f.scope == "global"}
    return sum(found.values(), np.float32(0))


def cycles_of(part: Part, known: Known) -> Count:
    """In which a block reaches shared memory, or lines of another one: an access by a warp takes two at least."""
    total = np.float32(0)
    for n, f in enumerate(part.nest.footprints):
        if f.scope != "local":
            total = total + _cycles_of_one(part, n, known)
    return total


def _cycles_of_one(part: Part, number: int, known: Known) -> Count:
    """The same for one footprint."""
    f, (width, cycles) = part.nest.footprints[number], part.accesses[number]
    threads, times = product(known[n.extent] for n in part.sharing), _accesses(part, f, known)
    if part.nest.tensorized:
        times = times * product(known[n.extent] for n in part.warp if n.name in part.varies[f.buffer])
        return times * threads * np.float32(f.item_bytes / _SHARED)
    return part.share * times / width * np.maximum(cycles, 2) * np.ceil(threads / WARP)


def waits(parts: Sequence[Part], known: Known) -> tuple[Count, Count]:
    """How often a block waits for what it copies to shared memory before it uses it, in a loop that is not pipelined,
    and the cycles that these copies take."""
    phases, cycles = np.float32(0), np.float32(0)
    for part in parts:
        filled = [f for f in part.nest.footprints if f.written and f.scope == "shared"]
        sources = [n for n, f in enumerate(part.nest.footprints) if not f.written and f.scope == "global"]
        again = [n for f in filled for n in part.nest.loops[: _alive(f)] if is_kind(n, "serial")]
        if sources and again and filled[0].versions == 1:
            phases = np.maximum(phases, product(known[n.extent] for n in again))
            cycles = cycles + sum(_cycles_of_one(part, n, known) for n in sources)
    return phases, cycles


def _accesses(part: Part, f: Footprint, known: Known) -> Count:
    """Of a thread to a buffer: what it has loaded of shared memory, it does not load again while that lives."""
    alive, own = _alive(f), part.varies[f.buffer]
    loops = [n for at, n in enumerate(part.nest.loops) if f.scope == "global" or at < alive or n.name in own]
    return product(known[n.extent] for n in loops if not is_kind(n, "blockIdx", "threadIdx"))


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


def operations(part: Part, known: Known) -> Count:
    """Instructions of all threads, as multiply-adds."""
    nest = part.nest
    start = _depth_of_last_sharing(nest)
    again = {loop.name for loop in nest.loops[:start] if is_kind(loop, "threadIdx")}
    points = product(known[loop.extent] for loop in nest.loops if loop.name not in again)
    if nest.tensorized:
        return points * np.float32(nest.operations.get("fma", 0) * LANES / _TENSOR_CORES)
    moved = sum(1 / width for f, (width, _) in zip(nest.footprints, part.accesses, strict=True) if f.scope != "local")
    return part.share * points * (sum(count * _FLOPS.get(op, 1) for op, count in nest.operations.items()) + moved)


def iterations(nest: Nest, known: Known) -> Count:
    """Of all loops that are loops at run time."""
    return product(known[loop.extent] for loop in nest.loops if is_kind(loop, "serial"))
