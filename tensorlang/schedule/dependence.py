"""Which loops may run their iterations in another order, or at the same time.

Two facts carry all proofs: different instances of a block write different elements (its spatial iterators are
independent, by definition), and two loop iterations that touch disjoint regions of a buffer do not disturb each
other through it.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, NoReturn

from tensorlang.arith import alike
from tensorlang.arith.affine import injective, linear
from tensorlang.arith.context import Context
from tensorlang.arith.disjoint import disjoint, hull
from tensorlang.arith.prove import proves
from tensorlang.arith.regions import Region, accesses
from tensorlang.arith.simplify import negation
from tensorlang.ir.nodes import (
    SPATIAL,
    TRUE,
    ZERO,
    Alloc,
    Block,
    Buffer,
    Expr,
    For,
    If,
    Stmt,
    Store,
    Var,
)
from tensorlang.ir.ops import conjuncts
from tensorlang.ir.walk import find, free_vars, touched
from tensorlang.schedule import checks
from tensorlang.schedule import dataflow as flow
from tensorlang.schedule.checks import blocks_below

if TYPE_CHECKING:
    from tensorlang.schedule.schedule import Schedule


def separates(s: Schedule, loop: For, block: Block) -> bool:
    """Do different iterations of `loop` run different instances of `block`, whatever the loops further in do?"""
    spatial = [b for it, b in zip(block.iters, block.bindings, strict=True) if it.kind == SPATIAL]
    used = frozenset[Var]().union(*map(free_vars, spatial)) if spatial else frozenset()
    if loop.var not in used:
        return False
    path = s.path(block)
    inner = [n for n in path[path.index(loop) :] if isinstance(n, For) and n.var in used]
    loops = tuple((n.var, n.extent) for n in inner)
    key = ("separates", loops, s.context(loop))
    if key not in block.memo:
        block.memo[key] = injective(spatial, loops, s.context(loop), of=[loop.var])
    # most proofs need no predicate, and are quicker without it
    if block.memo[key] or block.predicate is TRUE:
        return block.memo[key]
    return injective(spatial, loops, s.context(block, inside=True), of=[loop.var])


def runs_once(s: Schedule, loop: For) -> bool:
    """Is it proved that the loop has at most one iteration?"""
    return proves(loop.extent <= 1, s.context(loop))


def runs_all(
    block: Block,
    ranges: Sequence[tuple[Expr, Expr]],
    loops: Sequence[For],
    ctx: Context,
    wanted: Sequence[tuple[Expr, Expr]] = (),
) -> bool:
    """Do the iterations of `loops` together run every point of `block`, if each runs it over `ranges`?

    ranges: (low, extent) for each iterator; `ctx` holds outside the loops. wanted: the points that count, if not all
    do. Proved for lows that are sums of step * loop, each loop in one of them only, where each step is at most what the
    loops of lesser steps cover.
    """
    every = [n.var for n in loops]
    unused = {n.var: n.extent for n in loops}
    if any(free_vars(n.extent) & unused.keys() for n in loops):
        return False
    wanted = wanted or [(ZERO, it.extent) for it in block.iters]
    for it, (low, extent), (first, size) in zip(block.iters, ranges, wanted, strict=True):
        form = linear(low, every) if low is not ZERO or extent is not it.extent else ({}, ZERO)
        if form is None or not form[0].keys() <= unused.keys():
            return False
        steps, start = form
        covered = extent
        while steps:
            var = next((v for v, step in steps.items() if proves((step >= 1) & (step <= covered), ctx)), None)
            if var is None:
                return False
            step, count = steps.pop(var), unused.pop(var)
            if not (proves(count >= 1, ctx) or proves(size <= step * count, ctx)):
                return False
            covered = covered + step * (count - 1)
        if not (proves(start <= first, ctx) and proves(first + size <= start + covered, ctx)):
            return False
    return all(proves(count >= 1, ctx) for count in unused.values())


def never_runs(s: Schedule, loop: For) -> bool:
    """Is it proved that there is no iteration of the loop, nor an init that runs without one?"""
    around = (n for n in (*s.path(loop), loop) if isinstance(n, For))
    empty = next((n for n in around if proves(n.extent <= 0, s.context(n))), None)
    if empty is None:
        return False
    return not any(b.init is not None and checks.driven(empty, b) - {SPATIAL} for b in blocks_below(empty))


def conditions_of_init(s: Schedule, block: Block, at: For | Block, reducing: Sequence[For]) -> list[Expr]:
    """What must hold for `block` and its init to run, from `at` inwards: conditions free of the loops `reducing`."""
    path = (*s.path(block), block)
    conditions = [block.predicate]
    for outer, inner in pairwise(path[path.index(at) :]):
        if isinstance(outer, If):
            conditions.append(outer.cond if inner is outer.then else negation(outer.cond))
    loop_vars = {n.var for n in reducing}
    return [c for cond in conditions for c in conjuncts(cond) if not free_vars(c) & loop_vars]


def visits_once(
    s: Schedule, block: Block, at: For, inner: Sequence[For], reducing: Sequence[For], conditions: Sequence[Expr]
) -> None:
    """The loops `inner`, from `at` inwards, run no spatial point of `block` twice, and `reducing` drive none.

    `conditions` hold whenever the block runs. Reason: visits_twice.
    """
    if any(SPATIAL in checks.driven(n, block) for n in reducing):
        _refuse_visits(s, block, at, inner)
    points_apart(s, block, at, inner, (), conditions)


def points_apart(
    s: Schedule, block: Block, at: For, inner: Sequence[For], others: Sequence[For], conditions: Sequence[Expr] = ()
) -> None:
    """Iterations of the loops `inner`, from `at` inwards, run different spatial points of `block`, whatever the loops
    `others` do. `conditions` hold whenever the block runs. Reason: visits_twice.
    """
    free = {n.var for n in others}
    bound = zip(block.iters, block.bindings, strict=True)
    spatial = [b for it, b in bound if it.kind == SPATIAL and not free_vars(b) & free]
    loops = [(n.var, n.extent) for n in inner if not runs_once(s, n)]
    ctx = s.context(at)
    path = s.path(block)
    for n in path[path.index(at) :]:
        if isinstance(n, For) and (n in inner or not checks.driven(n, block) - {SPATIAL}):
            ctx = ctx.bind(n.var, n.extent)
    knowing = ctx
    for cond in conditions:
        knowing = knowing.assume(cond)
    if not (injective(spatial, loops, ctx) or (conditions and injective(spatial, loops, knowing))):
        _refuse_visits(s, block, at, inner)


def _refuse_visits(s: Schedule, block: Block, at: For, inner: Sequence[For]) -> NoReturn:
    """Reason: visits_twice."""
    s.refuse(
        "visits_twice",
        f"it is not proved that the loops from {at.var.name} inwards visit each spatial point of block "
        f"{block.name} once, so its init cannot run before all of them",
        at=[*inner, block],
        hint="a loop further in",
    )


def inits_kept(s: Schedule, before: Sequence[For], after: Sequence[For] = ()) -> None:
    """A loop outside all that reduce comes inside one only if it runs no spatial point twice: the init then runs before
    it, not in each iteration.

    after: the perfect nest `before` in another order; or one loop of all becomes of it. Reason: visits_twice.
    """
    for block in (b for b in blocks_below(before[-1]) if b.init is not None):
        path = s.path(block)
        loops = [n for n in path if isinstance(n, For)]
        reducing = [n for n in loops if checks.driven(n, block) - {SPATIAL}]
        if not reducing or not any(n is reducing[0] for n in before):
            continue
        start = next((n for n in after if n in reducing), None)
        outer = after[: after.index(start)] if start is not None else ()
        moved = [n for n in before[: before.index(reducing[0])] if n not in outer]
        if not all(runs_once(s, n) for n in moved):
            within = [n for n in loops[loops.index(before[0]) :] if n not in outer]
            inner = [*moved, *(n for n in loops[loops.index(reducing[0]) :] if n not in reducing and n not in outer)]
            if not _separated(s, block, moved, within):
                free = reducing if after else [*reducing, *before]  # what mentions a loop of one will mention the one
                conditions = conditions_of_init(s, block, before[0], free)
                points_apart(s, block, before[0], inner, reducing, conditions)


def _separated(s: Schedule, block: Block, moved: Sequence[For], within: Sequence[For]) -> bool:
    """Do different iterations of the loops `moved` run different spatial points of `block`, whatever the others of the
    loops `within` do?"""
    spatial = [b for it, b in zip(block.iters, block.bindings, strict=True) if it.kind == SPATIAL]
    loops = [(n.var, n.extent) for n in within]
    return injective(spatial, loops, s.context(within[0]), of=[n.var for n in moved])


def carried_kept(s: Schedule, before: Sequence[For], after: Sequence[For]) -> None:
    """Loops that may carry values between different blocks keep their order. Reason: loop_carries."""
    body = before[-1].body
    for buffer, region in shared_regions(body, s.context(before[-1], inside=True)).items():
        old = carriers(s, region, before)
        new = [n for n in after if any(n is c for c in old)]
        if any(a is not b for a, b in zip(old, new, strict=True)):
            s.refuse(
                "loop_carries",
                f"the order of loops {', '.join(n.var.name for n in old)} matters: several blocks below use the same "
                f"parts of {buffer.name}",
                at=old,
                hint="an order that keeps these loops as they are among each other",
            )


def carriers(s: Schedule, region: Region, loops: Sequence[For]) -> list[For]:
    """The loops of a perfect nest in which different iterations may touch the same elements of a region."""
    used = frozenset[Var]().union(*map(free_vars, region.mins))
    several = [n for n in loops if not runs_once(s, n)]
    apart = [n for n in several if n.var in used]
    return [n for n in several if n.var not in used] if disjoint(region, apart, s.context(loops[0])) else several


def in_any_order(loop: For, buffer: Buffer) -> bool:
    """Is all that `loop` does to `buffer` the updates of one commutative reduction, initialised outside?"""
    users = flow.users(loop, buffer)
    if any(b.init is not None and not checks.driven(loop, b) - {SPATIAL} for b in users):
        return False
    return all(alike.commute(users[0], b) for b in users)


def shared_regions(body: Stmt, ctx: Context) -> dict[Buffer, Region]:
    """Where `body` touches the buffers that outlive it, are written in it and are used by several of its blocks."""
    blocks = list(blocks_below(body))
    users = {b: touched(b) for b in blocks}
    outlive = set[Buffer]().union(*map(written, blocks)) - allocated(body)
    shared = {b for b in outlive if sum(b in users[block] for block in blocks) > 1}
    if not shared:
        return {}
    reads, writes = accesses(body, ctx, of=shared)
    return {b: hull(reads.get(b), writes[b], ctx) for b in shared}


def written(stmt: Stmt) -> set[Buffer]:
    return {n.buffer for n in find(stmt, Store)}


def allocated(stmt: Stmt) -> set[Buffer]:
    return {n.buffer for n in find(stmt, Alloc)}
