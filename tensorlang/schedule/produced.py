"""Which part of its domain a block can run on where its producers have made what it reads."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from tensorlang.arith.affine import linear
from tensorlang.arith.context import Context
from tensorlang.arith.footprint import bind_all
from tensorlang.arith.prove import proves
from tensorlang.arith.simplify import simplify
from tensorlang.ir import ops
from tensorlang.ir.nodes import ONE, SPATIAL, ZERO, Block, Buffer, Expr, For, Load, Op, Stmt, Store, Var
from tensorlang.ir.walk import find, free_vars, substitute
from tensorlang.schedule import dataflow as flow
from tensorlang.schedule.checks import Hint
from tensorlang.schedule.tiles import Range, gapless, shifted

if TYPE_CHECKING:
    from tensorlang.schedule.schedule import Schedule


def produced_ranges(
    s: Schedule, node: Block, root: Stmt, place: For, outer: tuple[For, ...], ctx: Context, hint: Hint
) -> list[Range]:
    """For each iterator of `node`, the range for which all that it reads is complete at the end of `place`'s body.

    root: the program without `node`; outer: the loops around that place. Producers in `place` determine the range;
    those that only share a loop further out must cover it. `node` runs where one of its loads is produced: that every
    element of it is, once, makes it run everywhere. A second load determines ranges only if other loops step through
    what it reads, so that all pairs come together. Parts of one computation (as a cut makes them) count as one
    producer. Reasons: producer_incomplete, producer_in_parts, not_gapless, not_elementwise, reduction_split,
    conditional_read.
    """
    found: dict[Var, Range] = {}
    followed = set[Var]()
    owed: list[tuple[Block, Var, Range]] = []
    around = bind_all(ctx, outer)
    inside = flow.blocks(place)
    for buffer in flow.loaded(node):
        made = _parts(flow.writers(root, buffer, beside=place), buffer)
        if not any(loop in flow.loops_above(root, producer) for producer in made for loop in outer):
            continue
        _side_by_side(s, root, made, buffer, outer, hint)
        parts = dict(enumerate(_made_together(s, root, made, buffer, outer, around, hint)))
        for dim, size in enumerate(buffer.shape):
            if parts[dim].low is ZERO and proves(parts[dim].extent >= size, around):
                del parts[dim]  # complete
        steps = _steps(parts.values(), outer)
        for load in flow.loads(node.body, buffer):
            leads = made[-1] in inside and not steps & followed
            for dim, part in parts.items():
                var, offset = _reads_plainly(s, node, load, dim, made[-1], hint)
                mine = Range(simplify(part.low - offset, around), part.extent)
                if leads and var not in found:
                    _always_reads(s, node, var, simplify(offset, ctx), load, dim, ctx, hint)
                    _all_is_made(s, node, var, mine, load, outer, around, hint)
                    found[var] = mine
                else:
                    owed.append((made[-1], var, mine))
            followed |= steps if leads else set()
    for producer, var, part in owed:
        extent = next(it.extent for it in node.iters if it.var is var)
        wanted = found.get(var, Range(ZERO, extent))
        fits = (wanted.low >= part.low) & (wanted.low + wanted.extent <= part.low + part.extent)
        if not proves(fits, around):
            s.refuse(
                "not_elementwise",
                f"{producer.name} does not produce all that {node.name} reads in one iteration of {place.var.name}",
                at=[producer, place],
                hint=hint,
            )
    return [_exactly(found.get(it.var), it.extent, around) for it in node.iters]


def _steps(parts: Iterable[Range], outer: tuple[For, ...]) -> set[Var]:
    """The variables of the loops `outer` whose iterations differ in `parts`, or in which of them there are."""
    used = set[Var]().union(*(free_vars(e) for part in parts for e in part))
    for loop in reversed(outer):
        if loop.var in used:
            used |= free_vars(loop.extent)
    return used & {loop.var for loop in outer}


def _always_reads(
    s: Schedule, node: Block, var: Var, offset: Expr, load: Load, dim: int, ctx: Context, hint: Hint
) -> None:
    """Each instance reads an element that there is, so that it has a producer to follow. Reason: conditional_read."""
    domain = next(it.extent for it in node.iters if it.var is var)
    index = var + offset
    if not proves((index >= 0) & (index < load.buffer.shape[dim]), ctx.bind(var, domain)):
        s.refuse(
            "conditional_read",
            f"{node.name} reads {load!r} under a condition: where that fails, it would never run",
            at=[node],
            hint=hint,
        )


def _all_is_made(
    s: Schedule, node: Block, var: Var, mine: Range, load: Load, outer: tuple[For, ...], ctx: Context, hint: Hint
) -> None:
    """What is read under a condition is made for every instance, also those whose condition fails: what is read in any
    case is, as the program is right, but a producer need not make what no condition asks for. Reason: conditional_read.

    ctx: with the loops `outer`, in each iteration of which `mine` is made: the steps of each loop, inner ones first,
    leave no gap, and all together reach both ends of the domain.
    """
    choices = find(node.body, Op, lambda e: e.op == "if_then_else")
    if not any(n is load for choice in choices for branch in choice.args[1:] for n in find(branch, Load)):
        return
    domain = next(it.extent for it in node.iters if it.var is var)
    form = linear(mine.low, [loop.var for loop in outer])
    whole: list[Expr] = []
    if form is not None and free_vars(mine.extent).isdisjoint(loop.var for loop in outer):
        reach, whole = mine.extent, [form[1] <= 0]
        for loop in reversed(outer):
            step = form[0].get(loop.var, ZERO)
            whole += [step >= 0, step <= reach]
            reach = reach + step * (loop.extent - 1)
        whole.append(form[1] + reach >= domain)
    if not whole or not all(proves(each, ctx) for each in whole):
        s.refuse(
            "conditional_read",
            f"{node.name} reads {load!r} under a condition: where that fails, it may not be made",
            at=[node],
            hint=hint,
        )


def _exactly(part: Range | None, extent: Expr, ctx: Context) -> Range:
    """`part` cut to the domain, of which it never becomes more: the rest may be incomplete."""
    if part is None:
        return Range(ZERO, extent)
    low, size = simplify(part.low, ctx), simplify(part.extent, ctx)
    return Range(low, extent) if proves((size >= extent) & (low >= ZERO), ctx) else Range(low, size)


def _parts(made: list[Block], buffer: Buffer) -> list[Block]:
    """The blocks that compute `buffer`: those that write it, without inits that stand apart from their reduction."""
    updating = [n for n, block in enumerate(made) if block.init is None and _updates(block, buffer)]
    last = max(updating, default=-1)
    return [b for n, b in enumerate(made) if n >= last or b.init is not None or _updates(b, buffer)]


def _side_by_side(
    s: Schedule, root: Stmt, made: list[Block], buffer: Buffer, outer: tuple[For, ...], hint: Hint
) -> None:
    """The parts of a computation are all inside the same of the loops `outer`. Reason: producer_in_parts."""
    shared = [[loop for loop in flow.loops_above(root, b) if loop in outer] for b in made]
    for block, loops in zip(made, shared, strict=True):
        if loops != shared[-1]:
            inner = max(loops, shared[-1], key=len)[-1].var.name
            s.refuse(
                "producer_in_parts",
                f"{block.name} and {made[-1].name} each write a part of {buffer.name}, and are not both inside {inner}",
                at=[block, made[-1]],
                hint=hint,
            )


def _made_together(
    s: Schedule, root: Stmt, made: list[Block], buffer: Buffer, outer: tuple[For, ...], around: Context, hint: Hint
) -> list[Range]:
    """The box of `buffer` that is complete after an iteration of those loops in `outer` that hold the parts `made`.

    Parts write the same box (of a reduction each adds some), or neighbouring ones. Reason: not_gapless.
    """
    boxes: list[list[Range]] = []
    for block in made:
        mine = _made_box(s, root, block, buffer, outer, around, hint)
        if not any(all(_same(a, b, around) for a, b in zip(mine, known, strict=True)) for known in boxes):
            boxes.append(mine)
    box = boxes[0]
    for other in boxes[1:]:
        apart = [d for d, (a, b) in enumerate(zip(box, other, strict=True)) if not _same(a, b, around)]
        joined = _joined(box[apart[0]], other[apart[0]], around) if len(apart) == 1 else None
        if joined is None:
            s.refuse(
                "not_gapless",
                f"the elements of {buffer.name} that {', '.join(b.name for b in made)} produce in one iteration are "
                "not known to form a gapless box",
                at=made,
                hint=hint,
            )
        box[apart[0]] = joined
    return box


def _hold_in_domain(conds: Sequence[Expr], block: Block, ctx: Context) -> bool:
    """Do the conditions hold wherever the values of the block's iterators are inside of their domain?"""
    if not conds:
        return True
    for it, binding in zip(block.iters, block.bindings, strict=True):
        ctx = ctx.assume((binding >= ZERO) & (binding < it.extent))
    return all(proves(c, ctx) for c in conds)


