"""The rule for blocks that compute each element on its own: vectors along the last loop, threads over the others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from autotune.sketches.parts import ENOUGH_FOR_THREADS, Part, fused, upto
from autotune.sketches.program import Program, Stage
from autotune.space import AskKnob
from autotune.task import Access, Schedule

_GRAINS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
_VECTORS = (1, 2, 4, 8)
_PIECES = 16  # of the outer loops for each core, at least: those inside stay as they are
_MINOR = 8  # the heaviest block has so many times the points of one whose numbers are not worth a search


def elementwise(program: Program, stage: Stage) -> Sequence[Part]:
    """Of any block: reductions run inside the loops over elements, which run on threads and in vectors."""
    lanes, pieces = stage.lanes(program.target), _PIECES * program.target.cores
    minor = stage.points() * _MINOR <= max(other.points() for other in program.values())
    flat = _is_flat(stage)
    length = stage.points() if flat else stage.spatial[-1].extent if stage.spatial else 0

    def write(s: Schedule, knob: AskKnob) -> None:
        loops, reduce = [loop.name for loop in stage.spatial], [loop.name for loop in stage.reduction]
        if not loops:
            return
        *outer, last = [s.fuse(*loops)] if flat else loops
        vector: list[Any] = []
        if length >= lanes:
            width = lanes if minor else knob("width", [v * lanes for v in upto(_VECTORS, length // lanes)])
            last, *vector = s.split(last, [None, width])
        if stage.points() >= ENOUGH_FOR_THREADS and outer:
            threads = fused(s, outer[: _leading(stage, pieces)])
        elif stage.points() >= ENOUGH_FOR_THREADS:
            count = -(-length // lanes)
            threads, last = s.split(last, [None, -(-count // pieces) if minor else knob("grain", upto(_GRAINS, count))])
        else:
            threads = None
        if reduce and vector:
            s.reorder(*reduce, *vector)
        if threads is not None:
            s.parallel(threads)
        for loop in vector:
            s.vectorize(loop)

    return [Part("", frozenset({stage.block}), write, exact=True)]


def _leading(stage: Stage, pieces: int) -> int:
    """How many of the spatial loops but the last make at least so many iterations; all if they do not."""
    count = 1
    for number, loop in enumerate(stage.spatial[:-1], 1):
        count *= loop.extent
        if count >= pieces:
            return number
    return len(stage.spatial) - 1


def _is_flat(stage: Stage) -> bool:
    """Whether all accesses walk through memory with the loops, without gaps, so that these may be one."""
    if stage.reduction or len(stage.spatial) < 2:
        return False
    walk = [({loop.name: 1}, loop.extent) for loop in stage.loops if loop.extent > 1]

    def in_order(access: Access) -> bool:
        steps = [(dict(step), int(repr(size))) for step, size in zip(access.steps, access.shape, strict=True)]
        return [pair for pair in steps if pair[1] > 1] == walk

    return all(map(in_order, stage.accesses))
