"""Reductions along memory: partial results in the lanes of vectors, and for few results on threads as well."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from autotune.sketches.parts import ENOUGH_FOR_THREADS, Part, upto
from autotune.sketches.program import Program, Stage
from autotune.space import AskKnob
from autotune.task import Schedule

_VECTORS = (1, 2, 4, 8)
_PIECES = (1, 2, 4, 8, 16, 32)  # for each core


def reduce_in_lanes(s: Schedule, knob: AskKnob, block: Any, loop: Any, extent: int, lanes: int) -> Any:
    """Reduce over `loop`, the innermost reduction loop of `block`, in vectors of partial results.

    Returns the block of these; the loops are as they were if the reduction is too short for a vector.
    """
    if extent < 2 * lanes:
        return s.block(block)
    width = knob("vectors", [v * lanes for v in upto(_VECTORS, extent // lanes)])
    _, lane = s.split(loop, [None, width])
    partial = s.rfactor(lane, factor_axis=-1)
    s.vectorize(lane)
    return partial


def split_reduction(program: Program, stage: Stage) -> Sequence[Part]:
    """Of a long reduction into few elements: each thread reduces pieces of the outermost reduction loop."""
    reduction, cores = stage.reduction, program.target.cores
    few = stage.points(reduce=False) < 4 * cores
    if not reduction or not few or stage.points() < ENOUGH_FOR_THREADS or reduction[0].extent < 2 * cores:
        return []
    lanes, length, last = stage.lanes(program.target), reduction[0].extent, reduction[-1]

    def write(s: Schedule, knob: AskKnob) -> None:
        pieces = knob("pieces", upto([p * cores for p in _PIECES], length))
        piece, rest = s.split(reduction[0].name, [pieces, None])
        partial = s.rfactor(piece, factor_axis=0)
        if last is reduction[0]:
            reduce_in_lanes(s, knob, partial, rest, length // (_PIECES[-1] * cores), lanes)
        else:
            reduce_in_lanes(s, knob, partial, last.name, last.extent, lanes)
        s.parallel(piece)

    return [Part("pieces", frozenset({stage.block}), write, exact=True)]
