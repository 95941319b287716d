"""Schedules for tensor cores, made of public primitives: intrin/mma.py has the instructions."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from tensorlang.intrin.mma import COLUMNS, DEPTH, ROWS, WORD, load_a, load_b, mma
from tensorlang.ir import dtypes
from tensorlang.ir.nodes import Expr
from tensorlang.schedule.handles import BlockLike, Loop
from tensorlang.schedule.primitive import composition

if TYPE_CHECKING:
    from tensorlang.schedule.schedule import Schedule

Count = int | Expr
_BANKS = 64  # how many elements they hold side by side


@composition
def tensor_core_matmul(
    s: Schedule,
    block: BlockLike,
    tile: tuple[int, int, int] = (128, 256, 32),
    warp: tuple[int, int] = (64, 64),
    stages: int = 4,
    group: Count = 8,
    resident: int = 0,
    staged: bool = False,
) -> None:
    """C[i, j] = sum over k of A[i, k] * B[k, j] for float16 or bfloat16, accumulated in float32, on tensor cores.

    A block of threads has tiles of rows, columns and depth `tile`, a warp `warp` rows and columns of them; all of
    them divide what they are parts of. Tiles of both operands are in shared memory, from where warps load 16 of the
    depth at a time into registers. stages: how many tiles are in shared memory, of which one is used while the others
    are on their way; from 3 on, warps also load ahead of their arithmetic. What uses the product, if anything, is done
    with the registers that hold it. staged: results go through shared memory, from where they are stored 16 bytes at a
    time. group, resident: see gpu_library.matmul.

    >>> from tensorlang.topi import linalg
    >>> product = linalg.matmul(1024, 1024, 512, dtype="float16", out_dtype="float32")
    >>> g = tl.Schedule(product, target=tl.Target("cuda", arch="sm_90a"))
    >>> tensor_core_matmul(g, "C")
    >>> [(loop.known_extent, loop.kind) for loop in g.loops("C")][:2]
    [(32, 'blockIdx.x'), (8, 'threadIdx.z')]
    """
    node = s.block(block)
    product, dtype = node.writes[0].name, node.reads[0].dtype
    operands = [buffer.name for buffer in node.reads if buffer.name != product]
    write = _kept_in_registers(s, block, product)
    i, j, k = s.loops(block)
    i0, iw, *i_parts, y = _rows(s, i, tile[0], warp[0])
    j0, jw, j_tiles, x, pair = _columns(s, j, tile[1], warp[1])
    k0, step, k1 = s.split(k, [None, tile[2] // DEPTH, DEPTH])
    above, down = s.split(i0, [None, group])
    s.reorder(above, j0, down, iw, jw, k0, step, y, x, *i_parts, j_tiles, pair, k1)
    s.reverse_compute_at(write, down)
    grid, warps = s.fuse(above, j0, down), s.fuse(iw, jw)
    s.bind(grid, "blockIdx.x")
    if resident:
        s.annotate(grid, "resident", resident)
    _bind_warps(s, warps, y, x)
    for loop in (*i_parts, j_tiles, pair, k1):
        s.unroll(loop)
    if staged:
        _store_vectors(s, write, tile, warp)
    else:
        _store(s, write, tile, warp)
    count = tile[0] // warp[0] * (tile[1] // warp[1])
    copies = [_fetch(s, block, operand, k0, count) for operand in operands]
    loads = [_load(s, block, copies[0], k0, rows=warp[0]), _load(s, block, copies[1], k0, columns=warp[1])]
    _spread(s, copies[0], tile[2], DEPTH)
    _spread(s, copies[1], tile[1], warp[1])
    s.tensorize(y, mma(*warp, dtype))
    if stages > 1:
        _overlap(s, k0, copies, [*loads, (node.name, step)], stages)


def _kept_in_registers(s: Schedule, block: BlockLike, product: str) -> BlockLike:
    """Leave the product in registers; returns the block that uses it."""
    users = [b for b in s.blocks() if b.name != s.block(block).name and product in {r.name for r in b.reads}]
    if not users:
        return s.cache_write(block, "local")
    s.set_scope(product, "local")
    return users[0]


def _rows(s: Schedule, loop: Loop, tile: int, warp: int) -> tuple[Loop, ...]:
    """(tile, warp, 16 rows, half, y), without that of 16 rows if a warp has no more."""
    several = [warp // ROWS] if warp > ROWS else []
    return s.split(loop, [None, tile // warp, *several, 2, ROWS // 2])


def _columns(s: Schedule, loop: Loop, tile: int, warp: int) -> tuple[Loop, ...]:
    """(tile, warp, 8 columns, x, pair)."""
    return s.split(loop, [None, tile // warp, warp // COLUMNS, COLUMNS // 2, 2])


def _bind_warps(s: Schedule, warps: Loop, y: Loop, x: Loop) -> None:
    """A warp is 8 threads along y and 4 along x."""
    for loop, axis in ((warps, "z"), (y, "y"), (x, "x")):
        s.bind(loop, f"threadIdx.{axis}")


def _store(s: Schedule, write: BlockLike, tile: tuple[int, int, int], warp: tuple[int, int]) -> None:
    """The results of a tile, each stored by the thread that has it."""
    i, j = s.loops(write)[-2:]
    _, iw, *i_parts, y = _rows(s, i, tile[0], warp[0])
    _, jw, j_tiles, x, pair = _columns(s, j, tile[1], warp[1])
    s.reorder(iw, jw, y, x, *i_parts, j_tiles, pair)
    _bind_warps(s, s.fuse(iw, jw), y, x)
    for loop in (*i_parts, j_tiles):
        s.unroll(loop)
    s.vectorize(pair)


def _store_vectors(s: Schedule, write: BlockLike, tile: tuple[int, int, int], warp: tuple[int, int]) -> None:
    """The same by way of shared memory."""
    result = s.block(write).writes[0]
    whole = s.cache_write(write, "shared")
    s.reverse_compute_at(whole, s.loops(write)[-3])
    s.storage_align(f"{result.name}.shared", 0, 2 * WORD, WORD)
    _store(s, write, tile, warp)
    _by_all(s, whole, tile[0] // warp[0] * (tile[1] // warp[1]), 16 // dtypes.bytes_of(result.dtype))


def _fetch(s: Schedule, block: BlockLike, operand: str, loop: Loop, warps: int) -> str:
    """A tile of `operand` for each iteration of `loop`, into shared memory by all threads; returns the copy's name."""
    copy = s.cache_read(block, operand, "shared")
    s.compute_at(copy, loop)
    _by_all(s, copy, warps, WORD)
    return copy.name


