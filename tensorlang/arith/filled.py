"""Whether stores fill the box that they are in, or leave elements of it to others.

for j in 4: A[i + 1, j] = ...        fills A[i + 1, 0 .. 3]
for j in 4: A[i + j, j] = ...        is in A[i .. i + 3, 0 .. 3], and fills no box
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from tensorlang.arith.affine import injective
from tensorlang.arith.bounds import bounds
from tensorlang.arith.context import EMPTY, Context
from tensorlang.arith.prove import proves
from tensorlang.arith.regions import Region, covers
from tensorlang.arith.simplify import simplify
from tensorlang.ir import ops
from tensorlang.ir.nodes import ONE, ZERO, Block, Buffer, Expr, For, If, LetStmt, Op, Stmt, Store, Var
from tensorlang.ir.walk import find, free_vars, map_operands, path_to, substitute

Loops = list[tuple[Var, Expr]]


def fills(stmt: Stmt, buffer: Buffer, ctx: Context = EMPTY) -> bool:
    """True only if `stmt` writes all elements of the smallest box of `buffer` that holds what it writes.

    What guards withhold is not asked, but where they end fused loops. A store does if its loops are rectangular, no two
    iterations write one element, and the box has as many elements as they have iterations; of several stores, the boxes
    join to one. `ctx` knows the variables around `stmt`.
    """
    box: Region | None = None
    for store in find(stmt, Store, lambda n: n.buffer is buffer):
        mine = _filled(stmt, store, ctx)
        box = mine if mine is None or box is None else _joined(box, mine, ctx)
        if box is None:
            return False
    return True


def _filled(stmt: Stmt, store: Store, ctx: Context) -> Region | None:
    """The box that one store fills; None if it is not proved to fill one."""
    loops: Loops = []
    guards: list[Expr] = []
    values: dict[Var, Expr] = {}
    for node in path_to(stmt, store) or ():
        if isinstance(node, For):
            loops.append((node.var, substitute(node.extent, values)))
        elif isinstance(node, Block):
            guards += ops.conjuncts(substitute(node.predicate, values))
            values |= {it.var: substitute(b, values) for it, b in zip(node.iters, node.bindings, strict=True)}
        elif isinstance(node, If) and node.orelse is None:
            guards += ops.conjuncts(substitute(node.cond, values))
        elif isinstance(node, LetStmt):
            values[node.var] = substitute(node.value, values)
    places = [substitute(index, values) for index in store.indices]
    return _box(store.buffer, places, loops, ctx) or _box(store.buffer, *_with_ends(places, loops, guards, ctx), ctx)


def _box(buffer: Buffer, places: Sequence[Expr], loops: Loops, ctx: Context) -> Region | None:
    """The box that `places` fill as `loops` run, each element once."""
    used = frozenset[Var]().union(*map(free_vars, places))
    loops = [(var, extent) for var, extent in loops if var in used]
    own = {var for var, _ in loops}
    if any(not free_vars(extent).isdisjoint(own) for _, extent in loops):
        return None
    inside = _bound(ctx, loops)
    mins, extents = [], []
    for place in places:
        low, high = bounds(place, inside, own)
        if low is None or high is None:
            return None
        mins.append(low)
        extents.append(simplify(high - low + ONE, ctx))
    count, size = math.prod((extent for _, extent in loops), start=ONE), math.prod(extents, start=ONE)
    full = proves(ops.make("eq", count, size), ctx) and injective(places, loops, ctx)
    return Region(buffer, tuple(mins), tuple(extents)) if full else None


def _with_ends(places: list[Expr], loops: Loops, guards: Sequence[Expr], ctx: Context) -> tuple[list[Expr], Loops]:
    """Both with one loop in place of those that count together to where a guard ends them.

    a in 5, b in 24, where a * 24 + b < 119: P[(a * 24 + b) // 17, (a * 7 + b) % 17]   ->   f in 119: P[f // 17, f % 17]
    """
    inside = _bound(ctx, loops)
    for guard in guards:
        if not (isinstance(guard, Op) and guard.op == "lt"):
            continue
        number, end = guard.args
        counting = [(var, extent) for var, extent in loops if var in free_vars(number)]
        own = {var for var, _ in counting}
        if any(not free_vars(e).isdisjoint(var for var, _ in loops) for e in (end, *(n for _, n in counting))):
            continue
        low, high = bounds(number, inside, own)
        count = math.prod((extent for _, extent in counting), start=ONE)
        if low is not ZERO or high is None or not proves(ops.make("eq", high + ONE, count) & (end <= count), ctx):
            continue
        whole = Var("whole")
        fused = [_of_whole(place, number, whole, own, inside) for place in places]
        if injective([number], counting, ctx) and all(own.isdisjoint(free_vars(place)) for place in fused):
            places = fused
            loops = [*((var, extent) for var, extent in loops if var not in own), (whole, end)]
            inside = _bound(ctx, loops)
    return places, loops


def _of_whole(place: Expr, number: Expr, whole: Var, own: set[Var], ctx: Context) -> Expr:
    """`place` with `whole` for `number`, a sum over `own`, as far as it is a sum, quotients and remainders of it."""
    if own.isdisjoint(free_vars(place)):
        return place
    rest = simplify(place - number, ctx)
    if own.isdisjoint(free_vars(rest)):
        return whole + rest
    if isinstance(place, Op) and place.op == "mod":
        a, d = place.args
        rest = simplify((a - number) % d, ctx)
        return (whole + rest) % d if own.isdisjoint(free_vars(rest)) else place
    return map_operands(place, lambda e: _of_whole(e, number, whole, own, ctx))


def _bound(ctx: Context, loops: Loops) -> Context:
    for var, extent in loops:
        ctx = ctx.bind(var, extent)
    return ctx


def _joined(a: Region, b: Region, ctx: Context) -> Region | None:
    """The box of both if one holds the other, or begins in one dimension where the other ends."""
    if covers(a, b, ctx) or covers(b, a, ctx):
        return a if covers(a, b, ctx) else b
    boxes = zip(a.mins, a.extents, b.mins, b.extents, strict=True)
    same = [proves(ops.make("eq", low, other) & ops.make("eq", x, y), ctx) for low, x, other, y in boxes]
    if same.count(False) != 1:
        return None
    d = same.index(False)
    for first, then in ((a, b), (b, a)):
        if proves(ops.make("eq", first.mins[d] + first.extents[d], then.mins[d]), ctx):
            extent = simplify(first.extents[d] + then.extents[d], ctx)
            return Region(a.buffer, first.mins, (*a.extents[:d], extent, *a.extents[d + 1 :]))
    return None
