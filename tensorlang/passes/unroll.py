"""unroll: loops marked so become copies of their body, one for each iteration.

    for i in 3 unrolled: C[i] = A[i]   ->   C[0] = A[0]; C[1] = A[1]; C[2] = A[2]

A loop whose extent is not constant, or whose copies would be too much code, becomes a serial loop. In a copy, loops
inside may turn out to run nothing: they vanish.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tensorlang.ir import walk
from tensorlang.ir.nodes import NOTHING, SERIAL, UNROLL, Const, Do, Expr, For, Func, Seq, Stmt, Store, Var, const, seq
from tensorlang.passes.tools import stores
from tensorlang.target.target import Target

_MOST_STORES = 1024  # that one unrolled loop may hold


def unroll(func: Func, target: Target) -> Func:
    """No loop of kind unroll remains. Run tidy before it, so that extents are constants where they can be."""
    return func.with_body(_unrolled(func.body, {}))


def _unrolled(node: Any, values: Mapping[Var, Expr]) -> Any:
    """A statement, or an expression in one, with `values` for the variables of the unrolled loops around it.

    Outer loops first: the extents of inner loops may depend on them.
    """
    if not isinstance(node, Stmt) or isinstance(node, Store):
        return walk.substitute(node, values) if values else node
    if isinstance(node, Do):  # what its body says must stay what its code does
        plain = walk.transform(node, lambda n: n.replace(kind=SERIAL) if isinstance(n, For) else n)
        return walk.substitute(plain, values)
    if isinstance(node, For):
        extent = walk.substitute(node.extent, values)
        count = int(extent.value) if isinstance(extent, Const) else None
        if count is not None and count <= 0:
            return NOTHING
        if node.kind == UNROLL:
            return _copies(node, count or 0, values) or _unrolled(node.replace(kind=SERIAL), values)
    changed = walk.map_children(node, lambda n: _unrolled(n, values))
    return seq(*changed.stmts) if isinstance(changed, Seq) and changed is not node else changed


def _copies(loop: For, count: int, values: Mapping[Var, Expr]) -> Stmt | None:
    """The body of `loop` for each iteration, unless that is too much code, or their number is not known (0)."""
    if not count or count * stores(loop.body) > _MOST_STORES:
        return None
    copies = [_unrolled(loop.body, {**values, loop.var: const(n)}) for n in range(count)]
    return seq(*copies) if sum(map(stores, copies)) <= _MOST_STORES else None
