"""legalize_narrow: arithmetic on floats of 8 and 16 bits happens in float32, each op rounded back.

    C[i] = A[i] * B[i] + 1.0   ->   C[i] = f16(f32(f16(f32(A[i]) * f32(B[i]))) + f32(1.0))

That is what the IR says such an op means, so it is no approximation. Loads, stores, select and conversions stay, and
min and max of 16 bits where the target has them.
"""

from __future__ import annotations

from functools import partial

from tensorlang.ir import dtypes, ops, walk
from tensorlang.ir.nodes import Expr, Func, Node, Op
from tensorlang.target.target import Target

_MOVES = ("cast", "reinterpret", "select", "if_then_else", "shuffle_xor")  # no arithmetic: any dtype will do


def legalize_narrow(func: Func, target: Target) -> Func:
    """No op computes in a narrow float."""
    return func.with_body(walk.transform(func.body, partial(_wide, target)))


def _wide(target: Target, node: Node) -> Node:
    if not isinstance(node, Op) or node.op in _MOVES or node.args[0].dtype not in dtypes.NARROW:
        return node
    if node.op in ("min", "max") and target.halves_compared and dtypes.bits(node.dtype) == 16:
        return node
    result: Expr = ops.make(node.op, *(ops.cast(a, "float32") for a in node.args))
    return result if node.dtype == "bool" else ops.cast(result, node.dtype)
