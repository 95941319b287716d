"""Features of candidates: numbers that say why a schedule is fast or slow, whatever its sketch.

One symbolic program gives extents and footprints as expressions over knobs; here they are evaluated on arrays of
knob vectors. All counts are float64[n].
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from autotune.task import Expr, Knob, Nest, Target, Task, nests, numpy_function

LINE = 64  # bytes of a cache line
_FLOORED = ("serial", "parallel")

NAMES = (
    *("accumulators", "vectors", "register_excess", "step_vectors", "step_loads", "loads_per_vector"),
    *("reduction_trips", "calls", "padding", "thread_share", "parallel_trips", "loop_overhead"),
    *("l1_traffic", "l2_traffic", "l3_traffic", "read_l2_max", "read_l2_min", "written_l2"),
    *("tile_bytes", "panel_bytes", "other_steps", "other_seconds", "compute_seconds", "memory_seconds", "estimate"),
)


@dataclass(frozen=True)
class Counts:
    """What one nest of loops does, counted: the input of the analytical model.

    A *step* is one run of what is inside the innermost loop that is a loop at run time; a *call* is one run of the
    innermost reduction loop (or a step, if there is none). Traffic is in cache lines for the whole nest.
    """

    steps: np.ndarray
    calls: np.ndarray
    step_vectors: np.ndarray  # vector operations of a step
    step_loads: np.ndarray
    step_stores: np.ndarray
    accumulators: np.ndarray  # vectors that live in registers across steps
    operands: np.ndarray  # vectors that live within a step
    chain: np.ndarray  # operations of a step that wait for each other
    share: np.ndarray  # of the work, done by the busiest thread
    parallel_trips: np.ndarray
    reduction_trips: np.ndarray
    padding: np.ndarray  # points visited over points wanted
    traffic: tuple[np.ndarray, ...]  # lines from beyond L1, L2, L3
    read_traffic: tuple[np.ndarray, ...]  # lines from beyond L2, by buffer read
    written_traffic: np.ndarray
    tile_bytes: np.ndarray  # touched by a call
    panel_bytes: np.ndarray  # touched by the loop around it
    flops: int


class Features:
    """Evaluates a symbolic program. `Features(task, func, knobs)(values)`: (float32[n, len(NAMES)], seconds[n])."""

    def __init__(self, task: Task, func: object, knobs: Sequence[Knob]):
        from autotune import analytical

        self._target, self._model = task.target, analytical
        self._nests = nests(func)  # type: ignore[arg-type]
        self._wanted = _points(nests(task.func))
        exprs: list[Expr] = []
        self._where: dict[Expr, int] = {}
        for nest in self._nests:
            for expr in (
                *(loop.extent for loop in nest.loops),
                *(e for f in nest.footprints for shape in f.extents for e in shape),
            ):
                if expr not in self._where:
                    self._where[expr] = len(exprs)
                    exprs.append(expr)
        self._evaluate = numpy_function(tuple(exprs), tuple(knobs))

    def __call__(self, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        counted = [count for count, _ in self.counts(values)]
        seconds = [self._model.seconds(count, self._target) for count in counted]
        main = max(range(len(counted)), key=lambda n: self._work(counted[n]))
        table = self._table(counted, seconds, main)
        return table.astype(np.float32), seconds[main].total + sum(s.total for s in _others(seconds, main))

    def counts(self, values: np.ndarray) -> list[tuple[Counts, Nest]]:
        """The counts of each nest of the program, in its order."""
        columns = self._evaluate(*values.T)
        known = {e: np.broadcast_to(np.asarray(columns[n], float), len(values)) for e, n in self._where.items()}
        return [(_count(nest, known, self._target, self._wanted.get(nest.block)), nest) for nest in self._nests]

    @staticmethod
    def _work(count: Counts) -> float:
        return float(np.median(count.steps * count.step_vectors)) * (1 + count.flops)

    def _table(self, counted: list[Counts], seconds: list, main: int) -> np.ndarray:
        c, s = counted[main], seconds[main]
        others = [counted[n] for n in range(len(counted)) if n != main]
        zero = np.zeros_like(c.steps)
        other_seconds = sum((o.total for o in _others(seconds, main)), zero)
        reads = np.stack(c.read_traffic or (zero,))
        columns = {
            "accumulators": c.accumulators,
            "vectors": c.operands,
            "register_excess": s.excess,
            "step_vectors": c.step_vectors,
            "step_loads": c.step_loads,
            "loads_per_vector": c.step_loads / c.step_vectors,
            "reduction_trips": _log(c.reduction_trips),
            "calls": _log(c.calls),
            "padding": c.padding,
            "thread_share": c.share,
            "parallel_trips": _log(c.parallel_trips),
            "loop_overhead": 1 / c.step_vectors,
            "l1_traffic": _log(c.traffic[0]),
            "l2_traffic": _log(c.traffic[1]),
            "l3_traffic": _log(c.traffic[2]),
            "read_l2_max": _log(reads.max(axis=0)),
            "read_l2_min": _log(reads.min(axis=0)),
            "written_l2": _log(c.written_traffic),
            "tile_bytes": _log(c.tile_bytes),
            "panel_bytes": _log(c.panel_bytes),
            "other_steps": _log(sum((o.steps * o.step_vectors for o in others), zero)),
            "other_seconds": _log(1e9 * other_seconds),
            "compute_seconds": _log(1e9 * s.compute),
            "memory_seconds": _log(1e9 * s.memory),
            "estimate": _log(1e9 * (s.total + other_seconds)),
        }
        return np.stack([columns[name] for name in NAMES], axis=1)


def _others(seconds: list, main: int) -> list:
    return [s for n, s in enumerate(seconds) if n != main]


def _log(x: np.ndarray) -> np.ndarray:
    return np.log2(1 + x)


def _points(unscheduled: list[Nest]) -> dict[str, float]:
    """Iterations of each block as the task states it."""
    return {n.block: float(np.prod([float(repr(loop.extent)) for loop in n.loops])) for n in unscheduled}


def _count(nest: Nest, known: dict[Expr, np.ndarray], target: Target, wanted: float | None) -> Counts:
    loops = nest.loops
    n = len(next(iter(known.values()))) if known else 1
    one = np.ones(n)
    trips = [known[loop.extent] for loop in loops]
    lanes, vectors = _vectorised(nest, trips, target, one)
    flat = next((at + 1 for at in range(len(loops) - 1, -1, -1) if loops[at].kind in _FLOORED), 0)
    inside = [t if loops[at].kind != "vectorize" else vectors for at, t in enumerate(trips) if at >= flat]
    step_vectors = _product(inside, one)
    steps = _product(trips[:flat], one)
    reducing = flat > 0 and loops[flat - 1].reduce
    call = flat - 1 if reducing else flat
    spatial = [
        vectors if loops[at].kind == "vectorize" else trips[at]
        for at in range(flat, len(loops))
        if not loops[at].reduce
    ]
    bytes_at, lines_at = _footprints(nest, known, one)
    reads = [at for at, f in enumerate(nest.footprints) if not f.written and not _is_result(nest, f.buffer)]
    writes = [at for at, f in enumerate(nest.footprints) if f.written]
    loads = sum((_vector_accesses(nest.footprints[at].extents[flat], known, lanes, one) for at in reads), 0 * one)
    stores = sum((_vector_accesses(nest.footprints[at].extents[flat], known, lanes, one) for at in writes), 0 * one)
    tile = _product(spatial, one)
    parallel = _product([t for t, loop in zip(trips, loops, strict=True) if loop.kind == "parallel"], one)
    caches = (target.l1, target.l2, target.l3)
    by_level = [[_traffic(lines_at[at], trips, lines_at, size) for at in range(len(lines_at))] for size in caches]
    return Counts(
        steps=steps,
        calls=_product(trips[:call], one),
        step_vectors=step_vectors,
        step_loads=loads if reducing or not nest.reduces else loads + stores,
        step_stores=0 * one if reducing else stores,
        accumulators=tile if reducing else 0 * one,
        operands=vectors,
        chain=step_vectors / tile if reducing else 0 * one,
        share=np.ceil(parallel / target.cores) / parallel,
        parallel_trips=parallel,
        reduction_trips=trips[flat - 1] if reducing else one,
        padding=_product(trips, one) / wanted if wanted else one,
        traffic=tuple(sum(level, 0 * one) for level in by_level),
        read_traffic=tuple(by_level[1][at] for at in reads),
        written_traffic=sum((by_level[1][at] for at in writes), 0 * one),
        tile_bytes=sum((b[call] for b in bytes_at), 0 * one),
        panel_bytes=sum((b[max(call - 1, 0)] for b in bytes_at), 0 * one),
        flops=nest.flops,
    )


def _is_result(nest: Nest, buffer: str) -> bool:
    """A reduction reads what it writes: that is no operand."""
    return any(f.written and f.buffer == buffer for f in nest.footprints)


def _vectorised(nest: Nest, trips: list[np.ndarray], target: Target, one: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(elements that one vector operation handles, vector operations that the vectorized loop takes)."""
    item = max((f.item_bytes for f in nest.footprints), default=4)
    for loop, t in zip(nest.loops, trips, strict=True):
        if loop.kind == "vectorize":
            lanes = np.minimum(t, target.vector_bytes / item)
            return lanes, np.ceil(t / lanes)
    return one, one


