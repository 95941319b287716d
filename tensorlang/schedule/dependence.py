"""Which loops may run their iterations in another order, or at the same time.

Two facts carry all proofs: different instances of a block write different elements (its spatial iterators are
independent, by definition), and two loop iterations that touch disjoint regions of a buffer do not disturb each
other through it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tensorlang.arith.affine import injective
from tensorlang.arith.bounds import bounds
from tensorlang.arith.context import Context
from tensorlang.arith.prove import proves
from tensorlang.arith.regions import Region, accesses
from tensorlang.arith.simplify import simplify
from tensorlang.ir.nodes import (
    PARALLEL,
    REDUCE,
    SPATIAL,
    TRUE,
    VECTORIZE,
    Alloc,
    Block,
    Buffer,
    Expr,
    For,
    Load,
    Seq,
    Stmt,
    Store,
    Var,
)
from tensorlang.ir.ops import make
from tensorlang.ir.walk import find, free_vars, parts
from tensorlang.schedule.checks import blocks_below

if TYPE_CHECKING:
    from tensorlang.schedule.schedule import Schedule


HOW = {PARALLEL: "in parallel", VECTORIZE: "as vectors"}


def kinds_hold(s: Schedule, proved: Mapping[Var, frozenset]) -> dict[Var, frozenset]:
    """Every parallel or vectorize loop of the program has independent iterations.

    Returns, for each of these loops, what the proof rests on; `proved` is what an earlier call has returned: a proof
    is repeated only if that has changed. Reasons: nested_kind, loop_reduces, loop_repeats, loop_carries.
    """
    grounds: dict[Var, frozenset] = {}
    for loop in find(s.func.body, For):
        if loop.kind in (PARALLEL, VECTORIZE):
            not_nested(s, loop)
            grounds[loop.var] = _grounds(loop)
            if proved.get(loop.var) != grounds[loop.var]:
                independent(s, loop)
    return grounds


def _grounds(loop: For) -> frozenset:
    """What is below a loop, whatever the order and the kinds of the loops there; remembered at the loop."""
    if "grounds" not in loop.memo:
        loop.memo["grounds"] = frozenset((loop.extent, *_ground(loop.body)))
    return loop.memo["grounds"]


def _ground(stmt: Stmt) -> Iterator[Any]:
    if isinstance(stmt, For):
        yield stmt.var, stmt.extent
    elif not isinstance(stmt, Seq):
        yield stmt.buffer if isinstance(stmt, Alloc) else stmt
    if not isinstance(stmt, Block):
        for part in parts(stmt):
            yield from _ground(part)


def not_nested(s: Schedule, loop: For) -> None:
    """No parallel loop inside another or inside vectors, no vectors inside vectors. Reason: nested_kind."""
    for outer in s.path(loop):
        if isinstance(outer, For) and (outer.kind == VECTORIZE or outer.kind == loop.kind == PARALLEL):
            s.refuse(
                "nested_kind",
                f"loop {loop.var.name} cannot run {HOW[loop.kind]} inside loop {outer.var.name}, which runs "
                f"{HOW[outer.kind]}",
                at=[outer, loop],
            )


def independent(s: Schedule, loop: For) -> None:
    """The iterations of `loop` may run at the same time. Reasons: loop_reduces, loop_repeats, loop_carries."""
    if runs_once(s, loop):
        return
    private = allocated(loop.body)
    for block in blocks_below(loop):
        for it, binding in zip(block.iters, block.bindings, strict=True):
            if it.kind != SPATIAL and loop.var in free_vars(binding):
                s.refuse(
                    "loop_reduces",
                    f"loop {loop.var.name} cannot run {HOW[loop.kind]}: it drives the {it.kind} iterator "
                    f"{it.var.name} of block {block.name}, so its iterations update the same elements",
                    at=[loop, block],
                    hint=f"a loop that drives spatial iterators only: {_spatial_loops(s, block) or 'there is none'}"
                    + (f"; or rfactor({loop.var.name}) first" if it.kind == REDUCE else ""),
                )
        if not written(block) <= private and not separates(s, loop, block):
            s.refuse(
                "loop_repeats",
                f"loop {loop.var.name} cannot run {HOW[loop.kind]}: it is not proved that its iterations run different "
                f"instances of block {block.name}",
                at=[loop, block],
            )
    for buffer, region in shared_regions(loop.body, s.context(loop, inside=True)).items():
        if not disjoint(region, [loop], s.context(loop)):
            s.refuse(
                "loop_carries",
                f"loop {loop.var.name} cannot run {HOW[loop.kind]}: it is not proved that its iterations touch "
                f"different parts of {buffer.name}, which several blocks below use",
                at=[loop],
            )


def _spatial_loops(s: Schedule, block: Block) -> str:
    reduces = [b for it, b in zip(block.iters, block.bindings, strict=True) if it.kind != SPATIAL]
    loops = [n for n in s.path(block) if isinstance(n, For)]
    return ", ".join(n.var.name for n in loops if not any(n.var in free_vars(b) for b in reduces))


def separates(s: Schedule, loop: For, block: Block) -> bool:
    """Do different iterations of `loop` run different instances of `block`, whatever the loops further in do?"""
    spatial = [b for it, b in zip(block.iters, block.bindings, strict=True) if it.kind == SPATIAL]
    used = frozenset[Var]().union(*map(free_vars, spatial)) if spatial else frozenset()
    if loop.var not in used:
        return False
    path = s.path(block)
    inner = [n for n in path[path.index(loop) :] if isinstance(n, For) and n.var in used]
    loops = [(n.var, n.extent) for n in inner]
    # most proofs need no predicate, and are quicker without it
    return injective(spatial, loops, s.context(loop)) or (
        block.predicate is not TRUE and injective(spatial, loops, s.context(block, inside=True))
    )


def runs_once(s: Schedule, loop: For) -> bool:
    """Is it proved that the loop has at most one iteration?"""
    return proves(loop.extent <= 1, s.context(loop))


def visits_once(
    s: Schedule, block: Block, at: For, inner: Sequence[For], reducing: Sequence[For], conditions: Sequence[Expr]
) -> None:
    """The loops `inner`, from `at` inwards, run no spatial point of `block` twice, and `reducing` drive none.

    `conditions` hold whenever the block runs. Reason: visits_twice.
    """
    spatial = [b for it, b in zip(block.iters, block.bindings, strict=True) if it.kind == SPATIAL]
    several = [n for n in inner if not runs_once(s, n)]
    mixed = any(n.var in free_vars(b) for n in reducing for b in spatial)
    loops = [(n.var, n.extent) for n in several]
    ctx = s.context(at)
    for n in inner:
        ctx = ctx.bind(n.var, n.extent)
    knowing = ctx
    for cond in conditions:
        knowing = knowing.assume(cond)
    if mixed or not (injective(spatial, loops, ctx) or (conditions and injective(spatial, loops, knowing))):
        s.refuse(
            "visits_twice",
            f"it is not proved that the loops from {at.var.name} inwards visit each spatial point of block "
            f"{block.name} once, so its init cannot run before all of them",
            at=[*inner, block],
            hint="a loop further in",
        )


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
            )


def carriers(s: Schedule, region: Region, loops: Sequence[For]) -> list[For]:
    """The loops of a perfect nest in which different iterations may touch the same elements of a region."""
    used = frozenset[Var]().union(*map(free_vars, region.mins))
    several = [n for n in loops if not runs_once(s, n)]
    apart = [n for n in several if n.var in used]
    return [n for n in several if n.var not in used] if disjoint(region, apart, s.context(loops[0])) else several


def disjoint(region: Region, loops: Sequence[For], ctx: Context) -> bool:
    """Do different iterations of `loops` (outermost first) touch disjoint parts? `ctx` holds outside them.

    Proved by cutting each dimension into tiles of the size of the region: the tile numbers must differ.
    """
    if not loops:
        return True
    inner = ctx
    for loop in loops:
        inner = inner.bind(loop.var, loop.extent)
    tiles: list[Expr] = []
    for low, extent in zip(region.mins, region.extents, strict=True):
        size = _largest(extent, loops, inner)
        if size is not None and proves(make("eq", low % size, 0), inner):
            tiles.append(simplify(low // size, inner))
    return injective(tiles, [(n.var, n.extent) for n in loops], ctx)


def _largest(extent: Expr, loops: Sequence[For], ctx: Context) -> Expr | None:
    """An upper bound of an extent that does not depend on the loops and is proved >= 1, or None."""
    if any(n.var in free_vars(extent) for n in loops):
        upper = bounds(extent, ctx)[1]
        if upper is None or any(n.var in free_vars(upper) for n in loops):
            return None
        extent = upper
    return extent if proves(extent >= 1, ctx) else None


def shared_regions(body: Stmt, ctx: Context) -> dict[Buffer, Region]:
    """Where `body` touches the buffers that outlive it, are written in it and are used by several of its blocks."""
    blocks = list(blocks_below(body))
    users = {b: written(b) | read(b) for b in blocks}
    outlive = set[Buffer]().union(*map(written, blocks)) - allocated(body)
    shared = {b for b in outlive if sum(b in users[block] for block in blocks) > 1}
    if not shared:
        return {}
    reads, writes = accesses(body, ctx, of=shared)
    return {b: hull(reads.get(b), writes[b], ctx) for b in shared}


def hull(a: Region | None, b: Region, ctx: Context) -> Region:
    """The smallest box around two regions."""
    if a is None:
        return b
    mins = [simplify(make("min", x, y), ctx) for x, y in zip(a.mins, b.mins, strict=True)]
    ends = [make("max", x + m, y + n) for x, m, y, n in zip(a.mins, a.extents, b.mins, b.extents, strict=True)]
    return Region(b.buffer, tuple(mins), tuple(simplify(e - m, ctx) for e, m in zip(ends, mins, strict=True)))


def written(stmt: Stmt) -> set[Buffer]:
    return {n.buffer for n in find(stmt, Store)}


def read(stmt: Stmt) -> set[Buffer]:
    return {n.buffer for n in find(stmt, Load)}


def allocated(stmt: Stmt) -> set[Buffer]:
    return {n.buffer for n in find(stmt, Alloc)}
