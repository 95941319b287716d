"""Software pipelines: which parts of a loop's body run ahead of the others, and what memory that takes.

The body of the loop is a sequence of parts; each has a stage. In a pipeline, iteration k of a part of stage s runs at
time k + s, so what a part of stage 0 makes in iteration k is used at the same time as stage 0 makes that of iteration
k + s. Parts that run at the same time keep an order, by default that of the program.

    for k in n:                         time     0     1     2     3     4
      copy A[k] to P    # stage 0       copy     k=0   k=1   k=2   k=3
      use P             # stage 1       use            k=0   k=1   k=2   k=3

It is legal if two accesses to one element, of which one writes, keep their order. A buffer that is allocated inside the
loop carries nothing from one iteration to the next; in as many versions as iterations are alive at the same time,
which iterations use in turn, it does not hinder them either. Nor does a part that stores the same values in each
iteration those behind it that read them, or one that gives each element its only value. Updates of one commutative
reduction may come in any order.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import dropwhile, permutations

from tensorlang.arith.affine import injective
from tensorlang.arith.alike import commute, repeats
from tensorlang.arith.context import Context
from tensorlang.arith.disjoint import disjoint, hull
from tensorlang.arith.footprint import written_box
from tensorlang.arith.regions import Regions, accesses, apart
from tensorlang.arith.simplify import simplify
from tensorlang.ir.launch import SHARED
from tensorlang.ir.nodes import (
    FALSE,
    SPATIAL,
    ZERO,
    Alloc,
    Block,
    Buffer,
    Const,
    Do,
    Expr,
    For,
    If,
    Load,
    Node,
    Op,
    Seq,
    Stmt,
    Store,
    Var,
    seq,
)
from tensorlang.ir.ops import conjuncts
from tensorlang.ir.walk import find, free_vars, path_to, substitute, transform, visit
from tensorlang.ir.walk import touched as used_by

STAGES, ORDER = "software_pipeline", "software_pipeline_order"  # annotations of a loop: see `plan`
DOUBLE = "double_buffer"  # annotation of an Alloc: it has two versions at least
ASYNC = "async_copy"  # annotation of a block that copies: in a pipeline, the copies may run by themselves
_NONE: frozenset[Var] = frozenset()
INIT = "init"  # annotation of a block that lowering has made of the init of a reduction


class Conflict(Exception):
    """reason: stages_missing, stages_differ, stage_order or loop_carries. blocks: those in each other's way."""

    def __init__(self, reason: str, message: str, blocks: Sequence[Block] = (), hint: str = ""):
        super().__init__(message)
        self.reason, self.message, self.blocks, self.hint = reason, message, tuple(blocks), hint


@dataclass(frozen=True)
class Plan:
    """How a loop is pipelined. parts: the statements of its body, in the order in which they run at one time.

    stages: one for each part. versions: how many the buffers need that are allocated in the body (not in a part of it).
    shared: those of them that parts of different stages use.
    """

    parts: tuple[Stmt, ...]
    stages: tuple[int, ...]
    versions: dict[Buffer, int]
    shared: frozenset[Buffer]


def parts_of(loop: For) -> tuple[list[Alloc], tuple[Stmt, ...]]:
    """The allocations around the body of `loop`, and the statements of the body."""
    allocs: list[Alloc] = []
    body = loop.body
    while isinstance(body, Alloc):
        allocs.append(body)
        body = body.body
    return allocs, body.stmts if isinstance(body, Seq) else (body,)


