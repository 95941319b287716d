"""Simplification of expressions: index arithmetic to its normal form, conditions decided where they can be."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from tensorlang.arith import division
from tensorlang.arith import poly as P
from tensorlang.arith.context import EMPTY, NEGATION, Context
from tensorlang.arith.inequality import interval_of, nonneg, reduced
from tensorlang.arith.poly import Poly
from tensorlang.arith.rules import DIFFERENCES, FORMS
from tensorlang.ir import ops, walk
from tensorlang.ir.nodes import FALSE, TRUE, Const, Expr, Knob, Let, Op, Reduce, Size, Var, const
from tensorlang.ir.walk import free_vars

SURE = ("lt", "le", "gt", "ge", "eq")  # what a proof that a difference is not negative shows
ITSELF: Any = object()  # stands for an expression in what it remembers of itself


def simplify(expr: Expr, ctx: Context = EMPTY) -> Expr:
    """An expression with the value of `expr` for all values of the variables that fulfil the facts of `ctx`.

    Sums and products of index expressions become sums of terms, in an order that repeats between runs; conditions
    that are proved become true or false. Floats and sized integers are left as they are, except for subscripts,
    conditions and other index expressions inside them. Example::

        simplify((i0 * 32 + i1) // 32, Context().bind(i1, const(32)))    # i0
    """
    if isinstance(expr, Const):
        return expr
    memo = ctx.cache("simplify") if ctx is not EMPTY else expr.memo
    key = expr if ctx is not EMPTY else "simplify"
    found = memo.get(key)
    if found is None:
        near = ctx.about(free_vars(expr))
        found = _simplified(expr, ctx) if near is ctx else simplify(expr, near)
        memo[key] = ITSELF if found is expr else found  # what refers to itself stays until the next collection
    return expr if found is ITSELF else found


def _simplified(expr: Expr, ctx: Context) -> Expr:
    if P.is_scalar_index(expr):
        return P.to_expr(division.recombined(normal(expr, ctx), ctx))
    if expr.dtype == "bool":
        if expr in ctx.truths:
            return TRUE
        if isinstance(expr, Op) and expr.op in LOGIC:
            return LOGIC[expr.op](expr, ctx)
    if isinstance(expr, Op) and expr.op in ("select", "if_then_else"):
        return _select(expr, ctx)
    if isinstance(expr, Reduce):
        inner = ctx
        for axis in expr.axes:
            inner = inner.bind(axis.var, axis.extent)
        sources = tuple(simplify(s, inner) for s in expr.sources)
        return Reduce(expr.reducer, sources, expr.axes, expr.index)
    return _rebuilt(expr, ctx)


def _rebuilt(expr: Expr, ctx: Context) -> Expr:
    out = walk.map_operands(expr, lambda e: simplify(e, ctx))
    if isinstance(out, Let) and isinstance(out.value, Const | Var):
        return simplify(walk.substitute(out.body, {out.var: out.value}), ctx)
    return out


# ---------------------------------------------------------------------------------------------- index arithmetic
def normal(expr: Expr, ctx: Context) -> Poly:
    """The polynomial of a scalar index expression, its atoms simplified."""
    if isinstance(expr, Const):
        return P.constant(int(expr.value))
    if isinstance(expr, Var):
        low, high = interval_of(expr, ctx)
        return P.constant(int(low)) if low == high else {(expr,): 1}
    if not isinstance(expr, Op):
        return {(_rebuilt(expr, ctx),): 1}
    memo = ctx.cache("normal") if ctx is not EMPTY else expr.memo
    key = expr if ctx is not EMPTY else "normal"
    found = memo.get(key)
    if found is None:
        near = ctx.about(free_vars(expr))
        found = _normal_op(expr, ctx) if near is ctx else normal(expr, near)
        memo[key] = ITSELF if found == {(expr,): 1} else found
    return {(expr,): 1} if found is ITSELF else found


def _normal_op(expr: Op, ctx: Context) -> Poly:
    if expr.op in ("add", "sub", "mul"):
        return P.arithmetic(expr.op, normal(expr.args[0], ctx), normal(expr.args[1], ctx))
    if expr.op == "neg":
        return P.scale(normal(expr.args[0], ctx), -1)
    if expr.op in ("floordiv", "mod"):
        x, d = (division.recombined(normal(a, ctx), ctx) for a in expr.args)
        return (division.floordiv if expr.op == "floordiv" else division.mod)(x, d, ctx)
    if expr.op in ("min", "max"):
        return _extremum(expr, ctx)
    if expr.op == "abs":
        x = normal(expr.args[0], ctx)
        if nonneg(x, ctx):
            return x
        return P.scale(x, -1) if nonneg(P.scale(x, -1), ctx) else P.poly(ops.make("abs", P.to_expr(x)))
    if expr.op in ("select", "if_then_else"):
        return P.poly(_select(expr, ctx))
    return P.poly(_rebuilt(expr, ctx))


def _extremum(expr: Op, ctx: Context) -> Poly:
    """min(a, b) = a if a <= b; nested ones are flattened, and what is provably not needed goes."""
    kept: list[Poly] = []
    for x in _flattened(expr, expr.op, ctx):
        if any(_beats(y, x, expr.op, ctx) for y in kept):
            continue
        kept = [y for y in kept if not _beats(x, y, expr.op, ctx)] + [x]
    out = P.to_expr(kept[0])
    for x in kept[1:]:
        out = ops.make(expr.op, out, P.to_expr(x))
    return P.poly(out)


def _flattened(expr: Expr, op: str, ctx: Context) -> list[Poly]:
    if isinstance(expr, Op) and expr.op == op:
        return [x for a in expr.args for x in _flattened(a, op, ctx)]
    x = division.recombined(normal(expr, ctx), ctx)
    if len(x) == 1:  # an atom that became a min itself
        (m, c) = next(iter(x.items()))
        if c == 1 and len(m) == 1 and isinstance(m[0], Op) and m[0].op == op and m[0] is not expr:
            return [P.poly(a) for a in m[0].args]
    return [x]


def _beats(x: Poly, y: Poly, op: str, ctx: Context) -> bool:
    return nonneg(P.sub(y, x) if op == "min" else P.sub(x, y), ctx)


def _select(expr: Op, ctx: Context) -> Expr:
    cond = simplify(expr.args[0], ctx)
    if isinstance(cond, Const):
        return simplify(expr.args[1 if cond.value else 2], ctx)
    if cond.lanes > 1:
        return ops.make(expr.op, cond, *(simplify(a, ctx) for a in expr.args[1:]))
    then = simplify(expr.args[1], ctx.assume(cond))
    orelse = simplify(expr.args[2], ctx.assume(ops.make("not", cond)))
    return then if then is orelse else ops.make(expr.op, cond, then, orelse)


# --------------------------------------------------------------------------------------------------- conditions
def _comparison(expr: Op, ctx: Context) -> Expr:
    if not P.is_scalar_index(expr.args[0]) or not P.is_scalar_index(expr.args[1]):
        return _rebuilt(expr, ctx)
    p = _compared(expr, ctx)
    if expr.op in DIFFERENCES:
        out = at_least_zero(p, ctx)
    else:
        out = _equal(p, ctx)
        if expr.op == "ne":
            out = Const(not out.value, "bool") if isinstance(out, Const) else ops.make("ne", *_sides(out))
    if out in ctx.truths:
        return TRUE
    if isinstance(out, Op) and ops.make(NEGATION[out.op], *out.args) in ctx.truths:
        return FALSE
    return out


def surely(cond: Expr, ctx: Context) -> bool:
    """Whether `cond` becomes true; that it may be false is not looked into."""
    if isinstance(cond, Op) and cond.op == "and":
        return surely(cond.args[0], ctx) and surely(cond.args[1], ctx)
    if isinstance(cond, Op) and cond.op in SURE and P.is_scalar_index(cond.args[0]):
        p = _compared(cond, ctx)
        return cond in ctx.truths or (nonneg(p, ctx) and (cond.op != "eq" or nonneg(P.scale(p, -1), ctx)))
    return simplify(cond, ctx) is TRUE


def _compared(expr: Op, ctx: Context) -> Poly:
    """What is >= 0, for eq and ne = 0, if and only if the comparison holds."""
    a, b = (division.recombined(normal(x, ctx), ctx) for x in expr.args)
    p = difference(expr.op, a, b) if expr.op in DIFFERENCES else P.sub(a, b)
    return division.recombined(p, ctx)


def difference(op: str, a: Poly, b: Poly) -> Poly:
    """What is >= 0 if and only if `a op b`, for lt, le, gt and ge."""
    return P.as_poly(DIFFERENCES[op](P.Sum(a), P.Sum(b)))


def _sides(expr: Expr) -> tuple[Expr, ...]:
    assert isinstance(expr, Op)
    return expr.args


def at_least_zero(p: Poly, ctx: Context) -> Expr:
    """p >= 0: decided, or as a comparison without common factors and with all signs positive."""
    if nonneg(p, ctx):
        return TRUE
    if nonneg(P.sub(P.scale(p, -1), P.constant(1)), ctx):
        return FALSE
    rest = {m: c for m, c in p.items() if m}
    g = math.gcd(*rest.values())
    p = reduced({m: c // g for m, c in rest.items()}, p.get((), 0), g)
    c = p.get((), 0)
    u, v = {m: -k for m, k in p.items() if m and k < 0}, {m: k for m, k in p.items() if m and k > 0}
    form = next(form for form in FORMS if form.when(not u, not v, c))
    sides = (side(P.Sum(u), P.Sum(v), P.Sum(P.constant(c))) for side in (form.left, form.right))
    return ops.make(form.op, *(P.to_expr(side.poly) for side in sides))


def _equal(p: Poly, ctx: Context) -> Expr:
    """p == 0: decided, or as an equality without common factors."""
    if not p:
        return TRUE
    one = P.constant(1)
    if nonneg(P.sub(p, one), ctx) or nonneg(P.sub(P.scale(p, -1), one), ctx):
        return FALSE
    if nonneg(p, ctx) and nonneg(P.scale(p, -1), ctx):
        return TRUE
    g = math.gcd(*(c for m, c in p.items() if m))
    if p.get((), 0) % g or _incongruent(p):
        return FALSE
    p = {m: c // g for m, c in p.items()}
    if all(c < 0 for m, c in p.items() if m):
        p = P.scale(p, -1)
    left = {m: c for m, c in p.items() if m and c > 0}
    return ops.make("eq", P.to_expr(left), P.to_expr(P.sub(left, p)))


def _incongruent(p: Poly) -> bool:
    """Whether p cannot be zero modulo n, for an n of which p holds remainders: there, x % n is x.

    (k + 2) % 3 - k % 3, for example, is 2 modulo 3.
    """
    remainders = [m[0] for m in p if len(m) == 1 and isinstance(m[0], Op) and m[0].op == "mod"]
    for n in {x.args[1].value for x in remainders if isinstance(x.args[1], Const)}:
        q = p
        for x in remainders:
            if x.args[1] is const(int(n)):
                q = P.add(q, P.scale(P.sub(P.poly(x.args[0]), P.poly(x)), p[(x,)]))
        if q.get((), 0) % n and all(c % n == 0 for m, c in q.items() if m):
            return True
    return False


def _and(expr: Op, ctx: Context) -> Expr:
    """a and b: each once, none that another one implies, false with its own negation."""
    kept: list[Expr] = []
    for cond in _terms(expr, "and", ctx):
        if any(_implies(k, cond, ctx) for k in kept):
            continue
        if any(_implies(k, negation(cond), ctx) for k in kept) or cond is FALSE:
            return FALSE
        kept = [k for k in kept if not _implies(cond, k, ctx)] + [cond]
    return ops.all_of(kept)


def _or(expr: Op, ctx: Context) -> Expr:
    """a or b = not (not a and not b)."""
    kept: list[Expr] = []
    for cond in _terms(expr, "or", ctx):
        if any(_implies(cond, k, ctx) for k in kept):
            continue
        if any(_implies(negation(k), cond, ctx) for k in kept) or cond is TRUE:
            return TRUE
        kept = [k for k in kept if not _implies(k, cond, ctx)] + [cond]
    out: Expr = FALSE
    for cond in kept:
        out = ops.make("or", out, cond)
    return out


def _terms(expr: Expr, op: str, ctx: Context) -> list[Expr]:
    if isinstance(expr, Op) and expr.op == op:
        return [t for a in expr.args for t in _terms(a, op, ctx)]
    out = simplify(expr, ctx)
    if isinstance(out, Op) and out.op == op:
        return [t for a in out.args for t in _terms(a, op, ctx)]
    return [out]


def _implies(a: Expr, b: Expr, ctx: Context) -> bool:
    """True only if b holds whenever a does: the same condition, or an inequality with room to spare."""
    if a is b or b is TRUE or a is FALSE:
        return True
    p, q = as_inequality(a), as_inequality(b)
    return p is not None and q is not None and _related(p, q) and nonneg(P.sub(q, p), ctx)


def _related(p: Poly, q: Poly) -> bool:
    """Whether a loop is in both in like ways, or loops are not in both, so that one may tell of the other."""
    a, b = ({x for x in P.atoms(each) if not isinstance(x, Knob | Size)} for each in (p, q))
    if not a or not b or not a.isdisjoint(b):
        return True
    return not P.variables(p).isdisjoint(b) or not P.variables(q).isdisjoint(a)


def as_inequality(cond: Expr) -> Poly | None:
    """p with `cond` = (p >= 0), for lt, le, gt and ge of index expressions; else None."""
    if not (isinstance(cond, Op) and cond.op in DIFFERENCES and P.is_scalar_index(cond.args[0])):
        return None
    return difference(cond.op, *map(P.poly, cond.args))


def negation(cond: Expr) -> Expr:
    """not cond, with comparisons of index expressions turned round and `and`, `or` exchanged."""
    if isinstance(cond, Op):
        if cond.op == "not":
            return cond.args[0]
        if cond.op in NEGATION and cond.args[0].dtype == "index":
            return ops.make(NEGATION[cond.op], *cond.args)
        if cond.op in ("and", "or"):
            return ops.make("or" if cond.op == "and" else "and", *map(negation, cond.args))
    return ops.make("not", cond)


def _not(expr: Op, ctx: Context) -> Expr:
    inner = simplify(expr.args[0], ctx)
    out = negation(inner)
    if isinstance(out, Op) and out.op == "not":
        return FALSE if inner in ctx.truths else TRUE if out in ctx.truths else out
    return simplify(out, ctx)


LOGIC: dict[str, Callable[[Op, Context], Expr]] = {
    **dict.fromkeys(NEGATION, _comparison),
    "and": _and,
    "or": _or,
    "not": _not,
}
