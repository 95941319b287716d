"""The names in a Func, and Funcs with other names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tensorlang.ir.nodes import Alloc, Block, Buffer, Expr, For, Func, Stmt, Var
from tensorlang.ir.walk import map_children, substitute, visit


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
