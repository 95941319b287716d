"""What has to be provable, with numbers and with symbols as factors; and that nothing else is proved."""

from __future__ import annotations

import random

import pytest

from tensorlang.arith.context import Context
from tensorlang.arith.prove import prove, proves
from tensorlang.ir import ops
from tensorlang.ir.nodes import FALSE, TRUE, Buffer, Expr, Knob, Load, Size, Var, const
from tests.arith.index_fuzz import World, holds

n, m, N, K = Size("n"), Size("m"), Size("N"), Size("K")
T, U = Knob("T", (4, 8, 16)), Knob("U", (2, 3))
i0, i1, i2, f = Var("i0"), Var("i1"), Var("i2"), Var("f")
loaded = ops.cast(Load(Buffer("mask", (n,), "bool"), (i0,)), "index")
EMPTY = Context()


def loops(*extents: Expr | int) -> Context:
    ctx = EMPTY
    for var, extent in zip((i0, i1, i2), extents, strict=False):
        ctx = ctx.bind(var, extent)
    return ctx


def divides(d: Expr | int, x: Expr) -> Context:
    return EMPTY.assume(ops.make("eq", x % d, 0))


PROVED = [
    # tiles with integer factors
    (loops(32, 32), i0 * 32 + i1 < 1024),
    (loops(32, 32), (i0 * 32 + i1 >= 0) & (i0 * 32 + i1 <= 1023)),
    (loops((n + 31) // 32, 32), i0 * 32 < n),
    (loops(n // 32, 32), i0 * 32 + i1 < n),
    (loops(n // 32), i0 * 32 + 31 < n),
    (loops(n // 32 * 2, 16), i0 * 16 + i1 < n),
    # the same with symbols
    (loops((n + T - 1) // T, T), i0 * T < n),
    (loops(n // T, T), i0 * T + i1 < n),
    (loops(n // T), i0 * T + T - 1 < n),
    (loops(n // T), i0 * T + T <= n),
    (loops(n // (T * U), T, U), (i0 * T + i1) * U + i2 < n),
    (loops(n // (T * U), T, U), i0 * T * U + i1 * U + i2 < n),
    (loops(n, m), i0 * m + i1 < n * m),
    (loops(n, m, T), (i0 * m + i1) * T + i2 < n * m * T),
    (loops(n * T // U), i0 * U < n * T),
    (loops(T, U), i0 * U + i1 < T * U),
    # partial tiles
    (loops((n + T - 1) // T, ops.make("min", T, n - i0 * T)), i0 * T + i1 < n),
    (loops((n + 31) // 32, ops.make("min", const(32), n - i0 * 32)), i0 * 32 + i1 < n),
    (loops((n + T - 1) // T, T).assume(i0 * T + i1 < n), i0 * T + i1 + 1 <= n),
    # triangular loops
    (loops(n, i0 + 1), i1 < n),
    (loops(n, n - i0), i0 + i1 < n),
    # fused
    (EMPTY.bind(f, n * m), (f // m < n) & (f % m < m) & (f // m >= 0)),
    (EMPTY.bind(f, n * m), (n > 0) & (m > 0)),
    (EMPTY.bind(f, const(60)), f // 12 * 12 + f % 12 < 60),
    (EMPTY.bind(f, n * m * K), f // K // m < n),
    # halos
    (loops(n, 3), i0 + i1 < n + 2),
    (loops((n - 1) // 2 + 1, 3).assume(n >= 1), i0 * 2 + i1 <= n + 1),
    # divisibility
    (divides(4, n).bind(i0, n // 4).bind(i1, 4), i0 * 4 + i1 < n),
    (divides(4, n), ops.make("eq", n // 4 * 4, n)),
    (divides(T, n), ops.make("eq", n // T * T, n)),
    (divides(T, n), ops.make("eq", (n * 3) % T, 0)),
    (divides(8, n), ops.make("eq", n % 4, 0)),
    (divides(8, n), ops.make("eq", (n + 3) % 4, 3)),
    (divides(T * U, n), ops.make("eq", n % U, 0)),
    (divides(T, n), ops.make("eq", (n + T - 1) // T, n // T)),
    # remainders that differ
    (loops(n), ops.make("ne", (i0 + 2) % 3, i0 % 3)),
    (loops(n, 4), ops.make("ne", (i0 * 4 + i1 + 1) % 2, (i1 + i0 * 2) % 2)),
    (loops(n, 4), ops.make("ne", (i0 * 4 + 1) % 4 + i1 * 8, i0 * 4 % 4)),
    # sizes related by facts
    (EMPTY.assume(n <= m).assume(m <= K), n <= K),
    (EMPTY.assume((n < m) & (m < K)), n + 1 < K),
    (EMPTY.assume(n >= 5), n * n >= 25),
    (EMPTY.assume(ops.make("eq", n, 128)), ops.make("eq", n // 4, 32)),
    (EMPTY.bind(f, n).assume(f >= 3), n >= 4),
    (EMPTY.bind(f, n).assume(f >= i0), i0 < n),
    # guards of a tile say where its outer tiles end
    (loops(((n + 31) // 32 + 3) // 4, 4, 32).assume((i0 * 4 + i1) * 32 + i2 < n), i0 * 4 + i1 < (n + 31) // 32),
    (loops(((n + T - 1) // T + U - 1) // U, U, T).assume((i0 * U + i1) * T + i2 < n), i0 * U + i1 < (n + T - 1) // T),
    # ceil-div, min and max
    (EMPTY, (n + 31) // 32 * 32 >= n),
    (EMPTY, (n + T - 1) // T * T < n + T),
    (EMPTY, n // T <= n),
    (EMPTY, ops.make("min", n, m) <= ops.make("max", n, m)),
    (loops(n), ops.make("max", ops.make("min", Var("data"), n - 1), 0) < n),
    (EMPTY, ops.make("ne", n, -1)),
    (EMPTY, (n < m) | (n >= m)),
    (EMPTY, T * T >= T),
    # conditions as numbers, data among them
    (loops(n), i0 + loaded <= n),
    (loops(n, m), i0 * 2 + loaded < 2 * n),
    (loops(n, m), (i0 + loaded) * m <= n * m),
    (loops(n), i0 + ops.cast(i0 < m, "index") <= n),
    # what facts leave no room for
    (loops(4, 5).assume(i0 * 2 + i1 < 1), i1 <= 0),
]


@pytest.mark.parametrize("case", range(len(PROVED)))
def test_provable(case: int) -> None:
    ctx, cond = PROVED[case]
    assert proves(cond, ctx), (cond, prove(cond, ctx))
    assert prove(~cond, ctx) is FALSE


NOT_PROVED = [
    (loops(32, 32), i0 * 32 + i1 < 1023),
    (loops((n + 31) // 32, 32), i0 * 32 + i1 < n),
    (loops((n + T - 1) // T, T), i0 * T + i1 < n),
    (EMPTY, n >= 1),
    (EMPTY, n // T * T >= n),
    (EMPTY, n * m >= n),
    (divides(4, n), ops.make("eq", n % 8, 0)),
    (loops(n), ops.make("ne", (i0 + 2) % 3, i0 % 2)),
    (loops(n, n), ops.make("ne", (i0 + 1) % 3, i1 % 3)),
]


@pytest.mark.parametrize("case", range(len(NOT_PROVED)))
def test_not_provable(case: int) -> None:
    ctx, cond = NOT_PROVED[case]
    assert prove(cond, ctx) not in {TRUE, FALSE}


def test_residual_is_equivalent_and_small() -> None:
    assert prove((i0 < 5) & (i0 < 10) & (i0 >= 0), loops(100)) is (i0 < 5)
    assert prove(i0 * 32 < 1000, EMPTY) is (i0 < 32)
    assert prove(T * U <= 32, EMPTY) is (T * U < 33)


@pytest.mark.parametrize("seed", range(30))
def test_only_what_holds_everywhere_is_proved(seed: int) -> None:
    world = World(random.Random(1000 + seed))
    points = world.sample(60)
    for _ in range(20):
        i0, i1, T = world.i0, world.i1, world.T
        tile = world.rng.choice([i0 * T + i1, i0 * 4 + i1, i1 * world.U + world.i2, i0 * T * world.U + i1, i0 - i1])
        cond = ops.make(world.rng.choice(["lt", "le", "ge"]), tile, world.index(1))
        answer = prove(cond, world.ctx)
        if answer is TRUE or answer is FALSE:
            assert all(holds(cond, at) == (answer is TRUE) for at in points if defined(cond, at)), cond


def defined(cond: Expr, at: dict) -> bool:
    return holds(cond, at) or holds(~cond, at)
