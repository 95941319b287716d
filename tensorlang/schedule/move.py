"""Primitives that move a block under a loop of another: compute_at, reverse_compute_at."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from tensorlang.arith import alike
from tensorlang.arith.context import Context
from tensorlang.arith.footprint import bind_all, read_box
from tensorlang.arith.prove import proves
from tensorlang.arith.regions import accesses
from tensorlang.arith.simplify import simplify
from tensorlang.ir import ops
from tensorlang.ir.nodes import (
    SERIAL,
    SPATIAL,
    TRUE,
    VECTORIZE,
    ZERO,
    Block,
    Buffer,
    Expr,
    For,
    If,
    Stmt,
    Var,
)
from tensorlang.ir.walk import find, free_vars
from tensorlang.schedule import dataflow as flow
from tensorlang.schedule.checks import Hint, how_it_runs, step_of_kind
from tensorlang.schedule.dependence import runs_all, runs_once
from tensorlang.schedule.handles import BlockLike, LoopLike
from tensorlang.schedule.lasting import earlier_writers, finds_what_it_reads, outlasts, overwrites_nothing, still_last
from tensorlang.schedule.loops import nest
from tensorlang.schedule.primitive import primitive
from tensorlang.schedule.produced import produced_ranges
from tensorlang.schedule.tiles import Range, needed_ranges
from tensorlang.schedule.views import unlaid

if TYPE_CHECKING:
    from tensorlang.schedule.schedule import Schedule


@primitive
def compute_at(s: Schedule, block: BlockLike, loop: LoopLike) -> None:
    """Compute `block` inside `loop`, in each iteration just what its consumers need there.

    The block gets new loops, named after it, over the box of its iterators that the consumers under `loop` read;
    reductions run in full. Their extents do not depend on outer loops; a guard keeps the box inside the domain. The
    buffer is then allocated inside `loop` (lowering makes it as small as the box).

    >>> t.compute_at("C", "D.i")
    >>> [loop.name for loop in t.loops("C")]
    ['D.i', 'C.i_1', 'C.j_1', 'C.k_1']

    requires:
      1. no other block writes what the block writes, but parts of the same computation, whose results the block then
         computes again; if they reduce, they have their init, and stand before `loop` and the loops around it; or
         blocks that are done with an element before the block begins, which runs on its whole domain and, if it
         updates what they have stored, on no point twice
      2. some block inside `loop` reads it; if others read it, too, or it is a parameter, the iterations of `loop` and
         of the loops around it compute all that they read of it, or all of it, and the others stand behind them
      3. all blocks that write what the block reads stand before those consumers, and those that share a loop with
         them produce all that it needs there; what they leave in loops that the block is taken out of, no later
         iteration stores other values over
      4. neither `loop` nor a loop around it is vectorised
      5. the block's own loops are serial, and have no annotations
      6. the block writes each element at one spatial point only

    rewrite:
      for i in 64:                             for j0 in 8:
        block P(i = i)                           for P.i in 10:
      for j0 in 8:                      ->         block P(i = j0 * 8 + P.i) where j0 * 8 + P.i < 64
        for j1 in 8:                             for j1 in 8:
          block C(j = j0 * 8 + j1)                 block C(j = j0 * 8 + j1)    # reads P[j .. j + 2]
    """
    node, target = s.block_node(block), s.loop_node(loop)
    earlier = earlier_writers(s, node)
    is_remakeable(s, node)
    overwrites_nothing(s, node)
    consumers = _consumers(s, node, target)
    rest = flow.splice(s.func.body, node)
    for buffer in flow.stored(node):
        rest = flow.drop_alloc(rest, buffer)

    def hint() -> str:
        readers = ", ".join(dict.fromkeys(c.name for c in consumers))
        legal = _names(_loops_for_producer(rest, node, consumers), target)
        return legal or f"no loop: none has all of {readers} inside, and all that {node.name} reads before"

    place = _find_loop(rest, target)
    inside = [] if place is None else [c for c in consumers if place in flow.path(rest, c)]
    outside = [c for c in consumers if c not in inside]
    if place is None or not inside:
        _refuse_a_part(s, node, target, outside, hint)
    anchor = flow.child_towards(rest, place, _first(rest, inside))
    _has_inputs(s, rest, node, anchor, target, hint)
    outer = (*flow.loops_above(rest, place), place)
    _stand_before(s, rest, node, outer[0])
    _is_scalar(s, outer, hint)
    ctx = flow.knowing(rest, place, s.context(s.func.body))
    boxes = {b: read_box(place.body, b, outer, ctx) for b in flow.stored(node)}
    ranges = needed_ranges(node, {b: box for b, box in boxes.items() if box is not None}, bind_all(ctx, outer))
    if outside or _parameters(s, node):
        behind = all(flow.precedes(rest, outer[0], c) and outer[0] not in flow.path(rest, c) for c in outside)
        if not (behind and _stands_alone(s, node, target) and _runs_enough(s, rest, node, ranges, outer, outside)):
            _refuse_a_part(s, node, target, outside, hint)
    fresh = regenerate(s, node, ranges, outer, ctx)
    body = _allocated(s, node, flow.splice(rest, anchor, fresh, anchor))
    moved = next(find(fresh, Block))
    still_last(s, body, moved, earlier)
    for buffer in flow.loaded(node):
        finds_what_it_reads(s, body, moved, buffer, ctx, hint)
        outlasts(s, body, node, moved, buffer, hint)
    s.replace(s.func.body, body)


@primitive
def reverse_compute_at(s: Schedule, block: BlockLike, loop: LoopLike) -> None:
    """Compute `block` inside `loop`, after its producers there, in each iteration on just what they produce.

    >>> t.reverse_compute_at("D", "C.j")
    >>> [loop.name for loop in t.loops("D")]
    ['C.i', 'C.j', 'D.i_1', 'D.j_1']

    requires:
      1. under `loop`, some block writes what `block` reads; the last one that does is its producer there
      2. the producer is complete there: its reductions run inside `loop`
      3. in each iteration the producer fills a gapless box, and `block` reads it with one of its spatial iterators
         (plus a constant) in each dimension that is not produced in full
      4. whatever else the block reads is complete before
      5. no other block writes what the block writes, but in another branch of a specialize, and parts of the same
         computation that do not reduce
      6. neither `loop` nor a loop around it is vectorised
      7. the block's own loops are serial, and have no annotations
      8. the block and its producers write each element at one spatial point only
      9. the consumers of the block stand after that place, and find there what they read
      10. `loop` runs whenever the block does: it is in no branch that the block is not in

    rewrite:
      for i0 in 4:                             for i0 in 4:
        for i1 in 8:                             for i1 in 8:
          block C(i = i0 * 8 + i1)      ->         block C(i = i0 * 8 + i1)
      for i in 32:                               for E.i in 8:
        block E(i = i)                             block E(i = i0 * 8 + E.i)    # reads C[i]
    """
    node, target = s.block_node(block), s.loop_node(loop)
    _in_its_branch(s, node, target)
    _no_other_writes(s, node)
    is_remakeable(s, node)
    for writer in (node, *(w for b in flow.loaded(node) for w in flow.writers(s.func.body, b))):
        overwrites_nothing(s, writer)
    rest = flow.splice(s.func.body, node)

    def hint() -> str:
        legal = _names(_loops_for_consumer(rest, node), target)
        return legal or f"no loop: in none is all complete that {node.name} reads"

    place, anchor = _behind_producer(s, rest, node, target, hint)
    outer = (*flow.loops_above(rest, place), place)
    _is_scalar(s, outer, hint)
    ctx = flow.knowing(rest, place, s.context(s.func.body))
    seen: list[Stmt] = [rest, node]
    for buffer in flow.loaded(node):
        seen = unlaid(seen, buffer)
    ranges = produced_ranges(s, *_as_seen(seen, target), ctx, hint)
    fresh = regenerate(s, node, ranges, outer, ctx)
    body = _allocated(s, node, flow.splice(rest, anchor, anchor, fresh))
    for buffer in flow.stored(node):
        for reader in flow.readers(body, buffer):
            finds_what_it_reads(s, body, reader, buffer, ctx, hint)
    s.replace(s.func.body, body)


# ------------------------------------------------------------------------------------------------ requirements
def _consumers(s: Schedule, node: Block, target: For) -> list[Block]:
    """The blocks that read what `node` computes. Reasons: no_consumer, writes_parameter."""
    consumers = [b for buffer in flow.stored(node) for b in flow.readers(s.func.body, buffer)]
    if not consumers and _parameters(s, node):
        _refuse_a_part(s, node, target, [], "")
    if not consumers:
        message, hint = f"no block reads what {node.name} computes", "a block whose result another block reads"
        s.refuse("no_consumer", message, at=[node], hint=hint)
    return consumers


def _parameters(s: Schedule, node: Block) -> list[Buffer]:
    return [b for b in flow.stored(node) if not flow.is_private(s.func.body, b)]


def _refuse_a_part(s: Schedule, node: Block, target: For, outside: list[Block], hint: Hint) -> NoReturn:
    """Reasons: writes_parameter, consumer_outside_loop."""
    for buffer in _parameters(s, node):
        s.refuse(
            "writes_parameter",
            f"{node.name} writes {buffer.name}, a parameter, which must be written in full",
            at=[node],
            hint=f"cache_write({node.name}, scope) first, or reverse_compute_at of another block",
        )
    names = ", ".join(dict.fromkeys(c.name for c in outside))
    message = f"{names} reads what {node.name} computes, outside loop {target.var.name}"
    s.refuse("consumer_outside_loop", message, at=[*outside, target], hint=hint)


def _in_its_branch(s: Schedule, node: Block, target: For) -> None:
    """Reason: other_branch."""
    place = flow.common(s.func.body, [node, target])
    branches = [n for n in flow.path(place, target) if isinstance(n, If)]
    if branches:
        message = f"loop {target.var.name} runs only if {branches[0].cond!r}, block {node.name} in any case"
        s.refuse("other_branch", message, at=[node, target], hint="this step before the specialize")


def _stands_alone(s: Schedule, node: Block, target: For) -> bool:
    """Are `node` and `target` in no loop together that runs twice, and does `target` run whenever `node` does?"""
    place = flow.common(s.func.body, [node, target])
    loops = [n for n in flow.path(s.func.body, place) if isinstance(n, For) and not runs_once(s, n)]
    return not loops and not any(isinstance(n, If) for n in flow.path(place, target))


def _runs_enough(
    s: Schedule, rest: Stmt, node: Block, ranges: list[Range], outer: tuple[For, ...], outside: list[Block]
) -> bool:
    """Do the loops `outer`, each iteration of which runs `node` over `ranges`, run all that the blocks `outside` read,
    and all of a parameter?"""
    ctx = s.context(s.func.body)
    if runs_all(node, ranges, outer, flow.knowing(rest, outer[-1], ctx)):
        return True
    if _parameters(s, node):
        return False
    for reader in outside:
        inside = bind_all(flow.knowing(rest, reader, ctx), flow.loops_above(rest, reader))
        wanted = needed_ranges(node, accesses(reader, inside, of=flow.stored(node))[0], inside)
        if not runs_all(node, ranges, outer, inside, wanted):
            return False
    return True


def _has_inputs(s: Schedule, rest: Stmt, node: Block, anchor: Stmt, target: For, hint: Hint) -> None:
    """All that writes what `node` reads stands before `anchor`. Reason: producer_not_before."""
    made = [w for b in flow.loaded(node) for w in flow.writers(rest, b, beside=anchor)]
    late = [w for w in made if not flow.precedes(rest, w, anchor)]
    late += [w for b in flow.loaded(node) for w in flow.writers(anchor, b)]
    if late:
        s.refuse(
            "producer_not_before",
            f"{late[0].name} writes what {node.name} reads, and is not complete before loop {target.var.name} needs it",
            at=[late[0], target],
            hint=hint,
        )


def _behind_producer(s: Schedule, rest: Stmt, node: Block, target: For, hint: Hint) -> tuple[For, Stmt]:
    """The loop `target` in `rest`, and the statement in it behind which all is made that `node` reads.

    Reasons: no_producer_in_loop, producer_not_before.
    """
    place = _find_loop(rest, target)
    inside = [] if place is None else [w for b in flow.loaded(node) for w in flow.writers(place, b)]
    if place is None or not inside:
        message = f"no block under loop {target.var.name} writes what {node.name} reads"
        s.refuse("no_producer_in_loop", message, at=[target, node], hint=hint)
    anchor = flow.child_towards(rest, place, _last(rest, inside))
    for other in (w for b in flow.loaded(node) for w in flow.writers(rest, b, beside=anchor)):
        if not flow.precedes(rest, other, anchor) and other not in flow.blocks(anchor):
            message = f"{other.name} writes what {node.name} reads, and stands later"
            s.refuse("producer_not_before", message, at=[other, target], hint=hint)
    return place, anchor


def _no_other_writes(s: Schedule, node: Block) -> None:
    """Reason: several_writers."""
    writing = [w for b in flow.stored(node) for w in flow.writers(s.func.body, b, beside=node)]
    others = [w for w in writing if w is not node and not alike.repeats(w, node)]
    if others:
        message = f"block {others[0].name} writes what block {node.name} writes, too"
        remedy = "this step before the one that made several blocks of one"
        s.refuse("several_writers", message, at=[node, *others], hint=remedy)


def _stand_before(s: Schedule, rest: Stmt, node: Block, loop: For) -> None:
    """Reductions whose results `node` computes again are complete before `loop` begins. Reason: several_writers."""
    for other in (w for b in flow.stored(node) for w in flow.writers(rest, b)):
        if other.init is not None and not flow.precedes(rest, other, loop):
            message = f"block {other.name} does not reduce before loop {loop.var.name} to what {node.name} does, too"
            s.refuse("several_writers", message, at=[node, other], hint="do this step before the one that parted them")


def is_remakeable(s: Schedule, node: Block) -> None:
    """The loops that vanish with the block say nothing that would be lost. Reasons: loop_kind, loop_annotated."""
    for loop in flow.loops_above(s.func.body, node):
        if len(flow.blocks(loop)) > 1:
            continue
        if loop.kind != SERIAL:
            s.refuse(
                "loop_kind",
                f"loop {loop.var.name} of {node.name} is already {how_it_runs(loop)}, which its new loops would lose",
                at=[loop],
                hint=f"do this step before {step_of_kind(loop)}",
            )
        if loop.annotations:
            s.refuse(
                "loop_annotated",
                f"loop {loop.var.name} of {node.name} has annotations, which its new loops would lose",
                at=[loop],
                hint="annotate the loops that this step makes",
            )


def _is_scalar(s: Schedule, outer: tuple[For, ...], hint: Hint) -> None:
    """Reason: vector_loop."""
    for loop in outer:
        if loop.kind == VECTORIZE:
            message = f"loop {loop.var.name} is vectorised: it takes no other loops"
            s.refuse("vector_loop", message, at=[loop], hint=hint)


# ------------------------------------------------------------------------------------------------- legal loops
def _loops_for_producer(rest: Stmt, node: Block, consumers: list[Block]) -> list[For]:
    """The loops around all consumers which start after everything that `node` reads is complete."""
    shared = flow.common(rest, consumers)
    around = [n for n in (*flow.path(rest, shared),) if isinstance(n, For)]
    inputs = [w for b in flow.loaded(node) for w in flow.writers(rest, b)]
    legal = []
    for loop in around:
        anchor = flow.child_towards(rest, loop, _first(rest, consumers))
        below = set(flow.blocks(anchor))
        if loop.kind != VECTORIZE and all(flow.precedes(rest, w, anchor) and w not in below for w in inputs):
            legal.append(loop)
    return legal


def _loops_for_consumer(rest: Stmt, node: Block) -> list[For]:
    """The loops around the last producer inside which it is complete."""
    inputs = [w for b in flow.loaded(node) for w in flow.writers(rest, b)]
    if not inputs:
        return []
    last = _last(rest, inputs)
    reducing = {v for it, b in zip(last.iters, last.bindings, strict=True) if it.kind != SPATIAL for v in free_vars(b)}
    legal: list[For] = []
    for loop in flow.loops_above(rest, last):
        if loop.var in reducing or loop.kind == VECTORIZE:
            break
        legal.append(loop)
    return legal


def _names(loops: list[For], refused: For) -> str:
    return ", ".join(loop.var.name for loop in loops if loop.var is not refused.var)


# ------------------------------------------------------------------------------------------------------ rewrite
def regenerate(s: Schedule, node: Block, ranges: list[Range], outer: tuple[For, ...], ctx: Context) -> Stmt:
    """`node` in new loops over `ranges`, one for each iterator, guarded against leaving the iterators' domains."""
    variables = [Var(s.fresh(f"{node.name}.{it.var.name}")) for it in node.iters]
    inner = bind_all(ctx, outer)
    for var, (_, extent) in zip(variables, ranges, strict=True):
        inner = inner.bind(var, extent)
    bindings: list[Expr] = []
    guard: Expr = TRUE
    for it, var, (low, extent) in zip(node.iters, variables, ranges, strict=True):
        value = simplify(low + var, inner)
        whole = low is ZERO and extent is it.extent
        for cond in () if whole else (value >= ZERO, value < it.extent):
            if not proves(cond, inner):
                guard = ops.make("and", guard, simplify(cond, inner))
        bindings.append(value)
    body = node.replace(bindings=tuple(bindings), predicate=guard)
    return nest(variables, [extent for _, extent in ranges], body)


def _allocated(s: Schedule, node: Block, body: Stmt) -> Stmt:
    """`body` with the buffers that the moved `node` touches allocated where they are used."""
    for buffer in (*flow.stored(node), *flow.loaded(node)):
        if flow.is_private(s.func.body, buffer):
            body = flow.place_alloc(body, buffer, s.func.body)
    return body


def _as_seen(seen: list[Stmt], target: For) -> tuple[Block, Stmt, For, tuple[For, ...]]:
    """A block, the program without it, the loop `target` there, and all loops from outside up to that one."""
    rest, node = seen
    place = next(find(rest, For, lambda n: n.var is target.var))
    return node, rest, place, (*flow.loops_above(rest, place), place)  # type: ignore[return-value]


def _find_loop(root: Stmt, loop: For) -> For | None:
    return next(find(root, For, lambda n: n.var is loop.var), None)


def _first(root: Stmt, blocks: list[Block]) -> Block:
    return next(b for b in flow.blocks(root) if b in blocks)


def _last(root: Stmt, blocks: list[Block]) -> Block:
    return [b for b in flow.blocks(root) if b in blocks][-1]
