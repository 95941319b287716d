"""fold: a buffer that rolling_buffer has marked keeps only the window that a loop slides over it.

    alloc H: f32[8, 7]  # fold = 0                   alloc H: f32[3, 7]
    for i in 6:                                      for i in 6:
      for r in 3:                              ->      for r in 3:
        if i == 0 or r >= 2: H[i + r, j] = ...           if i == 0 or r >= 2: H[(i + r) % 3, j] = ...
      ... = H[i, j] + H[i + 1, j] + H[i + 2, j]        ... = H[i % 3, j] + H[(i + 1) % 3, j] + H[(i + 2) % 3, j]

All that an iteration touches is in a window of one extent, which moves in one direction only: two elements that share
a place are never needed at the same time. Where that is not proved, the buffer stays as it is.
"""

from __future__ import annotations

from typing import Any

from tensorlang.arith.context import EMPTY, Context
from tensorlang.arith.footprint import bind_all, written_box
from tensorlang.arith.prove import proves
from tensorlang.arith.simplify import simplify
from tensorlang.ir.nodes import SERIAL, UNROLL, Alloc, Buffer, Expr, For, Func, Load, Node, Seq, Stmt, Store
from tensorlang.ir.walk import find, map_children, substitute, transform
from tensorlang.passes.tools import uses

NOTE = "fold"


def folded(func: Func, ctx: Context = EMPTY) -> Func:
    """`func`, at any level above flat and without blocks, with marked buffers as small as their windows.

    ctx: what is known of open knobs.
    """
    if not any(key == NOTE for alloc in find(func.body, Alloc) for key, _ in alloc.annotations):
        return func

    def go(node: Any, outer: tuple[For, ...]) -> Any:
        if isinstance(node, Expr):
            return node
        inside = (*outer, node) if isinstance(node, For) else outer
        node = map_children(node, lambda child: go(child, inside))
        axis = dict(node.annotations).get(NOTE) if isinstance(node, Alloc) else None
        return node if axis is None else _circular(node, axis, outer, ctx)

    return func.with_body(go(func.body, ()))


def _circular(alloc: Alloc, axis: int, outer: tuple[For, ...], ctx: Context) -> Alloc:
    """`alloc`, inside the loops `outer`, with `axis` of its buffer cut to the window of the loop that slides it."""
    loop = _sliding(alloc)
    size = None if loop is None else _window(alloc.buffer, axis, loop, outer, ctx)
    if size is None:
        return alloc
    old = alloc.buffer
    shape = tuple(size if n == axis else dim for n, dim in enumerate(old.shape))
    new = Buffer(old.name, shape, old.dtype, old.scope)

    def place(node: Node) -> Node:
        if not isinstance(node, Load | Store) or node.buffer is not old:
            return node
        indices = tuple(i % size if n == axis else i for n, i in enumerate(node.indices))
        return Load(new, indices, node.mask) if isinstance(node, Load) else node.replace(buffer=new, indices=indices)

    return alloc.replace(buffer=new, body=transform(alloc.body, place))


def _sliding(alloc: Alloc) -> For | None:
    """The loop that runs in order, inside no other in `alloc`, and holds all uses of its buffer; None if none does."""
    stmt: Stmt = alloc.body
    while not isinstance(stmt, For):
        parts = stmt.stmts if isinstance(stmt, Seq) else (stmt.body,) if isinstance(stmt, Alloc) else ()
        using = [part for part in parts if uses(part, alloc.buffer)]
        if len(using) != 1:
            return None
        stmt = using[0]
    return stmt if stmt.kind in (SERIAL, UNROLL) else None


def _window(buffer: Buffer, axis: int, loop: For, outer: tuple[For, ...], ctx: Context) -> Expr | None:
    """The extent along `axis` of what one iteration of `loop` touches, if that moves up only and is a part."""
    box = written_box(loop.body, buffer, (*outer, loop), ctx)
    if box is None:
        return None
    low, size = box.mins[axis], box.extents[axis]
    around = bind_all(ctx, (*outer, loop))
    rises = proves(substitute(low, {loop.var: loop.var + 1}) >= low, around)
    less = not proves(size >= buffer.shape[axis], around) and proves(size >= 1, around)
    return simplify(size, ctx) if rises and less else None
