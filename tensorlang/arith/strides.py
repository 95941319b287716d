"""How far neighbours along the dimensions of a buffer are apart in memory."""

from __future__ import annotations

from collections.abc import Sequence

from tensorlang.arith.simplify import simplify
from tensorlang.ir.nodes import ONE, Expr


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
