"""unroll: loops marked so become copies of their body, one for each iteration.

    for i in 3 unrolled: C[i] = A[i]   ->   C[0] = A[0]; C[1] = A[1]; C[2] = A[2]

A loop whose extent is not constant, or whose copies would be too much code, becomes a serial loop. In a copy, loops
inside may turn out to run nothing: they vanish.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tensorlang.ir import walk
from tensorlang.ir.nodes import (
    NOTHING,
    SERIAL,
    UNROLL,
    Const,
    Do,
    Expr,
    For,
    Func,
    Load,
    Seq,
    Stmt,
    Store,
    Var,
    const,
    seq,
)
from tensorlang.passes.tools import stores
from tensorlang.target.target import Target

_MOST_STORES = 1024  # that one unrolled loop may hold
Values = Mapping[Var, Expr]


def unroll(func: Func, target: Target) -> Func:
    """No loop of kind unroll remains. Run tidy before it, so that extents are constants where they can be."""
    unrolled = frozenset(loop.var for loop in walk.find(func.body, For) if loop.kind == UNROLL)
    return func.with_body(_Unrolling(unrolled).stmt(func.body, {}))


class _Unrolling:
    """Makes copies. Those in which the variables of an expression have the same values share what it becomes."""

    def __init__(self, unrolled: frozenset[Var]) -> None:
        self.unrolled = unrolled
        self.used: dict[Any, tuple[Var, ...]] = {}  # the variables of unrolled loops in an expression
        self.done: dict[tuple[Any, ...], Any] = {}

    def stmt(self, stmt: Stmt, values: Values) -> Stmt:
        """`stmt` with `values` for the variables of the unrolled loops around it.

        Outer loops first: the extents of inner loops may depend on them.
        """
        if isinstance(stmt, Store):
            return self.store(stmt, values)
        if isinstance(stmt, Do):  # what its body says must stay what its code does
            plain = walk.transform(stmt, lambda n: n.replace(kind=SERIAL) if isinstance(n, For) else n)
            return walk.substitute(plain, values)
        if isinstance(stmt, For):
            extent = self.expr(stmt.extent, values)
            count = int(extent.value) if isinstance(extent, Const) else None
            if count is not None and count <= 0:
                return NOTHING
            if stmt.kind == UNROLL:
                return self.copies(stmt, count or 0, values) or self.stmt(stmt.replace(kind=SERIAL), values)
        changed = walk.map_children(
            stmt, lambda n: self.stmt(n, values) if isinstance(n, Stmt) else self.expr(n, values)
        )
        return seq(*changed.stmts) if isinstance(changed, Seq) and changed is not stmt else changed

    def store(self, stmt: Store, values: Values) -> Store:
        indices, value = self.exprs(stmt.indices, values), self.expr(stmt.value, values)
        mask = None if stmt.mask is None else self.expr(stmt.mask, values)
        same = indices is stmt.indices and value is stmt.value and mask is stmt.mask
        return stmt if same else Store(stmt.buffer, indices, value, mask)

    def copies(self, loop: For, count: int, values: Values) -> Stmt | None:
        """The body of `loop` for each iteration, unless that is too much code, or their number is not known (0)."""
        if not count or count * stores(loop.body) > _MOST_STORES:
            return None
        copies = [self.stmt(loop.body, {**values, loop.var: const(n)}) for n in range(count)]
        return seq(*copies) if sum(map(stores, copies)) <= _MOST_STORES else None

    def expr(self, expr: Expr, values: Values) -> Expr:
        """`expr` with `values` for its variables."""
        used = self.used.get(expr)
        if used is None:
            used = self.used[expr] = tuple(walk.free_vars(expr) & self.unrolled)
        if not used:
            return expr
        key = (expr, *[values.get(v) for v in used])
        found = self.done.get(key)
        if found is None:
            found = self.done[key] = self.changed(expr, values)
        return found

    def exprs(self, exprs: tuple[Expr, ...], values: Values) -> tuple[Expr, ...]:
        """The same of several expressions."""
        used = self.used.get(exprs)
        if used is None:
            used = self.used[exprs] = tuple(self.unrolled.intersection(v for e in exprs for v in walk.free_vars(e)))
        if not used:
            return exprs
        key = (exprs, *[values.get(v) for v in used])
        found = self.done.get(key)
        if found is None:
            found = self.done[key] = tuple([self.expr(e, values) for e in exprs])
        return found

    def changed(self, expr: Expr, values: Values) -> Expr:
        if isinstance(expr, Var):
            return values.get(expr, expr)
        if isinstance(expr, Load):
            mask = None if expr.mask is None else self.expr(expr.mask, values)
            return Load(expr.buffer, self.exprs(expr.indices, values), mask)
        return walk.map_operands(expr, lambda e: self.expr(e, values))
