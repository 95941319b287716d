"""The rule for reductions with data to reuse, or along columns: matrix products, convolutions, pooling and their kin.

The last dimension of the result runs in vectors (*columns*). *Rows* are loops on which what is loaded in vectors does
not depend: a register tile of rows x columns runs over the depth of the reduction, blocks of tiles stay in the caches,
and blocks of these go to the threads.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from math import prod

from autotune.sketches.packing import ONCE, PER_TILE, Operand
from autotune.sketches.parts import Part
from autotune.sketches.program import Loop, Program, Stage
from autotune.sketches.tile_steps import MOST_UNROLLED, Tiled, Tiling, write_tiles
from autotune.task import Access

_DEEP = 64  # iterations of a reduction loop that are worth blocks of their own
_REUSE = 4  # times that an element should be read to be worth a copy


def tile(program: Program, stage: Stage) -> Sequence[Part]:
    """Of a reduction that can be tiled, with the elementwise blocks that follow it and the one that pads its input."""
    followers = _followers(program, stage)
    anchor = _before(program, followers[0]) if followers else stage
    tiling = find_tiling(program, anchor) if anchor is not None else None
    if anchor is None or tiling is None:
        return []
    blocks = frozenset({anchor.block, *(f.block for f in followers)})
    inputs = [p for p in program.private_producers(anchor) if not p.reduction and p.spatial]
    parts = []
    for name, rows, columns in _packings(tiling):
        for where, moved, place in _input_places(tiling, inputs):
            write = partial(
                write_tiles, program.target, Tiled(tiling, rows, columns, tuple(followers), tuple(moved), place)
            )
            covered = blocks | {m.block for m in moved}
            parts.append(Part(", ".join(filter(None, (name, where))), covered, write, exact=True))
    return parts


# ------------------------------------------------------------------------------------------------- what to do
def find_tiling(program: Program, stage: Stage) -> Tiling | None:
    """The roles of the loops of a stage; None if it does not reduce, or has no columns to vectorize."""
    if not stage.reduction or not stage.spatial or not stage.result.steps:
        return None
    inner = [name for name, step in stage.result.steps[-1].items() if step == 1]
    column = next((loop for loop in stage.spatial if loop.name in inner and loop.extent > 1), None)
    if column is None:
        return None
    vectors = [a for a in stage.reads if column.name in a.loops]
    operands = [_operand(a, column, stage.lanes(program.target)) for a in vectors]
    scattered = [a.steps[-1].get(column.name) is None for a in vectors]
    reused = [o is not None and _reuse(stage, a) >= _REUSE for a, o in zip(vectors, operands, strict=True)]
    if any(apart and not again for apart, again in zip(scattered, reused, strict=True)):
        return None
    varying = {name for a in vectors for name in a.loops}
    if len(vectors) == len(stage.reads) > 1:  # such as a depthwise convolution: rows share the smallest operand
        varying = min((a.loops for a in vectors), key=lambda loops: len(loops))
    rows = [loop for loop in stage.spatial if loop.extent > 1 and loop.name not in varying and loop is not column][-2:]
    batch = [loop for loop in stage.spatial if loop is not column and loop not in rows]
    deepest = max(stage.reduction, key=lambda loop: loop.extent)
    large = [
        apart or _size(a) * stage.item_bytes > program.target.l1 for a, apart in zip(vectors, scattered, strict=True)
    ]
    useful = [o for o, again, worth in zip(operands, reused, large, strict=True) if again and worth]
    return Tiling(
        stage,
        tuple(batch),
        tuple(rows),
        column,
        deepest if deepest.extent >= _DEEP else None,
        _row_operand(stage, rows, column),
        useful[0] if len(useful) == 1 else None,
        any(scattered),
    )


def _operand(access: Access, along: Loop, lanes: int) -> Operand | None:
    """How to pack what is accessed along a loop that has a dimension for itself, or shares one with runs of lanes."""
    for dimension, steps in enumerate(access.steps):
        if along.name in steps:
            others = [step for name, step in steps.items() if name != along.name]
            run = others[0] if len(others) == 1 and others[0] == along.extent else 0
            if steps[along.name] != 1 or (others and (not run or run % lanes)):
                return None
            return Operand(access.buffer, dimension, len(access.steps), run or None)
    return None


def _row_operand(stage: Stage, rows: Sequence[Loop], column: Loop) -> Operand | None:
    """What is packed by rows: an operand that one loop over rows walks through by itself."""
    if len(rows) != 1 or column.extent < _REUSE:
        return None
    candidates = [a for a in stage.reads if column.name not in a.loops and rows[0].name in a.loops]
    operands = [
        Operand(a.buffer, n, len(a.steps)) for a in candidates for n, s in enumerate(a.steps) if s == {rows[0].name: 1}
    ]
    return operands[0] if len(operands) == 1 else None


def _reuse(stage: Stage, access: Access) -> int:
    """How many times each element is read, by spatial loops on which it does not depend."""
    return prod(loop.extent for loop in stage.spatial if loop.name not in access.loops)


def _size(access: Access) -> int:
    """Elements of the buffer."""
    return prod(int(repr(extent)) for extent in access.shape)


def _followers(program: Program, stage: Stage) -> list[Stage]:
    """The chain of elementwise stages that ends in `stage` and starts after a reduction; empty if there is none."""
    chain: list[Stage] = []
    while not stage.reduction:
        chain.insert(0, stage)
        before = _before(program, stage)
        if before is None:
            return []
        stage = before
    return chain


def _before(program: Program, stage: Stage) -> Stage | None:
    """The one stage that `stage` follows."""
    before = [p for p in program.private_producers(stage) if _follows(stage, p)]
    return before[0] if len(before) == 1 else None


def _follows(stage: Stage, producer: Stage) -> bool:
    """Whether the stage reads the producer's result once, each element for its own one."""
    reads = [a for a in stage.reads if a.buffer == producer.result.buffer]
    return len(reads) == 1 and [dict(s) for s in reads[0].steps] == [dict(s) for s in stage.result.steps]


def _packings(t: Tiling) -> list[tuple[str, str, str]]:
    """(name, rows packed, columns packed), the most promising ones first."""
    every: list[tuple[str, str, str]] = [
        ("tile, pack columns", "", ONCE),
        ("tile, pack rows and columns", PER_TILE, ONCE),
        ("tile, pack rows once and columns", ONCE, ONCE),
        *([] if t.column_operand and t.column_operand.run else [("tile, pack columns by tile", "", PER_TILE)]),
        *([] if t.must_pack else [("tile", "", "")]),
    ]
    return [p for p in every if (t.row_operand or not p[1]) and (t.column_operand or not p[2])]


def _input_places(t: Tiling, inputs: Sequence[Stage]) -> list[tuple[str, list[Stage], str]]:
    """(name, stages, "tile" or "inline") of where to compute what the stage reads; those not listed come before it.

    Where little work waits for the inputs, a pass over them of its own costs much.
    """
    if not inputs:
        return [("", [], "")]
    before: tuple[str, list[Stage], str] = ("", [], "")
    by_tile = ("inputs by tile", list(inputs), "tile")
    if prod(loop.extent for loop in t.stage.reduction) > MOST_UNROLLED:
        return [before, by_tile]
    return [by_tile, ("inputs inline", list(inputs), "inline"), before]
