"""Which places in memory the threads of a warp touch together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tensorlang.arith.context import Context
from tensorlang.arith.simplify import simplify
from tensorlang.arith.strides import strides
from tensorlang.arith.subscripts import Subscript
from tensorlang.ir import ops
from tensorlang.ir.nodes import ONE, THREADS, VECTORIZE, ZERO, Expr, For, Load, Var, const
from tensorlang.ir.walk import find, substitute

WARP = 32
LANE = Var("lane")  # the number of a thread in its warp


@dataclass(frozen=True)
class Lanes:
    """The elements of a buffer that 32 threads in a row, of which x counts fastest, touch at the same time, as the
    distance from where it begins in memory, in terms of LANE.

    first, last: of those that a vectorized loop goes through; its extent is `vector`, or 1 where there is none.

    >>> i, j, k = s.loops("C")
    >>> s.bind(j, "threadIdx.x")
    >>> tl.analysis.nests(s.func)[0].footprints[0].lanes
    Lanes(first=lane % 8, last=lane % 8, vector=1)
    """

    first: Expr
    last: Expr
    vector: Expr


def lanes(
    access: Sequence[Subscript],
    path: Sequence[For],
    most: Mapping[Var, Expr],
    shape: Sequence[Expr],
    aligned: Sequence[tuple[int, int, int]] = (),
) -> Lanes | None:
    """Of an access in the loops `path`, of which all but those over threads are at their first iteration; None if no
    loop is over threads, or data says which element it is.

    most: the extent of each loop; shape, aligned: of the buffer, see `strides`.
    """
    threads = _in_a_row(path, most)
    if not threads or any(next(find(s.index, Load), None) is not None for s in access):
        return None
    place: Expr = ZERO
    for subscript, step in zip(access, strides(shape, aligned)[1:], strict=True):
        place = place + subscript.index * step
    values = {loop.var: threads.get(loop.var, ZERO) for loop in path}
    end = dict(values)
    vector: Expr = ONE
    for loop in path:
        if loop.kind == VECTORIZE:
            end[loop.var], vector = most[loop.var] - 1, most[loop.var]
    first, last = (simplify(substitute(place, at), Context().bind(LANE, const(WARP))) for at in (values, end))
    return Lanes(first, last, vector)


def _in_a_row(path: Sequence[For], most: Mapping[Var, Expr]) -> dict[Var, Expr]:
    """Where LANE is along loops over threads; of several along one axis, the innermost one counts."""
    innermost = {loop.kind: loop.var for loop in path}
    left: Expr = LANE
    found: dict[Var, Expr] = {}
    for axis in "xyz":
        var = innermost.get(f"{THREADS}.{axis}")
        if var is not None:
            found[var] = ops.make("mod", left, most[var])
            left = left // most[var]
    return found
