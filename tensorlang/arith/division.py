"""Rules for `//` and `%` on polynomials, in order: the identities as data, and how places for them are found."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from tensorlang.arith import poly as P
from tensorlang.arith.context import Context
from tensorlang.arith.inequality import Term, interval, interval_of, nonneg
from tensorlang.arith.poly import Monomial, Poly
from tensorlang.arith.rules import Rule
from tensorlang.ir import ops
from tensorlang.ir.nodes import Expr, Op

Values = tuple[Poly, ...]
ONE = P.constant(1)


def floordiv(x: Poly, d: Poly, ctx: Context) -> Poly:
    """x // d in normal form."""
    return _first(FLOORDIV, "floordiv", x, d, ctx)


def mod(x: Poly, d: Poly, ctx: Context) -> Poly:
    """x % d in normal form."""
    return _first(MOD, "mod", x, d, ctx)


def _first(rules: tuple[Rule, ...], op: str, x: Poly, d: Poly, ctx: Context) -> Poly:
    value = P.value_of(d)
    if value is None or value >= 1:
        for rule in rules:
            found = rule.find(x, d, ctx)
            if found is not None:
                return built(rule, found, ctx)
    return P.poly(ops.make(op, P.to_expr(x), P.to_expr(d)))


def built(rule: Rule, values: Values, ctx: Context) -> Poly:
    """The right side of a rule for these values of its letters."""
    return P.as_poly(rule.right(*(Normal(v, ctx) for v in values)))


class Normal(Term):
    """A polynomial in a context, for the right sides of rules to compute with: // and % give normal forms."""

    __slots__ = ()

    def __floordiv__(self, other: Any) -> Normal:
        return self.like(floordiv(self.poly, P.as_poly(other), self.ctx))

    def __mod__(self, other: Any) -> Normal:
        return self.like(mod(self.poly, P.as_poly(other), self.ctx))

    def min(self, other: Normal) -> Normal:
        return self.like(P.poly(ops.make("min", P.to_expr(self.poly), P.to_expr(other.poly))))

    def max(self, other: Normal) -> Normal:
        return self.like(P.poly(ops.make("max", P.to_expr(self.poly), P.to_expr(other.poly))))


# --------------------------------------------------------------------------------- where a rule for // or % applies
def _by_one(x: Poly, d: Poly, ctx: Context) -> Values | None:
    return (x,) if d == ONE else None


def _parts(x: Poly, d: Poly) -> tuple[Poly, Poly]:
    """(k, r) with x = k*d + r; a negative constant in r is made up for by one more d, as in (n + d - 1)//d."""
    k, r = P.quotient(x, d)
    if r.get((), 0) < 0 and len(d) == 1 and P.value_of(d) is None:
        k, r = P.sub(k, ONE), P.add(r, d)
    return k, r


def _whole_part(x: Poly, d: Poly, ctx: Context) -> Values | None:
    k, r = _parts(x, d)
    if P.value_of(r) and P.value_of(d) is None:  # (15 + d) // d is one factor of a product, 15 // d + 1 two terms
        k, r = P.sub(k, ONE), P.add(r, d)
    return (k, d, r) if k else None


