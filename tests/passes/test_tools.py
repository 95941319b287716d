"""What passes ask of index expressions."""

from __future__ import annotations

import pytest

from tensorlang.ir import ops
from tensorlang.ir.nodes import Buffer, Expr, Let, Load, Ramp, Splat, Store, Var, const, seq
from tensorlang.passes.tools import add_const, map_stmts, nonnegative

i, j, least = Var("i"), Var("j"), const(-3)
PLACES = Buffer("P", (const(8),), "index")


@pytest.mark.parametrize(
    ("expr", "expected"),
    [
        (const(0), True),
        (least, False),
        (i + j * 3, True),
        (i - 1, False),
        ((i - 1) % 4, True),
        (i // 4, True),
        ((i - 1) // 4, False),
        (ops.make("min", i, j), True),
        (ops.make("min", i, j - 1), False),
        (ops.make("max", i, j - 1), True),
        (ops.make("max", i - 1, j - 1), False),
        (Ramp(i, const(2), 4), True),
        (Ramp(i, least, 4), False),
        (Splat(i - 1, 4), False),
        (Splat(i, 4), True),
        (Load(PLACES, (i,)), False),
        (Load(PLACES, (i,)) + i, False),
        (Let(j, i, j + 1), False),
    ],
)
def test_nonnegative(expr: Expr, expected: bool) -> None:
    """Of loops, which run from 0; what is loaded may be anything."""
    assert nonnegative(expr) is expected


def test_what_does_not_change_stays_what_it_is() -> None:
    one, two = (Store(PLACES, (i,), const(n)) for n in (1, 2))
    both = seq(one, two)
    assert map_stmts(both, lambda stmt: stmt) is both
    assert map_stmts(both, lambda stmt: both if stmt is one else stmt).stmts == (one, two, two)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("expr", "rest", "constant"),
    [
        (const(5), const(0), 5),
        (i, i, 0),
        (i + 4, i, 4),
        (i - 4, i, -4),
        ((i + 1) + (j - 3), i + j, -2),
        ((i + 1) - (j - 3), i - j, 4),
        ((i + 2) * 3, i * 3, 6),
        ((i + 2) // 3, (i + 2) // 3, 0),
        ((i + 2) * j, (i + 2) * j, 0),
    ],
)
def test_add_const(expr: Expr, rest: Expr, constant: int) -> None:
    found, added = add_const(expr)
    assert found is rest and added == constant
