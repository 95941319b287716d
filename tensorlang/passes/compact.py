"""compact: a buffer that lives inside loops shrinks to the box that one iteration writes.

    for i0 in 8:                                   for i0 in 8:
      alloc P: f32[64]                               alloc P: f32[8]
      for i1 in 8: P[i0 * 8 + i1] = ...       ->     for i1 in 8: P[i0 * 8 + i1 - i0 * 8] = ...
      for i1 in 8: ... = P[i0 * 8 + i1]              for i1 in 8: ... = P[i0 * 8 + i1 - i0 * 8]

Schedules move Allocs, and leave shapes and indices alone, so that a block can be moved again and layouts speak of
whole tensors.
"""

from __future__ import annotations

from typing import Any

from tensorlang.arith.context import EMPTY, Context
from tensorlang.arith.footprint import written_box
from tensorlang.arith.regions import Region
from tensorlang.arith.simplify import simplify
from tensorlang.ir.nodes import ZERO, Alloc, Buffer, Expr, For, Func, Load, Node, Stmt, Store
from tensorlang.ir.walk import map_children


def compact(func: Func, ctx: Context = EMPTY) -> Func:
    """`func` with every Alloc inside loops as small as the elements that are written allow; same results.

    Works at the loop level, also with open knobs (`ctx` holds what is known of them), and after lower_blocks.
    """

    def go(node: Node, outer: tuple[For, ...]) -> Node:
        if isinstance(node, Expr):
            return node
        if isinstance(node, Alloc) and outer:
            return _shrink(node.replace(body=go(node.body, outer)), outer, ctx)
        inside = (*outer, node) if isinstance(node, For) else outer
        return map_children(node, lambda child: go(child, inside))

    return func.with_body(go(func.body, ()))  # type: ignore[arg-type]


def _shrink(alloc: Alloc, outer: tuple[For, ...], ctx: Context) -> Stmt:
    """`alloc`, which stands inside the loops `outer`, for the box that its body writes."""
    buffer = alloc.buffer
    box = written_box(alloc.body, buffer, outer, ctx)
    if box is None or all(m is ZERO and e is d for m, e, d in zip(box.mins, box.extents, buffer.shape, strict=True)):
        return alloc
    small = Buffer(buffer.name, box.extents, buffer.dtype, buffer.scope)
    return Alloc(small, _rebase(alloc.body, buffer, small, box))


def _rebase(body: Stmt, buffer: Buffer, small: Buffer, box: Region) -> Stmt:
    """`body` with the accesses to `buffer` going to `small`, which starts at the mins of `box`."""

    def go(node: Any) -> Any:
        node = map_children(node, go)
        if isinstance(node, Load | Store) and node.buffer is buffer:
            indices = tuple(simplify(i - m) for i, m in zip(node.indices, box.mins, strict=True))
            if isinstance(node, Load):
                return Load(small, indices, node.mask)
            return node.replace(buffer=small, indices=indices)
        return node

    return go(body)
