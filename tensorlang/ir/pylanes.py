"""Expressions of the threads of a launch nest as Python source, for the interpreter: a value of each thread in a lane.

What is the same for all threads (loop variables, sizes, constants) stays a Python number; what *varies* is an array of
one entry a thread, or one row a thread if it is a vector. Both follow the same definition (exact.py), so a launch nest
agrees bit for bit with its sequential meaning. `on` names the mask of the threads that take part in a statement.
"""

from __future__ import annotations

import numpy as np

from tensorlang.errors import ExprError
from tensorlang.ir import dtypes, walk
from tensorlang.ir.nodes import Buffer, Const, Expr, Let, Load, Op, Ramp, Splat, Var
from tensorlang.ir.ops import MATH
from tensorlang.ir.pycode import Writer


class LaneWriter(Writer):
    """A Writer that, while `batch` is the name of a Batch, writes for all of its lanes at once."""

    def __init__(self) -> None:
        super().__init__()
        self.batch: str | None = None
        self.on: str | None = None  # None: all lanes
        self.storing = "store"  # the method of Memory
        self.updated: Buffer | None = None  # by the atomic statement at hand
        self.lane_vars: set[Var] = set()
        self.varying: dict[Expr, bool] = {}
        self.lane_memory: dict[Buffer, str] = {}  # names of Memory objects
        self.constants: dict[Const, str] = {}

    def site(self) -> int:
        """The number of the statement at hand, for reports."""
        raise NotImplementedError

    def varies(self, expr: Expr) -> bool:
        """Whether `expr` may differ between the threads. What is loaded counts as different."""
        if self.batch is None:
            return False
        if isinstance(expr, Var):
            return expr in self.lane_vars
        if isinstance(expr, Load):
            return True
        if expr not in self.varying:
            if isinstance(expr, Let):
                if self.varies(expr.value):
                    self.lane_vars.add(expr.var)
                self.varying[expr] = self.varies(expr.body)
            else:
                self.varying[expr] = any(self.varies(e) for e in walk.children(expr) if isinstance(e, Expr))
        return self.varying[expr]

    def set_varying(self, var: Var, varies: bool) -> None:
        """From here on the variable differs between the threads, or does not; where it was bound before, it may have
        been otherwise."""
        if varies != (var in self.lane_vars):
            self.lane_vars ^= {var}
            self.varying.clear()

    def operand(self, expr: Expr) -> str:
        """Python source of `expr` as an operand of NumPy functions, which broadcast it."""
        if self.varies(expr) or expr.lanes > 1 or expr.dtype in ("index", "bool"):
            return self.expr(expr)
        if isinstance(expr, Const):
            if expr not in self.constants:
                array = np.full(1, expr.value, dtypes.to_numpy(expr.dtype))
                self.constants[expr] = self.refer(self.fresh("_constant"), array)
            return self.constants[expr]
        full, kind = self.refer("_full", np.full), self.refer(f"_dtype_{expr.dtype}", dtypes.to_numpy(expr.dtype))
        return f"{full}(1, {self.expr(expr)}, {kind})"

    def compound(self, expr: Expr) -> str:
        if not self.varies(expr):
            return super().compound(expr)
        if isinstance(expr, Op) and expr.op == "shuffle_xor":
            value, mask = expr.args
            return f"{self.batch}.shuffle_xor({self.operand(value)}, {self.expr(mask)}, {self.on}, {self.site()})"
        if isinstance(expr, Op) and expr.op != "if_then_else" and expr.op not in MATH:
            return self.vector_op(expr, [self.operand(a) for a in expr.args])
        if isinstance(expr, Ramp):
            steps = np.arange(expr.lanes, dtype=dtypes.to_numpy(expr.dtype))
            steps_name = self.refer(f"_steps_{expr.dtype}_{expr.lanes}", steps)
            return f"({self.column(expr.base)} + {self.column(expr.stride)} * {steps_name})"
        if isinstance(expr, Splat):
            return self.column(expr.value)
        return super().compound(expr)

    def column(self, expr: Expr) -> str:
        """A scalar as an operand beside vectors: one row a thread."""
        return f"{self.expr(expr)}[:, None]" if self.varies(expr) else self.operand(expr)

    def choice(self, expr: Op) -> str:
        """if_then_else: each side for those threads that take it."""
        cond, then, orelse = expr.args
        cond = cond.value if isinstance(cond, Splat) else cond
        if not self.varies(expr):
            return super().choice(expr)
        if not self.varies(cond) or cond.lanes > 1:
            return f"{self.batch}.value({super().choice(expr)}, {expr.dtype!r})"
        test, outer, sides = self.assign("test", f"{self.batch}.mask({self.expr(cond)})"), self.on, []
        for mask, side in ((test, then), (f"~{test}", orelse)):
            self.on = self.assign("on", mask if outer is None else f"{outer} & {mask}")
            self.scopes.append({})
            sides.append(self.assign("side", self.operand(side)))
            self.scopes.pop()
        self.on = outer
        test = f"{test}[:, None]" if expr.lanes > 1 else test
        return f"{self.refer('_where', np.where)}({test}, {sides[0]}, {sides[1]})"

    # -------------------------------------------------------------------------------------------- memory
    def load(self, expr: Load) -> str:
        if self.batch is None:
            return super().load(expr)
        verb = "peek" if expr.buffer is self.updated else "load"
        return f"{self.lane_place(expr.buffer)}.{verb}({self.access(expr.indices[0], expr.mask, expr.lanes)})"

    def store(self, buffer: Buffer, indices: tuple[Expr, ...], value: Expr, mask: Expr | None) -> None:
        if self.batch is None:
            super().store(buffer, indices, value, mask)
            return
        (index,) = indices
        self.begin(value, index, *(() if mask is None else (mask,)))
        code = self.operand(value)
        where = self.access(index, mask, index.lanes)
        self.line(f"{self.lane_place(buffer)}.{self.storing}({where}, {code})")
        self.scopes.pop()

    def access(self, index: Expr, mask: Expr | None, width: int) -> str:
        """An Access: which elements are meant, by which threads, at which statement."""
        on = "None" if mask is None else self.expr(mask)
        return f"{self.batch}.access({self.expr(index)}, {width}, {self.on}, {on}, {self.site()})"

    def lane_place(self, buffer: Buffer) -> str:
        if buffer not in self.lane_memory:
            raise ExprError(f"buffer {buffer.name} is neither a parameter nor allocated here")
        return self.lane_memory[buffer]
