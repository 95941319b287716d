"""The spaces of a task, and the schedule that the analytical model picks from them."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

import numpy as np

from autotune.search import Candidate, EvolutionarySearch
from autotune.sketches import sketches_for
from autotune.space import Sketch, Space
from autotune.task import Schedule, ScheduleError, Target, Task

_QUICK = EvolutionarySearch(population=512, generations=6, exhaustive=4096)  # where nobody wants to wait
_QUICK_SKETCHES = 3  # the most promising ones, likewise
_TRIES = 16  # of each sketch, should the best ones be refused


def suggest(computed: Any, target: str | Target = "llvm") -> Schedule:
    """The schedule that the analytical model picks, with no measurement at all.

    >>> np.allclose(tl.build(autotune.suggest(C))(a, b), a @ b)
    True
    """
    task = Task.of(computed, target)
    if task.is_empty:
        return task.schedule()
    spaces = [space for space, _ in islice(_opened(task, sketches_for(task)), _QUICK_SKETCHES) if space is not None]
    found: list[tuple[float, Candidate]] = []
    for index, space in enumerate(spaces):
        values = _QUICK.survivors(space, space.estimate, np.random.default_rng(0))[:_TRIES]
        estimates = space.estimate(values).tolist()
        found += [(t, Candidate(index, tuple(v))) for t, v in zip(estimates, values.tolist(), strict=True)]
    for _, candidate in sorted(found, key=lambda pair: (pair[0], pair[1].space, pair[1].values)):
        try:
            return spaces[candidate.space].instantiate(spaces[candidate.space].named(candidate.values))
        except ScheduleError:
            continue
    return task.schedule()


def open_spaces(task: Task, sketches: Sequence[Sketch] | None = None) -> list[Space]:
    """The spaces of all sketches that fit the task. Raises ScheduleError of the last sketch if none does."""
    opened = list(_opened(task, sketches_for(task) if sketches is None else sketches))
    spaces = [space for space, _ in opened if space is not None]
    refusals = [refusal for _, refusal in opened if refusal is not None]
    if not spaces and refusals:
        raise refusals[-1]
    return spaces


def _opened(task: Task, sketches: Sequence[Sketch]) -> Iterator[tuple[Space | None, ScheduleError | None]]:
    """The space of each sketch, or why it does not fit, which is a warning, too."""
    for sketch in sketches:
        try:
            yield Space(task, sketch), None
        except ScheduleError as error:
            warnings.warn(f"sketch {sketch.name} does not fit {task.name}: {error.oneline}", stacklevel=3)
            yield None, error
