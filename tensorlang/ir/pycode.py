"""IR expressions as Python source, for the interpreter: scalars on Python numbers, vectors on NumPy arrays.

`Writer` emits statements into a list of lines. A subexpression that is used more than once is assigned to a local
name where it is first needed; the two sides of an `if_then_else` become the branches of an `if`, so that only the one
taken is evaluated, while `select`, `and` and `or` evaluate all their operands.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np

from tensorlang.errors import ExprError
from tensorlang.ir import dtypes, exact, mathlib, memory, walk
from tensorlang.ir.nodes import Buffer, Const, Expr, Let, Load, Op, Ramp, Splat, Var
from tensorlang.ir.ops import MATH, OPS

_COMPARE = {"eq": "==", "ne": "!=", "lt": "<", "le": "<=", "gt": ">", "ge": ">="}
_ARITHMETIC = {"add": "+", "sub": "-", "mul": "*"}
_BITS = {"bitand": "&", "bitor": "|", "bitxor": "^"}


def _array_function(op: str, dtype: str) -> Callable[..., Any]:
    """What `op` computes on arrays of `dtype`."""
    function: Callable[..., Any] | None = OPS[op].numpy
    if op == "fma":
        return exact.array_fma
    if op in ("min", "max") and dtypes.is_float(dtype):
        function = exact.array_minimum if op == "min" else exact.array_maximum
    if function is None:
        raise ExprError(f"{op} is not defined on vectors: lower it to masks first")
    return exact.in_float32(function) if dtype in dtypes.NARROW and op != "select" else function


class Writer:
    """Writes Python: `lines` grow, `names` are the objects that the code refers to by name."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.indent = 1
        self.names: dict[str, Any] = {"_f32": exact._c_float, "_min": min, "_max": max}
        self.vars: dict[Var, str] = {}
        self.checked: dict[Var, Expr] = {}  # variables known to lie in 0 .. extent - 1
        self.memory: dict[Buffer, tuple[str, str]] = {}  # names for scalar and for vector access
        self.strides: dict[Buffer, tuple[str, ...]] = {}  # as Python source
        self.scopes: list[dict[Expr, str]] = []
        self.uses: Counter[Expr] = Counter()
        self.count = 0

    def line(self, code: str) -> None:
        self.lines.append("    " * self.indent + code)

    def fresh(self, base: str) -> str:
        self.count += 1
        return f"{re.sub(r'[^A-Za-z0-9_]', '_', base)}_{self.count}"

    def refer(self, name: str, value: Any) -> str:
        """A name by which the code can refer to `value`."""
        self.names.setdefault(name, value)
        return name

    def assign(self, base: str, code: str) -> str:
        """A fresh local name holding the value of `code`."""
        if code.isidentifier():
            return code
        name = self.fresh(base)
        self.line(f"{name} = {code}")
        return name

    # --------------------------------------------------------------------------------------- expressions
    def value(self, expr: Expr) -> str:
        """Python source of the value of `expr`, after emitting its shared parts."""
        self.begin(expr)
        result = self.expr(expr)
        self.scopes.pop()
        return result

    def begin(self, *exprs: Expr) -> None:
        """Open a scope for the expressions of one statement, and count how often each part is used in them."""
        self.uses = Counter(exprs)
        seen: set[Expr] = set()
        stack: list[Expr] = list(exprs)
        while stack:
            current = stack.pop()
            if current not in seen:
                seen.add(current)
                below = _parts(current)
                self.uses.update(below)
                stack.extend(below)
        self.scopes.append({})

    def expr(self, expr: Expr) -> str:
        if isinstance(expr, Var):
            if expr not in self.vars:
                raise ExprError(f"variable {expr.name} has no value here")
            return self.vars[expr]
        if isinstance(expr, Const):
            return self.constant(expr)
        for scope in self.scopes:
            if expr in scope:
                return scope[expr]
        code = self.compound(expr)
        if self.uses[expr] > 1 or len(code) > 500:
            code = self.assign("t", code)
            self.scopes[-1][expr] = code
        return code

    def compound(self, expr: Expr) -> str:
        if isinstance(expr, Op):
            if expr.op == "if_then_else":
                return self.choice(expr)
            if expr.op in MATH:
                return self.defined(expr)
            if expr.lanes > 1:
                return self.vector_op(expr, [self.expr(a) for a in expr.args])
            return self.scalar_op(expr, [self.expr(a) for a in expr.args])
        if isinstance(expr, Load):
            return self.load(expr)
        if isinstance(expr, Let):
            value = self.assign(expr.var.name, self.expr(expr.value))
            self.vars[expr.var] = value
            self.scopes.append({})
            body = self.assign("let", self.expr(expr.body))
            self.scopes.pop()
            return body
        if isinstance(expr, Ramp):
            lanes = self.refer(f"_lanes_{expr.lanes}", np.arange(expr.lanes))
            if expr.dtype == "index":
                return f"({self.expr(expr.base)} + {self.expr(expr.stride)} * {lanes})"
            data = self.refer(f"_np_{expr.dtype}", dtypes.to_numpy(expr.dtype).type)
            return f"({data}({self.expr(expr.base)}) + {data}({self.expr(expr.stride)}) * {lanes}.astype({data}))"
        if isinstance(expr, Splat):
            full, data = self.refer("_full", np.full), self.refer(f"_np_{expr.dtype}", _numpy_type(expr.dtype))
            return f"{full}({expr.lanes}, {self.expr(expr.value)}, {data})"
        raise ExprError(f"the interpreter does not know {type(expr).__name__} outside a te expression")

    def constant(self, expr: Const) -> str:
        if not dtypes.is_float(expr.dtype):
            return repr(expr.value) if expr.value >= 0 else f"({expr.value!r})"
        value = exact.round_float(float(expr.value), expr.dtype)
        if math.isfinite(value):
            return repr(value) if value >= 0 else f"({value!r})"
        return self.refer("_nan" if value != value else "_inf" if value > 0 else "_minus_inf", value)

    def choice(self, expr: Op) -> str:
        """if_then_else: a Python `if` that assigns the value taken."""
        cond, then, orelse = expr.args
        cond = cond.value if isinstance(cond, Splat) else cond
        if cond.lanes > 1:
            raise ExprError("if_then_else with a condition for each lane: lower it to masks first")
        name, test = self.fresh("chosen"), self.expr(cond)
        for keyword, branch in ((f"if {test}:", then), ("else:", orelse)):
            self.line(keyword)
            self.indent += 1
            self.scopes.append({})
            self.line(f"{name} = {self.expr(branch)}")
            self.scopes.pop()
            self.indent -= 1
        return name

    def defined(self, expr: Op) -> str:
        """A mathematical function by its definition, its operands before it: that keeps the recursion shallow."""
        for arg in expr.args:
            code = self.expr(arg)
            if not isinstance(arg, Var | Const) and not any(arg in scope for scope in self.scopes):
                self.scopes[-1][arg] = self.assign("t", code)
        return self.expr(mathlib.define(expr))

    def vector_op(self, expr: Op, args: list[str]) -> str:
        """An operation on NumPy arrays, which broadcast."""
        source = expr.args[-1].dtype
        if expr.op == "cast":
            if expr.dtype == "index":
                return f"{args[0]}.astype('int64')"
            return f"{self.refer('_array_cast', exact.array_cast)}({args[0]}, {expr.dtype!r})"
        if expr.op == "reinterpret":
            return f"{args[0]}.view({self.refer(f'_np_{expr.dtype}', _numpy_type(expr.dtype))})"
        function = self.refer(f"_v_{expr.op}_{source}", _array_function(expr.op, source))
        return f"{function}({', '.join(args)})"

    def scalar_op(self, expr: Op, args: list[str]) -> str:
        op, dtype = expr.op, expr.args[-1].dtype
        if op == "shuffle_xor":
            raise ExprError("shuffle_xor has a meaning only among the threads of a launch nest")
        if op in _COMPARE:
            return f"({args[0]} {_COMPARE[op]} {args[1]})"
        if op == "select":
            return f"({args[2]}, {args[1]})[{args[0]}]"
        if op in ("and", "or"):
            return f"({args[0]} {'&' if op == 'and' else '|'} {args[1]})"
        if op == "not":
            return f"(not {args[0]})"
        if op == "cast":
            return self.scalar_cast(args[0], dtype, expr.dtype)
        if op == "reinterpret":
            return f"{self.refer('_reinterpret', exact.reinterpret)}({args[0]}, {dtype!r}, {expr.dtype!r})"
        return self.float_op(op, dtype, args) if dtypes.is_float(dtype) else self.integer_op(op, dtype, args, expr)

    def scalar_cast(self, arg: str, source: str, dtype: str) -> str:
        if dtype == "index" and not dtypes.is_float(source):
            return f"int({arg})" if source == "bool" else arg
        if source == "index" and dtype == "int64":
            return self.wrapped(arg, dtype)
        return f"{self.refer('_cast', exact.cast)}({arg}, {source!r}, {dtype!r})"

    def rounded(self, code: str, dtype: str) -> str:
        """`code`, computed in float64, rounded to `dtype`."""
        if dtype == "float64":
            return code
        if dtype == "float32":
            return f"_f32({code}).value"
        return f"{self.refer('_round', exact.round_float)}({code}, {dtype!r})"

    def float_op(self, op: str, dtype: str, args: list[str]) -> str:
        """One operation in float64, rounded: for float32 that equals rounding once (53 >= 2 * 24 + 2 bits)."""
        if op in _ARITHMETIC:
            return self.rounded(f"({args[0]} {_ARITHMETIC[op]} {args[1]})", dtype)
        if op in ("neg", "abs"):
            return f"(-{args[0]})" if op == "neg" else f"abs({args[0]})"
        if op == "fma":
            name = self.refer("_fma64", exact.fma64) if dtype == "float64" else self.refer("_fma32", exact.fma32)
            fused = f"{name}({', '.join(args)})"
            return self.rounded(fused, dtype) if dtype in dtypes.NARROW else fused
        kept: dict[str, Callable[..., Any]] = {
            "min": exact.minimum,
            "max": exact.maximum,
            "floor": exact.floor,
            "ceil": exact.ceil,
            "trunc": exact.trunc,
            "round": exact.nearest,
            "isnan": math.isnan,
            "isinf": math.isinf,
            "isfinite": math.isfinite,
        }
        if op in kept:
            return f"{self.refer(f'_float_{op}', kept[op])}({', '.join(args)})"
        computed: dict[str, Callable[..., float]] = {"div": exact.divide, "sqrt": exact.square_root}
        name = self.refer(f"_float_{op}", computed[op])
        return self.rounded(f"{name}({', '.join(args)})", dtype)

    def wrapped(self, code: str, dtype: str) -> str:
        if dtype == "index":
            return code
        bits = dtypes.bits(dtype)
        if dtype in dtypes.UNSIGNED:
            return f"({code} & {(1 << bits) - 1})"
        half = 1 << (bits - 1)
        return f"(({code} + {half} & {(1 << bits) - 1}) - {half})"

    def integer_op(self, op: str, dtype: str, args: list[str], expr: Op) -> str:
        if op in _ARITHMETIC:
            return self.wrapped(f"({args[0]} {_ARITHMETIC[op]} {args[1]})", dtype)
        if op in ("neg", "abs"):
            return self.wrapped(f"(-{args[0]})" if op == "neg" else f"abs({args[0]})", dtype)
        if op in ("min", "max"):
            return f"_{op}({args[0]}, {args[1]})"
        if op in ("floordiv", "mod"):
            if isinstance(expr.args[1], Const) and expr.args[1].value:
                return self.wrapped(f"({args[0]} {'//' if op == 'floordiv' else '%'} {args[1]})", dtype)
            function = exact.floordiv if op == "floordiv" else exact.mod
            return self.wrapped(f"{self.refer(f'_{op}', function)}({args[0]}, {args[1]})", dtype)
        if op in _BITS:
            return f"({args[0]} {_BITS[op]} {args[1]})"
        if op == "bitnot":
            return self.wrapped(f"(~{args[0]})", dtype)
        shifted = f"({args[0]} {'<<' if op == 'shl' else '>>'} ({args[1]} & {dtypes.bits(dtype) - 1}))"
        return self.wrapped(shifted, dtype)

    # -------------------------------------------------------------------------------------------- memory
    def subscript(self, buffer: Buffer, indices: tuple[Expr, ...]) -> str:
        """The flat subscript of scalar `indices`, after a check of those not known to lie in the buffer."""
        flat, tests, codes = [], [], []
        for index, extent, stride in zip(indices, buffer.shape, self.strides[buffer], strict=True):
            code = self.expr(index)
            if not self.within(index, extent):
                code = code if code.isdecimal() else self.assign("at", code)
                tests.append(f"0 <= {code} < {self.expr(extent)}")
            codes.append(code)
            flat.append(code if stride == "1" else f"{code} * {stride}")
        if tests:
            report = self.refer("_outside", memory.outside)
            self.line(f"if not ({' and '.join(tests)}): {report}({buffer.name!r}, {', '.join(codes)})")
        return " + ".join(flat) or "0"

    def within(self, index: Expr, extent: Expr) -> bool:
        """True if the range of `index`, a constant or the variable of a loop or block, lies in 0 .. extent - 1."""
        if isinstance(index, Const):
            return isinstance(extent, Const) and 0 <= index.value < extent.value
        known = self.checked.get(index) if isinstance(index, Var) else None
        if isinstance(known, Const) and isinstance(extent, Const):
            return known.value <= extent.value
        return known is extent

    def load(self, expr: Load) -> str:
        scalar, array = self.place(expr.buffer)
        if expr.lanes == 1 and expr.mask is None:
            return f"{scalar}[{self.subscript(expr.buffer, expr.indices)}]"
        mask = "True" if expr.mask is None else self.expr(expr.mask)
        if expr.lanes > 1:
            gather = self.refer("_gather", memory.gather)
            return f"{gather}({array}, {self.expr(expr.indices[0])}, {mask}, {expr.buffer.name!r})"
        load_if = self.refer("_load_if", memory.load_if)
        return f"{load_if}({scalar}, {self.expr(expr.indices[0])}, {mask}, {expr.buffer.name!r})"

    def store(self, buffer: Buffer, indices: tuple[Expr, ...], value: Expr, mask: Expr | None) -> None:
        """Emit `buffer[indices] = value`."""
        scalar, array = self.place(buffer)
        self.begin(value, *indices, *(() if mask is None else (mask,)))
        code, lanes = self.expr(value), max((i.lanes for i in indices), default=1)
        if lanes == 1 and mask is None:
            self.line(f"{scalar}[{self.subscript(buffer, indices)}] = {code}")
        else:
            on = "True" if mask is None else self.expr(mask)
            scatter = self.refer("_scatter", memory.scatter) if lanes > 1 else self.refer("_store_if", memory.store_if)
            place = array if lanes > 1 else scalar
            self.line(f"{scatter}({place}, {self.expr(indices[0])}, {code}, {on}, {buffer.name!r})")
        self.scopes.pop()

    def place(self, buffer: Buffer) -> tuple[str, str]:
        """The names of the buffer's memory, for scalar and for vector access."""
        if buffer not in self.memory:
            raise ExprError(f"buffer {buffer.name} is neither a parameter nor allocated here")
        return self.memory[buffer]


def _parts(expr: Expr) -> list[Expr]:
    """The expressions that are evaluated for `expr`."""
    if isinstance(expr, Op) and expr.op in MATH:
        return [*expr.args, mathlib.define(expr)]
    return [n for n in walk.children(expr) if isinstance(n, Expr)]


def _numpy_type(dtype: str) -> Any:
    return dtypes.to_numpy(dtype).type