def plan(loop: For, ctx: Context, root: Stmt) -> Plan:
    """How `loop`, which holds blocks, is pipelined as its annotations say.

    ctx: what holds outside it. root: the program.
    STAGES holds a stage for each block below, in program order; ORDER, if it is there, the order of the parts, as
    positions in the body. Blocks that are an INIT count with the part that follows. Raises Conflict.
    """
    notes = dict(loop.annotations)
    allocs, parts = parts_of(loop)
    stages = _stages(loop, parts, notes[STAGES])
    places = _places(loop, parts, notes.get(ORDER))
    inside = ctx.bind(loop.var, loop.extent)
    touched = [accesses(part, inside) for part in parts]
    active = [n for n, part in enumerate(parts) if not _is_empty(part)]
    private = {alloc.buffer for alloc in allocs}
    versions = {alloc.buffer: 2 if dict(alloc.annotations).get(DOUBLE) else 1 for alloc in allocs}
    for p, q in permutations(active, 2):
        behind = stages[p] - stages[q] - (places[p] < places[q])  # q of iteration k + behind still runs before p of k
        for buffer in dict.fromkeys(b for b, _, _ in _conflicts(touched[p], touched[q])):
            if p < q and behind >= 0 and not _may_swap(loop, buffer, touched, p, q, 0, inside):
                raise _out_of_order(parts, stages, p, q, buffer)
            if buffer in private:
                if behind > 0 and not _places_apart(loop, buffer, touched, p, q, behind, inside):
                    versions[buffer] = max(versions[buffer], behind + 1)
                continue
            if q < p and _constant(loop, buffer, parts, q, inside):
                continue
            for distance in range(1, behind + 1):
                if _meet(loop, parts[p], parts[q], distance, inside) and not _may_swap(
                    loop, buffer, touched, p, q, distance, inside
                ):
                    if q < p and buffer not in touched[p][1] and _has_one_value(root, loop, buffer, ctx):
                        break
                    raise _carried(loop, parts, p, q, buffer)
    shared = frozenset(b for b in private if len({stages[n] for n, both in enumerate(touched) if _uses(both, b)}) > 1)
    ordered = sorted(range(len(parts)), key=lambda n: places[n])
    return Plan(tuple(parts[n] for n in ordered), tuple(stages[n] for n in ordered), versions, shared)


def copied(block: Block) -> Buffer | None:
    """The buffer whose elements `block` stores, one by one, in another; None if it does anything else.

    It may store a constant instead where a condition says so.
    """
    store = block.body
    if block.init is not None or not isinstance(store, Store):
        return None
    value = store.value
    if isinstance(value, Op) and value.op == "if_then_else" and isinstance(value.args[2], Const):
        value = value.args[1]
    loads = [n for n in visit(store) if isinstance(n, Load)]
    return value.buffer if isinstance(value, Load) and loads == [value] else None


def copies(found: Plan, kernel: Stmt) -> dict[int, dict[int, int]]:
    """The parts of a pipeline in `kernel` that are asynchronous copies: for each the parts that use what it copies,
    with their stages.

    All blocks of such a part are ASYNC and copy, from what the kernel only reads, to shared memory that lives in the
    loop and that no other part uses but in later stages.
    """
    stored = {n.buffer for n in find(kernel, Store)}
    used = [{n.buffer for n in visit(part) if isinstance(n, Load | Store)} for part in found.parts]
    result: dict[int, dict[int, int]] = {}
    for n, part in enumerate(found.parts):
        blocks = list(find(part, Block))
        sources = {copied(b) if dict(b.annotations).get(ASYNC) else None for b in blocks}
        targets = {s.buffer for s in find(part, Store)}
        users = {m: stage for m, stage in enumerate(found.stages) if m != n and used[m] & targets}
        fits = targets <= found.shared and all(t.scope == SHARED for t in targets)
        if blocks and not sources & {None, *stored} and fits and min(users.values()) > found.stages[n]:
            result[n] = users
    return result


def _stages(loop: For, parts: Sequence[Stmt], given: Sequence[int]) -> list[int]:
    """The stage of each part. Reasons: stages_missing, stages_differ."""
    counted = [[b for b in find(part, Block) if not dict(b.annotations).get(INIT)] for part in parts]
    blocks = [b for each in counted for b in each]
    if len(blocks) != len(given):
        names = ", ".join(b.name for b in blocks)
        message = f"loop {loop.var.name} is pipelined with {len(given)} stages, and holds the blocks {names}"
        raise Conflict("stages_missing", message, blocks, "this step before software_pipeline")
    supply = iter(given)
    stages: list[int | None] = []
    for part_blocks in counted:
        own = [next(supply) for _ in part_blocks]
        if len(set(own)) > 1:
            named = ", ".join(f"{b.name} ({n})" for b, n in zip(part_blocks, own, strict=True))
            message = f"{named} share a loop inside {loop.var.name}, and so run at the same time"
            raise Conflict("stages_differ", message, part_blocks, "one stage for them, or fission of that loop")
        stages.append(own[0] if own else None)
    following = next((n for n in reversed(stages) if n is not None), 0)
    for n in reversed(range(len(stages))):
        following = stages[n] = following if stages[n] is None else stages[n]  # type: ignore[assignment]
    return stages  # type: ignore[return-value]


