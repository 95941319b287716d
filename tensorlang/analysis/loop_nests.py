"""Blocks as loop nests: trips, kinds of loops, and the regions of memory that each loop touches."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from tensorlang.analysis.blocks import Accesses, Home, Homes, inside, with_subscripts
from tensorlang.analysis.sizes import flops_of
from tensorlang.arith import poly
from tensorlang.arith.lanes import Lanes, lanes
from tensorlang.arith.subscripts import Subscript, largest_extents, span
from tensorlang.ir import dtypes, ops
from tensorlang.ir.nodes import (
    ONE,
    REDUCE,
    SHARED,
    THREADS,
    Alloc,
    Block,
    Buffer,
    Const,
    Do,
    Expr,
    For,
    Func,
    Op,
    Store,
    Var,
)
from tensorlang.ir.walk import find, free_vars, visit


@dataclass(frozen=True)
class LoopInfo:
    """A loop around a block. reduce: whether it drives only reduction iterators of the block.

    >>> nests(s.func)[0].loops[2]
    LoopInfo(name='C.k', extent=8, kind='serial', reduce=True)
    """

    name: str
    extent: Expr
    kind: str
    reduce: bool


@dataclass(frozen=True)
class Footprint:
    """What a block touches of one buffer. `extents[n]` is the region's shape for all that runs inside the first n loops
    around the block: extents[0] for the whole nest, extents[-1] for one instance. A buffer that is allocated inside
    loops lives for an iteration of these: `shape` and extents are then those of the part that is alive at a time, and
    `versions` says how many of them software pipelines keep at most. lanes: what a warp touches together, if there are
    threads.

    >>> nests(s.func)[0].footprints[0].extents
    ((8, 8), (1, 8), (1, 1), (1, 1))
    """

    buffer: str
    dtype: str
    scope: str
    item_bytes: int
    written: bool
    shape: tuple[Expr, ...]
    extents: tuple[tuple[Expr, ...], ...]
    versions: int = 1
    lanes: Lanes | None = None


@dataclass(frozen=True)
class Nest:
    """A block with the loops around it, outermost first, then those in it. flops: floating-point operations of one
    instance; operations: how many of each kind, by their names in ir/ops.py; points: instances that its domain has;
    moved: whether it stands in loops that were made for another block, so that it may run more often than that;
    tensorized: how many of the loops, the innermost ones, an intrinsic does.

    >>> nests(s.func)[0].operations
    Counter({'fma': 1})
    """

    block: str
    loops: tuple[LoopInfo, ...]
    flops: int
    dtype: str
    reduces: bool
    operations: Mapping[str, int]
    points: Expr
    moved: bool
    tensorized: int
    _regions: Callable[[], tuple[Footprint, ...]] = field(repr=False, compare=False)

    @cached_property
    def footprints(self) -> tuple[Footprint, ...]:
        """What it touches of each buffer, reads and writes apart; found when it is first asked for."""
        return self._regions()


def nests(func: Func) -> list[Nest]:
    """All blocks of a loop-level Func in program order.

    >>> [nest.block for nest in nests(t.func)]
    ['C', 'D']
    """
    memo = func.body.memo
    if "nests" not in memo:
        memo["nests"] = tuple(_nest(*each) for each in with_subscripts(func))
    return list(memo["nests"])


def _nest(path: tuple[For, ...], block: Block, homes: Homes, accessed: Accesses) -> Nest:
    inner = inside(block)
    moved = not all(_is_own(f, block) for f in path if f not in inner)
    loops = tuple(
        LoopInfo(
            f.var.name,
            _trips(f, block) if moved and _is_own(f, block) else f.extent,
            f.kind,
            _drives_reduction(f.var, block),
        )
        for f in path
    )
    local = {alloc.buffer for alloc in find(block, Alloc)}
    regions: dict[tuple[Buffer, bool], list[list[Subscript]]] = {}
    for node, indices in accessed:
        if node.buffer not in local:
            regions.setdefault((node.buffer, isinstance(node, Store)), []).append(indices)
    result = next((buffer.dtype for buffer, written in regions if written), "float32")
    operations = Counter(n.op for n in visit(block.body) if isinstance(n, Op) and dtypes.is_float(n.dtype))
    points: Expr = ONE
    for extent in (*(it.extent for it in block.iters), *(f.extent for f in inner)):
        points = points * extent
    flops, reduces = flops_of(block.body), block.reducer is not None
    tensorized = len(inner) if next(find(block.body, Do), None) is not None else 0

    def footprints() -> tuple[Footprint, ...]:
        most = largest_extents(path)
        return tuple(
            _footprint(buffer, written, found, path, most, homes.get(buffer, Home()))
            for (buffer, written), found in regions.items()
        )

    return Nest(block.name, loops, flops, result, reduces, operations, points, moved, tensorized, footprints)


def _footprint(
    buffer: Buffer,
    written: bool,
    accesses: list[list[Subscript]],
    path: tuple[For, ...],
    most: Mapping[Var, Expr],
    home: Home,
) -> Footprint:
    shapes = _shapes(buffer, accesses, path, most)
    shape = shapes[home.depth] if home.depth else buffer.shape
    if home.depth and buffer.scope == SHARED:  # the threads have it in common
        alive = [f for n, f in enumerate(path) if n >= home.depth or f.kind.startswith(THREADS)]
        shape = tuple(span([a[n] for a in accesses], alive, most) for n in range(len(buffer.shape)))
    extents = tuple(shapes[max(level, home.depth)] for level in range(len(shapes)))
    item = dtypes.bytes_of(buffer.dtype)
    together = lanes(accesses[0], path, most, shape, home.aligned)
    return Footprint(buffer.name, buffer.dtype, buffer.scope, item, written, shape, extents, home.versions, together)


def _trips(loop: For, block: Block) -> Expr:
    """The extent; no more than it takes to cover an iterator that the loop counts in steps of a constant."""
    extent = loop.extent
    if not isinstance(extent, Const):
        for it, binding in zip(block.iters, block.bindings, strict=True):
            step, rest = poly.split(poly.poly(binding), loop.var) or ({}, {})
            by = step.get((), 0) if len(step) == 1 else 0
            if by > 0 and loop.var not in poly.variables(rest):
                extent = ops.make("min", extent, (it.extent + (by - 1)) // by)
    return extent


def _is_own(loop: For, block: Block) -> bool:
    """Whether the loop was made for this block, as its name tells."""
    return f"{block.name}.".startswith(f"{loop.var.name.partition('.')[0]}.")


def _shapes(
    buffer: Buffer, accesses: list[list[Subscript]], path: tuple[For, ...], most: Mapping[Var, Expr]
) -> tuple[tuple[Expr, ...], ...]:
    """The shape of the region that accesses touch inside the first 0, 1, ... loops."""
    spans = [_spans([a[n] for a in accesses], path, most) for n in range(len(buffer.shape))]
    return tuple(zip(*spans, strict=True)) if spans else ((),) * (len(path) + 1)


def _spans(accesses: list[Subscript], path: tuple[For, ...], most: Mapping[Var, Expr]) -> list[Expr]:
    """What accesses span of a dimension inside the first 0, 1, ... loops: it changes at loops that they depend on."""
    depends = {var for s in accesses for var in (*s.coefficients, *s.wild)}
    found = [span(accesses, (), most)]
    for level in range(len(path) - 1, -1, -1):
        found.append(span(accesses, path[level:], most) if path[level].var in depends else found[-1])
    return found[::-1]


def _drives_reduction(var: Var, block: Block) -> bool:
    driven = [it.kind for it, b in zip(block.iters, block.bindings, strict=True) if var in free_vars(b)]
    return bool(driven) and all(kind == REDUCE for kind in driven)
