"""lower_blocks: blocks become their bodies, iterators their bindings, predicates Ifs.

block C(i = i0 * 12 + i1) where i0 * 12 + i1 < 100:  ->  if i0 * 12 + i1 < 100:
  C[i] = A[i]                                              C[i0 * 12 + i1] = A[i0 * 12 + i1]

What cache_hint has said of a block stands at its store, on targets that heed it.
"""

from __future__ import annotations

from tensorlang.ir import walk
from tensorlang.ir.launch import CACHE_HINT, CACHE_HINTS
from tensorlang.ir.nodes import TRUE, Block, Do, Func, If, Node, Stmt, Store
from tensorlang.target.target import Target


def lower_blocks(func: Func, target: Target) -> Func:
    """No Block remains. Needs lower_init before it."""
    return func.with_body(lowered(func.body, target.cache_hints))


def lowered(stmt: Stmt, hints: bool = False) -> Stmt:
    """`stmt` without blocks."""

    def lower(node: Node) -> Node:
        if not isinstance(node, Block):
            return node
        values = {it.var: b for it, b in zip(node.iters, node.bindings, strict=True)}
        body = walk.substitute(node.body, values)
        hint = dict(node.annotations).get(CACHE_HINT) if hints else None
        if hint in CACHE_HINTS and isinstance(body, Store):
            body = Do(hint, (), body)
        return body if node.predicate is TRUE else If(node.predicate, body)

    return walk.transform(stmt, lower)
