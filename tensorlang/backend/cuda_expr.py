"""Expressions in CUDA C++. A vector is written for one of its lanes, whose number is a C variable.

Mathematical functions are those of CUDA's library, within 4 units in the last place (CUDA C++ Programming Guide,
"Mathematical Functions Appendix"); all else computes what nodes.py says.
"""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

from tensorlang.arith import poly
from tensorlang.arith.context import EMPTY
from tensorlang.arith.simplify import normal, simplify
from tensorlang.backend.cuda_text import Names, literal, type_of
from tensorlang.errors import BuildError
from tensorlang.ir import dtypes, walk
from tensorlang.ir.nodes import ZERO, Buffer, Const, Expr, Let, Load, Op, Ramp, Splat, Var, const
from tensorlang.ir.ops import MATH, make
from tensorlang.ir.walk import has_load
from tensorlang.passes.scopes import LOCAL
from tensorlang.passes.tools import nonnegative

LANE = "v"  # the C variable that counts the lanes of a vector
ATOM, UNARY = 100, 90
_INFIX = {"add": ("+", 70), "sub": ("-", 70), "mul": ("*", 80), "div": ("/", 80)}
_COMPARE = {"lt": ("<", 55), "le": ("<=", 55), "gt": (">", 55), "ge": (">=", 55), "eq": ("==", 50), "ne": ("!=", 50)}
_BITS = {"bitand": "&", "bitor": "|", "bitxor": "^"}
_LOGIC = {"and": ("&&", 30), "or": ("||", 25)}
_FLOAT = {"floor": "floor", "ceil": "ceil", "trunc": "trunc", "round": "rint", "sqrt": "sqrt", "abs": "fabs"}
_TESTS = {"isnan": "isnan", "isinf": "isinf", "isfinite": "isfinite"}
_HALVES = {"float16": "_f16", "bfloat16": "_bf16"}
_UNSIGNED = {32: "unsigned", 64: "unsigned long long"}
Code = tuple[str, int]  # text, and how tightly it binds


