"""pipeline: loops that software_pipeline has marked run the stages of several iterations at the same time.

    for k in n:                                        alloc P.versions: f32[2, 8]
      alloc P: f32[8]                                  for k.prologue0 in 1: P.versions[0, ...] = A[0, ...]
      P[...] = A[k, ...]    # stage 0            ->    for k in n - 1:
      ... = P[...]          # stage 1                    P.versions[(k + 1) % 2, ...] = A[k + 1, ...]
                                                         ... = P.versions[k % 2, ...]
                                                       for k.epilogue2 in 1: ... = P.versions[(n - 1) % 2, ...]

Which parts may run ahead, and how many versions that takes, is found in arith/stages.py. A buffer that double_buffer
has marked gets two versions also where nothing runs ahead. Loops whose extent may be less than the last stage are kept
beside their pipeline, for that case; a loop that is not proved legal to pipeline runs as it is.

In a kernel for a GPU, what async_copy has marked is copied asynchronously: the copies that begin at one time are a
group, and at each time the threads wait until no more groups are left than may be (see launch nests, nodes.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from tensorlang.arith.context import EMPTY, Context
from tensorlang.arith.footprint import written_box
from tensorlang.arith.prove import proves
from tensorlang.arith.regions import Region
from tensorlang.arith.simplify import negation, simplify
from tensorlang.arith.stages import DOUBLE, ORDER, STAGES, Conflict, Plan, copies, parts_of, plan
from tensorlang.ir.launch import ASYNC_COMMIT, ASYNC_COPY, ASYNC_WAIT, SWIZZLE
from tensorlang.ir.nodes import (
    SERIAL,
    UNROLL,
    ZERO,
    Alloc,
    Block,
    Buffer,
    Const,
    Do,
    Expr,
    For,
    Func,
    If,
    Stmt,
    Store,
    Var,
    const,
    seq,
    unit_of,
)
from tensorlang.ir.ops import make
from tensorlang.ir.walk import children, find, substitute, transform
from tensorlang.passes.compact import rebased
from tensorlang.passes.lower_blocks import lowered
from tensorlang.passes.tools import map_stmts, uses
from tensorlang.target.target import Target

Segment = tuple[Expr, Expr, tuple[int, ...]]  # first time, number of times, the stages that are busy
Piece = tuple[Stmt, int, frozenset[int] | None]  # what is done for iteration time - n, n, while which stages are busy


def pipeline(func: Func, target: Target) -> Func:
    """No loop is marked any more. Needs lower_init before it and lower_blocks after it."""
    return func.with_body(_with_names_of_their_own(_pipelined(func.body, func.body, target, (), EMPTY)))


def _with_names_of_their_own(stmt: Stmt) -> Stmt:
    """`stmt`, where pipelines inside of pipelines may have given two buffers one name."""
    taken: dict[str, Buffer] = {}
    fresh: dict[Buffer, Buffer] = {}
    for buffer in (alloc.buffer for alloc in find(stmt, Alloc)):
        name, number = buffer.name, 1
        while taken.setdefault(name, buffer) is not buffer:
            number += 1
            name = f"{buffer.name}_{number}"
        if number > 1:
            fresh[buffer] = Buffer(name, buffer.shape, buffer.dtype, buffer.scope)
    return substitute(stmt, {}, fresh) if fresh else stmt


def _pipelined(stmt: Stmt, root: Stmt, target: Target, outer: tuple[For, ...], ctx: Context) -> Stmt:
    """`stmt` of the program `root`, inside the loops `outer`, where `ctx` holds."""
    if isinstance(stmt, Block):
        return stmt
    if isinstance(stmt, If):
        sides = (stmt.then, ctx.assume(stmt.cond)), (stmt.orelse, ctx.assume(negation(stmt.cond)))
        then, orelse = (None if part is None else _pipelined(part, root, target, outer, known) for part, known in sides)
        return stmt if then is stmt.then and orelse is stmt.orelse else If(stmt.cond, then, orelse)
    if not isinstance(stmt, For):
        return map_stmts(stmt, lambda n: _pipelined(n, root, target, outer, ctx))
    found = _plan(stmt, ctx, root)
    rewrite = _Rewrite(stmt, root, target, outer, ctx)
    if found is not None:
        return rewrite.pipeline(found)
    inner = map_stmts(stmt, rewrite.within)
    return rewrite.doubled(inner) if stmt.kind in (SERIAL, UNROLL) else inner


def _plan(loop: For, ctx: Context, root: Stmt) -> Plan | None:
    """How `loop` is pipelined, if it is to be and may be."""
    if loop.kind not in (SERIAL, UNROLL) or not isinstance(dict(loop.annotations).get(STAGES), tuple):
        return None
    try:
        return plan(loop, ctx, root)
    except Conflict:
        return None


class _Rewrite:
    """Makes a pipeline of one loop, or gives versions to buffers that are allocated in it."""

    def __init__(self, loop: For, root: Stmt, target: Target, outer: tuple[For, ...], ctx: Context):
        self.loop, self.root, self.target, self.outer, self.ctx = loop, root, target, outer, ctx
        self.inside = ctx.bind(loop.var, loop.extent)

    def within(self, stmt: Stmt) -> Stmt:
        """A statement of the body, with the loops in it rewritten."""
        return _pipelined(stmt, self.root, self.target, (*self.outer, self.loop), self.inside)

    def pipeline(self, found: Plan) -> Stmt:
        """`loop` as the plan says."""
        allocs, original = parts_of(self.loop)
        notes = tuple(pair for pair in self.loop.annotations if pair[0] not in (STAGES, ORDER))
        lifted = [a for a in allocs if a.buffer in found.shared or found.versions[a.buffer] > 1]
        kept = [a for a in allocs if a not in lifted]
        parts = [lowered(self.within(part)) for part in found.parts]
        outside: list[Alloc] = []
        for alloc in lifted:
            box = self.box(alloc, seq(*original))
            fresh = self.versions(alloc, box, found.versions[alloc.buffer])
            parts = [self.moved(part, fresh, box) for part in parts]
            outside.append(fresh)
        pieces = self.pieces(found, parts)
        stretches = enumerate(_segments(self.loop.extent, found.stages))
        result = seq(*(self.segment(n, each, pieces, kept, notes) for n, each in stretches))
        for alloc in reversed(outside):
            result = alloc.replace(body=result)
        last = const(max(found.stages))
        if isinstance(self.loop.extent, Const) or proves(self.loop.extent >= last, self.ctx):
            return result
        short = _with_own_buffers(lowered(map_stmts(self.loop.replace(annotations=notes), self.within)), ".short")
        return If(simplify(self.loop.extent >= last, self.ctx), result, short)

    def pieces(self, found: Plan, parts: Sequence[Stmt]) -> list[Piece]:
        """What is done at one time: the parts and, if some copy asynchronously, what keeps the threads in step."""
        pieces: list[Piece] = [
            (part, stage, frozenset((stage,))) for part, stage in zip(parts, found.stages, strict=True)
        ]
        kernel = next((n for n in self.outer if unit_of(n.kind)), None) if self.target.async_copies else None
        users = copies(found, kernel) if kernel is not None else {}
        if not users:
            return pieces
        for n in users:
            pieces[n] = (_asynchronous(parts[n]), *pieces[n][1:])
        behind = [(part, stage - found.stages[n]) for n, parts in users.items() for part, stage in parts.items()]
        least = min(times for _, times in behind)
        first = min(part for part, times in behind if times == least)
        # those before `first` use what was waited for at the time before; without any, a barrier at the start does most
        place = first if any(part < first for part, _ in behind) else 0
        last = max(users) + 1
        busy = frozenset(stage for parts in users.values() for stage in parts.values())
        commit: Piece = Do(ASYNC_COMMIT, ()), 0, None  # at every time, so that groups are times
        if place >= last:
            wait: Piece = Do(ASYNC_WAIT, (const(least),)), 0, busy
            return [*pieces[:last], commit, *pieces[last:place], wait, *pieces[place:]]
        wait = Do(ASYNC_WAIT, (const(least - 1),)), 0, busy
        return [*pieces[:place], wait, *pieces[place:last], commit, *pieces[last:]]

    def segment(self, n: int, segment: Segment, pieces: Sequence[Piece], kept: Sequence[Alloc], notes: tuple) -> Stmt:
        """The loop over the n-th stretch of time."""
        start, count, busy = segment
        steady = set(busy) == frozenset[int]().union(*(when for _, _, when in pieces if when is not None))
        suffix = "" if steady else f".prologue{n}" if 0 in busy else f".epilogue{n}"
        var = Var(self.loop.var.name + suffix)
        ctx = self.ctx.bind(var, count)
        body = seq(
            *(
                substitute(part, {self.loop.var: simplify(var + start - stage, ctx)})
                for part, stage, when in pieces
                if when is None or not when.isdisjoint(busy)
            )
        )
        for alloc in reversed(kept):
            body = alloc.replace(body=body) if uses(body, alloc.buffer) else body
        return For(var, count, self.loop.kind, _with_own_buffers(body, suffix), notes if steady else ())

    def doubled(self, loop: Stmt) -> Stmt:
        """`loop`, that of this rewrite with other loops inside, with two versions of the buffers that are marked."""
        marked = [a for a in _allocs(self.loop.body) if dict(a.annotations).get(DOUBLE)]
        if not marked:
            return loop
        body = lowered(loop.body)  # type: ignore[attr-defined]
        outside: list[Alloc] = []
        for alloc in marked:
            box = self.box(alloc, alloc.body)
            fresh = self.versions(alloc, box, 2)
            body = self.moved(_without_alloc(body, alloc.buffer), fresh, box)
            outside.append(fresh)
        result: Stmt = loop.replace(body=body)
        for fresh in reversed(outside):
            result = fresh.replace(body=result)
        return result

    # --------------------------------------------------------------------------------------------- buffers
    def box(self, alloc: Alloc, body: Stmt) -> Region:
        """The part of the buffer of `alloc` that an iteration of the loop needs."""
        buffer = alloc.buffer
        whole = Region(buffer, (ZERO,) * len(buffer.shape), buffer.shape)
        return written_box(body, buffer, (*self.outer, self.loop), self.ctx) or whole

    def versions(self, alloc: Alloc, box: Region, count: int) -> Alloc:
        """An Alloc, as yet without a body, of `count` buffers of the size of `box`."""
        extents = tuple(e if proves(e >= ZERO, self.ctx) else simplify(make("max", e, ZERO)) for e in box.extents)
        old = alloc.buffer
        buffer = Buffer(f"{old.name}.versions", (const(count), *extents), old.dtype, old.scope)
        return Alloc(buffer, seq(), tuple(_one_further(alloc.annotations)))

    def moved(self, stmt: Stmt, alloc: Alloc, box: Region) -> Stmt:
        """`stmt` with the accesses to the buffer of `box` going to the version of the iteration."""
        count = alloc.buffer.shape[0]
        return rebased(stmt, alloc.buffer, box, self.inside, (self.loop.var % count,))


def _allocs(stmt: Stmt) -> list[Alloc]:
    """The allocations in `stmt` that are in no loop inside it."""
    if isinstance(stmt, For | Block):
        return []
    own = [stmt] if isinstance(stmt, Alloc) else []
    return [*own, *(a for n in children(stmt) if isinstance(n, Stmt) for a in _allocs(n))]


def _asynchronous(part: Stmt) -> Stmt:
    """A part with all its stores as asynchronous copies."""
    return transform(part, lambda n: Do(ASYNC_COPY, (), n) if isinstance(n, Store) else n)


def _without_alloc(stmt: Stmt, buffer: Buffer) -> Stmt:
    """`stmt` without the Alloc of `buffer`."""
    if isinstance(stmt, Alloc) and stmt.buffer is buffer:
        return stmt.body
    return map_stmts(stmt, lambda n: _without_alloc(n, buffer))


def _with_own_buffers(stmt: Stmt, suffix: str) -> Stmt:
    """`stmt`, a copy, with buffers of its own, `<name><suffix>`, in place of those that are allocated in it."""
    olds = [alloc.buffer for alloc in find(stmt, Alloc)] if suffix else []
    return substitute(stmt, {}, {old: Buffer(old.name + suffix, old.shape, old.dtype, old.scope) for old in olds})


def _segments(extent: Expr, stages: Sequence[int]) -> list[Segment]:
    """The stretches of time in which the same stages are busy.

    For an extent that is no constant, they are those of at least as many iterations as the last stage has.
    """
    marks = sorted(set(stages))
    if isinstance(extent, Const):
        n = int(extent.value)
        times = sorted({*marks, *(n + mark for mark in marks)}) if n > 0 else []
        return [(const(a), const(b - a), tuple(m for m in marks if m <= a < n + m)) for a, b in pairwise(times)]
    filling = [(const(a), const(b - a), tuple(m for m in marks if m <= a)) for a, b in pairwise(marks)]
    steady = (const(marks[-1]), simplify(extent - marks[-1]), tuple(marks))
    draining = [(extent + a, const(b - a), tuple(m for m in marks if m > a)) for a, b in pairwise(marks)]
    return [*filling, steady, *draining]


def _one_further(annotations: tuple) -> list[tuple[str, Any]]:
    """What was said about the dimensions of a buffer, for one with another dimension in front."""
    found: list[tuple[str, Any]] = []
    for key, value in annotations:
        if key == "align":
            found.append((key, tuple((axis + 1, *rest) for axis, *rest in value)))
        elif key == SWIZZLE:
            found.append((key, value))
    return found
