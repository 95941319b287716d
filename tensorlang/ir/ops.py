"""The table of operations, and the only way to build `Op` nodes: `make`.

Each row gives the arity, which dtypes the operands may have, the dtype of the result, how it prints, and what it
computes on NumPy scalars and arrays. Mathematical functions are rows without a NumPy function: mathlib.py defines
them in terms of the other rows, so that every backend and the interpreter agree bit for bit.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from tensorlang.errors import ExprError
from tensorlang.ir import dtypes, exact
from tensorlang.ir.nodes import Const, Expr, Op, Splat

FLOAT, INT, INDEX, BOOL = "float", "int", "index", "bool"
NUMBER = (FLOAT, INT, INDEX)
WARP = 32  # threads that run together on a GPU and can exchange values


@dataclass(frozen=True)
class OpInfo:
    """One row: `kinds` the operands may have; `result` is "same" or a dtype; `symbol` prints infix if present."""

    arity: int
    kinds: tuple[str, ...]
    result: str = "same"
    symbol: str = ""
    precedence: int = 100
    numpy: Callable[..., Any] | None = None
    commutative: bool = False


def _floordiv(a: Any, b: Any) -> Any:
    """Floor division in which x // 0 is 0 (NumPy says so too, with a warning) and the smallest integer wraps."""
    with np.errstate(all="ignore"):
        return np.floor_divide(a, b)


def _mod(a: Any, b: Any) -> Any:
    with np.errstate(all="ignore"):
        return np.remainder(a, b)


def _shift(function: Callable[..., Any]) -> Callable[..., Any]:
    def shift(a: Any, b: Any) -> Any:
        a = np.asarray(a)
        return function(a, np.asarray(b).astype(a.dtype) & a.dtype.type(8 * a.dtype.itemsize - 1))

    return shift


