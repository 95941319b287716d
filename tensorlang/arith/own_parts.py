"""Whether a program reads of a buffer only what it has written itself.

Used for what one of many threads runs, where an element that it has not written belongs to another thread. Regions
that are boxes would not do: of a box with gaps, a thread may own every other element.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from itertools import permutations
from typing import NamedTuple

from tensorlang.arith.affine import injective
from tensorlang.arith.bounds import bounds
from tensorlang.arith.context import Context
from tensorlang.arith.prove import proves
from tensorlang.arith.simplify import negation, simplify
from tensorlang.ir.nodes import ONE, TRUE, ZERO, Block, Buffer, Expr, For, If, LetStmt, Load, Node, Op, Stmt, Store, Var
from tensorlang.ir.walk import free_vars, run_by, substitute

_MOST_LOOPS = 4  # whose orders are tried


class _Access(NamedTuple):
    """One load or store: its subscripts, in terms of the variables around the program and of `loops` in it, and the
    conditions in the program under which it happens, which `ctx` knows too; `always` knows the loops alone."""

    indices: tuple[Expr, ...]
    loops: tuple[For, ...]
    conds: tuple[Expr, ...]
    ctx: Context
    always: Context


def reads_own(stmt: Stmt, buffer: Buffer, own: Mapping[Var, Expr], ctx: Context) -> bool:
    """Is every element of `buffer` that `stmt` reads one that it writes, and as the others leave it?

    own: the variables that tell the programs apart, each with its extent; `ctx` knows all variables around `stmt`.
    Proved for a load if a store goes to the same elements, in loops that differ in their names or in their order, or
    in some of its iterations, which the subscripts tell, or to all elements of a box that holds them; and if each store
    that is not the same in all programs does so, wherever it happens at all, or goes to other elements.
    """
    stores = list(_accesses(stmt, buffer, Store, {}, _Access((), (), (), ctx, ctx)))
    loads = list(_accesses(stmt, buffer, Load, {}, _Access((), (), (), ctx, ctx)))
    differing = [_as_it_differs(s, own) for s in stores if _depends(s, own)]
    if not differing:
        return True  # all write the same
    return all(any(_covers(s, load) for s in stores) for load in loads) and all(
        _covers(s, load) or _apart(s, load, own) for load in loads for s in differing
    )


def _depends(store: _Access, own: Mapping[Var, Expr]) -> bool:
    """Do the variables `own` have a say in where it stores, or whether it does?"""
    says = (*store.indices, *store.conds, *(loop.extent for loop in store.loops))
    return any(free_vars(e) & own.keys() for e in says)


def _as_it_differs(store: _Access, own: Mapping[Var, Expr]) -> _Access:
    """The store under those of its conditions alone that may hold for some programs which store to an element, and not
    for others."""
    used = _used(store)
    said = [v for v in own if any(v in free_vars(i) for i in store.indices)]
    points = [*((n.var, n.extent) for n in used), *((v, own[v]) for v in said)]
    told = set(said) if injective(store.indices, points, store.ctx) else set()
    conds = (*store.conds, *(n.extent >= 1 for n in store.loops if n not in used))
    return store._replace(conds=tuple(c for c in conds if (free_vars(c) & own.keys()) - told))


def _accesses(node: Node, buffer: Buffer, kind: type, values: dict[Var, Expr], around: _Access) -> Iterator[_Access]:
    """The accesses of that kind in `node`; `around` has what is known where it stands."""
    if isinstance(node, For):
        loop = node.replace(extent=substitute(node.extent, values))
        inner, always = (ctx.bind(loop.var, loop.extent) for ctx in (around.ctx, around.always))
        inside = around._replace(loops=(*around.loops, loop), ctx=inner, always=always)
        yield from _accesses(node.body, buffer, kind, values, inside)
        return
    if isinstance(node, Block):
        bound = zip(node.iters, node.bindings, strict=True)
        values = {**values, **{it.var: substitute(b, values) for it, b in bound}}
        inside = _under(around, substitute(node.predicate, values))
        for part in (node.init, node.body):
            if part is not None:
                yield from _accesses(part, buffer, kind, values, inside)
        return
    if isinstance(node, If) or (isinstance(node, Op) and node.op == "if_then_else"):
        test, then, *orelse = (node.cond, node.then, node.orelse) if isinstance(node, If) else node.args
        cond = substitute(test, values)
        yield from _accesses(test, buffer, kind, values, around)
        yield from _accesses(then, buffer, kind, values, _under(around, cond))
        for other in orelse:
            if other is not None:
                yield from _accesses(other, buffer, kind, values, _under(around, negation(cond)))
        return
    if isinstance(node, LetStmt):
        values = {**values, node.var: substitute(node.value, values)}
    if isinstance(node, kind) and node.buffer is buffer:  # type: ignore[attr-defined]
        indices = (simplify(substitute(i, values), around.always) for i in node.indices)  # type: ignore[attr-defined]
        yield around._replace(indices=tuple(indices))
    for child in run_by(node):
        yield from _accesses(child, buffer, kind, values, around)


def _under(around: _Access, cond: Expr) -> _Access:
    """What is known under a condition, too; loops of one iteration do not show in it."""
    cond = simplify(cond, around.ctx)
    if cond is TRUE:
        return around
    return around._replace(conds=(*around.conds, cond), ctx=around.ctx.assume(cond))


def _happens(store: _Access, load: _Access, renamed: Mapping[Var, Expr]) -> bool:
    """Do the conditions of the store hold where the load happens? `renamed`: the loops of the store as the load's."""
    return all(proves(simplify(substitute(cond, renamed), load.ctx), load.ctx) for cond in store.conds)


