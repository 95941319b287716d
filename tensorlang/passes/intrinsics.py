"""intrinsics: each Do of an Intrinsic gets the operands that its code takes; where its code does not fit, its body.

    dot4(C[i], A[k * 4], B[i, k * 4])   ->   dot4(C[i], A[k * 4], B[i, k * 4])       (args computed anew)

Steps and passes after tensorize may have given a buffer another layout: then the plain statements run.
"""

from __future__ import annotations

from tensorlang.errors import BuildError
from tensorlang.intrin.intrin import Intrinsic
from tensorlang.intrin.match import Mismatch, match
from tensorlang.ir import walk
from tensorlang.ir.nodes import Do, Func, Node
from tensorlang.target.target import Target


def intrinsics(func: Func, target: Target) -> Func:
    """Needs flatten before it, so that positions in memory are known.

    Raises BuildError for an intrinsic that the target does not have.
    """

    def fold(node: Node) -> Node:
        if not isinstance(node, Do) or node.body is None:
            return node
        if not isinstance(node.what, Intrinsic):  # known by name only
            return node.body
        if not node.what.requires(target) or node.what.code(target) is None:
            raise BuildError(f"{target.kind} ({target.cpu}) has no {node.what.name}: only the interpreter runs it")
        try:
            return Do(node.what, match(node.what, node.body).args, node.body)
        except Mismatch:
            return node.body

    return func.with_body(walk.transform(func.body, fold))
