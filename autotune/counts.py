"""What nests of loops do, counted: trips, vector operations, registers, and lines and pages that caches do not hold.

Counts are NumPy float32, one element a knob vector, or a number where the knobs do not matter.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from autotune.task import Expr, Footprint, Nest, Target

LINE = 64  # bytes of a cache line
PAGE = 4096  # bytes of a page
TLB_PAGES = 64  # that a core translates at no cost
_AT_RUN_TIME = ("serial", "parallel")

Count = Any  # np.ndarray of float32, or one np.float32
Known = Mapping[Expr, Count]


@dataclass(frozen=True)
class Counts:
    """One nest of loops, the input of the analytical model.

    A *step* is one run of what is inside the innermost loop that is a loop at run time; a *call* is one run of the
    innermost reduction loop (or a step, if there is none). Traffic is in cache lines, pages in pages, for the whole
    nest; what is written counts twice, for it is read or fetched as well.
    """

    steps: Count
    calls: Count
    step_vectors: Count  # vector operations of a step
    step_loads: Count
    step_stores: Count
    accumulators: Count  # vectors that live in registers across steps
    operands: Count  # vectors that live within a step
    chain: Count  # operations of a step that wait for each other
    share: Count  # of the work, done by the busiest thread
    parallel_trips: Count
    reduction_trips: Count
    padding: Count  # points visited over points that there are
    traffic: tuple[Count, ...]  # lines from beyond L1, L2, L3
    pages: Count  # translations that the TLB does not hold
    read_traffic: tuple[Count, ...]  # lines from beyond L2, by buffer read
    written_traffic: Count  # the same for what is written
    tile_bytes: Count  # touched by a call
    panel_bytes: Count  # touched by the loop around it
    flops: int
    operations: Mapping[str, int]
    starts_threads: bool


# For each buffer that a nest touches, what its footprint takes for all that runs inside the first 0, 1, ... loops, as
# (lines, pages).
Regions = Sequence[Sequence[tuple[Count, Count]]]


def expressions(nest: Nest) -> list[Expr]:
    """All that `count` needs to know the values of, beside regions."""
    flat = _flat(nest)
    accesses = [e for f in nest.footprints for e in (*f.shape, *f.extents[flat])]
    return [nest.points, *(loop.extent for loop in nest.loops), *accesses]


def touched(nest: Nest) -> list[Footprint]:
    """The footprints that cost something; a reduction's result counts once."""
    results = {f.buffer for f in nest.footprints if f.written}
    return [f for f in nest.footprints if f.written or f.buffer not in results]


def data_bytes(nests: Sequence[Nest], known: Known) -> Count:
    """Of all that the nests touch together."""
    shapes = {f.buffer: (f.item_bytes, f.shape) for nest in nests for f in nest.footprints}
    return sum((item * product(known[e] for e in shape) for item, shape in shapes.values()), np.float32(0))


def count(nest: Nest, known: Known, regions: Regions, target: Target, data: Count) -> Counts:
    """Counts of a nest. known: values of its expressions; regions: of the buffers that it touches; data: bytes that the
    program touches from call to call."""
    loops, one = nest.loops, np.float32(1)
    trips = [known[loop.extent] for loop in loops]
    lanes, vectors = _vectorized(nest, trips, target)
    flat = _flat(nest)
    inside = [(loop, vectors if loop.kind == "vectorize" else t) for loop, t in zip(loops, trips, strict=True)][flat:]
    step_vectors = product(t for _, t in inside)
    tile = product(t for loop, t in inside if not loop.reduce)
    reducing = flat > 0 and loops[flat - 1].reduce
    call = flat - 1 if reducing else flat
    used = touched(nest)
    loads, stores = (
        sum((_vector_accesses(f.extents[flat], known, lanes) for f in used if f.written is written), 0 * one)
        for written in (False, True)
    )
    # Lowering leaves out what lies outside: blocks at the border are smaller, so loops run less often on average.
    padding = one if nest.moved else product(trips) / known[nest.points]
    parallel = product(t for t, loop in zip(trips, loops, strict=True) if loop.kind == "parallel")
    lines, pages = [[r[0] for r in each] for each in regions], [[r[1] for r in each] for each in regions]
    caches = np.array([[target.l1], [target.l2], [target.l3]], np.float32) / np.float32(LINE)
    by_buffer = _traffic(lines, trips, padding, caches, _leaves(data / LINE, caches))
    page_traffic = _traffic(pages, trips, padding, np.array([[TLB_PAGES]], np.float32), one)
    weights = [2 if f.written else 1 for f in used]
    return Counts(
        steps=product(trips[:flat]) / padding,
        calls=product(trips[:call]) / padding,
        step_vectors=step_vectors,
        step_loads=loads if reducing or not nest.reduces else loads + stores,
        step_stores=0 * one if reducing else stores,
        accumulators=tile if reducing else 0 * one,
        operands=vectors,
        chain=step_vectors / tile if reducing else 0 * one,
        share=_share(parallel, parallel / padding, target.cores),
        parallel_trips=parallel,
        reduction_trips=trips[flat - 1] if reducing else one,
        padding=padding,
        traffic=tuple(_weighted(by_buffer, weights)),
        pages=_weighted(page_traffic, weights)[0],
        read_traffic=tuple(t[1] for t, f in zip(by_buffer, used, strict=True) if not f.written),
        written_traffic=sum((2 * t[1] for t, f in zip(by_buffer, used, strict=True) if f.written), 0 * one),
        tile_bytes=LINE * sum((each[call][0] for each in regions), 0 * one),
        panel_bytes=LINE * sum((each[max(call - 1, 0)][0] for each in regions), 0 * one),
        flops=nest.flops,
        operations=nest.operations,
        starts_threads=not nest.moved,
    )


