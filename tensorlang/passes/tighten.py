"""tighten: guards move out of loops that they do not depend on, and become shorter extents of the loop they bound.

    for i0 in 9: for k in 64: for i1 in 12: if i0 * 12 + i1 < 100: S
    ->
    for i0 in 9: for k in 64: for i1 in min(12, 100 - i0 * 12): S

A serial or parallel loop is shortened, too, where its body could not do anything: that is what `needs` finds out.
Unrolled and vectorized loops keep constant extents as far as possible: their tails are masked. Where threads take the
place of vectors, unrolled loops keep their guards, so that what they index stays in registers.
"""

from __future__ import annotations

from tensorlang.arith.affine import linear
from tensorlang.arith.simplify import simplify
from tensorlang.ir import ops, walk
from tensorlang.ir.nodes import (
    ONE,
    PARALLEL,
    SERIAL,
    UNROLL,
    ZERO,
    Alloc,
    Const,
    Expr,
    For,
    Func,
    If,
    LetStmt,
    Op,
    Seq,
    Stmt,
    Var,
    seq,
    unit_of,
)
from tensorlang.ir.walk import has_load
from tensorlang.passes.tools import map_stmts
from tensorlang.target.target import Target


def tighten(func: Func, target: Target) -> Func:
    """Guards that bound a loop variable from above become its extent."""
    return func.with_body(_tightened(func.body, keep_unrolled=target.simt))


def _tightened(stmt: Stmt, keep_unrolled: bool) -> Stmt:
    if not isinstance(stmt, For):
        return map_stmts(stmt, lambda n: _tightened(n, keep_unrolled))
    guards, body = _peel(_tightened(stmt.body, keep_unrolled))
    if unit_of(stmt.kind):  # of a launch nest, which is a box
        return stmt.replace(body=_guarded(guards, body))
    bounds = [stmt.extent]
    outside, inside = [], []
    for guard in guards:
        bound = _upper_bound(guard, stmt.var)
        if stmt.var not in walk.free_vars(guard):
            outside.append(guard)
        elif bound is not None and not (keep_unrolled and stmt.kind == UNROLL):
            bounds.append(bound)
        else:
            inside.append(guard)
    for need in needs(body) if stmt.kind in (SERIAL, PARALLEL) else ():
        bound = _upper_bound(ops.make("ge", need, ONE), stmt.var)
        if bound is not None:
            bounds.append(bound)
    extent = bounds[0]
    for bound in bounds[1:]:
        extent = ops.make("min", extent, bound)
    loop: Stmt = stmt.replace(extent=extent, body=_guarded(inside, body))
    return _guarded(outside, loop)


def _guarded(guards: list[Expr], body: Stmt) -> Stmt:
    return If(ops.all_of(guards), body) if guards else body


def _peel(stmt: Stmt) -> tuple[list[Expr], Stmt]:
    """The guards under which `stmt` does anything at all, and `stmt` without them."""
    if isinstance(stmt, If) and stmt.orelse is None and not has_load(stmt.cond):
        inner, body = _peel(stmt.then)
        return [*ops.conjuncts(stmt.cond), *inner], body
    if isinstance(stmt, Alloc):
        guards, body = _peel(stmt.body)
        return guards, stmt.replace(body=body)
    if isinstance(stmt, LetStmt):
        guards, body = _peel(stmt.body)
        inside = [g for g in guards if stmt.var in walk.free_vars(g)]
        return [g for g in guards if stmt.var not in walk.free_vars(g)], stmt.replace(body=_guarded(inside, body))
    if isinstance(stmt, Seq) and stmt.stmts:
        parts = [_peel(s) for s in stmt.stmts]
        common = [g for g in parts[0][0] if all(any(g is h for h in guards) for guards, _ in parts)]
        rest = [_guarded([g for g in gs if not any(g is c for c in common)], body) for gs, body in parts]
        return common, seq(*rest)
    return [], stmt


def _upper_bound(guard: Expr, var: Var) -> Expr | None:
    """`guard` as var < bound, or None."""
    if not (isinstance(guard, Op) and guard.op in ("lt", "le", "gt", "ge") and guard.args[0].dtype == "index"):
        return None
    a, b = guard.args if guard.op in ("lt", "le") else reversed(guard.args)
    room = b - a - (ONE if guard.op in ("lt", "gt") else ZERO)  # >= 0 if the guard holds
    parts = linear(room, (var,))
    if parts is None:
        return None
    slope, rest = parts[0].get(var, ZERO), parts[1]
    if not (isinstance(slope, Const) and slope.value < 0):
        return None
    return simplify((rest - slope) // (-slope))  # slope * var + rest >= 0


def needs(stmt: Stmt) -> tuple[Expr, ...]:
    """Index expressions of outside variables that are all >= 1 unless `stmt` does nothing."""
    if isinstance(stmt, For):
        found = [part for part in minimum(stmt.extent) if not isinstance(part, Const) or part.value < 1]
        for need in needs(stmt.body):
            parts = linear(need, (stmt.var,))
            if parts is not None and isinstance(s := parts[0].get(stmt.var, ZERO), Const) and s.value <= 0:
                found.append(parts[1])  # largest where the variable is 0
        return tuple(dict.fromkeys(map(simplify, found)))
    if isinstance(stmt, Seq) and stmt.stmts:
        each = [set(needs(s)) for s in stmt.stmts]
        return tuple(e for e in needs(stmt.stmts[0]) if all(e in others for others in each))
    if isinstance(stmt, If) and stmt.orelse is None:
        return needs(stmt.then)
    if isinstance(stmt, Alloc):
        return needs(stmt.body)
    return ()


def minimum(expr: Expr) -> tuple[Expr, ...]:
    """The expressions whose minimum `expr` is."""
    if isinstance(expr, Op) and expr.op == "min":
        return tuple(part for arg in expr.args for part in minimum(arg))
    return (expr,)
