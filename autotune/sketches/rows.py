"""The rule for chains over rows, such as softmax and norms: all of a row is computed while it is in the cache."""

from __future__ import annotations

from collections.abc import Sequence

from autotune.sketches.lanes import reduce_in_lanes
from autotune.sketches.parts import ENOUGH_FOR_THREADS, Part, fused, inside, upto
from autotune.sketches.program import Program, Stage
from autotune.sketches.tiles import find_tiling
from autotune.space import AskKnob
from autotune.task import Schedule

_GRAINS = (1, 2, 4, 8, 16, 32, 64)
_VECTORS = (1, 2, 4)


def fuse_rows(program: Program, stage: Stage) -> Sequence[Part]:
    """Of a block and the producers that reduce along its rows: one loop over rows on threads, all else inside it."""
    chain = _chain(program, stage)
    rows = _rows(stage, chain)
    if not rows or not any(member.reduction for member in chain):
        return []
    lanes = stage.lanes(program.target)
    count = 1
    for loop in stage.loops:
        count *= loop.extent if loop.name in rows else 1

    def write(s: Schedule, knob: AskKnob) -> None:
        outer, row = s.split(fused(s, rows), [None, knob("rows", upto(_GRAINS, count))])
        for member in chain[1:]:
            s.compute_at(member.block, row)
        for member in reversed(chain):
            _along_row(s, knob, member, row, lanes, one=len(member.spatial) <= len(rows))
        if sum(member.points() for member in chain) >= ENOUGH_FOR_THREADS:
            s.parallel(outer)

    return [Part("rows", frozenset(member.block for member in chain), write, exact=True)]


def _chain(program: Program, stage: Stage) -> list[Stage]:
    """The stage and all before it that work for it alone and have no tiles of their own, the last one first."""
    chain = [stage]
    for block in reversed(list(program)):
        member = program[block]
        works = member.consumers and all(c in {m.block for m in chain} for c in member.consumers)
        if member is not stage and works and not find_tiling(program, member):
            chain.append(member)
    return chain


def _rows(stage: Stage, chain: Sequence[Stage]) -> list[str]:
    """The loops of the stage over rows: outer loops, at least one, and at least one stays inside."""
    if stage.reduction:
        rows = {loop.name for loop in stage.spatial}
    else:
        small = {m.result.buffer for m in chain[1:] if len(m.result.loops) < len(stage.result.loops)}
        rows = {name for access in stage.reads if access.buffer in small for name in access.loops}
    leading = [loop.name for loop in stage.loops]
    while leading and not set(leading) <= rows | {loop.name for loop in stage.loops if loop.extent == 1}:
        leading.pop()
    return leading if rows and rows <= set(leading) and len(leading) < len(stage.loops) else []


def _along_row(s: Schedule, knob: AskKnob, member: Stage, row: object, lanes: int, one: bool) -> None:
    """Vectors inside a row: of partial results for a reduction, else of elements. one: it has one value for a row."""
    if member.reduction:
        last = [loop for loop in s.loops(member.block) if loop.is_reduction][-1]
        reduce_in_lanes(s, knob, member.block, last, member.reduction[-1].extent, lanes)
        return
    along = inside(s, member.block, row)
    if along and not one and member.spatial[-1].extent >= lanes:
        width = knob("width", [v * lanes for v in upto(_VECTORS, member.spatial[-1].extent // lanes)])
        _, vector = s.split(along[-1], [None, width])
        s.vectorize(vector)
