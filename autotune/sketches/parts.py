"""What rules return, and what they share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from autotune.space import Write
from autotune.task import Schedule

ENOUGH_FOR_THREADS = 16_384  # points below which starting threads takes longer than the work


@dataclass(frozen=True)
class Part:
    """One way to schedule some blocks. name: what is special about it, for the sketch's; write, exact: as in Sketch.

    >>> autotune.Part("unrolled", frozenset({"C"}), lambda s, knob: s.unroll("C.k")).name
    'unrolled'
    """

    name: str
    blocks: frozenset[str]
    write: Write
    exact: bool = False


def upto(choices: Sequence[int], limit: int) -> list[int]:
    """The choices below the limit, and the limit itself if it is in their range."""
    return [c for c in choices if c < limit] + ([max(1, limit)] if limit <= choices[-1] else [])


def fused(s: Schedule, loops: Sequence[Any]) -> Any:
    """One loop of one or several adjacent ones."""
    return s.fuse(*loops) if len(loops) > 1 else loops[0]


def inside(s: Schedule, block: Any, outer: Any) -> list[Any]:
    """The loops around `block` inside the loop `outer`."""
    loops = s.loops(block)
    names = [loop.name for loop in loops]
    return loops[names.index(getattr(outer, "name", outer)) + 1 :]
