"""Symbolic and constant bounds of index expressions."""

from __future__ import annotations

from collections.abc import Collection

from tensorlang.arith import division
from tensorlang.arith import poly as P
from tensorlang.arith.context import EMPTY, Context
from tensorlang.arith.inequality import Interval, interval, is_box, knowledge, level, nonneg
from tensorlang.arith.poly import Poly
from tensorlang.arith.simplify import normal, simplify
from tensorlang.ir import ops
from tensorlang.ir.nodes import Const, Expr, Op, Var
from tensorlang.ir.walk import free_vars

STEPS = 60  # different eliminations tried for one bound


def bounds(
    expr: Expr, ctx: Context = EMPTY, over: Collection[Var] | None = None, clip: bool = False
) -> tuple[Expr | None, Expr | None]:
    """(lo, hi) with lo <= expr <= hi for all values in context; free of the variables `over`; None: no bound found.

    `over` are the variables to get rid of: by default all that are bound in `ctx`. Affine expressions over
    rectangular ranges get their exact least and greatest value. Facts (guards) count where they are provably
    tighter than ranges; with `clip`, also where that is not decided, as a min or max of both. Example::

        bounds(i0 * T + i1, ctx, over=[i1])    # (i0*T, i0*T + T - 1)  in  Context().bind(i0, n).bind(i1, T)
    """
    search = _Bounds(ctx, frozenset(ctx.bound if over is None else over), clip)
    p = division.recombined(normal(expr, ctx), ctx)
    low, high = search.least(p), search.greatest(p)
    return (
        None if low is None else simplify(P.to_expr(low), ctx),
        None if high is None else simplify(P.to_expr(high), ctx),
    )


def const_bounds(expr: Expr, ctx: Context = EMPTY) -> Interval:
    """The tightest (lo, hi) found with lo <= expr <= hi for all values in context: integers, or -inf and inf."""
    if isinstance(expr, Const):
        return int(expr.value), int(expr.value)
    memo = ctx.cache("const bounds")
    found = memo.get(expr)
    if found is None:
        near = ctx.about(free_vars(expr))
        found = memo[expr] = _const_bounds(expr, ctx) if near is ctx else const_bounds(expr, near)
    return found


def _const_bounds(expr: Expr, ctx: Context) -> Interval:
    p = division.recombined(normal(expr, ctx), ctx)
    low, high = interval(p, ctx)
    if low == high:
        return low, high
    search = _Bounds(ctx, frozenset(ctx.bound), False)
    least, greatest = search.least(p), search.greatest(p)
    if least is not None:
        low = max(low, interval(least, ctx)[0])
    if greatest is not None:
        high = min(high, interval(greatest, ctx)[1])
    return low, high


