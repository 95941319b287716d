"""Subscripts as linear forms of the loops around a block, and how much of a dimension they span.

Coefficients may be open: they are products of constants and knobs. What is not linear in a loop spans its whole
dimension, so that a program gives one form for all values of its knobs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce

from tensorlang.arith import poly
from tensorlang.arith.bounds import bounds
from tensorlang.arith.context import Context
from tensorlang.arith.simplify import simplify
from tensorlang.ir import ops
from tensorlang.ir.nodes import ONE, Block, Expr, For, Load, Store, Var
from tensorlang.ir.walk import free_vars, substitute, visit


@dataclass(frozen=True)
class Subscript:
    """An index as sum of coefficient * loop variable + rest; `wild` are loops on which it depends in other ways."""

    coefficients: dict[Var, Expr]
    wild: frozenset[Var]
    rest: Expr


def subscripts(path: tuple[For, ...], block: Block) -> list[tuple[Load | Store, list[Subscript]]]:
    """Each load and store of a block with its subscripts in terms of the loops around it."""
    ctx, loops = Context(), [loop.var for loop in path]
    for loop in path:
        ctx = ctx.bind(loop.var, loop.extent)
    values = {it.var: binding for it, binding in zip(block.iters, block.bindings, strict=True)}
    nodes = [node for node in visit(block.body) if isinstance(node, Load | Store)]
    return [(n, [_subscript(simplify(substitute(i, values), ctx), loops) for i in n.indices]) for n in nodes]


def _subscript(index: Expr, loops: Sequence[Var]) -> Subscript:
    rest, coefficients = poly.poly(index), dict[Var, Expr]()
    used = free_vars(index)
    wild: set[Var] = set()
    for var in loops:
        parts = poly.split(rest, var) if var in used else ({}, rest)
        if parts is None:
            wild.add(var)
        elif parts[0]:
            coefficients[var], rest = poly.to_expr(parts[0]), parts[1]
    offset = poly.to_expr(rest)
    for expr in (offset, *coefficients.values()):
        wild.update(v for v in loops if v in free_vars(expr))
    kept = {v: c for v, c in coefficients.items() if v not in wild and not free_vars(c) & wild}
    return Subscript(kept, frozenset(wild), offset)


def largest_extents(path: tuple[For, ...]) -> dict[Var, Expr]:
    """The extent of each loop in terms of what is open in the whole Func: the largest, if it depends on other loops."""
    ctx, most = Context(), dict[Var, Expr]()
    for loop in path:
        depends = free_vars(loop.extent) & ctx.bound.keys()
        upper = bounds(loop.extent, ctx)[1] if depends else loop.extent
        most[loop.var] = loop.extent if upper is None else upper
        ctx = ctx.bind(loop.var, loop.extent)
    return most


def span(accesses: list[Subscript], size: Expr, inside: Sequence[For], most: Mapping[Var, Expr]) -> Expr:
    """How many elements of a dimension the accesses span while the loops `inside` run."""
    running = {loop.var for loop in inside}
    if any(s.wild & running for s in accesses):
        return size
    lengths: dict[Expr, None] = {}
    offsets: list[int] = []
    for s in accesses:
        length: Expr = ONE
        for var, coefficient in s.coefficients.items():
            if var in running:
                length = length + _magnitude(coefficient) * (most[var] - 1)
        lengths[length] = None
        apart = poly.poly(s.rest - accesses[0].rest)
        offsets.append(apart.get((), 0) if apart.keys() <= {()} else 0)
    longest = reduce(lambda a, b: ops.make("max", a, b), lengths)
    return ops.make("min", longest + (max(offsets) - min(offsets)), size)


def _magnitude(coefficient: Expr) -> Expr:
    """Its absolute value: coefficients are products of constants and knobs, which are positive."""
    terms = poly.poly(coefficient)
    return poly.to_expr(poly.scale(terms, -1)) if all(c < 0 for c in terms.values()) else coefficient
