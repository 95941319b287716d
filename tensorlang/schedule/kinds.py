"""Primitives that say how a loop runs: parallel, vectorize, unroll, bind, serpentine; and annotate."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tensorlang.ir.nodes import GRID, PARALLEL, SERPENTINE, UNROLL, VECTORIZE, unit_of
from tensorlang.schedule import checks
from tensorlang.schedule.handles import BlockLike, LoopLike
from tensorlang.schedule.primitive import primitive

if TYPE_CHECKING:
    from tensorlang.schedule.schedule import Schedule


@primitive
def parallel(s: Schedule, loop: LoopLike) -> None:
    """Run the iterations of a loop on several threads.

    >>> s.parallel("C.i")
    >>> s.loop("C.i").kind
    'parallel'

    requires (2 to 4 for as long as the loop lives: every later step is held to them):
      1. the loop is serial
      2. it drives spatial iterators only, and different iterations run different instances of every block below
         that writes a buffer which outlives an iteration, but for blocks whose updates are atomic
      3. different iterations touch different parts of every such buffer that several blocks below use
      4. it is not inside a parallel or vectorize loop

    rewrite:
      for i in n:              ->    parallel i in n:
    """
    _mark(s, loop, PARALLEL)


@primitive
def vectorize(s: Schedule, loop: LoopLike) -> None:
    """Run the iterations of a loop as the lanes of vectors.

    >>> s.vectorize("C.j")
    >>> s.loop("C.j").kind
    'vectorize'

    requires (2 to 4 for as long as the loop lives: every later step is held to them):
      1. the loop is serial and its extent is a constant, or depends on knobs only
      2. it drives spatial iterators only, and different iterations run different instances of every block below
         that writes a buffer which outlives an iteration
      3. different iterations touch different parts of every such buffer that several blocks below use
      4. it is not inside a vectorize loop

    rewrite:
      for i in 8:              ->    vectorize i in 8:
    """
    checks.extent_is_fixed(s, s.loop_node(loop), VECTORIZE)
    _mark(s, loop, VECTORIZE)


@primitive
def unroll(s: Schedule, loop: LoopLike) -> None:
    """Write the body of a loop once for each iteration.

    >>> s.unroll("C.k")
    >>> s.loop("C.k").kind
    'unroll'

    requires:
      1. the loop is serial and its extent is a constant, or depends on knobs only

    rewrite:
      for i in 8:              ->    unroll i in 8:
    """
    checks.extent_is_fixed(s, s.loop_node(loop), UNROLL)
    _mark(s, loop, UNROLL)


@primitive
def bind(s: Schedule, loop: LoopLike, axis: str) -> None:
    """Run the iterations of a loop on the blocks of a grid or on the threads of a block of a GPU.

    axis: "blockIdx.x", "threadIdx.x" or "vthread.x", with x, y or z. Threads are counted with x fastest, so that
    neighbours along x are neighbours in a warp. A virtual thread is a part of a thread: its iterations are unrolled.
    Each outermost bound loop becomes a kernel; loops of it that are bound to the same axis of threadIdx share those
    threads. A loop over threads that drives reduction iterators is a reduction across threads: each has a partial
    result, and these are combined in another order than by a serial loop, so floats may round differently.

    A bound loop may stand inside another one of the same axis (*cooperation*): there the threads, each of which the
    outer loop would make do all of the inner one, do it together, once. compute_at makes room for this: what it puts
    into memory of scope shared is all that the threads of the block need, not what a single one does.

    >>> s.bind("C.i", "threadIdx.x")
    >>> s.loop("C.i").kind
    'threadIdx.x'

    requires (2 to 8 for as long as the loop lives: every later step is held to them):
      1. the loop is serial; threadIdx and vthread: its extent is a constant, or depends on knobs only
      2. its iterations are independent, as for parallel; or, for threadIdx, below it a block with a commutative
         reducer and its init reduces over it, the results of which no other block uses inside the reduction
      3. it is not inside a vectorize or parallel loop
      4. blockIdx: all loops around it are bound to other axes of blockIdx, and nothing else stands beside it in them
      5. vthread: no loop around it is bound to the same axis
      6. the target of the schedule, if it has one, has as many threads in a block, and along each axis
      7. inside a loop of the same axis of threadIdx: blocks below do not depend on the loops over threads around it,
         read nothing that a thread has for itself, and write memory of scope shared
      8. what is written into shared memory that is allocated inside a loop over threads is the same in all its
         iterations, or different iterations write different elements

    rewrite:
      for i in n:              ->    blockIdx.x i in n:
    """
    checks.thread_axis(s, axis)
    if unit_of(axis) != GRID:
        checks.extent_is_fixed(s, s.loop_node(loop), axis)
    _mark(s, loop, axis)


def _mark(s: Schedule, loop: LoopLike, kind: str) -> None:
    """Give a serial loop its kind. Whether it may run so is checked where every step ends: concurrency.kinds_hold."""
    node = s.loop_node(loop)
    checks.is_serial(s, node)
    s.replace(node, node.replace(kind=kind))


@primitive
def serpentine(s: Schedule, loop: LoopLike, outer: LoopLike) -> None:
    """Run a loop backwards in every other iteration of a loop around it, in kernels for GPUs.

    So one iteration of `outer` begins with what the one before has ended with: where both loops are unrolled, that is
    still at hand beside the registers, and the first product of a row reads two registers, not three. Loops of which
    several are to turn together, as the vectors of a row and the elements of a vector, all turn by the same `outer`.
    On other targets than GPUs it says nothing. A later step of this kind replaces this one. Changes the order of a
    reduction if the loop reduces: with floats, that may change rounding.

    Source: NVIDIA's CUTLASS, whose products by threads visit their tiles so.

    >>> s.serpentine("C.j", "C.i")
    >>> s.loop("C.j").annotations
    {'serpentine': 'C.i'}

    requires (for as long as the loop lives: every later step is held to it):
      1. the loop is serial or unrolled, and not pipelined
      2. `outer` is a loop around it
    and, where `outer` may have several iterations:
      3. it drives no ordered iterator (of a reducer that is not commutative)
      4. different iterations touch different parts of every buffer that outlives an iteration and that several blocks
         below use

    rewrite (by lowering):
      for i in n:                    for i in n:
        for j in 8:            ->      for j' in 8:
          C[i, j] = A[i] * B[j]          let j = select(i % 2 == 0, j', 7 - j')
                                         C[i, j] = A[i] * B[j]
    """
    node, around = s.loop_node(loop), s.loop_node(outer)
    others = tuple(pair for pair in node.annotations if pair[0] != SERPENTINE)
    s.replace(node, node.replace(annotations=(*others, (SERPENTINE, around.var.name))))


@primitive
def annotate(s: Schedule, loop_or_block: LoopLike | BlockLike, key: str, value: bool | int | float | str) -> None:
    """Attach `key: value` to a loop or a block, for a pass or a tool to read; an old value of `key` is replaced.

    >>> s.annotate("C.i", "why", "rows are independent")
    >>> s.loop("C.i").annotations
    {'why': 'rows are independent'}

    requires:
      1. the name is that of one loop or one block, not of both
      2. `key` is a string, `value` a bool, int, float or string

    rewrite:
      for i in n:              ->    for i in n:  # key: value
    """
    node = checks.loop_or_block(s, loop_or_block)
    checks.plain_annotation(s, key, value)
    others = tuple(pair for pair in node.annotations if pair[0] != key)
    s.replace(node, node.replace(annotations=(*others, (key, value))))
