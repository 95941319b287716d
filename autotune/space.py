"""Sketches and the spaces they open.

A sketch is a function that writes a schedule and asks for a knob wherever a number is open:

    def write(s, knob):
        i, j, k = s.loops("C")
        i0, i1 = s.split(i, [None, knob("tile_i", [2, 4, 8])])
        s.reorder(i0, j, k, i1)

It is replayed once with symbolic knobs: constraints and features are then expressions, evaluated for many knob
vectors at once. A candidate is its trace with the knobs replaced by numbers, so only literal steps reach a log.
Whatever changes the structure of a schedule (loop order, packing or not) is a sketch of its own, never a knob.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from autotune.features import Features
from autotune.gpu_model import GpuFeatures
from autotune.task import (
    Expr,
    Knob,
    Schedule,
    ScheduleError,
    Task,
    free_vars,
    knob,
    numpy_function,
    program_json,
    trace_json,
)

AskKnob = Callable[[str, Sequence[int]], Any]
Write = Callable[[Schedule, AskKnob], Iterable[Any] | None]

_MOST_LISTED = 2_000_000  # knob vectors of a space


@dataclass(frozen=True)
class Sketch:
    """name: for the log; write(s, knob): writes the schedule and may return further conditions over its knobs; exact:
    whether open knobs give the very program that a replay with numbers does, not only one that means the same.

    >>> def rows(s, knob):
    ...     outer, inner = s.split("C.i", [None, knob("rows", (1, 2, 4, 8))])
    ...     s.unroll(inner)
    >>> autotune.Sketch("rows", rows).name
    'rows'
    """

    name: str
    write: Write
    exact: bool = False


class Space:
    """All schedules of one sketch for one task.

    names: of the knobs; knobs: themselves; choices: the values of each, ascending; schedule: with symbolic knobs;
    conditions: over knobs, first those of the schedule's steps.
    Raises ScheduleError if the sketch does not fit the task. Knob vectors are rows of int64, one column a knob.
    """

    def __init__(self, task: Task, sketch: Sketch):
        self.task, self.sketch = task, sketch
        try:
            self.schedule, knobs, further = _written(task, sketch, together=True)
        except ScheduleError:  # step by step, which tells the one that is refused
            self.schedule, knobs, further = _written(task, sketch, together=False)
        self.names, self.knobs = tuple(knobs), tuple(knobs.values())
        self.choices = tuple(np.array(k.choices, dtype=np.int64) for k in self.knobs)
        self.conditions: tuple[Expr, ...] = (*self.schedule.constraints, *further)

    @cached_property
    def _holds(self) -> Callable[..., list[Any]]:
        return numpy_function(self.conditions, self.knobs)

    @cached_property
    def _features(self) -> Features | GpuFeatures:
        features = GpuFeatures if self.task.target.simt else Features
        return features(self.task, self.schedule.func, self.knobs)

    def valid(self, values: np.ndarray) -> np.ndarray:
        """Which knob vectors meet the conditions: bool[n]."""
        result = np.ones(len(values), bool)
        for holds in self._holds(*values.T):
            result &= holds
        return result

    @cached_property
    def rows(self) -> np.ndarray | None:
        """All valid knob vectors in ascending order, int64[n, knobs]; None if there are too many to list.

        Built knob by knob, and each condition is met as soon as its knobs are there: most invalid ones never come up.
        """
        columns: list[np.ndarray] = []
        left, known = list(self.conditions), set[Any]()
        count = 1
        for number, (name, choices) in enumerate(zip(self.knobs, self.choices, strict=True), 1):
            if count * len(choices) > _MOST_LISTED:
                return None
            columns = [np.repeat(c, len(choices)) for c in columns] + [np.tile(choices, count)]
            known.add(name)
            ready = [c for c in left if free_vars(c) <= known]
            left = [c for c in left if not free_vars(c) <= known]
            count *= len(choices)
            if ready:
                keep = np.ones(count, bool)
                for holds in numpy_function(ready, self.knobs[:number])(*columns):
                    keep &= holds
                columns = [c[keep] for c in columns]
                count = len(columns[0])
        return np.array(columns).T if columns else np.zeros((1, 0), np.int64)

    def features(self, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(float32[n, features], estimated seconds[n]) of knob vectors."""
        return self._features(values)

    def estimate(self, values: np.ndarray) -> np.ndarray:
        """Seconds of knob vectors by the analytical model."""
        return self._features.estimate(values)

    def trace(self, values: Mapping[str, int]) -> dict[str, Any]:
        """The literal steps of the schedule with these knobs, as a JSON value."""
        return trace_json(self.schedule.trace.instantiate(values))

    @cached_property
    def program(self) -> str | None:
        """The program with open knobs as another process reads it (Task.opened); None if it cannot."""
        if any(
            step.op == "tensorize" for step in self.schedule.trace.steps
        ):  # instructions do not travel, their names do
            return None
        return program_json(self.schedule)

    def instantiate(self, values: Mapping[str, int]) -> Schedule:
        """The schedule with these knobs. Raises ScheduleError if it is not legal."""
        if self.sketch.exact:
            with suppress(ScheduleError):
                return self.schedule.instantiate(values)
        return self.task.replay(self.trace(values))

    def named(self, values: Sequence[int]) -> dict[str, int]:
        """A knob vector with names."""
        return dict(zip(self.names, map(int, values), strict=True))


def _written(task: Task, sketch: Sketch, together: bool) -> tuple[Schedule, dict[str, Knob], list[Expr]]:
    """The schedule of a sketch with open knobs, these by name, and the conditions of the sketch itself."""
    schedule, knobs = task.schedule(), dict[str, Knob]()

    def ask(name: str, choices: Sequence[int]) -> Knob:
        if name in knobs:
            raise ValueError(f"sketch {sketch.name} asks twice for knob {name}")
        knobs[name] = knob(name, tuple(sorted(set(choices))))
        return knobs[name]

    with schedule.together() if together else nullcontext():
        further = [c for c in sketch.write(schedule, ask) or () if isinstance(c, Expr)]
    return schedule, knobs, further
