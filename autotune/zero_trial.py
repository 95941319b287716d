"""The spaces of a task, and the schedule that the analytical model picks from them."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.random import default_rng  # here, as NumPy would import it in the first call

from autotune.search import sample
from autotune.sketches import sketches_for
from autotune.space import Sketch, Space
from autotune.task import Schedule, ScheduleError, Target, Task, collection_put_off

_LOOKS = 4096  # candidates of a space that the analytical model looks at


def suggest(computed: Any, target: str | Target | None = None) -> Schedule:
    """The schedule that the analytical model picks, with no measurement at all. target: see tune.

    >>> np.allclose(tl.build(autotune.suggest(C))(a, b), a @ b)
    True
    """
    with collection_put_off():
        task = Task.of(computed, target)
        if task.is_empty:
            return task.unscheduled()
        found: list[tuple[float, Space, np.ndarray]] = []
        for space, _ in _opened(task, sketches_for(task)):
            if space is None:
                continue
            values = sample(space, _LOOKS, default_rng(0))
            if len(values):
                seconds = space.estimate(values)
                best = int(seconds.argmin())
                found.append((float(seconds[best]), space, values[best]))
                if not task.target.simt:  # on a CPU, the first one that fits: the others are hardly better
                    break
        if found:
            _, space, row = min(found, key=lambda each: each[0])
            return space.instantiate(space.named(row.tolist()))
        return task.unscheduled()


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
