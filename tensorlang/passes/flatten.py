"""flatten: buffers become one-dimensional, row-major; several subscripts become one.

    C[i, j] = A[j, i]  ->  C[i * 64 + j] = A[j * 32 + i]

Where storage_align asks for it, the distance between neighbours along an axis grows to such a multiple, plus offset.
What swizzle asks for is left to the code that is made: it speaks of addresses.
"""

from __future__ import annotations

from collections.abc import Sequence

from tensorlang.arith import poly as P
from tensorlang.arith.context import EMPTY
from tensorlang.arith.division import recombined
from tensorlang.arith.simplify import normal, simplify
from tensorlang.arith.strides import strides
from tensorlang.ir import walk
from tensorlang.ir.launch import SWIZZLE
from tensorlang.ir.nodes import ONE, ZERO, Alloc, Buffer, Expr, Func, Load, Node, Ramp, Splat, Store
from tensorlang.target.target import Target


def flatten(func: Func, target: Target) -> Func:
    """Parameters become new, one-dimensional Buffers of the same names."""
    pitches = {param: strides(param.shape) for param in func.params}
    for alloc in walk.find(func.body, Alloc):
        pitches[alloc.buffer] = strides(alloc.buffer.shape, dict(alloc.annotations).get("align", ()))
    flat = {b: Buffer(b.name, (total,), b.dtype, b.scope) for b, (total, *_) in pitches.items()}

    def rewrite(node: Node) -> Node:
        if isinstance(node, Load):
            return Load(flat[node.buffer], (_index(node.indices, pitches[node.buffer][1:], node.lanes),), node.mask)
        if isinstance(node, Store):
            lanes = max((i.lanes for i in node.indices), default=1)
            return Store(
                flat[node.buffer], (_index(node.indices, pitches[node.buffer][1:], lanes),), node.value, node.mask
            )
        if isinstance(node, Alloc):
            return Alloc(flat[node.buffer], node.body, tuple(pair for pair in node.annotations if pair[0] == SWIZZLE))
        return node

    params = tuple(flat[p] for p in func.params)
    return Func(
        func.name, params, tuple(flat[p] for p in func.outputs), walk.transform(func.body, rewrite, walk.loads_nothing)
    )


def _index(indices: tuple[Expr, ...], strides: list[Expr], lanes: int) -> Expr:
    """Position in memory; a sum of ramps is a ramp."""
    if lanes == 1:
        return _dot(indices, strides)
    if all(i.lanes == 1 or isinstance(i, Ramp) for i in indices):
        base = _dot(tuple(i.base if isinstance(i, Ramp) else i for i in indices), strides)
        ramps = [(i.stride, step) for i, step in zip(indices, strides, strict=True) if isinstance(i, Ramp)]
        return Ramp(base, _dot(*zip(*ramps, strict=True)), lanes)
    total: Expr = ZERO
    for index, step in zip(indices, strides, strict=True):
        total = total + (index if index.lanes > 1 else Splat(index, lanes)) * step
    return total


def _dot(indices: Sequence[Expr], strides: Sequence[Expr]) -> Expr:
    """The sum of index * stride, simplified."""
    if len(indices) == 1 and strides[0] is ONE:
        return simplify(indices[0])
    total: P.Poly = {}
    for index, stride in zip(indices, strides, strict=True):
        total = P.add(total, P.mul(normal(index, EMPTY), normal(stride, EMPTY)))
    return P.to_expr(recombined(total, EMPTY))
