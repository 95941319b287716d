"""The requirements of primitives, each a function with a name, shared among them.

A check returns what it found, or refuses the step with a stable reason code, a sentence, the offending nodes and
what would be legal instead.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, TypeAlias

from tensorlang.arith.prove import proves
from tensorlang.ir.nodes import (
    ONE,
    ORDERED,
    PARALLEL,
    SERIAL,
    SPATIAL,
    THREAD_AXES,
    UNROLL,
    VECTORIZE,
    Alloc,
    Block,
    Expr,
    For,
    Knob,
    Stmt,
    Store,
    Var,
    const,
)
from tensorlang.ir.walk import find, free_vars

if TYPE_CHECKING:
    from tensorlang.schedule.schedule import Schedule

Hint: TypeAlias = str | Callable[[], str]  # what would be legal; one that takes work is found only for a refusal


def blocks_below(stmt: Stmt) -> Iterator[Block]:
    """The blocks in `stmt`, in order."""
    return find(stmt, Block)


def as_factor(s: Schedule, value: Any) -> Expr:
    """A loop extent given by the user: a whole number >= 1, or an index expression over knobs.

    Reasons: bad_factor, factor_not_positive.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        if value < 1:
            s.refuse("factor_not_positive", f"a factor must be at least 1, got {value}", hint="1, 2, 3, ...")
        return const(value)
    if not isinstance(value, Expr) or value.dtype != "index":
        s.refuse(
            "bad_factor",
            f"a factor is an int or a knob, got {value!r}",
            hint="an int of at least 1, a knob, or None for the one that is inferred",
        )
    strangers = [v.name for v in free_vars(value) if not isinstance(v, Knob)]
    if strangers:
        s.refuse(
            "bad_factor",
            f"a factor may depend on knobs only, {value!r} depends on {', '.join(strangers)}",
            hint="an int of at least 1, or an expression of knobs",
        )
    return value


def is_serial(s: Schedule, loop: For) -> None:
    """The loop has no kind yet: steps that remake loops come before those that say how they run. Reason: loop_kind."""
    if loop.kind != SERIAL:
        s.refuse(
            "loop_kind",
            f"loop {loop.var.name} is already {how_it_runs(loop)}, which the new loops could not keep",
            at=[loop],
            hint=f"do this step before {step_of_kind(loop)}",
        )


def how_it_runs(loop: For) -> str:
    """The kind of a loop in words."""
    return {PARALLEL: "parallel", VECTORIZE: "vectorized", UNROLL: "unrolled"}.get(loop.kind, f"bound to {loop.kind}")


def step_of_kind(loop: For) -> str:
    """The step that gave a loop its kind."""
    name = loop.var.name
    return f"{loop.kind}({name})" if loop.kind in (PARALLEL, VECTORIZE, UNROLL) else f'bind({name}, "{loop.kind}")'


def has_no_annotations(s: Schedule, loop: For) -> None:
    """Nothing was said about the loop that its successors would lose. Reason: loop_annotated."""
    if loop.annotations:
        keys = ", ".join(key for key, _ in loop.annotations)
        s.refuse(
            "loop_annotated",
            f"loop {loop.var.name} is annotated with {keys}, which the new loops would lose",
            at=[loop],
            hint="annotate the loops that this step makes",
        )


def split_factors(s: Schedule, factors: Any) -> list[Expr | None]:
    """The factors of a split. Reasons: bad_factor, factor_not_positive, several_inferred."""
    if not isinstance(factors, list) or not factors:
        s.refuse("bad_factor", f"factors are a list such as [None, 32], got {factors!r}", hint="[None, 32]")
    extents = [None if f is None else as_factor(s, f) for f in factors]
    if sum(e is None for e in extents) > 1:
        s.refuse("several_inferred", "at most one factor can be None", hint="[None, 4, 8]")
    return extents


def known_tail(s: Schedule, tail: Any) -> None:
    """How iterations beyond the extent are kept from running. Reason: unknown_tail."""
    if not isinstance(tail, str) or tail not in ("guard", "cut"):
        s.refuse("unknown_tail", f"there is no tail {tail!r}", hint='"guard" or "cut"')


