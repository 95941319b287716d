"""What is known about variables: ranges, inequalities, divisibility, and conditions that hold."""

from __future__ import annotations

from collections.abc import Set
from functools import lru_cache
from typing import Any

from tensorlang.arith import poly as P
from tensorlang.arith.poly import Poly
from tensorlang.arith.rules import DIFFERENCES
from tensorlang.ir.nodes import Const, Expr, Knob, Op, Size, Var, const
from tensorlang.ir.walk import free_vars

NEGATION = {"lt": "ge", "le": "gt", "gt": "le", "ge": "lt", "eq": "ne", "ne": "eq"}
CONTEXTS_KEPT = 512
MOST_REMEMBERED = 20_000  # results, for each analysis in each context


class Context:
    """Facts under which expressions are simplified and conditions proved. Immutable: each method returns another one.

    A proof in a context holds for all values of all variables that fulfil its facts. Without any fact, a `Size` is
    >= 0, a `Knob` one of its choices, and every divisor positive (nodes.py). Example::

        ctx = Context().bind(i0, n // 32).bind(i1, const(32))
        proves(i0 * 32 + i1 < n, ctx)
    """

    __slots__ = ("__weakref__", "bound", "facts", "memo", "mentioned", "multiples", "outer", "truths")
    bound: dict[Var, tuple[Poly | None, Poly | None]]  # inclusive ranges, in the order of binding
    facts: tuple[Poly, ...]  # each is >= 0
    multiples: dict[Expr, Poly]  # atom -> a poly that divides it
    truths: frozenset[Expr]  # other conditions that hold
    mentioned: frozenset[Var]  # the variables in all of these
    outer: tuple[Var, Context] | None  # the variable bound last, and what was known before, if its range says no more
    memo: dict[Any, Any]  # what was found out in this context

    def __new__(cls) -> Context:
        return EMPTY

    def _with(self, **changes: Any) -> Context:
        out = object.__new__(Context)
        out.memo, out.outer = {}, None
        for field in ("bound", "facts", "multiples", "truths", "mentioned"):
            setattr(out, field, changes.get(field, getattr(self, field)))
        return out

    def cache(self, name: str) -> dict[Any, Any]:
        """What the analysis `name` remembers in this context; it forgets all when it has grown large."""
        try:
            found = self.memo[name]
        except KeyError:
            found = self.memo[name] = {}
        if len(found) > MOST_REMEMBERED:
            found = self.memo[name] = {}
        return found

    def about(self, variables: Set[Var]) -> Context:
        """The same without the ranges bound last that say nothing about `variables`.

        What is found out there about them serves in all loops inside.
        """
        ctx = self
        while ctx.outer is not None and ctx.outer[0] not in variables:
            ctx = ctx.outer[1]
        return ctx

    def bind(self, var: Var, extent: Expr | int) -> Context:
        """0 <= var < extent: inside a loop over `var`, where the extent is therefore at least 1."""
        return _bind(self, var, const(extent) if isinstance(extent, int) else extent)

    def bind_range(self, var: Var, lo: Expr | int | None, hi: Expr | int | None) -> Context:
        """lo <= var <= hi, both inclusive; None for an end that is open."""
        low, high = (const(e) if isinstance(e, int) else e for e in (lo, hi))
        return _bind_range(self, var, low, high)

    def _range(self, var: Var, lo: Poly | None, hi: Poly | None) -> Context:
        from tensorlang.arith.inequality import interval  # which works in contexts

        bound = {v: r for v, r in self.bound.items() if v is not var}
        bound[var] = (lo, hi)
        facts, says_more = self.facts, var in self.mentioned
        if lo is not None and hi is not None:
            room = P.sub(hi, lo)
            facts = self._plus(room)
            says_more = says_more or interval(room, self)[0] < 0
        mentioned = self.mentioned.union((var,), *(P.variables(end) for end in (lo, hi) if end))
        out = self._with(bound=bound, facts=facts, mentioned=mentioned)
        out.outer = None if says_more else (var, self)
        return out

    def assume(self, cond: Expr) -> Context:
        """`cond` holds: conjunctions are split, comparisons become inequalities, `x % d == 0` a divisibility."""
        return _assume(self, cond)

    def _assume(self, cond: Expr) -> Context:
        if isinstance(cond, Const):
            return self
        out = self._with(truths=self.truths | {cond}, mentioned=self.mentioned | free_vars(cond))
        if not isinstance(cond, Op):
            return out
        if cond.op == "and":
            return out._assume(cond.args[0])._assume(cond.args[1])
        if cond.op in NEGATION and P.is_scalar_index(cond.args[0]):
            return out._compare(cond.op, *cond.args)
        return out

    def _compare(self, op: str, x: Expr, y: Expr) -> Context:
        a, b = P.poly(x), P.poly(y)
        if op == "ne":
            return self
        if op == "eq":
            out = self._with(facts=self._plus(P.sub(a, b), P.sub(b, a)))
            return out._divisible(x, b) if not b else out._divisible(y, a) if not a else out
        return self._with(facts=self._plus(P.as_poly(DIFFERENCES[op](P.Sum(a), P.Sum(b)))))

    def _divisible(self, remainder: Expr, zero: Poly) -> Context:
        """remainder == 0; if it is `atom % d`, then d divides that atom."""
        if not (isinstance(remainder, Op) and remainder.op == "mod"):
            return self
        whole, d = remainder.args
        terms = P.poly(whole)
        if len(terms) == 1:
            (m, c) = next(iter(terms.items()))
            if len(m) == 1 and abs(c) == 1:
                return self._with(multiples={**self.multiples, m[0]: P.poly(d)})
        return self

    def _plus(self, *facts: Poly) -> tuple[Poly, ...]:
        out = self.facts
        for fact in facts:
            for f in (fact, *_factors_positive(fact)):
                if P.value_of(f) is None and all(f != g for g in out):
                    out = (*out, f)
        return out


# The same steps lead to the same context, so that what was found out in it serves again.
@lru_cache(maxsize=CONTEXTS_KEPT)
def _bind(ctx: Context, var: Var, extent: Expr) -> Context:
    return ctx._range(var, {}, P.sub(_poly(ctx, extent), P.constant(1)))


@lru_cache(maxsize=CONTEXTS_KEPT)
def _bind_range(ctx: Context, var: Var, lo: Expr | None, hi: Expr | None) -> Context:
    return ctx._range(var, *(None if e is None else _poly(ctx, e) for e in (lo, hi)))


@lru_cache(maxsize=CONTEXTS_KEPT)
def _assume(ctx: Context, cond: Expr) -> Context:
    from tensorlang.arith.simplify import simplify  # which works in contexts

    return ctx._assume(simplify(cond, ctx))


def _poly(ctx: Context, expr: Expr) -> Poly:
    from tensorlang.arith.simplify import simplify  # which works in contexts

    return P.poly(simplify(expr, ctx))


def _factors_positive(fact: Poly) -> list[Poly]:
    """n*m >= 1 for sizes and knobs says that n >= 1 and m >= 1."""
    terms = [m for m in fact if m]
    if len(terms) != 1 or len(terms[0]) < 2 or fact[terms[0]] < 0 or fact.get((), 0) >= 0:
        return []
    if not all(isinstance(x, Size | Knob) for x in terms[0]):
        return []
    return [{(x,): 1, (): -1} for x in dict.fromkeys(terms[0])]


EMPTY = object.__new__(Context)
EMPTY.bound, EMPTY.facts, EMPTY.multiples, EMPTY.truths = {}, (), {}, frozenset()
EMPTY.mentioned, EMPTY.outer, EMPTY.memo = frozenset(), None, {}
