"""Matrix products on GPUs with every count open: what gpu_library.matmul does, with no loops fused, so that what is
proved of it holds for all counts at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tensorlang.ir.nodes import Expr
from tensorlang.schedule.handles import BlockLike, Loop
from tensorlang.schedule.primitive import composition

if TYPE_CHECKING:
    from tensorlang.schedule.schedule import Schedule

Count = int | Expr


@composition
def tiled_matmul(
    s: Schedule,
    block: BlockLike,
    threads: tuple[Count, Count, Count] = (4, 8, 4),
    far: tuple[Count, Count] = (2, 2),
    depth: tuple[Count, Count] = (1, 16),
    group: Count = 8,
    stages: int = 2,
    resident: int = 0,
    asynchronous: bool = False,
    by_rows: bool = False,
) -> None:
    """The product that gpu_library.matmul schedules, with counts that may be knobs: blocks of z * y * x `threads`, y of
    them along the rows of a tile, z * x along its columns.

    A thread has `far` squares of 4 x 4 elements in registers, which lie so far apart that threads side by side read
    vectors side by side. Tiles of both operands are in shared memory, that of A transposed, so that both are read in
    vectors; their depth is the product of `depth`, of which the last one is unrolled. Blocks of threads go down `group`
    tiles before they go right, so that those that run together read the same rows and columns. stages: 0 loads a tile
    when it is needed; 1 loads the next one into registers meanwhile; 2 has two tiles in shared memory besides, and one
    barrier for each. resident: how many blocks a multiprocessor is to hold. asynchronous: tiles of B go to shared
    memory by themselves, not by way of registers (needs stages). by_rows: a thread does whole rows of what it has, not
    square after square; which of the two lets the compiler find better registers, only measuring tells.

    Source of the scheme: NVIDIA's CUTLASS, "Efficient GEMM in CUDA".

    >>> from tensorlang.topi import linalg
    >>> g = tl.Schedule(linalg.matmul(512, 512, 512))
    >>> tiled_matmul(g, "C", stages=1)
    >>> [(loop.known_extent, loop.kind) for loop in g.loops("C")][:3]
    [(1, 'blockIdx.z'), (4, 'blockIdx.y'), (8, 'blockIdx.x')]
    """
    z, y, x = threads
    write = s.cache_write(block, "local")
    i, j, k = s.loops(block)
    i0, j0, shared, (i_far, j_far, i_near, j_near) = _tiled(s, i, j, threads, far)
    k0, k1, k2 = s.split(k, [None, *depth])
    above, down = s.split(i0, [None, group])
    middle = (i_near, j_far) if by_rows else (j_far, i_near)
    s.reorder(above, j0, down, *shared, k0, k1, k2, i_far, *middle, j_near)
    s.reverse_compute_at(write, down)
    _bind(s, "blockIdx", above, j0, down)
    _bind(s, "threadIdx", *shared)
    if resident:
        s.annotate(above, "resident", resident)
    rows_, columns = s.loops(write)[-2:]
    *_, shared, (wi_far, wj_far, wi_near, wj_near) = _tiled(s, rows_, columns, threads, far)
    s.reorder(*shared, wi_far, wi_near, wj_far, wj_near)
    _bind(s, "threadIdx", *shared)
    for loop in (wi_far, wi_near, wj_far):
        s.unroll(loop)
    s.vectorize(wj_near)
    a, b = (buffer.name for buffer in s.block(block).reads if not buffer.name.endswith(".local"))
    for copy in _fetch(s, block, a, k0, stages > 0):
        rows_, along = s.loops(copy)[-2:]
        again, over_z, over_y = s.split(rows_, [None, z, y])
        farther, over_x, vector = s.split(along, [None, x, 4])
        _share_out(s, (again, farther), (over_z, over_y, over_x), vector)
    for copy in _fetch(s, block, b, k0, stages > 0 and not asynchronous):
        rows_, along = s.loops(copy)[-2:]
        again, over_y = s.split(rows_, [None, y])
        farther, over_z, over_x, vector = s.split(along, [None, z, x, 4])
        _share_out(s, (again, farther), (over_z, over_y, over_x), vector)
    s.transform_layout(f"{a}.shared", lambda x, y: (y, x))
    s.storage_align(f"{a}.shared", 0, 32, 4)
    for operand, loop in ((a, i_far), (b, j_far)):
        copy = s.cache_read(block, f"{operand}.shared", "local")
        s.compute_at(copy, loop)
        s.vectorize(next(n for n in s.loops(copy)[-2:] if n.known_extent != 1))
    for loop in (k2, i_far, j_far, i_near, j_near):
        s.unroll(loop)
    if stages:
        _pipelined(s, block, k0, (a, b), stages, asynchronous)


_Loops = tuple[Loop, ...]


def _tiled(
    s: Schedule, i: Loop, j: Loop, threads: tuple[Count, Count, Count], far: tuple[Count, Count]
) -> tuple[Loop, Loop, _Loops, _Loops]:
    """The loops over tiles, those that threads z, y, x share, and those that a thread has for itself."""
    z, y, x = threads
    i0, i_far, iy, i_near = s.split(i, [None, far[0], y, 4])
    j0, jz, j_far, jx, j_near = s.split(j, [None, z, far[1], x, 4])
    return i0, j0, (jz, iy, jx), (i_far, j_far, i_near, j_near)


def _bind(s: Schedule, axis: str, *loops: Loop) -> None:
    """Loops to z, y and x."""
    for loop, along in zip(loops, "zyx", strict=True):
        s.bind(loop, f"{axis}.{along}")


def _fetch(s: Schedule, block: BlockLike, operand: str, loop: Loop, ahead: bool) -> list[BlockLike]:
    """A tile of `operand` for each iteration of `loop`, into shared memory; if `ahead`, by way of registers."""
    copies: list[BlockLike] = [s.cache_read(block, operand, "shared")]
    s.compute_at(copies[0], loop)
    if ahead:
        copies.append(s.cache_read(copies[0], operand, "local"))
        s.compute_at(copies[1], loop)
    return copies


def _share_out(s: Schedule, again: _Loops, threads: _Loops, vector: Loop) -> None:
    """A copy by all threads of a block, by loops along z, y and x."""
    s.reorder(*again, *threads, vector)
    for loop in again:
        s.unroll(loop)
    _bind(s, "threadIdx", *threads)
    s.vectorize(vector)


def _pipelined(
    s: Schedule, block: BlockLike, loop: Loop, operands: tuple[str, str], stages: int, asynchronous: bool
) -> None:
    """Load the tiles of the next iteration, of A by way of registers, while this one computes."""
    a, b = operands
    held, shared = [f"{a}.local"], [f"{a}.shared"]
    if asynchronous:
        s.async_copy(f"{b}.shared")
        held.append(f"{b}.shared")
    else:
        held.append(f"{b}.local")
        shared.append(f"{b}.shared")
    times = {**dict.fromkeys(held, 0), **dict.fromkeys(shared, 1), s.block(block).name: stages}
    if asynchronous:
        times[f"{b}.shared"] = stages - 1  # just ahead of its use: there are two tiles of B, whatever the stages
    s.software_pipeline(loop, times, [*shared, *held, block])
