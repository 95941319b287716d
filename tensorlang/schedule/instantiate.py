"""Knobs of a scheduled program become numbers, all at once and with no step done again.

What was proved of a step with open knobs holds for all their choices that meet the constraints, so nothing is proved
again: numbers take the place of knobs, and everything is simplified with what the numbers say.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from tensorlang.arith.bounds import const_bounds
from tensorlang.arith.context import EMPTY, Context
from tensorlang.arith.poly import is_scalar_index
from tensorlang.arith.prove import proves
from tensorlang.arith.simplify import simplify
from tensorlang.errors import ScheduleError
from tensorlang.ir.nodes import (
    FALSE,
    TRUE,
    ZERO,
    Alloc,
    Block,
    Buffer,
    Const,
    Expr,
    For,
    Func,
    If,
    Iter,
    Knob,
    Load,
    Stmt,
    Store,
    Var,
    const,
)
from tensorlang.ir.ops import all_of, conjuncts
from tensorlang.ir.walk import find, free_vars, map_children, map_operands, substitute
from tensorlang.schedule.index import Index
from tensorlang.schedule.loops import open_extent

if TYPE_CHECKING:
    from tensorlang.schedule.schedule import Schedule


def instantiated(s: Schedule, values: Mapping[str, int]) -> Schedule:
    """See Schedule.instantiate."""
    numbers = _numbers(s, values)
    left: list[Expr] = []
    for constraint in s.constraints:
        verdict = simplify(substitute(constraint, numbers))
        if verdict is FALSE:
            given = ", ".join(f"{v.name} = {numbers[v]!r}" for v in _by_name(free_vars(constraint)) if v in numbers)
            raise ScheduleError("constraint", f"{constraint!r} does not hold for {given}")
        left += [] if verdict is TRUE else [verdict]
    other = s.copy()
    other.func, other.trace, other.constraints = close(s.func, numbers), s.trace.instantiate(values), tuple(left)
    other._before = other._index = Index(other.func)
    return other


def _numbers(s: Schedule, values: Mapping[str, int]) -> dict[Var, Expr]:
    """The knobs that get a number. Reason: knob_value."""
    used = frozenset(s.trace.knobs.values()).union(*map(free_vars, (s.func, *s.constraints)))
    found: dict[Var, Expr] = {}
    for knob in _by_name(used):
        if isinstance(knob, Knob) and knob.name in values:
            if values[knob.name] not in knob.choices:
                message = f"{values[knob.name]!r} is not a choice of knob {knob.name}"
                raise ScheduleError("knob_value", message, hint=", ".join(map(str, knob.choices)))
            found[knob] = const(values[knob.name])
    return found


def _by_name(variables: Any) -> list[Var]:
    return sorted(variables, key=lambda v: v.name)


def close(func: Func, values: Mapping[Var, Expr]) -> Func:
    """A loop-level Func with knobs replaced by numbers: the program that its steps make of these numbers."""
    return func.with_body(_Closing(func, values).stmt(func.body, _Place()))


class _Place(NamedTuple):
    """Where a statement stands: inside `loops`. ctx: what holds there; rewriting: what steps assume there when they
    rewrite (see open_extent)."""

    ctx: Context = EMPTY
    rewriting: Context = EMPTY
    loops: tuple[Var, ...] = ()

    def inside(self, loop: For, extent: Expr) -> _Place:
        rewriting = self.rewriting.bind(loop.var, open_extent(extent, self.rewriting))
        return _Place(self.ctx.bind(loop.var, extent), rewriting, (*self.loops, loop.var))

    def others(self, name: str) -> dict[Var, Expr]:
        """The loops that were made for other blocks than that of this name, which it was moved into, as zeros."""
        return {v: ZERO for v in self.loops if not f"{name}.".startswith(f"{v.name.partition('.')[0]}.")}


class _Closing:
    def __init__(self, func: Func, values: Mapping[Var, Expr]):
        self.values = values
        self.buffers = {old: self.buffer(old) for old in (n.buffer for n in find(func.body, Alloc)) if self.open(old)}

    def open(self, node: Expr | Stmt | Buffer) -> bool:
        """Whether a knob occurs in it."""
        if isinstance(node, Buffer):
            return any(map(self.open, node.shape))
        return not free_vars(node).isdisjoint(self.values)

    def buffer(self, old: Buffer) -> Buffer:
        return Buffer(old.name, tuple(self.expr(dim, EMPTY) for dim in old.shape), old.dtype, old.scope)

    def expr(self, expr: Expr, ctx: Context) -> Expr:
        return simplify(substitute(expr, self.values), ctx)

    def stmt(self, stmt: Stmt, place: _Place) -> Stmt:
        """A statement outside of blocks."""
        if isinstance(stmt, For):
            extent = self.expr(stmt.extent, place.ctx)
            return stmt.replace(extent=extent, body=self.stmt(stmt.body, place.inside(stmt, extent)))
        if isinstance(stmt, Block):
            return self.block(stmt, place)
        if isinstance(stmt, Alloc):
            return stmt.replace(buffer=self.buffers.get(stmt.buffer, stmt.buffer), body=self.stmt(stmt.body, place))
        return map_children(
            stmt, lambda n: self.stmt(n, place) if isinstance(n, Stmt) else self.expr(n, place.rewriting)
        )

    def block(self, block: Block, place: _Place) -> Block:
        domain, others = EMPTY, place.others(block.name)
        known = place.ctx if others else place.rewriting  # where it was moved, it was made anew in sight of numbers
        iters = tuple(Iter(it.var, self.expr(it.extent, EMPTY), it.kind) for it in block.iters)
        for it in iters:
            domain = domain.bind(it.var, it.extent)
        predicate = self.expr(block.predicate, known)
        guards = conjuncts(substitute(block.predicate, self.values) if predicate is FALSE else predicate)
        bindings = tuple(self.expr(b, known) for b in block.bindings)
        self.moves_parts(block, iters, bindings, others, place.ctx)
        return block.replace(
            iters=iters,
            bindings=bindings,
            predicate=all_of(guard for guard in guards if not proves(guard, place.ctx)),
            init=None if block.init is None else self.inside(block.init, domain),
            body=self.inside(block.body, domain),
        )

    def moves_parts(
        self, block: Block, iters: Sequence[Iter], bindings: Sequence[Expr], others: Mapping[Var, Expr], ctx: Context
    ) -> None:
        """What a moved block makes for an iteration of other loops is less than the whole. Reason: whole_box."""
        for it, before, binding in zip(iters, block.bindings, bindings, strict=True):
            if not free_vars(before).isdisjoint(others):
                most = const_bounds(substitute(binding, others), ctx)[1]
                if isinstance(it.extent, Const) and most + 1 >= it.extent.value:
                    message = f"an iteration makes all of {block.name} along {it.var.name}: a replay may know where"
                    raise ScheduleError("whole_box", message, hint="trace.instantiate, and apply")

    def inside(self, node: Expr | Stmt, domain: Context) -> Expr | Stmt:
        """A part of a block, whose iterators `domain` knows."""
        if isinstance(node, Expr):
            return self.value(node, domain) if self.open(node) else node
        if isinstance(node, For):
            extent = self.expr(node.extent, domain)
            return node.replace(extent=extent, body=self.inside(node.body, domain.bind(node.var, extent)))
        node = map_children(node, lambda n: self.inside(n, domain))
        if isinstance(node, If) and node.cond is TRUE:
            return node.then
        if isinstance(node, Store | Alloc) and node.buffer in self.buffers:
            return node.replace(buffer=self.buffers[node.buffer])
        return node

    def value(self, expr: Expr, domain: Context) -> Expr:
        """An expression in a block that knobs occur in."""
        if is_scalar_index(expr) or expr.dtype == "bool":
            return simplify(substitute(expr, self.values, self.buffers), domain)
        fresh = map_operands(expr, lambda n: self.inside(n, domain))
        if isinstance(fresh, Load) and fresh.buffer in self.buffers:
            return Load(self.buffers[fresh.buffer], fresh.indices, fresh.mask)
        return fresh
