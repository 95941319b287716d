"""Routines made of primitives: how a schedule library is written.

Each takes the schedule first, looks around with handles, and composes public primitives, so that its trace holds
nothing but primitives and every step is checked where it is taken. `@composition` makes all steps of a routine, or
none if one is refused.

`lanes` is the number of elements of a vector register: `target.vector_bytes // bytes of an element`.
"""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

from tensorlang.errors import ScheduleError
from tensorlang.ir.dtypes import bytes_of
from tensorlang.schedule.handles import BlockLike, BlockRef, Loop, LoopLike
from tensorlang.schedule.primitive import composition

if TYPE_CHECKING:
    from tensorlang.schedule.schedule import Schedule


# ------------------------------------------------------------------------------------------------------- loops
@composition
def vectorize_or_guard(s: Schedule, loop: LoopLike, lanes: int) -> tuple[Loop, Loop]:
    """Run a loop in vectors of `lanes`; if they do not divide it, a guard masks the last one.

    Returns the loop over vectors and the one over lanes.

    >>> vectorize_or_guard(s, "C.j", 3)
    (Loop('C.j.0'), Loop('C.j.1'))
    >>> s.loops("C")
    [Loop('C.i'), Loop('C.j.0'), Loop('C.j.1'), Loop('C.k')]
    """
    vectors, lane = s.split(loop, [None, lanes])
    s.vectorize(lane)
    return vectors, lane


@composition
def parallel_outer(s: Schedule, block: BlockLike) -> Loop | None:
    """Run the outermost loop around `block` that may run on several threads so; returns it, None if none may.

    >>> parallel_outer(s, "C")
    Loop('C.i')
    """
    for loop in s.loops(block):
        try:
            s.parallel(loop)
        except ScheduleError:
            continue  # it reduces, or its iterations share what they write
        return loop
    return None


@composition
def unroll_small(s: Schedule, block: BlockLike, limit: int = 16) -> list[Loop]:
    """Unroll serial loops around `block` from the innermost outwards, up to `limit` copies of it; returns them.

    Loops that are vectorised or unrolled already are looked through.

    >>> s.reorder("C.k", "C.i", "C.j")
    >>> unroll_small(s, "C")
    [Loop('C.j')]
    """
    done: list[Loop] = []
    for loop in reversed(s.loops(block)):
        if loop.kind in ("vectorize", "unroll"):
            continue
        copies = prod(inner.known_extent or 1 for inner in done) * (loop.known_extent or limit + 1)
        if loop.kind != "serial" or copies > limit:
            break
        s.unroll(loop)
        done.append(loop)
    return done


@composition
def tile_for_cache(s: Schedule, block: BlockLike, capacity: int) -> tuple[list[Loop], list[Loop]]:
    """Tile all loops around `block`, each by the same power of two, so that what a tile touches fits `capacity` bytes.

    A tile of t iterations in each loop is taken to touch t elements along each dimension of every buffer. Loops must
    be perfectly nested; reduction loops take part, which reorders a sum. Returns the loops over tiles and in tiles.

    >>> tile_for_cache(s, "C", 1024)
    ([Loop('C.i.0'), Loop('C.j.0'), Loop('C.k.0')], [Loop('C.i.1'), Loop('C.j.1'), Loop('C.k.1')])
    """
    ref = s.block(block)
    used = [*ref.reads, *ref.writes]
    size = 1
    while sum(bytes_of(b.dtype) * (2 * size) ** len(b.shape) for b in used) <= capacity:
        size *= 2
    loops = ref.loops
    made = s.tile(loops, [size] * len(loops))
    return list(made[: len(loops)]), list(made[len(loops) :])


