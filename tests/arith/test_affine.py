"""Affine forms; injectivity against enumeration."""

from __future__ import annotations

import itertools
import random

import pytest

from tensorlang.arith.affine import injective, linear
from tensorlang.arith.context import Context
from tensorlang.arith.simplify import simplify
from tensorlang.ir.nodes import Expr, Knob, Size, Var, const
from tests.arith.index_fuzz import evaluate

n, m, k = Size("n"), Size("m"), Size("k")
T, U = Knob("T", (4, 8, 16)), Knob("U", (2, 3))
i, j, h, f = Var("i"), Var("j"), Var("h"), Var("f")


def test_linear() -> None:
    coefficients, rest = linear(i * T + j * 3 - 2 * (i + n) + 5, [i, j, h])
    assert set(coefficients) == {i, j}
    assert coefficients[i] is simplify(T - 2)
    assert coefficients[j] is const(3)
    assert rest is simplify(5 - n * 2)


@pytest.mark.parametrize("expr", [i * j, i * i, i // 2, (i + j) % 3 + i])
def test_not_linear(expr: Expr) -> None:
    assert linear(expr, [i, j]) is None


def test_linear_in_some() -> None:
    coefficients, rest = linear(i * j + i // 2, [j])
    assert coefficients[j] is i
    assert rest is i // 2


def test_digits_that_simplification_has_joined() -> None:
    """f // 2 * 32 + f % 2 * 24 is f * 16 + f % 2 * 8: still two digits, if what is below them is less than 8 or 24."""
    joined = simplify(f // 2 * 32 + f % 2 * 24)
    assert injective([joined + i], [(f, 8), (i, 8)])
    assert not injective([joined + i], [(f, 8), (i, 9)])  # 24 + 8 is 32
    assert injective([joined + i], [(f, 8), (i, 24)], Context().bind(f, 8).bind(i, 24).assume(f % 2 * 24 + i < 32))


def test_variables_that_facts_fix() -> None:
    ctx = Context().bind(i, 8).bind(j, 3).bind(h, 4)
    loops = [(i, 8), (j, 3), (h, 4)]
    assert injective([i], loops, ctx.assume(j * 4 + h < 1))
    assert not injective([i], loops, ctx.assume(j * 4 + h < 2))


INJECTIVE = [
    ([i * T + j], [(i, n), (j, T)]),
    ([(i * T + j) * U + h], [(i, n), (j, T), (h, U)]),
    ([j * n + i], [(i, n), (j, T)]),
    ([n - i - 1, j], [(i, n), (j, m)]),
    ([i + j, j], [(i, n), (j, m)]),
    ([f // m, f % m], [(f, n * m)]),
    ([f // (m * k), f // k % m, f % k], [(f, n * m * k)]),
    ([f % m, f // m], [(f, n * m)]),
    ([(f // 16 * n + i) * 16 + f % 16], [(f, m), (i, n)]),
    ([f // 16, i, f % 16], [(f, m), (i, n)]),
    ([f // m * T + j, f % m], [(f, n * m), (j, T)]),
    ([i], [(i, n), (j, const(1))]),
    ([i * 5 + j], [(i, n), (j, const(3))]),
    ([h, i * T + j], [(i, n), (j, T), (h, i + 1)]),
    ([i * 4 + f // 6], [(i, n), (f, const(24))], Context(), [i]),
]
NOT_INJECTIVE = [
    ([i * 4 + j], [(i, n), (j, const(5))]),
    ([i * T + j], [(i, n), (j, T + 1)]),
    ([f // m], [(f, n * m)]),
    ([i + j], [(i, n), (j, m)]),
    ([i], [(i, n), (j, m)]),
    ([i * n], [(i, m), (j, const(2))]),
    ([f // 16, f % 8], [(f, n)]),
    ([i * 4 + f // 6], [(i, n), (f, const(25))], Context(), [i]),
]


@pytest.mark.parametrize("case", range(len(INJECTIVE)))
def test_injective(case: int) -> None:
    assert injective(*INJECTIVE[case])


@pytest.mark.parametrize("case", range(len(NOT_INJECTIVE)))
def test_not_injective(case: int) -> None:
    assert not injective(*NOT_INJECTIVE[case])


def test_outer_variables_are_fixed() -> None:
    assert injective([h * T + i], [(i, n)])
    assert injective([i * h], [(i, n)], Context().bind_range(h, 1, None))
    assert not injective([i * h], [(i, n)], Context().bind_range(h, 0, None))


@pytest.mark.parametrize("seed", range(60))
def test_against_enumeration(seed: int) -> None:
    rng = random.Random(seed)
    proved = 0
    for _ in range(10):
        loops = [(v, const(rng.choice([1, 2, 3, 4, 6]))) for v in (i, j, f)]
        terms = [i, j, f, f // 2, f % 2, f // 3, f % 3, (i + f) // 2, i * 2 + j, f // 2 % 2, -j]
        exprs = []
        for _ in range(rng.randint(1, 3)):
            expr: Expr = const(rng.randint(-3, 3))
            for _ in range(rng.randint(1, 3)):
                expr = expr + rng.choice(terms) * rng.choice([1, 1, 2, 3, 4, 6, 8, 12, 24, -1, -4])
            exprs.append(expr)
        for count in (1, 3):
            if not injective(exprs, loops, of=(i, j, f)[:count]):
                continue
            proved += 1
            points = list(itertools.product(*(range(e.value) for _, e in loops)))
            values = [tuple(evaluate(e, dict(zip((i, j, f), p, strict=True))) for e in exprs) for p in points]
            wanted = {(p[:count], value) for p, value in zip(points, values, strict=True)}
            assert len(set(values)) == len(wanted), (exprs, loops, count)
