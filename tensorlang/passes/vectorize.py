"""vectorize: loops marked so become vectors as wide as the target's registers.

    for j in 40 vectorized: C[i, j] = A[j] * 2.0     (16 lanes)
    ->
    C[i, ramp(0, 16)] = A[ramp(0, 16)] * splat(2.0)
    C[i, ramp(16, 16)] = ...
    C[i, ramp(32, 8)] = ...

What is left over is one narrower vector, masked if its width is no power of two or is known at run time only. Guards
that differ between lanes become masks, and so do the conditions of if_then_else. A loop whose body has no vector
form (an inner loop whose extent differs between lanes, an allocation) becomes a serial loop.

Where threads take the place of vectors (`target.simt`), a vector is one access to memory by one thread, as wide as
the narrowest elements allow; tails are scalars under conditions.
"""

from __future__ import annotations

from dataclasses import dataclass

from tensorlang.arith.bounds import const_bounds
from tensorlang.arith.context import EMPTY, Context
from tensorlang.arith.prove import proves
from tensorlang.arith.simplify import simplify
from tensorlang.ir import dtypes, ops, walk
from tensorlang.ir.nodes import (
    ONE,
    SERIAL,
    UNROLL,
    VECTORIZE,
    ZERO,
    Const,
    Expr,
    For,
    Func,
    If,
    Load,
    Ramp,
    Stmt,
    Store,
    Var,
    const,
    seq,
)
from tensorlang.passes.lanes import NoVectorForm, Vectorizer
from tensorlang.passes.tighten import minimum
from tensorlang.passes.tools import map_stmts
from tensorlang.target.target import Target

_MOST_COPIES = 8  # vectors that one loop may become; more stay a loop over vectors


def vectorize(func: Func, target: Target) -> Func:
    """No loop of kind vectorize remains. Needs lower_blocks before it and flatten after it."""
    return func.with_body(_vectorized(func.body, target, EMPTY))


def vectorize_fixed(func: Func, target: Target) -> Func:
    """The same for loops of constant extent alone, before unroll: what it copies is vectors then."""
    return func.with_body(_vectorized(func.body, target, EMPTY, only_fixed=True))


def _vectorized(stmt: Stmt, target: Target, ctx: Context, only_fixed: bool = False) -> Stmt:
    if all(loop.kind != VECTORIZE for loop in walk.statements(stmt, For)):
        return stmt
    inside = ctx
    if isinstance(stmt, For):
        inside = ctx.bind(stmt.var, stmt.extent)
    elif isinstance(stmt, If):
        then = _vectorized(stmt.then, target, ctx.assume(stmt.cond), only_fixed)
        return If(stmt.cond, then, None if stmt.orelse is None else _vectorized(stmt.orelse, target, ctx, only_fixed))
    stmt = map_stmts(stmt, lambda n: _vectorized(n, target, inside, only_fixed))
    if not isinstance(stmt, For) or stmt.kind != VECTORIZE or (only_fixed and not isinstance(stmt.extent, Const)):
        return stmt
    try:
        return _Pieces(stmt, target, ctx).all()
    except NoVectorForm:
        return stmt.replace(kind=SERIAL)


