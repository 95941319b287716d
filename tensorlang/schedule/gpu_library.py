"""Schedules for GPUs, made of public primitives: elementwise, rows, sums of columns, transposes, matrix products.

Counts of threads and elements may be knobs. A warp is 32 threads along x; `vector` elements are one access to memory,
of 16 bytes at best. What streams through has its loads under cache_hint "evict_last", so that stores leave the
second-level cache first.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from tensorlang.ir.nodes import Expr
from tensorlang.schedule.gpu_conv import conv2d, depthwise_conv2d
from tensorlang.schedule.gpu_tiles import matmul, tiled_matmul
from tensorlang.schedule.handles import BlockLike, Loop
from tensorlang.schedule.primitive import composition
from tensorlang.schedule.tensor_cores import tensor_core_matmul

if TYPE_CHECKING:
    from tensorlang.schedule.schedule import Schedule

__all__ = [
    "column_sums",
    "conv2d",
    "depthwise_conv2d",
    "elementwise",
    "matmul",
    "reductions",
    "row_sums",
    "rows",
    "tensor_core_matmul",
    "tiled_matmul",
    "transpose",
    "whole_sum",
]

Count = int | Expr
STREAMED = "evict_last"  # measured on an H100, arrays beyond its caches: 1 % less time


@composition
def elementwise(s: Schedule, block: BlockLike, threads: Count = 256, vector: Count = 4, each: Count = 1) -> None:
    """All loops of `block` as one: a thread does `each` vectors, a block of threads apart, so that loads overlap.

    >>> x = tl.placeholder((64, 4096), name="x")
    >>> g = tl.Schedule(tl.compute((64, 4096), lambda i, j: x[i, j] + 1.0, name="y"))
    >>> elementwise(g, "y")
    >>> [(loop.known_extent, loop.kind) for loop in g.loops("y")]
    [(256, 'blockIdx.x'), (256, 'threadIdx.x'), (1, 'unroll'), (4, 'vectorize')]
    """
    loops = s.loops(block)
    whole = s.fuse(*loops) if len(loops) > 1 else loops[0]
    blocks, again, thread, lanes = s.split(whole, [None, each, threads, vector])
    s.reorder(blocks, thread, again, lanes)
    if len(s.block(block).writes) == 1 and any(buffer.scope == "global" for buffer in s.block(block).reads):
        s.cache_hint(block, STREAMED)
    s.bind(blocks, "blockIdx.x")
    s.bind(thread, "threadIdx.x")
    s.unroll(again)
    s.vectorize(lanes)


@composition
def reductions(s: Schedule, block: BlockLike, threads: Count = 256) -> None:
    """Of a reduction: each thread reduces for one element, in a register.

    >>> reductions(s, "C", threads=32)
    >>> [(loop.known_extent, loop.kind) for loop in s.loops("C")]
    [(2, 'blockIdx.x'), (32, 'threadIdx.x'), (1, 'serial'), (1, 'serial'), (8, 'serial')]
    """
    write = s.cache_write(block, "local")
    loops = s.loops(write)
    whole = s.fuse(*loops) if len(loops) > 1 else loops[0]
    grid, thread = s.split(whole, [None, threads])
    s.compute_at(block, thread)
    s.bind(grid, "blockIdx.x")
    s.bind(thread, "threadIdx.x")


@composition
def whole_sum(
    s: Schedule, block: BlockLike, parts: Count = 1024, threads: Count = 256, vector: Count = 4, each: Count = 4
) -> None:
    """A reduction of everything into one element, around which is a loop of one iteration: of `parts` of the first
    dimension by blocks of threads, then of these by a second kernel of one block.

    >>> from tensorlang.topi.reduction import sum
    >>> g = tl.Schedule(sum(1 << 22, keepdim=1))
    >>> whole_sum(g, "sum")
    >>> g.blocks()
    [Block('x.local'), Block('sum.rf'), Block('sum')]
    """
    one, first, *rest = s.loops(block)
    part, inner = s.split(first, [parts, None])
    s.reorder(part, one, inner, *rest)
    row_sums(s, s.rfactor(part, factor_axis=0), threads, vector, each)
    one, among = sorted(s.loops(block), key=lambda loop: loop.is_reduction)
    again, thread = s.split(among, [None, 256])
    s.reorder(one, thread, again)
    s.bind(one, "blockIdx.x")
    s.bind(thread, "threadIdx.x")


@composition
def rows(
    s: Schedule,
    block: BlockLike,
    threads: Count = 256,
    vector: Count = 4,
    beside: Count = 1,
    before: Sequence[str] | None = None,
) -> None:
    """A computation along rows, of which `block` is the last one: softmax, norms.

    `before`, by default all other blocks, are computed where they are needed, row by row, and stay in registers:
    `threads` of them have a row, and a block of threads has `beside` rows.

    >>> from tensorlang.topi.normalization import softmax
    >>> g = tl.Schedule(softmax(64, 4096))
    >>> rows(g, "softmax")
    >>> [(loop.known_extent, loop.kind) for loop in g.loops("softmax")]
    [(64, 'blockIdx.x'), (1, 'threadIdx.y'), (4, 'unroll'), (256, 'threadIdx.x'), (4, 'vectorize')]
    """
    *outer, _ = s.loops(block)
    row = s.fuse(*outer) if len(outer) > 1 else outer[0]
    grid, inner = s.split(row, [None, beside])
    others = [b for b in s.blocks() if b.name != s.block(block).name and (before is None or b.name in before)]
    for producer in reversed(others):
        s.compute_at(producer, inner)
    params = {buffer.name for buffer in s.func.params}
    for each in (*others, s.block(block)):
        along = s.loops(each)[-1]
        if _is_of_row(s, each.name, along):
            continue
        again, thread, lanes = s.split(along, [None, threads, vector])
        s.unroll(again)
        s.bind(thread, "threadIdx.x")
        sources = [buffer.name for buffer in each.reads if buffer.name in params]
        if not each.is_reduction:
            s.vectorize(lanes)
            if sources:
                s.cache_hint(each, STREAMED)
            continue
        for source in sources:
            copy = s.cache_read(each, source, "local")
            s.cache_hint(copy, STREAMED)
            s.compute_at(copy, thread)
            s.vectorize(s.loops(copy)[-1])
        s.unroll(lanes)
    s.bind(grid, "blockIdx.x")
    s.bind(inner, "threadIdx.y")
    for producer in others:
        s.set_scope(producer.writes[0].name, "local")


def _is_of_row(s: Schedule, block: str, along: Loop) -> bool:
    """Whether the block has one value for a row, and `along` no iterations but one."""
    return along.known_extent == 1 and not s.block(block).is_reduction


@composition
def row_sums(s: Schedule, block: BlockLike, threads: Count = 256, vector: Count = 4, each: Count = 4) -> None:
    """A reduction of each row by a block of threads, which load `each` vectors at a time.

    >>> from tensorlang.topi.reduction import sum
    >>> g = tl.Schedule(sum(64, 8192))
    >>> row_sums(g, "sum")
    >>> [(loop.known_extent, loop.kind) for loop in g.loops("sum")]
    [(64, 'blockIdx.x'), (2, 'serial'), (256, 'threadIdx.x'), (4, 'unroll'), (4, 'unroll')]
    """
    *outer, along = s.loops(block)
    spatial = [loop for loop in outer if not loop.is_reduction]
    row = s.fuse(*spatial) if len(spatial) > 1 else spatial[0]
    _, again, thread, lanes = s.split(along, [None, each, threads, vector])
    s.bind(row, "blockIdx.x")
    s.reorder(thread, again, lanes)
    s.bind(thread, "threadIdx.x")
    s.unroll(again)
    s.unroll(lanes)
    (source,) = s.block(block).reads
    copy = s.cache_read(block, source, "local")
    s.compute_at(copy, again)
    s.vectorize(s.loops(copy)[-1])


@composition
def column_sums(
    s: Schedule, block: BlockLike, parts: Count = 64, threads: Count = 128, vector: Count = 4, each: Count = 8
) -> None:
    """A reduction of each column: of `parts` of the rows by blocks of threads, then of these by a second kernel.

    A thread has `vector` columns and loads `each` rows at a time.

    >>> from tensorlang.topi.reduction import sum
    >>> g = tl.Schedule(sum(4096, 1024, dim=0))
    >>> column_sums(g, "sum")
    >>> g.blocks()
    [Block('sum.rf'), Block('sum.rf.write'), Block('sum'), Block('sum.write')]
    """
    column, along = s.loops(block)
    part, inner = s.split(along, [parts, None])
    s.reorder(part, column, inner)
    partial = s.rfactor(part)
    write = s.cache_write(partial, "local")
    part, column, inner = s.loops(partial)
    grid, thread, lanes = s.split(column, [None, threads, vector])
    outer, again = s.split(inner, [None, each])
    s.reorder(grid, thread, outer, again, lanes)
    s.reverse_compute_at(write, thread)
    s.vectorize(s.loops(write)[-1])
    s.bind(part, "blockIdx.y")
    s.bind(grid, "blockIdx.x")
    s.bind(thread, "threadIdx.x")
    s.unroll(again)
    s.vectorize(lanes)
    write = s.cache_write(block, "local")
    along, column = s.loops(block)
    grid, thread = s.split(column, [None, 64])
    s.reorder(grid, thread, along)
    s.reverse_compute_at(write, thread)
    s.bind(grid, "blockIdx.x")
    s.bind(thread, "threadIdx.x")
    s.unroll(s.split(along, [None, 8])[1])


@composition
def transpose(s: Schedule, block: BlockLike, threads: tuple[Count, Count] = (16, 16), vector: int = 4) -> None:
    """Through square tiles in shared memory, whose rows are one element longer than they need be, so that a column
    lies in different banks. Of `threads` rows and columns; a tile is as wide as these are with a vector each.

    >>> from tensorlang.topi.elementwise import transpose as transposed
    >>> g = tl.Schedule(transposed(256, 256))
    >>> transpose(g, "transpose")
    >>> g.loops("transpose")[0].kind
    'blockIdx.y'
    """
    y, x = threads
    row, column = s.loops(block)
    row0, column0, row1, column1 = s.tile([row, column], [x * vector, x * vector])
    (source,) = s.block(block).reads
    copy = s.cache_read(block, source, "shared")
    s.cache_hint(copy, STREAMED)
    s.compute_at(copy, column0)
    s.storage_align(copy, 0, 32, 1)
    for rows_, columns in ((row1, column1), tuple(s.loops(copy)[-2:])):
        again, down = s.split(rows_, [None, y])
        along, lanes = s.split(columns, [x, vector])
        s.bind(down, "threadIdx.y")
        s.bind(along, "threadIdx.x")
        s.unroll(again)
        s.vectorize(lanes)
    s.bind(row0, "blockIdx.y")
    s.bind(column0, "blockIdx.x")
