"""Sketches for CPUs: tiles for registers and caches and packed operands for contractions, vectors and threads for all.

A *contraction* is a reduction with two spatial loops or more, one operand that varies with the rows of the output
tile only and one that varies with its columns only: matmul and its kin.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from autotune.space import AskKnob, Sketch
from autotune.task import Nest, Schedule, Target, Task, nests

_ROWS = (1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14)
_VECTORS = (1, 2, 3, 4, 6)
_BLOCKS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128)
_DEPTHS = (32, 64, 96, 128, 192, 256, 384, 512, 768, 1024)

# How operands are packed: not, once for all threads, or for each tile and block of the reduction.
_NOT, _ONCE, _PER_TILE = "", "once", "per tile"
_STRUCTURES = (  # name, rows, columns
    ("tile_pack_rows_pack_columns", _PER_TILE, _ONCE),
    ("tile_pack_rows_once_pack_columns", _ONCE, _ONCE),
    ("tile_pack_columns", _NOT, _ONCE),
    ("tile", _NOT, _NOT),
)


@dataclass(frozen=True)
class Contraction:
    """The loops and operands of a contraction by name; extents of the loops are known."""

    block: str
    batch: tuple[str, ...]
    row: str
    column: str
    reduce: tuple[str, ...]
    extents: dict[str, int]
    row_operand: tuple[str, int] | None  # buffer, and which of its dimensions the row loop drives
    column_operand: tuple[str, int] | None
    item_bytes: int


def sketches(task: Task) -> list[Sketch]:
    """All sketches that fit the task, the most promising one first."""
    found = nests(task.func)
    contraction = find_contraction(found)
    if contraction is None:
        return [
            Sketch("vector", lambda s, knob: _plain_all(s, knob, found, task.target, vector=True)),
            Sketch("scalar", lambda s, knob: _plain_all(s, knob, found, task.target, vector=False)),
        ]
    others = [n for n in found if n.block != contraction.block]
    result = []
    for name, pack_rows, pack_columns in _STRUCTURES:
        if (pack_rows and not contraction.row_operand) or (pack_columns and not contraction.column_operand):
            continue

        def write(s: Schedule, knob: AskKnob, rows: str = pack_rows, columns: str = pack_columns) -> list[Any]:
            conditions = _contraction(s, knob, contraction, task.target, rows, columns)
            _plain_all(s, knob, others, task.target, vector=True)
            return conditions

        result.append(Sketch(name, write))
    return result


def find_contraction(found: Sequence[Nest]) -> Contraction | None:
    """The contraction with the most work among the blocks, if any."""
    fits = [c for c in map(_as_contraction, found) if c is not None]
    return max(fits, key=lambda c: _product(c.extents.values()), default=None)


def _as_contraction(nest: Nest) -> Contraction | None:
    spatial = [loop for loop in nest.loops if not loop.reduce]
    if not nest.reduces or len(spatial) < 2 or len(spatial) == len(nest.loops):
        return None
    results = [f for f in nest.footprints if f.written]
    if len(results) != 1:
        return None
    order = [axis for axis in results[0].axes if axis]
    if len(order) < 2:
        return None
    row, column = order[-2:]
    operands = [f for f in nest.footprints if not f.written and f.buffer != results[0].buffer and len(f.axes) <= 4]
    of_rows = next(((f.buffer, f.axes.index(row)) for f in operands if row in f.axes and column not in f.axes), None)
    of_columns = next(
        ((f.buffer, f.axes.index(column)) for f in operands if column in f.axes and row not in f.axes), None
    )
    if of_rows is None and of_columns is None:
        return None
    return Contraction(
        nest.block,
        tuple(loop.name for loop in spatial if loop.name not in (row, column)),
        row,
        column,
        tuple(loop.name for loop in nest.loops if loop.reduce),
        {loop.name: int(repr(loop.extent)) for loop in nest.loops},
        of_rows,
        of_columns,
        results[0].item_bytes,
    )


def _contraction(
    s: Schedule, knob: AskKnob, c: Contraction, target: Target, pack_rows: str, pack_columns: str
) -> list[Any]:
    """Tiles of rows x columns for the threads; in them blocks of the reduction, then register tiles, then the depth."""
    lanes = max(1, target.vector_bytes // c.item_bytes)
    m, n, k = c.extents[c.row], c.extents[c.column], c.extents[c.reduce[0]]
    rows = knob("rows", _upto(_ROWS, m))
    width = knob("columns", [v * lanes for v in _upto(_VECTORS, max(1, n // lanes))])
    row_blocks = knob("row_blocks", _upto(_BLOCKS, m))
    column_blocks = knob("column_blocks", _upto(_BLOCKS, -(-n // lanes)))
    depth = knob("depth", _upto(_DEPTHS, k))
    i0, i1, i2 = s.split(c.row, [None, row_blocks, rows])
    j0, j1, j2 = s.split(c.column, [None, column_blocks, width])
    k0, k1 = s.split(c.reduce[0], [None, depth])
    s.reorder(*c.batch, i0, j0, k0, j1, i1, k1, *c.reduce[1:], i2, j2)
    if pack_columns and c.column_operand:
        _pack(s, c.block, *c.column_operand, width, vector=True)
    if pack_rows == _ONCE and c.row_operand:
        _pack(s, c.block, *c.row_operand, rows, vector=False)
    tile = s.fuse(*c.batch, i0, j0)
    s.parallel(tile)
    if pack_rows == _PER_TILE and c.row_operand:
        _pack(s, c.block, *c.row_operand, rows, vector=False, at=k0.name)
    s.unroll(i2)
    s.vectorize(j2)
    vectors = width // lanes
    return [
        rows * vectors + vectors + 1 <= target.registers,
        (row_blocks - 1) * rows < m,  # no block lies wholly outside
        (column_blocks - 1) * width < n,
    ]


def _pack(
    s: Schedule, block: str, buffer: str, dimension: int, width: Any, vector: bool, at: str | None = None
) -> None:
    """Copy an operand to panels of `width` along `dimension`, each panel in the order in which it is read."""
    rank = len(s.buffers()[buffer].shape)
    copy = s.cache_read(block, buffer, "global")
    if at is not None:
        s.compute_at(copy, at)
    loops = s.loops(copy)[-rank:]

    def panels(*index: Any) -> tuple[Any, ...]:
        rest = index[:dimension] + index[dimension + 1 :]
        return (index[dimension] // width, *rest, index[dimension] % width)

    s.transform_layout(copy.name, _of_rank[rank](panels))
    panel, lane = s.split(loops[dimension], [None, width])
    s.reorder(panel, *(loop for n, loop in enumerate(loops) if n != dimension), lane)
    if at is None:
        s.parallel(panel)
    if vector:
        s.vectorize(lane)
    else:
        s.unroll(lane)


# An index map has one named parameter for each dimension.
_of_rank: dict[int, Callable[[Callable[..., Any]], Callable[..., Any]]] = {
    1: lambda f: lambda i: f(i),
    2: lambda f: lambda i, j: f(i, j),
    3: lambda f: lambda h, i, j: f(h, i, j),
    4: lambda f: lambda g, h, i, j: f(g, h, i, j),
}


def _plain_all(s: Schedule, knob: AskKnob, found: Sequence[Nest], target: Target, vector: bool) -> list[Any]:
    for nest in found:
        _plain(s, knob, nest, target, vector)
    return []


def _plain(s: Schedule, knob: AskKnob, nest: Nest, target: Target, vector: bool) -> None:
    """Threads over the outer spatial loops, vectors over the innermost one, reductions between them."""
    spatial = [loop.name for loop in nest.loops if not loop.reduce]
    reduce = [loop.name for loop in nest.loops if loop.reduce]
    if not spatial:
        return
    extents = {loop.name: int(repr(loop.extent)) for loop in nest.loops}
    item = max((f.item_bytes for f in nest.footprints), default=4)
    lanes = max(1, target.vector_bytes // item)
    prefix = nest.block
    outer: list[Any] = spatial[:-1]
    chunk = knob(f"{prefix}_chunk", _upto((1, 2, 4, 8, 16, 32, 64), extents[spatial[-1]]))
    if vector:
        width = knob(f"{prefix}_width", _upto([lanes * f for f in (1, 2, 4, 8)], max(lanes, extents[spatial[-1]])))
        j0, j1, j2 = s.split(spatial[-1], [None, chunk, width])
        s.reorder(*outer, j0, j1, *reduce, j2)
        s.vectorize(j2)
    else:
        j0, j1 = s.split(spatial[-1], [None, chunk])
        s.reorder(*outer, j0, j1, *reduce)
    s.parallel(s.fuse(*outer, j0) if outer else j0)


def _upto(choices: Sequence[int], limit: int) -> list[int]:
    """The choices below the limit, and the limit itself if it is in their range."""
    return [c for c in choices if c < limit] + ([limit] if limit <= choices[-1] else [])


def _product(values: Any) -> int:
    result = 1
    for value in values:
        result *= value
    return result