class _Bounds:
    """One search: eliminates the atoms that depend on `over`, innermost first."""

    def __init__(self, ctx: Context, over: frozenset[Var], clip: bool):
        self.ctx, self.over, self.clip = ctx, over, clip
        self.steps = STEPS
        self.found: dict[tuple[frozenset, frozenset[int]], Poly | None] = {}  # different orders come to the same rest

    def greatest(self, p: Poly, used: frozenset[int] = frozenset()) -> Poly | None:
        low = self.least(P.scale(p, -1), used)
        return None if low is None else self._turned(P.scale(low, -1))

    def _turned(self, p: Poly) -> Poly:
        """p with -max(a, b) written as min(-a, -b)."""
        for m, c in p.items():
            if c == -1 and len(m) == 1 and isinstance(m[0], Op) and m[0].op in ("min", "max"):
                ends = [P.scale(P.poly(y), -1) for y in m[0].args]
                turned = self._extremum("max" if m[0].op == "min" else "min", ends)
                return P.add(P.sub(p, {m: c}), turned)
        return p

    def least(self, p: Poly, used: frozenset[int] = frozenset()) -> Poly | None:
        """A polynomial <= p, free of `over`; None if there is none to be found."""
        if self._is_free(p):
            return p
        asked = frozenset(p.items()), used
        if asked not in self.found:
            self.found[asked] = self._eliminated(p, used)
        return self.found[asked]

    def _eliminated(self, p: Poly, used: frozenset[int]) -> Poly | None:
        self.steps -= 1
        if self.steps <= 0:
            return self._constant(p)
        inner = [x for x in P.atoms(p) if self.over & free_vars(x)]
        if all(is_box(x, self.ctx) for x in inner) and all(len(m) == 1 for m in p if self.over.intersection(m)):
            return self._constant(p)
        for x in sorted(inner, key=lambda x: (-level(x, self.ctx), P.order(x))):
            found = self._without(p, x, used)
            if found is not None:
                return found
        return self._constant(p)

    def _is_free(self, p: Poly) -> bool:
        return not any(self.over & free_vars(x) for x in P.atoms(p))

    def _constant(self, p: Poly) -> Poly | None:
        """The terms that are free of `over`, and the least number that the others may be."""
        free = {m: c for m, c in p.items() if not any(self.over & free_vars(x) for x in m)}
        low = interval(P.sub(p, free), self.ctx)[0]
        return P.add(free, P.constant(int(low))) if abs(low) < float("inf") else None

    def _without(self, p: Poly, x: Expr, used: frozenset[int]) -> Poly | None:
        parts = P.split(p, x)
        if parts is None:
            return None
        c, r = parts
        sign = 1 if nonneg(c, self.ctx) else -1 if nonneg(P.scale(c, -1), self.ctx) else 0
        if not sign:
            return None
        if isinstance(x, Op) and (x.op in ("select", "if_then_else") or x.op == ("min" if sign > 0 else "max")):
            cases = [self.least(P.add(P.mul(c, P.poly(y)), r), used) for y in x.args[-2:]]
            return None if any(y is None for y in cases) else self._extremum("min", [y for y in cases if y is not None])
        best: Poly | None = None
        for a, b, fact in self._known(p, x, sign):
            if fact in used:
                continue
            found = self._substituted(c, r, a, b, used | {fact} if fact >= 0 else used)
            best = found if best is None else best if found is None else self._better(best, found)
        return best

    def _known(self, p: Poly, x: Expr, sign: int) -> list[tuple[Poly, Poly, int]]:
        """What is known of x, the likely tightest first: the relation of x to the rest of p, if there is a rest."""
        known = list(knowledge(x, sign, self.ctx))
        end = self._monotone(x, sign)
        if end is None:
            return known
        alone = not any(self.over & free_vars(y) for y in P.atoms(p) if y is not x)
        own = (P.constant(1), end, -1)
        return [own, *known] if alone else [*known, own]

    def _substituted(self, c: Poly, r: Poly, a: Poly, b: Poly, used: frozenset[int]) -> Poly | None:
        k = P.exact(c, a)
        if k is not None:
            return self.least(P.add(P.mul(k, b), r), used)
        if not self._is_free(a):
            return None
        low = self.least(P.add(P.mul(a, r), P.mul(c, b)), used)  # of a*p
        if low is None:
            return None
        return division.floordiv(P.add(low, P.sub(a, P.constant(1))), a, self.ctx)

    def _better(self, a: Poly, b: Poly) -> Poly:
        """Of two lower bounds the greater one; if that is not decided, the first, or with `clip` the max of both."""
        if nonneg(P.sub(a, b), self.ctx):
            return a
        if nonneg(P.sub(b, a), self.ctx):
            return b
        return self._extremum("max", [a, b]) if self.clip else a

    def _extremum(self, op: str, polys: list[Poly]) -> Poly:
        return P.poly(simplify(ops.make(op, *map(P.to_expr, polys)), self.ctx))

    def _monotone(self, x: Expr, sign: int) -> Poly | None:
        """The least (sign 1) or greatest value of min, max, // and %, from those of the operands."""
        if not isinstance(x, Op):
            return None
        if x.op in ("min", "max"):
            ends = [self.least(P.poly(y)) if sign > 0 else self.greatest(P.poly(y)) for y in x.args]
            return None if any(e is None for e in ends) else self._extremum(x.op, [e for e in ends if e is not None])
        return self._of_division(x, sign) if x.op in ("floordiv", "mod") else None

    def _of_division(self, x: Op, sign: int) -> Poly | None:
        u, d = map(P.poly, x.args)
        value = P.value_of(d)
        if not self._is_free(d) or (value is not None and value < 1):
            return None
        low, high = self.least(u), self.greatest(u)
        end = low if sign > 0 else high
        if x.op == "floordiv":
            return None if end is None else division.floordiv(end, d, self.ctx)
        if low is not None and high is not None:
            q = division.floordiv(low, d, self.ctx)
            if q == division.floordiv(high, d, self.ctx):
                return P.sub(low if sign > 0 else high, P.mul(q, d))
        return None
