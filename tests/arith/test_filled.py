"""Which stores fill the box that they are in."""

from __future__ import annotations

import pytest

from tensorlang.arith.context import Context
from tensorlang.arith.filled import fills
from tensorlang.ir.nodes import SERIAL, Buffer, Expr, For, If, Knob, Load, Stmt, Store, Var, const, seq
from tensorlang.ir.ops import literal

T = Knob("T", (4, 8, 16))
i0, i1, j1, k1, r = (Var(s) for s in ("i0", "i1", "j1", "k1", "r"))


f = i1 * 7 + j1  # in all iterations of i1 in 5 and j1 in 7: 0 .. 34


def loop(var: Var, extent: Expr | int, body: Stmt) -> For:
    return For(var, const(extent) if isinstance(extent, int) else extent, SERIAL, body)


P = Buffer("P", (const(12), const(12)), "float32")


def stores(*indices: Expr) -> Store:
    return Store(P, indices, literal(0.0, "float32"))


@pytest.mark.parametrize(
    ("stmt", "expected"),
    [
        (loop(i1, 4, loop(j1, 6, stores(i0 + i1, j1))), True),
        (loop(i1, 4, loop(j1, 6, stores(j1, i0 * 4 + i1))), True),
        (loop(i1, 3, loop(j1, 4, stores(i0, i1 * 4 + j1))), True),
        (loop(i1, 3, loop(j1, 4, stores(i0, j1 * 3 + i1))), True),
        (loop(r, 24, stores(r // 6, r % 6)), True),
        (loop(i1, 3, loop(r, 5, stores(i0, i1))), True),  # r only says how often
        (loop(i1, T, stores(i0 * T + i1, i0)), True),
        (loop(i1, 4, If(i0 * 4 + i1 < 10, stores(i0 * 4 + i1, i0))), True),
        (loop(i1, 5, loop(j1, 7, If(f < 33, stores(f // 11 + i0, f % 11)))), True),  # fused, split
        (loop(i1, 5, loop(j1, 7, If(f < 33, stores(f // 11, (i1 * 18 + j1) % 11)))), True),  # and simplified
        (loop(i1, 5, loop(j1, 7, If(f < 33, loop(k1, 2, stores(f // 11 * 2 + k1, f % 11))))), True),
        (loop(i1, 5, loop(j1, 7, If(f < 32, stores(f // 11, f % 11)))), False),  # not all of the last row
        (loop(i1, 5, loop(j1, 7, If(f < 36, stores(f // 12, f % 12)))), False),  # there are 35
        (loop(i1, 5, loop(j1, 7, If(f < 33, stores(f // 11, j1)))), False),
        (loop(i1, 5, loop(j1, 7, If(i1 * 8 + j1 < 33, stores((i1 * 8 + j1) // 11, (i1 * 8 + j1) % 11)))), False),
        (loop(i1, 4, stores(i0 + i1, i1)), False),  # aslant
        (loop(i1, 4, stores(i0, i1 * 2)), False),  # every other
        (loop(i1, 4, loop(j1, 4, stores(i0, i1 + j1))), False),  # some twice: as many as an iteration runs, no more
        (loop(i1, 4, loop(j1, i1 + 1, stores(i1, j1))), False),  # a triangle
        (loop(i1, 4, stores(i0, Load(Buffer("at", (const(4),), "index"), (i1,)))), False),
        (seq(loop(i1, 4, stores(i0, i1)), loop(i1, 3, stores(i0, 4 + i1))), True),
        (seq(loop(i1, 4, stores(i0, i1 + 5)), loop(i1, 5, stores(i0, i1))), True),
        (seq(loop(i1, 4, stores(i0, i1)), stores(i0, const(2))), True),
        (seq(stores(i0, const(2)), loop(i1, 4, stores(i0, i1))), True),
        (seq(loop(i1, 4, stores(i0, i1)), loop(i1, 3, stores(i0, 5 + i1))), False),
        (seq(loop(i1, 4, stores(i0, i1)), loop(i1, 3, stores(i0 + 1, 4 + i1))), False),
        (seq(loop(i1, 4, stores(i0, i1)), stores(i0 + 1, const(0))), False),
    ],
)
def test_fills(stmt: Stmt, expected: bool) -> None:
    assert fills(stmt, P, Context().bind(i0, const(3))) is expected


def test_fills_a_buffer_without_dimensions() -> None:
    total = Buffer("total", (), "float32")
    assert fills(loop(r, 5, Store(total, (), literal(0.0, "float32"))), total)