def _whole_multiple(x: Poly, d: Poly, ctx: Context) -> Values | None:
    """As _whole_part; coefficients, too, become less than a constant divisor."""
    k, r = _parts(x, d)
    value = P.value_of(d)
    if value is not None:
        large = {m: c // value for m, c in r.items() if abs(c) >= value}
        k, r = P.add(k, large), P.sub(r, P.scale({m: c for m, c in large.items() if c}, value))
    return (k, d, r) if r != x else None


def _within_one(x: Poly, d: Poly, ctx: Context) -> Values | None:
    m = quotient_in_range(x, d, ctx)
    return None if m is None else (x, d, P.constant(m))


def quotient_in_range(x: Poly, d: Poly, ctx: Context) -> int | None:
    """The integer that x // d provably is, else None."""
    value = P.value_of(d)
    low, high = interval(x, ctx)
    ends = [int(end) // value for end in (low, high) if value is not None and abs(end) < math.inf]
    if len(ends) == 2 and ends[0] == ends[1]:
        return ends[0]
    for m in ends[:1] or (0, -1):
        rest = P.sub(x, P.scale(d, m))
        if nonneg(rest, ctx) and nonneg(P.sub(P.sub(d, ONE), rest), ctx):
            return m
    return None


def _known_multiple(x: Poly, d: Poly, ctx: Context) -> Values | None:
    """A term c*y of x in which y is known to be a multiple of e*d."""
    for m, c in x.items():
        for y in m:
            step = ctx.multiples.get(y)
            e = None if step is None else P.exact(step, d)
            if step is not None and e:
                q = P.poly(ops.make("floordiv", y, P.to_expr(step)))
                return {P.drop(m, (y,)) or (): c}, P.poly(y), P.without(x, m), d, e, q
    return None


def _common_factor(x: Poly, d: Poly, ctx: Context) -> Values | None:
    """A factor g of d such that x is g*y + s, and s // g is known."""
    for y, s, g in _factored(x, d):
        q = quotient_in_range(s, g, ctx) if s else 0
        e = None if q is None else P.exact(d, g)
        if q is not None and e is not None and _positive_factors(g, e, ctx):
            return y, s, g, e, P.constant(q)
    return None


def _positive_factors(g: Poly, e: Poly, ctx: Context) -> bool:
    """Both are positive, as their product is: one is a product of what cannot be negative."""
    return any(
        len(factor) == 1 and min(factor.values()) > 0 and all(interval_of(y, ctx)[0] >= 0 for y in P.atoms(factor))
        for factor in (g, e)
    )


def _factored(x: Poly, d: Poly) -> Iterator[tuple[Poly, Poly, Poly]]:
    """(y, s, g) with x = g*y + s, for the common factors g of d and terms of x, greatest first."""
    in_d, number = P.content(d)
    factors: dict[tuple[Monomial, int], None] = {}
    for m, c in x.items():
        if m:
            g = (P.common(m, in_d), math.gcd(c, number))
            if g[0] or g[1] > 1:
                factors[g] = None
    for m, c in sorted(factors, key=lambda g: (len(g[0]), g[1]), reverse=True):
        scaled: Poly = {}
        rest: Poly = {}
        for n, k in x.items():
            left = P.drop(n, m)
            if left is not None and k % c == 0 and (n or not m):
                scaled[left] = k // c
            else:
                rest[n] = k
        yield scaled, rest, {m: c}


def _nested(x: Poly, d: Poly, ctx: Context) -> Values | None:
    """x = y//a + r for an r that is a constant or made of what is in d, as in ceil-divs."""
    for m, c in x.items():
        if c == 1 and len(m) == 1 and isinstance(m[0], Op) and m[0].op == "floordiv" and _positive_divisor(m[0]):
            r = P.without(x, m)
            if P.atoms(r) <= P.atoms(d):
                y, a = map(P.poly, m[0].args)
                return y, a, r, d
    return None


def _of_mod(x: Poly, d: Poly, ctx: Context) -> Values | None:
    """x = y % (e*d)."""
    inner = _only_atom(x, "mod")
    if inner is None or () in x:
        return None
    y, whole = map(P.poly, inner.args)
    e = P.exact(whole, d)
    return None if e is None or (P.value_of(e) or 1) < 1 else (y, d, e)


def _only_atom(x: Poly, op: str) -> Op | None:
    """The operation y if x is y or y + constant."""
    terms = [m for m in x if m]
    if len(terms) == 1 and len(terms[0]) == 1 and x[terms[0]] == 1:
        y = terms[0][0]
        if isinstance(y, Op) and y.op == op and _positive_divisor(y):
            return y
    return None


def _positive_divisor(y: Op) -> bool:
    value = P.value_of(P.poly(y.args[1]))
    return value is None or value >= 1


def _inner_mod(x: Poly, d: Poly, ctx: Context) -> Values | None:
    """A term c * (y % (e*d)) of x."""
    for m, c in x.items():
        for y in m:
            if isinstance(y, Op) and y.op == "mod" and _positive_divisor(y):
                inner, whole = map(P.poly, y.args)
                e = P.exact(whole, d)
                if e:
                    return {P.drop(m, (y,)) or (): c}, inner, P.without(x, m), d, e
    return None


FLOORDIV: tuple[Rule, ...] = (
    Rule(_by_one, lambda x: x // 1, lambda x: x),
    Rule(_whole_part, lambda k, d, r: (k * d + r) // d, lambda k, d, r: k + r // d),
    Rule(_within_one, lambda x, d, m: x // d, lambda x, d, m: m, lambda x, d, m: (m * d <= x, x < m * d + d)),
    Rule(
        _known_multiple,
        lambda c, y, r, d, e, q: (c * y + r) // d,
        lambda c, y, r, d, e, q: c * e * q + r // d,
        lambda c, y, r, d, e, q: (y == q * (e * d),),
    ),
    Rule(
        _common_factor,
        lambda y, s, g, e, q: (g * y + s) // (g * e),
        lambda y, s, g, e, q: (y + q) // e,
        lambda y, s, g, e, q: (q * g <= s, s < q * g + g),
    ),
    Rule(_nested, lambda y, a, r, d: (y // a + r) // d, lambda y, a, r, d: (y + a * r) // (a * d)),
    Rule(_of_mod, lambda y, d, e: (y % (e * d)) // d, lambda y, d, e: (y // d) % e),
)

MOD: tuple[Rule, ...] = (
    Rule(_by_one, lambda x: x % 1, lambda x: 0),
    Rule(_whole_multiple, lambda k, d, r: (k * d + r) % d, lambda k, d, r: r % d),
    Rule(
        _known_multiple,
        lambda c, y, r, d, e, q: (c * y + r) % d,
        lambda c, y, r, d, e, q: r % d,
        lambda c, y, r, d, e, q: (y == q * (e * d),),
    ),
    Rule(
        _inner_mod,
        lambda c, y, r, d, e: (c * (y % (e * d)) + r) % d,
        lambda c, y, r, d, e: (c * y + r) % d,
    ),
    Rule(_within_one, lambda x, d, m: x % d, lambda x, d, m: x - d * m, lambda x, d, m: (m * d <= x, x < m * d + d)),
    Rule(
        _common_factor,
        lambda y, s, g, e, q: (g * y + s) % (g * e),
        lambda y, s, g, e, q: g * ((y + q) % e) + (s - g * q),
        lambda y, s, g, e, q: (q * g <= s, s < q * g + g),
    ),
)


# ------------------------------------------------------------------------------- sums that a term can be taken into
def recombined(p: Poly, ctx: Context) -> Poly:
    """p with quotients and remainders of the same number put together, and sums moved into min and max.

    Wherever that makes it shorter: each rule rewrites a sum with one term of which it knows something.
    """
    found: Poly | None = p
    while found is not None:
        p, found = found, _shorter(found, ctx)
    return p


def _shorter(p: Poly, ctx: Context) -> Poly | None:
    """What the first rule makes of p that makes it shorter."""
    for term, y in [(m, y) for m in p for y in m if isinstance(y, Op)]:
        for rule in RECOMBINE.get(y.op, ()):
            found = rule.find(p, term, y)
            if found is not None and cost(other := built(rule, found, ctx)) < cost(p):
                return other
    return None


def _remainder(p: Poly, m: Monomial, y: Op) -> Values | None:
    """p = r + c * (x % d)"""
    if not _positive_divisor(y) or len(p) == 1:
        return None
    return P.without(p, m), {P.drop(m, (y,)) or (): p[m]}, *map(P.poly, y.args)


def _multiple(p: Poly, m: Monomial, y: Op) -> Values | None:
    """p = r + k*d * (x // d)"""
    if not _positive_divisor(y):
        return None
    x, d = map(P.poly, y.args)
    k = P.exact({P.drop(m, (y,)) or (): p[m]}, d)
    return None if k is None else (P.without(p, m), k, x, d)


def _plus(p: Poly, m: Monomial, y: Op) -> Values | None:
    """p = r + y, with an r that is not 0"""
    return (P.without(p, m), *map(P.poly, y.args)) if len(p) > 1 and len(m) == 1 and p[m] == 1 else None


def _minus(p: Poly, m: Monomial, y: Op) -> Values | None:
    """p = r - y, with an r that is not 0"""
    return (P.without(p, m), *map(P.poly, y.args)) if len(p) > 1 and len(m) == 1 and p[m] == -1 else None


RECOMBINE: dict[str, tuple[Rule, ...]] = {
    "mod": (Rule(_remainder, lambda r, c, x, d: r + c * (x % d), lambda r, c, x, d: r + c * (x - d * (x // d))),),
    "floordiv": (Rule(_multiple, lambda r, k, x, d: r + k * d * (x // d), lambda r, k, x, d: r + k * (x - x % d)),),
    "min": (
        Rule(_plus, lambda r, x, y: r + x.min(y), lambda r, x, y: (r + x).min(r + y)),
        Rule(_minus, lambda r, x, y: r - x.min(y), lambda r, x, y: (r - x).max(r - y)),
    ),
    "max": (
        Rule(_plus, lambda r, x, y: r + x.max(y), lambda r, x, y: (r + x).max(r + y)),
        Rule(_minus, lambda r, x, y: r - x.max(y), lambda r, x, y: (r - x).min(r - y)),
    ),
}


def cost(p: Poly) -> int:
    return sum(1 + sum(_weight(x) for x in m) for m in p)


def _weight(x: Expr) -> int:
    if not isinstance(x, Op):
        return 1
    found = x.memo.get("weight")
    if found is None:
        found = x.memo["weight"] = 2 + sum(map(_weight, x.args))
    return found
