"""Polynomials with integer coefficients: the normal form of index arithmetic.

`x + 2*y*n - 3` is `{(x,): 1, (y, n): 2, (): -3}`: a dict from monomials (sorted tuples of atoms) to coefficients,
none of which is zero. Atoms are index expressions other than + - * and constants. Polys are never changed in place.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from tensorlang.ir.nodes import ZERO, Const, Expr, Knob, Load, Op, Size, Var, const
from tensorlang.ir.walk import free_vars

if TYPE_CHECKING:
    from typing_extensions import Self

Monomial = tuple[Expr, ...]
Poly = dict[Monomial, int]
MOST_TERMS = 120  # a product that would expand to more terms stays an atom

_RANK = {Var: 0, Knob: 2, Size: 3}


def is_scalar_index(expr: Expr) -> bool:
    return expr.dtype == "index" and expr.lanes == 1


def order(atom: Expr) -> tuple[int, str, int]:
    """Sort key of atoms: loop variables, operations, knobs, sizes; by text, so that results repeat between runs."""
    key = atom.memo.get("order")
    if key is None:
        key = atom.memo["order"] = (_RANK.get(type(atom), 1), _text(atom), id(atom))
    return key


def _text(expr: Expr) -> str:
    if isinstance(expr, Var):
        return expr.name
    if isinstance(expr, Const):
        return str(expr.value)
    if isinstance(expr, Op):
        return f"{expr.op}({','.join(order(a)[1] for a in expr.args)})"
    if isinstance(expr, Load):
        return f"{expr.buffer.name}[{','.join(order(i)[1] for i in expr.indices)}]"
    return type(expr).__name__


def poly(expr: Expr) -> Poly:
    """The polynomial of a scalar index expression; operations other than + - * become atoms as they stand."""
    if (isinstance(expr, Op) and expr.op in ("add", "sub", "mul", "neg")) or isinstance(expr, Const):
        found = expr.memo.get("poly")
        if found is None:
            found = expr.memo["poly"] = _expand(expr)
        return found
    return {(expr,): 1}


def _expand(expr: Op | Const) -> Poly:
    if isinstance(expr, Const):
        return constant(int(expr.value))
    if expr.op == "neg":
        return scale(poly(expr.args[0]), -1)
    return arithmetic(expr.op, poly(expr.args[0]), poly(expr.args[1]))


def arithmetic(op: str, a: Poly, b: Poly) -> Poly:
    """`a op b` for add, sub and mul."""
    return add(a, b) if op == "add" else sub(a, b) if op == "sub" else mul(a, b)


def constant(value: int) -> Poly:
    return {(): value} if value else {}


def add(a: Poly, b: Poly) -> Poly:
    if not a or not b:
        return a or b
    out = dict(a)
    for m, c in b.items():
        total = out.get(m, 0) + c
        if total:
            out[m] = total
        else:
            del out[m]
    return out


def total(polys: Iterable[Poly]) -> Poly:
    """The sum of `polys`."""
    out: Poly = {}
    for a in polys:
        for m, c in a.items():
            c += out.get(m, 0)
            if c:
                out[m] = c
            else:
                del out[m]
    return out


def scale(a: Poly, k: int) -> Poly:
    if k == 1:
        return a
    return {m: c * k for m, c in a.items()} if k else {}


def sub(a: Poly, b: Poly) -> Poly:
    return {} if a is b else add(a, scale(b, -1))


def mul(a: Poly, b: Poly) -> Poly:
    if len(a) * len(b) > MOST_TERMS:
        return {tuple(sorted((to_expr(a), to_expr(b)), key=order)): 1}
    if len(b) == 1 and () in b:
        return scale(a, b[()])
    out: Poly = {}
    for m, c in a.items():
        for n, d in b.items():
            key = tuple(sorted(m + n, key=order)) if m and n else m or n
            out[key] = out.get(key, 0) + c * d
    return {m: c for m, c in out.items() if c}


def value_of(a: Poly) -> int | None:
    """The constant that `a` is, else None."""
    if not a:
        return 0
    return a.get(()) if len(a) == 1 else None


def atoms(a: Poly) -> set[Expr]:
    return {x for m in a for x in m}


def variables(a: Poly) -> frozenset[Var]:
    """The variables that its value depends on."""
    return frozenset[Var]().union(*(free_vars(x) for m in a for x in m))


def without(a: Poly, m: Monomial) -> Poly:
    """a without its term in m."""
    out = dict(a)
    del out[m]
    return out


def split(a: Poly, x: Expr) -> tuple[Poly, Poly] | None:
    """(c, r) with a = c*x + r, both free of the atom x; None if x occurs to a higher power."""
    c: Poly = {}
    r: Poly = {}
    for m, k in a.items():
        count = sum(y is x for y in m)
        if count > 1:
            return None
        if count:
            c[tuple(y for y in m if y is not x)] = k
        else:
            r[m] = k
    return c, r


def drop(m: Monomial, by: Monomial) -> Monomial | None:
    """m / by, or None if `by` does not divide m."""
    rest = list(m)
    for y in by:
        at = next((n for n, x in enumerate(rest) if x is y), None)
        if at is None:
            return None
        del rest[at]
    return tuple(rest)


def quotient(a: Poly, d: Poly) -> tuple[Poly, Poly]:
    """(k, r) with a = k*d + r: what divides termwise goes to k; for an integer d, r's constant is in 0 .. d-1."""
    if not d:
        return {}, a
    if len(d) == 1 and () in d:
        by = d[()]
        k = {m: c // by for m, c in a.items() if (not m or c % by == 0) and c // by} if by != 1 else a
        return k, sub(a, scale(k, by))
    lead = max(d, key=lambda m: (len(m), [order(x) for x in m]))
    k, r = {}, a
    for _ in range(len(a) + 2 if len(d) > 1 else 1):
        step: Poly = {}
        for m, c in r.items():
            rest = drop(m, lead)
            if rest is not None and (c % d[lead] == 0 or not rest):
                step[rest] = c // d[lead]
        step = {m: c for m, c in step.items() if c}
        if not step:
            break
        k, r = add(k, step), sub(r, mul(step, d))
    if len(d) > 1 and len(r) >= len(a):
        return {}, a
    return k, r


def exact(a: Poly, d: Poly) -> Poly | None:
    """a / d if d divides a as a polynomial, else None."""
    k, r = quotient(a, d)
    return None if r else k


def content(a: Poly) -> tuple[Monomial, int]:
    """The greatest monomial and integer that divide every term."""
    terms = iter(a.items())
    m, c = next(terms)
    for n, d in terms:
        m, c = common(m, n), math.gcd(c, d)
    return m, abs(c)


def common(m: Monomial, n: Monomial) -> Monomial:
    """The greatest common divisor of two monomials."""
    rest, out = list(n), []
    for x in m:
        at = next((i for i, y in enumerate(rest) if y is x), None)
        if at is not None:
            del rest[at]
            out.append(x)
    return tuple(out)


class Sum:
    """A polynomial with the operators + - *, for rules (see rules.py) to compute with; numbers fit in."""

    __slots__ = ("poly",)

    def __init__(self, poly: Poly):
        self.poly = poly

    def like(self, poly: Poly) -> Self:
        """Another one of the same kind."""
        return type(self)(poly)

    def __add__(self, other: Any) -> Self:
        return self.like(add(self.poly, as_poly(other)))

    def __sub__(self, other: Any) -> Self:
        return self.like(sub(self.poly, as_poly(other)))

    def __mul__(self, other: Any) -> Self:
        return self.like(mul(self.poly, as_poly(other)))


def as_poly(value: Sum | int) -> Poly:
    return value.poly if isinstance(value, Sum) else constant(value)


def to_expr(a: Poly) -> Expr:
    """The expression of a polynomial: the same one for equal polynomials. Positive terms first, the constant last."""
    positive: list[Expr] = []
    negative: list[Expr] = []
    for m in sorted(a, key=lambda m: [order(x) for x in m]):
        if m:
            (positive if a[m] > 0 else negative).append(_term(m, abs(a[m])))
    rest = a.get((), 0)
    if rest > 0:
        positive.append(const(rest))
    elif rest < 0:
        negative.append(const(-rest))
    if not positive:
        if not negative:
            return ZERO
        if () in a:  # -3 - x
            positive, negative = [const(rest)], negative[:-1]
        else:
            positive, negative = [_index("neg", negative[0])], negative[1:]
    out = positive[0]
    for term in positive[1:]:
        out = _index("add", out, term)
    for term in negative:
        out = _index("sub", out, term)
    return out


def _term(m: Monomial, c: int) -> Expr:
    out = m[0]
    for x in m[1:]:
        out = _index("mul", out, x)
    return out if c == 1 else _index("mul", out, const(c))


def _index(op: str, *args: Expr) -> Expr:
    """What ops.make makes of scalar index expressions that are no constants, without looking."""
    return Op(op, args, "index")