def _used(access: _Access) -> list[For]:
    """The loops that its subscripts depend on."""
    used = frozenset[Var]().union(*map(free_vars, access.indices)) if access.indices else frozenset()
    return [loop for loop in access.loops if loop.var in used]


def _covers(store: _Access, load: _Access) -> bool:
    return _alike(store, load) or _digits(store, load) or _within(store, load)


def _apart(store: _Access, load: _Access, own: Mapping[Var, Expr]) -> bool:
    """Does no program store to what this one loads?"""
    box, part = _box(store, store.ctx, own), _box(load, load.ctx)
    return any(
        proves(last < low, load.ctx) or proves(high < first, load.ctx)
        for (low, high), (first, last) in zip(box or (), part or (), strict=False)
    )


def _alike(store: _Access, load: _Access) -> bool:
    """Do both go to the same elements, as their subscripts say in one order or another of the loops?"""
    theirs, mine = _used(load), _used(store)
    if len(theirs) != len(mine) or len(mine) > _MOST_LOOPS:
        return False
    for order in permutations(theirs):
        if all(a.extent is b.extent for a, b in zip(order, mine, strict=True)):
            renamed = {a.var: b.var for a, b in zip(order, mine, strict=True)}
            indices = (simplify(substitute(i, renamed), store.ctx) for i in load.indices)
            same = all(a is b for a, b in zip(indices, store.indices, strict=True))
            if same and _happens(store, load, {b.var: a.var for a, b in zip(order, mine, strict=True)}):
                return True
    return False


def _digits(store: _Access, load: _Access) -> bool:
    """Does the store go to the element of the load where its loops have the values of the variables of the load that
    count as much in the subscript, 0 if there is none?"""
    extents = {loop.var: loop.extent for loop in store.loops}
    found: dict[Var, Expr] = {}
    for mine, theirs in zip(store.indices, load.indices, strict=True):
        others = [(w, _step(theirs, w)) for w in free_vars(theirs) - free_vars(mine)]
        for var in free_vars(mine) & extents.keys():
            step = _step(mine, var)
            found[var] = next((w for w, counts in others if counts is step), ZERO)
    same = (
        simplify(substitute(mine, found) - theirs, load.ctx) is ZERO
        for mine, theirs in zip(store.indices, load.indices, strict=True)
    )
    return (
        all(same)
        and all(proves(v >= 0, load.ctx) and proves(v < extents[var], load.ctx) for var, v in found.items())
        and _happens(store, load, found)
    )


def _step(index: Expr, var: Var) -> Expr:
    """What the next value of a variable adds to a subscript."""
    return simplify(substitute(index, {var: var + 1}) - index)


def _within(store: _Access, load: _Access) -> bool:
    """Does the store go to all elements of a box, but for those that its conditions leave out, and the load to some?

    As many different elements as the box has are all of it.
    """
    box, loops = _box(store, store.always), _used(store)
    if box is None or not injective(store.indices, [(n.var, n.extent) for n in loops], store.always):
        return False
    sizes = [simplify(high - low + 1) for low, high in box]
    if _product(n.extent for n in loops) is not _product(sizes):
        return False
    return _happens(store, load, _solved(store, load)) and all(
        proves(low <= index, load.ctx) and proves(index <= high, load.ctx)
        for (low, high), index in zip(box, load.indices, strict=True)
    )


def _solved(store: _Access, load: _Access) -> dict[Var, Expr]:
    """Where the store goes to the element of the load, as its subscripts say it: of each, a loop by the others."""
    own = {loop.var for loop in store.loops}
    found: dict[Var, Expr] = {}
    for mine, theirs in zip(store.indices, load.indices, strict=True):
        for var in free_vars(mine) & own:
            rest = simplify(mine - var)
            if var not in free_vars(rest):
                found[var] = simplify(theirs - rest)
                break
    return found


def _product(extents: Iterable[Expr]) -> Expr:
    result: Expr = ONE
    for extent in extents:
        result = result * extent
    return simplify(result)


def _box(access: _Access, ctx: Context, others: Collection[Var] = ()) -> list[tuple[Expr, Expr]] | None:
    """The least and the greatest subscript in each dimension, in terms of the variables around the program, without
    `others`."""
    over = {*(loop.var for loop in access.loops), *others}
    found = []
    for index in access.indices:
        low, high = bounds(index, ctx, over)
        if low is None or high is None:
            return None
        found.append((low, high))
    return found
