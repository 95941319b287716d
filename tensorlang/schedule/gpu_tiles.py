"""Matrix products on GPUs without tensor cores: one scheme, over two ways of sharing tiles out among threads.

A thread has squares of neighbouring elements in registers, which lie so far apart that threads side by side read
vectors side by side. Tiles of both operands are in shared memory, that of A transposed, so that both are read in
vectors.

Source of the scheme: NVIDIA's CUTLASS, "Efficient GEMM in CUDA".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from tensorlang.ir.nodes import Expr
from tensorlang.schedule.handles import BlockLike, Loop
from tensorlang.schedule.primitive import composition

if TYPE_CHECKING:
    from tensorlang.schedule.schedule import Schedule

SQUARES, ROWS, COLUMNS = "squares", "rows", "columns"
Count = int | Expr
_Loops = tuple[Loop, ...]


@composition
def matmul(
    s: Schedule,
    block: BlockLike,
    tile: tuple[int, int, int] = (64, 128, 16),
    each: tuple[int, int] = (8, 8),
    lanes: tuple[int, int] = (4, 8),
    group: int = 8,
    stages: int = 2,
    resident: int = 0,
    asynchronous: bool = False,
) -> None:
    """C[i, j] = sum over k of A[i, k] * B[k, j] in tiles of rows, columns and depth `tile` for a block of threads.

    A thread has `each` rows and columns in registers, four neighbours at a time; a warp is a grid of `lanes` threads,
    which read neighbouring vectors. Blocks of threads go down `group` tiles before they go right, so that those that
    run together read the same rows and columns. stages: 0 loads a tile when it is needed; 1 loads the next one into
    registers meanwhile; 2 has two tiles in shared memory besides, and one barrier for each. resident: how many blocks
    a multiprocessor is to hold. asynchronous: tiles of B go to shared memory by themselves, not by way of registers
    (needs stages).

    >>> from tensorlang.topi import linalg
    >>> g = tl.Schedule(linalg.matmul(512, 512, 512))
    >>> matmul(g, "C", stages=1)
    >>> [(loop.known_extent, loop.kind) for loop in g.loops("C")][:2]
    [(32, 'blockIdx.x'), (128, 'threadIdx.x')]
    """
    _product(s, block, _Fused(tile, each, lanes), group, stages, resident, asynchronous, SQUARES)


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
    order: str = SQUARES,
    turning: bool = False,
) -> None:
    """The product that `matmul` schedules, with counts that may be knobs, and no loops fused, so that what is proved of
    it holds for all counts at once: blocks of z * y * x `threads`, y of them along the rows of a tile, z * x along its
    columns.

    A thread has `far` squares of 4 x 4 elements. The depth of tiles is the product of `depth`, of which the last one is
    unrolled. group, stages, resident, asynchronous: see `matmul`. order: whether a thread does "squares" of what it has
    one after the other, whole "rows" or whole "columns", of these with `turning` every other one backwards; which of
    them lets the compiler find better registers, only measuring tells.

    >>> from tensorlang.topi import linalg
    >>> g = tl.Schedule(linalg.matmul(512, 512, 512))
    >>> tiled_matmul(g, "C", stages=1)
    >>> [(loop.known_extent, loop.kind) for loop in g.loops("C")][:3]
    [(1, 'blockIdx.z'), (4, 'blockIdx.y'), (8, 'blockIdx.x')]
    """
    _product(s, block, _Open(threads, far, depth), group, stages, resident, asynchronous, order, turning)


@dataclass(frozen=True)
class _Fused:
    """Threads in one row: loops over tiles are one, those over threads are one."""

    tile: tuple[int, int, int]
    each: tuple[int, int]
    lanes: tuple[int, int]
    early: ClassVar[bool] = True  # asynchronous copies begin as early as those by way of registers: to three tiles of B

    @property
    def depth(self) -> tuple[Count, ...]:
        return (self.tile[2],)

    def split(self, s: Schedule, i: Loop, j: Loop) -> tuple[Loop, Loop, _Loops, _Loops]:
        """The loops over tiles, those that threads share, and those that a thread has for itself."""
        i0, iw, i_far, il, i_near = self._interleaved(s, i, 0)
        j0, jw, j_far, jl, j_near = self._interleaved(s, j, 1)
        return i0, j0, (iw, jw, il, jl), (i_far, j_far, i_near, j_near)

    def _interleaved(self, s: Schedule, loop: Loop, axis: int) -> tuple[Loop, ...]:
        """(tile, warp, far, lane, near): a thread has every fourth run of 4 neighbours, not `each` in a row."""
        size, lanes, each = self.tile[axis], self.lanes[axis], self.each[axis]
        near = min(4, each)
        return s.split(loop, [None, size // (each * lanes), each // near, lanes, near])

    def bind(self, s: Schedule, unit: str, loops: _Loops) -> Loop:
        """Returns the outermost of the bound loops."""
        whole = s.fuse(*loops)
        s.bind(whole, f"{unit}.x")
        return whole

    def share_out(self, s: Schedule, copy: BlockLike, transposed: bool) -> None:
        """A copy of a tile by all threads of a block."""
        threads = self.tile[0] // self.each[0] * self.tile[1] // self.each[1]
        again, thread, vector = s.split(s.fuse(*s.loops(copy)[-2:]), [None, threads, 4])
        s.unroll(again)
        s.bind(thread, "threadIdx.x")
        s.vectorize(vector)


@dataclass(frozen=True)
class _Open:
    """Threads along z, y and x: no loops are fused."""

    threads: tuple[Count, Count, Count]
    far: tuple[Count, Count]
    depth: tuple[Count, ...]
    early: ClassVar[bool] = False  # asynchronous copies begin just ahead of their use: there are two tiles of B

    def split(self, s: Schedule, i: Loop, j: Loop) -> tuple[Loop, Loop, _Loops, _Loops]:
        z, y, x = self.threads
        i0, i_far, iy, i_near = s.split(i, [None, self.far[0], y, 4])
        j0, jz, j_far, jx, j_near = s.split(j, [None, z, self.far[1], x, 4])
        return i0, j0, (jz, iy, jx), (i_far, j_far, i_near, j_near)

    def bind(self, s: Schedule, unit: str, loops: _Loops) -> Loop:
        for loop, along in zip(loops, "zyx", strict=True):
            s.bind(loop, f"{unit}.{along}")
        return loops[0]

    def share_out(self, s: Schedule, copy: BlockLike, transposed: bool) -> None:
        z, y, x = self.threads
        rows, along = s.loops(copy)[-2:]
        if transposed:
            again, over_z, over_y = s.split(rows, [None, z, y])
            farther, over_x, vector = s.split(along, [None, x, 4])
        else:
            again, over_y = s.split(rows, [None, y])
            farther, over_z, over_x, vector = s.split(along, [None, z, x, 4])
        s.reorder(again, farther, over_z, over_y, over_x, vector)
        for loop in (again, farther):
            s.unroll(loop)
        self.bind(s, "threadIdx", (over_z, over_y, over_x))
        s.vectorize(vector)


_Threads = _Fused | _Open


def _product(
    s: Schedule,
    block: BlockLike,
    threads: _Threads,
    group: Count,
    stages: int,
    resident: int,
    asynchronous: bool,
    order: str,
    turning: bool = False,
) -> None:
    orders = (SQUARES, ROWS, COLUMNS)
    if order not in orders:
        s.refuse("bad_argument", f"order is one of {', '.join(map(repr, orders))}, got {order!r}", hint=f"{SQUARES!r}")
    write = s.cache_write(block, "local")
    i, j, k = s.loops(block)
    i0, j0, shared, (i_far, j_far, i_near, j_near) = threads.split(s, i, j)
    k0, *deeper = s.split(k, [None, *threads.depth])
    above, down = s.split(i0, [None, group])
    own = {
        SQUARES: (i_far, j_far, i_near, j_near),
        ROWS: (i_far, i_near, j_far, j_near),
        COLUMNS: (j_far, j_near, i_far, i_near),
    }[order]
    s.reorder(above, j0, down, *shared, k0, *deeper, *own)
    s.reverse_compute_at(write, down)
    grid = threads.bind(s, "blockIdx", (above, j0, down))
    threads.bind(s, "threadIdx", shared)
    if resident:
        s.annotate(grid, "resident", resident)
    _store(s, write, threads)
    a, b = (buffer.name for buffer in s.block(block).reads if not buffer.name.endswith(".local"))
    _fetch(s, block, a, k0, threads, transposed=True, ahead=stages > 0)
    _fetch(s, block, b, k0, threads, transposed=False, ahead=stages > 0 and not asynchronous)
    s.transform_layout(f"{a}.shared", lambda x, y: (y, x))
    s.storage_align(f"{a}.shared", 0, 32, 4)
    for operand, loop in ((a, i_far), (b, j_far)):
        copy = s.cache_read(block, f"{operand}.shared", "local")
        s.compute_at(copy, loop)
        s.vectorize(next(n for n in s.loops(copy)[-2:] if n.known_extent != 1))
    for loop in (deeper[-1], *own):
        s.unroll(loop)
    for loop in own[2:] if turning else ():
        s.serpentine(loop, own[1])
    if stages:
        _pipelined(s, block, k0, (a, b), stages, asynchronous, threads.early)


def _store(s: Schedule, write: BlockLike, threads: _Threads) -> None:
    """The results of a tile, each stored by the thread that has it."""
    rows, columns = s.loops(write)[-2:]
    *_, shared, (i_far, j_far, i_near, j_near) = threads.split(s, rows, columns)
    s.reorder(*shared, i_far, i_near, j_far, j_near)
    threads.bind(s, "threadIdx", shared)
    for loop in (i_far, i_near, j_far):
        s.unroll(loop)
    s.vectorize(j_near)


def _fetch(
    s: Schedule, block: BlockLike, operand: str, loop: Loop, threads: _Threads, transposed: bool, ahead: bool
) -> None:
    """A tile of `operand` for each iteration of `loop`, into shared memory; if `ahead`, by way of registers."""
    copies: list[BlockLike] = [s.cache_read(block, operand, "shared")]
    s.compute_at(copies[0], loop)
    if ahead:
        copies.append(s.cache_read(copies[0], operand, "local"))
        s.compute_at(copies[1], loop)
    for copy in copies:
        threads.share_out(s, copy, transposed)


def _pipelined(
    s: Schedule,
    block: BlockLike,
    loop: Loop,
    operands: tuple[str, str],
    stages: int,
    asynchronous: bool,
    early: bool,
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
    if asynchronous and not early:
        times[f"{b}.shared"] = stages - 1
    s.software_pipeline(loop, times, [*shared, *held, block])
