"""Subscripts as linear forms of the loops around a block, and how much of a dimension they span.

Coefficients may be open: they are products of constants and knobs. Of quotients and remainders, which fused loops leave
behind, it is known what they span; what depends on a loop in yet other ways spans its whole dimension, so that a
program gives one form for all values of its knobs.
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
from tensorlang.ir.nodes import ONE, Block, Expr, For, Knob, Load, Op, Size, Store, Var
from tensorlang.ir.walk import find, free_vars, substitute, visit

_LINEAR = ("add", "sub", "mul", "neg")  # of other operations on several loops, a predicate may tell more


@dataclass(frozen=True)
class Subscript:
    """An index as sum of coefficient * loop variable + rest; `wild` are loops on which it depends in other ways.

    index: itself, in terms of loops; reach: how many elements it spans over the whole domain of its block.
    """

    coefficients: dict[Var, Expr]
    wild: frozenset[Var]
    rest: Expr
    index: Expr
    reach: Expr


def subscripts(path: tuple[For, ...], block: Block) -> list[tuple[Load | Store, list[Subscript]]]:
    """Each load and store of a block with its subscripts in terms of the loops around it, and those in it that are
    in `path`, too."""
    ctx, loops = Context(), [loop.var for loop in path]
    for loop in path:
        ctx = ctx.bind(loop.var, loop.extent)
    values = {it.var: binding for it, binding in zip(block.iters, block.bindings, strict=True)}
    domain = {it.var: it.extent for it in block.iters} | {loop.var: loop.extent for loop in path}

    def known(index: Expr, size: Expr) -> Subscript:
        length = _spread(index, domain)
        found = simplify(substitute(index, values), ctx)
        if any(n.op not in _LINEAR and len(free_vars(n) & ctx.bound.keys()) > 1 for n in find(found, Op)):
            found = simplify(found, ctx.assume(block.predicate))
        return _linear(found, loops, size if length is None else ops.make("min", length, size))

    nodes = [node for node in visit(block.body) if isinstance(node, Load | Store)]
    return [(n, [known(i, dim) for i, dim in zip(n.indices, n.buffer.shape, strict=True)]) for n in nodes]


def _linear(index: Expr, loops: Sequence[Var], reach: Expr) -> Subscript:
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
    return Subscript(kept, frozenset(wild), offset, index, reach)


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
        length = _spread(s.index, running) if s.wild & running.keys() else _length(s, running)
        lengths[s.reach if length is None else ops.make("min", length, s.reach)] = None
        apart = poly.poly(s.rest - accesses[0].rest)
        offsets.append(apart.get((), 0) if apart.keys() <= {()} else 0)
    longest = reduce(lambda a, b: ops.make("max", a, b), lengths)
    return longest + (max(offsets) - min(offsets))


def _length(s: Subscript, running: Mapping[Var, Expr]) -> Expr:
    """How many elements a subscript spans that is linear in the variables that run over these extents."""
    length: Expr = ONE
    for var, coefficient in s.coefficients.items():
        if var in running:
            length = length + _magnitude(poly.poly(coefficient)) * (running[var] - 1)
    return length


def _spread(index: Expr, running: Mapping[Var, Expr]) -> Expr | None:
    """How many elements lie between the ends of what an index takes while variables run over their extents; None if
    that is not known. Quotients and remainders count as if the run began where they do."""
    if not free_vars(index) & running.keys():
        return ONE
    if isinstance(index, Var):
        return running[index]
    terms = poly.poly(index)
    if index in poly.atoms(terms):
        return _spread_of_digit(index, running)
    length: Expr = ONE
    for atom in sorted(poly.atoms(terms), key=poly.order):
        parts = poly.split(terms, atom) if free_vars(atom) & running.keys() else ({}, terms)
        if parts is None:
            return None
        coefficient, terms = parts
        if coefficient:
            each = _spread(atom, running)
            if each is None or not _is_fixed(poly.to_expr(coefficient)):
                return None
            length = length + _magnitude(coefficient) * (each - 1)
    return length


def _spread_of_digit(index: Expr, running: Mapping[Var, Expr]) -> Expr | None:
    if not isinstance(index, Op) or index.op not in ("floordiv", "mod") or not _is_fixed(index.args[1]):
        return None
    whole, divisor = _spread(index.args[0], running), index.args[1]
    if whole is None:
        return None
    return (whole - 1) // divisor + 1 if index.op == "floordiv" else ops.make("min", whole, divisor)


def _is_fixed(expr: Expr) -> bool:
    """Whether it depends on knobs and sizes alone."""
    return all(isinstance(v, Knob | Size) for v in free_vars(expr))


def _magnitude(coefficient: poly.Poly) -> Expr:
    """Its absolute value: coefficients are products of constants and knobs, which are positive."""
    return poly.to_expr(poly.scale(coefficient, -1) if all(c < 0 for c in coefficient.values()) else coefficient)