def distinct_loops(s: Schedule, loops: Any, least: int = 2) -> list[For]:
    """The nodes of at least `least` different loops. Reasons: too_few_loops, duplicate_loop."""
    nodes = [s.loop_node(loop) for loop in loops]
    if len(nodes) < least:
        s.refuse(
            "too_few_loops",
            f"takes at least {least} loops, got {len(nodes)}",
            hint="loops that stand one inside another, outermost first",
        )
    for n, node in enumerate(nodes):
        if any(node is other for other in nodes[:n]):
            s.refuse("duplicate_loop", f"loop {node.var.name} is given twice", hint="each loop once")
    return nodes


def perfect_chain(s: Schedule, nodes: Sequence[For]) -> list[For]:
    """The loops from the outermost of `nodes` to the innermost, each the whole body of the one before.

    Reason: not_perfectly_nested.
    """
    outermost = min(nodes, key=lambda n: len(s.path(n)))
    chain: list[For] = []
    missing = list(nodes)
    current: Stmt = outermost
    while isinstance(current, For):
        chain.append(current)
        missing = [n for n in missing if n is not current]
        if not missing:
            return chain
        current = current.body
    inside = " > ".join(n.var.name for n in chain)
    s.refuse(
        "not_perfectly_nested",
        f"loop {missing[0].var.name} is not in the chain of perfectly nested loops below {outermost.var.name}",
        at=[missing[0], current],
        hint=f"loops of the chain {inside}",
    )


def adjacent(s: Schedule, nodes: Sequence[For]) -> None:
    """Each loop is the whole body of the one before. Reason: not_adjacent."""
    for outer, inner in pairwise(nodes):
        if outer.body is not inner:
            directly = (
                f"directly inside {outer.var.name} is loop {outer.body.var.name}; reorder first"
                if isinstance(outer.body, For)
                else f"{outer.var.name} has no single loop directly inside"
            )
            s.refuse(
                "not_adjacent",
                f"loop {inner.var.name} is not directly inside loop {outer.var.name}",
                at=[outer, inner],
                hint=directly,
            )


def extents_in_order(s: Schedule, nodes: Sequence[For]) -> None:
    """No extent depends on the variable of a loop that would be further in. Reason: extent_depends."""
    for n, node in enumerate(nodes):
        for inner in nodes[n + 1 :]:
            if inner.var in free_vars(node.extent):
                s.refuse(
                    "extent_depends",
                    f"the extent of loop {node.var.name}, {node.extent!r}, depends on loop {inner.var.name}",
                    at=[node, inner],
                    hint=f"{node.var.name} inside {inner.var.name}",
                )


def driven(loop: For, block: Block) -> set[str]:
    """The kinds of the iterators of `block` whose values depend on `loop`."""
    bound = zip(block.iters, block.bindings, strict=True)
    return {it.kind for it, binding in bound if loop.var in free_vars(binding)}


def only_reducing(block: Block) -> set[Var]:
    """What the iterators of `block` that reduce depend on, and no spatial one does."""
    reducing, spatial = set[Var](), set[Var]()
    for it, binding in zip(block.iters, block.bindings, strict=True):
        (spatial if it.kind == SPATIAL else reducing).update(free_vars(binding))
    return reducing - spatial


def ordered_kept(s: Schedule, before: Sequence[For], after: Sequence[For]) -> None:
    """Loops that drive ordered iterators of a block keep their order, but for those that run it at most once.

    Reason: ordered_iterators.
    """
    for block in blocks_below(before[-1]):
        ordered = [n for n in before if ORDERED in driven(n, block) and not proves(n.extent <= 1, s.context(n))]
        old = [n for n in ordered if not proves(n.var <= 0, s.context(block, inside=True))]
        new = [n for n in after if any(n is o for o in old)]
        if any(a is not b for a, b in zip(old, new, strict=True)):
            s.refuse(
                "ordered_iterators",
                f"block {block.name} combines in a fixed order, in which {old[0].var.name} comes outside "
                f"{', '.join(n.var.name for n in old[1:])}",
                at=[*old, block],
                hint="declare the reducer commutative if it is",
            )