OPS: dict[str, OpInfo] = {
    # arithmetic
    "add": OpInfo(2, NUMBER, symbol="+", precedence=60, numpy=np.add, commutative=True),
    "sub": OpInfo(2, NUMBER, symbol="-", precedence=60, numpy=np.subtract),
    "mul": OpInfo(2, NUMBER, symbol="*", precedence=70, numpy=np.multiply, commutative=True),
    "div": OpInfo(2, (FLOAT,), symbol="/", precedence=70, numpy=np.divide),
    "floordiv": OpInfo(2, (INT, INDEX), symbol="//", precedence=70, numpy=_floordiv),
    "mod": OpInfo(2, (INT, INDEX), symbol="%", precedence=70, numpy=_mod),
    "min": OpInfo(2, (*NUMBER, BOOL), numpy=np.minimum, commutative=True),
    "max": OpInfo(2, (*NUMBER, BOOL), numpy=np.maximum, commutative=True),
    "neg": OpInfo(1, NUMBER, symbol="-", precedence=80, numpy=np.negative),
    "abs": OpInfo(1, NUMBER, numpy=np.abs),
    "fma": OpInfo(3, (FLOAT,)),  # a * b + c, rounded once
    # comparison and logic
    "eq": OpInfo(2, (*NUMBER, BOOL), "bool", "==", 40, np.equal, True),
    "ne": OpInfo(2, (*NUMBER, BOOL), "bool", "!=", 40, np.not_equal, True),
    "lt": OpInfo(2, NUMBER, "bool", "<", 40, np.less),
    "le": OpInfo(2, NUMBER, "bool", "<=", 40, np.less_equal),
    "gt": OpInfo(2, NUMBER, "bool", ">", 40, np.greater),
    "ge": OpInfo(2, NUMBER, "bool", ">=", 40, np.greater_equal),
    "and": OpInfo(2, (BOOL,), "bool", "and", 20, np.logical_and, True),
    "or": OpInfo(2, (BOOL,), "bool", "or", 10, np.logical_or, True),
    "not": OpInfo(1, (BOOL,), "bool", "not ", 30, np.logical_not),
    "select": OpInfo(3, (), numpy=np.where),  # (condition, value if true, value if false); both are evaluated
    "if_then_else": OpInfo(3, ()),  # the same, but only the value taken is evaluated
    # bits
    "bitand": OpInfo(2, (INT,), symbol="&", precedence=56, numpy=np.bitwise_and, commutative=True),
    "bitor": OpInfo(2, (INT,), symbol="|", precedence=52, numpy=np.bitwise_or, commutative=True),
    "bitxor": OpInfo(2, (INT,), symbol="^", precedence=54, numpy=np.bitwise_xor, commutative=True),
    "bitnot": OpInfo(1, (INT,), symbol="~", precedence=80, numpy=np.invert),
    "shl": OpInfo(2, (INT,), symbol="<<", precedence=58, numpy=_shift(np.left_shift)),
    "shr": OpInfo(2, (INT,), symbol=">>", precedence=58, numpy=_shift(np.right_shift)),
    # conversion (the dtype of the node says to what)
    "cast": OpInfo(1, ()),  # the value, converted
    "reinterpret": OpInfo(1, ()),  # the bits, as another dtype of the same size
    # between the threads of a warp, see nodes.py
    "shuffle_xor": OpInfo(2, ()),  # (value, mask): the value that lane `this lane ^ mask` of the warp gives
    # rounding and classification
    "floor": OpInfo(1, (FLOAT,), numpy=np.floor),
    "ceil": OpInfo(1, (FLOAT,), numpy=np.ceil),
    "trunc": OpInfo(1, (FLOAT,), numpy=np.trunc),
    "round": OpInfo(1, (FLOAT,), numpy=np.rint),  # half to even
    "sqrt": OpInfo(1, (FLOAT,), numpy=np.sqrt),
    "isnan": OpInfo(1, (FLOAT,), "bool", numpy=np.isnan),
    "isinf": OpInfo(1, (FLOAT,), "bool", numpy=np.isinf),
    "isfinite": OpInfo(1, (FLOAT,), "bool", numpy=np.isfinite),
    # mathematical functions: mathlib.py defines them
    **{
        name: OpInfo(1, (FLOAT,))
        for name in (
            *("exp", "exp2", "expm1", "log", "log2", "log10", "log1p", "rsqrt", "sin", "cos", "tan"),
            *("sinh", "cosh", "tanh", "atan", "erf", "sigmoid"),
        )
    },
    "pow": OpInfo(2, (FLOAT,)),
}
MATH = tuple(name for name, row in OPS.items() if row.kinds == (FLOAT,) and row.numpy is None and name != "fma")


_KINDS = dict.fromkeys(dtypes.FLOATS, FLOAT) | dict.fromkeys(dtypes.INTEGERS, INT)


def kind_of(dtype: str) -> str:
    return _KINDS.get(dtype, dtype)


def literal(value: Any, dtype: str) -> Const:
    """`value` as a constant of `dtype`; it must be representable there as NumPy users expect."""
    if type(value) is int and dtype == INDEX:  # nearly always
        return Const(value, dtype)
    kind = kind_of(dtype)
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, bool):
        if kind != BOOL:
            raise ExprError(f"expected a {dtype} literal, got {value}: write {int(value)}")
        return Const(value, dtype)
    if isinstance(value, int) and kind in (INT, INDEX):
        if kind == INT and not _range(dtype)[0] <= value <= _range(dtype)[1]:
            raise ExprError(f"{value} does not fit in {dtype}, which holds {_range(dtype)[0]} .. {_range(dtype)[1]}")
        return Const(value, dtype)
    if isinstance(value, int | float) and kind == FLOAT:
        with np.errstate(over="ignore"):  # beyond the largest is inf, as for arrays
            return Const(float(dtypes.to_numpy(dtype).type(value)), dtype)
    if isinstance(value, int | float | complex | str | list | tuple) or value is None:
        raise ExprError(f"{value!r} is not a {dtype} value" + _literal_hint(value, kind))
    raise ExprError(f"expected an expression or a Python number, got {type(value).__name__}")


