"""bind_threads: loops bound to blocks and threads become launch nests, programs that every thread runs.

    blockIdx.x i in 8:                         blockIdx.x blockIdx.x in 8:
      for k in 4:                                alloc S: f32[32] in shared
        alloc S: f32[32] in shared      ->       threadIdx.x threadIdx.x in 32:
        threadIdx.x a in 32: S[a] = ...            for k in 4:
        threadIdx.x b in 16: C[...] = S[b]           S[threadIdx.x] = ...
                                                     if threadIdx.x < 16: C[...] = S[threadIdx.x]

All threads of a block run all statements; conditions single out those that do a store: where a loop has fewer
iterations than the block has threads along its axis, and where no loop of an axis stands between the allocation of
the memory and the store, so that all threads would store the same: then the first one does it. Loops over virtual
threads are unrolled. Barriers come later.
"""

from __future__ import annotations

import operator
from dataclasses import dataclass, field

from tensorlang.arith.context import EMPTY
from tensorlang.arith.footprint import bind_all
from tensorlang.arith.own_parts import reads_own
from tensorlang.errors import BuildError
from tensorlang.ir import dtypes, ops, walk
from tensorlang.ir.nodes import (
    GRID,
    NOTHING,
    SHARED,
    THREADS,
    UNROLL,
    VIRTUAL,
    ZERO,
    Alloc,
    Buffer,
    Const,
    Do,
    Expr,
    For,
    Func,
    If,
    LetStmt,
    Load,
    Seq,
    Stmt,
    Store,
    Var,
    const,
    seq,
    unit_of,
)
from tensorlang.passes.cross_thread import PARTIAL
from tensorlang.passes.scopes import GLOBAL, LOCAL
from tensorlang.target.target import Target

_LARGE = 1024  # bytes
_ORDER = "zyx"  # of the loops of a launch nest, outermost first


def bind_threads(func: Func, target: Target) -> Func:
    """All statements are in launch nests. Raises BuildError where that cannot be."""
    return func.with_body(_launches(func.body, target))


def _launches(stmt: Stmt, target: Target, conds: tuple[Expr, ...] = ()) -> Stmt:
    """The kernels of what stands outside of all threads, under the conditions around it."""
    if isinstance(stmt, Seq):
        return seq(*(_launches(s, target, conds) for s in stmt.stmts))
    if isinstance(stmt, Alloc):
        if stmt.buffer.scope != GLOBAL:
            raise BuildError(
                f"{stmt.buffer.name} is in {stmt.buffer.scope} memory, which ends with a kernel, but no single kernel "
                "has all that uses it: bind the loops around both to the same blocks, or leave it in global memory"
            )
        return stmt.replace(body=_launches(stmt.body, target, conds))
    if isinstance(stmt, If):
        then = _launches(stmt.then, target, (*conds, stmt.cond))
        if stmt.orelse is None:
            return then
        return seq(then, _launches(stmt.orelse, target, (*conds, ops.make("not", stmt.cond))))
    if isinstance(stmt, LetStmt):
        return _launches(walk.substitute(stmt.body, {stmt.var: stmt.value}), target, conds)
    if isinstance(stmt, For) and not unit_of(stmt.kind) and any(unit_of(n.kind) for n in walk.find(stmt.body, For)):
        raise BuildError(f"loop {stmt.var.name} is around bound loops, but is not bound: a kernel cannot be in a loop")
    return _Kernel(stmt, target).launch(conds)


