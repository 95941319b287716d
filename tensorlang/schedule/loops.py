"""Primitives that remake loops: split, fuse, reorder, tile."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from tensorlang.arith.bounds import const_bounds
from tensorlang.arith.context import Context
from tensorlang.arith.prove import proves
from tensorlang.arith.simplify import simplify
from tensorlang.ir.nodes import FALSE, ONE, SERIAL, TRUE, ZERO, Block, Expr, For, Stmt, Var, const, seq
from tensorlang.ir.ops import all_of, conjuncts, make
from tensorlang.ir.walk import free_vars, map_children, substitute
from tensorlang.schedule import checks, copies, dependence, remade
from tensorlang.schedule.handles import Loop, LoopLike
from tensorlang.schedule.primitive import composition, primitive

if TYPE_CHECKING:
    from tensorlang.schedule.schedule import Schedule

Factor = int | Expr | None


@primitive
def split(s: Schedule, loop: LoopLike, factors: Sequence[Factor], tail: str = "guard") -> tuple[Loop, ...]:
    """Split a loop into a nest of loops, outermost first; returns them, and the remainder loop if there is one.

    Each factor is the extent of a new loop: an int, a knob, or None (at most one), which is inferred.

    tail says what becomes of iterations beyond the last full tile. "guard": the extents are rounded up, and a predicate
    skips what is too much; it is left out if the factors are proved to divide the extent. "cut": the extents are
    rounded down, and a remainder loop `i.tail` follows. Its blocks `B.tail` and their loops and buffers are copies; the
    full tiles keep the names. It is there even if it is known to be empty, so that a program has one structure for
    all sizes and knobs.

    >>> s.split("C.i", [None, 4])
    (Loop('C.i.0'), Loop('C.i.1'))

    requires:
      1. `factors` are ints >= 1 or index expressions over knobs, at least one, None at most once
      2. without None, the product of the factors covers the extent ("guard"), or is no more than it ("cut"), but for
         iterations in which guards, or an empty loop, keep all blocks from running
      3. the loop is serial and has no annotations
      4. `tail` is "guard" or "cut"; for "cut":
      5. the extent is not negative
      6. a block with an init below is driven by the loop in spatial or in reduction iterators, not in both (but where
         extent and factors are numbers, and full tiles visit all its spatial points), and where it is in reduction
         iterators, no extent on which the init depends does on the loop
      7. where the loop drives both, no guard speaks of a loop of the result that drives reduction iterators only: the
         init would run without it

    rewrite:
      for i in n:                    for i.0 in (n + 3) // 4:
        block B(x = i)         ->      for i.1 in 4:
                                         block B(x = i.0 * 4 + i.1) where i.0 * 4 + i.1 < n

      with tail="cut":               for i.0 in n // 4:
                               ->      for i.1 in 4:
                                         block B(x = i.0 * 4 + i.1)
                                     for i.tail in n % 4:
                                       block B.tail(x = n // 4 * 4 + i.tail)
    """
    node = s.loop_node(loop)
    given = checks.split_factors(s, factors)
    checks.is_serial(s, node)
    checks.has_no_annotations(s, node)
    checks.known_tail(s, tail)
    if tail == "cut":
        return _split_and_cut(s, node, given)
    ctx = s.context(node)
    extents, exact = _complete(s, node, given, ctx)
    fresh = [Var(s.fresh(f"{node.var.name}.{n}")) for n in range(len(extents))]
    around, index = _digits(fresh, extents, s.context(node, rewriting=True))
    guard = TRUE if exact else index < node.extent
    values = {node.var: index}
    body = rebind(node.body, values, around, guard)
    remade.inits_keep_guards(s, [node], body, values, around, guard)
    s.replace(node, nest(fresh, extents, body))
    return tuple(Loop(s, v.name) for v in fresh)


def _digits(variables: Sequence[Var], extents: Sequence[Expr], ctx: Context) -> tuple[Context, Expr]:
    """The context inside a nest of loops, and the number of the iteration there."""
    index: Expr = ZERO
    for var, extent in zip(variables, extents, strict=True):
        ctx, index = ctx.bind(var, open_extent(extent, ctx)), index * extent + var
    return ctx, simplify(index, ctx)


def _split_and_cut(s: Schedule, node: For, given: Sequence[Expr | None]) -> tuple[Loop, ...]:
    """Full tiles, then the remainder."""
    checks.extents_not_negative(s, [node])
    ctx = s.context(node)
    product: Expr = ONE
    for factor in given:
        product = product if factor is None else product * factor
    if all(factor is not None for factor in given):
        done, rest = product, remade.rest_of_tiles(s, node, simplify(product, ctx))
    else:
        done, rest = node.extent // product * product, node.extent % product
    remade.inits_stay_whole(s, node, simplify(done, ctx))
    extents = [simplify(node.extent // product, ctx) if factor is None else factor for factor in given]
    fresh = [Var(s.fresh(f"{node.var.name}.{n}")) for n in range(len(extents))]
    tail = Var(s.fresh(f"{node.var.name}.tail"))
    around = s.context(node, rewriting=True)
    inside, index = _digits(fresh, extents, around)
    values = {node.var: index}
    body = rebind(node.body, values, inside)
    remade.inits_keep_guards(s, [node], body, values, inside)
    copy = copies.duplicate(s, copies.continued(node.body, node), "tail")
    remainder = part(node.var, copy, tail, simplify(done, ctx), simplify(rest, ctx), around)
    s.replace(node, seq(nest(fresh, extents, body), remainder))
    return tuple(Loop(s, v.name) for v in (*fresh, tail))


def part(old: Var, body: Stmt, var: Var, start: Expr, extent: Expr, ctx: Context) -> For:
    """A loop over `extent` iterations, from `start` on, of the loop over `old` around `body`."""
    inside = ctx.bind(var, open_extent(extent, ctx))
    return For(var, extent, SERIAL, rebind(body, {old: simplify(start + var, inside)}, inside))


def _complete(s: Schedule, node: For, given: list[Expr | None], ctx: Context) -> tuple[list[Expr], bool]:
    """The extents with the inferred one filled in (or the given ones, which must cover the loop); are they exact?"""
    product: Expr = ONE
    for extent in given:
        product = product if extent is None else product * extent
    if any(extent is None for extent in given):
        exact = proves(make("eq", node.extent % product, 0), ctx)
        inferred = simplify(node.extent // product if exact else (node.extent + product - 1) // product, ctx)
        return [inferred if extent is None else extent for extent in given], exact
    remade.tiles_cover(s, node, simplify(product, ctx))
    return [extent for extent in given if extent is not None], proves(make("eq", product, node.extent), ctx)


_MANY = 1 << 20


def open_extent(extent: Expr, ctx: Context) -> Expr:
    """The extent that rewrites assume: a loop of one iteration counts as having two, one of none as having many.

    So its variable stays in bindings: a program has one structure whatever numbers its knobs become, and what ran in no
    iteration does not come to depend on none. `ctx` holds where the loop stands.
    """
    most = const_bounds(extent, ctx)[1]
    return const(2) if most == 1 else const(_MANY) if most < 1 else extent


def nest(variables: Sequence[Var], extents: Sequence[Expr], body: Stmt, kind: str = SERIAL) -> Stmt:
    """Loops around `body`, the first one outermost."""
    for var, extent in reversed(list(zip(variables, extents, strict=True))):
        body = For(var, extent, kind, body)
    return body


def rebind(stmt: Stmt, values: Mapping[Var, Expr], ctx: Context, guard: Expr = TRUE) -> Stmt:
    """`stmt` with loop variables replaced in extents, bindings and predicates; every block also gets `guard`.

    `ctx` is the rewriting context where `stmt` stands, with the variables of `values` and `guard`.
    """
    if isinstance(stmt, For):
        extent = _rebound(stmt.extent, values, ctx)
        inside = ctx.bind(stmt.var, open_extent(extent, ctx))
        return stmt.replace(extent=extent, body=rebind(stmt.body, values, inside, guard))
    if isinstance(stmt, Block):
        bindings = tuple(_rebound(b, values, ctx) for b in stmt.bindings)
        conds = conjuncts(stmt.predicate)
        concerned = all_of(c for c in conds if _concerns(c, values))
        rebound = substitute(concerned, values) & guard
        simple = simplify(rebound, ctx)
        # That it never holds does not say on which loops it is: in spite of one on those of a reduction, the init runs.
        changed = iter(conjuncts(rebound if simple is FALSE else simple))
        in_place = [next(changed, TRUE) if _concerns(c, values) else c for c in conds]
        return stmt.replace(bindings=bindings, predicate=all_of((*in_place, *changed)))
    return map_children(
        stmt, lambda n: rebind(n, values, ctx, guard) if isinstance(n, Stmt) else _rebound(n, values, ctx)
    )


def _rebound(expr: Expr, values: Mapping[Var, Expr], ctx: Context) -> Expr:
    """What becomes of an expression; one that mentions none of the variables stays as it is."""
    return simplify(substitute(expr, values), ctx) if _concerns(expr, values) else expr


def _concerns(expr: Expr, values: Mapping[Var, Expr]) -> bool:
    return not free_vars(expr).isdisjoint(values)


@primitive
def fuse(s: Schedule, *loops: LoopLike) -> Loop:
    """Make one loop of several, outermost first, that iterates in the same order; returns it.

    >>> s.fuse("C.i", "C.j")
    Loop('C.i_j')

    requires:
      1. two or more different loops, each directly inside the one before
      2. the loops are serial and have no annotations
      3. no extent depends on another of the loops, and none is negative
      4. if they drive spatial and other iterators of a block with an init, those that drive no spatial one run at
         least once where the others do, which matters not where the others have one iteration each; if they drive no
         spatial one and some reduce, the others run at least once
      5. if they drive iterators of such a block that reduce, the loops before those run no spatial point of it twice
      6. no guard on them under which an init runs becomes one on a loop that only reduces

    rewrite:
      for i in n:                    for i_j in n * 8:
        for j in 8:            ->      block B(x = i_j // 8, y = i_j % 8)
          block B(x = i, y = j)
    """
    nodes = checks.distinct_loops(s, loops)
    checks.adjacent(s, nodes)
    for node in nodes:
        checks.is_serial(s, node)
        checks.has_no_annotations(s, node)
    checks.extents_free_of(s, nodes, nodes)
    checks.extents_not_negative(s, nodes)
    checks.inits_still_run(s, nodes)
    dependence.inits_kept(s, nodes)
    ctx = s.context(nodes[0], rewriting=True)
    block = nodes[0].var.name.split(".")[0]
    name = "_".join([nodes[0].var.name, *(relative(n.var.name, block) for n in nodes[1:])])
    var, values = Var(s.fresh(name)), {}
    size: Expr = ONE
    for node in reversed(nodes):
        place = var // size if node is nodes[0] else var // size % node.extent
        values[node.var] = ZERO if node.extent is ONE else place
        size = simplify(size * node.extent, ctx)
    known = size
    if const_bounds(size, ctx)[1] <= 0:  # of a loop that runs nothing, anything could be proved
        known = math.prod((open_extent(n.extent, ctx) for n in nodes), start=ONE)
    inside = ctx.bind(var, open_extent(simplify(known, ctx), ctx))
    body = rebind(nodes[-1].body, values, inside)
    checks.inits_do_not_escape(s, nodes, var, body)
    remade.inits_keep_guards(s, nodes, body, values, inside)
    s.replace(nodes[0], For(var, size, SERIAL, body))
    return Loop(s, var.name)


def relative(name: str, block: str) -> str:
    """A loop's name without its block: `C.j` in block `C` is `j`."""
    return name.removeprefix(block + ".")


@primitive
def reorder(s: Schedule, *loops: LoopLike) -> None:
    """Put loops into the given order, outermost first; loops of the nest that are not named keep their places.

    Changes the order of a reduction if reduction loops change places: with floats, that may change rounding.

    >>> s.reorder("C.k", "C.i", "C.j")
    >>> [loop.name for loop in s.loops("C")]
    ['C.k', 'C.i', 'C.j']

    requires:
      1. two or more different loops of one chain of perfectly nested loops
      2. no extent depends on a loop that would be further in
      3. loops that drive ordered iterators (of a reducer that is not commutative) keep their order
      4. where several blocks below share a buffer that outlives an iteration, loops whose iterations are not
         proved to touch different parts of it keep their order
      5. loops that come inside the loops that reduce a block with an init run no spatial point of it twice

    rewrite:
      for i in n:                    for j in m:
        for j in m:            ->      for i in n:
          block B(x = i, y = j)          block B(x = i, y = j)
    """
    nodes = checks.distinct_loops(s, loops)
    chain = checks.perfect_chain(s, nodes)
    supply = iter(nodes)
    order = [next(supply) if any(n is listed for listed in nodes) else n for n in chain]
    checks.extents_in_order(s, order)
    checks.ordered_kept(s, chain, order)
    dependence.carried_kept(s, chain, order)
    dependence.inits_kept(s, chain, order)
    body = chain[-1].body
    for node in reversed(order):
        body = node.replace(body=body)
    s.replace(chain[0], body)


@composition
def tile(s: Schedule, loops: Sequence[LoopLike], factors: Sequence[int | Expr]) -> tuple[Loop, ...]:
    """Split each loop by its factor and move the inner loops inside all outer ones.

    Returns the outer loops, then the inner loops. Requires what split and reorder do.

    rewrite:
      for i in n:                    for i.0 in n // 4:
        for j in m:                    for j.0 in m // 8:
          block B(x = i, y = j)   ->     for i.1 in 4:
                                           for j.1 in 8:
                                             block B(x = i.0 * 4 + i.1, y = j.0 * 8 + j.1)

    >>> i0, j0, i1, j1 = s.tile(["C.i", "C.j"], [4, 8])
    """
    checks.one_factor_each(s, loops, factors)
    pairs = [s.split(loop, [None, factor]) for loop, factor in zip(loops, factors, strict=True)]
    order = (*(outer for outer, _ in pairs), *(inner for _, inner in pairs))
    if len(pairs) > 1:
        s.reorder(*order)
    return order