def extents_not_negative(s: Schedule, nodes: Sequence[For]) -> None:
    """Extents whose product is taken are proved >= 0. Reason: extent_negative."""
    for node in nodes:
        s.require(
            node.extent >= 0,
            s.context(node),
            "extent_negative",
            f"the extent of loop {node.var.name}, {node.extent!r}, may be negative",
            at=[node],
            hint="loops whose extents cannot be negative",
        )


def one_factor_each(s: Schedule, loops: Sequence[Any], factors: Sequence[Any]) -> None:
    """As many factors as loops. Reasons: bad_argument, factor_count."""
    for what, given in (("loops", loops), ("factors", factors)):
        if not isinstance(given, list | tuple):
            s.refuse("bad_argument", f"{what} are a list, got {given!r}", hint="tile([i, j], [4, 8])")
    if len(loops) != len(factors):
        s.refuse(
            "factor_count",
            f"takes one factor for each loop, got {len(loops)} loops and {len(factors)} factors",
            hint="one factor for each loop",
        )


def extent_is_fixed(s: Schedule, loop: For, kind: str) -> None:
    """The number of iterations is known when the schedule is. Reason: extent_not_fixed."""
    if any(not isinstance(v, Knob) for v in free_vars(loop.extent)):
        s.refuse(
            "extent_not_fixed",
            f"{kind} needs an extent that is known when the schedule is, loop {loop.var.name} has {loop.extent!r}",
            at=[loop],
            hint=f"split({loop.var.name}, [None, 8]), then {kind} the inner loop",
        )


def thread_axis(s: Schedule, axis: Any) -> None:
    """The name of an axis of blocks or threads. Reason: unknown_axis."""
    if not isinstance(axis, str) or axis not in THREAD_AXES:
        s.refuse("unknown_axis", f"there is no axis {axis!r}", hint=", ".join(THREAD_AXES))


def loop_or_block(s: Schedule, name: Any) -> For | Block:
    """The one loop or block of that name. Reasons: ambiguous_name, and those of an unknown block."""
    if not isinstance(name, str):
        names = ", ".join(block.name for block in blocks_below(s.func.body))
        message = f"expected a loop or a block or its name, got {name!r}"
        s.refuse("bad_argument", message, hint=f"s.loops(block), or a block: {names}")
    is_loop, is_block = s.has_loop(name), s.has_block(name)
    if is_loop and is_block:
        s.refuse(
            "ambiguous_name",
            f"{name} is a loop and a block",
            at=[s.loop_node(name), s.block_node(name)],
            hint="a Func whose loops and blocks have different names",
        )
    if is_block or "." not in name:
        return s.block_node(name)
    return s.loop_node(name)


def plain_annotation(s: Schedule, key: Any, value: Any) -> None:
    """An annotation that can be stored as JSON. Reason: bad_annotation."""
    if not isinstance(key, str) or not isinstance(value, bool | int | float | str):
        s.refuse(
            "bad_annotation",
            f"takes a string and a bool, int, float or string, got {key!r}: {value!r}",
            hint='"key", 1',
        )


def has_init(s: Schedule, block: Block) -> Stmt:
    """The block is a reduction that still has its init, which is returned. Reason: no_init."""
    if block.init is None:
        having = ", ".join(b.name for b in blocks_below(s.func.body) if b.init is not None)
        s.refuse("no_init", f"block {block.name} has no init", at=[block], hint=having or "no block has one")
    return block.init


def encloses(s: Schedule, loop: For, block: Block) -> None:
    """The loop is around the block. Reason: not_around."""
    if not any(n is loop for n in s.path(block)):
        around = ", ".join(n.name for n in s.loops(block.name))
        s.refuse("not_around", f"loop {loop.var.name} is not around block {block.name}", at=[loop, block], hint=around)


