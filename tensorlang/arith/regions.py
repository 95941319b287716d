"""Which part of each buffer a statement reads and writes."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from tensorlang.arith import poly as P
from tensorlang.arith.bounds import bounds
from tensorlang.arith.context import EMPTY, Context
from tensorlang.arith.inequality import nonneg
from tensorlang.arith.prove import proves
from tensorlang.arith.simplify import negation, simplify
from tensorlang.ir import ops
from tensorlang.ir.nodes import (
    ONE,
    SPATIAL,
    TRUE,
    ZERO,
    Alloc,
    Block,
    Buffer,
    Expr,
    For,
    If,
    Let,
    LetStmt,
    Load,
    Node,
    Op,
    Reduce,
    Store,
    Var,
    const,
)
from tensorlang.ir.walk import free_vars, has_load, run_by, substitute, touched


@dataclass(frozen=True, eq=False)
class Region:
    """The box buffer[mins[d] .. mins[d] + extents[d] - 1] in each dimension d."""

    buffer: Buffer
    mins: tuple[Expr, ...]
    extents: tuple[Expr, ...]

    def at(self, values: Mapping[Var, Expr]) -> Region:
        """The region with variables replaced: what it is in another iteration."""
        mins, extents = (tuple(substitute(e, values) for e in es) for es in (self.mins, self.extents))
        return Region(self.buffer, mins, extents)


Regions = dict[Buffer, Region]


def accesses(
    stmt: Node, ctx: Context = EMPTY, clip: bool = False, of: Collection[Buffer] | None = None
) -> tuple[Regions, Regions]:
    """(reads, writes): for each buffer (those of `of` only, if given) the smallest box found that holds every access
    `stmt` makes to it.

    `ctx` knows the variables around `stmt`; mins and extents are in terms of these, for everything bound inside
    `stmt`. Exact for affine subscripts over rectangular loops. Guards (predicates, if, if_then_else) tighten the box
    where the bound they give is provably tighter than the loops'; with `clip` always, by min and max, and the box is
    then also cut to the buffer's shape. A dimension without a bound is taken whole. Buffers allocated inside `stmt`
    are left out. `stmt` may be an Expr.
    """
    walk = _Walk(ctx, clip, of)
    walk.visit(stmt, _Scope(ctx))
    return walk.result(walk.reads), walk.result(walk.writes)


def covers(region: Region, other: Region, ctx: Context = EMPTY) -> bool:
    """True only if `region` holds all elements of `other` (a region of the same buffer), for all values in context."""
    return all(
        proves(a <= b, ctx) and proves(b + y <= a + x, ctx)
        for a, x, b, y in zip(region.mins, region.extents, other.mins, other.extents, strict=True)
    )


def apart(a: Region, b: Region, ctx: Context = EMPTY) -> bool:
    """True only if two regions of one buffer have no element in common, for all values in context."""
    return any(
        proves(low + size <= other, ctx)
        or proves(other + width <= low, ctx)
        or (size is ONE and width is ONE and proves(ops.make("ne", low, other), ctx))
        for low, size, other, width in zip(a.mins, a.extents, b.mins, b.extents, strict=True)
    )


class _Scope:
    """What holds at one place: loops and conditions around it, and the values that variables stand for."""

    def __init__(self, ctx: Context, steps: tuple = (), values: Mapping[Var, Expr] = {}):
        self.ctx, self.steps, self.values = ctx, steps, values

    def bind(self, var: Var, extent: Expr) -> _Scope:
        extent = self.of(extent)
        return _Scope(self.ctx.bind(var, extent), (*self.steps, (var, extent)), self.values)

    def assume(self, cond: Expr) -> _Scope:
        cond = self.of(cond)
        return _Scope(self.ctx.assume(cond), (*self.steps, (None, cond)), self.values)

    def let(self, values: Mapping[Var, Expr]) -> _Scope:
        return _Scope(self.ctx, self.steps, {**self.values, **{v: self.of(e) for v, e in values.items()}})

    def of(self, expr: Expr) -> Expr:
        return substitute(expr, self.values) if self.values else expr

    @property
    def inner(self) -> frozenset[Var]:
        return frozenset(var for var, _ in self.steps if var is not None)

    def unguarded(self, ctx: Context) -> _Scope:
        """The loops alone, in `ctx`."""
        out = _Scope(ctx, (), self.values)
        for var, extent in self.steps:
            out = out if var is None else out.bind(var, extent)
        return out


class _Place(NamedTuple):
    """A subscript of one access, where it is, the size of its dimension, and the bounds that loops and guards give."""

    subscript: Expr
    scope: _Scope
    size: Expr
    low: Expr | None
    high: Expr | None


_Found = dict[Buffer, list[list[_Place]]]  # for each access its subscripts


class _Walk:
    def __init__(self, ctx: Context, clip: bool, of: Collection[Buffer] | None):
        self.ctx, self.clip, self.of = ctx, clip, of
        self.reads: _Found = {}
        self.writes: _Found = {}
        self.inside: set[Buffer] = set()

    def visit(self, node: Node, scope: _Scope) -> None:
        if isinstance(node, Expr) and not has_load(node):
            return
        if self.of is not None and touched(node).isdisjoint(self.of):
            return
        if isinstance(node, For):
            self.visit(node.extent, scope)
            self.visit(node.body, scope.bind(node.var, node.extent))
        elif isinstance(node, Block):
            self._block(node, scope)
        elif isinstance(node, If) or (isinstance(node, Op) and node.op == "if_then_else"):
            cond, then, orelse = children_of_branch(node)
            self.visit(cond, scope)
            self.visit(then, scope.assume(cond))
            if orelse is not None:
                self.visit(orelse, scope.assume(negation(scope.of(cond))))
        elif isinstance(node, Let | LetStmt):
            self.visit(node.value, scope)
            self.visit(node.body, scope.let({node.var: node.value}))
        elif isinstance(node, Reduce):
            for axis in node.axes:
                scope = scope.bind(axis.var, axis.extent)
            for source in node.sources:
                self.visit(source, scope)
        else:
            if isinstance(node, Alloc):
                self.inside.add(node.buffer)
            if isinstance(node, Load):
                self._access(self.reads, node, scope)
            elif isinstance(node, Store):
                self._access(self.writes, node, scope)
            for child in run_by(node):
                self.visit(child, scope)

    def _block(self, block: Block, scope: _Scope) -> None:
        for e in (*block.bindings, block.predicate):
            self.visit(e, scope)
        values = {it.var: b for it, b in zip(block.iters, block.bindings, strict=True)}
        inside = scope if block.predicate is TRUE else scope.assume(block.predicate)
        self.visit(block.body, inside.let(values))
        if block.init is not None:
            self.visit(block.init, self._init_scope(block, scope).let(values))

    def _init_scope(self, block: Block, scope: _Scope) -> _Scope:
        """Init runs also where a reduction is empty: loops that drive only reduce iterators bind nothing for it."""
        reducing = [b for it, b in zip(block.iters, block.bindings, strict=True) if it.kind != SPATIAL]
        driving = [b for it, b in zip(block.iters, block.bindings, strict=True) if it.kind == SPATIAL]
        spatial = frozenset[Var]().union(*(free_vars(scope.of(b)) for b in driving))
        summed = frozenset[Var]().union(*(free_vars(scope.of(b)) for b in reducing)) - spatial
        for var, extent in reversed(scope.steps):
            if var is not None and var not in summed:
                summed -= free_vars(extent)
        out = _Scope(self.ctx, (), scope.values)
        for var, what in scope.steps:
            if var is None:
                if not free_vars(what) & summed:
                    out = out.assume(what)
            elif var not in summed:
                out = out.bind(var, what)
        for cond in ops.conjuncts(scope.of(block.predicate)):
            if not free_vars(cond) & summed:
                out = out.assume(cond)
        return out

    def _access(self, found: _Found, node: Load | Store, scope: _Scope) -> None:
        if self.of is not None and node.buffer not in self.of:
            return
        sizes = zip(node.indices, node.buffer.shape, strict=True)
        found.setdefault(node.buffer, []).append([self._place(scope.of(i), scope, size) for i, size in sizes])

    def _place(self, index: Expr, scope: _Scope, size: Expr) -> _Place:
        low, high = bounds(index, scope.ctx, scope.inner, self.clip)
        if has_load(index):
            low, high = self._clamped(low, high, size)
        return _Place(index, scope, size, low, high)

    def _clamped(self, low: Expr | None, high: Expr | None, size: Expr) -> tuple[Expr | None, Expr | None]:
        """The bounds of a loaded index if it is clamped to numbers; data is no bound, and what its dtype can hold is
        none worth having."""
        if low is None or high is None or has_load(low) or has_load(high):
            return None, None
        inside = proves((low >= 0) & (high < size), self.ctx)
        return (low, high) if inside else (None, None)

    def _hull_of(self, places: Sequence[_Place]) -> tuple[Expr | None, Expr | None]:
        """Of one dimension. A guard may tie one access to a place that moves against the others, so that what loops say
        of all of them is less."""
        low, high = self._around(places)
        if low is None or high is None or any(p.low is low and p.high is high for p in places):
            return low, high
        least, most = self._around([self._place(p.subscript, p.scope.unguarded(self.ctx), p.size) for p in places])
        if least is None or most is None or not proves(most - least <= high - low, self.ctx):
            return low, high
        return least, most

    def _around(self, places: Sequence[_Place]) -> tuple[Expr | None, Expr | None]:
        low, high = places[0].low, places[0].high
        for place in places[1:]:
            low, high = self._hull("min", low, place.low), self._hull("max", high, place.high)
        return low, high

    def _hull(self, op: str, a: Expr | None, b: Expr | None) -> Expr | None:
        return None if a is None or b is None else simplify(ops.make(op, a, b), self.ctx)

    def result(self, found: _Found) -> Regions:
        outside = {buffer: places for buffer, places in found.items() if buffer not in self.inside}
        return {
            buffer: self._region(buffer, [self._hull_of(dimension) for dimension in zip(*places, strict=True)])
            for buffer, places in outside.items()
        }

    def _region(self, buffer: Buffer, ends: list[tuple[Expr | None, Expr | None]]) -> Region:
        mins, extents = [], []
        for (low, high), size in zip(ends, buffer.shape, strict=True):
            low, high = self._within(low, high, simplify(size - ONE, self.ctx))
            mins.append(low)
            extents.append(simplify(high - low + ONE, self.ctx))
        return Region(buffer, tuple(mins), tuple(extents))

    def _within(self, low: Expr | None, high: Expr | None, last: Expr) -> tuple[Expr, Expr]:
        """The range cut to 0 .. last, inside which every access is: where that is decided, or always with `clip`."""
        if low is None or (low is not ZERO and nonneg(P.scale(P.poly(low), -1), self.ctx)):
            low = ZERO
        if high is None or nonneg(P.sub(P.poly(high), P.poly(last)), self.ctx):
            high = last
        if self.clip:
            low = simplify(ops.make("max", low, const(0)), self.ctx)
            high = simplify(ops.make("min", high, last), self.ctx)
        return low, high


def children_of_branch(node: If | Op) -> tuple[Expr, Node, Node | None]:
    """(condition, then, else) of an If or an if_then_else."""
    if isinstance(node, If):
        return node.cond, node.then, node.orelse
    return node.args[0], node.args[1], node.args[2]