class Swizzle(NamedTuple):
    """How schedule/storage.py has words of 16 bytes permuted: of an element's number the bits `changed` change, in the
    same way in each `period` elements."""

    changed: int
    period: int

    @staticmethod
    def of(bytes: int, dtype: str) -> Swizzle:
        size = dtypes.bytes_of(dtype)
        return Swizzle((bytes - 16) // size, 8 * bytes // size)

    def split(self, index: Expr) -> tuple[Expr, Expr]:
        """Whole periods, as far as they can be seen, and the rest: what is added to both is."""
        terms = normal(index.base if isinstance(index, Ramp) else index, EMPTY)
        whole, rest = (
            {t: c for t, c in terms.items() if (c % self.period == 0) is is_whole} for is_whole in (True, False)
        )
        base = poly.to_expr(rest)
        return poly.to_expr(whole), Ramp(base, index.stride, index.lanes) if isinstance(index, Ramp) else base


class Values:
    """Writes expressions. `of`: the C names of buffers, variables, and values that were computed before; `swizzles`:
    how buffers are swizzled that are; `constant`: the buffers in global memory that the kernel only reads; `hint`: what
    the caches are told at loads of these."""

    def __init__(self, names: Names):
        self.names = names
        self.of: dict[Buffer | Expr, str] = {}
        self.swizzles: dict[Buffer, Swizzle] = {}
        self.constant: frozenset[Buffer] = frozenset()
        self.hint = ""

    def text(self, expr: Expr, above: int = 0) -> str:
        """`expr`, in parentheses if what is around it binds more tightly than `above`."""
        text, binds = self.code(expr)
        return text if binds > above else f"({text})"

    # --------------------------------------------------------------------------------------------- common parts
    def shared_parts(self, exprs: list[Expr]) -> list[Expr]:
        """Parts that occur more than once, and may be computed before: not what only a guard makes safe to read."""
        count: Counter[Expr] = Counter()
        order: list[Expr] = []

        def go(e: Expr, lazy: bool) -> None:
            if e in self.of or isinstance(e, Const | Var):
                return
            if not (lazy and has_load(e)):
                count[e] += 1
                if count[e] > 1:
                    return
            guarded = isinstance(e, Op) and e.op == "if_then_else"
            for n, child in enumerate(c for c in walk.children(e) if isinstance(c, Expr)):
                go(child, lazy or (guarded and n > 0))
            order.append(e)

        for expr in exprs:
            go(expr, False)
        order = list(dict.fromkeys(order))
        return [e for e in order if count[e] > 1 and e.dtype not in ("index", "bool") and _is_work(e)]

    # ------------------------------------------------------------------------------------------------ dispatch
    def code(self, expr: Expr) -> Code:
        known = self.of.get(expr)
        if known is not None:
            return known, ATOM
        if isinstance(expr, Const):
            text = literal(expr.value, expr.dtype)
            return text, UNARY if text.startswith("-") else ATOM
        if isinstance(expr, Op):
            return self.op(expr)
        if isinstance(expr, Load):
            return self.load(expr)
        if isinstance(expr, Splat):
            return self.code(expr.value)
        if isinstance(expr, Ramp):
            return self.ramp(expr)
        if isinstance(expr, Let):
            return self.let(expr), ATOM
        raise BuildError(f"{expr!r} is used outside of what defines it")

    def ramp(self, expr: Ramp) -> Code:
        stride = self.text(expr.stride, 80)
        step = LANE if stride == "1" else f"{LANE} * {stride}"
        base = self.text(expr.base, 69)
        return (step, 80) if base == "0" else (f"{base} + {step}", 70)

    def let(self, expr: Let) -> str:
        name = self.names.take(expr.var.name)
        value = self.text(expr.value)
        self.of[expr.var] = name
        return f"[&] {{ const {type_of(expr.var.dtype)} {name} = {value}; return {self.text(expr.body)}; }}()"

    def element(self, buffer: Buffer, index: Expr) -> str:
        return f"{self.of[buffer]}[{self.place(buffer, index, 0)}]"

    def place(self, buffer: Buffer, index: Expr, above: int) -> str:
        """Where in the memory of `buffer` its element of that number is; see `text` about `above`."""
        swizzle = self.swizzles.get(buffer)
        if swizzle is None:
            return self.text(index, above)
        whole, rest = swizzle.split(index)
        place = f"swizzled<{swizzle.changed}>({self.text(rest)})"
        return place if whole is ZERO else f"{self.text(whole, 69)} + {place}"

    def hint_at(self, buffer: Buffer) -> str:
        """What is appended to the names of helpers that load from `buffer`."""
        return f"_{self.hint}" if self.hint and buffer in self.constant else ""

    def load(self, load: Load) -> Code:
        access, hint = self.element(load.buffer, load.indices[0]), self.hint_at(load.buffer)
        if hint:
            access = f"load{hint}(&{access})"
        if load.mask is None:
            return access, ATOM
        return f"{self.text(load.mask, 20)} ? {access} : {literal(0, load.dtype)}", 10

    # ----------------------------------------------------------------------------------------------------- ops
    def op(self, expr: Op) -> Code:
        op, dtype = expr.op, expr.args[0].dtype
        if op in ("select", "if_then_else"):
            cond, yes, no = (self.text(a, 20) for a in expr.args)
            return f"{cond} ? {yes} : {no}", 10
        if op in _COMPARE:
            return self.infix(expr, *_COMPARE[op])
        if op in _LOGIC:
            return self.infix(expr, *_LOGIC[op])
        if op == "not":
            return f"!{self.text(expr.args[0], UNARY)}", UNARY
        if op == "cast":
            return self.cast(expr.args[0], dtype, expr.dtype)
        if op == "reinterpret":
            return f"bits_as<{type_of(expr.dtype)}>({self.typed(expr.args[0])})", ATOM
        if op == "shuffle_xor":
            return f"shuffle_xor({self.text(expr.args[0])}, {self.text(expr.args[1])})", ATOM
        if dtype == "index":
            return self.index_op(expr)
        if dtype == "bool":
            symbol = {"min": ("&&", 30), "max": ("||", 25)}[op]
            return self.infix(expr, *symbol)
        return self.float_op(expr) if dtypes.is_float(dtype) else self.int_op(expr)

    def typed(self, expr: Expr) -> str:
        """`expr` with exactly its type, for templates to see."""
        return f"({type_of(expr.dtype)}){self.text(expr, UNARY)}"

    def infix(self, expr: Op, symbol: str, binds: int) -> Code:
        a, b = expr.args
        return f"{self.text(a, binds - 1)} {symbol} {self.text(b, binds)}", binds

    def call(self, function: str, expr: Op) -> Code:
        return f"{function}({', '.join(self.text(a) for a in expr.args)})", ATOM

    def float_op(self, expr: Op) -> Code:
        op, single = expr.op, expr.args[0].dtype == "float32"
        end = "f" if single else ""
        if op in _INFIX:
            return self.infix(expr, *_INFIX[op])
        if op == "neg":
            return f"-{self.text(expr.args[0], UNARY)}", UNARY
        if op in ("min", "max"):
            return self.call(f"{op}_nan{_HALVES.get(expr.dtype, '')}", expr)
        if op in _TESTS:
            return self.call(_TESTS[op], expr)
        if op == "fma":
            return self.call(f"fma{end}", expr)
        if op == "sigmoid":
            x = self.text(expr.args[0], UNARY)
            return (f"1.0f / (1.0f + expf(-{x}))" if single else f"1.0 / (1.0 + exp(-{x}))"), 80
        if op in _FLOAT or op in MATH:
            return self.call(f"{_FLOAT.get(op, op)}{end}", expr)
        raise BuildError(f"{op} on {expr.args[0].dtype} has no definition for this target")

    # -------------------------------------------------------------------------------------------------- integers
    def index_op(self, expr: Op) -> Code:
        """Exact integers; the divisor is positive."""
        op = expr.op
        if op in _INFIX and op != "div":
            return self.infix(expr, *_INFIX[op])
        if op == "neg":
            return f"-{self.text(expr.args[0], UNARY)}", UNARY
        if op in ("min", "max"):
            return f"{op}({self.typed(expr.args[0])}, {self.typed(expr.args[1])})", ATOM
        if op == "abs":
            return self.call("abs", expr)
        if op in ("floordiv", "mod"):
            a, b = expr.args
            divisor = int(b.value) if isinstance(b, Const) else 0
            if op == "floordiv" and divisor and (opposite := _opposite(a, divisor)) is not None:
                return f"-{self.text(opposite, UNARY)}", UNARY
            if divisor and divisor & (divisor - 1) == 0:  # rounds down, whatever the sign
                if op == "floordiv":
                    return f"{self.text(a, 79)} >> {divisor.bit_length() - 1}", 65
                return f"{self.text(a, 79)} & {divisor - 1}", 45
            if nonnegative(a):
                return self.infix(expr, "/" if op == "floordiv" else "%", 80)
            return f"floor_{'div' if op == 'floordiv' else 'mod'}({self.typed(a)}, {self.typed(b)})", ATOM
        raise BuildError(f"{op} on index has no definition for this target")

    def int_op(self, expr: Op) -> Code:
        """Integers that wrap around: computed without sign, which is defined, and converted back."""
        op, dtype = expr.op, expr.args[0].dtype
        bits, kind = dtypes.bits(dtype), type_of(dtype)
        unsigned = _UNSIGNED[max(32, bits)]
        args = [self.text(a, UNARY) for a in expr.args]
        if op in _INFIX and op != "div":
            return f"({kind})(({unsigned}){args[0]} {_INFIX[op][0]} ({unsigned}){args[1]})", UNARY
        if op == "neg":
            return f"({kind})(0 - ({unsigned}){args[0]})", UNARY
        if op in _BITS:
            return f"({kind})({args[0]} {_BITS[op]} {args[1]})", UNARY
        if op == "bitnot":
            return f"({kind})~{args[0]}", UNARY
        if op == "shl":
            return f"({kind})(({unsigned}){args[0]} << ({args[1]} & {bits - 1}))", UNARY
        if op == "shr":
            return f"({kind})({args[0]} >> ({args[1]} & {bits - 1}))", UNARY
        if op in ("floordiv", "mod"):
            a, b = map(self.typed, expr.args)
            return f"floor_{'div' if op == 'floordiv' else 'mod'}({a}, {b})", ATOM
        if op in ("min", "max"):
            text = f"{op}({self.typed(expr.args[0])}, {self.typed(expr.args[1])})"
            return (text, ATOM) if bits >= 32 else (f"({kind}){text}", UNARY)
        if op == "abs":
            if dtype in dtypes.UNSIGNED:
                return self.code(expr.args[0])
            return f"({kind})({args[0]} < 0 ? 0 - ({unsigned}){args[0]} : ({unsigned}){args[0]})", UNARY
        raise BuildError(f"{op} on {dtype} has no definition for this target")

    # ---------------------------------------------------------------------------------------------- conversion
    def cast(self, value: Expr, source: str, result: str) -> Code:
        """Truncating and saturating; a NaN gives 0."""
        if source in dtypes.NARROW:
            return self.convert(f"float_of_{dtypes.short(source)}({self.text(value)})", ATOM, "float32", result)
        text, binds = self.code(value)
        return self.convert(text, binds, source, result)

    def convert(self, text: str, binds: int, source: str, result: str) -> Code:
        if source == result:
            return text, binds
        inner = text if binds >= UNARY else f"({text})"
        if result in dtypes.NARROW:
            short = dtypes.short(result)
            if source == "float64":
                return f"{short}_of_double({text})", ATOM
            return f"{short}_of_float({text if source == 'float32' else f'(float){inner}'})", ATOM
        if result == "bool":
            return f"{inner} != 0", 50
        if dtypes.is_float(source) and not dtypes.is_float(result):
            if source == "float32" and result == "int32":
                return f"__float2int_rz({text})", ATOM  # saturates
            low, high = _limits(result)
            kind = type_of(result)
            return f"saturate<{kind}>({text}, ({kind}){low}, ({kind}){high})", ATOM
        return f"({type_of(result)}){inner}", UNARY


def _opposite(a: Expr, divisor: int) -> Expr | None:
    """What is -(a // divisor), as a quotient of numbers >= 0, for an `a` that is obviously below the divisor.

    NVRTC 13.0 is not to be trusted with shifts of negative numbers: of (-threadIdx.x >> 1) + 2 it makes another number.
    """
    if nonnegative(a):
        return None
    dividend = simplify(const(divisor - 1) - a)
    return make("floordiv", dividend, const(divisor)) if nonnegative(dividend) else None


def _is_work(expr: Expr) -> bool:
    """Whether it is worth a name: more than a register is read."""
    return isinstance(expr, Op) or (isinstance(expr, Load) and expr.buffer.scope != LOCAL)


def _limits(dtype: str) -> tuple[str, str]:
    bits = 64 if dtype == "index" else dtypes.bits(dtype)
    if dtype in dtypes.UNSIGNED:
        return "0", literal((1 << bits) - 1, dtype)
    named = "int64" if dtype == "index" else dtype
    return literal(-(1 << (bits - 1)), named), literal((1 << (bits - 1)) - 1, named)
