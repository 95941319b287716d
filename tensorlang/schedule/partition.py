"""Primitives that run a computation in several parts: loop_partition, fission, specialize; and add_unit_loop."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from tensorlang.arith.disjoint import disjoint, hull
from tensorlang.arith.footprint import holds
from tensorlang.arith.prove import prove, proves
from tensorlang.arith.regions import accesses, apart
from tensorlang.arith.simplify import simplify
from tensorlang.arith.stages import same_in_all
from tensorlang.ir import ops
from tensorlang.ir.nodes import (
    FALSE,
    ONE,
    SERIAL,
    SPATIAL,
    TRUE,
    VECTORIZE,
    ZERO,
    Alloc,
    Block,
    Expr,
    For,
    If,
    Knob,
    Seq,
    Size,
    Stmt,
    Var,
    const,
    seq,
)
from tensorlang.ir.walk import find, free_vars, sizes, substitute, touched
from tensorlang.schedule import checks, copies, dependence, remade
from tensorlang.schedule import dataflow as flow
from tensorlang.schedule.handles import BlockLike, BlockRef, Loop, LoopLike
from tensorlang.schedule.loops import open_extent, part, rebind
from tensorlang.schedule.primitive import primitive

if TYPE_CHECKING:
    from tensorlang.schedule.schedule import Schedule


@primitive
def loop_partition(s: Schedule, loop: LoopLike, at: Sequence[int | Expr]) -> tuple[Loop, ...]:
    """Run the iterations of a loop as several loops, one after the other, which part at the points `at`; returns them.

    The first part runs the iterations below at[0], the next ones those from there to at[1] and so on, the last one
    the rest. Loop `i` becomes `i.part0`, `i.part1` ...; the first part keeps all other names, the others hold copies,
    `B.part1` of block `B`. Points are ints or index expressions over sizes and knobs. Parts may be empty; a point
    behind the last iteration parts there.

    >>> s.loop_partition("C.i", [1, 7])
    (Loop('C.i.part0'), Loop('C.i.part1'), Loop('C.i.part2'))

    requires:
      1. `at` holds at least one point
      2. the points ascend: none is less than the one before, or than 0
      3. the loop is serial and has no annotations
      4. a block with an init below is driven by the loop in spatial or in reduction iterators, not in both (but where
         extent and points are numbers, and the first part visits all its spatial points), and where it is in
         reduction iterators, no extent on which the init depends does on the loop

    rewrite, at [1, n - 1]:
      for i in n:                    for i.part0 in 1:
        block B(x = i)         ->      block B(x = i.part0)
                                     for i.part1 in n - 2:
                                       block B.part1(x = i.part1 + 1)
                                     for i.part2 in 1:
                                       block B.part2(x = i.part2 + n - 1)
    """
    node = s.loop_node(loop)
    checks.is_serial(s, node)
    checks.has_no_annotations(s, node)
    points = [ZERO, *_ascending(s, node, _points(s, node, at)), node.extent]
    remade.inits_stay_whole(s, node, points[1])
    around = s.context(node, rewriting=True)
    fresh = [Var(s.fresh(f"{node.var.name}.part{n}")) for n in range(len(points) - 1)]
    parts: list[Stmt] = []
    for n, (start, end) in enumerate(pairwise(points)):
        body = copies.duplicate(s, copies.continued(node.body, node), f"part{n}") if n else node.body
        parts.append(part(node.var, body, fresh[n], start, simplify(end - start, around), around))
    s.replace(node, seq(*parts))
    return tuple(Loop(s, v.name) for v in fresh)


@primitive
def fission(s: Schedule, loop: LoopLike, after: BlockLike) -> tuple[Loop, Loop]:
    """Make two loops of one, which run its body up to and including the part with block `after`, and the rest.

    The first loop keeps its name, the second one is `<loop>.rest`; both are returned. A buffer allocated inside is then
    allocated where both loops are, or in the one that uses it.

    >>> t.compute_at("C", "D.i")
    >>> t.fission("D.i", "C")
    (Loop('D.i'), Loop('D.i.rest'))

    requires:
      1. `after` is inside the loop, and something of its body follows
      2. the loop has no annotations
      3. no iteration of the rest touches what a later iteration of the first part writes, or writes what it touches;
         but in a buffer of which each iteration of the first part stores all that the rest reads then, and the same
         values as any other iteration; and but for the updates of one commutative reduction
      4. the first part does not touch what reductions over the loop in the rest initialise

    rewrite:
      for i in n:                    for i in n:
        block P(x = i)                 block P(x = i)
        block C(x = i)         ->    for i.rest in n:
                                       block C(x = i.rest)
    """
    node, last = s.loop_node(loop), s.block_node(after)
    checks.encloses(s, node, last)
    checks.has_no_annotations(s, node)
    first, rest = _halves(s, node, last)
    _nothing_carried_backwards(s, node, first, rest)
    _inits_after(s, node, first, rest)
    var = Var(s.fresh(f"{node.var.name}.rest"))
    around = s.context(node, rewriting=True)
    moved = rebind(rest, {node.var: var}, around.bind(var, open_extent(node.extent, around)))
    both: Stmt = seq(node.replace(body=first), For(var, node.extent, node.kind, moved))
    for alloc in reversed(_allocations(node)):
        both = alloc.replace(body=both)
    s.replace(node, both)
    for alloc in _allocations(node):
        s.func = s.func.with_body(flow.place_alloc(s.func.body, alloc.buffer))
    return Loop(s, node.var.name), Loop(s, var.name)


@primitive
def specialize(
    s: Schedule, condition: Expr | bool, loop: LoopLike | None = None
) -> tuple[tuple[BlockRef, ...], tuple[BlockRef, ...]]:
    """Make a variant of the program, or of `loop`, for sizes that fulfil `condition`; others run a general variant.

    Returns the blocks of the variant, which keeps all names, and those of the general one: copies `B.general`. Steps
    on the variant know that the condition holds: with `n % 16 == 0`, split(i, [None, 16]) needs no guard there.

    >>> n = tl.var("n")
    >>> x = tl.placeholder((n,), name="x")
    >>> u = tl.Schedule(tl.compute((n,), lambda i: x[i] + 1.0, name="y"))
    >>> u.specialize(n % 8 == 0)
    ((Block('y'),), (Block('y.general'),))

    requires:
      1. `condition` is a bool expression over the sizes of the parameters
      2. it is neither known to hold nor known to fail
      3. `loop` is not inside a vectorised loop

    rewrite, for n % 16 == 0:
      for i in n:                    if n % 16 == 0:
        block B(x = i)         ->      for i in n:
                                         block B(x = i)
                                     else:
                                       for B.general.i in n:
                                         block B.general(x = B.general.i)
    """
    target = s.func.body if loop is None else s.loop_node(loop)
    cond = _open_condition(s, condition, target)
    _not_in_vectors(s, target)
    general = copies.duplicate(s, target, "general")
    s.replace(target, If(cond, target, general))
    fast, other = (tuple(BlockRef(s, b.name) for b in checks.blocks_below(p)) for p in (target, general))
    return fast, other


@primitive
def add_unit_loop(s: Schedule, block_or_loop: LoopLike | BlockLike) -> Loop:
    """Put a loop of one iteration around a block or a loop; returns it.

    It is named `<block or loop>.unit`.

    >>> s.add_unit_loop("C")
    Loop('C.unit')

    requires:
      1. the name is that of one loop or one block, not of both

    rewrite:
      block B(x = i)           ->    for B.unit in 1:
                                       block B(x = i)
    """
    node = checks.loop_or_block(s, block_or_loop)
    name = node.name if isinstance(node, Block) else node.var.name
    var = Var(s.fresh(f"{name}.unit"))
    s.replace(node, For(var, ONE, SERIAL, node))
    return Loop(s, var.name)


# ----------------------------------------------------------------------------------- requirements: loop_partition
def _points(s: Schedule, node: For, at: Any) -> list[Expr]:
    """The points as expressions. Reason: bad_point."""
    if not isinstance(at, list) or not at:
        s.refuse("bad_point", f"points are a list such as [1, n - 1], got {at!r}", hint="[1, n - 1]")
    known = {*sizes(s.func)}
    points: list[Expr] = []
    for value in at:
        point = const(value) if isinstance(value, int) and not isinstance(value, bool) else value
        if not isinstance(point, Expr) or point.dtype != "index":
            s.refuse(
                "bad_point",
                f"a point is an int or an index expression, got {value!r}",
                hint="an int, or an expression of sizes and knobs",
            )
        strangers = [v.name for v in free_vars(point) if not isinstance(v, Knob) and v not in known]
        if strangers:
            s.refuse(
                "bad_point",
                f"a point may depend on sizes and knobs, {point!r} depends on {', '.join(strangers)}",
                hint="an int, or an expression of sizes and knobs",
            )
        points.append(point)
    return points


def _ascending(s: Schedule, node: For, points: Sequence[Expr]) -> list[Expr]:
    """The points, or the extent where that is less. Reason: points_not_ascending."""
    ctx = s.context(node)
    for low, high in pairwise([ZERO, *points]):
        s.require(
            low <= high,
            ctx,
            "points_not_ascending",
            f"it is not known that {low!r} <= {high!r}: points of loop {node.var.name} ascend from 0",
            at=[node],
            hint=f"specialize({simplify(low <= high)!r}) first, if that depends on sizes"
            if _open(low, high)
            else f"points from 0 to {node.extent!r}",
        )
    return [p if proves(p <= node.extent, ctx) else simplify(ops.make("min", p, node.extent), ctx) for p in points]


def _open(*exprs: Expr) -> bool:
    return any(isinstance(v, Size) for e in exprs for v in free_vars(e))


# ------------------------------------------------------------------------------------------ requirements: fission
def _allocations(node: For) -> list[Alloc]:
    """The allocations right inside a loop."""
    found: list[Alloc] = []
    body = node.body
    while isinstance(body, Alloc):
        found.append(body)
        body = body.body
    return found


def _halves(s: Schedule, node: For, last: Block) -> tuple[Stmt, Stmt]:
    """The body up to the part that holds `last`, and the rest. Reason: nothing_after."""
    body = node.body
    for _ in _allocations(node):
        body = body.body  # type: ignore[attr-defined]
    parts = body.stmts if isinstance(body, Seq) else (body,)
    held = next(n for n, stmt in enumerate(parts) if any(b is last for b in flow.blocks(stmt)))
    if held + 1 == len(parts):
        before = [flow.blocks(stmt)[-1].name for stmt in parts[:-1] if flow.blocks(stmt)]
        s.refuse(
            "nothing_after",
            f"nothing follows the part of loop {node.var.name} that holds block {last.name}",
            at=[node, last],
            hint=", ".join(before) or f"a loop further in: the body of {node.var.name} has a single part",
        )
    return seq(*parts[: held + 1]), seq(*parts[held + 1 :])


def _nothing_carried_backwards(s: Schedule, node: For, first: Stmt, rest: Stmt) -> None:
    """What an iteration does in `rest` and what later ones do in `first` may change places. Reason: loop_carries."""
    if dependence.runs_once(s, node):
        return
    now, later = Var(node.var.name), Var(node.var.name)
    outside = s.context(node)
    two = outside.bind(later, node.extent).bind(now, later).assume(later >= 1)
    inside = s.context(node, inside=True)
    (reads, writes), (_, made) = accesses(rest, inside), accesses(first, inside)
    wanted, _ = accesses(rest, inside, clip=True)
    for buffer in [b for b in reads if b in made and b not in writes]:
        if all(holds(made[buffer], wanted[buffer], inside)) and same_in_all(
            s.func.body, node, buffer, s.context(s.func.body)
        ):
            del reads[buffer]
    for block in list(find(first, Block, lambda b: b.init is None and node.var in free_vars(b.predicate))):
        if prove(substitute(block.predicate, {node.var: later}), two) is FALSE:
            first = flow.splice(first, block)
    reads_later, writes_later = accesses(first, inside)
    pairs = [
        (a, b)
        for mine, theirs in ((writes, reads_later), (reads, writes_later), (writes, writes_later))
        for buffer, a in mine.items()
        if (b := theirs.get(buffer)) is not None
    ]
    for a, b in pairs:
        touch = not apart(a.at({node.var: now}), b.at({node.var: later}), two) and not disjoint(
            hull(a, b, inside), [node], outside
        )
        if touch and not dependence.in_any_order(node, a.buffer):
            s.refuse(
                "loop_carries",
                f"all iterations of the first part would run before those of the rest, and it is not proved that they "
                f"touch different parts of {a.buffer.name} from those that the rest touches in earlier iterations",
                at=[node],
                hint="a step that makes each iteration write a part of its own",
            )


def _inits_after(s: Schedule, node: For, first: Stmt, rest: Stmt) -> None:
    """Inits that run before the whole loop still run before what `first` does to their buffers. Reason: init_before."""
    used = touched(first)
    for block in find(rest, Block, lambda b: b.init is not None and bool(checks.driven(node, b) - {SPATIAL})):
        shared = dependence.written(block) & used
        if shared:
            s.refuse(
                "init_before",
                f"the init of block {block.name} runs before loop {node.var.name}, whose first part uses "
                f"{next(iter(shared)).name}",
                at=[node, block],
                hint=f"decompose_reduction({block.name}, {node.var.name}) first",
            )


# --------------------------------------------------------------------------------------- requirements: specialize
def _open_condition(s: Schedule, condition: Any, target: Stmt) -> Expr:
    """The condition, if it is one over sizes that may hold and may fail. Reasons: bad_condition, condition_decided."""
    own = {*sizes(s.func)}
    names = ", ".join(v.name for v in own) or "it has none: all extents are numbers"
    if not isinstance(condition, Expr | bool) or (isinstance(condition, Expr) and condition.dtype != "bool"):
        s.refuse("bad_condition", f"a condition is a bool expression over sizes, got {condition!r}", hint=names)
    if isinstance(condition, Expr):
        strangers = [v.name for v in free_vars(condition) if v not in own]
        if strangers:
            message = f"a condition depends on the sizes of {s.func.name} only, {condition!r} on {', '.join(strangers)}"
            s.refuse("bad_condition", message, hint=names)
    cond = prove(condition, s.context(target)) if isinstance(condition, Expr) else (TRUE if condition else FALSE)
    if cond is TRUE or cond is FALSE:
        known = "holds" if cond is TRUE else "fails"
        s.refuse(
            "condition_decided",
            f"{condition!r} {known} for all sizes here: there is nothing to tell apart",
            hint="a condition that depends on a size which is not fixed",
        )
    return cond


def _not_in_vectors(s: Schedule, target: Stmt) -> None:
    """Reason: vector_loop."""
    for outer in s.path(target):
        if isinstance(outer, For) and outer.kind == VECTORIZE:
            s.refuse(
                "vector_loop",
                f"loop {outer.var.name} is vectorised: it holds no branches",
                at=[outer],
                hint=f"specialize before vectorize({outer.var.name}), or a loop outside it",
            )