# ------------------------------------------------------------------------------------------------------ memory
@composition
def accumulate_in_registers(s: Schedule, block: BlockLike, tile: LoopLike, lanes: int) -> BlockRef:
    """Accumulate what `block` computes inside one iteration of `tile` in registers, and write it when it is complete.

    All of its reduction loops must be inside `tile`. Returns the block that writes, vectorised along its last loop.

    >>> accumulate_in_registers(s, "C", "C.i", 4)
    Block('C.write')
    >>> s.buffers()["C.local"].scope
    'local'
    """
    copy = s.cache_write(block, "local")
    s.reverse_compute_at(copy, tile)
    *outer, last = _inside(copy, tile)
    vectors, _ = vectorize_or_guard(s, last, lanes)
    for loop in (*outer, vectors):
        s.unroll(loop)
    return copy


@composition
def pack_operand(
    s: Schedule, block: BlockLike, operand: str, dimension: int, width: int, at: LoopLike | None = None
) -> BlockRef:
    """Let `block` read a matrix from panels of `width` rows (dimension 0) or columns (dimension 1) that lie in a row.

    Element (i, k) of rows goes to [i // width, k, i % width], (k, j) of columns to [j // width, k, j % width]. Packed
    once, on all threads, or in each iteration of the loop `at` what is needed there. Returns the block that packs.

    >>> pack_operand(s, "C", "B", 1, 4)
    Block('B.packed')
    >>> s.buffers()["B.packed"].shape
    (2, 8, 4)
    """
    copy = s.cache_read(block, operand, "packed")
    if at is not None:
        s.compute_at(copy, at)
    row, column = s.loops(copy)[-2:]
    if dimension == 0:
        s.transform_layout(copy, lambda i, k: (i // width, k, i % width))
        panel, lane = s.split(row, [None, width])
        s.reorder(panel, column, lane)
        s.unroll(lane)  # elements of a row are far apart
    else:
        s.transform_layout(copy, lambda k, j: (j // width, k, j % width))
        panel, lane = s.split(column, [None, width])
        s.reorder(panel, row, lane)
        s.vectorize(lane)
    if at is None:
        s.parallel(panel)
    return copy


# ---------------------------------------------------------------------------------------------- linear algebra
@composition
def matmul(
    s: Schedule, block: BlockLike, lanes: int, rows: int = 6, vectors: int = 2, blocks: int = 8, unroll: int = 1
) -> None:
    """A matrix product C[i, j] = sum of A[i, k] * B[k, j], loops i, j, k, after Goto and van de Geijn.

    A register tile of `rows` x `vectors` vectors runs over the whole depth, `unroll` steps at a time; panels of B are
    packed once, panels of A by each thread for the `blocks` tiles of rows that it takes at a time.

    >>> matmul(s, "C", lanes=4, rows=2, vectors=1, blocks=2)
    >>> np.allclose(tl.build(s)(a, b), a @ b)
    True
    """
    a, b = s.block(block).reads
    i, j, k = s.loops(block)
    i0, i1, i2 = s.split(i, [None, blocks, rows])
    j0, j1, j2 = s.split(j, [None, vectors, lanes])
    k0, k1 = s.split(k, [None, unroll])
    s.reorder(i0, j0, i1, k0, k1, i2, j1, j2)
    s.parallel(i0)
    s.vectorize(j2)
    for loop in (k1, i2, j1):
        s.unroll(loop)
    accumulate_in_registers(s, block, i1, lanes)
    pack_operand(s, block, b.name, 1, vectors * lanes)
    pack_operand(s, block, a.name, 0, rows, at=i0)


@composition
def map_in_vectors(s: Schedule, block: BlockLike, lanes: int, vectors: int = 1) -> None:
    """Run the last loop around a block that does not reduce in vectors, `vectors` of them at a time.

    >>> map_in_vectors(t, "D", 4)
    >>> t.loops("D")
    [Loop('D.i'), Loop('D.j.0'), Loop('D.j.1'), Loop('D.j.2')]
    """
    _, several, lane = s.split(s.loops(block)[-1], [None, vectors, lanes])
    s.vectorize(lane)
    s.unroll(several)


@composition
def reduce_in_lanes(s: Schedule, block: BlockLike, lanes: int, vectors: int = 4) -> BlockRef:
    """Reduce along the innermost reduction loop in `vectors` vectors of partial results, and combine these at the end.

    Returns the block of the partial results. Floats may round differently, as after rfactor.

    >>> reduce_in_lanes(s, "C", 4, vectors=1)
    Block('C.rf')
    >>> s.blocks()
    [Block('C.rf'), Block('C')]
    """
    innermost = [loop for loop in s.loops(block) if loop.is_reduction][-1]
    _, lane = s.split(innermost, [None, vectors * lanes])
    partial = s.rfactor(lane, factor_axis=-1)
    several, _ = vectorize_or_guard(s, lane, lanes)
    s.unroll(several)
    return partial


@composition
def reduce_in_columns(s: Schedule, block: BlockLike, lanes: int, vectors: int = 4) -> None:
    """Compute `vectors` vectors of neighbouring results at a time, each along all of its reduction.

    For a block with loops j (spatial, the last one outside the reductions) and k ... (reductions), whose reads are
    contiguous along j: a product with a transposed matrix.

    >>> reduce_in_columns(s, "C", 4, vectors=1)
    >>> s.loops("C")
    [Loop('C.i'), Loop('C.j.0'), Loop('C.k'), Loop('C.j.1'), Loop('C.j.2')]
    """
    loops = s.loops(block)
    first = next(n for n, loop in enumerate(loops) if loop.is_reduction)
    outer, several, lane = s.split(loops[first - 1], [None, vectors, lanes])
    s.reorder(outer, *loops[first:], several, lane)
    s.vectorize(lane)
    s.unroll(several)


@composition
def load_ahead(s: Schedule, loop: LoopLike, ahead: int = 1) -> list[BlockRef]:
    """Pipeline a loop: what its blocks load is loaded `ahead` iterations before they run; returns the blocks that load.

    Those are the blocks in the loop that others there read from, while they read from none.

    >>> copy = s.cache_read("C", "A", "local")
    >>> s.compute_at(copy, "C.k")
    >>> load_ahead(s, "C.k")
    [Block('A.local')]
    """
    inside = [b for b in s.blocks() if any(each == s.loop(loop) for each in b.loops)]
    loads = [b for b in inside if _meets(b.consumers, inside) and not _meets(b.producers, inside)]
    s.software_pipeline(loop, {b.name: 0 if b in loads else ahead for b in inside})
    return loads


@composition
def level_1(s: Schedule, lanes: int, vectors: int = 4) -> None:
    """Operations on vectors, of the first level of the BLAS: all blocks in vectors, reductions in partial results.

    >>> level_1(t, 4, vectors=1)
    >>> np.allclose(tl.build(t)(a, b), np.maximum(a @ b, 0))
    True
    """
    for block in s.blocks():
        if block.is_reduction:
            reduce_in_lanes(s, block, lanes, vectors)
        elif block.loops:
            map_in_vectors(s, block, lanes, vectors)


@composition
def level_2(s: Schedule, lanes: int, vectors: int = 4, columns: bool = False) -> None:
    """Operations on a matrix and vectors, of the second level: as level_1, on all threads.

    columns: the matrix is read along its columns, so that neighbouring results are computed together.

    >>> level_2(s, 4, vectors=1)
    >>> np.allclose(tl.build(s)(a, b), a @ b)
    True
    """
    for block in s.blocks():
        if block.is_reduction and columns:
            reduce_in_columns(s, block, lanes, vectors)
        elif block.is_reduction:
            reduce_in_lanes(s, block, lanes, vectors)
        else:
            map_in_vectors(s, block, lanes, vectors)
        parallel_outer(s, block)


def _meets(some: list[BlockRef], others: list[BlockRef]) -> bool:
    return any(b in others for b in some)


def _inside(block: BlockRef, outer: LoopLike) -> list[Loop]:
    """The loops around `block` inside the loop `outer`."""
    names = [loop.name for loop in block.loops]
    return block.loops[names.index(outer if isinstance(outer, str) else outer.name) + 1 :]
