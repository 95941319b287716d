"""The part of one buffer that a piece of program touches, as a box over the variables around it.

Guards that depend on outer loops are left out on purpose: a tile of 32 stays a box of constant extent 32 also where
the last tile leaves the domain. Whoever fills the box guards against leaving the domain.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tensorlang.arith.bounds import bounds
from tensorlang.arith.context import Context
from tensorlang.arith.prove import proves
from tensorlang.arith.simplify import simplify
from tensorlang.ir import ops
from tensorlang.ir.nodes import ONE, ZERO, Block, Buffer, Expr, For, Knob, Load, Node, Size, Stmt, Store, Var
from tensorlang.ir.walk import children, free_vars, substitute


@dataclass(frozen=True)
class Box:
    """The elements with mins[d] <= index[d] < mins[d] + extents[d]. Extents do not depend on loop variables."""

    mins: tuple[Expr, ...]
    extents: tuple[Expr, ...]


@dataclass(frozen=True)
class Access:
    """One load or store: its indices in loop variables, and the loops of the examined statement around it."""

    indices: tuple[Expr, ...]
    loops: tuple[For, ...]
    guards: tuple[Expr, ...]


def accesses(stmt: Stmt, buffer: Buffer, kinds: type | tuple[type, ...] = (Load, Store)) -> Iterator[Access]:
    """The accesses of `kinds` to `buffer` in `stmt`, block iterators replaced by their bindings."""

    def go(node: Node, loops: tuple[For, ...], guards: tuple[Expr, ...], values: dict[Var, Expr]) -> Iterator[Access]:
        if isinstance(node, Load | Store) and node.buffer is buffer and isinstance(node, kinds):
            yield Access(tuple(substitute(i, values) for i in node.indices), loops, guards)
        if isinstance(node, For):
            loops = (*loops, node)
        elif isinstance(node, Block):
            values = dict(zip((it.var for it in node.iters), node.bindings, strict=True))
            guards = (*guards, *conjuncts(node.predicate))
        for child in children(node):
            yield from go(child, loops, guards, values)

    return go(stmt, (), (), {})


def footprint(
    stmt: Stmt,
    buffer: Buffer,
    outer: Sequence[For] = (),
    ctx: Context = Context(),
    kinds: type | tuple[type, ...] = (Load, Store),
) -> Box | None:
    """The box of `buffer` that `stmt` touches in one iteration of the loops `outer`; None if it touches nothing.

    outer: the loops around `stmt`, outermost first; the mins are expressions over their variables. ctx: facts besides
    these loops. What cannot be bounded counts as the whole dimension.

    >>> footprint(For i1 in 32: A[i0 * 32 + i1 + 1] = ..., A, outer=[For i0 in 4])
    Box(mins=(i0 * 32 + 1,), extents=(32,))
    """
    around = ctx
    for loop in outer:
        around = around.bind(loop.var, loop.extent)
    intervals: list[tuple[Expr, Expr] | None] | None = None
    for access in accesses(stmt, buffer, kinds):
        own = _intervals(access, around)
        intervals = own if intervals is None else [_hull(a, b, around) for a, b in zip(intervals, own, strict=True)]
    if intervals is None:
        return None
    changing = frozenset(loop.var for loop in outer)
    pairs = [_settle(iv, dim, changing, around) for iv, dim in zip(intervals, buffer.shape, strict=True)]
    return Box(tuple(m for m, _ in pairs), tuple(e for _, e in pairs))


def conjuncts(cond: Expr) -> Iterator[Expr]:
    """The conditions that `cond` is the conjunction of."""
    if getattr(cond, "op", None) == "and":
        for arg in cond.args:  # type: ignore[attr-defined]
            yield from conjuncts(arg)
    else:
        yield cond


def _intervals(access: Access, around: Context) -> list[tuple[Expr, Expr] | None]:
    """Lowest and highest value of each index, over the loops of the access, in terms of what is around them."""
    inner, full = Context(), around
    bound = {loop.var for loop in access.loops}
    for loop in access.loops:
        inner, full = inner.bind(loop.var, loop.extent), full.bind(loop.var, loop.extent)
    for guard in access.guards:
        if all(v in bound or isinstance(v, Size | Knob) for v in free_vars(guard)):
            inner, full = inner.assume(guard), full.assume(guard)
    result: list[tuple[Expr, Expr] | None] = []
    for index in access.indices:
        low, high = bounds(simplify(index, full), inner)
        known = low is not None and high is not None
        result.append((simplify(low, around), simplify(high, around)) if known else None)  # type: ignore[arg-type]
    return result


def _hull(a: tuple[Expr, Expr] | None, b: tuple[Expr, Expr] | None, ctx: Context) -> tuple[Expr, Expr] | None:
    if a is None or b is None:
        return None
    return simplify(ops.make("min", a[0], b[0]), ctx), simplify(ops.make("max", a[1], b[1]), ctx)


def _settle(
    interval: tuple[Expr, Expr] | None, dim: Expr, changing: frozenset[Var], ctx: Context
) -> tuple[Expr, Expr]:
    """(min, extent) of an interval: within the dimension where it does not move, and never an extent that changes."""
    if interval is None or not all(_visible(e, changing) for e in interval):
        return ZERO, dim
    low, high = interval
    if not free_vars(low) & changing:
        low = simplify(ops.make("max", low, ZERO), ctx)
        if not free_vars(high) & changing:
            high = simplify(ops.make("min", high, dim - ONE), ctx)
    extent: Expr | None = simplify(high - low + ONE, ctx)
    if free_vars(extent) & changing:
        extent = bounds(extent, ctx)[1]
    if extent is None or free_vars(extent) & changing or proves(extent >= dim, ctx):
        return ZERO, dim
    return low, extent


def _visible(expr: Expr, changing: frozenset[Var]) -> bool:
    return all(v in changing or isinstance(v, Size | Knob) for v in free_vars(expr))