def not_allocated_inside(s: Schedule, loop: For, block: Block) -> None:
    """What the init of the block writes exists outside the loop too. Reason: allocated_inside."""
    buffers = {n.buffer for n in find(block.init, Store)} if block.init is not None else set()
    for alloc in find(loop, Alloc, lambda n: n.buffer in buffers):
        legal = [n.name for n in s.loops(block.name) if any(p is alloc for p in s.path(s.loop_node(n)))]
        s.refuse(
            "allocated_inside",
            f"{alloc.buffer.name}, which block {block.name} writes, is allocated inside loop {loop.var.name}",
            at=[loop, alloc],
            hint=", ".join(legal) or "no loop: none is inside the allocation",
        )


def runs_at_least_once(s: Schedule, loops: Sequence[For], block: Block) -> None:
    """Reduction loops outside the init are not empty. Reason: reduction_may_be_empty."""
    for loop in loops:
        s.require(
            loop.extent >= 1,
            s.context(loop),
            "reduction_may_be_empty",
            f"the init of block {block.name} would run in the first iteration of loop {loop.var.name}, whose extent "
            f"{loop.extent!r} may be 0",
            at=[loop, block],
            hint=f"loop {loop.var.name}, or one outside it",
        )


def inits_still_run(s: Schedule, nodes: Sequence[For]) -> None:
    """What runs in an iteration of spatial loops alone still does in one loop of all `nodes`: no reduction is empty.

    Where a loop that drives spatial iterators, too, runs nothing, no init runs in either case. A loop of one iteration
    drives nothing.
    Reason: reduction_may_be_empty.
    """
    for block in blocks_below(nodes[-1]):
        spatial = [n for n in nodes if n.extent is not ONE and SPATIAL in driven(n, block)]
        reducing = [n for n in nodes if n not in spatial and driven(n, block) - {SPATIAL}]
        if block.init is None or not spatial:
            continue
        for loop in reducing:
            ctx = s.context(loop)
            for other in spatial:
                ctx = ctx.assume(other.extent >= 1)
            s.require(
                loop.extent >= 1,
                ctx,
                "reduction_may_be_empty",
                f"one loop with {loop.var.name}, whose extent {loop.extent!r} may be 0, might not run the init of "
                f"block {block.name}",
                at=[loop, block],
                hint="loops that drive spatial iterators, or loops that drive reduction iterators",
            )


def inits_do_not_escape(s: Schedule, nodes: Sequence[For], var: Var, body: Stmt) -> None:
    """Of the loops `nodes`, around blocks with inits, comes one over `var` around `body`.

    If that one only reduces, inits run before it, however often it runs: what was around them must not be empty.
    Reason: loop_may_be_empty.
    """
    for old, block in zip(blocks_below(nodes[-1]), blocks_below(body), strict=True):
        kinds = {it.kind for it, b in zip(block.iters, block.bindings, strict=True) if var in free_vars(b)}
        if block.init is None or SPATIAL in kinds or not kinds:
            continue
        for loop in nodes:
            own = driven(loop, old)
            if not own or SPATIAL in own:
                s.require(
                    loop.extent >= 1,
                    s.context(loop),
                    "loop_may_be_empty",
                    f"the init of block {block.name} would run before one loop with {loop.var.name}, also where that "
                    f"has no iteration: its extent is {loop.extent!r}",
                    at=[loop, old],
                    hint="loops that run at least once, or loops that reduce",
                )


def extents_free_of(s: Schedule, loops: Sequence[For], others: Sequence[For]) -> None:
    """The extents of `loops` do not depend on `others`. Reason: extent_depends."""
    for loop in loops:
        for other in others:
            if other.var in free_vars(loop.extent):
                s.refuse(
                    "extent_depends",
                    f"the extent of loop {loop.var.name}, {loop.extent!r}, depends on loop {other.var.name}",
                    at=[loop, other],
                    hint=f"{other.var.name} left where it is, outside {loop.var.name}",
                )
