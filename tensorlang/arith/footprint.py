"""The part of one buffer that a piece of program touches, as a box whose size does not depend on outer loops.

A tile of 32 stays a box of extent 32 also where the last tile leaves the domain: whoever fills the box guards
against that.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from tensorlang.arith.bounds import bounds
from tensorlang.arith.context import EMPTY, Context
from tensorlang.arith.prove import proves
from tensorlang.arith.regions import Region, accesses
from tensorlang.arith.simplify import simplify
from tensorlang.ir import ops
from tensorlang.ir.nodes import (
    GRID,
    ONE,
    SHARED,
    THREADS,
    VIRTUAL,
    ZERO,
    Buffer,
    Expr,
    For,
    Knob,
    Op,
    Size,
    Stmt,
    Var,
    unit_of,
)
from tensorlang.ir.walk import find, free_vars, transform


def bind_all(ctx: Context, loops: Sequence[For]) -> Context:
    """`ctx` with the variables of `loops`, outermost first."""
    for loop in loops:
        ctx = ctx.bind(loop.var, loop.extent)
    return ctx


def read_box(stmt: Stmt, buffer: Buffer, outer: Sequence[For], ctx: Context = EMPTY) -> Region | None:
    """The box of `buffer` that `stmt` reads in one iteration of the loops `outer`; None if it reads nothing.

    outer: the loops around `stmt`, outermost first; the mins are expressions over their variables, the extents are
    free of them. ctx: facts besides these loops. What cannot be bounded counts as the whole dimension. The buffer
    must be allocated outside `stmt`.

        for i1 in 32: ... = A[i0 * 32 + i1 + 1]     # outer: i0 in 4. mins (i0 * 32 + 1,), extents (32,)

    Threads of a GPU have memory of scope shared in common: the box is what all of them read together.
    """
    stmt, outer = _by_all_threads(stmt, buffer, outer)
    ctx, changing = bind_all(ctx, outer), {loop.var for loop in outer}
    box = _fixed(accesses(stmt, ctx, of=(buffer,))[0].get(buffer), changing, ctx)
    on_gpu = any(unit_of(loop.kind) == GRID for loop in outer)  # a lesser extent hides that copies of it find all
    if box is None or on_gpu or not any(isinstance(v, Knob) for e in box.extents for v in free_vars(e)):
        return box
    return _guarded(box, accesses(stmt, ctx, clip=True, of=(buffer,))[0][buffer], changing, ctx)


def _guarded(box: Region, clipped: Region, changing: Collection[Var], ctx: Context) -> Region:
    """`box` with extents no larger than guards let them get, whatever the knobs.

    Numbers decide whether a tile is larger than what there is to compute, in which case its guard counts.
    """

    def extent(low: Expr, old: Expr, first: Expr, length: Expr) -> Expr:
        if not any(isinstance(v, Knob) for v in free_vars(old)):
            return old
        most = bounds(first + length - low, ctx, over=changing)[1]
        return old if most is None or not _depends_only(most, ()) else simplify(ops.make("min", old, most), ctx)

    extents = zip(box.mins, box.extents, clipped.mins, clipped.extents, strict=True)
    return Region(box.buffer, box.mins, tuple(extent(*each) for each in extents))


def written_box(stmt: Stmt, buffer: Buffer, outer: Sequence[For], ctx: Context = EMPTY) -> Region | None:
    """The same for what `stmt` writes, with whole dimensions where it is not proved to hold all that `stmt` reads."""
    stmt, outer = _by_all_threads(stmt, buffer, outer)
    ctx = bind_all(ctx, outer)
    reads, writes = accesses(stmt, ctx, of=(buffer,))
    box = _fixed(writes.get(buffer), {loop.var for loop in outer}, ctx)
    if box is None or buffer not in reads:
        return box
    held = holds(box, reads[buffer], ctx)
    mins = tuple(low if ok else ZERO for low, ok in zip(box.mins, held, strict=True))
    extents = tuple(e if ok else dim for e, ok, dim in zip(box.extents, held, buffer.shape, strict=True))
    return Region(buffer, mins, extents)


def _by_all_threads(stmt: Stmt, buffer: Buffer, outer: Sequence[For]) -> tuple[Stmt, Sequence[For]]:
    """Where the threads of `outer` have `buffer` in common, their loops go from `outer` to around `stmt`."""
    if buffer.scope != SHARED:
        return stmt, outer
    threads = [loop for loop in outer if unit_of(loop.kind) in (THREADS, VIRTUAL)]
    for loop in reversed(threads):
        stmt = loop.replace(body=stmt)
    return stmt, [loop for loop in outer if loop not in threads]


def holds(region: Region, other: Region, ctx: Context) -> list[bool]:
    """For each dimension, whether `region` is proved to hold all of `other` that is inside the buffer."""

    def reaches(low: Expr, extent: Expr, high: Expr, dim: Expr) -> bool:
        least = next(find(extent, Op, lambda e: e.op == "min"), None)
        if least is not None:  # it is one of its operands
            return all(reaches(low, _with(extent, least, case), high, dim) for case in least.args)
        return proves(high <= low + extent, ctx) or proves(dim <= low + extent, ctx)

    parts = zip(region.mins, region.extents, other.mins, other.extents, region.buffer.shape, strict=True)
    return [proves(a <= b, ctx) and reaches(a, x, b + y, dim) for a, x, b, y, dim in parts]


def _with(expr: Expr, part: Expr, value: Expr) -> Expr:
    """`expr` with `value` in place of `part`."""
    return transform(expr, lambda e: value if e is part else e)


def _fixed(region: Region | None, changing: Collection[Var], ctx: Context) -> Region | None:
    """`region` with extents free of the variables `changing`, whole dimensions where that cannot be had."""
    if region is None:
        return None
    boxes = zip(region.mins, region.extents, region.buffer.shape, strict=True)
    pairs = [_fixed_dimension(low, extent, dim, changing, ctx) for low, extent, dim in boxes]
    return Region(region.buffer, tuple(low for low, _ in pairs), tuple(extent for _, extent in pairs))


def _fixed_dimension(low: Expr, extent: Expr, dim: Expr, changing: Collection[Var], ctx: Context) -> tuple[Expr, Expr]:
    if not _depends_only(low, changing) or not _depends_only(extent, changing):
        return ZERO, dim
    if _depends_only(low, ()):  # it stays in place: cut to the dimension
        high = low + extent - ONE
        low = simplify(ops.make("max", low, ZERO), ctx)
        if _depends_only(high, ()):
            high = ops.make("min", high, dim - ONE)
        extent = simplify(high - low + ONE, ctx)
    largest: Expr | None = extent
    if not _depends_only(extent, ()):
        largest = bounds(extent, ctx, over=changing)[1]
    if largest is None or not _depends_only(largest, ()):
        return ZERO, dim
    if not proves(low >= ZERO, ctx):
        return (ZERO, dim) if proves(largest >= dim, ctx) else (low, largest)
    if any(isinstance(v, Size) for v in free_vars(dim)) and not proves(largest >= dim, ctx):
        return low, largest  # rather a constant than the lesser of it and a size
    return low, simplify(ops.make("min", largest, dim), ctx)


def _depends_only(expr: Expr, variables: Collection[Var]) -> bool:
    """Whether sizes, knobs and `variables` determine `expr`."""
    return all(isinstance(v, Size | Knob) or v in set(variables) for v in free_vars(expr))