def _is_complete(s: Schedule, producer: Block, buffer: Buffer, shared: Sequence[For], hint: Hint) -> None:
    """The loops `shared` around the producer run its reduction at once. Reason: producer_incomplete."""
    reduced = [b for it, b in zip(producer.iters, producer.bindings, strict=True) if it.kind != SPATIAL]
    for loop in (n for n in shared if any(n.var in free_vars(b) for b in reduced)):
        before = s.context(s.loop_node(loop.var.name))
        if proves(ops.make("eq", loop.extent, ONE), before):
            continue
        does = "goes on reducing after this iteration"
        if proves(loop.extent <= ONE, before):
            does = f"may reduce over nothing, without an iteration of {loop.var.name}"
        message = f"{producer.name} {does}: {buffer.name} is not complete there"
        s.refuse("producer_incomplete", message, at=[producer], hint=hint)


def _same(a: Range, b: Range, ctx: Context) -> bool:
    return proves(ops.make("eq", a.low, b.low) & ops.make("eq", a.extent, b.extent), ctx)


def _joined(a: Range, b: Range, ctx: Context) -> Range | None:
    """The range of both if one begins where the other ends."""
    for first, second in ((a, b), (b, a)):
        if proves(ops.make("eq", first.low + first.extent, second.low), ctx):
            return Range(first.low, simplify(first.extent + second.extent, ctx))
    return None