@dataclass
class _Kernel:
    """One launch nest in the making."""

    root: Stmt
    target: Target
    grid: dict[str, For] = field(default_factory=dict)
    threads: dict[str, int] = field(default_factory=dict)
    vars: dict[str, Var] = field(default_factory=dict)
    allocated: dict[Buffer, tuple[Alloc, int]] = field(default_factory=dict)  # with the number of loops around it

    def launch(self, conds: tuple[Expr, ...]) -> Stmt:
        for loop in walk.find(self.root, For):
            if unit_of(loop.kind) == THREADS:
                self.threads[loop.kind] = max(self.threads.get(loop.kind, 1), _constant(loop))
        total = 1
        for count in self.threads.values():
            total *= count
        if total > self.target.threads_per_block:
            raise BuildError(
                f"a block of {' x '.join(map(str, self.threads.values()))} threads is more than the "
                f"{self.target.threads_per_block} of {self.target.arch}"
            )
        self.threads = {a: n for a, n in self.threads.items() if n > 1} or {"threadIdx.x": 1}
        body = self.reused(self.stmt(self.root, ()))
        for cond in conds:
            body = If(cond, body)
        return self.nest(body)

    def nest(self, body: Stmt) -> Stmt:
        """The loops and allocations around `body`."""
        loops = [For(self.var(a), const(self.threads[a]), a, body) for a in self.axes(THREADS) if a in self.threads]
        blocks = [self.grid[a].replace(var=self.var(a)) for a in self.axes(GRID) if a in self.grid]
        self.check_private(body, [*blocks, *loops])
        for alloc, _ in reversed(self.allocated.values()):
            body = alloc.replace(body=body) if alloc.buffer.scope == LOCAL else body
        for loop in reversed(loops):
            body = loop.replace(body=body)
        for alloc, _ in reversed(self.allocated.values()):
            body = alloc.replace(body=body) if alloc.buffer.scope == SHARED else body
        for loop in reversed(blocks):
            body = loop.replace(body=body)
        return body

    def reused(self, body: Stmt) -> Stmt:
        """`body` with large buffers in shared memory that are not needed at the same time in one place."""
        places: list[list[Alloc]] = []
        for alloc, _ in self.allocated.values():
            if alloc.buffer.scope != SHARED or not _is_large(alloc.buffer):
                continue
            fitting = (p for p in places if _alike(p[0], alloc) and not any(_inside(alloc, other) for other in p))
            place = next(fitting, None)
            if place is None:
                places.append([alloc])
            else:
                place.append(alloc)
        merged = {other.buffer: first.buffer for first, *others in places for other in others}
        for buffer in merged:
            del self.allocated[buffer]
        return walk.substitute(body, {}, merged) if merged else body

    def axes(self, unit: str) -> list[str]:
        return [f"{unit}.{axis}" for axis in _ORDER]

    def var(self, axis: str) -> Var:
        return self.vars.setdefault(axis, Var(axis))

    # ---------------------------------------------------------------------------------------------- statements
    def stmt(self, stmt: Stmt, threads: tuple[For, ...]) -> Stmt:
        """`stmt`, inside the loops `threads`, as every thread runs it."""
        if isinstance(stmt, For) and unit_of(stmt.kind) == GRID:
            return self.block_loop(stmt)
        if isinstance(stmt, For) and unit_of(stmt.kind) == THREADS:
            if stmt.extent is ZERO:
                return NOTHING
            body = self.stmt(stmt.body, (*threads, stmt))
            return walk.substitute(body, {stmt.var: self.var(stmt.kind) if stmt.kind in self.threads else ZERO})
        if isinstance(stmt, For) and unit_of(stmt.kind) == VIRTUAL:
            return stmt.replace(kind=UNROLL, body=self.stmt(stmt.body, threads))
        if isinstance(stmt, Alloc):
            self.allocated[stmt.buffer] = (stmt, len(threads))
            return self.stmt(stmt.body, threads)
        if isinstance(stmt, LetStmt):
            return self.let(stmt, threads)
        store = stmt.body if isinstance(stmt, Do) and isinstance(stmt.what, str) else stmt  # an effect on one element
        if isinstance(store, Store):
            conds = self.doers(store, threads)
            return If(ops.all_of(conds), stmt) if conds else stmt
        if isinstance(stmt, Seq):
            return seq(*(self.stmt(s, threads) for s in stmt.stmts))
        return walk.map_children(stmt, lambda n: self.stmt(n, threads) if isinstance(n, Stmt) else n)

    def block_loop(self, stmt: For) -> Stmt:
        own = {self.var(axis) for axis in self.grid}
        if walk.free_vars(stmt.extent) & own:
            raise BuildError(
                f"the extent of loop {stmt.var.name}, {stmt.extent!r}, depends on another loop of its grid"
            )
        self.grid[stmt.kind] = stmt
        body = walk.substitute(stmt.body, {stmt.var: self.var(stmt.kind)})
        return self.stmt(body, ())

    def let(self, stmt: LetStmt, threads: tuple[For, ...]) -> Stmt:
        """Only those who store what is computed here compute it: it may read what they are about to change."""
        conds = [self.doers(store, threads) for store in walk.find(stmt, Store)]
        if all(each == conds[0] for each in conds):
            return If(ops.all_of(conds[0]), stmt) if conds and conds[0] else stmt
        changed = {n.buffer for n in walk.find(stmt, Store) if n.buffer.scope != LOCAL}
        read = next(walk.find(stmt, Load, lambda n: n.buffer in changed), None)
        if read is not None:
            raise BuildError(
                f"threads store {', '.join(b.name for b in changed)} that others read in the same statement: keep all "
                "results of a reduction in the same memory"
            )
        return walk.map_children(stmt, lambda n: self.stmt(n, threads) if isinstance(n, Stmt) else n)

    def doers(self, store: Store, threads: tuple[For, ...]) -> list[Expr]:
        """The conditions under which a thread does `store`."""
        conds = []
        outside = self.allocated[store.buffer][1] if store.buffer in self.allocated else 0
        private = store.buffer.scope == LOCAL
        indices = frozenset[Var]().union(*map(walk.free_vars, store.indices)) if store.indices else frozenset()
        for axis, count in self.threads.items():
            along = [n for n, loop in enumerate(threads) if loop.kind == axis]
            own = [n for n in along if private or n >= outside or threads[n].var in indices]
            if own:
                extent = threads[own[-1]].extent
                if not (isinstance(extent, Const) and extent.value == count):
                    conds.append(threads[own[-1]].var < extent)
            elif not private and count > 1:
                conds.append(ops.make("eq", self.var(axis), ZERO))
        return conds

    def check_private(self, body: Stmt, loops: list[For]) -> None:
        """What a thread reads of its own memory is what the loops would have left there. Raises BuildError."""
        ctx = bind_all(EMPTY, loops)
        own = {loop.var: loop.extent for loop in loops if unit_of(loop.kind) == THREADS}
        for buffer, (alloc, _) in self.allocated.items():
            if buffer.scope != LOCAL or (PARTIAL, True) in alloc.annotations or not _is_shared_out(alloc):
                continue
            if not reads_own(body, buffer, own, ctx):
                raise BuildError(
                    f"{buffer.name} is in local memory, which each thread has for itself, but a thread may read what "
                    f"another one has written: set_scope({buffer.name!r}, 'shared')"
                )


