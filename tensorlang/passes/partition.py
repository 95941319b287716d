"""partition: a loop over tiles, the last of which is partial, becomes a main part of whole tiles and a tail.

    for i0 in 9:                                      for i0 in 8:
      for i1 unrolled in min(12, 100 - i0 * 12): S      for i1 unrolled in 12: S
                                              ->      if 0 <= 8 < 9:                          (decided by tidy)
                                                        for i1 unrolled in min(12, 100 - 8 * 12): S

Only loops that are unrolled or vectorized are worth code of their own. The loop cut is the innermost serial or
parallel one on which their extents depend; a parallel loop stays one launch and branches inside. Each cut doubles the
code below it, so code beyond a limit stays as it is: right, but with partial tiles everywhere.
"""

from __future__ import annotations

from typing import NamedTuple

from tensorlang.arith.affine import linear
from tensorlang.arith.simplify import simplify
from tensorlang.ir import ops, walk
from tensorlang.ir.nodes import (
    PARALLEL,
    SERIAL,
    UNROLL,
    VECTORIZE,
    ZERO,
    Const,
    Expr,
    For,
    Func,
    If,
    Node,
    Op,
    Stmt,
    Var,
    const,
    seq,
)
from tensorlang.passes.tighten import minimum, needs
from tensorlang.passes.tools import map_stmts
from tensorlang.target.target import Target

_MOST_STORES = 2048  # below one loop, unrolled


class _Cut(NamedTuple):
    """Tiles are whole for `digit` < `whole`; `single` if at most the one at `whole` is partial."""

    digit: Expr  # the loop variable, or an expression of it such as f % 8
    whole: Expr
    single: bool
    rooms: frozenset[Expr]  # what is left for a tile, of which alone that is known


def partition(func: Func, target: Target) -> Func:
    """Extents of unrolled and vectorized loops become constant where that is possible. Run tidy afterwards."""
    return func.with_body(_partitioned(func.body))


def _partitioned(stmt: Stmt) -> Stmt:
    stmt = map_stmts(stmt, _partitioned)
    if not isinstance(stmt, For) or stmt.kind not in (SERIAL, PARALLEL):
        return stmt
    if _unrolled_stores(stmt.body) > _MOST_STORES // 2:
        return stmt
    cut = _find_cut(stmt)
    if cut is None:
        return stmt
    if stmt.kind == SERIAL and cut.digit is stmt.var:
        return _split(stmt, cut)
    return stmt.replace(body=_branch(stmt, cut))


def _split(loop: For, cut: _Cut) -> Stmt:
    """Two loops, one after the other."""
    main = loop.replace(extent=simplify(ops.make("min", cut.whole, loop.extent)), body=_whole(loop.body, cut.rooms))
    if cut.single:
        there = ops.make("and", cut.whole >= ZERO, cut.whole < loop.extent)
        return seq(main, If(there, walk.substitute(loop.body, {loop.var: cut.whole})))
    first = ops.make("max", ZERO, ops.make("min", cut.whole, loop.extent))
    var = Var(f"{loop.var.name}.tail")
    tail = walk.substitute(loop.body, {loop.var: first + var})
    return seq(main, For(var, simplify(loop.extent - first), loop.kind, tail, loop.annotations))


def _branch(loop: For, cut: _Cut) -> Stmt:
    """The two parts as branches of the loop's body; further cuts of the same loop go into both."""
    main = _again(loop.replace(body=_whole(loop.body, cut.rooms)))
    if cut.single:
        at_last = walk.transform(loop.body, lambda n: cut.whole if n is cut.digit else n)
        tail: Stmt = If(ops.make("eq", cut.digit, cut.whole), _again(loop.replace(body=at_last)))
    else:
        tail = loop.body
    return If(cut.digit < cut.whole, main, tail)


def _again(loop: For) -> Stmt:
    """The body of `loop`, cut further if there is more to cut."""
    cut = _find_cut(loop) if _unrolled_stores(loop.body) <= _MOST_STORES // 2 else None
    return loop.body if cut is None else _branch(loop, cut)


def _whole(body: Stmt, rooms: frozenset[Expr]) -> Stmt:
    """`body` without those bounds of extents that are in `rooms`."""

    def fold(node: Node) -> Node:
        if isinstance(node, For) and node.kind in (UNROLL, VECTORIZE) and (partial := _partial(node)) is not None:
            kept = [p for p in partial[1] if p not in rooms]
            extent: Expr = const(partial[0])
            for part in kept:
                extent = ops.make("min", extent, part)
            return node.replace(extent=extent)
        return node

    return walk.transform(body, fold)