def _flat(nest: Nest) -> int:
    """How many of the loops stand outside all that runs without a loop: in vectors, or unrolled."""
    return next((at + 1 for at in range(len(nest.loops) - 1, -1, -1) if nest.loops[at].kind in _AT_RUN_TIME), 0)


def product(factors: Any) -> Count:
    result = np.float32(1)
    for factor in factors:
        result = result * factor
    return result


def _share(pieces: Count, work: Count, cores: int) -> Count:
    """Of the work, in pieces of full size, what the busiest thread does: the last to end waits for nobody."""
    most = np.minimum(np.ceil(pieces / cores), (work + (cores - 1)) / cores)
    return np.maximum(most, np.minimum(work, 1)) / work


def _weighted(values: Sequence[Count], weights: Sequence[int]) -> Count:
    return sum((v if w == 1 else w * v for v, w in zip(values, weights, strict=True)), np.float32(0))


def _vectorized(nest: Nest, trips: Sequence[Count], target: Target) -> tuple[Count, Count]:
    """(elements that one vector operation handles, vector operations that the vectorized loop takes)."""
    item = max((f.item_bytes for f in nest.footprints), default=4)
    for loop, t in zip(nest.loops, trips, strict=True):
        if loop.kind == "vectorize":
            lanes = np.minimum(t, np.float32(target.vector_bytes / item))
            return lanes, np.ceil(t / lanes)
    return np.float32(1), np.float32(1)


def _vector_accesses(shape: tuple[Expr, ...], known: Known, lanes: Count) -> Count:
    """Loads or stores that touch a region once: whole vectors along its last dimension, if that is long enough."""
    if not shape:
        return np.float32(1)
    last = known[shape[-1]]
    return product(known[e] for e in shape[:-1]) * np.where(last >= lanes, np.ceil(last / lanes), last)


def region(f: Footprint, shape: tuple[Expr, ...], known: Known) -> tuple[Count, Count]:
    """(lines, pages) of a region of this shape.

    Whole trailing dimensions make one contiguous run, others a run for each row; rows that lie closer together than
    pages share them.
    """
    item = np.float32(f.item_bytes)
    run, runs, stride, span = item, np.float32(1), item, item
    whole = np.float32(1)
    for last, (extent, size) in enumerate(zip(reversed(shape), reversed(f.shape), strict=True)):
        e = known[extent]
        if not last:  # its elements lie side by side
            run = span = run * e
        else:  # the rows before are whole, and this dimension makes one run of them, or each makes one
            joined = 1 + whole * (e - 1)
            span = whole * (run * e) + (1 - whole) * (span + (e - 1) * stride)
            run, runs = run * joined, runs * (e / joined)
        whole = whole * (e >= known[size])
        stride = stride * known[size]
    lines = runs * np.ceil(run * np.float32(1 / LINE))
    pages = np.minimum(runs * np.ceil(run * np.float32(1 / PAGE)), np.ceil(span * np.float32(1 / PAGE)))
    return lines, pages


def _traffic(
    parts: Sequence[Sequence[Count]], trips: Sequence[Count], padding: Count, capacities: np.ndarray, cold: Count
) -> list[np.ndarray]:
    """For each buffer the lines (or pages) that come from beyond caches that hold so many, for the whole nest.

    parts: of each buffer, for all that runs inside the first 0, 1, ... loops; capacities: one a row, as in what is
    returned; cold: the share of a buffer that a cache does not hold when the nest starts. From the inside out: a loop
    whose body's footprint stays in the cache touches its own region once, else it pays for its body at each iteration;
    in between, a smooth blend.
    """
    totals = [each[-1] for each in parts]
    for level in range(len(trips) - 1, -1, -1):
        leaves = _leaves(sum(each[level + 1] for each in parts), capacities)
        stays, again = 1 - leaves, leaves * trips[level]
        totals = [each[level] * stays + again * total for each, total in zip(parts, totals, strict=True)]
    return [
        np.maximum(total / padding - each[0], 0) + each[0] * cold for total, each in zip(totals, parts, strict=True)
    ]


def _leaves(used: Count, capacities: np.ndarray) -> np.ndarray:
    """The share of what caches held that is gone when it is needed again, after so much was used."""
    square, size = used * used, capacities * capacities
    fourth = square * square
    return fourth / (fourth + size * size)
