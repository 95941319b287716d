"""The public view of a Func, for tools that look at programs without taking part in making them.

Loop extents and footprints come as expressions over whatever is open in the Func: sizes and knobs. Evaluate many
points at once with `numpy_function`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tensorlang.arith import poly
from tensorlang.arith.bounds import bounds
from tensorlang.arith.context import Context
from tensorlang.arith.lanes import LANE, Lanes, lanes
from tensorlang.arith.regions import accesses
from tensorlang.arith.simplify import simplify
from tensorlang.arith.stages import STAGES
from tensorlang.arith.subscripts import Subscript, largest_extents, span, subscripts
from tensorlang.ir import dtypes, ops
from tensorlang.ir.base import collection_put_off
from tensorlang.ir.dtypes import to_numpy
from tensorlang.ir.evaluate import numpy_function
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
    Knob,
    Load,
    Op,
    Stmt,
    Store,
    Var,
    const,
)
from tensorlang.ir.serial import from_json, structural_hash, to_json
from tensorlang.ir.walk import children, find, free_vars, map_children, substitute, visit

__all__ = [
    "LANE",
    "Access",
    "Footprint",
    "Knob",
    "Lanes",
    "LoopInfo",
    "Nest",
    "Pattern",
    "collection_put_off",
    "extents",
    "flops",
    "free_vars",
    "from_json",
    "names",
    "nests",
    "numpy_function",
    "patterns",
    "renamed",
    "structural_hash",
    "to_json",
    "to_numpy",
    "work",
    "working_sets",
]


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
    footprints: tuple[Footprint, ...]
    operations: Mapping[str, int]
    points: Expr
    moved: bool
    tensorized: int = 0


@dataclass(frozen=True)
class Access:
    """A load or store of a block. For each dimension of the buffer, `steps` says by how much the subscript grows from
    one iteration of a loop to the next; None where that is no constant. Loops that are not in it do not matter.

    >>> patterns(s.func)["C"].accesses[1].steps
    ({'C.i': 1}, {'C.k': 1})
    """

    buffer: str
    written: bool
    shape: tuple[Expr, ...]
    steps: tuple[Mapping[str, int | None], ...]

    @property
    def loops(self) -> set[str]:
        """The loops on which the element depends."""
        return {name for step in self.steps for name in step}


@dataclass(frozen=True)
class Pattern:
    """How a block touches memory. divisors: constants by which subscripts divide a loop's variable, by loop.

    >>> patterns(s.func)["C"].divisors
    {}
    """

    accesses: tuple[Access, ...]
    divisors: Mapping[str, int]


def nests(func: Func) -> list[Nest]:
    """All blocks of a loop-level Func in program order.

    >>> [nest.block for nest in nests(t.func)]
    ['C', 'D']
    """
    memo = func.body.memo
    if "nests" not in memo:
        memo["nests"] = tuple(_nest(*each) for each in _with_subscripts(func))
    return list(memo["nests"])


def patterns(func: Func) -> dict[str, Pattern]:
    """How each block of a loop-level Func touches memory, by name.

    >>> list(patterns(t.func))
    ['C', 'D']
    """
    return {block.name: _pattern(path, block, found) for path, block, _, found in _with_subscripts(func)}


def flops(func: Func) -> int:
    """Floating-point operations that a Func with known sizes defines: a fused multiply-add counts as two.

    Raises ValueError if an extent is not a constant.

    >>> flops(s.func)
    1024
    """
    total = work(func)
    if not isinstance(total, Const):
        raise ValueError(f"the number of operations is not known: {total!r}")
    return int(total.value)


def work(func: Func) -> Expr:
    """The same as an expression over sizes and knobs.

    >>> work(s.func)                         # a product of 8 x 8 matrices
    1024
    """
    total: Expr = const(0)
    for _, block, _ in _blocks(func.body, (), {}):
        points: Expr = const(_flops(block.body))
        for extent in (*(it.extent for it in block.iters), *(f.extent for f in _inside(block))):
            points = points * extent
        total = total + points
    return total


def extents(func: Func) -> dict[str, Expr]:
    """The extent of every loop by name.

    >>> extents(s.func)
    {'C.i': 8, 'C.j': 8, 'C.k': 8}
    """
    return {loop.var.name: loop.extent for loop in find(func.body, For)}


def working_sets(func: Func) -> dict[str, dict[str, Expr]]:
    """Bytes that one iteration of a loop touches of each buffer, for every loop by name; under "" the whole program.

    A buffer that lives inside the loop counts with what it needs to hold at a time. Regions are boxes, so strided
    accesses count what they skip.

    >>> working_sets(s.func)["C.i"]          # 8 x 8 matrices: a row of A, all of B, a row of C
    {'A': 32, 'B': 256, 'C': 32}
    """
    found: dict[str, dict[str, Expr]] = {}
    _enter("", func.body, Context(), found)
    return found


def _enter(name: str, stmt: Stmt, ctx: Context, found: dict[str, dict[str, Expr]]) -> dict[str, Expr]:
    """What `stmt` touches, put into `found` under `name` and, for the loops inside, under theirs."""
    touched = _touched(stmt, ctx)
    pending = [stmt]
    while pending:
        node = pending.pop()
        if isinstance(node, For):
            inner = _enter(node.var.name, node.body, ctx.bind(node.var, node.extent), found)
            touched |= {buffer: size for buffer, size in inner.items() if buffer not in touched}
        elif not isinstance(node, Block):
            if isinstance(node, Alloc):
                touched |= {b: size for b, size in _touched(node.body, ctx).items() if b == node.buffer.name}
            pending += [child for child in children(node) if isinstance(child, Stmt)]
    found[name] = touched
    return touched


def _touched(stmt: Stmt, ctx: Context) -> dict[str, Expr]:
    """Bytes of each buffer that `stmt` touches, the larger of those it reads and those it writes."""
    sizes: dict[str, Expr] = {}
    for regions in accesses(stmt, ctx):
        for buffer, region in regions.items():
            size: Expr = const(dtypes.bytes_of(buffer.dtype))
            for extent, dim in zip(region.extents, buffer.shape, strict=True):
                size = _closed(extent, dim, ctx) * size
            before = sizes.get(buffer.name)
            sizes[buffer.name] = simplify(size if before is None else ops.make("max", before, size), ctx)
    return sizes


def names(func: Func) -> list[str]:
    """The names of parameters, then those of loops, blocks and allocated buffers in program order.

    >>> names(s.func)
    ['A', 'B', 'C', 'C.i', 'C.j', 'C.k', 'C']
    """
    return [node.var.name if isinstance(node, For) else node.name for node in _named(func)]


def renamed(func: Func, fresh: Sequence[str]) -> Func:
    """`func` with other names, given in the order of `names`. Raises ValueError for a wrong number of them.

    >>> renamed(s.func, list("ABCijkc")).params
    (A: f32[8, 8], B: f32[8, 8], C: f32[8, 8])
    """
    nodes = _named(func)
    if len(nodes) != len(fresh):
        raise ValueError(f"{func.name} has {len(nodes)} names, got {len(fresh)}")
    variables: dict[Var, Expr] = {}
    buffers: dict[Buffer, Buffer] = {}
    blocks: dict[Block, str] = {}
    for node, name in zip(nodes, fresh, strict=True):
        if isinstance(node, For):
            variables[node.var] = Var(name)
        elif isinstance(node, Block):
            blocks[node] = name
        else:
            buffers[node] = Buffer(name, node.shape, node.dtype, node.scope)

    def rename(stmt: Stmt) -> Stmt:
        if isinstance(stmt, Block):
            return stmt.replace(name=blocks[stmt])
        return map_children(stmt, lambda n: rename(n) if isinstance(n, Stmt) else n)

    body = substitute(rename(func.body), variables, buffers)
    params, outputs = (tuple(buffers[p] for p in group) for group in (func.params, func.outputs))
    return Func(func.name, params, outputs, body)


def _named(func: Func) -> list[Any]:
    allocated_or_stmts = (
        node.buffer if isinstance(node, Alloc) else node
        for node in visit(func.body)
        if isinstance(node, For | Block | Alloc)
    )
    return [*func.params, *allocated_or_stmts]


@dataclass(frozen=True)
class _Home:
    """Where a buffer is allocated: depth: in how many loops; versions, aligned: see Footprint and storage_align."""

    depth: int = 0
    versions: int = 1
    aligned: tuple[tuple[int, int, int], ...] = ()


_Homes = Mapping[Buffer, _Home]
_Accesses = Sequence[tuple[Load | Store, list[Subscript]]]


def _blocks(stmt: Stmt, path: tuple[For, ...], homes: _Homes) -> Iterator[tuple[tuple[For, ...], Block, _Homes]]:
    """Each block with the loops around it and in it."""
    if isinstance(stmt, Block):
        yield (*path, *_inside(stmt)), stmt, homes
        return
    if isinstance(stmt, Alloc):
        aligned = dict(stmt.annotations).get("align", ())
        homes = {**homes, stmt.buffer: _Home(len(path), _versions(stmt.buffer, path), aligned)}
    inner = (*path, stmt) if isinstance(stmt, For) else path
    for child in children(stmt):
        if isinstance(child, Stmt):
            yield from _blocks(child, inner, homes)


def _with_subscripts(func: Func) -> tuple[tuple[tuple[For, ...], Block, _Homes, _Accesses], ...]:
    """The same, and what the block accesses."""
    memo = func.body.memo
    if "subscripts" not in memo:
        memo["subscripts"] = tuple((*each, subscripts(*each[:2])) for each in _blocks(func.body, (), {}))
    return memo["subscripts"]


def _inside(block: Block) -> list[For]:
    """The loops in a block, if its body is nothing but loops one in another."""
    found: list[For] = []
    stmt: Stmt | None = block.body
    while isinstance(stmt, For | Do):
        found += [stmt] if isinstance(stmt, For) else []
        stmt = stmt.body
    return found if isinstance(stmt, Store) else []


def _versions(buffer: Buffer, path: tuple[For, ...]) -> int:
    """How many versions of a buffer the innermost loop keeps at most, if it is pipelined."""
    given = dict(path[-1].annotations).get(STAGES, ()) if path else ()
    blocks = find(path[-1].body, Block) if given else ()
    used = [n for b, n in zip(blocks, given, strict=True) if any(a.buffer is buffer for a in _accesses(b))]
    return 1 + max(used) - min(used) if used else 1


def _nest(path: tuple[For, ...], block: Block, homes: _Homes, accessed: _Accesses) -> Nest:
    most = largest_extents(path)
    inner = _inside(block)
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
    footprints = tuple(
        _footprint(buffer, written, found, path, most, homes.get(buffer, _Home()))
        for (buffer, written), found in regions.items()
    )
    result = next((f.dtype for f in footprints if f.written), "float32")
    operations = Counter(n.op for n in visit(block.body) if isinstance(n, Op) and dtypes.is_float(n.dtype))
    points: Expr = ONE
    for extent in (*(it.extent for it in block.iters), *(f.extent for f in inner)):
        points = points * extent
    flops, reduces = _flops(block.body), block.reducer is not None
    tensorized = len(inner) if next(find(block.body, Do), None) is not None else 0
    return Nest(block.name, loops, flops, result, reduces, footprints, operations, points, moved, tensorized)


def _footprint(
    buffer: Buffer,
    written: bool,
    accesses: list[list[Subscript]],
    path: tuple[For, ...],
    most: Mapping[Var, Expr],
    home: _Home,
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


def _accesses(block: Block) -> Iterator[Load | Store]:
    return (node for node in visit(block) if isinstance(node, Load | Store))


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


def _pattern(path: tuple[For, ...], block: Block, accessed: _Accesses) -> Pattern:
    names = {loop.var: loop.var.name for loop in path}
    found: list[Access] = []
    divisors: dict[str, int] = {}
    for node, indices in accessed:
        steps = tuple(
            {names[v]: int(c.value) if isinstance(c, Const) else None for v, c in s.coefficients.items()}
            | {names[v]: None for v in s.wild}
            for s in indices
        )
        access = Access(node.buffer.name, isinstance(node, Store), node.buffer.shape, steps)
        found += [access] if access not in found else []
        for op in (n for s in indices for n in find(s.rest, Op)):
            if op.op in ("floordiv", "mod") and isinstance(op.args[1], Const):
                divisors.update({names[v]: int(op.args[1].value) for v in free_vars(op.args[0]) if v in names})
    return Pattern(tuple(found), divisors)


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


def _closed(extent: Expr, size: Expr, ctx: Context) -> Expr:
    """The largest value of an extent in a dimension of `size`, in terms of what is open in the whole Func."""
    if not isinstance(extent, Const):
        upper = bounds(extent, ctx)[1] if free_vars(extent) & ctx.bound.keys() else extent
        extent = size if upper is None else upper
    return ops.make("min", extent, size)


def _drives_reduction(var: Var, block: Block) -> bool:
    driven = [it.kind for it, b in zip(block.iters, block.bindings, strict=True) if var in free_vars(b)]
    return bool(driven) and all(kind == REDUCE for kind in driven)


def _flops(stmt: Stmt) -> int:
    """Floating-point operations of one run of a block's body; comparisons, casts and selections are free."""
    count = 0
    for node in visit(stmt):
        if isinstance(node, Op) and dtypes.is_float(node.dtype) and node.op in _COSTS:
            count += _COSTS[node.op]
    return count


_COSTS = dict.fromkeys(("add", "sub", "mul", "div", "min", "max", "sqrt", *ops.MATH), 1) | {"fma": 2}