def _places(loop: For, parts: Sequence[Stmt], order: Sequence[int] | None) -> list[int]:
    """When each part runs among those of the same time. An INIT runs right before the part that follows it.

    Reason: stages_missing.
    """
    if order is None:
        return list(range(len(parts)))
    rank = {number: place for place, number in enumerate(order)}
    places: list[tuple[int, int]] = []
    number = 0
    for n, part in enumerate(parts):
        places.append((rank.get(number, 0), n))
        number += any(not dict(b.annotations).get(INIT) for b in find(part, Block))
    if number != len(order):
        blocks = [b for part in parts for b in find(part, Block)]
        message = f"loop {loop.var.name} is pipelined in an order of {len(order)} parts, and holds {number}"
        raise Conflict("stages_missing", message, blocks, "this step before software_pipeline")
    by_place = {place: n for n, place in enumerate(sorted(places))}
    return [by_place[place] for place in places]


def _is_empty(stmt: Stmt) -> bool:
    """Is it a nest with a loop of no iterations, and without an init, which might run all the same?"""
    if not isinstance(stmt, For):
        return False
    inits = find(stmt, Block, lambda b: b.init is not None)
    return (stmt.extent is ZERO and next(inits, None) is None) or _is_empty(stmt.body)


def _uses(touched: tuple[Regions, Regions], buffer: Buffer) -> bool:
    return any(buffer in regions for regions in touched)


def _conflicts(a: tuple[Regions, Regions], b: tuple[Regions, Regions]) -> Iterator[tuple[Buffer, int, int]]:
    """The buffers of which both use a region and one writes it: (buffer, reads or writes of a, of b)."""
    for mine, theirs in ((1, 0), (0, 1), (1, 1)):
        for buffer in a[mine]:
            if buffer in b[theirs]:
                yield buffer, mine, theirs


def _may_swap(
    loop: For, buffer: Buffer, touched: Sequence[tuple[Regions, Regions]], p: int, q: int, distance: int, ctx: Context
) -> bool:
    """Is it all the same for `buffer` if part q of `distance` iterations later comes before part p?"""
    parts = parts_of(loop)[1]
    return _keep_apart(loop, buffer, touched, p, q, distance, ctx) or _in_any_order(loop, parts[p], parts[q], buffer)


def _keep_apart(
    loop: For, buffer: Buffer, touched: Sequence[tuple[Regions, Regions]], p: int, q: int, distance: int, ctx: Context
) -> bool:
    """Do part p of an iteration and part q `distance` iterations later touch different elements of `buffer`?"""
    later = loop.var + distance
    known = ctx.assume(later < loop.extent)
    pairs = [
        (touched[p][mine][buffer], touched[q][theirs][buffer])
        for found, mine, theirs in _conflicts(touched[p], touched[q])
        if found is buffer
    ]
    if all(
        apart(a, b.at({loop.var: later}), known) or (distance > 0 and disjoint(hull(a, b, ctx), [loop], ctx))
        for a, b in pairs
    ):
        return True
    if distance == 0:
        return False
    then = accesses(_in_iteration(parts_of(loop)[1][q], loop.var, later, known), known)
    both = _conflicts(touched[p], then)
    return all(apart(touched[p][a][buffer], then[b][buffer], known) for found, a, b in both if found is buffer)


def _in_iteration(part: Stmt, var: Var, value: Expr, ctx: Context) -> Stmt:
    """`part` where the loop over `var` has come to `value`: what only the first iteration does is left out."""

    def simpler(node: Node) -> Node:
        return node.replace(predicate=simplify(node.predicate, ctx)) if isinstance(node, Block) else node

    return transform(substitute(part, {var: value}), simpler)


