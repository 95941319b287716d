"""Whether blocks find what they read where others have left it, and nobody stores over it in between.

A buffer that several blocks write holds, when it is read, what the last of them has stored. A step that takes a block,
its reader or its init to another place keeps who is last.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NoReturn

from tensorlang.arith import alike
from tensorlang.arith.affine import injective
from tensorlang.arith.context import Context
from tensorlang.arith.disjoint import disjoint, hull
from tensorlang.arith.filled import fills
from tensorlang.arith.footprint import bind_all, holds
from tensorlang.arith.prove import proves
from tensorlang.arith.regions import accesses, apart
from tensorlang.arith.stages import has_own_elements, read_the_same
from tensorlang.ir.nodes import ONE, SPATIAL, Alloc, Block, Buffer, For, If, Size, Stmt, Store, Var
from tensorlang.ir.walk import find, free_vars
from tensorlang.schedule import dataflow as flow
from tensorlang.schedule.checks import Hint, driven, only_reducing
from tensorlang.schedule.dependence import runs_all, written

if TYPE_CHECKING:
    from tensorlang.schedule.schedule import Schedule


# ------------------------------------------------------------------------------------------------ who writes last
def earlier_writers(s: Schedule, node: Block) -> dict[Buffer, list[Block]]:
    """The blocks that store into what `node` writes before it does, by buffer, where they are no parts of the same
    computation. Reason: several_writers."""
    found: dict[Buffer, list[Block]] = {}
    for buffer in flow.stored(node):
        writing = [w for w in flow.writers(s.func.body, buffer) if w is not node]
        if all(alike.repeats(w, node) or alike.restarts(w, node) for w in writing):
            continue
        others = _beside(s.func.body, node, buffer)
        behind = all(flow.precedes(s.func.body, node, reader) for reader in flow.readers(s.func.body, buffer))
        if not (behind and _runs_whole_domain(s, node) and _runs_last(s, s.func.body, node, buffer, others)):
            _refuse_writers(s, node, buffer, others)
        found[buffer] = others
    return found


def still_last(s: Schedule, body: Stmt, moved: Block, earlier: dict[Buffer, list[Block]]) -> None:
    """`moved` comes after `earlier` in `body`, too. Reason: several_writers."""
    for buffer, others in earlier.items():
        if _beside(body, moved, buffer) != others or not _runs_last(s, body, moved, buffer, others):
            _refuse_writers(s, moved, buffer, others)


def _beside(root: Stmt, node: Block, buffer: Buffer) -> list[Block]:
    """The other blocks that write `buffer` when `node` does."""
    return [w for w in flow.writers(root, buffer, beside=node) if w is not node]


def _runs_last(s: Schedule, root: Stmt, node: Block, buffer: Buffer, others: list[Block]) -> bool:
    """Are `others` done with an element of `buffer` before `node`, which updates it once, if it does?"""
    ctx = s.context(s.func.body)
    pure = node.init is not None or not (alike.updates(node) or any(it.kind != SPATIAL for it in node.iters))
    once = pure or _runs_each_once(root, node, buffer, ctx)
    return once and all(_done_before(root, w, node, buffer, ctx) for w in others)


def _refuse_writers(s: Schedule, node: Block, buffer: Buffer, others: list[Block]) -> NoReturn:
    """Reason: several_writers."""
    names = ", ".join(w.name for w in others)
    message = f"buffer {buffer.name} is written by block {names} too"
    s.refuse("several_writers", message, at=[node, *others], hint="do this step before decompose_reduction")


def _runs_whole_domain(s: Schedule, block: Block) -> bool:
    """Do the loops around `block` run each point of its domain, under no guard that says otherwise?"""
    loops, ctx = flow.loops_above(s.func.body, block), flow.knowing(s.func.body, block, s.context(s.func.body))
    inside = bind_all(ctx, loops)
    for it, value in zip(block.iters, block.bindings, strict=True):
        inside = inside.assume(value < it.extent)
    return proves(block.predicate, inside) and runs_all(block, [(b, ONE) for b in block.bindings], loops, ctx)


def _runs_each_once(root: Stmt, block: Block, buffer: Buffer, ctx: Context) -> bool:
    """Does no point of `block` run twice while `buffer` lives? root: the program, outside of which `ctx` holds."""
    loops = _outlived(root, block, buffer)
    return injective(block.bindings, [(n.var, n.extent) for n in loops], flow.knowing(root, block, ctx))


def _done_before(root: Stmt, first: Block, then: Block, buffer: Buffer, ctx: Context) -> bool:
    """Has `first` done all to an element of `buffer` before `then` does anything, which runs whenever `first` does?

    root: the program, outside of which `ctx` holds. Proved if they stand so, and iterations of the loops around both
    use different elements.
    """
    place = flow.common(root, [first, then])
    if not flow.precedes(root, first, then) or any(isinstance(n, If) for n in flow.path(place, then)):
        return False
    return _apart(root, first, then, buffer, _outlived(root, place, buffer), ctx)


# ------------------------------------------------------------------------------------------- what is read is there
def finds_what_it_reads(s: Schedule, body: Stmt, reader: Block, buffer: Buffer, ctx: Context, hint: Hint) -> None:
    """What `reader` reads of `buffer` is written before, in the same iteration of the loops around both.

    Reasons: consumer_before, not_produced_there.
    """
    writers = flow.writers(body, buffer, beside=reader)
    for writer in writers[-1:]:
        shared = flow.common(body, [writer, reader])
        if not flow.precedes(body, writer, reader):
            message = f"{reader.name} reads what {writer.name} computes, and would stand before it"
            s.refuse("consumer_before", message, hint=hint)
        around = (*flow.loops_above(body, shared), *([shared] if isinstance(shared, For) else []))
        if not around or _write_alike(shared, writers, around):
            continue
        making = flow.child_towards(body, shared, writer)
        inner = bind_all(flow.knowing(body, shared, ctx), around)
        wanted = accesses(flow.child_towards(body, shared, reader), inner, of=(buffer,))[0][buffer]
        made = accesses(making, inner, of=(buffer,))[1][buffer]
        if not (all(holds(made, wanted, inner)) and fills(making, buffer, inner)):
            loop = around[-1].var.name
            message = f"{writer.name} is not known to produce all that {reader.name} reads in an iteration of {loop}"
            s.refuse("not_produced_there", message, hint=hint)


def _write_alike(shared: Stmt, writers: Sequence[Block], loops: Sequence[For]) -> bool:
    """Do `writers`, all that write some buffer, run in `shared`, at the same points in each iteration of `loops`?"""
    inside = flow.blocks(shared)
    decisive = {loop.var for loop in loops}
    return all(w in inside and decisive.isdisjoint(_places(shared, w)) for w in writers)


def _places(stmt: Stmt, block: Block) -> set[Var]:
    """The variables that decide at which points `stmt` runs `block`."""
    found: set[Var] = set()
    for node in flow.path(stmt, block):
        if isinstance(node, Block):
            found |= free_vars(node.predicate).union(*map(free_vars, node.bindings))
        elif isinstance(node, For | If):
            found |= free_vars(node.extent if isinstance(node, For) else node.cond)
    return found


def outlasts(s: Schedule, body: Stmt, node: Block, reader: Block, buffer: Buffer, hint: Hint) -> None:
    """What `node` reads of `buffer` is still there for `reader`, which reads it in its stead in the new program `body`:
    later iterations of the loops that this leaves store elsewhere, or the same values. Reason: overwritten_before."""
    left = {n.var for n in flow.loops_above(s.func.body, node)} - {n.var for n in flow.loops_above(body, reader)}
    writers = flow.writers(body, buffer, beside=reader)
    for writer in writers:
        loops = [n for n in flow.loops_above(body, writer) if n.var in left]
        if loops and not (_write_apart(s, body, buffer, loops) or _write_the_same(s, body, writers, writer, loops)):
            loop = next(n for n in s.path(node) if isinstance(n, For) and n.var is loops[0].var)
            over = f"may store other values over those of {buffer.name} that {reader.name} would read after it"
            message = f"as loop {loop.var.name} goes on, {writer.name} {over}"
            s.refuse("overwritten_before", message, at=[loop], hint=hint)


def _write_apart(s: Schedule, body: Stmt, buffer: Buffer, loops: Sequence[For]) -> bool:
    """Does each iteration of `loops` write elements of `buffer` of its own?"""
    outside = bind_all(s.context(s.func.body), flow.loops_above(body, loops[0]))
    inside = bind_all(flow.knowing(body, loops[-1], outside), loops)
    return disjoint(accesses(loops[-1].body, inside, of=(buffer,))[1][buffer], loops, outside)


def _write_the_same(s: Schedule, body: Stmt, writers: list[Block], one: Block, loops: Sequence[For]) -> bool:
    """Do iterations of `loops` in which `writers`, and so `one`, store into an element leave the same value there?"""
    ctx, reducing = s.context(s.func.body), set[Var]()
    for it, binding in zip(one.iters, one.bindings, strict=True):
        reducing |= free_vars(binding) if it.kind != SPATIAL else set()
    return (
        all(alike.repeats(w, one) or alike.restarts(w, one) for w in writers)
        and reducing.isdisjoint(n.var for n in loops)
        and has_own_elements(one, ctx)
        and read_the_same(body, loops[0], writers, ctx)
    )


def init_alone(s: Schedule, block: Block, init: Stmt, at: For) -> None:
    """What `init`, that of `block`, writes before the loop `at`, nothing else stores over before the updates, and it
    stores over nothing else, if that is not so where the init is now: before the outermost loop that reduces.

    Other blocks store into other elements, or after both places, each iteration that comes between the two into
    elements of its own. Reason: several_writers.
    """
    root = s.func.body
    way = flow.path(root, block)
    now = next((n for n in way if isinstance(n, For) and driven(n, block) - {SPATIAL}), block)
    hidden = only_reducing(block)
    outer, inner = (now, at) if isinstance(now, For) and way.index(now) < way.index(at) else (at, now)
    passed = [n for n in way[way.index(outer) : way.index(inner)] if isinstance(n, For) and n.var not in hidden]
    outside = s.context(outer)
    for buffer in written(init):
        for other in (w for w in flow.writers(outer, buffer) if w is not block and not _instead(s, block, w)):
            mine, theirs = (accesses(_alone(outer, b), outside, of=(buffer,))[1][buffer] for b in (block, other))
            later = other in flow.blocks(inner) or flow.precedes(root, block, other)
            between = [n for n in passed if other in flow.blocks(n)]
            if apart(mine, theirs, outside) or (later and _own_elements(s, buffer, between)):
                continue
            further_in = [n for n in way[way.index(at) + 1 : way.index(now)] if other not in flow.blocks(n)]
            legal = [n.var.name for n in (*further_in, now) if isinstance(n, For)]
            s.refuse(
                "several_writers",
                f"{other.name} writes {buffer.name} too, inside {outer.var.name}: one may store over what the "
                f"init of {block.name} has left, or the other way round, if that came before {at.var.name}",
                at=[at, block, other],
                hint=", ".join(legal) or f"this step before the one that made {other.name}",
            )


def _instead(s: Schedule, block: Block, other: Block) -> bool:
    """Does one run for some sizes, and the other one for the rest?"""
    fork = flow.common(s.func.body, [block, other])
    return isinstance(fork, If) and all(isinstance(v, Size) for v in free_vars(fork.cond))


def _own_elements(s: Schedule, buffer: Buffer, loops: Sequence[For]) -> bool:
    """Does each iteration of the nested `loops` use elements of its own of `buffer`, which is written inside, whatever
    other loops do?"""
    if not loops:
        return True
    inside = s.context(loops[-1], inside=True)
    reads, writes = accesses(loops[-1].body, inside, of=(buffer,))
    whole = hull(reads.get(buffer), writes[buffer], inside)
    others = {n.var for n in s.path(loops[-1]) if isinstance(n, For) and n not in loops}
    above = {n.var for n in s.path(loops[0]) if isinstance(n, For)}
    free = frozenset[Var]().union(*map(free_vars, (*whole.mins, *whole.extents)))
    return not free & (others - above) and disjoint(whole, loops, s.context(loops[0]))


def _alone(at: For, block: Block) -> Stmt:
    """The loop `at` with nothing but `block` inside, in the loops that it is in."""
    stmt: Stmt = block
    for node in reversed(flow.path(at, block)[:-1]):
        if isinstance(node, For):
            stmt = node.replace(body=stmt)
    return stmt


def overwrites_nothing(s: Schedule, node: Block) -> None:
    """Different spatial points store to different elements. Reason: overwrites."""
    spatial = [(it.var, it.extent) for it in node.iters if it.kind == SPATIAL]
    for store in find(node.body, Store):
        if not injective(store.indices, spatial, s.context(s.func.body)):
            message = f"{node.name} may write an element of {store.buffer.name} more than once"
            s.refuse(
                "overwrites", message, at=[node], hint="a block whose subscripts tell all of its spatial points apart"
            )


def _apart(root: Stmt, first: Block, then: Block, buffer: Buffer, loops: Sequence[For], ctx: Context) -> bool:
    """Do iterations of `loops`, which are around both blocks, use different elements of `buffer` in them?"""
    if not loops:
        return True
    place = flow.common(root, [first, then])
    below = flow.path(place, then)
    inside = bind_all(flow.knowing(root, then, ctx), flow.loops_above(root, below[1]))
    parts = [accesses(flow.child_towards(root, place, b), inside, of=(buffer,)) for b in (first, then)]
    whole = hull(parts[0][0].get(buffer), parts[0][1][buffer], inside)
    for used in parts[1]:
        whole = hull(used.get(buffer), whole, inside)
    outside = bind_all(flow.knowing(root, then, ctx), flow.loops_above(root, loops[0]))
    return disjoint(whole, loops, outside)


def _outlived(root: Stmt, node: Stmt, buffer: Buffer) -> list[For]:
    """The loops around `node`, and `node` if it is one, whose iterations `buffer` outlives."""
    way = flow.path(root, node)
    start = next((n for n, each in enumerate(way) if isinstance(each, Alloc) and each.buffer is buffer), 0)
    return [n for n in way[start:] if isinstance(n, For)]
