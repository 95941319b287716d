"""Features of candidates: numbers that say why a schedule is fast or slow, whatever its sketch.

One symbolic program gives extents and footprints as expressions over knobs; here they are evaluated on arrays of
knob vectors, some thousands at a time so that intermediate arrays stay in the cache, on all cores. What regions of
buffers take depends on few knobs each, and is looked up (tables.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property, partial
from typing import Any

import numpy as np

from autotune import analytical
from autotune.analytical import Seconds
from autotune.counts import Count, Counts, count, data_bytes, expressions, product, region, touched
from autotune.tables import Rows, Table
from autotune.task import Expr, Footprint, Func, Knob, Nest, Task, nests, numpy_function

CHUNK = 16384
FEW = 4096  # knob vectors that one thread evaluates, without tables

NAMES = (
    *("accumulators", "vectors", "register_excess", "step_vectors", "step_loads", "loads_per_vector"),
    *("reduction_trips", "calls", "padding", "thread_share", "parallel_trips", "loop_overhead"),
    *("l1_traffic", "l2_traffic", "l3_traffic", "pages", "read_l2_max", "read_l2_min", "written_l2"),
    *("tile_bytes", "panel_bytes", "other_steps", "other_seconds", "compute_seconds", "memory_seconds", "estimate"),
)


class Features:
    """Evaluates a symbolic program. `Features(task, func, knobs)(values)`: (float32[n, len(NAMES)], seconds[n])."""

    def __init__(self, task: Task, func: Func, knobs: Sequence[Knob]):
        self._target = task.target
        self._nests = nests(func)
        wanted = {nest.block: _points(nest) * (1 + nest.flops) for nest in task.nests}
        self._main = max(range(len(self._nests)), key=lambda n: wanted.get(self._nests[n].block, 0.0))
        self._knobs = tuple(knobs)
        self._touched = [touched(nest) for nest in self._nests]
        self._counted = [expr for nest in self._nests for expr in expressions(nest)]

    @cached_property
    def _loops(self) -> _Evaluated:
        """All that counting needs, but for the shapes of regions."""
        return _Evaluated(self._knobs, self._counted)

    @cached_property
    def _everything(self) -> _Evaluated:
        """With them, for one evaluation of all there is."""
        shapes = (s for buffers in self._touched for f in buffers for s in (f.shape, *f.extents))
        return _Evaluated(self._knobs, (*self._counted, *(e for shape in shapes for e in shape)))

    @cached_property
    def _tables(self) -> list[list[list[Table]]]:
        """The regions inside the first 0, 1, ... loops, for each nest and buffer, whatever the knobs."""

        def table(f: Footprint, shape: tuple[Expr, ...]) -> Table:
            return Table(self._knobs, (*shape, *f.shape), partial(region, f, shape))

        return [[_by_shape(f, partial(table, f)) for f in buffers] for buffers in self._touched]

    def __call__(self, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        table = np.empty((len(values), len(NAMES)), np.float32)
        estimates = np.empty(len(values), np.float32)
        many = len(values) > FEW
        if many:
            _ = self._loops, self._tables  # before several threads want them

        def fill(start: int) -> None:
            chunk = slice(start, min(start + size, len(values)))
            counted = self._counts(values[chunk], many)
            seconds = [analytical.seconds(each, self._target) for each in counted]
            by_column = np.empty((len(NAMES), chunk.stop - start), np.float32)
            for at, column in enumerate(_columns(counted, seconds, self._main)):
                by_column[at] = column
            table[chunk] = by_column.T
            estimates[chunk] = sum(each.total for each in seconds)

        threads = self._target.cores if many else 1
        rounds = max(1, -(-len(values) // (threads * CHUNK)))
        size = max(1, -(-len(values) // (threads * rounds)))  # so that all threads have as much to do
        starts = range(0, len(values), size)
        if threads > 1:  # NumPy lets go of the interpreter while it computes
            with ThreadPoolExecutor(threads) as pool:
                list(pool.map(fill, starts))
        else:
            for start in starts:
                fill(start)
        return table, estimates

    def estimate(self, values: np.ndarray) -> np.ndarray:
        """Seconds of knob vectors, few enough for one thread, without their features."""
        seconds = (analytical.seconds(each, self._target).total for each in self._counts(values, False))
        return np.broadcast_to(sum(seconds), len(values))

    def counts(self, values: np.ndarray) -> list[tuple[Counts, Nest]]:
        """The counts of each nest of the program, in its order."""
        return list(zip(self._counts(values, False), self._nests, strict=True))

    def _counts(self, values: np.ndarray, many: bool) -> list[Counts]:
        """many: that tables are worth their while."""
        rows = Rows(self._knobs, values)
        known = (self._loops if many else self._everything)(rows)
        regions: list[list[list[Any]]]
        if many:
            regions = [[[table(rows) for table in buffer] for buffer in nest] for nest in self._tables]
        else:
            regions = [[_by_shape(f, partial(region, f, known=known)) for f in nest] for nest in self._touched]
        data = data_bytes(self._nests, known)
        return [count(nest, known, each, self._target, data) for nest, each in zip(self._nests, regions, strict=True)]


class _Evaluated:
    """Expressions over knobs, evaluated together."""

    def __init__(self, knobs: Sequence[Knob], exprs: Iterable[Expr]):
        self._exprs = tuple(dict.fromkeys(exprs))
        self._function = numpy_function(self._exprs, knobs)

    def __call__(self, rows: Rows) -> dict[Expr, Count]:
        values = self._function(*rows.columns)
        return {e: np.asarray(v, np.float32)[()] for e, v in zip(self._exprs, values, strict=True)}


def _by_shape(f: Footprint, make: Callable[[tuple[Expr, ...]], Any]) -> list[Any]:
    """What `make` makes of the footprint's shape inside the first 0, 1, ... loops, each shape once."""
    made = {shape: make(shape) for shape in dict.fromkeys(f.extents)}
    return [made[shape] for shape in f.extents]


def _points(nest: Nest) -> float:
    """Iterations of a block as the task states it."""
    return float(product(float(repr(loop.extent)) for loop in nest.loops))


def _columns(counted: list[Counts], seconds: list[Seconds], main: int) -> list[Count]:
    """In the order of NAMES: the nest with the most work, and what the others add to it."""
    c, s = counted[main], seconds[main]
    others = [n for n in range(len(counted)) if n != main]
    zero = np.float32(0)
    other_seconds = sum((seconds[n].total for n in others), zero)
    reads = c.read_traffic or (zero,)
    least = most = reads[0]
    for each in reads[1:]:
        least, most = np.minimum(least, each), np.maximum(most, each)
    other_steps = sum((counted[n].steps * counted[n].step_vectors for n in others), zero)
    return [
        *(c.accumulators, c.operands, s.excess, c.step_vectors, c.step_loads, c.step_loads / c.step_vectors),
        *(c.reduction_trips, c.calls, c.padding, c.share, c.parallel_trips, 1 / c.step_vectors),
        *(*c.traffic, c.pages, most, least, c.written_traffic, c.tile_bytes, c.panel_bytes),
        *(other_steps, other_seconds, s.compute, s.memory, s.total + other_seconds),
    ]
