"""Primitives that remake loops: split, fuse, reorder, tile."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from tensorlang.arith.context import Context
from tensorlang.arith.prove import proves
from tensorlang.arith.simplify import simplify
from tensorlang.ir.nodes import ONE, SERIAL, TRUE, ZERO, Block, Expr, For, Stmt, Var
from tensorlang.ir.ops import make
from tensorlang.ir.walk import map_children, substitute
from tensorlang.schedule import checks
from tensorlang.schedule.handles import Loop, LoopLike
from tensorlang.schedule.primitive import primitive

if TYPE_CHECKING:
    from tensorlang.schedule.schedule import Schedule

Factor = int | Expr | None


@primitive
def split(s: Schedule, loop: LoopLike, factors: Sequence[Factor], tail: str = "guard") -> tuple[Loop, ...]:
    """Split a loop into a nest of loops, outermost first; returns them.

    Each factor is the extent of a new loop: an int, a knob, or None (at most one), which is inferred.

    requires:
      1. `factors` are ints >= 1 or index expressions over knobs, at least one, None at most once
      2. without None, the product of the factors covers the extent
      3. the loop is serial and has no annotations
      4. `tail` is "guard": iterations beyond the extent are skipped by a predicate, which is left out if the
         factors are proved to divide the extent

    rewrite:
      for i in n:                    for i.0 in (n + 3) // 4:
        block B(x = i)         ->      for i.1 in 4:
                                         block B(x = i.0 * 4 + i.1) where i.0 * 4 + i.1 < n
    """
    node = s.loop_node(loop)
    given = checks.split_factors(s, factors)
    checks.is_serial(s, node)
    checks.has_no_annotations(s, node)
    checks.known_tail(s, tail)
    ctx = s.context(node)
    extents, exact = _complete(s, node, given, ctx)
    fresh = [Var(s.fresh(f"{node.var.name}.{n}")) for n in range(len(extents))]
    inner, index = ctx, ZERO
    for var, extent in zip(fresh, extents, strict=True):
        inner, index = inner.bind(var, extent), index * extent + var
    index = simplify(index, inner)
    guard = TRUE if exact else index < node.extent
    body = rebind(node.body, {node.var: index}, inner, guard)
    s.replace(node, nest(fresh, extents, body))
    return tuple(Loop(s, v.name) for v in fresh)


def _complete(s: Schedule, node: For, given: list[Expr | None], ctx: Context) -> tuple[list[Expr], bool]:
    """The extents with the inferred one filled in (or the given ones, which must cover the loop); are they exact?"""
    product: Expr = ONE
    for extent in given:
        product = product if extent is None else product * extent
    if any(extent is None for extent in given):
        exact = proves(make("eq", node.extent % product, 0), ctx)
        inferred = simplify(node.extent // product if exact else (node.extent + product - 1) // product, ctx)
        return [inferred if extent is None else extent for extent in given], exact
    s.require(
        product >= node.extent,
        ctx,
        "factors_do_not_cover",
        f"the factors make {simplify(product, ctx)!r} iterations, loop {node.var.name} has {node.extent!r}",
        at=[node],
        hint="larger factors, or None in place of one of them",
    )
    return [extent for extent in given if extent is not None], proves(make("eq", product, node.extent), ctx)


def nest(variables: Sequence[Var], extents: Sequence[Expr], body: Stmt, kind: str = SERIAL) -> Stmt:
    """Loops around `body`, the first one outermost."""
    for var, extent in reversed(list(zip(variables, extents, strict=True))):
        body = For(var, extent, kind, body)
    return body


def rebind(stmt: Stmt, values: Mapping[Var, Expr], ctx: Context, guard: Expr = TRUE) -> Stmt:
    """`stmt` with loop variables replaced in extents, bindings and predicates; every block also gets `guard`.

    `ctx` is what holds where `stmt` stands, the variables of `values` and `guard` included.
    """
    if isinstance(stmt, For):
        extent = simplify(substitute(stmt.extent, values), ctx)
        return stmt.replace(extent=extent, body=rebind(stmt.body, values, ctx.bind(stmt.var, extent), guard))
    if isinstance(stmt, Block):
        bindings = tuple(simplify(substitute(b, values), ctx) for b in stmt.bindings)
        predicate = simplify(substitute(stmt.predicate, values) & guard, ctx)
        return stmt.replace(bindings=bindings, predicate=predicate)
    return map_children(
        stmt, lambda n: rebind(n, values, ctx, guard) if isinstance(n, Stmt) else simplify(substitute(n, values), ctx)
    )
