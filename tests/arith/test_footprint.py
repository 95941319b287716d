"""Boxes of buffers, and whether one holds another."""

from __future__ import annotations

import pytest

import tensorlang as tl
from tensorlang.arith.context import Context
from tensorlang.arith.footprint import holds
from tensorlang.arith.regions import Region
from tensorlang.ir import ops
from tensorlang.ir.evaluate import numpy_function
from tensorlang.ir.nodes import Buffer, Expr, Size, Var, const

n, i = Size("n"), Var("i")
INSIDE = Context().bind(i, n)


@pytest.mark.parametrize(
    ("extent", "high", "dim", "expected"),
    [
        (const(4), const(4), const(9), True),
        (const(4), const(5), const(9), False),
        (const(4), const(5), const(4), True),  # beyond the buffer is nothing
        (ops.make("min", n, 4), const(4), n, True),  # n, which is all, or 4
        (ops.make("min", n, 4), const(4), const(8), False),  # n may be less than 4
        (ops.make("min", n, 4), const(5), n, False),  # 4 may be less than n
        (ops.make("min", n, 4), ops.make("min", n, 4), const(8), True),
        (n, i + 1, n + 5, True),
        (i, n, n + 5, False),
    ],
)
def test_a_box_holds_another(extent: Expr, high: Expr, dim: Expr, expected: bool) -> None:
    buffer = Buffer("A", (dim,), "float32")
    mine, other = Region(buffer, (const(0),), (extent,)), Region(buffer, (const(0),), (high,))
    assert holds(mine, other, INSIDE) == [expected]


def test_a_box_that_begins_later_does_not_hold() -> None:
    buffer = Buffer("A", (const(9), const(9)), "float32")
    mine = Region(buffer, (const(1), const(0)), (const(8), const(9)))
    assert holds(mine, Region(buffer, (const(0), const(0)), (const(9), const(9))), INSIDE) == [False, True]


@pytest.mark.parametrize(("tile", "rows"), [(3, 5), (8, 10), (20, 18), (32, 18)])
def test_a_tile_larger_than_what_there_is_reads_no_more_than_that(tile: int, rows: int) -> None:
    """Known while the tile is open, too. Of 20 padded elements the 16 results read 18."""
    padded = tl.compute((20,), lambda i: tl.cast(i, "float32"), name="P")
    k = tl.reduce_axis(3, name="k")
    total = tl.compute((16,), lambda i: tl.sum(padded[i + k + 1], axis=k), name="T")
    knob = tl.knob("t", (3, 8, 20, 32))
    for factor in (knob, tile):
        s = tl.Schedule(total)
        outer, _ = s.split("T.i", [None, factor])
        s.compute_at("P", outer)
        extent = s.loop_node(s.loops("P")[-1]).extent
        assert numpy_function([extent], [knob])(tile) == [rows]