def _meet(loop: For, part: Stmt, then: Stmt, distance: int, ctx: Context) -> bool:
    """May there be an iteration `distance` after another one, in which `then` does something, as `part` has before?"""
    later = loop.var + distance
    exists = later < loop.extent
    known = ctx.assume(exists)
    return simplify(exists, ctx) is not FALSE and all(
        any(simplify(substitute(b.predicate, {loop.var: at}), known) is not FALSE for b in find(stmt, Block))
        for stmt, at in ((part, loop.var), (then, later))
    )


def _constant(loop: For, buffer: Buffer, parts: Sequence[Stmt], writer: int, ctx: Context) -> bool:
    """Does part `writer` alone store into `buffer`, in each iteration of `loop` the same values?

    It does if it is one block without a reduction, each point of which has an element of its own, that knows neither
    the iteration nor what the loop makes.
    """
    made = [{store.buffer for store in find(part, Store)} for part in parts]
    blocks = list(find(parts[writer], Block))
    if any(buffer in stored for n, stored in enumerate(made) if n != writer) or len(blocks) != 1:
        return False
    (block,) = blocks
    plain = block.init is None and all(it.kind == SPATIAL for it in block.iters)
    if not plain or any(True for _ in find(block.body, Do)):
        return False
    if any(n is loop.var or (isinstance(n, Load) and n.buffer in set().union(*made)) for n in visit(parts[writer])):
        return False
    return has_own_elements(block, ctx)


def _in_any_order(loop: For, a: Stmt, b: Stmt, buffer: Buffer) -> bool:
    """Is all that both do to `buffer` the updates of one commutative reduction?

    Where `loop` reduces, the init of a block comes before it.
    """
    users = [block for part in (a, b) for block in find(part, Block, lambda n: buffer in used_by(n))]
    return all((block.init is None or _reduces(loop, block)) and commute(users[0], block) for block in users)


def _reduces(loop: For, block: Block) -> bool:
    bound = zip(block.iters, block.bindings, strict=True)
    return any(it.kind != SPATIAL and loop.var in free_vars(binding) for it, binding in bound)


def has_own_elements(block: Block, ctx: Context) -> bool:
    """Does each spatial point of `block` store into elements of its own, which no loop in it stores into twice?"""
    points = [(it.var, it.extent) for it in block.iters if it.kind == SPATIAL]
    points += [(inner.var, inner.extent) for inner in find(block.body, For)]
    return all(injective(store.indices, points, ctx) for store in find(block.body, Store))


def _has_one_value(root: Stmt, loop: For, buffer: Buffer, ctx: Context) -> bool:
    """Do all stores into an element of `buffer`, while it lives, store the same value, as far as they are in `loop`?"""
    way = path_to(root, loop) or (loop,)
    start = next((n for n, each in enumerate(way) if isinstance(each, Alloc) and each.buffer is buffer), 0)
    outermost = next(n for n in way[start:] if isinstance(n, For))
    return same_in_all(root, outermost, buffer, ctx)


def same_in_all(root: Stmt, loop: For, buffer: Buffer, ctx: Context, readers: frozenset[Buffer] = frozenset()) -> bool:
    """Do all iterations of `loop` that store into an element of `buffer` store the same value?

    So it is if the blocks of the program `root` that write the buffer repeat each other, without reductions, store each
    element at one point only, and read what is the same in all iterations, too. readers: what is asked for because of
    what is stored in these; they may not depend on themselves.
    """
    writers = list(find(root, Block, lambda b: any(n.buffer is buffer for n in find(b, Store))))
    if not all(repeats(block, writers[0]) and has_own_elements(block, ctx) for block in writers):
        return False
    return bool(writers) and read_the_same(root, loop, writers, ctx, readers)


