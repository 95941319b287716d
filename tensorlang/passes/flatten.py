"""flatten: buffers become one-dimensional, row-major; several subscripts become one.

    C[i, j] = A[j, i]  ->  C[i * 64 + j] = A[j * 32 + i]

Where storage_align asks for it, the distance between neighbours along an axis grows to such a multiple, plus offset.
What swizzle asks for is left to the code that is made: it speaks of addresses.
"""

from __future__ import annotations

from typing import Any

from tensorlang.arith import poly as P
from tensorlang.arith.context import EMPTY
from tensorlang.arith.division import recombined
from tensorlang.arith.poly import Poly
from tensorlang.arith.simplify import normal, simplify
from tensorlang.arith.strides import strides
from tensorlang.ir import walk
from tensorlang.ir.launch import SWIZZLE
from tensorlang.ir.nodes import ZERO, Alloc, Buffer, Expr, Func, Load, Node, Ramp, Splat, Store
from tensorlang.target.target import Target


def flatten(func: Func, target: Target) -> Func:
    """Parameters become one-dimensional Buffers of the same names."""
    rewrite = _Flattening()
    for param in func.params:
        rewrite.add(param)
    for alloc in walk.find(func.body, Alloc):
        rewrite.add(alloc.buffer, dict(alloc.annotations).get("align", ()))
    params, outputs = (tuple(rewrite.flat[p] for p in group) for group in (func.params, func.outputs))
    return Func(func.name, params, outputs, walk.transform(func.body, rewrite, walk.loads_nothing))


class _Flattening:
    """Finds positions in memory. Accesses with the same subscripts share them."""

    def __init__(self) -> None:
        self.flat: dict[Buffer, Buffer] = {}
        self.steps: dict[Buffer, tuple[Poly, ...]] = {}  # how far neighbours along each dimension are apart
        self.positions: dict[tuple[Buffer, tuple[Expr, ...]], Expr] = {}
        self.sums: dict[frozenset[tuple[P.Monomial, int]], Expr] = {}  # of terms that vary, none of them negative

    def add(self, buffer: Buffer, aligned: Any = ()) -> None:
        total, *steps = strides(buffer.shape, aligned)
        is_flat = len(steps) == 1 and total is buffer.shape[0]
        self.flat[buffer] = buffer if is_flat else Buffer(buffer.name, (total,), buffer.dtype, buffer.scope)
        self.steps[buffer] = tuple(normal(step, EMPTY) for step in steps)

    def __call__(self, node: Node) -> Node:
        if isinstance(node, Load):
            return Load(self.flat[node.buffer], (self.position(node),), node.mask)
        if isinstance(node, Store):
            return Store(self.flat[node.buffer], (self.position(node),), node.value, node.mask)
        if isinstance(node, Alloc):
            notes = tuple(pair for pair in node.annotations if pair[0] == SWIZZLE)
            return Alloc(self.flat[node.buffer], node.body, notes)
        return node

    def position(self, access: Load | Store) -> Expr:
        key = (access.buffer, access.indices)
        found = self.positions.get(key)
        if found is None:
            found = self.positions[key] = self._position(access.indices, self.steps[access.buffer])
        return found

    def _position(self, indices: tuple[Expr, ...], steps: tuple[Poly, ...]) -> Expr:
        """Position in memory; a sum of ramps is a ramp."""
        lanes = max([i.lanes for i in indices], default=1)
        if lanes == 1:
            return self._dot(indices, steps)
        if all(i.lanes == 1 or isinstance(i, Ramp) for i in indices):
            base = self._dot(tuple([i.base if isinstance(i, Ramp) else i for i in indices]), steps)
            ramps = [(i.stride, step) for i, step in zip(indices, steps, strict=True) if isinstance(i, Ramp)]
            return Ramp(base, self._dot(*zip(*ramps, strict=True)), lanes)
        total: Expr = ZERO
        for index, step in zip(indices, steps, strict=True):
            total = total + (index if index.lanes > 1 else Splat(index, lanes)) * P.to_expr(step)
        return total

    def _dot(self, indices: tuple[Expr, ...], steps: tuple[Poly, ...]) -> Expr:
        """The sum of index * step, simplified."""
        if len(indices) == 1 and P.value_of(steps[0]) == 1:
            return simplify(indices[0])
        total = P.total([P.mul(normal(index, EMPTY), step) for index, step in zip(indices, steps, strict=True)])
        return self._sum(recombined(total, EMPTY))

    def _sum(self, total: Poly) -> Expr:
        """P.to_expr. The positions in unrolled copies differ in the constant, which then comes last."""
        terms = [term for term in total.items() if term[0]]
        if not terms or min([c for _, c in terms]) < 0:
            return P.to_expr(total)
        key = frozenset(terms)
        found = self.sums.get(key)
        if found is None:
            found = self.sums[key] = P.to_expr(dict(terms))
        offset = total.get((), 0)
        return found + offset if offset >= 0 else found - -offset
