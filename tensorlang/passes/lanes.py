"""A statement for several values of a loop variable at once: the rewriting that vectorize is made of."""

from __future__ import annotations

from tensorlang.arith.affine import linear
from tensorlang.arith.simplify import simplify
from tensorlang.ir import ops, walk
from tensorlang.ir.launch import ASYNC_COPY, CACHE_HINTS
from tensorlang.ir.nodes import (
    ONE,
    ZERO,
    Do,
    Expr,
    For,
    If,
    Let,
    LetStmt,
    Load,
    Op,
    Ramp,
    Seq,
    Splat,
    Stmt,
    Store,
    Var,
    seq,
)
from tensorlang.ir.walk import has_load


class NoVectorForm(Exception):
    """The statement cannot be run for several values at once."""


class Vectorizer:
    """Rewrites for var = start, start + 1, ... start + lanes - 1.

    Where a condition that differs between lanes guards a load, perhaps no lane takes it, so that even a load that all
    lanes share needs a mask there: `lazy` says that this is such a place.
    """

    def __init__(self, var: Var, start: Expr, lanes: int):
        self.var, self.start, self.lanes = var, start, lanes
        self.varying: dict[Var, Expr] = {var: Ramp(start, ONE, lanes)}  # what differs between lanes, as vectors
        self.lazy = False

    def varies(self, expr: Expr) -> bool:
        return (self.lazy and has_load(expr)) or not walk.free_vars(expr).isdisjoint(self.varying)

    # ---------------------------------------------------------------------------------------------- statements
    def stmt(self, stmt: Stmt, mask: Expr | None) -> Stmt:
        """`stmt` for all lanes, or for those in which `mask` holds, which are some."""
        if isinstance(stmt, Store) and all(i.lanes == 1 for i in stmt.indices):
            return self._store(stmt, mask)
        if isinstance(stmt, Do) and stmt.what in (ASYNC_COPY, *CACHE_HINTS) and stmt.body is not None:
            return stmt.replace(body=self.stmt(stmt.body, mask))
        if isinstance(stmt, Seq):
            return seq(*(self.stmt(s, mask) for s in stmt.stmts))
        if isinstance(stmt, For) and not self.varies(stmt.extent):
            return stmt.replace(body=self.stmt(stmt.body, mask))
        if isinstance(stmt, If):
            return self._if(stmt, mask)
        if isinstance(stmt, LetStmt):
            value = self.expr(stmt.value, mask)
            var = self._bind(stmt.var, value)
            return LetStmt(var, value, self.stmt(stmt.body, mask))
        raise NoVectorForm

    def _if(self, stmt: If, mask: Expr | None) -> Stmt:
        if not self.varies(stmt.cond):
            orelse = None if stmt.orelse is None else self.stmt(stmt.orelse, mask)
            return If(stmt.cond, self.stmt(stmt.then, mask), orelse)
        cond = self.expr(stmt.cond, mask)
        outer, self.lazy = self.lazy, True
        parts = [self.stmt(stmt.then, _both(mask, cond))]
        if stmt.orelse is not None:
            parts.append(self.stmt(stmt.orelse, _both(mask, ops.make("not", cond))))
        self.lazy = outer
        return seq(*parts)

    def _bind(self, var: Var, value: Expr) -> Var:
        """The variable for `value`: a vector if that is one."""
        if value.lanes == 1:
            return var
        wide = Var(var.name, var.dtype, value.lanes)
        self.varying[var] = wide
        return wide

    def _store(self, stmt: Store, mask: Expr | None) -> Stmt:
        if not any(map(self.varies, stmt.indices)):
            raise NoVectorForm
        value = self.expr(stmt.value, mask)
        value = value if value.lanes > 1 else Splat(value, self.lanes)
        return Store(stmt.buffer, tuple(self.index(i, mask) for i in stmt.indices), value, mask)

    # --------------------------------------------------------------------------------------------- expressions
    def index(self, index: Expr, mask: Expr | None) -> Expr:
        """A subscript: a ramp where it is linear in the variable, so that neighbours are seen as such."""
        if not self.varies(index):
            return index
        if self.lazy or len(self.varying) > 1:
            return self._ramp(index, mask)
        key = ("ramp", self.var, self.start, self.lanes)  # all that the result depends on: unrolled copies share it
        found = index.memo.get(key)
        if found is None:
            found = self._ramp(index, mask)
            if isinstance(found, Ramp):
                index.memo[key] = found
        return found

    def _ramp(self, index: Expr, mask: Expr | None) -> Expr:
        parts = linear(index, (self.var,))
        if parts is None or self.varies(parts[1]) or any(map(self.varies, parts[0].values())):
            return self.expr(index, mask)
        slope = parts[0].get(self.var, ZERO)
        return Ramp(simplify(parts[1] + slope * self.start), slope, self.lanes)

    def expr(self, expr: Expr, mask: Expr | None) -> Expr:
        """The values of `expr`; a scalar where all lanes have the same."""
        if not self.varies(expr):
            return expr
        if isinstance(expr, Var):
            return self.varying[expr]
        if isinstance(expr, Load) and not expr.indices:
            return expr  # the one element there is: always in bounds
        if isinstance(expr, Load):
            indices = tuple(self.index(i, mask) for i in expr.indices)
            if all(i.lanes == 1 for i in indices):
                indices = (*indices[:-1], Ramp(indices[-1], ZERO, self.lanes))
            return Load(expr.buffer, indices, mask)
        if isinstance(expr, Let):
            value = self.expr(expr.value, mask)
            var = self._bind(expr.var, value)
            return Let(var, value, self.expr(expr.body, mask))
        if isinstance(expr, Op) and expr.op == "if_then_else" and self.varies(expr.args[0]):
            return self._either(expr.args[0], expr.args[1], expr.args[2], mask)
        if isinstance(expr, Op):
            args = [self.expr(a, mask) for a in expr.args]
            converts = expr.op in ("cast", "reinterpret")
            return Op(expr.op, tuple(args), expr.dtype) if converts else ops.make(expr.op, *args)
        raise NoVectorForm

    def _either(self, cond: Expr, then: Expr, orelse: Expr, mask: Expr | None) -> Expr:
        """if_then_else whose condition differs between lanes: both sides, each under its mask."""
        cond = self.expr(cond, mask)
        outer, self.lazy = self.lazy, True
        yes = self.expr(then, _both(mask, cond))
        no = self.expr(orelse, _both(mask, ops.make("not", cond)))
        self.lazy = outer
        return ops.make("select", cond, yes, no)


def _both(mask: Expr | None, cond: Expr) -> Expr:
    return cond if mask is None else ops.make("and", mask, cond)
