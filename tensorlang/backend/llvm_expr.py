"""Expressions in LLVM: each Expr becomes one SSA value, computed once for the stretch of code in which it is valid."""

from __future__ import annotations

from tensorlang.backend.llvm_cast import Caster
from tensorlang.backend.llvm_code import Code, constant, memory_type, splat, suffix, value_type, vector_constant
from tensorlang.errors import BuildError
from tensorlang.ir import dtypes, mathlib
from tensorlang.ir.nodes import Buffer, Const, Expr, Let, Load, Op, Ramp, Splat, Var
from tensorlang.ir.ops import MATH
from tensorlang.ir.walk import has_load
from tensorlang.passes.tools import add_const, nonnegative
from tensorlang.target.target import Target

_ARITH = {"add": "add", "sub": "sub", "mul": "mul"}
_BITS = {"and": "and", "or": "or", "bitand": "and", "bitor": "or", "bitxor": "xor"}
_COMPARE = {"eq": ("eq", "oeq"), "ne": ("ne", "une"), "lt": ("lt", "olt"), "le": ("le", "ole")}
_COMPARE |= {"gt": ("gt", "ogt"), "ge": ("ge", "oge")}
_UNARY = {"floor": "floor", "ceil": "ceil", "trunc": "trunc", "round": "rint", "sqrt": "sqrt"}


