"""Which part of its domain a block must run on for its consumers, and whether loops run all of a domain."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

from tensorlang.arith.affine import linear
from tensorlang.arith.context import Context
from tensorlang.arith.prove import proves
from tensorlang.arith.regions import Region
from tensorlang.arith.simplify import simplify
from tensorlang.ir import ops
from tensorlang.ir.nodes import ONE, SPATIAL, ZERO, Block, Buffer, Expr, For, Op, Store, Var
from tensorlang.ir.walk import find, free_vars

if TYPE_CHECKING:
    from tensorlang.schedule.schedule import Schedule


class Range(NamedTuple):
    """low <= value < low + extent."""

    low: Expr
    extent: Expr


def needed_ranges(node: Block, boxes: Mapping[Buffer, Region], ctx: Context) -> list[Range]:
    """For each iterator of `node`, the range over which it writes at least `boxes`.

    Iterators that reduce, or that no index of one of these stores determines, run in full.
    """
    found: dict[Var, Range] = {}
    whole = set[Var]()
    spatial = {it.var for it in node.iters if it.kind == SPATIAL}
    inside = {loop.var for loop in find(node.body, For)}
    for store in find(node.body, Store):
        if store.buffer not in boxes:
            continue
        box = boxes[store.buffer]
        own: dict[Var, Range] = {}
        for index, low, extent in zip(store.indices, box.mins, box.extents, strict=True):
            solved = _solve(index, Range(low, extent), spatial)
            if solved is not None and not free_vars(solved[1].low) & inside:
                own.setdefault(*solved)
        whole |= spatial - own.keys()
        for var, part in own.items():
            found[var] = _hull(found[var], part, ctx) if var in found else part
    return [_inside(None if it.var in whole else found.get(it.var), it.extent, ctx) for it in node.iters]


def _solve(index: Expr, part: Range, spatial: set[Var]) -> tuple[Var, Range] | None:
    """The iterator that `index` depends on, and its range when `index` covers `part`: v + c, or (v + c) // f."""
    low, extent = part
    if isinstance(index, Op) and index.op == "floordiv" and not free_vars(index.args[1]) & spatial:
        index, factor = index.args
        low, extent = low * factor, extent * factor
    plain = shifted(index, spatial)
    return None if plain is None else (plain[0], Range(low - plain[1], extent))


def shifted(index: Expr, variables: set[Var]) -> tuple[Var, Expr] | None:
    """(v, c) if `index` is v + c for one v of `variables` and a c free of them."""
    own = [v for v in free_vars(index) if v in variables]
    if len(own) != 1:
        return None
    form = linear(index, own)
    if form is None or simplify(form[0].get(own[0], ZERO)) is not ONE:
        return None
    return own[0], form[1]


def _hull(a: Range, b: Range, ctx: Context) -> Range:
    low = simplify(ops.make("min", a.low, b.low), ctx)
    high = simplify(ops.make("max", a.low + a.extent, b.low + b.extent), ctx)
    return Range(low, simplify(high - low, ctx))


def _inside(part: Range | None, extent: Expr, ctx: Context) -> Range:
    """`part`, or the whole domain if that is known to be no larger."""
    if part is None:
        return Range(ZERO, extent)
    low, size = simplify(part.low, ctx), simplify(part.extent, ctx)
    return Range(ZERO, extent) if proves(size >= extent, ctx) else Range(low, size)


def gapless(index: Expr, loops: tuple[For, ...], guards: list[Expr], ctx: Context) -> tuple[Range | None, set[Expr]]:
    """The range that `index` fills without gaps as `loops` run, and the guards that bound it; None if unknown.

    i0 * 32 + i1 * 8 + i2, loops i1 in 4 and i2 in 8: range (i0 * 32, 32). From the innermost digit on, each
    coefficient must be the number of values that the digits before it take.
    """
    form = linear(index, [loop.var for loop in loops])
    if form is None:
        return None, set()
    coefficients, low = form
    digits = [loop for loop in loops if simplify(coefficients.get(loop.var, ZERO)) is not ZERO]
    size: Expr = ONE
    value: Expr = ZERO
    used: set[Expr] = set()
    while digits:
        fits = [d for d in digits if d.extent is ONE or proves(ops.make("eq", coefficients[d.var], size), ctx)]
        if not fits:
            return None, set()
        digit = fits[0]
        digits = [d for d in digits if d is not digit]
        if digit.extent is not ONE:
            value, size = value + digit.var * size, simplify(size * digit.extent, ctx)
        for guard in guards:
            if isinstance(guard, Op) and guard.op == "lt" and simplify(guard.args[0] - value, ctx) is ZERO:
                size = guard.args[1]
                used.add(guard)
    return Range(low, size), used


def runs_everywhere(s: Schedule, block: Block) -> bool:
    """Is it proved that `block` runs at all points of its iterators' domain, as a step that narrowed it would not have?

    Each iterator has loops of its own, or all together count the points in one order, as fused loops do.
    """
    loops, ctx = tuple(n for n in s.path(block) if isinstance(n, For)), s.context(block)
    extents = [it.extent for it in block.iters]
    if _count(s, block, list(block.bindings), extents, loops, ctx):
        return True
    position: Expr = ZERO
    size: Expr = ONE
    for binding, extent in reversed(list(zip(block.bindings, extents, strict=True))):
        position, size = position + binding * size, size * extent
    return _count(s, block, [simplify(position, ctx)], [simplify(size, ctx)], loops, ctx)


def _count(
    s: Schedule, block: Block, values: list[Expr], extents: list[Expr], loops: tuple[For, ...], ctx: Context
) -> bool:
    """Do `values`, of loops of their own each, take all numbers from 0 to below `extents`, whatever the guards?"""
    guards = [c for c in ops.conjuncts(block.predicate) if free_vars(c)]
    used, taken = set[Expr](), set[Var]()
    for value, extent in zip(values, extents, strict=True):
        part, took = gapless(simplify(value, ctx), loops, guards, ctx)
        own = free_vars(value) & {loop.var for loop in loops}
        if part is None or own & taken or part.low is not ZERO or not proves(part.extent >= extent, ctx):
            return False
        used, taken = used | took, taken | own
    return all(c in used for c in guards) and all(
        n.var in taken or proves(n.extent >= ONE, s.context(n)) for n in loops
    )