def _partial(loop: For) -> tuple[int, list[Expr]] | None:
    """A loop's extent as min(constant, others...), if it is one."""
    parts = minimum(loop.extent)
    sizes = [int(p.value) for p in parts if isinstance(p, Const)]
    others = [p for p in parts if not isinstance(p, Const)]
    return (min(sizes), others) if sizes and others else None


def _find_cut(loop: For) -> _Cut | None:
    """Where the tiles below `loop` stop being whole, if its variable decides that."""
    found: dict[Expr, list[_Cut]] = {}
    unknown: set[Expr] = set()
    _collect(loop.body, loop.var, (), found, unknown, needs(loop.body))
    for digit, cuts in found.items():
        rooms = frozenset[Expr]().union(*(cut.rooms for cut in cuts)) - unknown
        bounds = list(dict.fromkeys((cut.whole, cut.single) for cut in cuts if cut.rooms <= rooms))
        if not bounds:
            continue
        whole = bounds[0][0]
        for other, _ in bounds[1:]:
            whole = ops.make("min", whole, other)
        return _Cut(digit, simplify(whole), len(bounds) == 1 and bounds[0][1], rooms)
    return None


def _collect(
    stmt: Stmt,
    var: Var,
    inner: tuple[For, ...],
    found: dict[Expr, list[_Cut]],
    unknown: set[Expr],
    required: tuple[Expr, ...],
) -> None:
    """For each digit of `var`, where to cut for each room below; `unknown` rooms are those that no cut is known for."""
    if isinstance(stmt, For):
        partial = _partial(stmt) if stmt.kind in (UNROLL, VECTORIZE) else None
        for room in partial[1] if partial else ():
            if var in walk.free_vars(room):
                cut = _whole_tiles(room, partial[0] if partial else 0, var, inner, required)
                if cut is None:
                    unknown.add(room)
                else:
                    found.setdefault(cut.digit, []).append(cut)
        inner = (*inner, stmt)
    for part in walk.parts(stmt):
        _collect(part, var, inner, found, unknown, required)


def _whole_tiles(room: Expr, size: int, var: Var, inner: tuple[For, ...], required: tuple[Expr, ...]) -> _Cut | None:
    """Where `room` >= `size` for all values of the inner variables."""
    digit = _digit(room, var)
    if digit is None:
        return None
    stand_in = Var("digit")
    body = walk.transform(room, lambda n: stand_in if n is digit else n)
    inside = {loop.var: loop for loop in inner if loop.var in walk.free_vars(body)}
    parts = linear(body, (stand_in, *inside))
    if parts is None:
        return None
    coefficients, rest = parts
    step = coefficients.get(stand_in, ZERO)
    if not (isinstance(step, Const) and step.value < 0) or var in walk.free_vars(rest):
        return None
    largest, spread = rest, 0  # of `room` at digit 0, over the inner variables; how far it falls with them
    for inner_var, loop in inside.items():
        slope, extent = coefficients[inner_var], loop.extent
        if loop.kind not in (UNROLL, VECTORIZE) or not isinstance(slope, Const) or slope.value > 0:
            return None
        if not isinstance(extent, Const):
            return None
        spread -= int(slope.value) * (int(extent.value) - 1)
    width = -int(step.value)
    whole = simplify((largest - (spread + size - width)) // width)
    nothing_after = any(simplify(largest + step * digit - need) is ZERO for need in required)
    return _Cut(digit, whole, nothing_after and size + spread <= width, frozenset((room,)))


def _digit(expr: Expr, var: Var) -> Expr | None:
    """The part of `expr` through which alone it depends on `var`: the variable, or one // or % of it."""
    found: set[Expr] = set()

    def go(e: Expr) -> None:
        if e is var or (isinstance(e, Op) and e.op in ("floordiv", "mod") and walk.free_vars(e) == {var}):
            found.add(e)
        else:
            for child in walk.children(e):
                if isinstance(child, Expr) and var in walk.free_vars(child):
                    go(child)

    go(expr)
    return next(iter(found)) if len(found) == 1 else None


def _unrolled_stores(stmt: Stmt) -> int:
    """Store statements below `stmt` once its unrolled loops are unrolled."""
    if isinstance(stmt, For) and stmt.kind == UNROLL:
        sizes = [int(p.value) for p in minimum(stmt.extent) if isinstance(p, Const)]
        return _unrolled_stores(stmt.body) * (min(sizes) if sizes else 1)
    return max(1, sum(map(_unrolled_stores, walk.parts(stmt))))
