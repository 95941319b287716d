"""Whether loop iterations that may run at the same time touch disjoint parts of a buffer."""

from __future__ import annotations

from collections.abc import Sequence

from tensorlang.arith.affine import injective
from tensorlang.arith.bounds import bounds
from tensorlang.arith.context import Context
from tensorlang.arith.prove import proves
from tensorlang.arith.regions import Region
from tensorlang.arith.simplify import simplify
from tensorlang.ir.nodes import Expr, For
from tensorlang.ir.ops import make
from tensorlang.ir.walk import free_vars


def disjoint(region: Region, loops: Sequence[For], ctx: Context) -> bool:
    """Do different iterations of `loops` (outermost first) touch disjoint parts? `ctx` holds outside them.

    Proved by cutting each dimension into tiles of the size of the region: the tile numbers must differ.
    """
    if not loops:
        return True
    inner = ctx
    for loop in loops:
        inner = inner.bind(loop.var, loop.extent)
    tiles: list[Expr] = []
    for low, extent in zip(region.mins, region.extents, strict=True):
        size = _largest(extent, loops, inner)
        if size is not None and proves(make("eq", low % size, 0), inner):
            tiles.append(simplify(low // size, inner))
    return injective(tiles, [(n.var, n.extent) for n in loops], ctx)


def _largest(extent: Expr, loops: Sequence[For], ctx: Context) -> Expr | None:
    """An upper bound of an extent that does not depend on the loops and is proved >= 1, or None."""
    if any(n.var in free_vars(extent) for n in loops):
        upper = bounds(extent, ctx)[1]
        if upper is None or any(n.var in free_vars(upper) for n in loops):
            return None
        extent = upper
    return extent if proves(extent >= 1, ctx) else None


def hull(a: Region | None, b: Region, ctx: Context) -> Region:
    """The smallest box around two regions."""
    if a is None:
        return b
    mins = [simplify(make("min", x, y), ctx) for x, y in zip(a.mins, b.mins, strict=True)]
    ends = [make("max", x + m, y + n) for x, m, y, n in zip(a.mins, a.extents, b.mins, b.extents, strict=True)]
    return Region(b.buffer, tuple(mins), tuple(simplify(e - m, ctx) for e, m in zip(ends, mins, strict=True)))
