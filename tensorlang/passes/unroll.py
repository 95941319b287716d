"""unroll: loops marked so become copies of their body, one for each iteration.

    for i in 3 unrolled: C[i] = A[i]   ->   C[0] = A[0]; C[1] = A[1]; C[2] = A[2]

A loop whose extent is not constant, or whose copies would be too much code, becomes a serial loop. In a copy, loops
inside may turn out to run nothing: they vanish.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tensorlang.ir import walk
from tensorlang.ir.nodes import NOTHING, SERIAL, UNROLL, Const, Do, Expr, For, Func, Seq, Stmt, Var, const, seq
from tensorlang.passes.tools import stores
from tensorlang.target.target import Target

_MOST_STORES = 1024  # that one unrolled loop may hold
Values = Mapping[Var, Expr]


def unroll(func: Func, target: Target) -> Func:
    """No loop of kind unroll remains. Run tidy before it, so that extents are constants where they can be."""
    return func.with_body(_Unrolling().stmt(func.body, {}))


class _Unrolling:
    """Makes copies. Those in which the variables of an expression have the same values share what it becomes."""

    def __init__(self) -> None:
        self.done: dict[tuple[Any, ...], Expr] = {}

    def stmt(self, stmt: Stmt, values: Values) -> Stmt:
        """`stmt` with `values` for the variables of the unrolled loops around it.

        Outer loops first: the extents of inner loops may depend on them.
        """
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

    def copies(self, loop: For, count: int, values: Values) -> Stmt | None:
        """The body of `loop` for each iteration, unless that is too much code, or their number is not known (0)."""
        if not count or count * stores(loop.body) > _MOST_STORES:
            return None
        copies = [self.stmt(loop.body, {**values, loop.var: const(n)}) for n in range(count)]
        return seq(*copies) if sum(map(stores, copies)) <= _MOST_STORES else None

    def expr(self, expr: Expr, values: Values) -> Expr:
        """`expr` with `values` for its variables."""
        used = walk.free_vars(expr)
        key = (expr, *[item for item in values.items() if item[0] in used])
        if len(key) == 1:
            return expr
        found = self.done.get(key)
        if found is None:
            if isinstance(expr, Var):
                return values[expr]
            found = walk.rebuild(walk.map_children(expr, lambda e: self.expr(e, values)), expr)
            self.done[key] = found
        return found