def _vector_accesses(
    shape: tuple[Expr, ...], known: dict[Expr, np.ndarray], lanes: np.ndarray, one: np.ndarray
) -> np.ndarray:
    """Loads or stores that touch a region once: whole vectors along its last dimension, if that is long enough."""
    if not shape:
        return one
    last = known[shape[-1]]
    rows = _product([known[e] for e in shape[:-1]], one)
    return rows * np.where(last >= lanes, np.ceil(last / lanes), last)


def _footprints(
    nest: Nest, known: dict[Expr, np.ndarray], one: np.ndarray
) -> tuple[list[list[np.ndarray]], list[list[np.ndarray]]]:
    """Bytes and cache lines of each buffer's region, for all that runs inside the first 0, 1, ... loops."""
    bytes_at, lines_at = [], []
    for f in nest.footprints:
        sizes, lines = [], []
        for shape in f.extents:
            last = known[shape[-1]] if shape else one
            rows = _product([known[e] for e in shape[:-1]], one)
            sizes.append(rows * last * f.item_bytes)
            lines.append(rows * np.ceil(last * f.item_bytes / LINE))
        bytes_at.append(sizes)
        lines_at.append(lines)
    return bytes_at, lines_at


def _traffic(
    lines: list[np.ndarray], trips: list[np.ndarray], all_lines: list[list[np.ndarray]], cache: int
) -> np.ndarray:
    """Cache lines of one buffer that come from beyond a cache of so many bytes, for the whole nest.

    From the inside out: a loop whose body's footprint stays in the cache touches its own region once, else it pays
    for its body at each iteration; in between, a smooth blend.
    """
    total = lines[-1]
    for level in range(len(trips) - 1, -1, -1):
        inside = sum(each[level + 1] for each in all_lines) * LINE
        stays = 1 / (1 + (inside / cache) ** 4)
        total = stays * lines[level] + (1 - stays) * trips[level] * total
    return np.maximum(total, lines[0])


def _product(factors: Sequence[np.ndarray], one: np.ndarray) -> np.ndarray:
    result = one
    for factor in factors:
        result = result * factor
    return result