def _literal_hint(value: Any, kind: str) -> str:
    if isinstance(value, float) and kind in (INT, INDEX):
        return ': cast the other operand, for example x.astype("float32")'
    return ""


def _range(dtype: str) -> tuple[int, int]:
    info = np.iinfo(dtype)
    return int(info.min), int(info.max)


def make(op: str, *operands: Any) -> Expr:
    """`op(operands)`: checks arity and dtypes, turns Python numbers into constants, folds constant index arithmetic.

    Raises ExprError when dtypes do not fit; the text says which cast to write.
    """
    row = OPS[op]
    if len(operands) != row.arity:
        raise ExprError(f"{op} takes {row.arity} operands, got {len(operands)}")
    if op == "shuffle_xor":
        return shuffle_xor(*operands)
    if op in ("select", "if_then_else"):
        return _choice(op, *operands)
    args = _align(op, operands)
    dtype = args[0].dtype
    if kind_of(dtype) not in row.kinds:
        raise ExprError(_kind_message(op, row, dtype))
    folded = _fold(op, args)
    return folded if folded is not None else Op(op, args, dtype if row.result == "same" else row.result)


def _choice(op: str, cond: Any, *values: Any) -> Expr:
    aligned = _align(op, values)
    cond = cond if isinstance(cond, Expr) else literal(cond, "bool")
    if cond.dtype != "bool":
        raise ExprError(f"the condition of {op} must be bool, got {cond.dtype}: write the comparison, as in x != 0")
    args = _same_lanes((cond, *aligned))
    return _folded(op, args, args[1].dtype)


def with_operands(node: Op, args: tuple[Expr, ...]) -> Expr:
    """`node` with other operands; constants fold and lanes broadcast as in `make`."""
    for before, arg in zip(node.args, args, strict=True):
        if arg.lanes != before.lanes or arg.dtype != before.dtype:
            if node.op == "cast":
                return cast(args[0], node.dtype)
            return Op(node.op, args, node.dtype) if node.op == "reinterpret" else make(node.op, *args)
    return _folded(node.op, args, node.dtype)


def _folded(op: str, args: tuple[Expr, ...], dtype: str) -> Expr:
    """What `make` makes of operands that fit each other."""
    if op in ("select", "if_then_else"):
        cond = args[0]
        return args[1 if cond.value else 2] if isinstance(cond, Const) else Op(op, args, dtype)
    if op == "cast":
        value = args[0]
        if isinstance(value, Const) and value.dtype == "index" and dtypes.is_integer(dtype):
            return Const(exact.wrap(int(value.value), dtype), dtype)  # no author wrote it: no error
        return cast(value, dtype)
    found = _fold(op, args)
    return Op(op, args, dtype) if found is None else found


def _align(op: str, operands: tuple[Any, ...]) -> tuple[Expr, ...]:
    """The operands as expressions of one dtype and one number of lanes."""
    if len(operands) == 2 and isinstance(operands[0], Expr):  # nearly always
        a, b = operands
        b = b if isinstance(b, Expr) else literal(b, a.dtype)
        if a.dtype == b.dtype and a.lanes == b.lanes:
            return a, b
    exprs = [x for x in operands if isinstance(x, Expr)]
    if not exprs:
        dtype = "float32" if any(isinstance(x, float) for x in operands) else "index"
        return tuple(literal(x, dtype) for x in operands)
    dtype = exprs[0].dtype
    for other in exprs:
        if other.dtype != dtype:
            raise ExprError(_mix_message(op, exprs[0], other))
    return _same_lanes(tuple(x if isinstance(x, Expr) else literal(x, dtype) for x in operands))


