"""Every rule of the simplifier is proved by z3, and what it is applied to is what it speaks of."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from typing import Any

import pytest
import z3

from tensorlang.arith import division
from tensorlang.arith import poly as P
from tensorlang.arith.bounds import const_bounds
from tensorlang.arith.context import NEGATION, Context
from tensorlang.arith.inequality import interval
from tensorlang.arith.rules import (
    DIFFERENCES,
    ELIMINATE,
    ELIMINATE_MULTIPLE,
    FORMS,
    KNOWN,
    REDUCED,
    Enough,
    Form,
    Rule,
    always,
)
from tensorlang.arith.samples import points
from tensorlang.arith.simplify import simplify
from tensorlang.ir import ops, walk
from tensorlang.ir.nodes import Const, Expr, Op, Var, const
from tests.arith.index_fuzz import World, evaluate
from tests.arith.proofs import Int, counterexample, letters_of

RECOMBINE = [(op, rule) for op, rules in division.RECOMBINE.items() for rule in rules]
RULES = [("floordiv", r) for r in division.FLOORDIV] + [("mod", r) for r in division.MOD] + RECOMBINE


def name_of(value: Any) -> str:
    return value.find.__name__ if isinstance(value, Rule) else str(value)


# ------------------------------------------------------------------------------------------------------- proofs
def rule(rules: tuple[Rule, ...], find: Callable[..., Any]) -> Rule:
    return next(r for r in rules if r.find is find)


def instance(of: Rule, *values: Int) -> Any:
    """A rule for these values, which is a fact once the rule is proved."""
    return of.left(*values) == of.right(*values)


ZERO = Int(z3.IntVal(0))
WHOLE, NESTED = rule(division.FLOORDIV, division._whole_part), rule(division.FLOORDIV, division._nested)
# Instances of rules above that the solver needs to see to prove a rule.
LEMMAS: dict[Any, Callable[..., list[Any]]] = {
    division._of_mod: lambda y, d, e: [
        instance(WHOLE, ZERO - e * (y // (e * d)), d, y),
        instance(NESTED, y, d, ZERO, e),
    ],
}


@pytest.mark.parametrize(("op", "rule"), RULES, ids=name_of)
def test_rules_are_proved(op: str, rule: Rule) -> None:
    names = letters_of(rule.left)
    assert names == letters_of(rule.right) and (rule.given is always or names == letters_of(rule.given))
    lemmas = LEMMAS.get(rule.find, lambda *v: [])
    found = counterexample(lambda *v: rule.left(*v) == rule.right(*v), lambda *v: (*rule.given(*v), *lemmas(*v)), names)
    assert not found


APPLIED: dict[str, Callable[[Int, Int], Int]] = {
    "floordiv": lambda x, y: x // y,
    "mod": lambda x, y: x % y,
    "max": lambda x, y: x.max(y),
    "min": lambda x, y: x.min(y),
}


@pytest.mark.parametrize(("op", "bound"), [(op, b) for op, bounds in KNOWN.items() for b in bounds])
def test_what_is_known_of_operations_is_proved(op: str, bound: Any) -> None:
    def claim(x: Int, y: Int) -> Any:
        whole, end = APPLIED[op](x, y) * bound.times(x, y), bound.end(x, y)
        return whole >= end if bound.sign > 0 else whole <= end

    assert not counterexample(claim, bound.given, letters_of(bound.end))


@pytest.mark.parametrize("rule", [ELIMINATE, ELIMINATE_MULTIPLE])
def test_eliminations_are_proved(rule: Enough) -> None:
    def given(*v: Int) -> tuple[Any, ...]:
        return (*rule.given(*v), rule.enough(*v) >= 0)

    assert not counterexample(lambda *v: rule.goal(*v) >= 0, given, letters_of(rule.goal))


COMPARED: dict[str, Callable[[Int, Int], Any]] = {
    "lt": lambda x, y: x < y,
    "le": lambda x, y: x <= y,
    "gt": lambda x, y: y < x,
    "ge": lambda x, y: x >= y,
    "eq": lambda x, y: x == y,
    "ne": lambda x, y: z3.Not(x == y),
}


@pytest.mark.parametrize("op", DIFFERENCES)
def test_comparisons_as_differences_are_proved(op: str) -> None:
    assert not counterexample(lambda x, y: COMPARED[op](x, y) == (DIFFERENCES[op](x, y) >= 0), always, ["x", "y"])


@pytest.mark.parametrize("op", NEGATION)
def test_negations_are_proved(op: str) -> None:
    claim = lambda x, y: COMPARED[NEGATION[op]](x, y) == z3.Not(COMPARED[op](x, y))  # noqa: E731
    assert not counterexample(claim, always, ["x", "y"])


def test_the_reduction_is_proved() -> None:
    claim = lambda g, q, c: (g * q + c >= 0) == (REDUCED(g, q, c) >= 0)  # noqa: E731
    assert not counterexample(claim, always, ["g", "q", "c"])


@pytest.mark.parametrize("form", FORMS)
def test_forms_of_inequalities_are_proved(form: Form) -> None:
    def claim(u: Int, v: Int, c: Int) -> Any:
        return COMPARED[form.op](form.left(u, v, c), form.right(u, v, c)) == (v - u + c >= 0)

    assert not counterexample(claim, lambda u, v, c: (form.when(u == 0, v == 0, c),), ["u", "v", "c"])


def test_some_form_always_fits() -> None:
    claim = lambda u, v, c: z3.Or(*(form.when(u == 0, v == 0, c) for form in FORMS))  # noqa: E731
    assert not counterexample(claim, always, ["u", "v", "c"])


def test_a_wrong_rule_is_not_proved() -> None:
    assert counterexample(lambda x, d: x // d == (x + 1) // d, always, ["x", "d"])
    assert counterexample(lambda c, x, d: (c * x) // d == c * (x // d), always, ["c", "x", "d"])


# ------------------------------------------------------------------------------------------- rules fit their places
class Plain(P.Sum):
    """Operations that are written down as they stand."""

    def _op(self, op: str, other: Any) -> Plain:
        return Plain(P.poly(ops.make(op, P.to_expr(self.poly), P.to_expr(P.as_poly(other)))))

    def __floordiv__(self, other: Any) -> Plain:
        return self._op("floordiv", other)

    def __mod__(self, other: Any) -> Plain:
        return self._op("mod", other)

    def min(self, other: Any) -> Plain:
        return self._op("min", other)

    def max(self, other: Any) -> Plain:
        return self._op("max", other)


def in_order(expr: Expr) -> Expr:
    """`expr` with the terms of all operands in the order of polynomials."""
    return walk.transform(expr, lambda e: P.to_expr(P.poly(e)) if P.is_scalar_index(e) else e)


@pytest.mark.parametrize("seed", range(12))
def test_rules_are_applied_where_they_fit(seed: int) -> None:
    """What `find` returns makes `left` of what is to be simplified, and `given` holds at all points tried."""
    world = World(random.Random(seed))
    somewhere = points(world.ctx)

    def check(rule: Rule, found: tuple[P.Poly, ...], wanted: P.Poly) -> None:
        left = rule.left(*map(Plain, found))
        assert left.poly == wanted, (rule.find.__name__, left.poly, wanted)
        for point in somewhere:
            values = [point.value(p) for p in found]
            if None not in values:
                assert all(rule.given(*values)), (rule.find.__name__, values)

    used = 0
    for _ in range(150):
        x, d = P.poly(in_order(world.index(2))), P.poly(world.divisor())
        for op, rules in (("floordiv", division.FLOORDIV), ("mod", division.MOD)):
            for rule in rules:
                if (found := rule.find(x, d, world.ctx)) is not None:
                    used += 1
                    check(rule, found, P.poly(ops.make(op, P.to_expr(x), P.to_expr(d))))
        for m in x:
            for y in (y for y in m if isinstance(y, Op)):
                for rule in division.RECOMBINE.get(y.op, ()):
                    if (found := rule.find(x, m, y)) is not None:
                        used += 1
                        check(rule, found, x)
    assert used > 40


# -------------------------------------------------------------------------------- what is code: tried exhaustively
SMALL = range(-3, 4)


@pytest.mark.parametrize("op", ["min", "max", "floordiv", "mod", "abs", "select"])
def test_intervals_hold_all_values(op: str) -> None:
    """For all ranges of the operands within -3 .. 3, the interval and the bounds of the result hold all its values."""
    x, y, flag = Var("x"), Var("y"), Var("flag", "bool")
    operands = {"abs": (x,), "select": (flag, x, y)}.get(op, (x, y))
    expr = ops.make(op, *operands)
    for a, b, c, d in itertools.product(SMALL, repeat=4):
        if a > b or c > d or (op in ("floordiv", "mod") and c < 1):
            continue
        ctx = Context().bind_range(x, a, b).bind_range(y, c, d)
        ends = [interval(P.poly(expr), ctx), const_bounds(expr, ctx)]
        for u, v in itertools.product(range(a, b + 1), range(c, d + 1)):
            values = {u, v} if op == "select" else {ops._PYTHON[op](*(u, v)[: len(operands)])}
            assert all(low <= value <= high for low, high in ends for value in values), (a, b, c, d, ends)


@pytest.mark.parametrize("op", ["add", "sub", "mul", "floordiv", "mod", "min", "max", "eq", "lt", "and", "or"])
def test_constants_fold_to_what_the_operation_is(op: str) -> None:
    """Also where only one operand is a constant: the identities of 0, 1, true and false."""
    kind = "bool" if op in ("and", "or") else "index"
    numbers = (False, True) if kind == "bool" else SMALL
    x, y = Var("x", kind), Var("y", kind)
    for u, v in itertools.product(numbers, repeat=2):
        if op in ("floordiv", "mod") and v < 1:
            continue
        for a, b in itertools.product((x, Const(u, kind)), (y, Const(v, kind))):
            assert evaluate(ops.make(op, a, b), {x: u, y: v}) == ops._PYTHON[op](u, v)
    for u in numbers:
        if op not in ("floordiv", "mod") or u > 0:
            assert evaluate(ops.make(op, x, x), {x: u}) == ops._PYTHON[op](u, u)


@pytest.mark.parametrize("connective", ["and", "or"])
def test_logic_is_kept(connective: str) -> None:
    """All pairs of comparisons of one variable with small numbers, joined, negated and joined again."""
    x = Var("x")
    atoms = [ops.make(op, x, const(n)) for op in NEGATION for n in (-1, 0, 1)]
    for a, b in itertools.product(atoms, repeat=2):
        joined = ops.make(connective, a, b)
        for cond in (joined, ops.make("not", joined), ops.make(connective, joined, ops.make("not", a))):
            out = simplify(cond)
            assert all(evaluate(cond, {x: v}) == evaluate(out, {x: v}) for v in SMALL), (cond, out)