def _spread(s: Schedule, copy: BlockLike, columns: int, together: int) -> None:
    """Lay out a tile so that the same 16 bytes of 8 rows are in different banks: in swizzled panels, or, if one cannot
    hold the columns that are read `together`, by rows that are longer than they need be."""
    panel = math.gcd(columns, _BANKS)
    if panel % together:
        s.storage_align(copy, 0, 2 * WORD, WORD)
        return
    s.transform_layout(copy, lambda i, j: (j // panel, i, j % panel))
    s.swizzle(copy, 2 * panel)


def _by_all(s: Schedule, copy: BlockLike, warps: int, vector: int) -> None:
    """A tile is copied by all threads, in vectors."""
    again, warp, y, x, lanes = s.split(s.fuse(*s.loops(copy)[-2:]), [None, warps, 8, 4, vector])
    s.unroll(again)
    _bind_warps(s, warp, y, x)
    s.vectorize(lanes)


def _load(s: Schedule, block: BlockLike, shared: str, loop: Loop, rows: int = 0, columns: int = 0) -> tuple[str, Loop]:
    """What a warp needs of a tile of A, of so many rows, or of B, into registers; returns the copy and its loop over
    steps."""
    dtype = s.buffers()[shared].dtype
    copy = s.cache_read(block, shared, "local")
    s.compute_at(copy, loop)
    first, last = s.loops(copy)[-2:]
    if rows:
        one, other, *own, thread = _rows(s, first, rows, rows)
        step, k = s.split(last, [None, DEPTH])
        own, axis, intrinsic = [*own, k], "threadIdx.y", load_a(rows, dtype)
    else:
        step, k = s.split(first, [None, DEPTH])
        one, other, tiles, thread, pair = _columns(s, last, columns, columns)
        own, axis, intrinsic = [k, tiles, pair], "threadIdx.x", load_b(columns, dtype)
    s.reorder(step, one, other, thread, *own)
    s.bind(thread, axis)
    for each in own:
        s.unroll(each)
    s.tensorize(thread, intrinsic)
    return copy.name, step


def _overlap(s: Schedule, loop: Loop, copies: list[str], work: list[tuple[str, Loop]], stages: int) -> None:
    """Copy tiles ahead of their use. work: the loads and the product, each with its loop over the steps of a tile.

    With more than one step a tile and three tiles or more, each step loads what the next one needs, the last one what
    the first step of the next tile does: after a barrier, there is something to multiply at once. A step begins one of
    the copies, so that they do not keep loads from shared memory waiting.
    """
    steps = work[0][1].known_extent or 1
    if steps == 1 or stages == 2:
        names = [name for name, _ in work]
        order, times = [*copies, *names], dict.fromkeys(names, stages - 1)
    else:
        for _, step in work:
            s.loop_partition(step, list(range(1, steps)))
        *loads, product = ([name, *(f"{name}.part{n}" for n in range(1, steps))] for name, _ in work)
        order = []
        for n in range(steps):
            order += [load[(n + 1) % steps] for load in loads]
            order += [*copies[n : n + 1], product[n]]
        if steps < len(copies) + 2:  # a copy after all loads of a tile would need another barrier
            order = [*copies, *(name for name in order if name not in copies)]
        times = dict.fromkeys(order, stages - 1) | {load[0]: stages - 2 for load in loads}
    for copy in copies:
        s.async_copy(copy)
    s.software_pipeline(loop, times | dict.fromkeys(copies, 0), order)
