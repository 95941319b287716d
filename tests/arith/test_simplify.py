"""Simplification keeps values, and reaches the forms that the rest of the house counts on."""

from __future__ import annotations

import random

import pytest

from tensorlang.arith.context import Context
from tensorlang.arith.simplify import simplify
from tensorlang.ir import ops
from tensorlang.ir.nodes import TRUE, Buffer, Expr, Knob, Load, Size, Splat, Var, const
from tests.arith.index_fuzz import Undefined, World, evaluate


@pytest.mark.parametrize("seed", range(60))
def test_values_are_kept(seed: int) -> None:
    world = World(random.Random(seed))
    points = world.sample(40)
    for n in range(12):
        expr = world.index(3) if n % 2 else world.condition(3)
        fresh, bare = simplify(expr, world.ctx), simplify(expr)
        for at in points:
            try:
                expected = evaluate(expr, at)
            except Undefined:
                continue
            got = evaluate(fresh, at), evaluate(bare, at)
            assert got == (expected, expected), ([str(f) for f in world.facts], expr, fresh, bare, at, expected)


n, m = Size("n"), Size("m")
T, U = Knob("T", (4, 8, 16)), Knob("U", (2, 3))
i, j, f = Var("i"), Var("j"), Var("f")
TILED = Context().bind(i, n).bind(j, T).bind(f, n * m)
EIGHT = Context().bind(i, n).bind(j, 8)

FORMS = [
    (Context(), (i + j) * 2 - i - j, i + j),
    (Context(), 3 - (i - (j + 3)), 6 + j - i),
    (Context(), (i + T) * (i - T), i * i - T * T),
    (Context(), (i * 4 + 37) // 32, (i + 1) // 8 + 1),
    (Context(), (i - 1) // 32, (i + 31) // 32 - 1),
    (Context(), (n * 32 + 31) // 32, n),
    (Context(), (n * T + T - 1) // T, n),
    (Context(), (n + T - 1) // T, (n + T - 1) // T),
    (Context(), ((n + 31) // 32 + 3) // 4, (n + 127) // 128),
    (Context(), ((n + T - 1) // T + U - 1) // U, (n + T * U - 1) // (T * U)),
    (Context(), n // T // U, n // (T * U)),
    (Context(), (const(15) // T + 1) * (const(9) // U + 1), (T + 15) // T * ((U + 9) // U)),
    (Context(), n * T * U // (T * 2), n * U // 2),
    (Context(), i // 4 * 4 + i % 4, i),
    (Context(), i - i // T * T, i % T),
    (Context(), (i * T + j) % T, j % T),
    (Context(), i % (T * 4) % T, i % T),
    (Context(), i % 32 // 4, i // 4 % 8),
    (Context(), (i + 35) % 32, (i + 3) % 32),
    (Context(), i * 33 % 32, i % 32),
    (TILED, (i * T + j) // T, i),
    (TILED, (i * T + j) % T, j),
    (TILED, ((i * T + j) * U + 1) // (T * U), i),
    (TILED, (i * T * U + j) // T, i * U),
    (TILED, (i * 4 * T + j) // (T * 2), i * 2),
    (TILED, f // m * m + f % m, f),
    (TILED, (i * T + j) // (T * 2), i // 2),
    (Context().bind(j, n + 1), (i * (n + 1) + j) // (n + 1), i),
    (Context().bind(j, n + 1), (i * (n + 1) + j) % (n + 1), j),
    (EIGHT, (i * 8 + j) // 16, i // 2),
    (EIGHT, (i * 8 + j) % 16, i % 2 * 8 + j),
    (EIGHT, (i * 8 + j) // 8 % 4, i % 4),
    (EIGHT, j // 8 + j % 8, j),
    (EIGHT, ops.make("min", j, 7) + ops.make("max", j, i - n), j * 2),
    (EIGHT, ops.make("min", ops.make("min", i, n), j + 3), ops.make("min", i, j + 3)),
    (EIGHT, ops.make("min", i * 8 + 7, n - 1) - i * 8 + 1, ops.make("min", const(8), n - i * 8)),
    (EIGHT, ops.make("select", j < 8, i, j), i),
    (EIGHT, ops.make("select", i < 5, ops.make("min", i, 5), i), i),
    (EIGHT, abs(j) + abs(j - 9), const(9)),
    (Context().bind(i, 1), i * T + j, j),
    (Context().assume(ops.make("eq", n, 128)), n // 32, const(4)),
    (Context().assume(ops.make("eq", n % T, 0)), n // T * T, n),
    (Context().assume(i * 2 < 7), i < 4, TRUE),
    (Context(), (i < 4) & (i < 7) & (i * 2 < 7), i < 4),
    (Context(), (i < 4) | (i < 7), i < 7),
    (Context(), ~((i < 4) & (j >= 2)), (i >= 4) | (j < 2)),
    (Context(), (i >= 4) & (i < 4), ~TRUE),
    (Context(), i + 3 < j + 3, i < j),
]


@pytest.mark.parametrize("case", range(len(FORMS)))
def test_form(case: int) -> None:
    ctx, expr, expected = FORMS[case]
    assert simplify(expr, ctx) is simplify(expected), (simplify(expr, ctx), expected)


def test_inside_data() -> None:
    data = Buffer("A", (n, m), "float32")
    value = Load(data, ((i * 8 + j) // 8, j % 8)) * 2.0 + 0.0
    assert simplify(value, EIGHT) is Load(data, (i, j)) * 2.0 + 0.0


def test_integers_that_wrap_are_left_alone() -> None:
    x = Var("x", "int32")
    expr: Expr = (x + 1 < x) | (x * 2 // 2 > x)
    assert simplify(expr) is expr


def test_vectors_keep_their_lanes() -> None:
    assert simplify(Splat(i + j - i, 4)) is Splat(j, 4)


def test_the_same_steps_lead_to_the_same_context() -> None:
    assert Context().bind(i, n).assume(i < m) is Context().bind(i, n).assume(i < m)
    assert Context().bind(i, 5).bind(j, i) is not Context().bind(i, 5).bind(j, i + 1)
