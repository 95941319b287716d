"""Primitives that say how a loop runs: parallel, vectorize, unroll; and annotate."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tensorlang.ir.nodes import PARALLEL, UNROLL, VECTORIZE
from tensorlang.schedule import checks
from tensorlang.schedule.handles import BlockLike, LoopLike
from tensorlang.schedule.primitive import primitive

if TYPE_CHECKING:
    from tensorlang.schedule.schedule import Schedule


@primitive
def parallel(s: Schedule, loop: LoopLike) -> None:
    """Run the iterations of a loop on several threads.

    requires (2 to 4 for as long as the loop lives: every later step is held to them):
      1. the loop is serial
      2. it drives spatial iterators only, and different iterations run different instances of every block below
         that writes a buffer which outlives an iteration
      3. different iterations touch different parts of every such buffer that several blocks below use
      4. it is not inside a parallel or vectorize loop

    rewrite:
      for i in n:              ->    parallel i in n:
    """
    _mark(s, loop, PARALLEL)


@primitive
def vectorize(s: Schedule, loop: LoopLike) -> None:
    """Run the iterations of a loop as the lanes of vectors.

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

    requires:
      1. the loop is serial and its extent is a constant, or depends on knobs only

    rewrite:
      for i in 8:              ->    unroll i in 8:
    """
    checks.extent_is_fixed(s, s.loop_node(loop), UNROLL)
    _mark(s, loop, UNROLL)


def _mark(s: Schedule, loop: LoopLike, kind: str) -> None:
    """Give a serial loop its kind. Whether it may run so is checked where every step ends: dependence.kinds_hold."""
    node = s.loop_node(loop)
    checks.is_serial(s, node)
    s.replace(node, node.replace(kind=kind))


@primitive
def annotate(s: Schedule, loop_or_block: LoopLike | BlockLike, key: str, value: bool | int | float | str) -> None:
    """Attach `key: value` to a loop or a block, for a pass or a tool to read; an old value of `key` is replaced.

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
