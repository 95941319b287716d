"""compact: a buffer that lives inside loops shrinks to the box that one iteration writes.

    for i0 in 8:                                   for i0 in 8:
      alloc P: f32[64]                               alloc P: f32[8]
      for i1 in 8: P[i0 * 8 + i1] = ...       ->     for i1 in 8: P[i1] = ...
      for i1 in 8: ... = P[i0 * 8 + i1]              for i1 in 8: ... = P[i1]

Schedules move Allocs, and leave shapes and indices alone, so that a block can be moved again and layouts speak of
whole tensors.
"""

from __future__ import annotations

from typing import Any

from tensorlang.arith.context import EMPTY, Context
from tensorlang.arith.footprint import written_box
from tensorlang.arith.prove import proves
from tensorlang.arith.regions import Region
from tensorlang.arith.simplify import negation, simplify
from tensorlang.ir.nodes import ZERO, Alloc, Buffer, Expr, For, Func, If, Load, Stmt, Store
from tensorlang.ir.ops import make
from tensorlang.ir.walk import loads_nothing, map_children, transform
from tensorlang.passes.fold import folded
from tensorlang.target.target import Target


def compact(func: Func, target: Target) -> Func:
    """Every Alloc inside loops is as small as what is written into it allows."""
    return compacted(func)


def compacted(func: Func, ctx: Context = EMPTY) -> Func:
    """The same at any level above flat, also with open knobs, of which `ctx` holds what is known.

    Extents of the buffers do not depend on loop variables.
    """

    func = folded(func, ctx)

    def go(node: Any, outer: tuple[For, ...], ctx: Context) -> Any:
        if isinstance(node, Expr):
            return node
        if isinstance(node, If):
            then = go(node.then, outer, ctx.assume(node.cond))
            orelse = None if node.orelse is None else go(node.orelse, outer, ctx.assume(negation(node.cond)))
            return node if then is node.then and orelse is node.orelse else If(node.cond, then, orelse)
        if isinstance(node, Alloc) and outer:
            return _shrunk(node.replace(body=go(node.body, outer, ctx)), outer, ctx)
        inside = (*outer, node) if isinstance(node, For) else outer
        return map_children(node, lambda child: go(child, inside, ctx))

    return func.with_body(go(func.body, (), ctx))


def _shrunk(alloc: Alloc, outer: tuple[For, ...], ctx: Context) -> Stmt:
    """`alloc`, which stands inside the loops `outer`, for the box that its body writes."""
    buffer = alloc.buffer
    box = written_box(alloc.body, buffer, outer, ctx)
    if box is None or all(m is ZERO and e is d for m, e, d in zip(box.mins, box.extents, buffer.shape, strict=True)):
        return alloc
    for loop in outer:
        ctx = ctx.bind(loop.var, loop.extent)
    # the box of a loop that runs nothing may have an extent below 0
    extents = tuple(e if proves(e >= ZERO, ctx) else simplify(make("max", e, ZERO), ctx) for e in box.extents)
    small = Buffer(buffer.name, extents, buffer.dtype, buffer.scope)
    return alloc.replace(buffer=small, body=rebased(alloc.body, small, box, ctx))


def rebased(stmt: Stmt, small: Buffer, box: Region, ctx: Context, leading: tuple[Expr, ...] = ()) -> Stmt:
    """`stmt` with the accesses to the buffer of `box` going to `small`, which starts at the mins of `box`.

    leading: subscripts of further dimensions of `small`, the first ones.
    """

    def go(node: Any, ctx: Context) -> Any:
        if isinstance(node, Expr):
            return transform(node, lambda n: place(n, ctx), loads_nothing)
        inside = ctx.bind(node.var, node.extent) if isinstance(node, For) else ctx
        return place(map_children(node, lambda child: go(child, inside)), ctx)

    def place(node: Any, ctx: Context) -> Any:
        if not isinstance(node, Load | Store) or node.buffer is not box.buffer:
            return node
        own = tuple(simplify(i - m, ctx) for i, m in zip(node.indices, box.mins, strict=True))
        indices = (*leading, *own)
        if isinstance(node, Load):
            return Load(small, indices, node.mask)
        return node.replace(buffer=small, indices=indices)

    return go(stmt, ctx)