class Values:
    """Writes expressions into `code`. `pointers` says where buffers are; loop variables are bound with `bind`."""

    def __init__(self, code: Code, target: Target, pointers: dict[Buffer, str]):
        self.code, self.target, self.pointers = code, target, dict(pointers)
        self.f16c = target.has("f16c")
        self.scopes: list[dict[object, str]] = [{}]  # values valid here, innermost stretch last
        self.loaded: dict[Expr, str] = {}  # values that read memory: valid until the next store

    # ------------------------------------------------------------------------------------------------- scopes
    def push(self) -> None:
        """Enter code that does not dominate what follows it: a loop body, a branch."""
        self.scopes.append({})
        self.loaded = {}

    def pop(self) -> None:
        self.scopes.pop()
        self.loaded = {}

    def bind(self, var: Var, value: str) -> None:
        self.scopes[-1][var] = value

    def _known(self, key: object) -> str | None:
        for scope in reversed(self.scopes):
            if key in scope:
                return scope[key]
        return None

    # -------------------------------------------------------------------------------------------- expressions
    def value(self, expr: Expr) -> str:
        """The SSA value of `expr`."""
        if isinstance(expr, Const):
            return constant(expr.value, expr.dtype)
        reads = has_load(expr)
        known = self.loaded.get(expr) if reads else self._known(expr)
        if known is not None:
            return known
        result = self._compute(expr)
        if reads:
            self.loaded[expr] = result
        else:
            self.scopes[-1][expr] = result
        return result

    def _compute(self, expr: Expr) -> str:
        if isinstance(expr, Op):
            return self._op(expr)
        if isinstance(expr, Load):
            return self._load(expr)
        if isinstance(expr, Splat):
            return self.splat(expr.value, expr.lanes)
        if isinstance(expr, Ramp):
            lanes, vector = expr.lanes, value_type("index", expr.lanes)
            steps = vector_constant(range(lanes), "i64")
            if not (isinstance(expr.stride, Const) and expr.stride.value == 1):
                steps = self.code.let(f"mul nsw {vector} {self.splat(expr.stride, lanes)}, {steps}")
            return self.code.let(f"add nsw {vector} {self.splat(expr.base, lanes)}, {steps}")
        if isinstance(expr, Let):
            value = self.value(expr.value)
            self.scopes.append({expr.var: value})  # what the body makes of it does not outlive the value
            result = self.value(expr.body)
            self.scopes.pop()
            return result
        raise BuildError(f"{expr!r} is used outside of what defines it")

    def splat(self, scalar: Expr, lanes: int) -> str:
        """A scalar in all lanes."""
        kind, vector = value_type(scalar.dtype), value_type(scalar.dtype, lanes)
        if isinstance(scalar, Const):
            return splat(constant(scalar.value, scalar.dtype), kind, lanes)
        first = self.code.let(f"insertelement {vector} poison, {kind} {self.value(scalar)}, i64 0")
        return self.code.let(f"shufflevector {vector} {first}, {vector} poison, <{lanes} x i32> zeroinitializer")

    # ------------------------------------------------------------------------------------------------- memory
    def pointer(self, buffer: Buffer, index: Expr, inbounds: bool = True) -> str:
        """Address of one element; the constant part of the index apart, so that neighbours share the rest."""
        kind, flag = memory_type(buffer.dtype), "inbounds " if inbounds else ""
        rest, offset = add_const(index)
        key = (buffer, rest, inbounds)
        base = self._known(key)
        if base is None:
            base = self.pointers[buffer]
            if not (isinstance(rest, Const) and rest.value == 0):
                base = self.code.let(f"getelementptr {flag}{kind}, ptr {base}, i64 {self.value(rest)}", "p")
            self.scopes[-1][key] = base
        return self.code.let(f"getelementptr {flag}{kind}, ptr {base}, i64 {offset}", "p") if offset else base

    def _load(self, load: Load) -> str:
        dtype, index = load.buffer.dtype, load.indices[0]
        kind, align = memory_type(dtype, load.lanes), dtypes.bytes_of(dtype)
        zero = splat(constant(0, "uint8" if dtype == "bool" else dtype), memory_type(dtype), load.lanes)
        if load.lanes == 1 and load.mask is not None:
            raise BuildError(f"{load!r}: a scalar load takes no mask")
        if _contiguous(index):
            base = index.base if isinstance(index, Ramp) else index
            if load.mask is None:
                raw = self.code.let(f"load {kind}, ptr {self.pointer(load.buffer, base)}, align {align}", "x")
            else:
                name = f"@llvm.masked.load.{suffix(kind)}.p0"
                mask = value_type("bool", load.lanes)
                self.code.declared.add(f"declare {kind} {name}(ptr, {mask}, {kind})")
                where = f"ptr align {align} {self.pointer(load.buffer, base, False)}"
                raw = self.code.let(f"call {kind} {name}({where}, {mask} {self.value(load.mask)}, {kind} {zero})", "x")
        else:
            raw = self._gather(load, kind, align, zero)
        return self.code.let(f"trunc {kind} {raw} to {value_type('bool', load.lanes)}") if dtype == "bool" else raw

    def addresses(self, buffer: Buffer, index: Expr) -> str:
        """Addresses of the lanes of a vector index."""
        kind, vector = memory_type(buffer.dtype), value_type("index", index.lanes)
        return self.code.let(f"getelementptr {kind}, ptr {self.pointers[buffer]}, {vector} {self.value(index)}")

    def mask(self, mask: Expr | None, lanes: int) -> str:
        return self.value(mask) if mask is not None else splat("true", "i1", lanes)

    def _gather(self, load: Load, kind: str, align: int, zero: str) -> str:
        lanes = load.lanes
        name = f"@llvm.masked.gather.{suffix(kind)}.v{lanes}p0"
        mask = value_type("bool", lanes)
        self.code.declared.add(f"declare {kind} {name}(<{lanes} x ptr>, {mask}, {kind})")
        where = f"<{lanes} x ptr> align {align} {self.addresses(load.buffer, load.indices[0])}"
        return self.code.let(f"call {kind} {name}({where}, {mask} {self.mask(load.mask, lanes)}, {kind} {zero})", "x")

    # ----------------------------------------------------------------------------------------------------- ops
    def _op(self, expr: Op) -> str:
        op, dtype = expr.op, expr.args[0].dtype
        kind, lanes = value_type(dtype, expr.lanes), expr.lanes
        if op == "if_then_else" and lanes_of_condition(expr) == 1 and any(has_load(a) for a in expr.args[1:]):
            return self._branch(expr)
        if op == "lt" and (tail := self._tail_mask(expr)):
            return tail
        args = [self.value(a) for a in expr.args]
        if op in MATH:
            return self.value(mathlib.define(expr))  # its operands are there: that keeps the recursion shallow
        if op == "cast":
            return Caster(self.code, lanes, self.f16c).cast(args[0], dtype, expr.dtype)
        if op == "reinterpret":
            result = value_type(expr.dtype, lanes)
            return args[0] if kind == result else self.code.let(f"bitcast {kind} {args[0]} to {result}")
        if op in ("select", "if_then_else"):
            of = value_type(expr.dtype, lanes)
            return self.code.let(f"select {value_type('bool', lanes)} {args[0]}, {of} {args[1]}, {of} {args[2]}")
        if op in _COMPARE:
            return self._compare(op, dtype, kind, *args)
        if dtypes.is_float(dtype):
            return self._float_op(op, dtype, kind, lanes, args)
        return self._int_op(expr, op, dtype, kind, args)

    def _branch(self, expr: Op) -> str:
        """if_then_else with a scalar condition: only the side taken is computed."""
        code, kind = self.code, value_type(expr.dtype, expr.lanes)
        cond = self.value(expr.args[0].value if isinstance(expr.args[0], Splat) else expr.args[0])
        then, orelse, done = (code.name(base) for base in ("then", "else", "done"))
        code.do(f"br i1 {cond}, label %{then}, label %{orelse}")
        arms = []
        kept = self.loaded
        for label, arg in ((then, expr.args[1]), (orelse, expr.args[2])):
            code.label(label)
            self.push()
            value = self.value(arg)
            arms.append(f"[ {value}, %{code.block} ]")
            self.pop()
            code.do(f"br label %{done}")
        code.label(done)
        self.loaded = kept
        return code.let(f"phi {kind} {', '.join(arms)}")

    def _tail_mask(self, expr: Op) -> str | None:
        """base + 0, 1, 2 ... < bound, counted in 32 bits: half the vector registers of the plain comparison."""
        ramp, bound = expr.args
        if not (isinstance(ramp, Ramp) and isinstance(bound, Splat) and _contiguous(ramp)):
            return None
        lanes = expr.lanes
        left = self.code.let(f"sub nsw i64 {self.value(bound.value)}, {self.value(ramp.base)}")
        left = self.code.call("i64", "llvm.smax", ("i64", left), ("i64", "0"))
        left = self.code.call("i64", "llvm.smin", ("i64", left), ("i64", str(lanes)))
        short = self.code.let(f"trunc nuw nsw i64 {left} to i32")
        first = self.code.let(f"insertelement <{lanes} x i32> poison, i32 {short}, i64 0")
        kind = f"<{lanes} x i32>"
        every = self.code.let(f"shufflevector {kind} {first}, {kind} poison, {kind} zeroinitializer")
        return self.code.let(f"icmp ult {kind} {vector_constant(range(lanes), 'i32')}, {every}")

    def _compare(self, op: str, dtype: str, kind: str, a: str, b: str) -> str:
        integer, floating = _COMPARE[op]
        if dtypes.is_float(dtype):
            return self.code.let(f"fcmp {floating} {kind} {a}, {b}")
        sign = "" if op in ("eq", "ne") else "s" if _signed(dtype) else "u"
        return self.code.let(f"icmp {sign}{integer} {kind} {a}, {b}")

    def _float_op(self, op: str, dtype: str, kind: str, lanes: int, args: list[str]) -> str:
        code = self.code
        if op in (*_ARITH, "div"):
            return code.let(f"f{op} {kind} {args[0]}, {args[1]}")
        if op == "neg":
            return code.let(f"fneg {kind} {args[0]}")
        if op == "fma":
            return code.call(kind, "llvm.fma", *((kind, a) for a in args))
        if op in _UNARY:
            return code.call(kind, "llvm." + _UNARY[op], (kind, args[0]))
        if op == "abs":
            return code.call(kind, "llvm.fabs", (kind, args[0]))
        if op in ("min", "max"):  # IEEE 754-2019: a NaN wins, -0.0 is below 0.0
            return code.call(kind, f"llvm.{op}imum", (kind, args[0]), (kind, args[1]))
        if op == "isnan":
            return code.let(f"fcmp uno {kind} {args[0]}, {args[0]}")
        if op in ("isinf", "isfinite"):
            size = code.call(kind, "llvm.fabs", (kind, args[0]))
            infinity = splat(constant(float("inf"), dtype), value_type(dtype), lanes)
            return code.let(f"fcmp {'oeq' if op == 'isinf' else 'olt'} {kind} {size}, {infinity}")
        raise BuildError(f"{op} on {dtype} has no definition for this target")

    def _int_op(self, expr: Op, op: str, dtype: str, kind: str, args: list[str]) -> str:
        code, lanes = self.code, expr.lanes
        exact = " nsw" if dtype == "index" else ""  # index is exact: it never reaches 2**63
        if op in _ARITH:
            return code.let(f"{op}{exact} {kind} {args[0]}, {args[1]}")
        if op in _BITS:
            return code.let(f"{_BITS[op]} {kind} {args[0]}, {args[1]}")
        if op in ("not", "bitnot"):
            ones = splat("true" if op == "not" else "-1", value_type(dtype), lanes)
            return code.let(f"xor {kind} {args[0]}, {ones}")
        if op == "neg":
            return code.let(f"sub{exact} {kind} {splat('0', value_type(dtype), lanes)}, {args[0]}")
        if op == "abs":
            return args[0] if not _signed(dtype) else code.call(kind, "llvm.abs", (kind, args[0]), ("i1", "false"))
        if op in ("min", "max"):
            if dtype == "bool":
                return code.let(f"{'and' if op == 'min' else 'or'} {kind} {args[0]}, {args[1]}")
            return code.call(kind, f"llvm.{'s' if _signed(dtype) else 'u'}{op}", (kind, args[0]), (kind, args[1]))
        if op in ("shl", "shr"):
            width = splat(str(dtypes.bits(dtype) - 1), value_type(dtype), lanes)
            verb = "shl" if op == "shl" else "ashr" if _signed(dtype) else "lshr"
            return code.let(f"{verb} {kind} {args[0]}, {code.let(f'and {kind} {args[1]}, {width}')}")
        if op in ("floordiv", "mod"):
            if dtype == "index":
                return self._index_division(expr, op, kind, *args)
            return self._int_division(op, dtype, kind, lanes, *args)
        raise BuildError(f"{op} on {dtype} has no definition for this target")

    def _index_division(self, expr: Op, op: str, kind: str, a: str, b: str) -> str:
        """Floor division of exact integers; the divisor is positive."""
        code = self.code
        if nonnegative(expr.args[0]):
            return code.let(f"{'udiv' if op == 'floordiv' else 'urem'} {kind} {a}, {b}")
        rest = code.let(f"srem {kind} {a}, {b}")
        below = code.let(f"ashr {kind} {rest}, {splat('63', 'i64', expr.lanes)}")  # -1 where the remainder is negative
        if op == "floordiv":
            return code.let(f"add nsw {kind} {code.let(f'sdiv {kind} {a}, {b}')}, {below}")
        return code.let(f"add nsw {kind} {rest}, {code.let(f'and {kind} {below}, {b}')}")

    def _int_division(self, op: str, dtype: str, kind: str, lanes: int, a: str, b: str) -> str:
        """Floor division that is defined everywhere: by 0 gives 0, the smallest integer by -1 wraps."""
        code, boolean, scalar = self.code, value_type("bool", lanes), value_type(dtype)
        zero, one = splat("0", scalar, lanes), splat("1", scalar, lanes)
        by_zero = code.let(f"icmp eq {kind} {b}, {zero}")
        if not _signed(dtype):
            safe = code.let(f"select {boolean} {by_zero}, {kind} {one}, {kind} {b}")
            result = code.let(f"{'udiv' if op == 'floordiv' else 'urem'} {kind} {a}, {safe}")
            return code.let(f"select {boolean} {by_zero}, {kind} {zero}, {kind} {result}")
        by_minus_one = code.let(f"icmp eq {kind} {b}, {splat('-1', scalar, lanes)}")
        unsafe = code.let(f"or {boolean} {by_zero}, {by_minus_one}")
        safe = code.let(f"select {boolean} {unsafe}, {kind} {one}, {kind} {b}")
        rest = code.let(f"srem {kind} {a}, {safe}")
        inexact = code.let(f"icmp ne {kind} {rest}, {zero}")
        opposite = code.let(f"icmp slt {kind} {code.let(f'xor {kind} {rest}, {safe}')}, {zero}")
        fix = code.let(f"and {boolean} {inexact}, {opposite}")
        if op == "mod":
            fixed = code.let(f"select {boolean} {fix}, {kind} {safe}, {kind} {zero}")
            return code.let(f"add {kind} {rest}, {fixed}")  # by 0 and by -1 the divisor is 1 here: 0
        quotient = code.let(f"sdiv {kind} {a}, {safe}")
        floor = code.let(f"add {kind} {quotient}, {code.let(f'sext {boolean} {fix} to {kind}')}")
        negated = code.let(f"sub {kind} {zero}, {a}")
        floor = code.let(f"select {boolean} {by_minus_one}, {kind} {negated}, {kind} {floor}")
        return code.let(f"select {boolean} {by_zero}, {kind} {zero}, {kind} {floor}")


def lanes_of_condition(expr: Op) -> int:
    """1 if the condition is the same in all lanes."""
    return 1 if isinstance(expr.args[0], Splat) else expr.args[0].lanes


def _contiguous(index: Expr) -> bool:
    """One element, or neighbours in ascending order."""
    if isinstance(index, Ramp):
        return isinstance(index.stride, Const) and index.stride.value == 1
    return index.lanes == 1


def _signed(dtype: str) -> bool:
    return dtype in dtypes.SIGNED or dtype == "index"
