"""What several passes need to say about expressions and statements."""

from __future__ import annotations

from collections.abc import Callable

from tensorlang.ir import walk
from tensorlang.ir.nodes import ZERO, Buffer, Const, Expr, For, Node, Op, Ramp, Seq, Splat, Stmt, Store, Var, seq


def map_stmts(stmt: Stmt, fold: Callable[[Stmt], Stmt]) -> Stmt:
    """`stmt` with each direct child statement replaced by `fold(child)`; sequences stay flat."""
    if isinstance(stmt, Store):
        return stmt
    changed = walk.map_children(stmt, lambda n: fold(n) if isinstance(n, Stmt) else n)
    return seq(*changed.stmts) if isinstance(changed, Seq) and changed is not stmt else changed


def stores(node: Node) -> int:
    """How many Store statements `node` holds: the measure of code size."""
    return 1 if isinstance(node, Store) else len(walk.statements(node, Store))


def uses(stmt: Stmt, buffer: Buffer) -> bool:
    """Whether `stmt` reads or writes `buffer`."""
    return buffer in walk.touched(stmt)


def loops_in(node: Node) -> list[For]:
    """The loops below `node`, outermost first."""
    return list(walk.statements(node, For))


def nonnegative(expr: Expr) -> bool:
    """Whether an index expression is obviously >= 0, loop variables and sizes being so."""
    if isinstance(expr, Const):
        return expr.value >= 0
    if isinstance(expr, Var):
        return True
    if isinstance(expr, Ramp):
        return nonnegative(expr.base) and nonnegative(expr.stride)
    if isinstance(expr, Splat):
        return nonnegative(expr.value)
    if isinstance(expr, Op) and expr.op == "mod":
        return True
    if isinstance(expr, Op) and expr.op in ("add", "mul", "floordiv", "min"):
        return all(map(nonnegative, expr.args))
    return isinstance(expr, Op) and expr.op == "max" and any(map(nonnegative, expr.args))


def add_const(expr: Expr) -> tuple[Expr, int]:
    """An index expression as a sum: (what is left, its constant term)."""
    if isinstance(expr, Const):
        return ZERO, int(expr.value)
    if isinstance(expr, Op) and expr.op == "add":
        (a, m), (b, n) = map(add_const, expr.args)
        return (a + b, m + n) if m or n else (expr, 0)
    if isinstance(expr, Op) and expr.op == "sub":
        (a, m), (b, n) = map(add_const, expr.args)
        return (a - b, m - n) if m or n else (expr, 0)
    if isinstance(expr, Op) and expr.op == "mul" and isinstance(expr.args[1], Const):
        a, m = add_const(expr.args[0])
        return (a * expr.args[1], m * int(expr.args[1].value)) if m else (expr, 0)
    return expr, 0
