"""How much there is: loop extents, operations, and the bytes that loops touch."""

from __future__ import annotations

from tensorlang.analysis.blocks import blocks, inside
from tensorlang.arith.bounds import bounds
from tensorlang.arith.context import Context
from tensorlang.arith.regions import accesses
from tensorlang.arith.simplify import simplify
from tensorlang.ir import dtypes, ops
from tensorlang.ir.nodes import Alloc, Block, Const, Expr, For, Func, Op, Stmt, const
from tensorlang.ir.walk import children, find, free_vars, visit


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
    for _, block, _ in blocks(func.body, (), {}):
        points: Expr = const(flops_of(block.body))
        for extent in (*(it.extent for it in block.iters), *(f.extent for f in inside(block))):
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


def _closed(extent: Expr, size: Expr, ctx: Context) -> Expr:
    """The largest value of an extent in a dimension of `size`, in terms of what is open in the whole Func."""
    if not isinstance(extent, Const):
        upper = bounds(extent, ctx)[1] if free_vars(extent) & ctx.bound.keys() else extent
        extent = size if upper is None else upper
    return ops.make("min", extent, size)


def flops_of(stmt: Stmt) -> int:
    """Floating-point operations of one run of a block's body; comparisons, casts and selections are free."""
    count = 0
    for node in visit(stmt):
        if isinstance(node, Op) and dtypes.is_float(node.dtype) and node.op in _COSTS:
            count += _COSTS[node.op]
    return count


_COSTS = dict.fromkeys(("add", "sub", "mul", "div", "min", "max", "sqrt", *ops.MATH), 1) | {"fma": 2}
