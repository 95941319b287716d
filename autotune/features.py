"""Features of candidates: numbers that say why a schedule is fast or slow, whatever its sketch.

One symbolic program gives extents and footprints as expressions over knobs; here they are evaluated on arrays of
knob vectors, some thousands at a time so that intermediate arrays stay in the cache, on all cores. What regions of
buffers take depends on few knobs each, and is looked up (tables.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property, partial

import numpy as np

from autotune import analytical
from autotune.analytical import Seconds
from autotune.counts import Count, Counts, count, data_bytes, expressions, product, region, touched
from autotune.tables import Rows, Table
from autotune.task import Expr, Footprint, Func, Knob, Nest, Task, nests, numpy_function

CHUNK = 16384
_FEW = 4096  # knob vectors that one thread evaluates

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
        wanted = {nest.block: _points(nest) * (1 + nest.flops) for nest in nests(task.func)}
        self._main = max(range(len(self._nests)), key=lambda n: wanted.get(self._nests[n].block, 0.0))
        self._knobs = tuple(knobs)
        self._exprs = list(dict.fromkeys(expr for nest in self._nests for expr in expressions(nest)))
        self._evaluate = numpy_function(self._exprs, self._knobs)

    @cached_property
    def _regions(self) -> list[list[list[Table]]]:
        """What is touched inside the first 0, 1, ... loops, for each nest and buffer."""
        return [[self._tables(f) for f in touched(nest)] for nest in self._nests]

    def _tables(self, f: Footprint) -> list[Table]:
        made = {
            shape: Table(self._knobs, (*shape, *f.shape), partial(region, f, shape))
            for shape in dict.fromkeys(f.extents)
        }
        return [made[shape] for shape in f.extents]

    def __call__(self, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        table = np.empty((len(values), len(NAMES)), np.float32)
        estimates = np.empty(len(values), np.float32)
        _ = self._regions  # before several threads want them

        def fill(start: int) -> None:
            chunk = slice(start, min(start + size, len(values)))
            counted = self._counts(values[chunk])
            seconds = [analytical.seconds(each, self._target) for each in counted]
            by_column = np.empty((len(NAMES), chunk.stop - start), np.float32)
            for at, column in enumerate(_columns(counted, seconds, self._main)):
                by_column[at] = column
            table[chunk] = by_column.T
            estimates[chunk] = sum(each.total for each in seconds)

        threads = self._target.cores if len(values) > _FEW else 1
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

    def counts(self, values: np.ndarray) -> list[tuple[Counts, Nest]]:
        """The counts of each nest of the program, in its order."""
        return list(zip(self._counts(values), self._nests, strict=True))

    def _counts(self, values: np.ndarray) -> list[Counts]:
        rows = Rows(self._knobs, values)
        known: dict[Expr, Count] = {
            expr: np.asarray(value, np.float32)[()]
            for expr, value in zip(self._exprs, self._evaluate(*rows.columns), strict=True)
        }
        data = data_bytes(self._nests, known)
        return [
            count(nest, known, [[table(rows) for table in buffer] for buffer in regions], self._target, data)
            for nest, regions in zip(self._nests, self._regions, strict=True)
        ]


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