def _same_lanes(args: tuple[Expr, ...]) -> tuple[Expr, ...]:
    lanes = max(a.lanes for a in args)
    return args if lanes == 1 else tuple(a if a.lanes == lanes else Splat(a, lanes) for a in args)


def _mix_message(op: str, a: Expr, b: Expr) -> str:
    narrow, wide = sorted((a, b), key=lambda e: (dtypes.is_float(e.dtype), dtypes.bits(e.dtype), e.dtype == "index"))
    if wide.dtype == "index":
        narrow, wide = wide, narrow
    symbol = OPS[op].symbol or op
    return f'{symbol} mixes {a.dtype} and {b.dtype}: write {narrow!r}.astype("{wide.dtype}")'


def _kind_message(op: str, row: OpInfo, dtype: str) -> str:
    name = row.symbol.strip() or op
    if op == "div":
        return f'/ needs floats, got {dtype}: write // for integers, or cast first, as in x.astype("float32")'
    if op in ("floordiv", "mod") and dtypes.is_float(dtype):
        instead = "floor(a / b)" if op == "floordiv" else "a - floor(a / b) * b"
        return f"{name} needs integers, got {dtype}: write {instead}"
    if dtype == "bool" and FLOAT in row.kinds:
        return f'{name} needs numbers, got bool: cast first, as in x.astype("int32")'
    if row.kinds == (FLOAT,):
        return f'{name} needs floats, got {dtype}: cast first, as in x.astype("float32")'
    return f"{name} needs {'bool' if row.kinds == (BOOL,) else 'integers'}, got {dtype}"


_PYTHON: dict[str, Callable[..., Any]] = {
    "add": operator.add,
    "sub": operator.sub,
    "mul": operator.mul,
    "floordiv": lambda a, b: a // b if b else 0,
    "mod": lambda a, b: a % b if b else 0,
    "min": min,
    "max": max,
    "neg": operator.neg,
    "abs": abs,
    "eq": operator.eq,
    "ne": operator.ne,
    "lt": operator.lt,
    "le": operator.le,
    "gt": operator.gt,
    "ge": operator.ge,
    "and": lambda a, b: a and b,
    "or": lambda a, b: a or b,
    "not": operator.not_,
}


_OTHER = object()  # the operand beside the constant
_CONSTANT: dict[tuple[str, str, Any], Any] = {  # what an operation with this constant comes to
    ("add", INDEX, 0): _OTHER,
    ("mul", INDEX, 1): _OTHER,
    ("mul", INDEX, 0): 0,
    ("or", BOOL, False): _OTHER,
    ("or", BOOL, True): True,
    ("and", BOOL, True): _OTHER,
    ("and", BOOL, False): False,
}
_CONSTANT_LEFT = {**_CONSTANT, ("max", BOOL, False): _OTHER}
_CONSTANT_RIGHT = {
    **_CONSTANT,
    ("sub", INDEX, 0): _OTHER,
    ("floordiv", INDEX, 1): _OTHER,
    ("mod", INDEX, 1): 0,
}


def _fold(op: str, args: tuple[Expr, ...]) -> Expr | None:
    """Exact arithmetic on index and bool: constants, and the identities of 0, 1, true and false. Else None."""
    a, b = args[0], args[-1]
    dtype = a.dtype
    if dtype not in (INDEX, BOOL) or op not in _PYTHON:
        return None
    if isinstance(a, Const):
        if isinstance(b, Const):
            value = _PYTHON[op](*(arg.value for arg in args))  # type: ignore[attr-defined]
            return Const(value, BOOL if isinstance(value, bool) else dtype)
        found, other = _CONSTANT_LEFT.get((op, dtype, a.value)), b
    elif isinstance(b, Const):
        found, other = _CONSTANT_RIGHT.get((op, dtype, b.value)), a
    else:
        return a if a is b and op in ("min", "max", "and", "or") else None
    return None if found is None else other if found is _OTHER else Const(found, dtype)