@dataclass
class _Pieces:
    """Cuts one loop into vectors."""

    loop: For
    target: Target
    ctx: Context  # what is known outside the loop

    def __post_init__(self) -> None:
        data = _data(self.loop.body)
        narrowest = min(map(dtypes.bytes_of, data), default=1)
        self.lanes = self.target.vector_bytes // (narrowest if self.target.simt else _widest(data))
        self.masks = self.target.has("avx512bw") or (self.target.has("avx2") and narrowest >= 4)

    def vector(self, start: Expr, lanes: int, count: Expr | None = None) -> Stmt:
        """Iterations start .. start + lanes - 1, of which only the first `count` happen if given."""
        if lanes == 1:
            one = walk.substitute(self.loop.body, {self.loop.var: start})
            return one if count is None else If(count > ZERO, one)
        mask = None if count is None else ops.make("lt", Ramp(ZERO, ONE, lanes), count)
        return Vectorizer(self.loop.var, start, lanes).stmt(self.loop.body, mask)

    def all(self) -> Stmt:
        """The whole loop."""
        extent = self.loop.extent
        if isinstance(extent, Const):
            full, rest = divmod(max(0, int(extent.value)), self.lanes)
            return seq(self.full(const(full)), *self.rest(const(full * self.lanes), rest))
        _, most = const_bounds(extent, self.ctx)
        if self.target.simt and most <= self.lanes:
            return self.whole_or_scalar(int(most))
        if self.masks and most <= _MOST_COPIES * self.lanes:
            starts = range(0, max(0, int(most)), self.lanes)
            return seq(*(self.masked(n, min(self.lanes, _power(int(most) - n)), extent - n) for n in starts))
        extent = simplify(ops.make("max", extent, ZERO), self.ctx)  # a negative extent runs nothing
        full_vectors = simplify(extent // self.lanes)
        done = full_vectors * self.lanes
        left = simplify(extent - done)
        if self.masks:
            tail: Stmt = If(left > ZERO, self.vector(done, self.lanes, left))
        else:
            var = Var(f"{self.loop.var.name}.rest")
            tail = For(var, left, SERIAL, walk.substitute(self.loop.body, {self.loop.var: done + var}))
        return seq(self.full(full_vectors), tail)

    def whole_or_scalar(self, most: int) -> Stmt:
        """One vector if all of at most `most` iterations happen, else those that do, one by one."""
        var, parts = Var(f"{self.loop.var.name}.rest"), [p for p in minimum(self.loop.extent) if p is not const(most)]
        whole = simplify(ops.all_of(ops.make("ge", p, most) for p in parts), self.ctx)
        one = If(ops.all_of(var < p for p in parts), walk.substitute(self.loop.body, {self.loop.var: var}))
        return If(whole, self.vector(ZERO, most), For(var, const(most), UNROLL, one))

    def full(self, count: Expr) -> Stmt:
        """`count` whole vectors from the start."""
        if self.target.simt and isinstance(count, Const) and count.value > 1:
            var = Var(f"{self.loop.var.name}.vector")
            return For(var, count, UNROLL, self.vector(var * self.lanes, self.lanes))
        if isinstance(count, Const) and count.value <= _MOST_COPIES:
            return seq(*(self.vector(const(n * self.lanes), self.lanes) for n in range(int(count.value))))
        var = Var(f"{self.loop.var.name}.vector")
        return For(var, count, SERIAL, self.vector(var * self.lanes, self.lanes))

    def rest(self, start: Expr, left: int) -> list[Stmt]:
        """The last `left` iterations, fewer than a vector: one masked vector, or exact ones of 8, 4, 2, 1."""
        if not left:
            return []
        width = _power(left)
        if width == left or self.masks:
            return [self.vector(start, width, None if width == left else const(left))]
        return [self.vector(start, width // 2), *self.rest(start + width // 2, left - width // 2)]

    def masked(self, start: int, width: int, count: Expr) -> Stmt:
        """One vector of which `count`, perhaps none, perhaps more than there are, iterations happen."""
        vector = self.vector(const(start), width, count)
        plain = width == 1 or proves(count > ZERO, self.ctx) or self._harmless()
        return vector if plain else If(count > ZERO, vector)

    def _harmless(self) -> bool:
        """Whether what all lanes load alike may be loaded even if no lane is on: it is surely in bounds."""
        loads = walk.find(self.loop.body, Load, lambda n: self.loop.var not in walk.free_vars(n))
        places = [(i, extent) for n in loads for i, extent in zip(n.indices, n.buffer.shape, strict=True)]
        return all(proves((i >= ZERO) & (i < extent), self.ctx) for i, extent in places)


def _power(n: int) -> int:
    """The smallest power of two that is >= n."""
    return 1 << (n - 1).bit_length()


def _data(body: Stmt) -> set[str]:
    """The dtypes of the values that `body` computes with, subscripts and conditions aside."""
    found: set[str] = set()

    def go(e: Expr) -> None:
        if e.dtype not in ("index", "bool"):
            found.add(e.dtype)
        if not isinstance(e, Load):
            for child in walk.children(e):
                if isinstance(child, Expr):
                    go(child)

    for store in walk.find(body, Store):
        found.add(store.buffer.dtype)
        go(store.value)
    return found


def _widest(data: set[str]) -> int:
    """Bytes of the widest value; half floats are computed with as float32."""
    return max(4 if d in dtypes.NARROW else dtypes.bytes_of(d) for d in data | {"int8"})
