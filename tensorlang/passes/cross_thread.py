"""cross_thread: a reduction over a loop of threads becomes partial results, which the threads then combine.

    threadIdx.x k in 64:                             alloc C.part[1] in local
      block C(k: reduce = k):                        threadIdx.x k in 64:
        init: C[] = 0                         ->       block C(k: reduce = k): C.part[] += A[k]    (init: 0)
        C[] = C[] + A[k]                             threadIdx.x t in 64:
                                                       C.part[] += shuffle_xor(C.part[], 16) ... 8, 4, 2, 1
                                                     alloc C.warps[2] in shared
                                                     threadIdx.x t in 64: if t % 32 == 0: C.warps[t // 32] = C.part[]
                                                     threadIdx.x t in 64: C.part[] = C.warps[t % 2]
                                                     threadIdx.x t in 64: C.part[] += shuffle_xor(C.part[], 1)
                                                     C[] = C.part[]

Afterwards all threads have the result. Warps exchange values by shuffles where the loop is along x and fills whole
warps, or an even part of one; else all threads read all partial results from shared memory, in order.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from tensorlang.arith.bounds import const_bounds
from tensorlang.arith.context import EMPTY
from tensorlang.arith.footprint import bind_all
from tensorlang.errors import BuildError
from tensorlang.ir import ops, walk
from tensorlang.ir.nodes import (
    SERIAL,
    SHARED,
    SPATIAL,
    THREADS,
    TRUE,
    UNROLL,
    VECTORIZE,
    ZERO,
    Alloc,
    Block,
    Buffer,
    Const,
    Expr,
    For,
    Func,
    If,
    LetStmt,
    Load,
    Op,
    Reducer,
    Seq,
    Stmt,
    Store,
    Var,
    const,
    seq,
    unit_of,
)
from tensorlang.passes.scopes import LOCAL
from tensorlang.target.target import Target

WARP = ops.WARP
_THREAD_X = "threadIdx.x"
PARTIAL = "partial"  # what is noted at an Alloc of which each thread has its part of a reduction


def cross_thread(func: Func, target: Target) -> Func:
    """No block reduces over a loop of threads. Raises BuildError if a spatial loop outside of all bound ones is not
    bound: a kernel would run it in one thread."""
    _all_bound(func)
    taken = {b.name for b in func.params} | {a.buffer.name for a in walk.find(func.body, Alloc)}

    def go(stmt: Stmt, around: tuple[For, ...]) -> Stmt:
        if isinstance(stmt, Block):
            return stmt
        if isinstance(stmt, For):
            found = _reducing(stmt, around)
            if found:
                return _Combined(stmt, found[0], around, taken).stmt()
            around = (*around, stmt)
        return walk.map_children(stmt, lambda n: go(n, around) if isinstance(n, Stmt) else n)

    return func.with_body(_flat(go(func.body, ())))


def _flat(stmt: Stmt) -> Stmt:
    """Sequences do not nest."""
    return walk.transform(stmt, lambda n: seq(*n.stmts) if isinstance(n, Seq) else n)


def _all_bound(func: Func) -> None:
    for block, around in _blocks(func.body, ()):
        spatial = [b for it, b in zip(block.iters, block.bindings, strict=True) if it.kind == SPATIAL]
        driving = frozenset[Var]().union(*map(walk.free_vars, spatial)) if spatial else frozenset()
        loops = [n.var.name for n in around if n.var in driving]
        if loops and not any(unit_of(n.kind) for n in around):
            raise BuildError(
                f"block {block.name} is in no loop that is bound to blocks or threads, so that a single thread would "
                f"do all of it: bind {' or '.join(loops)}, as in "
                f's.bind(s.split("{loops[0]}", [None, 128])[1], "threadIdx.x")'
            )


def _blocks(stmt: Stmt, around: tuple[For, ...]) -> list[tuple[Block, tuple[For, ...]]]:
    if isinstance(stmt, Block):
        return [(stmt, around)]
    inside = (*around, stmt) if isinstance(stmt, For) else around
    return [found for n in walk.children(stmt) if isinstance(n, Stmt) for found in _blocks(n, inside)]


def _reduced(block: Block) -> frozenset[Var]:
    bound = [b for it, b in zip(block.iters, block.bindings, strict=True) if it.kind != SPATIAL]
    return frozenset[Var]().union(*map(walk.free_vars, bound)) if bound else frozenset()


def _reducing(loop: For, around: tuple[For, ...]) -> list[tuple[Block, tuple[For, ...]]]:
    """The blocks that `loop` is the outermost loop to reduce, and which reduce over threads; with their loops."""
    return [
        (block, loops)
        for block, loops in _blocks(loop, ())
        if block.init is not None
        and _reduces(loop, block)
        and not any(_reduces(n, block) for n in around)
        and any(unit_of(n.kind) == THREADS and n.var in _reduced(block) for n in loops)
    ]


def _reduces(loop: For, block: Block) -> bool:
    """Whether the result is there only after `loop`: where another block in it uses it, it has one iteration."""
    if loop.var not in _reduced(block):
        return False
    results = {n.buffer for n in walk.find(block, Store)}
    others = (n for n, _ in _blocks(loop, ()) if n is not block)
    return not any(n.buffer in results for other in others for n in walk.visit(other) if isinstance(n, Load | Store))


class _Point(NamedTuple):
    """One spatial point of the block: where its results go, where a thread has its parts of them, the loops over
    threads along other axes, and the condition under which the point exists."""

    places: list[Load]
    mine: list[Load]
    rows: list[For]
    guard: Expr


@dataclass
class _Combined:
    """One such block, with the loops from the outermost that it reduces over inwards."""

    top: For
    found: tuple[Block, tuple[For, ...]]
    around: tuple[For, ...]
    taken: set[str]

    def __post_init__(self) -> None:
        self.block, self.loops = self.found
        assert self.block.reducer is not None and self.block.init is not None
        self.reducer: Reducer = self.block.reducer
        self.thread = next(n for n in self.loops if unit_of(n.kind) == THREADS and n.var in _reduced(self.block))
        stores = self.block.init.stmts if isinstance(self.block.init, Seq) else (self.block.init,)
        self.places = [Load(n.buffer, n.indices) for n in stores if isinstance(n, Store)]
        self.parts = [Buffer(self.name(f"{p.buffer.name}.part"), self.room(p), p.dtype, LOCAL) for p in self.places]

    def room(self, place: Load) -> tuple[Expr, ...]:
        """The shape of partial results: also threads beyond the end of the result have some, as they help combine."""
        ctx = bind_all(EMPTY, (*self.around, *self.loops))
        bound = dict(zip((it.var for it in self.block.iters), self.block.bindings, strict=True))
        room: list[Expr] = []
        for index, extent in zip(place.indices, place.buffer.shape, strict=True):
            _, last = const_bounds(walk.substitute(index, bound), ctx)
            beyond = isinstance(extent, Const) and last != math.inf and last >= extent.value
            room.append(const(int(last) + 1) if beyond else extent)
        return tuple(room)

    def name(self, base: str) -> str:
        name, n = base, 0
        while name in self.taken:
            n += 1
            name = f"{base}_{n}"
        self.taken.add(name)
        return name

    def stmt(self) -> Stmt:
        """The partial results, their combination, and the stores of the results."""
        assert self.block.init is not None
        buffers = {p.buffer: part for p, part in zip(self.places, self.parts, strict=True)}
        partial = self.block.replace(init=None, body=walk.substitute(self.block.body, {}, buffers))
        top = walk.replace_node(self.top, self.block, partial)
        whole: Stmt = seq(self.at_points(self.begin, "part"), top, self.at_points(self.finish, "all"))
        for part in self.parts:
            whole = Alloc(part, whole, ((PARTIAL, True),))
        return whole

    def at_points(self, body: Callable[[_Point], Stmt], suffix: str) -> Stmt:
        """`body` in copies of those loops that drive spatial iterators."""
        spatial = [(it, b) for it, b in zip(self.block.iters, self.block.bindings, strict=True) if it.kind == SPATIAL]
        driving = frozenset[Var]().union(*(walk.free_vars(b) for _, b in spatial)) if spatial else frozenset()
        copied = [loop for loop in self.loops if loop.var in driving]
        hidden = {loop.var for loop in self.loops if loop not in copied}
        renamed: dict[Var, Expr] = {loop.var: Var(f"{loop.var.name}.{suffix}") for loop in copied}
        values = {it.var: walk.substitute(b, renamed) for it, b in spatial}
        places = [walk.substitute(p, values) for p in self.places]
        mine = [Load(part, p.indices) for part, p in zip(self.parts, places, strict=True)]
        rows = [n for n in (*self.around, *copied) if unit_of(n.kind) == THREADS and n.kind != self.thread.kind]
        rows = [n.replace(var=renamed.get(n.var, n.var)) for n in rows]
        guards = [c for c in ops.conjuncts(self.block.predicate) if not walk.free_vars(c) & hidden]
        stmt = body(_Point(places, mine, rows, walk.substitute(ops.all_of(guards), renamed)))
        for loop in reversed(copied):
            kind = UNROLL if loop.kind == VECTORIZE else loop.kind
            stmt = For(renamed[loop.var], walk.substitute(loop.extent, renamed), kind, stmt)
        return stmt

    def begin(self, at: _Point) -> Stmt:
        """All threads have the identity, also those for which the block does not run: they take part in shuffles."""
        identity = self.reducer.identity
        return seq(*(Store(m.buffer, m.indices, e) for m, e in zip(at.mine, identity, strict=True)))

    def finish(self, at: _Point) -> Stmt:
        """Combine what the threads have, and store it."""
        store = seq(*(Store(p.buffer, p.indices, m) for p, m in zip(at.places, at.mine, strict=True)))
        return seq(self.combine(at.mine, at.rows), store if at.guard is TRUE else If(at.guard, store))

    # ------------------------------------------------------------------------------------------- combination
    def combine(self, mine: Sequence[Load], rows: Sequence[For]) -> Stmt:
        """Statements after which `mine`, elements of the parts, are the whole results in all threads."""
        count = int(self.thread.extent.value) if isinstance(self.thread.extent, Const) else 0
        if not count:
            raise BuildError(f"the extent of loop {self.thread.var.name}, over which threads reduce, is no constant")
        if not self.in_warps(count, rows):
            return self.through_memory(mine, rows, count, lambda t: t, None)
        inside = min(count, WARP)
        steps = self.shuffles(mine, inside)
        if count <= WARP:
            return steps
        return seq(steps, self.through_memory(mine, rows, count // WARP, lambda t: t // WARP, lambda t: t % WARP))

    def in_warps(self, count: int, rows: Sequence[For]) -> bool:
        """Whether the threads of the loop are all along x, and whole warps or an even part of one."""
        kernel = self.around[0] if self.around else self.top
        along: dict[str, int] = {}
        for n in walk.find(kernel, For):
            if unit_of(n.kind) == THREADS and isinstance(n.extent, Const):
                along[n.kind] = max(along.get(n.kind, 1), int(n.extent.value))
        total = 1
        for extent in along.values():
            total *= extent
        even = count % WARP == 0 or WARP % count == 0
        return self.thread.kind == _THREAD_X and along[_THREAD_X] == count and even and total % WARP == 0

    def shuffles(self, mine: Sequence[Load], lanes: int) -> Stmt:
        """Combine among groups of so many neighbouring threads."""
        steps, mask = [], lanes // 2
        while mask:
            steps.append(self.update(mine, [ops.make("shuffle_xor", m, const(mask)) for m in mine]))
            mask //= 2
        return seq(*(self.by_threads(lambda t, s=s: s) for s in steps))  # type: ignore[misc]

    def update(self, mine: Sequence[Load], others: Sequence[Expr]) -> Stmt:
        """mine = combine(mine, others), where all threads evaluate others once, whatever the reducer does with them."""
        left = [Var(f"{m.buffer.name}.left", m.dtype) for m in mine]
        right = [Var(f"{m.buffer.name}.right", m.dtype) for m in mine]
        of = {
            **dict(zip(self.reducer.left, left, strict=True)),
            **dict(zip(self.reducer.right, right, strict=True)),
        }
        results = [walk.substitute(c, of) for c in self.reducer.combine]
        first = results[0]
        if len(mine) == 1 and isinstance(first, Op) and first.dtype != "bool" and set(first.args) == {*left, *right}:
            given = {left[0]: mine[0], right[0]: others[0]}
            return Store(mine[0].buffer, mine[0].indices, walk.substitute(first, given))
        body: Stmt = seq(*(Store(m.buffer, m.indices, r) for m, r in zip(mine, results, strict=True)))
        for var, value in (*zip(right, others, strict=True), *zip(left, mine, strict=True)):
            body = LetStmt(var, value, body)
        return body

    def by_threads(self, body: Callable[[Var], Stmt]) -> Stmt:
        """`body`, a function of the number of the thread, in all threads of the reduction."""
        var = Var(f"{self.block.name}.thread")
        return For(var, self.thread.extent, self.thread.kind, body(var))

    def through_memory(
        self,
        mine: Sequence[Load],
        rows: Sequence[For],
        count: int,
        place: Callable[[Expr], Expr],
        lane: Callable[[Expr], Expr] | None,
    ) -> Stmt:
        """Combine `count` values, number place(t) of thread t, whose lane is 0 if only that one has it."""
        shape = (*(n.extent for n in rows), const(count))
        memory = [Buffer(self.name(f"{m.buffer.name}.all"), shape, m.dtype, SHARED) for m in mine]
        row = tuple(n.var for n in rows)

        def give(t: Var) -> Stmt:
            stores = seq(*(Store(b, (*row, place(t)), m) for b, m in zip(memory, mine, strict=True)))
            return stores if lane is None else If(ops.make("eq", lane(t), ZERO), stores)

        def take(at: Expr) -> Stmt:
            return seq(*(Store(m.buffer, m.indices, Load(b, (*row, at))) for b, m in zip(memory, mine, strict=True)))

        given = self.by_threads(give)
        if lane is not None and count & (count - 1) == 0:
            taken = seq(self.by_threads(lambda t: take(t % count)), self.shuffles(mine, count))
        else:
            n = Var(f"{self.block.name}.part")
            more = self.update(mine, [Load(b, (*row, n + 1)) for b in memory])
            taken = self.by_threads(lambda t: seq(take(ZERO), For(n, const(count - 1), SERIAL, more)))
        whole = seq(given, taken)
        for buffer in memory:
            whole = Alloc(buffer, whole)
        return whole
