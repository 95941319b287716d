"""unroll: loops marked so become copies of their body, one for each iteration.

    for i in 3 unrolled: C[i] = A[i]   ->   C[0] = A[0]; C[1] = A[1]; C[2] = A[2]

A loop whose extent is not constant, or whose copies would be too much code, becomes a serial loop. In a copy, loops
inside may turn out to run nothing: they vanish.
"""

from __future__ import annotations

from tensorlang.ir import walk
from tensorlang.ir.nodes import NOTHING, SERIAL, UNROLL, Const, Do, For, Func, Stmt, const, seq
from tensorlang.passes.tools import map_stmts, stores
from tensorlang.target.target import Target

_MOST_STORES = 1024  # that one unrolled loop may hold


def unroll(func: Func, target: Target) -> Func:
    """No loop of kind unroll remains. Run tidy before it, so that extents are constants where they can be."""
    return func.with_body(_unrolled(func.body))


def _unrolled(stmt: Stmt) -> Stmt:
    """Outer loops first: the extents of inner loops may depend on them."""
    if isinstance(stmt, Do):  # what its body says must stay what its code does
        return walk.transform(stmt, lambda n: n.replace(kind=SERIAL) if isinstance(n, For) else n)
    if isinstance(stmt, For) and isinstance(stmt.extent, Const) and stmt.extent.value <= 0:
        return NOTHING
    if isinstance(stmt, For) and stmt.kind == UNROLL:
        count = int(stmt.extent.value) if isinstance(stmt.extent, Const) else 0
        if count and count * stores(stmt.body) <= _MOST_STORES:
            copies = [_unrolled(walk.substitute(stmt.body, {stmt.var: const(n)})) for n in range(count)]
            if sum(map(stores, copies)) <= _MOST_STORES:
                return seq(*copies)
        return stmt.replace(kind=SERIAL, body=_unrolled(stmt.body))
    return map_stmts(stmt, _unrolled)