def _made_box(
    s: Schedule, root: Stmt, producer: Block, buffer: Buffer, outer: tuple[For, ...], around: Context, hint: Hint
) -> list[Range]:
    """The elements of `buffer` that `producer` has completed after an iteration of those loops in `outer` that hold it.

    Reasons: producer_incomplete, not_gapless.
    """
    above = flow.loops_above(root, producer)
    inner = above[len([loop for loop in above if loop in outer]) :]
    _is_complete(s, producer, buffer, above[: len(above) - len(inner)], hint)
    values = dict(zip((it.var for it in producer.iters), producer.bindings, strict=True))
    store = next(find(producer.body, Store, lambda n: n.buffer is buffer))
    inner += flow.loops_above(producer.body, store)
    guards = [c for c in ops.conjuncts(producer.predicate) if free_vars(c)]
    full = bind_all(around, inner)
    box: list[Range] = []
    used, steps = set[Expr](), set[Var]()
    for index in store.indices:
        value = simplify(substitute(index, values), full)
        part, took = gapless(value, inner, guards, full)
        own = free_vars(value) & {loop.var for loop in inner}
        box += [] if part is None or own & steps else [part]
        used, steps = used | took, steps | own
    if len(box) < len(store.indices) or not _hold_in_domain([c for c in guards if c not in used], producer, full):
        s.refuse(
            "not_gapless",
            f"the elements of {buffer.name} that one iteration produces are not known to form a gapless box",
            at=[producer],
            hint=hint,
        )
    return box


def _updates(block: Block, buffer: Buffer) -> bool:
    return any(True for _ in find(block.body, Load, lambda n: n.buffer is buffer))


def _reads_plainly(s: Schedule, node: Block, load: Load, dim: int, producer: Block, hint: Hint) -> tuple[Var, Expr]:
    """The iterator that indexes `load` in `dim`, and what is added. Reasons: not_elementwise, reduction_split."""
    kinds = {it.var: it.kind for it in node.iters}
    plain = shifted(load.indices[dim], set(kinds))
    inside = {loop.var for loop in find(node.body, For)}
    if plain is None or free_vars(plain[1]) & inside:
        s.refuse(
            "not_elementwise",
            f"{node.name} reads {load!r}: one iteration of the loop produces only a part of dimension {dim}, which one "
            "iterator must index",
            at=[producer, node],
            hint=hint,
        )
    if kinds[plain[0]] != SPATIAL:
        s.refuse(
            "reduction_split",
            f"{node.name} reduces over dimension {dim} of {load.buffer.name}, of which one iteration produces a part",
            at=[producer, node],
            hint=hint,
        )
    return plain