def read_the_same(
    root: Stmt, loop: For, blocks: Sequence[Block], ctx: Context, readers: frozenset[Buffer] = frozenset()
) -> bool:
    """Do `blocks`, in program order all that write some buffer, read the same in all iterations of `loop`?"""
    stored = {store.buffer for block in blocks for store in find(block, Store)}
    loaded = {load.buffer for block in blocks for load in find(block, Load)} - stored
    made = {store.buffer for store in find(loop, Store)}
    if len(blocks) > 1:  # nor may any that they read change from the first of them on
        way = path_to(root, blocks[0]) or (blocks[0],)
        first = next(find(next((n for n in way if isinstance(n, For)), blocks[0]), Store))
        made = {store.buffer for store in dropwhile(lambda n: n is not first, find(root, Store))}
    readers |= stored
    return all(
        b not in readers and _is_made_alike(loop, b, blocks) and same_in_all(root, loop, b, ctx, readers)
        for b in loaded & made
    )


def _is_made_alike(loop: For, buffer: Buffer, readers: Sequence[Block]) -> bool:
    """Does each iteration of `loop` that has a `buffer` of its own store into the same elements of it, where `readers`
    run? Others hold nothing, which may be what a copy of the buffer holds then."""
    alloc = next((n for n in find(loop, Alloc) if n.buffer is buffer), None)
    if alloc is None:
        return True
    around = {n.var for n in (*(path_to(loop, alloc) or ()), loop) if isinstance(n, For)}
    given = frozenset.intersection(*(frozenset(conjuncts(block.predicate)) for block in readers))
    writers = find(alloc, Block, lambda b: any(store.buffer is buffer for store in find(b, Store)))
    return not any(around & _decides(n, given) for block in writers for n in path_to(alloc, block) or ())


def _decides(stmt: Node, given: frozenset[Expr]) -> frozenset[Var]:
    """The variables that decide, besides what is given, whether a statement runs its body, and for which points."""
    if isinstance(stmt, Block):
        conditions = (c for c in conjuncts(stmt.predicate) if c not in given)
        return _NONE.union(*map(free_vars, (*stmt.bindings, *conditions)))
    return free_vars(stmt.extent) if isinstance(stmt, For) else free_vars(stmt.cond) if isinstance(stmt, If) else _NONE


def _places_apart(
    loop: For, buffer: Buffer, touched: Sequence[tuple[Regions, Regions]], p: int, q: int, behind: int, ctx: Context
) -> bool:
    """Do parts p and q touch different places of what an iteration needs of `buffer`, the same in each iteration?

    Then q of up to `behind` iterations later may run before p, in one version, however large lowering makes it.
    """
    box = written_box(seq(*parts_of(loop)[1]), buffer, (loop,))
    if box is None:
        return False
    for found, mine, theirs in _conflicts(touched[p], touched[q]):
        if found is not buffer:
            continue
        regions = touched[p][mine][buffer], touched[q][theirs][buffer]
        places = [simplify(low - first, ctx) for r in regions for low, first in zip(r.mins, box.mins, strict=True)]
        if any(loop.var in free_vars(e) for e in (*places, *(e for r in regions for e in r.extents))):
            return False
        if not apart(*regions, ctx):
            return False
    return all(_keep_apart(loop, buffer, touched, p, q, n, ctx) for n in range(1, behind + 1))


def _out_of_order(parts: Sequence[Stmt], stages: Sequence[int], p: int, q: int, buffer: Buffer) -> Conflict:
    first, then = (next(find(parts[n], Block)) for n in (p, q))
    message = (
        f"{then.name} (stage {stages[q]}) would run before {first.name} (stage {stages[p]}) of the same iteration, "
        f"which comes first and touches the same part of {buffer.name}"
    )
    return Conflict("stage_order", message, (first, then), f"a stage of at least {stages[p]} for {then.name}")


def _carried(loop: For, parts: Sequence[Stmt], p: int, q: int, buffer: Buffer) -> Conflict:
    first, then = (next(find(parts[n], Block)) for n in (p, q))
    message = (
        f"{then.name} of later iterations of loop {loop.var.name} would run before {first.name}, and it is not proved "
        f"that they touch different parts of {buffer.name}, which outlives an iteration"
    )
    hint = f"{buffer.name} allocated inside {loop.var.name} (compute_at or store_at), or one stage for both"
    return Conflict("loop_carries", message, (first, then), hint)
