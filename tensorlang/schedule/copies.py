"""Copies of a part of the program, with names of their own, for the primitives that run a block in several parts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from tensorlang.ir.nodes import SERPENTINE, SPATIAL, Alloc, Block, Buffer, Expr, For, Iter, Stmt, Var
from tensorlang.ir.walk import find, map_children, replace_node, substitute
from tensorlang.schedule import checks

if TYPE_CHECKING:
    from tensorlang.schedule.schedule import Schedule


def duplicate(s: Schedule, stmt: Stmt, suffix: str) -> Stmt:
    """A copy of `stmt` whose loops, blocks and allocated buffers are new.

    Block `C` becomes `C.<suffix>`, its loop `C.j` becomes `C.<suffix>.j`, buffer `P` becomes `P.<suffix>`.
    """
    renamed = {b.name: s.fresh(f"{b.name}.{suffix}", "block") for b in checks.blocks_below(stmt)}

    def loop_name(name: str) -> str:
        owner = max((b for b in renamed if name.startswith(b + ".")), key=len, default=None)
        return f"{name}.{suffix}" if owner is None else renamed[owner] + name[len(owner) :]

    def go(node: Stmt, values: Mapping[Var, Expr], buffers: Mapping[Buffer, Buffer]) -> Stmt:
        if isinstance(node, For):
            var = Var(s.fresh(loop_name(node.var.name)))
            body = go(node.body, {**values, node.var: var}, buffers)
            return For(var, substitute(node.extent, values), node.kind, body, _turning(node, values))
        if isinstance(node, Alloc):
            old = node.buffer
            shape = tuple(substitute(dim, values) for dim in old.shape)
            fresh = Buffer(s.fresh(f"{old.name}.{suffix}", "buffer"), shape, old.dtype, old.scope)
            return Alloc(fresh, go(node.body, values, {**buffers, old: fresh}), node.annotations)
        if isinstance(node, Block):
            return _block(node, renamed[node.name], values, buffers)
        return map_children(
            node, lambda n: go(n, values, buffers) if isinstance(n, Stmt) else substitute(n, values, buffers)
        )

    return go(stmt, {}, {})


def _turning(loop: For, values: Mapping[Var, Expr]) -> tuple:
    """The annotations of `loop` in a copy: it turns by the copy of the loop that it turned by."""
    names = {old.name: new.name for old, new in values.items() if isinstance(new, Var)}
    return tuple((key, names.get(value, value) if key == SERPENTINE else value) for key, value in loop.annotations)


def _block(block: Block, name: str, values: Mapping[Var, Expr], buffers: Mapping[Buffer, Buffer]) -> Block:
    """`block` under another name, with iterators of its own."""
    own: dict[Var, Expr] = {it.var: Var(it.var.name) for it in block.iters}
    return block.replace(
        name=name,
        iters=tuple(Iter(own[it.var], it.extent, it.kind) for it in block.iters),  # type: ignore[arg-type]
        bindings=tuple(substitute(b, values) for b in block.bindings),
        predicate=substitute(block.predicate, values),
        init=None if block.init is None else substitute(block.init, own, buffers),
        body=substitute(block.body, own, buffers),
    )


def continued(body: Stmt, loop: For) -> Stmt:
    """`body`, that of `loop`, for iterations after the first ones: reductions over `loop` have had their init."""
    going_on = list(find(body, Block, lambda b: b.init is not None and bool(checks.driven(loop, b) - {SPATIAL})))
    for block in going_on:
        body = replace_node(body, block, block.replace(init=None))
    return body
