"""Proofs that a polynomial is not negative: the engine under simplify, prove and bounds.

To prove p >= 0, an atom x is eliminated: with p = c*x + r and c >= 0, a known a*x >= b (a > 0) gives
a*p >= c*b + a*r, so c*b + a*r + a - 1 >= 0 suffices (p is an integer). Variables bound innermost go first; what is
known of // and % are their defining inequalities. The search is bounded, and False means "not proved".
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from tensorlang.arith import poly as P
from tensorlang.arith.context import Context
from tensorlang.arith.poly import Poly
from tensorlang.arith.rules import ELIMINATE, ELIMINATE_MULTIPLE, KNOWN, REDUCED
from tensorlang.arith.samples import refuted, refuted_at_worst
from tensorlang.ir import dtypes, ops
from tensorlang.ir.nodes import Expr, Knob, Op, Size, Var
from tensorlang.ir.walk import free_vars

if TYPE_CHECKING:
    from typing_extensions import Self

Interval = tuple[float, float]  # ints, or -inf, inf
EVERYTHING: Interval = (-math.inf, math.inf)
STEPS = 150  # eliminations tried in one proof
FEW = 6  # of these, before points are made to refute it
WIDTH = 3  # atoms tried at each step


def nonneg(p: Poly, ctx: Context) -> bool:
    """True only if p >= 0 for all values in context."""
    value = P.value_of(p)
    if value is not None:
        return value >= 0
    memo = ctx.cache("nonneg")
    key = frozenset(p.items())
    found = memo.get(key)
    if found is None:
        near = ctx.about(P.variables(p))
        found = memo[key] = _proved(p, ctx) if near is ctx else nonneg(p, near)
    return found


def _proved(p: Poly, ctx: Context) -> bool:
    """A short search, then a long one, unless p is seen to be negative: most that takes long is hopeless."""
    budget = [FEW]
    if _search(p, ctx, frozenset(), budget):
        return True
    return budget[0] <= 0 and not refuted_at_worst(p, ctx) and _search(p, ctx, frozenset(), [STEPS])


def positive(p: Poly, ctx: Context) -> bool:
    """True only if p >= 1 for all values in context."""
    return nonneg(P.sub(p, P.constant(1)), ctx)


def _search(p: Poly, ctx: Context, used: frozenset[int], budget: list[int]) -> bool:
    p = _reduced(p, ctx)
    low, high = interval(p, ctx)
    if low >= 0:
        return True
    if high < 0 or budget[0] <= 0 or refuted(p, ctx):
        return False
    if _shifted(p, ctx):
        return True
    tried = 0
    for x in sorted(P.atoms(p), key=lambda x: (-level(x, ctx), P.order(x))):
        parts = P.split(p, x)
        if parts is None:
            continue
        c, r = parts
        sign = _sign(c, ctx, used, budget)
        if not sign:
            continue
        tried += 1
        if tried > WIDTH:
            break
        if _by_cases(x, sign):
            return all(_search(P.add(P.mul(c, P.poly(y)), r), ctx, used, budget) for y in _branches(x))
        for a, b, fact in knowledge(x, sign, ctx):
            if fact in used:
                continue
            budget[0] -= 1
            if budget[0] <= 0:
                return False
            if _search(_substituted(c, r, a, b), ctx, used | {fact} if fact >= 0 else used, budget):
                return True
    return False


def _substituted(c: Poly, r: Poly, a: Poly, b: Poly) -> Poly:
    """A polynomial that is >= 0 only if c*x + r is, given a*x and b on the helpful side of each other."""
    k = P.exact(c, a)
    rule, factor = (ELIMINATE, c) if k is None else (ELIMINATE_MULTIPLE, k)
    return P.as_poly(rule.enough(*map(P.Sum, (factor, a, {}, r, b))))


def _by_cases(x: Expr, sign: int) -> bool:
    """min and max on their weak side, and select, take either value: both cases have to be proved."""
    return isinstance(x, Op) and (x.op in ("select", "if_then_else") or x.op == ("min" if sign > 0 else "max"))


def _branches(x: Expr) -> tuple[Expr, ...]:
    assert isinstance(x, Op)
    return x.args[-2:]


def _sign(c: Poly, ctx: Context, used: frozenset[int], budget: list[int]) -> int:
    """1 if c >= 0, -1 if c <= 0, 0 if unknown."""
    low, high = interval(c, ctx)
    if low >= 0:
        return 1
    if high <= 0:
        return -1
    if budget[0] <= 0:
        return 0
    budget[0] -= 1
    return 1 if _search(c, ctx, used, budget) else -1 if _search(P.scale(c, -1), ctx, used, budget) else 0


def _reduced(p: Poly, ctx: Context) -> Poly:
    """p without factors that do not matter for its sign: g*q + c >= 0 iff q + c//g >= 0."""
    rest = {m: c for m, c in p.items() if m}
    if not rest:
        return p
    if () not in p:
        m, g = P.content(p)
        if len(p) == len(m) == 1 and p[m] < 0 and _facts_with(m[0], ctx):  # they may leave no room for x but 0
            return {m: -1}
        m = tuple(x for x in m if interval_of(x, ctx)[0] >= 0)
        return {P.drop(n, m) or (): c // g for n, c in p.items()} if m or g > 1 else p
    g = math.gcd(*rest.values())
    return reduced({m: c // g for m, c in rest.items()}, p[()], g) if g > 1 else p


def reduced(q: Poly, c: int, g: int) -> Poly:
    """What is >= 0 if and only if g*q + c is, by the rule REDUCED."""
    return P.as_poly(P.Sum(q) + REDUCED(g, 0, c))


def _shifted(p: Poly, ctx: Context) -> bool:
    """p >= 0 by its coefficients, once every atom is written as its least value plus something >= 0."""
    if max(map(len, p)) < 2:
        return False
    lows = {x: interval_of(x, ctx)[0] for x in P.atoms(p)}
    if any(low == -math.inf for low in lows.values()):
        return False
    out: Poly = {}
    for m, c in p.items():
        term = P.constant(c)
        for x in m:
            term = P.mul(term, P.add({(x,): 1}, P.constant(int(lows[x]))))
        out = P.add(out, term)
    return all(c >= 0 for c in out.values())


# ------------------------------------------------------------------------------------ what is known of an atom
def knowledge(x: Expr, sign: int, ctx: Context) -> Iterator[tuple[Poly, Poly, int]]:
    """(a, b, fact) with a > 0 and a*x >= b (for sign 1), or a*x <= b (for sign -1); fact: its number, -1 for none."""
    one = P.constant(1)
    if isinstance(x, Op) and x.op in KNOWN:
        yield from _known(x, sign, ctx)
    elif isinstance(x, Var) and x in ctx.bound:
        end = ctx.bound[x][0 if sign > 0 else 1]
        if end is not None:
            yield one, end, -1
    for n, c, r in _facts_about(x, ctx):
        if (c > 0) == (sign > 0):
            yield P.constant(abs(c)), P.scale(r, -sign), n
    for n, d, r in _scaled_facts_about(x, ctx, sign):
        yield d, P.scale(r, -sign), n
    extreme = interval_of(x, ctx)[0 if sign > 0 else 1]
    if abs(extreme) != math.inf:
        yield one, P.constant(int(extreme)), -1
    if isinstance(x, Op) and x.op == "mod":
        a, d = map(P.poly, x.args)
        yield one, P.sub(a, P.mul(d, P.poly(ops.make("floordiv", *x.args)))), -1


def _known(x: Op, sign: int, ctx: Context) -> Iterator[tuple[Poly, Poly, int]]:
    """What KNOWN says."""
    a, b = (Term(P.poly(y), ctx) for y in x.args)
    if x.op in ("floordiv", "mod") and P.value_of(b.poly) is not None and not b >= 1:  # divisors are positive
        return
    for bound in KNOWN[x.op]:
        if bound.sign == sign and all(bound.given(a, b)):
            yield P.as_poly(bound.times(a, b)), P.as_poly(bound.end(a, b)), -1


class Term(P.Sum):
    """A polynomial in a context; it is >= another one if its interval says so."""

    __slots__ = ("ctx",)

    def __init__(self, poly: Poly, ctx: Context):
        self.poly, self.ctx = poly, ctx

    def like(self, poly: Poly) -> Self:
        return type(self)(poly, self.ctx)

    def __ge__(self, other: Any) -> bool:
        return interval((self - other).poly, self.ctx)[0] >= 0


def _facts(ctx: Context) -> list[tuple[Poly, set[Expr]]]:
    """The facts; then what ranges say about the other atoms in them than the variable: each with these atoms."""
    found = ctx.memo.get("facts")
    if found is None:
        found = ctx.memo["facts"] = [(f, P.atoms(f)) for f in ctx.facts]
        for var, ends in ctx.bound.items():
            for end, sign in zip(ends, (1, -1), strict=True):
                if end and (others := P.atoms(end)):
                    found.append((P.scale(P.sub({(var,): 1}, end), sign), others))
    return found


def _facts_with(x: Expr, ctx: Context) -> list[tuple[int, Poly, Poly]]:
    """(number, c, r) of each fact c*x + r >= 0 with c not 0."""
    memo = ctx.cache("facts with")
    found = memo.get(x)
    if found is None:
        splits = ((n, P.split(f, x)) for n, (f, atoms) in enumerate(_facts(ctx)) if x in atoms)
        found = memo[x] = [(n, *parts) for n, parts in splits if parts is not None]
    return found


def _facts_about(x: Expr, ctx: Context) -> list[tuple[int, int, Poly]]:
    """(number, c, r) of each fact c*x + r >= 0 with an integer c."""
    known = ((n, P.value_of(c), r) for n, c, r in _facts_with(x, ctx))
    return [(n, c, r) for n, c, r in known if c is not None]


def _scaled_facts_about(x: Expr, ctx: Context, sign: int) -> Iterator[tuple[int, Poly, Poly]]:
    """(number, d, r) of each fact sign*d*x + r >= 0 with an expression d > 0."""
    for n, c, r in _facts_with(x, ctx):
        d = P.scale(c, sign)
        if P.value_of(c) is None and interval(d, ctx)[0] >= 1:
            yield n, d, r


def is_box(x: Expr, ctx: Context) -> bool:
    """Whether nothing is known of an atom but that it is a variable between two numbers."""
    ends = ctx.bound.get(x, (None,)) if isinstance(x, Var) else (None,)
    return not _facts_with(x, ctx) and all(end is not None and end.keys() <= {()} for end in ends)


def level(x: Expr, ctx: Context) -> int:
    """How deep an atom depends on others: it is eliminated before those that it depends on."""
    memo = ctx.cache("level")
    found = memo.get(x)
    if found is None:
        memo[x] = 0
        if isinstance(x, Var):
            ends = [e for e in ctx.bound.get(x, ()) if e is not None]
            found = 2 + max((level(y, ctx) for e in ends for y in P.atoms(e)), default=0) if x in ctx.bound else 0
        else:
            found = 1 + max((level(y, ctx) for y in free_vars(x)), default=0)
        memo[x] = found
    return found


# ------------------------------------------------------------------------------------------- integer intervals
def interval(p: Poly, ctx: Context) -> Interval:
    """Integers (or infinities) between which p lies for all values in context."""
    low: float = 0
    high: float = 0
    for m, c in p.items():
        ends: Interval = (c, c)
        for x in m:
            ends = _times(ends, interval_of(x, ctx))
        if len(m) == 2 and m[0] is m[1]:
            ends = (max(ends[0], 0), ends[1]) if c > 0 else (ends[0], min(ends[1], 0))
        low, high = low + ends[0], high + ends[1]
    return low, high


def _times(a: Interval, b: Interval) -> Interval:
    products = [x * y if x and y else 0 for x in a for y in b]
    return min(products), max(products)


def interval_of(x: Expr, ctx: Context) -> Interval:
    """The integers between which an atom lies."""
    memo = ctx.cache("interval")
    found = memo.get(x)
    if found is None:
        memo[x] = EVERYTHING  # for ranges that depend on each other
        low, high = _interval_of(x, ctx)
        for n, c, r in _facts_about(x, ctx):  # c*x + r >= 0
            if n >= len(ctx.facts):
                break
            ends = interval(r, ctx)
            if c > 0 and ends[1] != math.inf:
                low = max(low, _ceil_div(-int(ends[1]), c))
            elif c < 0 and ends[1] != math.inf:
                high = min(high, int(ends[1]) // -c)
        found = memo[x] = (low, high)
    return found


def _ceil_div(a: int, b: int) -> int:
    return -(-a // b)


def _interval_of(x: Expr, ctx: Context) -> Interval:
    if isinstance(x, Var):
        low, high = EVERYTHING
        if isinstance(x, Size):
            low = 0
        elif isinstance(x, Knob):
            low, high = (min(x.choices), max(x.choices)) if x.choices else (1, math.inf)
        lo, hi = ctx.bound.get(x, (None, None))
        return (
            low if lo is None else max(low, interval(lo, ctx)[0]),
            high if hi is None else min(high, interval(hi, ctx)[1]),
        )
    if isinstance(x, Op):
        return _interval_of_op(x, ctx)
    return EVERYTHING


def _interval_of_op(x: Op, ctx: Context) -> Interval:
    if x.op == "cast":
        source = x.args[0].dtype
        if dtypes.is_integer(source):
            info = np.iinfo(source)
            if info.bits == 64:  # one more than the greatest is no index: it is no end of anything
                return (0 if info.min == 0 else -math.inf), math.inf
            return int(info.min), int(info.max)
        return (0, 1) if source == "bool" else EVERYTHING
    if x.op not in ("floordiv", "mod", "min", "max", "abs", "select", "if_then_else", "add", "sub", "mul", "neg"):
        return EVERYTHING
    if x.op in ("add", "sub", "mul", "neg"):  # a product too large to expand
        return EVERYTHING
    operands = [P.poly(y) for y in (x.args[-2:] if len(x.args) > 1 else x.args * 2)]
    whole = 0
    if x.op == "floordiv":  # (k*d + r) // d is k + r // d
        k, r = P.quotient(*operands)
        whole = P.value_of(k) or 0
        operands[0] = r if whole else operands[0]
    (a, b), (c, d) = (interval(p, ctx) for p in operands)
    if x.op == "min":
        return min(a, c), min(b, d)
    if x.op == "max":
        return max(a, c), max(b, d)
    if x.op in ("select", "if_then_else"):
        return min(a, c), max(b, d)
    if x.op == "abs":
        return (0 if a <= 0 <= b else min(abs(a), abs(b))), max(abs(a), abs(b))
    c = max(c, 1)  # divisors are positive
    if d < c:
        return EVERYTHING
    if x.op == "mod":
        return (0, min(b, d - 1)) if a >= 0 else (0, d - 1)
    ends = [_floor_div(n, m) for n in (a, b) for m in (c, d)]
    return whole + min(ends), whole + max(ends)


def _floor_div(n: float, m: float) -> float:
    if abs(n) == math.inf:
        return n
    if m == math.inf:
        return 0 if n >= 0 else -1
    return int(n) // int(m)
