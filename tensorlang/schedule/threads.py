"""What the blocks and threads of a GPU ask of a program, beside independent iterations: see `bind` in kinds.py."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from tensorlang.arith.context import Context
from tensorlang.arith.own_parts import reads_own
from tensorlang.errors import ScheduleError
from tensorlang.ir.nodes import (
    GRID,
    ONE,
    SHARED,
    SPATIAL,
    THREADS,
    VIRTUAL,
    ZERO,
    Alloc,
    Block,
    Buffer,
    Expr,
    For,
    Node,
    Seq,
    Stmt,
    Var,
    seq,
    unit_of,
)
from tensorlang.ir.ops import make
from tensorlang.ir.walk import find, free_vars, map_children, parts, substitute
from tensorlang.schedule import checks, rfactor
from tensorlang.schedule import dataflow as flow
from tensorlang.schedule.dependence import separates, visits_once
from tensorlang.target.target import Target

if TYPE_CHECKING:
    from tensorlang.schedule.schedule import Schedule


def hold(s: Schedule) -> None:
    """Reasons: axis_taken, not_a_grid, too_many_threads, threads_differ."""
    bound = [n for n in find(s.func.body, For) if unit_of(n.kind)]
    if not bound:
        return
    for loop in bound:
        outer = [n for n in s.path(loop) if isinstance(n, For)]
        _axis_is_free(s, loop, outer)
        if unit_of(loop.kind) == GRID:
            _is_a_grid(s, loop)
        elif unit_of(loop.kind) == THREADS and any(n.kind == loop.kind for n in outer):
            _cooperates(s, loop, [n for n in outer if n.kind == loop.kind])
    for alloc in find(s.func.body, Alloc):
        if alloc.buffer.scope == SHARED:
            _is_one_for_all(s, alloc, threads_of(s.path(alloc)))
    if s.target is not None and s.target.threads_per_block:
        for kernel in kernels(s.func.body):
            _fits(s, kernel, s.target)


def threads_of(path: Sequence[Node]) -> list[For]:
    """The loops of a path whose iterations are threads, or virtual ones."""
    return [n for n in path if isinstance(n, For) and unit_of(n.kind) in (THREADS, VIRTUAL)]


def kernels(stmt: Stmt) -> Iterator[For]:
    """The outermost bound loops."""
    if isinstance(stmt, For) and unit_of(stmt.kind):
        yield stmt
    elif not isinstance(stmt, Block):
        for part in parts(stmt):
            yield from kernels(part)


# ------------------------------------------------------------------------------------------------- placement
def _axis_is_free(s: Schedule, loop: For, outer: Sequence[For]) -> None:
    """Only threads may be bound again inside. Reason: axis_taken."""
    for other in outer:
        if other.kind == loop.kind and unit_of(loop.kind) != THREADS:
            message = f"loop {loop.var.name} cannot be {loop.kind}: loop {other.var.name} around it is"
            s.refuse("axis_taken", message, at=[other, loop], hint="another axis")


def _is_a_grid(s: Schedule, loop: For) -> None:
    """Reason: not_a_grid."""
    inside = False
    for node in s.path(loop):
        grid = isinstance(node, For) and unit_of(node.kind) == GRID
        if (isinstance(node, For) and not grid) or (inside and isinstance(node, Seq)):
            outer = node if isinstance(node, For) else None
            name = f"is inside loop {outer.var.name}, which does not" if outer else "has something beside it"
            s.refuse(
                "not_a_grid",
                f"loop {loop.var.name} cannot run as blocks of a grid: it {name}",
                at=[loop, *([outer] if outer else [])],
                hint=f"bind {outer.var.name} to blockIdx first, or reorder" if outer else "perfectly nested loops",
            )
        inside |= grid


def _fits(s: Schedule, kernel: For, target: Target) -> None:
    """Reason: too_many_threads."""
    most: dict[str, Expr] = {}
    for loop in find(kernel, For):
        if unit_of(loop.kind) == THREADS:
            most[loop.kind] = make("max", most[loop.kind], loop.extent) if loop.kind in most else loop.extent
    total: Expr = ONE
    for axis, extent in most.items():
        total = total * extent
        limit = target.threads_along[axis[-1]]
        message = f"the kernel of loop {kernel.var.name} has {extent!r} threads along {axis}, the target {limit}"
        s.require(
            extent <= limit,
            s.context(kernel),
            "too_many_threads",
            message,
            at=[kernel],
            hint=f"at most {limit} iterations: split the loop, and bind the inner part",
        )
    limit = target.threads_per_block
    message = f"the kernel of loop {kernel.var.name} has {total!r} threads in a block, the target at most {limit}"
    s.require(
        total <= limit,
        s.context(kernel),
        "too_many_threads",
        message,
        at=[kernel],
        hint=f"at most {limit} threads: smaller factors, or vthread for some of the loops",
    )


# ------------------------------------------------------------------------------------------------- cooperation
def _cooperates(s: Schedule, loop: For, outer: Sequence[For]) -> None:
    """The blocks below `loop` do the same for all threads of `outer`, which has the same axis. Reason: threads_differ.

    So they read nothing that one of these has for itself, and write into memory that they share, or that each of them
    keeps a part of.
    """
    private = {a.buffer: a for a in find(outer[0], Alloc) if a.buffer.scope != SHARED}
    for block in flow.blocks(loop):
        where = f"below loop {loop.var.name}, which shares out work among threads, block {block.name}"
        for buffer in flow.stored(block):
            alloc = next(find(outer[-1], Alloc, lambda a, b=buffer: a.buffer is b), None)  # type: ignore[misc]
            if alloc is None or (buffer.scope != SHARED and not _parted(s, alloc)):
                _differ(s, f"{where} writes {buffer.name}, which is not shared memory of {outer[-1].var.name}", [loop])
            foreign = [n for n in threads_of(s.path(alloc) if alloc else ()) if _depends(block, n)]
            if foreign:
                _differ(s, f"{where} depends on the thread, through loop {foreign[0].var.name}", [loop, block])
        own = [b for b in flow.loaded(block) if b in private and not _parted(s, private[b])]
        if own:
            _differ(s, f"{where} reads {own[0].name}, which each thread has for itself", [loop, block])


def _parted(s: Schedule, alloc: Alloc) -> bool:
    """Whether the buffer, which threads have for themselves, is one that all of them fill alike, or each its part of
    it that it also reads: what registers are between a load for all threads and the store into shared memory."""
    path = s.path(alloc)
    around = threads_of(path)
    if any(_depends(w, n) for w in flow.writers(alloc.body, alloc.buffer) for n in around):
        return False
    users = flow.users(alloc.body, alloc.buffer)
    nests = tuple(dict.fromkeys(flow.child_towards(alloc, alloc, block) for block in users))
    key = ("parted", alloc.buffer, nests, tuple((n.var, n.extent) for n in path if isinstance(n, For)))
    if key not in nests[0].memo:
        nests[0].memo[key] = _read_in_parts(seq(*nests), alloc.buffer, s.context(alloc))
    return nests[0].memo[key]


def _read_in_parts(stmt: Stmt, buffer: Buffer, ctx: Context) -> bool:
    """Whether each thread that runs `stmt` reads of `buffer` only what it has written there itself."""
    extents: dict[str, Expr] = {}
    as_one: dict[str, Var] = {}

    def unified(stmt: Stmt) -> Stmt:
        """`stmt` as one thread runs it."""
        if isinstance(stmt, For) and unit_of(stmt.kind) == THREADS:
            if extents.setdefault(stmt.kind, stmt.extent) is not stmt.extent:
                extents[stmt.kind] = ZERO
            var = as_one.setdefault(stmt.kind, Var(stmt.kind))
            return substitute(unified(stmt.body), {stmt.var: var})
        return stmt if isinstance(stmt, Block) else map_children(stmt, lambda n: unified(n) if _is(n) else n)

    one = unified(stmt)
    if any(e is ZERO for e in extents.values()):
        return False
    for axis, extent in extents.items():
        ctx = ctx.bind(as_one[axis], extent)
    return reads_own(one, buffer, {as_one[axis]: extent for axis, extent in extents.items()}, ctx)


def _is(node: Node) -> bool:
    return isinstance(node, Stmt)


def _depends(block: Block, loop: For) -> bool:
    return any(loop.var in free_vars(e) for e in (*block.bindings, block.predicate))


def _is_one_for_all(s: Schedule, alloc: Alloc, around: Sequence[For]) -> None:
    """Threads agree on the contents of shared memory. Reason: threads_differ."""
    private = {a.buffer: a for n in around[:1] for a in find(n, Alloc) if a.buffer.scope != SHARED}
    for loop in around:
        for block in flow.writers(alloc.body, alloc.buffer):
            depends = _depends(block, loop)
            if depends and not separates(s, loop, block):
                message = f"threads along loop {loop.var.name} may write the same elements of {alloc.buffer.name}"
                _differ(s, f"{message}, which is in shared memory", [alloc, block])
            own = [b.name for b in flow.loaded(block) if b in private and not (depends or _parted(s, private[b]))]
            if not depends and own:
                message = f"threads along loop {loop.var.name} write {alloc.buffer.name}, which is in shared memory"
                _differ(s, f"{message}, alike, of {own[0]}, which each thread has for itself", [alloc, block])


def _differ(s: Schedule, message: str, at: Sequence[Stmt]) -> None:
    s.refuse(
        "threads_differ",
        message,
        at=at,
        hint="work that is the same for all these threads, written to shared memory at a place of its own",
    )


# ------------------------------------------------------------------------------------------- reduction by threads
def may_reduce(loop: For) -> bool:
    """Whether threads reduce together over `loop`, so that more than what is below it counts."""
    return unit_of(loop.kind) == THREADS and any(checks.driven(loop, b) - {SPATIAL} for b in flow.blocks(loop))


def reduces_across(s: Schedule, loop: For, block: Block) -> bool:
    """Whether the threads of `loop` may have partial results of `block`, which are then combined."""
    if unit_of(loop.kind) != THREADS or not checks.driven(loop, block) - {SPATIAL}:
        return False
    try:
        reducer = rfactor.commutative(s, block)
        results = rfactor.update_places(s, block, checks.has_init(s, block), reducer)
        around = [n for n in s.path(block) if isinstance(n, For)]
        reducing = [n for n in around if checks.driven(n, block) - {SPATIAL}]
        inner = around[around.index(reducing[0]) :]
        rfactor.used_by_one_block(s, reducing[0], block, results)
        visits_once(s, block, reducing[0], [n for n in inner if n not in reducing], reducing, ())
    except ScheduleError:
        return False
    several = [n for n in reducing if unit_of(n.kind) == THREADS]
    return len(several) == 1 and all(_outlives(s, place.buffer, reducing[0]) for place in results)


def _outlives(s: Schedule, buffer: Buffer, loop: For) -> bool:
    return not any(True for _ in find(loop, Alloc, lambda a: a.buffer is buffer))
