"""Rules for `//` and `%` on polynomials, in order. Each identity stands above its rule; divisors are positive."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

from tensorlang.arith import poly as P
from tensorlang.arith.context import Context
from tensorlang.arith.inequality import interval, nonneg
from tensorlang.arith.poly import Monomial, Poly
from tensorlang.ir import ops
from tensorlang.ir.nodes import Op

Rule = Callable[[Poly, Poly, Context], "Poly | None"]
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
            out = rule(x, d, ctx)
            if out is not None:
                return out
    return P.poly(ops.make(op, P.to_expr(x), P.to_expr(d)))


# x // 1 = x;  x // x = 1 follows from whole_part
def by_one(x: Poly, d: Poly, ctx: Context) -> Poly | None:
    return x if d == ONE else None


def _parts(x: Poly, d: Poly) -> tuple[Poly, Poly]:
    """(k, r) with x = k*d + r; a negative constant in r is made up for by one more d, as in (n + d - 1)//d."""
    k, r = P.quotient(x, d)
    if r.get((), 0) < 0 and len(d) == 1 and P.value_of(d) is None:
        k, r = P.sub(k, ONE), P.add(r, d)
    return k, r


# (k*d + r) // d = k + r//d
def whole_part(x: Poly, d: Poly, ctx: Context) -> Poly | None:
    k, r = _parts(x, d)
    return P.add(k, floordiv(r, d, ctx)) if k else None


# x // d = m  if  m*d <= x < (m + 1)*d
def within_one(x: Poly, d: Poly, ctx: Context) -> Poly | None:
    m = quotient_in_range(x, d, ctx)
    return None if m is None else P.constant(m)


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


# (c*n + r) // d = c*(n//d) + r//d  if  n % d = 0
def known_multiple(x: Poly, d: Poly, ctx: Context) -> Poly | None:
    for m, c in x.items():
        for y in m:
            step = ctx.multiples.get(y)
            e = None if step is None else P.exact(step, d)
            if step is not None and e:
                q = P.poly(ops.make("floordiv", y, P.to_expr(step)))
                rest = P.drop(m, (y,)) or ()
                whole = P.mul(P.mul({rest: c}, e), q)
                return P.add(whole, floordiv(P.without(x, m), d, ctx))
    return None


# (g*x + s) // (g*e) = (x + s//g) // e  if  s//g is known
def common_factor(x: Poly, d: Poly, ctx: Context) -> Poly | None:
    for scaled, rest, g in _factored(x, d):
        q = quotient_in_range(rest, g, ctx) if rest else 0
        if q is not None:
            e = P.exact(d, g)
            if e is not None:
                return floordiv(P.add(scaled, P.constant(q)), e, ctx)
    return None


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


# (x//a + c) // b = (x + a*c) // (a*b)  for a c that is a constant or made of what is in b, as in ceil-divs
def nested(x: Poly, d: Poly, ctx: Context) -> Poly | None:
    for m, c in x.items():
        if c == 1 and len(m) == 1 and isinstance(m[0], Op) and m[0].op == "floordiv" and _positive_divisor(m[0]):
            rest = P.without(x, m)
            if P.atoms(rest) <= P.atoms(d):
                y, a = map(P.poly, m[0].args)
                return floordiv(P.add(y, P.mul(a, rest)), P.mul(a, d), ctx)
    return None


# (x % (c*e)) // c = (x//c) % e
def of_mod(x: Poly, d: Poly, ctx: Context) -> Poly | None:
    inner = _only_atom(x, "mod")
    if inner is None or () in x:
        return None
    y, whole = map(P.poly, inner.args)
    e = P.exact(whole, d)
    return None if e is None or (P.value_of(e) or 1) < 1 else mod(floordiv(y, d, ctx), e, ctx)


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


FLOORDIV: tuple[Rule, ...] = (by_one, whole_part, within_one, known_multiple, common_factor, nested, of_mod)


# x % 1 = 0
def mod_one(x: Poly, d: Poly, ctx: Context) -> Poly | None:
    return {} if d == ONE else None


