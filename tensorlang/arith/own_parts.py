"""Whether a program reads of a buffer only elements that it has written itself.

Used for what one of many threads runs, where an element that it has not written belongs to another thread. Regions
that are boxes would not do: of a box with gaps, a thread may own every other element.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Set
from itertools import permutations
from math import prod
from typing import NamedTuple

from tensorlang.arith.affine import injective
from tensorlang.arith.bounds import bounds
from tensorlang.arith.context import Context
from tensorlang.arith.prove import proves
from tensorlang.arith.simplify import negation, simplify
from tensorlang.ir.nodes import TRUE, Block, Buffer, Const, Expr, For, If, LetStmt, Load, Node, Op, Stmt, Store, Var
from tensorlang.ir.walk import children, free_vars, substitute

_MOST_LOOPS = 4  # whose orders are tried


class _Access(NamedTuple):
    """One load or store: its subscripts, in terms of the variables around the program and of `loops` in it, and the
    conditions in the program under which it happens, which `ctx` knows too."""

    indices: tuple[Expr, ...]
    loops: tuple[For, ...]
    conds: tuple[Expr, ...]
    ctx: Context


def reads_own(stmt: Stmt, buffer: Buffer, ctx: Context) -> bool:
    """Is every element of `buffer` that `stmt` reads among those that it writes? `ctx` knows the variables around it.

    Proved for a load if a store goes to the same elements, in loops that differ in their names or in their order, or
    to all elements of a box that holds them.
    """
    stores = list(_accesses(stmt, buffer, Store, {}, _Access((), (), (), ctx)))
    loads = list(_accesses(stmt, buffer, Load, {}, _Access((), (), (), ctx)))
    return all(any(_alike(s, load) or _within(s, load) for s in stores) for load in loads)


def writes_depend(stmt: Stmt, buffer: Buffer, own: Set[Var], ctx: Context) -> bool:
    """Do the variables `own` have a say in which elements of `buffer` `stmt` writes, or whether it does?"""
    for store in _accesses(stmt, buffer, Store, {}, _Access((), (), (), ctx)):
        says = (*store.indices, *store.conds, *(loop.extent for loop in store.loops))
        if any(free_vars(e) & own for e in says):
            return True
    return False


def _accesses(node: Node, buffer: Buffer, kind: type, values: dict[Var, Expr], around: _Access) -> Iterator[_Access]:
    """The accesses of that kind in `node`; `around` has what is known where it stands."""
    if isinstance(node, For):
        loop = node.replace(extent=substitute(node.extent, values))
        inside = around._replace(loops=(*around.loops, loop), ctx=around.ctx.bind(loop.var, loop.extent))
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
        indices = (simplify(substitute(i, values), around.ctx) for i in node.indices)  # type: ignore[attr-defined]
        yield around._replace(indices=tuple(indices))
    for child in children(node):
        yield from _accesses(child, buffer, kind, values, around)


def _under(around: _Access, cond: Expr) -> _Access:
    """What is known under a condition, too; loops of one iteration do not show in it."""
    cond = simplify(cond, around.ctx)
    if cond is TRUE:
        return around
    return around._replace(conds=(*around.conds, cond), ctx=around.ctx.assume(cond))


def _happens(store: _Access, load: _Access, renamed: Mapping[Var, Expr]) -> bool:
    """Do the conditions of the store hold where the load happens? `renamed`: the loops of the store as the load's."""
    return all(proves(substitute(cond, renamed), load.ctx) for cond in store.conds)


def _used(access: _Access) -> list[For]:
    """The loops that its subscripts depend on."""
    used = frozenset[Var]().union(*map(free_vars, access.indices)) if access.indices else frozenset()
    return [loop for loop in access.loops if loop.var in used]


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


def _within(store: _Access, load: _Access) -> bool:
    """Does the store go to all elements of a box, and the load to some of them?

    As many different elements as the box has are all of it.
    """
    box, part, loops = _box(store), _box(load), _used(store)
    if box is None or part is None or _product(n.extent for n in loops) < 0:
        return False
    if not injective(store.indices, [(n.var, n.extent) for n in loops], store.ctx):
        return False
    sizes = [simplify(high - low + 1) for low, high in box]
    if _product(n.extent for n in loops) != _product(sizes):
        return False
    ends = zip(box, part, strict=True)
    return _happens(store, load, {}) and all(
        proves(low <= first, load.ctx) and proves(last <= high, load.ctx) for (low, high), (first, last) in ends
    )


def _product(extents: Iterable[Expr]) -> int:
    """Of constants; below 0 if one is none."""
    found = [int(e.value) if isinstance(e, Const) else None for e in extents]
    return -1 if None in found else prod(n for n in found if n is not None)


def _box(access: _Access) -> list[tuple[Expr, Expr]] | None:
    """The least and the greatest subscript in each dimension, in terms of the variables around the program."""
    over = {loop.var for loop in access.loops}
    found = []
    for index in access.indices:
        low, high = bounds(index, access.ctx, over)
        if low is None or high is None:
            return None
        found.append((low, high))
    return found
