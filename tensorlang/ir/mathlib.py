"""Mathematical functions, defined by the other ops of the table: `define`.

The interpreter and the backends replace each op of ops.MATH by its definition when they evaluate it, so scalar code,
vector code and the interpreter agree bit for bit (NaN payloads aside). Results on float32 and float64 are within 2
units in the last place over the whole domain, special values as in C99; narrow floats are computed in float32
and rounded.

Definitions use no memory: alternatives are computed both and selected. They share parts: evaluate each distinct
expression once.
"""

from __future__ import annotations

from collections.abc import Callable

from tensorlang.ir import math_erf, math_exp, math_log, math_pow, math_trig, ops
from tensorlang.ir.nodes import Expr, Op
from tensorlang.ir.ops import make

_DEFINITIONS: dict[str, Callable[..., Expr]] = {
    "exp": math_exp.exp,
    "exp2": math_exp.exp2,
    "expm1": math_exp.expm1,
    "log": math_log.log,
    "log2": math_log.log2,
    "log10": math_log.log10,
    "log1p": math_log.log1p,
    "rsqrt": lambda x: 1.0 / make("sqrt", x),
    "sin": math_trig.sin,
    "cos": math_trig.cos,
    "tan": math_trig.tan,
    "sinh": math_exp.sinh,
    "cosh": math_exp.cosh,
    "tanh": math_exp.tanh,
    "atan": math_trig.atan,
    "erf": math_erf.erf,
    "sigmoid": math_exp.sigmoid,
    "pow": math_pow.pow,
}


def define(op: Expr) -> Expr:
    """The definition of a mathematical op in primitive ops: of the same dtype and lanes, over the same operands.

    >>> define(ops.make("rsqrt", x))
    1.0 / sqrt(x)
    """
    assert isinstance(op, Op) and op.op in ops.MATH, f"{op!r} is no mathematical op"
    if define not in op.memo:
        wide = "float64" if op.dtype == "float64" else "float32"
        op.memo[define] = ops.cast(_DEFINITIONS[op.op](*(ops.cast(a, wide) for a in op.args)), op.dtype)
    return op.memo[define]
