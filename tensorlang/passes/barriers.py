"""barriers: the threads of a block wait for each other where one may use what another has stored, and nowhere else.

    for k in 4:                                for k in 4:
      S[threadIdx.x] = A[...]                    barrier()
      C[...] = S[31 - threadIdx.x]      ->       S[threadIdx.x] = A[...]
                                                 barrier()
                                                 C[...] = S[31 - threadIdx.x]

Statements are walked in order with the accesses since the last barrier at hand; a barrier goes before a statement
that reads what another thread may have written since, or writes what another thread may have read or written. The
body of a loop is walked with what its end leaves to the next iteration. A barrier that a loop needs because of what is
before it stands before the loop. All threads must reach a barrier, so none goes below a condition that may differ
between threads. An asynchronous copy stores where it begins, and again where its thread has waited for it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tensorlang.arith.affine import injective
from tensorlang.arith.context import EMPTY, Context
from tensorlang.arith.disjoint import disjoint, hull
from tensorlang.arith.prove import proves
from tensorlang.arith.regions import Region, Regions, accesses, apart
from tensorlang.arith.simplify import negation
from tensorlang.errors import BuildError
from tensorlang.ir import walk
from tensorlang.ir.launch import ASYNC_COPY, ASYNC_WAIT, ATOMIC, BARRIER
from tensorlang.ir.nodes import (
    NOTHING,
    SHARED,
    THREADS,
    VECTORIZE,
    Alloc,
    Buffer,
    Do,
    Expr,
    For,
    Func,
    If,
    Load,
    Node,
    Seq,
    Stmt,
    Store,
    Var,
    seq,
    unit_of,
)
from tensorlang.ir.walk import has_load
from tensorlang.passes.scopes import LOCAL
from tensorlang.passes.tools import map_stmts
from tensorlang.target.target import Target

_WAIT = Do(BARRIER, ())


def barriers(func: Func, target: Target) -> Func:
    """Needs bind_threads and compact before it, so that buffers have the elements that they have in the end."""
    return func.with_body(_in_launches(func.body, (), EMPTY))


def _in_launches(stmt: Stmt, threads: tuple[For, ...], ctx: Context) -> Stmt:
    if isinstance(stmt, For) and unit_of(stmt.kind):
        inside = (*threads, stmt) if unit_of(stmt.kind) == THREADS else threads
        return stmt.replace(body=_in_launches(stmt.body, inside, ctx.bind(stmt.var, stmt.extent)))
    if threads and not isinstance(stmt, Alloc):
        return _Walk(stmt, threads, ctx).run()
    return map_stmts(stmt, lambda n: _in_launches(n, threads, ctx))


@dataclass(frozen=True)
class _Access:
    """A statement that has been run since the last barrier, in some iteration of `loops`, which have ended."""

    stmt: Stmt
    loops: tuple[For, ...] = ()

    def whole(self) -> Stmt:
        stmt = self.stmt
        for loop in reversed(self.loops):
            stmt = loop.replace(body=stmt)
        return stmt


Accesses = tuple[_Access, ...]


class _Walk:
    """Places the barriers in the body of one launch nest."""

    def __init__(self, body: Stmt, threads: Sequence[For], ctx: Context):
        self.body, self.threads, self.ctx = body, list(threads), ctx
        self.own = {loop.var for loop in threads}
        stored = {n.buffer for n in walk.find(body, Store)}
        loaded = {n.buffer for n in walk.find(body, Load)}
        self.common = {b for b in stored if b.scope != LOCAL and (b.scope == SHARED or b in loaded)}
        self.copies = tuple(_copies(body, ()))
        self.before: dict[tuple[_Access, For], _Access] = {}
        self.known: dict[tuple[Stmt, tuple[For, ...], Context], tuple[Regions, Regions]] = {}

    def run(self) -> Stmt:
        return self.stmt(self.body, self.ctx, ())[0] if self.common else self.body

    # ---------------------------------------------------------------------------------------------- statements
    def stmt(self, stmt: Stmt, ctx: Context, open_: Accesses) -> tuple[Stmt, Accesses]:
        """`stmt` with its barriers, and the accesses that are open after it, given those before it."""
        if isinstance(stmt, Seq):
            parts = []
            for part in stmt.stmts:
                part, open_ = self.stmt(part, ctx, open_)
                parts.append(part)
            return seq(*parts), open_
        if isinstance(stmt, Do) and stmt.what == BARRIER:
            return stmt, ()
        if isinstance(stmt, Do) and stmt.what == ASYNC_WAIT:
            return stmt, tuple(dict.fromkeys((*open_, *self.copies)))
        if isinstance(stmt, Alloc):
            body, open_ = self.stmt(stmt.body, ctx, open_)
            return stmt.replace(body=body), open_
        if isinstance(stmt, For) and stmt.kind != VECTORIZE and self.alike(stmt.extent):
            return self.loop(stmt, ctx, open_)
        if isinstance(stmt, If) and self.alike(stmt.cond):
            return self.branch(stmt, ctx, open_)
        return self.leaf(stmt, ctx, open_)

    def alike(self, expr: Expr) -> bool:
        """Whether `expr` is known to be the same in all threads."""
        return not walk.free_vars(expr) & self.own and not has_load(expr)

    def leaf(self, stmt: Stmt, ctx: Context, open_: Accesses) -> tuple[Stmt, Accesses]:
        if not self.touches(stmt):
            return stmt, open_
        if isinstance(stmt, For | If) and self.stmt_alone(stmt, ctx):
            raise BuildError(
                "threads would have to wait for each other under a condition or in a loop that is not the same for all "
                f"of them: {stmt!r}"
            )
        if self.conflict(open_, _Access(stmt), ctx):
            return seq(_WAIT, stmt), (_Access(stmt),)
        return stmt, (*open_, _Access(stmt))

    def stmt_alone(self, stmt: For | If, ctx: Context) -> bool:
        """Whether the parts of a statement that takes no barrier would need one."""
        if isinstance(stmt, For):
            inside, parts = ctx.bind(stmt.var, stmt.extent), [stmt.body]
        else:
            inside, parts = ctx, [s for s in (stmt.then, stmt.orelse) if s is not None]
        return any(self.needs_barrier(part, inside) for part in parts)

    def needs_barrier(self, stmt: Stmt, ctx: Context) -> bool:
        changed, _ = self.stmt(stmt, ctx, ())
        return any(True for _ in walk.find(changed, Do, lambda n: n.what == BARRIER))

    def branch(self, stmt: If, ctx: Context, open_: Accesses) -> tuple[Stmt, Accesses]:
        then, after = self.stmt(stmt.then, ctx.assume(stmt.cond), open_)
        if stmt.orelse is None:
            return If(stmt.cond, then), tuple(dict.fromkeys((*open_, *after)))
        orelse, other = self.stmt(stmt.orelse, ctx.assume(negation(stmt.cond)), open_)
        return If(stmt.cond, then, orelse), tuple(dict.fromkeys((*after, *other)))

    def loop(self, loop: For, ctx: Context, open_: Accesses) -> tuple[Stmt, Accesses]:
        inside = ctx.bind(loop.var, loop.extent)
        earlier: Accesses = ()  # what earlier iterations leave open, found by walking the body again and again
        body, left = self.stmt(loop.body, inside, earlier)
        while not set(carried := self.carried(left, loop, body)) <= set(earlier):
            earlier = tuple(dict.fromkeys((*earlier, *carried)))
            body, left = self.stmt(loop.body, inside, earlier)
        whole: Stmt = loop.replace(body=body)
        waits = _waits(body)
        if not _waits_first(body) and self.conflict(open_, _Access(loop), ctx):
            whole, open_ = seq(_WAIT, whole), ()
        if waits and proves(loop.extent >= 1, ctx):
            open_ = ()
        return whole, (*open_, *_ended(left, loop))

    def carried(self, left: Accesses, loop: For, body: Stmt) -> Accesses:
        """What the end of an iteration leaves open, as later ones see it: only the next one, if all have a barrier."""
        if not _waits(body):
            return _ended(left, loop)
        before = {loop.var: loop.var - 1}
        for access in left:
            if (access, loop) not in self.before:
                loops = tuple(n.replace(extent=walk.substitute(n.extent, before)) for n in access.loops)
                self.before[access, loop] = _Access(walk.substitute(access.stmt, before), loops)
        return tuple(self.before[access, loop] for access in left)

    # ------------------------------------------------------------------------------------------------ conflicts
    def touches(self, stmt: Stmt) -> bool:
        return any(n.buffer in self.common for n in walk.visit(stmt) if isinstance(n, Load | Store))

    def conflict(self, before: Accesses, now: _Access, ctx: Context) -> bool:
        """Whether what a thread does now needs that another thread has done what is `before`."""
        return any(self.clash(one, now, ctx) for one in before)

    def clash(self, one: _Access, two: _Access, ctx: Context) -> bool:
        (reads, writes), (loads, stores) = self.regions(one, ctx), self.regions(two, ctx)
        for buffer in self.common:
            pairs = [(writes, loads), (reads, stores), (writes, stores)]
            if not any(buffer in a and buffer in b for a, b in pairs) or self.one_each(one, two, buffer, ctx):
                continue
            if _updates_only(one.stmt, buffer) and _updates_only(two.stmt, buffer):
                continue
            for a, b in pairs:
                if buffer in a and buffer in b and not self.apart(a[buffer], b[buffer], ctx):
                    return True
        return False

    def apart(self, a: Region, b: Region, ctx: Context) -> bool:
        """Whether different threads touch different elements, one in region `a` and the other in `b`."""
        others = {loop.var: Var(loop.var.name) for loop in self.threads}
        both = ctx
        for loop in self.threads:
            both = both.bind(others[loop.var], loop.extent)
        return apart(a, b.at(others), both) or disjoint(hull(a, b, ctx), self.threads, ctx)

    def regions(self, access: _Access, ctx: Context) -> tuple[Regions, Regions]:
        key = (access.stmt, access.loops, ctx)
        if key not in self.known:
            self.known[key] = accesses(access.whole(), ctx)
        return self.known[key]

    def one_each(self, one: _Access, two: _Access, buffer: Buffer, ctx: Context) -> bool:
        """Whether both touch `buffer` at one place, which differs between threads whatever the iterations."""
        places = {n.indices for s in (one.stmt, two.stmt) for n in _uses(s, buffer)}
        if len(places) != 1:
            return False
        indices = next(iter(places))
        used = frozenset[Var]().union(*map(walk.free_vars, indices)) if indices else frozenset()
        loops = {loop.var: loop for s in (one.whole(), two.whole()) for loop in walk.find(s, For)}
        inner = [loop for var, loop in loops.items() if var in used]
        bound = [(loop.var, loop.extent) for loop in (*self.threads, *inner)]
        return injective(indices, bound, ctx)


def _copies(stmt: Stmt, loops: tuple[For, ...]) -> Iterator[_Access]:
    """The asynchronous copies in `stmt`: a wait may end them, of whatever iteration they are."""
    if isinstance(stmt, Do) and stmt.what == ASYNC_COPY:
        yield _Access(stmt, loops)
        return
    inside = (*loops, stmt) if isinstance(stmt, For) else loops
    for part in walk.children(stmt):
        if isinstance(part, Stmt):
            yield from _copies(part, inside)


def _updates_only(stmt: Stmt, buffer: Buffer) -> bool:
    """Whether all that `stmt` does with `buffer` are atomic updates."""
    atomics = [n for n in walk.find(stmt, Do) if n.what == ATOMIC]
    updates = {n: NOTHING for n in atomics if isinstance(n.body, Store) and n.body.buffer is buffer}
    return bool(updates) and not _uses(walk.transform(stmt, lambda n: updates.get(n, n)), buffer)  # type: ignore[call-overload]


def _uses(stmt: Stmt, buffer: Buffer) -> list[Load | Store]:
    return [n for n in walk.visit(stmt) if isinstance(n, Load | Store) and n.buffer is buffer]


def _ended(accesses_: Accesses, loop: For) -> Accesses:
    """The accesses of a loop's body, as they are seen from the next iteration and from behind the loop."""
    return tuple(a if loop in a.loops else _Access(a.stmt, (loop, *a.loops)) for a in accesses_)


def _parts(body: Node) -> Sequence[Node]:
    while isinstance(body, Alloc):
        body = body.body
    return body.stmts if isinstance(body, Seq) else (body,)


def _waits(body: Stmt) -> bool:
    """Whether a barrier is among the statements of `body`."""
    return any(isinstance(s, Do) and s.what == BARRIER for s in _parts(body))


def _waits_first(body: Stmt) -> bool:
    """Whether a barrier comes before all that touches memory."""
    for part in _parts(body):
        if not isinstance(part, Do) or part.body is not None:
            return False
        if part.what == BARRIER:
            return True
    return False
