"""Whether iterations of loops touch different parts of a buffer."""

from __future__ import annotations

import pytest

from tensorlang.arith.context import Context
from tensorlang.arith.disjoint import disjoint, hull
from tensorlang.arith.regions import Region
from tensorlang.ir import ops
from tensorlang.ir.nodes import NOTHING, SERIAL, Buffer, Expr, For, Size, Var, const
from tests.ir.small_funcs import extents

n = Size("n")
i, j = (For(Var(name), extent, SERIAL, NOTHING) for name, extent in (("i", const(6)), ("j", n)))
A, B = Buffer("A", extents(100), "float32"), Buffer("B", extents(100, 100), "float32")


def rest(size: int) -> Expr:
    """What is left of 20 elements in the tile of that size that loop i is at."""
    return ops.make("min", const(size), 20 - i.var * size)


@pytest.mark.parametrize(
    ("mins", "sizes", "loops", "expected"),
    [
        ((i.var,), (1,), [i], True),
        ((i.var // 2,), (1,), [i], False),
        ((i.var * 4,), (4,), [i], True),
        ((i.var * 4,), (5,), [i], False),
        ((i.var * 4 + 2,), (4,), [i], False),  # true, but not seen: no whole tiles
        ((i.var * 4,), (rest(4),), [i], True),
        ((i.var * 3,), (rest(4),), [i], False),
        ((i.var * 8,), (i.var + 1,), [i], False),  # of 1 to 6 elements, 6 does not divide 8
        ((i.var * 6,), (i.var + 1,), [i], True),
        ((i.var * n + j.var,), (1,), [i, j], True),
        ((i.var * n + j.var,), (1,), [i], True),
        ((i.var + j.var,), (1,), [i, j], False),
        ((i.var, j.var), (1, 1), [i, j], True),
        ((i.var, const(0)), (1, n), [i, j], False),
        ((i.var, const(0)), (1, 100), [i], True),
        ((const(0), const(0)), (1, 1), [], True),
    ],
)
def test_disjoint(mins: tuple[Expr, ...], sizes: tuple[Expr | int, ...], loops: list[For], expected: bool) -> None:
    region = Region(A if len(mins) == 1 else B, mins, extents(*sizes))
    outside = [loop for loop in (i, j) if loop not in loops]
    ctx = Context()
    for loop in outside:
        ctx = ctx.bind(loop.var, loop.extent)
    assert disjoint(region, loops, ctx) is expected


def test_hull() -> None:
    low, high = Region(A, (const(2),), extents(3)), Region(A, (const(7),), extents(1))
    assert hull(None, low, Context()) is low
    both = hull(low, high, Context())
    assert (both.mins, both.extents) == ((const(2),), extents(6))
