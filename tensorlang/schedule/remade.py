"""Requirements of primitives that remake loops: all that ran still runs, and inits where they did, under guards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from tensorlang.arith import poly
from tensorlang.arith.context import Context
from tensorlang.arith.prove import proves
from tensorlang.arith.simplify import negation, simplify
from tensorlang.ir.evaluate import numpy_function
from tensorlang.ir.nodes import SPATIAL, TRUE, Block, Const, Expr, For, Stmt, Var
from tensorlang.ir.ops import conjuncts, make
from tensorlang.ir.walk import find, free_vars, substitute
from tensorlang.schedule import checks, dependence

if TYPE_CHECKING:
    from tensorlang.schedule.schedule import Schedule


def tiles_cover(s: Schedule, loop: For, product: Expr) -> None:
    """All iterations of the loop are among the first `product`, or run nothing. Reason: factors_do_not_cover."""
    covers, ctx = product >= loop.extent, s.context(loop)
    if proves(covers, ctx) or _run_nothing(s, loop, product, loop.extent):
        return
    s.require(
        covers,
        ctx,
        "factors_do_not_cover",
        f"the factors make {product!r} iterations, loop {loop.var.name} has {loop.extent!r}",
        at=[loop],
        hint="larger factors, or None in place of one of them",
    )


def rest_of_tiles(s: Schedule, loop: For, product: Expr) -> Expr:
    """The number of iterations after the first `product`, which are iterations of the loop, or run nothing.

    Reason: factors_exceed.
    """
    fits, ctx = product <= loop.extent, s.context(loop)
    if not proves(fits, ctx) and _run_nothing(s, loop, loop.extent, product):
        return make("max", loop.extent - product, 0)
    s.require(
        fits,
        ctx,
        "factors_exceed",
        f"the factors make {product!r} iterations, loop {loop.var.name} is not known to have as many: {loop.extent!r}",
        at=[loop],
        hint="smaller factors, or None in place of one of them",
    )
    return loop.extent - product


def _run_nothing(s: Schedule, loop: For, start: Expr, end: Expr) -> bool:
    """Is there no block, nor init, that runs in iterations from `start` up to `end`, or would, of a longer loop?"""
    around = [n for n in s.path(loop) if isinstance(n, For)]
    if around and dependence.never_runs(s, around[-1]):
        return True
    return all(_guarded(s, loop, start, end, block) for block in checks.blocks_below(loop))


def _guarded(s: Schedule, loop: For, start: Expr, end: Expr, block: Block) -> bool:
    """Does its predicate keep the block, and its init, from running in these iterations of `loop`?

    The init also runs where a loop that reduces is empty.
    """
    around = [n for n in s.path(block) if isinstance(n, For)]
    conditions, skipped = conjuncts(block.predicate), list[For]()
    kinds = checks.driven(loop, block)
    if block.init is not None and (SPATIAL in kinds or not kinds):
        skipped = [n for n in around if checks.driven(n, block) - {SPATIAL}]
        conditions = dependence.conditions_of_init(s, block, block, skipped)
    ctx = s.context(s.func.body)
    for n in around:
        if n is loop:
            ctx = ctx.bind(loop.var, end).assume(loop.var >= start)
        elif n not in skipped:
            ctx = ctx.bind(n.var, n.extent)
    return any(proves(negation(cond), ctx) for cond in conditions)


def inits_stay_whole(s: Schedule, loop: For, first: Expr) -> None:
    """The init of a reduction over `loop` covers the same elements if the loop has only its `first` iterations left.

    Reasons: mixed_iterators, extent_depends.
    """
    for block in find(loop, Block, lambda b: b.init is not None):
        kinds = checks.driven(loop, block)
        if len(kinds) > 1 and not (proves(first >= loop.extent, s.context(loop)) or _visits_all(loop, block, first)):
            s.refuse(
                "mixed_iterators",
                f"loop {loop.var.name} drives {' and '.join(sorted(kinds))} iterators of block {block.name}, whose "
                "init cannot be left to one of the parts",
                at=[loop, block],
                hint=f"decompose_reduction({block.name}, {loop.var.name}) first",
            )
        if kinds - {SPATIAL}:
            checks.extents_free_of(s, _loops_of_init(s, loop, block), [loop])


_MOST_VISITS = 1 << 16


def _visits_all(loop: For, block: Block, first: Expr) -> bool:
    """Do the `first` iterations of the loop visit each spatial point of `block` that later ones do? Found out for
    numbers only, by trying them all."""
    if not isinstance(loop.extent, Const) or not isinstance(first, Const) or loop.extent.value > _MOST_VISITS:
        return False
    spatial = [b for it, b in zip(block.iters, block.bindings, strict=True) if it.kind == SPATIAL]
    terms = {atom for b in spatial for atom in poly.atoms(poly.poly(b)) if loop.var in free_vars(atom)}
    if any(len(free_vars(term)) > 1 for term in terms):
        return False
    every = np.arange(int(loop.extent.value))
    values = list(zip(*(v.tolist() for v in numpy_function(tuple(terms), [loop.var])(every)), strict=True))
    return set(values) == set(values[: int(first.value)])


def inits_keep_guards(
    s: Schedule, loops: Sequence[For], body: Stmt, values: Mapping[Var, Expr], ctx: Context, guard: Expr = TRUE
) -> None:
    """In `body`, which stands for that of the nest `loops`, inits run under all guards that they did before, and under
    `guard`, if it speaks of more than loops that only reduce: an init does not run under conditions on those.

    values, ctx: the variables of the loops in terms of new ones, and what is known of these. Reason: mixed_iterators.
    """
    remade = {n.var for n in loops}
    for old, block in zip(checks.blocks_below(loops[-1]), checks.blocks_below(body), strict=True):
        if block.init is None:
            continue
        already, hidden = checks.only_reducing(old), checks.only_reducing(block)
        kept = [substitute(c, values) for c in conjuncts(old.predicate) if not already & free_vars(c)]
        if not already & free_vars(guard) and not remade <= already:
            kept.append(guard)
        lost = next((c for c in kept if hidden & free_vars(simplify(c, ctx))), None)
        if lost is not None:
            names = ", ".join(n.var.name for n in loops)
            s.refuse(
                "mixed_iterators",
                f"the init of block {block.name} is to run under a guard on {names}, which would be one on loops that "
                f"only reduce: {simplify(lost, ctx)!r}",
                at=[*loops, old],
                hint=f"factors that divide, or decompose_reduction({block.name}, {loops[0].var.name}) first",
            )


def _loops_of_init(s: Schedule, loop: For, block: Block) -> list[For]:
    """The loops inside `loop` that decide for which elements the init of `block` runs."""
    path = s.path(block)
    found: list[For] = []
    needed = set[Var]()
    for inner in reversed(path[path.index(loop) + 1 :]):
        if isinstance(inner, For) and (inner.var in needed or not checks.driven(inner, block) - {SPATIAL}):
            found.append(inner)
            needed |= free_vars(inner.extent)
    return found