def _is_large(buffer: Buffer) -> bool:
    """Whether it is worth a barrier to use its memory again."""
    size = dtypes.bytes_of(buffer.dtype)
    for extent in buffer.shape:
        size *= int(extent.value) if isinstance(extent, Const) else 1
    return size >= _LARGE


def _alike(a: Alloc, b: Alloc) -> bool:
    same = a.buffer.dtype == b.buffer.dtype and a.annotations == b.annotations
    shapes = a.buffer.shape, b.buffer.shape
    return same and len(shapes[0]) == len(shapes[1]) and all(map(operator.is_, *shapes))


def _is_shared_out(alloc: Alloc) -> bool:
    """Whether loops over threads inside the allocation use the buffer: else each thread has one by what loops mean."""
    loops = (n for n in walk.find(alloc.body, For) if unit_of(n.kind) == THREADS)
    accesses = (n for loop in loops for n in walk.visit(loop.body) if isinstance(n, Load | Store))
    return any(n.buffer is alloc.buffer for n in accesses)


def _inside(inner: Alloc, outer: Alloc) -> bool:
    return any(n is inner for n in walk.find(outer.body, Alloc))


def _constant(loop: For) -> int:
    if not isinstance(loop.extent, Const):
        raise BuildError(f"the extent of loop {loop.var.name}, which is bound to {loop.kind}, is not a constant")
    return max(1, int(loop.extent.value))
