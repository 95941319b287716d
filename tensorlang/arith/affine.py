"""Affine forms of index expressions, and proofs that a map of loop points is injective."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from tensorlang.arith import poly as P
from tensorlang.arith.bounds import bounds
from tensorlang.arith.context import EMPTY, Context
from tensorlang.arith.inequality import interval, nonneg
from tensorlang.arith.poly import Poly
from tensorlang.arith.simplify import simplify
from tensorlang.ir import ops
from tensorlang.ir.nodes import Expr, Op, Var
from tensorlang.ir.walk import free_vars


def linear(expr: Expr, variables: Iterable[Var]) -> tuple[dict[Var, Expr], Expr] | None:
    """(coefficients, rest) with expr = sum of coefficient * var + rest, all free of `variables`; None if there is none.

    Variables that do not occur have no coefficient. Only + - * are looked through: simplify first, so that
    `(i*32 + j) // 32` is `i`. Example: linear(i*T + j + 3, [i, j]) is ({i: T, j: 1}, 3).
    """
    coefficients: dict[Var, Expr] = {}
    rest = P.poly(expr)
    wanted = list(variables)
    for var in wanted:
        parts = P.split(rest, var)
        if parts is None:
            return None
        c, rest = parts
        if c:
            coefficients[var] = P.to_expr(c)
    result = P.to_expr(rest)
    every = set(wanted)
    if any(every & free_vars(e) for e in (result, *coefficients.values())):
        return None
    return coefficients, result


def injective(
    exprs: Sequence[Expr], loops: Sequence[tuple[Var, Expr | int]], ctx: Context = EMPTY, of: Collection[Var] = ()
) -> bool:
    """True only if any two distinct points of the loops (var, extent) give distinct tuples of `exprs`.

    of: if given, only points that differ in these variables count. Variables that are not in `loops` have the same
    value for both points. Proved: mixed-radix sums (i0*T + i1 with i1 < T, any order of digits, gaps allowed), f // N
    together with f % N, and combinations of those.
    """
    variables = frozenset(v for v, _ in loops)
    wanted = frozenset(of) or variables
    if wanted.issubset(exprs):  # each variable is one of them
        return True
    if len(wanted) == 1 and any(_multiple(e, v, variables) for v in wanted for e in exprs):
        return True
    for var, extent in loops:
        ctx = ctx.bind(var, extent)
    polys = [P.poly(simplify(e, ctx)) for e in exprs]
    return _Decoder(variables, ctx).decodes(polys, wanted)


def _multiple(e: Expr, v: Var, variables: frozenset[Var]) -> bool:
    """Is `e` a multiple of v, and a rest that none of `variables` has a say in?"""
    parts = P.split(P.poly(e), v)
    return parts is not None and bool(P.value_of(parts[0])) and not P.variables(parts[1]) & variables


class _Decoder:
    """Finds what is determined by known values: `known` holds atoms that two points with equal values share."""

    def __init__(self, variables: frozenset[Var], ctx: Context):
        self.variables, self.ctx = variables, ctx
        self.known: set[Expr] = set()
        self.spans: dict[Expr, Poly | None] = {}

    def decodes(self, polys: list[Poly], wanted: frozenset[Var]) -> bool:
        self.known = {v for v in self.variables if self._fixed(v)}
        pending = list(polys)
        while not wanted <= self.known:
            before = len(self.known)
            pending = [p for p in pending if not self._read(p)]
            for p in self._joined():
                if not self._read(p):
                    pending.append(p)
            if len(self.known) == before:
                return False
        return True

    def _fixed(self, v: Var) -> bool:
        if not self._varies(simplify(v, self.ctx)):
            return True
        return (
            bool(self.ctx.facts) and interval(P.poly(v), self.ctx)[0] == 0 and nonneg(P.scale(P.poly(v), -1), self.ctx)
        )

    def _varies(self, e: Expr) -> bool:
        """May e differ between two points that agree on what is known?"""
        if e in self.known:
            return False
        if isinstance(e, Op):
            return any(self._varies(a) for a in e.args)
        return bool(free_vars(e) & (self.variables - self.known))

    def _read(self, p: Poly) -> bool:
        """Add the atoms of p, whose value is known, if they are the digits of a mixed-radix number."""
        return self._read_digits(p) or any(self._read_digits(other) for other in self._spelt_out(p))

    def _spelt_out(self, p: Poly) -> list[Poly]:
        """p with x written as x // d * d + x % d, for each x % d beside x: simplification may have joined digits."""
        found = []
        for y in P.atoms(p):
            if isinstance(y, Op) and y.op == "mod" and self._varies(y.args[0]):
                parts = P.split(p, y.args[0])
                if parts is not None and parts[0]:
                    high = P.poly(ops.make("floordiv", *y.args) * y.args[1] + y)
                    found.append(P.add(P.mul(parts[0], high), parts[1]))
        return found

    def _read_digits(self, p: Poly) -> bool:
        digits: list[tuple[Expr, Poly]] = []
        for x in sorted((x for x in P.atoms(p) if self._varies(x)), key=P.order):
            parts = P.split(p, x)
            if parts is None or any(self._varies(y) for y in P.atoms(parts[0])):
                return False
            digits.append((x, parts[0]))
        if not self._mixed_radix(digits):
            return False
        self.known.update(x for x, _ in digits)
        return True

    def _mixed_radix(self, digits: list[tuple[Expr, Poly]]) -> bool:
        weighed = [(x, c if nonneg(c, self.ctx) else P.scale(c, -1), P.mul(c, P.poly(x))) for x, c in digits]
        weighed.sort(key=lambda digit: interval(digit[1], self.ctx)[::-1])  # the likely order
        return self._ordered(weighed, {}, {}, False) or (bool(self.ctx.facts) and self._ordered(weighed, {}, {}, True))

    def _span(self, p: Poly) -> Poly | None:
        """How far two values of p can be apart, or None."""
        low, high = bounds(P.to_expr(p), self.ctx, self.variables)
        return None if low is None or high is None else P.sub(P.poly(high), P.poly(low))

    def _ordered(self, digits: list[tuple[Expr, Poly, Poly]], lesser: Poly, below: Poly, by_facts: bool) -> bool:
        """Each weight exceeds what all lesser digits together (`lesser`) can differ by (`below`).

        A digit is (atom, weight, weighted value). by_facts: facts may bound the sum of the lesser digits further than
        their ranges do.
        """
        for n, (x, weight, value) in enumerate(digits):
            if not nonneg(P.sub(P.sub(weight, below), P.constant(1)), self.ctx):
                continue
            rest = digits[:n] + digits[n + 1 :]
            if not rest:
                return True
            if x not in self.spans:
                self.spans[x] = self._span(P.poly(x))
            span = self.spans[x]
            if span is None:
                continue
            together = P.add(lesser, value)
            reach = P.add(below, P.mul(weight, span))
            joint = self._span(together) if by_facts else None
            if joint is not None and nonneg(P.sub(reach, joint), self.ctx):
                reach = joint
            if self._ordered(rest, together, reach, by_facts):
                return True
        return not digits

    def _joined(self) -> list[Poly]:
        """What follows from known quotients and remainders: x itself, if both x // d and x % d are known."""
        out = []
        for y in list(self.known):
            if isinstance(y, Op) and y.op == "mod":
                x, d = y.args
                if not self._varies(d) and not self._varies(simplify(ops.make("floordiv", x, d), self.ctx)):
                    out.append(P.poly(x))
            elif isinstance(y, Op) and y.op == "floordiv":
                x, d = y.args
                if not self._varies(d) and not self._varies(simplify(ops.make("mod", x, d), self.ctx)):
                    out.append(P.poly(x))
        return out
