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
    """An index as sum of coefficient * loop variable + rest; `wild` are loops on which it depends in other ways.

    reach: how many elements it spans over the whole domain of its block.
    """

    coefficients: dict[Var, Expr]
    wild: frozenset[Var]
    rest: Expr
    reach: Expr


def subscripts(path: tuple[For, ...], block: Block) -> list[tuple[Load | Store, list[Subscript]]]:
    """Each load and store of a block with its subscripts in terms of the loops around it."""
    ctx, loops = Context(), [loop.var for loop in path]
    for loop in path:
        ctx = ctx.bind(loop.var, loop.extent)
    ctx = ctx.assume(block.predicate)
    values = {it.var: binding for it, binding in zip(block.iters, block.bindings, strict=True)}
    domain = {it.var: it.extent for it in block.iters}

    def known(index: Expr, size: Expr) -> Subscript:
        whole = _linear(index, list(domain))
        reach = size if whole.wild else ops.make("min", _length(whole, domain), size)
        found = _linear(simplify(substitute(index, values), ctx), loops)
        return Subscript(found.coefficients, found.wild, found.rest, reach)

    nodes = [node for node in visit(block.body) if isinstance(node, Load | Store)]
    return [(n, [known(i, dim) for i, dim in zip(n.indices, n.buffer.shape, strict=True)]) for n in nodes]


def _linear(index: Expr, loops: Sequence[Var]) -> Subscript:
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
    return Subscript(kept, frozenset(wild), offset, ONE)


def largest_extents(path: tuple[For, ...]) -> dict[Var, Expr]:
    """The extent of each loop in terms of what is open in the whole Func: the largest, if it depends on other loops."""
    ctx, most = Context(), dict[Var, Expr]()
    for loop in path:
        depends = free_vars(loop.extent) & ctx.bound.keys()
        upper = bounds(loop.extent, ctx)[1] if depends else loop.extent
        most[loop.var] = loop.extent if upper is None else upper
        ctx = ctx.bind(loop.var, loop.extent)
    return most


def span(accesses: list[Subscript], inside: Sequence[For], most: Mapping[Var, Expr]) -> Expr:
    """How many elements of a dimension the accesses span while the loops `inside` run.

    most: the extent of each loop around the block. Accesses a constant apart count with what lies between them.
    """
    running = {loop.var: most[loop.var] for loop in inside}
    lengths: dict[Expr, None] = {}
    offsets: list[int] = []
    for s in accesses:
        lengths[s.reach if s.wild & running.keys() else ops.make("min", _length(s, running), s.reach)] = None
        apart = poly.poly(s.rest - accesses[0].rest)
        offsets.append(apart.get((), 0) if apart.keys() <= {()} else 0)
    longest = reduce(lambda a, b: ops.make("max", a, b), lengths)
    return longest + (max(offsets) - min(offsets))


def _length(s: Subscript, extents: Mapping[Var, Expr]) -> Expr:
    """How many elements it spans while the variables run over their extents."""
    length: Expr = ONE
    for var, coefficient in s.coefficients.items():
        if var in extents:
            length = length + _magnitude(coefficient) * (extents[var] - 1)
    return length


def _magnitude(coefficient: Expr) -> Expr:
    """Its absolute value: coefficients are products of constants and knobs, which are positive."""
    terms = poly.poly(coefficient)
    return poly.to_expr(poly.scale(terms, -1)) if all(c < 0 for c in terms.values()) else coefficient
