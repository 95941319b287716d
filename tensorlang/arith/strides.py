"""How far neighbours along the dimensions of a buffer are apart in memory, and what subscripts are multiples of."""

from __future__ import annotations

import math
from collections.abc import Sequence

from tensorlang.arith.simplify import simplify
from tensorlang.ir import walk
from tensorlang.ir.nodes import ONE, Const, Expr, Op, Var

_ENOUGH = 16  # elements of the widest access


def strides(shape: Sequence[Expr], aligned: Sequence[tuple[int, int, int]] = ()) -> list[Expr]:
    """The number of elements of a buffer, then for each axis the distance between neighbours in elements.

    aligned: (axis, factor, offset): the distance along `axis` is the least number that leaves `offset` modulo `factor`.
    """
    wanted = {axis: (factor, offset) for axis, factor, offset in aligned}
    steps: list[Expr] = [ONE]
    for axis in reversed(range(len(shape))):
        steps.insert(0, steps[0] * shape[axis])
        if axis - 1 in wanted:
            factor, offset = wanted[axis - 1]
            steps[0] = simplify((steps[0] - offset + factor - 1) // factor * factor + offset)
    return steps


def multiple_of(index: Expr) -> int:
    """A power of two of which an index is surely a multiple, up to 64.

    x * 34 - x % 4 * 2 is one of 8, as it is x // 4 * 136 + x % 4 * 32.
    """
    found = _multiple_of(index)
    for part in list(walk.find(index, Op, lambda e: e.op == "mod")) if found < _ENOUGH else ():
        x, divisor = part.args
        if isinstance(x, Var) and isinstance(divisor, Const):
            high, low = Var("high"), Var("low")
            index = walk.transform(index, lambda e, part=part, low=low: low if e is part else e)  # type: ignore[misc]
            index = simplify(walk.substitute(index, {x: high * divisor + low}))
            found = max(found, _multiple_of(index))
    return found


def _multiple_of(index: Expr) -> int:
    if isinstance(index, Const):
        return math.gcd(int(index.value), 64) if index.value else 64
    if isinstance(index, Op):
        if index.op in ("add", "sub", "min", "max", "mod"):
            return math.gcd(*map(_multiple_of, index.args))
        if index.op == "mul":
            return min(64, math.prod(map(_multiple_of, index.args)))
    return 1
