"""The steps that tile a reduction: what the rule in tiles.py decided, done to a schedule."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

from autotune.sketches.packing import ONCE, PER_TILE, Operand, pack
from autotune.sketches.parts import ENOUGH_FOR_THREADS, fused, inside, upto
from autotune.sketches.program import Loop, Stage
from autotune.space import AskKnob
from autotune.task import Expr, Schedule, Target

MOST_UNROLLED = 9  # copies of a register tile's step

_ROWS = (1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14)
_OUTER_ROWS = (1, 2, 3, 4)
_VECTORS = (1, 2, 3, 4, 6)
_BLOCKS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128)
_DEPTHS = (32, 64, 96, 128, 192, 256, 384, 512, 768, 1024)


@dataclass(frozen=True)
class Tiling:
    """The roles of a stage's loops, and which operands may be packed.

    batch: outermost, not tiled; rows: at most two, tiled; column: vectorized; deep: the reduction loop cut into blocks.
    """

    stage: Stage
    batch: tuple[Loop, ...]
    rows: tuple[Loop, ...]
    column: Loop
    deep: Loop | None
    row_operand: Operand | None
    column_operand: Operand | None
    must_pack: bool  # the operand of the columns, which has no runs along them


@dataclass(frozen=True)
class Tiled:
    """A way to tile. pack_rows, pack_columns: when to pack the operands, "" for never; followers: elementwise stages to
    compute in each tile after it; inputs: stages to compute `where` they are read, "tile" or "inline"."""

    tiling: Tiling
    pack_rows: str
    pack_columns: str
    followers: tuple[Stage, ...]
    inputs: tuple[Stage, ...]
    where: str


def write_tiles(target: Target, how: Tiled, s: Schedule, knob: AskKnob) -> list[Expr]:
    """Tile a stage; returns conditions over the knobs."""
    t, stage = how.tiling, how.tiling.stage
    lanes = stage.lanes(target)
    n = _ask(knob, t, lanes)
    if how.where == "inline":
        for member in how.inputs:
            s.compute_inline(member.block)
    _pack(s, how, n, ONCE)
    outer, step, lane, unrolled = _tile(s, t, n)
    tile = outer[-1]  # what is moved there goes by loops that are not fused yet, of which more can be proved
    _pack(s, how, n, PER_TILE, at=step or tile)
    for member in how.followers:
        s.reverse_compute_at(member.block, tile)
        _in_vectors(s, member, tile, lanes)
    if how.where == "tile":
        for member in reversed(how.inputs):
            s.compute_at(member.block, tile)
            _in_vectors(s, member, tile, lanes)
    tiles = fused(s, outer)
    if stage.points() >= ENOUGH_FOR_THREADS:
        s.parallel(tiles)
    for loop in unrolled:
        s.unroll(loop)
    s.vectorize(lane)
    return _conditions(t, n, target.registers)


@dataclass(frozen=True)
class _Numbers:
    """The knobs. rows: (height of the register tile, tiles in a block) for each loop over rows; vectors: across the
    tile, which is `width` wide, in a form from which it is known that vectors fit in; depth: or None."""

    rows: list[tuple[Any, Any]]
    vectors: Any
    width: Any
    column_blocks: Any
    depth: Any

    @property
    def height(self) -> Any:
        """Of the register tile, in the last loop over rows."""
        return self.rows[-1][0] if self.rows else 1


def _ask(knob: AskKnob, t: Tiling, lanes: int) -> _Numbers:
    rows: list[tuple[Any, Any]] = []
    names = (("rows", "row_blocks", _ROWS), ("outer_rows", "outer_row_blocks", _OUTER_ROWS))
    for (height, blocks, choices), row in zip(names, reversed(t.rows), strict=False):
        rows.insert(0, (knob(height, upto(choices, row.extent)), knob(blocks, upto(_BLOCKS, row.extent))))
    vectors = knob("vectors", upto(_VECTORS, max(1, t.column.extent // lanes)))
    column_blocks = knob("column_blocks", upto(_BLOCKS, -(-t.column.extent // lanes)))
    depth = None if t.deep is None else knob("depth", upto(_DEPTHS, t.deep.extent))
    return _Numbers(rows, vectors, vectors * lanes, column_blocks, depth)


def _conditions(t: Tiling, n: _Numbers, registers: int) -> list[Expr]:
    """The register tile fits, and no block lies wholly outside."""
    height = prod(height for height, _ in n.rows)
    blocks = [((blocks - 1) * height < row.extent) for row, (height, blocks) in zip(t.rows, n.rows, strict=True)]
    return [height * n.vectors + n.vectors + 1 <= registers, *blocks, (n.column_blocks - 1) * n.width < t.column.extent]


def _tile(s: Schedule, t: Tiling, n: _Numbers) -> tuple[list[Any], Any, Any, list[Any]]:
    """Loops over blocks for threads, steps of the reduction, blocks for caches, depth, register tile: in this order.

    Returns the outer loops, the one over steps or None, the one over lanes, and those to unroll.
    """
    tiles = [s.split(row.name, [None, blocks, height]) for row, (height, blocks) in zip(t.rows, n.rows, strict=True)]
    c0, c1, c2 = s.split(t.column.name, [None, n.column_blocks, n.width])
    step: list[Any] = []
    depth = [loop.name for loop in t.stage.reduction]
    if t.deep is not None:
        k0, k1 = s.split(t.deep.name, [None, n.depth])
        step, depth = [k0], [k1.name if name == t.deep.name else name for name in depth]
    outer: list[Any] = [*(loop.name for loop in t.batch), *(r[0] for r in tiles), c0]
    inner = [r[2] for r in tiles]
    s.reorder(*outer, *step, c1, *(r[1] for r in tiles), *depth, *inner, c2)
    return outer, step[0] if step else None, c2, [*_short(t), *inner]


def _short(t: Tiling) -> list[str]:
    """The innermost reduction loops that are short enough to unroll."""
    found: list[str] = []
    copies = 1
    for loop in reversed(t.stage.reduction):
        copies *= loop.extent
        if loop is t.deep or copies > MOST_UNROLLED:
            break
        found.append(loop.name)
    return found


def _pack(s: Schedule, how: Tiled, n: _Numbers, when: str, at: Any = None) -> None:
    """Pack the operands whose turn it is."""
    t = how.tiling
    if how.pack_columns == when and t.column_operand is not None:
        pack(s, t.stage.block, t.column_operand, n.width, vector=True, at=at)
    if how.pack_rows == when and t.row_operand is not None:
        pack(s, t.stage.block, t.row_operand, n.height, vector=False, at=at)


def _in_vectors(s: Schedule, member: Stage, outer: Any, lanes: int) -> None:
    """Run a stage that was moved into a tile in vectors."""
    if member.spatial[-1].extent >= lanes:
        _, lane = s.split(inside(s, member.block, outer)[-1], [None, lanes])
        s.vectorize(lane)
