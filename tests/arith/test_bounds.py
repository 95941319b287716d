"""Bounds hold everything, and are as tight as loops over tiles need them."""

from __future__ import annotations

import random

import pytest

from tensorlang.arith.bounds import bounds, const_bounds
from tensorlang.arith.context import Context
from tensorlang.arith.inequality import interval_of
from tensorlang.arith.simplify import simplify
from tensorlang.ir import ops
from tensorlang.ir.nodes import Expr, Knob, Size, Var, const
from tensorlang.ir.walk import free_vars
from tests.arith.index_fuzz import Undefined, World, evaluate

n, m = Size("n"), Size("m")
T = Knob("T", (4, 8, 16))
i0, i1, r = Var("i0"), Var("i1"), Var("r")
TILED = Context().bind(i0, n).bind(i1, T).bind(r, 3)


@pytest.mark.parametrize("seed", range(40))
def test_bounds_contain_all_values(seed: int) -> None:
    world = World(random.Random(2000 + seed))
    points = world.sample(50)
    inner = world.rng.choice([[world.i2], [world.i1, world.i2], [world.i0, world.i1, world.i2, world.free]])
    for n in range(8):
        expr = world.index(1 + n % 3)
        low, high = bounds(expr, world.ctx, inner, clip=bool(n % 2))
        least, greatest = const_bounds(expr, world.ctx)
        for end in (low, high):
            assert end is None or not free_vars(end) & set(inner)
        for at in points:
            try:
                value = evaluate(expr, at)
                ends = [None if e is None else evaluate(e, at) for e in (low, high)]
            except Undefined:
                continue
            assert least <= value <= greatest, (expr, least, greatest, at)
            assert ends[0] is None or ends[0] <= value, (expr, low, at)
            assert ends[1] is None or value <= ends[1], (expr, high, at)


EXACT = [
    (i0 * T + i1, [i1, r], i0 * T, i0 * T + T - 1),
    (i0 * T + i1 * 2 + r, [i1, r], i0 * T, i0 * T + T * 2),
    (i0 * T - i1 + r, [i1, r], i0 * T - T + 1, i0 * T + 2),
    (i1 * n + r, [i1, r], const(0), (T - 1) * n + 2),
    ((i0 * T + i1) // T, [i1, r], i0, i0),
    ((i0 * T + i1) % T, [i1, r], const(0), T - 1),
    ((i0 * 16 + r) // 16, [r], i0, i0),
    ((i0 * 16 + r * 8) // 16, [r], i0, i0 + 1),
    ((i0 * 16 + r + 5) % 16, [r], const(5), const(7)),
    (ops.make("min", i0 * T + i1, n), [i1], ops.make("min", i0 * T, n), ops.make("min", i0 * T + T - 1, n)),
    (ops.make("max", i1, r), [i1, r], const(0), ops.make("max", T - 1, const(2))),
    (i0 * T + i1 + r - i0 * T, [i0, i1, r], const(0), T + 1),
]


@pytest.mark.parametrize("case", range(len(EXACT)))
def test_exact(case: int) -> None:
    expr, over, low, high = EXACT[case]
    assert bounds(expr, TILED, over) == (simplify(low, TILED), simplify(high, TILED))


def ends(expr: Expr, ctx: Context, over: list[Var], clip: bool = False) -> tuple[Expr | None, Expr | None]:
    return bounds(expr, ctx, over, clip)


def test_guards_count_where_they_are_tighter() -> None:
    ctx = Context().bind(i0, 32).bind(i1, 32).assume(i0 * 32 + i1 < 1000)
    assert const_bounds(i0 * 32 + i1, ctx) == (0, 999)
    assert ends(i0 * 32 + i1, ctx, [i0, i1])[1] is const(999)
    assert ends(i0 * 32 + i1, ctx, [i1])[1] is simplify(i0 * 32 + 31)
    assert ends(i0 * 32 + i1, ctx, [i1], clip=True)[1] is simplify(ops.make("min", i0 * 32 + 31, 999), ctx)


def test_data_is_unbounded() -> None:
    x = Var("x")
    assert bounds(x + i0, TILED.bind_range(x, None, None), [x]) == (None, None)


def test_span_of_a_moving_window() -> None:
    """Rows of 16 that a tile of T elements touches, wherever the tile begins."""
    span = (i0 * T + T - 1) // 16 - i0 * T // 16 + 1
    assert const_bounds(span, Context().bind(i0, n)) == (1, 2)


def test_quotients_of_divisors_without_bound() -> None:
    assert interval_of((i0 + 2) // (n + 5), Context().bind(i0, 8)) == (0, 1)
    assert interval_of((i0 - 8) // (n + 5), Context().bind(i0, 8)) == (-2, -1)
    assert interval_of((n * 2 + i0) // n, Context().bind(i0, 8)) == (2, 9)


def test_remainders_of_what_has_no_bound() -> None:
    v = Var("v")
    assert bounds(v % 4, Context(), [v]) == (const(0), const(3))
    assert bounds((v + i0) % 4, Context().bind(i0, 3), [v, i0]) == (const(0), const(3))