# (k*d + x) % d = x % d;  (y % (k*d)) % d = y % d;  (k*n) % d = 0  if  n % d = 0
def dropped(x: Poly, d: Poly, ctx: Context) -> Poly | None:
    _, r = _parts(x, d)
    value = P.value_of(d)
    if value is not None:
        r = {m: c % value if abs(c) >= value else c for m, c in r.items()}
    for m, c in list(r.items()):
        for y in m:
            step = ctx.multiples.get(y)
            if step is not None and P.exact(step, d):
                r = P.without(r, m)
                break
            if isinstance(y, Op) and y.op == "mod" and _positive_divisor(y) and P.exact(P.poly(y.args[1]), d):
                inner = P.mul({P.drop(m, (y,)) or (): c}, P.poly(y.args[0]))
                r = P.add(P.without(r, m), inner)
                break
    return mod(r, d, ctx) if r != x else None


# x % d = x - m*d  if  m*d <= x < (m + 1)*d
def in_range(x: Poly, d: Poly, ctx: Context) -> Poly | None:
    m = quotient_in_range(x, d, ctx)
    return None if m is None else P.sub(x, P.scale(d, m))


# (g*x + s) % (g*e) = g*((x + s//g) % e) + s%g  if  s//g is known
def mod_common_factor(x: Poly, d: Poly, ctx: Context) -> Poly | None:
    for scaled, rest, g in _factored(x, d):
        q = quotient_in_range(rest, g, ctx) if rest else 0
        if q is not None:
            e = P.exact(d, g)
            if e is not None:
                left = P.sub(rest, P.scale(g, q))
                return P.add(P.mul(g, mod(P.add(scaled, P.constant(q)), e, ctx)), left)
    return None


MOD: tuple[Rule, ...] = (mod_one, dropped, in_range, mod_common_factor)


# x//d*d + x%d = x;  min(a, b) + c = min(a + c, b + c);  c - min(a, b) = max(c - a, c - b):  where it is shorter
def recombined(p: Poly, ctx: Context) -> Poly:
    """p with quotients and remainders of the same number put together, and sums moved into min and max."""
    changed = True
    while changed:
        changed = False
        for m, c in p.items():
            for y in m:
                other = None
                if isinstance(y, Op) and y.op in ("floordiv", "mod"):
                    other = _rewritten(p, m, c, y, ctx)
                elif isinstance(y, Op) and y.op in ("min", "max") and len(p) > 1 and len(m) == 1 and abs(c) == 1:
                    other = _moved_in(P.without(p, m), c, y)
                if other is not None and cost(other) < cost(p):
                    p, changed = other, True
                    break
            if changed:
                break
    return p


def _rewritten(p: Poly, m: Monomial, c: int, y: Op, ctx: Context) -> Poly | None:
    if not _positive_divisor(y) or (len(p) == 1 and y.op == "mod"):
        return None
    x, d = map(P.poly, y.args)
    term: Poly = {m: c}
    if y.op == "mod":  # x % d = x - d*(x//d)
        rest: Poly = {P.drop(m, (y,)) or (): c}
        whole = P.sub(x, P.mul(d, floordiv(x, d, ctx)))
        return P.add(P.sub(p, term), P.mul(rest, whole))
    k = P.exact({P.drop(m, (y,)) or (): c}, d)  # d*(x//d) = x - x%d
    if k is None:
        return None
    return P.add(P.sub(p, term), P.mul(k, P.sub(x, mod(x, d, ctx))))


def _moved_in(rest: Poly, c: int, y: Op) -> Poly:
    """rest + c*y for a min or max y and c = 1 or -1, as one min or max."""
    op = y.op if c > 0 else {"min": "max", "max": "min"}[y.op]
    return P.poly(ops.make(op, *(P.to_expr(P.add(rest, P.scale(P.poly(a), c))) for a in y.args)))


def cost(p: Poly) -> int:
    return sum(1 + sum(_weight(x) for x in m) for m in p)


def _weight(x: object) -> int:
    return 2 + sum(map(_weight, x.args)) if isinstance(x, Op) else 1
