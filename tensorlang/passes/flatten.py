"""flatten: buffers become one-dimensional, row-major; several subscripts become one.

    C[i, j] = A[j, i]  ->  C[i * 64 + j] = A[j * 32 + i]
"""

from __future__ import annotations

from tensorlang.arith.simplify import simplify
from tensorlang.ir import walk
from tensorlang.ir.nodes import ONE, ZERO, Alloc, Buffer, Expr, Func, Load, Node, Ramp, Splat, Store
from tensorlang.target.target import Target


def flatten(func: Func, target: Target) -> Func:
    """Parameters become new, one-dimensional Buffers of the same names."""
    allocated = (alloc.buffer for alloc in walk.find(func.body, Alloc))
    flat = {buffer: _flat_buffer(buffer) for buffer in (*func.params, *allocated)}

    def rewrite(node: Node) -> Node:
        if isinstance(node, Load):
            return Load(flat[node.buffer], (_index(node.indices, node.buffer, node.lanes),), node.mask)
        if isinstance(node, Store):
            lanes = max((i.lanes for i in node.indices), default=1)
            return Store(flat[node.buffer], (_index(node.indices, node.buffer, lanes),), node.value, node.mask)
        return Alloc(flat[node.buffer], node.body) if isinstance(node, Alloc) else node

    params = tuple(flat[p] for p in func.params)
    return Func(func.name, params, tuple(flat[p] for p in func.outputs), walk.transform(func.body, rewrite))


def _flat_buffer(buffer: Buffer) -> Buffer:
    size: Expr = ONE
    for extent in buffer.shape:
        size = size * extent
    return Buffer(buffer.name, (size,), buffer.dtype, buffer.scope)


def _index(indices: tuple[Expr, ...], buffer: Buffer, lanes: int) -> Expr:
    """Row-major position; a sum of ramps is a ramp."""
    strides: list[Expr] = []
    step: Expr = ONE
    for extent in reversed(buffer.shape):
        strides.insert(0, step)
        step = step * extent
    if lanes == 1:
        return simplify(_dot(indices, strides))
    if all(i.lanes == 1 or isinstance(i, Ramp) for i in indices):
        base = _dot(tuple(i.base if isinstance(i, Ramp) else i for i in indices), strides)
        stride = _dot(tuple(i.stride if isinstance(i, Ramp) else ZERO for i in indices), strides)
        return Ramp(simplify(base), simplify(stride), lanes)
    return _dot(tuple(i if i.lanes > 1 else Splat(i, lanes) for i in indices), strides)


def _dot(indices: tuple[Expr, ...], strides: list[Expr]) -> Expr:
    total: Expr = ZERO
    for index, stride in zip(indices, strides, strict=True):
        total = total + index * stride
    return total
