"""Proofs of conditions: proved, refuted, or what remains to be shown."""

from __future__ import annotations

from tensorlang.arith.context import EMPTY, Context
from tensorlang.arith.simplify import simplify, surely
from tensorlang.ir.nodes import Expr


def prove(cond: Expr, ctx: Context = EMPTY) -> Expr:
    """TRUE if `cond` holds for all values in context, FALSE if for none, else an equivalent simpler condition."""
    return simplify(cond, ctx)


def proves(cond: Expr, ctx: Context = EMPTY) -> bool:
    """True only if `cond` holds for all values in context; False says nothing."""
    return surely(cond, ctx)