def cast(value: Expr, dtype: Any) -> Expr:
    """`value` converted to `dtype` (a NumPy dtype, or a name, index included); itself if it has that dtype already."""
    if isinstance(dtype, np.dtype | type):
        dtype = dtypes.from_numpy(np.dtype(dtype)) or str(dtype)
    if dtype not in dtypes.ALL:
        raise ExprError(f"unknown dtype {dtype!r}: one of {', '.join(dtypes.DATA)}")
    if value.dtype == dtype:
        return value
    if isinstance(value, Const) and value.dtype == "index" and dtype != "bool":
        return literal(value.value, dtype)
    if isinstance(value, Const) and dtype == "index" and dtypes.is_integer(value.dtype):
        return Const(int(value.value), dtype)
    return Op("cast", (value,), dtype)


def reinterpret(value: Expr, dtype: str) -> Expr:
    """The bits of `value` as `dtype`, which has the same size."""
    if dtypes.bits(dtype) != dtypes.bits(value.dtype):
        raise ExprError(f"cannot reinterpret {value.dtype} as {dtype}: sizes differ")
    return value if value.dtype == dtype else Op("reinterpret", (value,), dtype)


def shuffle_xor(value: Expr, mask: Any) -> Expr:
    """The `value` that the lane with number `this lane ^ mask` of the same warp computes; mask: 1 .. 31."""
    bits = mask.value if isinstance(mask, Const) and mask.dtype == "index" else mask
    if not isinstance(bits, int) or isinstance(bits, bool) or not 0 < bits < WARP:
        raise ExprError(f"the mask of shuffle_xor must be a number from 1 to {WARP - 1}, got {mask!r}")
    return Op("shuffle_xor", (value, Const(bits, "index")), value.dtype)


def typed(op: str, args: tuple[Any, ...]) -> tuple[Any, ...]:
    """Those operands of `op` that share one dtype: not the condition of a choice, not the mask of a shuffle."""
    return args[1:] if op in ("select", "if_then_else") else args[:1] if op == "shuffle_xor" else args


def logic(op: str, a: Any, b: Any) -> Expr:
    """& | ^: logical on bool, bitwise on integers."""
    dtype = (a if isinstance(a, Expr) else b).dtype
    if dtype != "bool":
        return make("bit" + op, a, b)
    return make("ne", a, b) if op == "xor" else make(op, a, b)


def invert(a: Expr) -> Expr:
    """~: logical on bool, bitwise on integers."""
    return make("not" if a.dtype == "bool" else "bitnot", a)


def power(base: Expr, exponent: Any) -> Expr:
    """base ** exponent; a small whole exponent becomes multiplications (so x ** 2 is x * x, as in NumPy)."""
    if isinstance(exponent, np.generic):
        exponent = exponent.item()
    whole = isinstance(exponent, int | float) and not isinstance(exponent, bool) and exponent == math.trunc(exponent)
    if whole and 1 <= exponent <= 16:
        result, square, n = None, base, int(exponent)
        while n:
            if n & 1:
                result = square if result is None else result * square
            n >>= 1
            square = square * square if n else square
        return result  # type: ignore[return-value]
    if whole and exponent == 0 and kind_of(base.dtype) in NUMBER:
        return literal(1, base.dtype)
    if not dtypes.is_float(base.dtype):
        raise ExprError(f"** on {base.dtype} needs a whole exponent from 0 to 16, got {exponent!r}")
    return make("pow", base, exponent)


def all_of(conditions: Any) -> Expr:
    """The conjunction of bool expressions; true if there are none."""
    result: Expr = Const(True, "bool")
    for condition in conditions:
        result = make("and", result, condition)
    return result


def conjuncts(cond: Expr) -> list[Expr]:
    """The conditions whose conjunction `cond` is; none if it is true."""
    if isinstance(cond, Op) and cond.op == "and":
        return [c for arg in cond.args for c in conjuncts(arg)]
    return [] if isinstance(cond, Const) and cond.value else [cond]
