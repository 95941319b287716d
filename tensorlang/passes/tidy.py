"""tidy: index arithmetic in normal form, conditions that are known decided, loops of one or no iteration gone.

for i0 in 4: for z in 1: if i0 * 8 + z < 32: A[i0 * 8 + z] = ...   ->   for i0 in 4: A[i0 * 8] = ...

Loops of launch nests stay, whatever their extents.
"""

from __future__ import annotations

from tensorlang.arith.context import EMPTY, Context
from tensorlang.arith.simplify import simplify
from tensorlang.ir import ops, walk
from tensorlang.ir.nodes import (
    FALSE,
    NOTHING,
    TRUE,
    ZERO,
    Alloc,
    Const,
    For,
    Func,
    If,
    LetStmt,
    Seq,
    Stmt,
    seq,
    unit_of,
)
from tensorlang.target.target import Target


def tidy(func: Func, target: Target) -> Func:
    """Simplify everything under what the loops and conditions around it say. Needs lower_blocks before it."""
    return func.with_body(tidied(func.body, EMPTY))


def tidied(stmt: Stmt, ctx: Context) -> Stmt:
    """`stmt` simplified where the facts of `ctx` hold; the same object if nothing changes."""
    if isinstance(stmt, Seq):
        parts = [tidied(s, ctx) for s in stmt.stmts]
        return stmt if all(a is b for a, b in zip(parts, stmt.stmts, strict=True)) else seq(*parts)
    if isinstance(stmt, For):
        return _for(stmt, ctx)
    if isinstance(stmt, If):
        cond = simplify(stmt.cond, ctx)
        if cond is TRUE:
            return tidied(stmt.then, ctx)
        if cond is FALSE:
            return tidied(stmt.orelse, ctx) if stmt.orelse is not None else NOTHING
        then = tidied(stmt.then, ctx.assume(cond))
        orelse = tidied(stmt.orelse, ctx.assume(ops.make("not", cond))) if stmt.orelse is not None else None
        return NOTHING if then is NOTHING and orelse in (None, NOTHING) else _kept(stmt, If(cond, then, orelse))
    if isinstance(stmt, LetStmt):
        return _kept(stmt, LetStmt(stmt.var, simplify(stmt.value, ctx), tidied(stmt.body, ctx)))
    if isinstance(stmt, Alloc):
        body = tidied(stmt.body, ctx)
        return NOTHING if body is NOTHING else _kept(stmt, stmt.replace(body=body))
    return walk.map_children(stmt, lambda n: tidied(n, ctx) if isinstance(n, Stmt) else simplify(n, ctx))


def _for(stmt: For, ctx: Context) -> Stmt:
    extent = simplify(stmt.extent, ctx)
    if isinstance(extent, Const) and extent.value <= 1 and not unit_of(stmt.kind):
        return tidied(walk.substitute(stmt.body, {stmt.var: ZERO}), ctx) if extent.value == 1 else NOTHING
    body = tidied(stmt.body, ctx.bind(stmt.var, extent))
    return NOTHING if body is NOTHING else _kept(stmt, For(stmt.var, extent, stmt.kind, body, stmt.annotations))


def _kept(before: Stmt, after: Stmt) -> Stmt:
    """`before` if `after` holds the same parts."""
    return before if all(getattr(before, f) is getattr(after, f) for f in before.fields) else after
