"""Sketches by kind of target."""

from __future__ import annotations

from autotune.sketches import cpu
from autotune.space import Sketch
from autotune.task import Task


def sketches_for(task: Task) -> list[Sketch]:
    """The sketches to search for a task, by the kind of its target."""
    return cpu.sketches(task)
