"""Whether a program reads of a buffer only elements that it has written itself.

Used for what one of many threads runs, where an element that it has not written belongs to another thread. Regions
that are boxes would not do: of a box with gaps, a thread may own every other element.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import permutations
from math import prod
from typing import NamedTuple

from tensorlang.arith.affine import injective
from tensorlang.arith.bounds import bounds
from tensorlang.arith.context import Context
from tensorlang.arith.prove import proves
from tensorlang.arith.simplify import simplify
from tensorlang.ir.nodes import Block, Buffer, Const, Expr, For, If, LetStmt, Load, Node, Stmt, Store, Var
from tensorlang.ir.walk import children, free_vars, substitute

_MOST_LOOPS = 4  # whose orders are tried


class _Access(NamedTuple):
    """One load or store: its subscripts, in terms of the variables around the program and of `loops` in it."""

    indices: tuple[Expr, ...]
    loops: tuple[For, ...]
    ctx: Context


def reads_own(stmt: Stmt, buffer: Buffer, ctx: Context) -> bool:
    """Is every element of `buffer` that `stmt` reads among those that it writes? `ctx` knows the variables around it.

    Proved for a load if a store goes to the same elements, in loops that differ in their names or in their order, or
    to all elements of a box that holds them.
    """
    stores = list(_accesses(stmt, buffer, Store, (), {}, ctx))
    loads = list(_accesses(stmt, buffer, Load, (), {}, ctx))
    return all(any(_alike(s, load) or _within(s, load) for s in stores) for load in loads)


def _accesses(
    node: Node, buffer: Buffer, kind: type, loops: tuple[For, ...], values: dict[Var, Expr], ctx: Context
) -> Iterator[_Access]:
    if isinstance(node, For):
        extent = substitute(node.extent, values)
        inside = node.replace(extent=extent)
        yield from _accesses(node.body, buffer, kind, (*loops, inside), values, ctx.bind(node.var, extent))
        return
    if isinstance(node, Block):
        bound = zip(node.iters, node.bindings, strict=True)
        values = {**values, **{it.var: substitute(b, values) for it, b in bound}}
        for part in (node.init, node.body):
            if part is not None:
                yield from _accesses(part, buffer, kind, loops, values, ctx)
        return
    if isinstance(node, LetStmt):
        values = {**values, node.var: substitute(node.value, values)}
    if isinstance(node, If):
        ctx = ctx.assume(substitute(node.cond, values))
    if isinstance(node, kind) and node.buffer is buffer:  # type: ignore[attr-defined]
        indices = tuple(simplify(substitute(i, values), ctx) for i in node.indices)  # type: ignore[attr-defined]
        yield _Access(indices, loops, ctx)
    for child in children(node):
        yield from _accesses(child, buffer, kind, loops, values, ctx)


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
            if all(a is b for a, b in zip(indices, store.indices, strict=True)):
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
    return all(proves(low <= first, load.ctx) and proves(last <= high, load.ctx) for (low, high), (first, last) in ends)


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
