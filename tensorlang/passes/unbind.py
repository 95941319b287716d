"""unbind: loops that are bound to blocks and threads of a GPU run one iteration after the other.

    blockIdx.x i in 8: ...   ->   for i in 8: ...

So the schedule of a GPU kernel is one for a CPU, too, which computes the same.
"""

from __future__ import annotations

from tensorlang.ir import walk
from tensorlang.ir.nodes import SERIAL, For, Func, Node, unit_of
from tensorlang.target.target import Target


def unbind(func: Func, target: Target) -> Func:
    """No loop is bound."""
    if not any(unit_of(loop.kind) for loop in walk.find(func.body, For)):
        return func
    return func.with_body(walk.transform(func.body, _serial))


def _serial(node: Node) -> Node:
    return node.replace(kind=SERIAL) if isinstance(node, For) and unit_of(node.kind) else node
