"""Checks that a Func obeys the rules of its level: a table of legal nodes, then scopes, names and dtypes.

Well-formedness of an expression depends on nothing around it, so it is remembered at the node; what is free in it is
then compared with what the statements around bind. The same goes for loops and blocks: one that was found right once is
right wherever all that it uses exists, so after a schedule step only the way to what has changed is looked at.
"""

from __future__ import annotations

from typing import NamedTuple

from tensorlang.errors import VerifyError
from tensorlang.ir import dtypes, walk
from tensorlang.ir.launch import ATOMIC, Launch
from tensorlang.ir.nodes import (
    ITER_KINDS,
    LOOP_KINDS,
    SPATIAL,
    Alloc,
    Block,
    Buffer,
    Const,
    Do,
    Expr,
    For,
    Func,
    If,
    Knob,
    Let,
    LetStmt,
    Load,
    Node,
    Op,
    Ramp,
    Seq,
    Size,
    Splat,
    Stmt,
    Store,
    Var,
)
from tensorlang.ir.ops import OPS, kind_of, typed
from tensorlang.ir.printer import text

LEGAL: dict[str, tuple[type[Node], ...]] = {
    "loop": (Var, Const, Op, Load, Let, For, Block, Store, Alloc, If, LetStmt, Seq, Do),
    "flat": (Var, Const, Op, Load, Let, Ramp, Splat, For, Store, Alloc, If, LetStmt, Seq, Do),
}
_VERIFIED = {rules: f"verified {rules}" for rules in ("loop", "flat", "launch")}  # what statements remember
_LAZY = ("select", "if_then_else", "and", "or")  # code evaluates what comes after the first operand if it is needed
_SUBSCRIPTS = {"loop": ("index",), "flat": ("index", "int64", "int32")}


class _Scope(NamedTuple):
    """What a statement may use."""

    vars: frozenset[Var]
    buffers: frozenset[Buffer]
    writable: frozenset[Buffer]


def verify(func: Func, level: str) -> None:
    """Raise VerifyError, naming the rule and the statement, if `func` is not a Func of `level` ("loop" or "flat").

    Loop level: blocks, buffers of any rank, scalars only; bodies of blocks use block iterators, not loop variables;
    names of loops around blocks, of blocks and of buffers are unique. Flat level: no blocks, one subscript an access,
    vectors and masks allowed, no knobs.
    """
    _Verifier(func, level).run()


class _Verifier:
    def __init__(self, func: Func, level: str):
        self.func, self.level = func, level
        self.subscripts = _SUBSCRIPTS[level]
        self.blocks: set[str] = set()
        self.loops: set[str] = set()  # those around blocks
        self.buffers: dict[str, Buffer] = {}
        self.rules = level  # that hold for the statement at hand: of the level, or of launch nests

    def run(self) -> None:
        func = self.func
        for param in func.params:
            self.declare(param, param)
        for output in func.outputs:
            self.check(output in func.params, f"output {output.name} is not a parameter", output)
        extents = [e for p in func.params for e in p.shape]
        symbols = frozenset(v for v in walk.free_vars(func) if isinstance(v, Size | Knob))
        params = frozenset(func.params)
        scope = _Scope(symbols, params, frozenset(func.outputs))
        for extent in extents:
            self.expr(extent, scope, func)
        if self.level == "flat":
            knobs = [v.name for v in symbols if isinstance(v, Knob)]
            self.check(not knobs, f"knobs {', '.join(knobs)} are still open", func)
        self.stmt(func.body, scope)

    def check(self, holds: bool, rule: str, where: Node) -> None:
        if not holds:
            raise VerifyError(f"{self.func.name}: {rule}, in: {text(where).splitlines()[0].strip()}")

    def declare(self, buffer: Buffer, where: Node) -> None:
        if buffer.dtype not in dtypes.DATA:
            self.check(False, f"buffer {buffer.name} has no data dtype: {buffer.dtype}", where)
        known = self.buffers.setdefault(buffer.name, buffer)
        if known is not buffer:  # copies of a loop share the buffers that they allocate
            self.check(False, f"two buffers are named {buffer.name}", where)

    # -------------------------------------------------------------------------------------- expressions
    def expr(
        self, expr: Expr, scope: _Scope, where: Node, dtype: tuple[str, ...] = (), lanes: int | None = None
    ) -> None:
        """`expr` is well formed, uses only what is in scope, and has one of these dtypes and this number of lanes."""
        self.well_formed(expr, where)
        if dtype and expr.dtype not in dtype:
            self.check(False, f"{text(expr)} is {expr.dtype} where {' or '.join(dtype)} is needed", where)
        if lanes is not None and expr.lanes != lanes:
            self.check(False, f"{text(expr)} has {expr.lanes} lanes where {lanes} are needed", where)
        free = walk.free_vars(expr)
        if not free <= scope.vars:
            unknown = free - scope.vars
            self.check(False, f"{', '.join(sorted(v.name for v in unknown))} has no value here", where)
        loaded = walk.touched(expr)
        if not loaded <= scope.buffers:
            unknown_buffers = loaded - scope.buffers
            self.check(False, f"buffer {next(iter(unknown_buffers)).name} does not exist here", where)

    def well_formed(self, expr: Expr, where: Node) -> None:
        """Rules that depend on the expression alone; remembered at the node."""
        key = ("well_formed", self.level)
        if key in expr.memo:
            return
        self.check(isinstance(expr, LEGAL[self.level]), f"{type(expr).__name__} is illegal at this level", where)
        for child in walk.children(expr):
            if isinstance(child, Expr):
                self.well_formed(child, where)
        if isinstance(expr, Op):
            self.check_op(expr, where)
        elif isinstance(expr, Const) and expr.dtype == "index":
            self.check(-(1 << 63) <= int(expr.value) < 1 << 63, f"{expr.value} is no index: those have 64 bits", where)
        elif isinstance(expr, Load):
            self.access(expr, where)
        elif isinstance(expr, Let):
            fits = (expr.var.dtype, expr.var.lanes) == (expr.value.dtype, expr.value.lanes)
            self.check(fits, f"{expr.var.name} and its value differ in dtype or lanes", where)
        elif isinstance(expr, Ramp):
            scalar = expr.base.lanes == expr.stride.lanes == 1 and expr.base.dtype == expr.stride.dtype
            self.check(scalar, "base and stride of a ramp must be scalars of one dtype", where)
        elif isinstance(expr, Splat):
            self.check(expr.value.lanes == 1, "only a scalar can be splat", where)
        expr.memo[key] = True

    def check_op(self, expr: Op, where: Node) -> None:
        self.check(expr.op in OPS, f"unknown op {expr.op}", where)
        row = OPS[expr.op]
        self.check(len(expr.args) == row.arity, f"{expr.op} takes {row.arity} operands", where)
        self.check(all(a.lanes == expr.lanes for a in expr.args), f"operands of {expr.op} differ in lanes", where)
        if expr.op in ("cast", "reinterpret"):
            self.check(expr.dtype in dtypes.ALL, f"{expr.op} to unknown dtype {expr.dtype}", where)
            return
        values = typed(expr.op, expr.args)
        source = values[0].dtype
        if expr.op in _LAZY or (source == "bool" and expr.op in ("min", "max")):
            torn = any(map(_shuffles, expr.args[1:]))
            self.check(not torn, f"threads exchange values in an operand of {expr.op}, which may not be needed", where)
        if expr.op == "shuffle_xor":
            self.check(isinstance(expr.args[1], Const), "the mask of shuffle_xor must be a number", where)
        elif len(values) < len(expr.args):
            self.check(expr.args[0].dtype == "bool", f"the condition of {expr.op} must be bool", where)
        else:
            self.check(kind_of(source) in row.kinds, f"{expr.op} does not take {source}", where)
        self.check(all(v.dtype == source for v in values), f"operands of {expr.op} differ in dtype", where)
        result = source if row.result == "same" else row.result
        self.check(expr.dtype == result, f"{expr.op} of {source} is {result}, not {expr.dtype}", where)

    def access(self, node: Load | Store, where: Node) -> None:
        """Subscripts and mask of a load or store."""
        buffer, indices, mask = node.buffer, node.indices, node.mask
        rank = len(buffer.shape) if self.level == "loop" else 1
        self.check(len(indices) == rank, f"{buffer.name} needs {rank} subscripts, got {len(indices)}", where)
        for index in indices:
            if index.dtype not in self.subscripts or (self.level == "loop" and index.lanes > 1):
                self.check(False, f"{text(index)} ({index.dtype}, {index.lanes} lanes) cannot be a subscript", where)
        if mask is not None:
            lanes = max(i.lanes for i in indices)
            self.check(self.level == "flat", "masks belong to the flat level", where)
            self.check((mask.dtype, mask.lanes) == ("bool", lanes), f"the mask must be {lanes} bools", where)

    # --------------------------------------------------------------------------------------- statements
    def stmt(self, stmt: Stmt, scope: _Scope) -> None:
        if not isinstance(stmt, (For, Block)):
            self.any_stmt(stmt, scope)
        elif not ((verified := _VERIFIED[self.rules]) in stmt.memo and self.fits(stmt, scope)):
            self.any_stmt(stmt, scope)
            stmt.memo[verified] = True

    def fits(self, stmt: For | Block, scope: _Scope) -> bool:
        """Whether all is there that `stmt`, which was found right before, needs of its surroundings."""
        uses = _uses(stmt)
        fits = (
            uses.vars <= scope.vars
            and uses.buffers <= scope.buffers
            and uses.stored <= scope.writable
            and uses.bound.isdisjoint(scope.vars)
            and uses.allocated.isdisjoint(scope.buffers)
            and uses.blocks.isdisjoint(self.blocks)
            and uses.loops.isdisjoint(self.loops)
        )
        if fits:
            self.blocks |= uses.blocks
            self.loops |= uses.loops
            for buffer in uses.allocated:
                self.declare(buffer, stmt)
        return fits

    def any_stmt(self, stmt: Stmt, scope: _Scope) -> None:
        if not isinstance(stmt, LEGAL[self.level]):
            self.check(False, f"{type(stmt).__name__} is illegal at this level", stmt)
        if self.starts(stmt):
            self.kernel(stmt, scope)
            return
        if self.rules == "flat":
            self.host(stmt)
        if isinstance(stmt, Seq):
            for part in stmt.stmts:
                self.stmt(part, scope)
        elif isinstance(stmt, For):
            self.check(stmt.kind in LOOP_KINDS, f"unknown kind of loop {stmt.kind}", stmt)
            self.expr(stmt.extent, scope, stmt, self.subscripts, 1)
            self.check(stmt.var.dtype in self.subscripts, f"a loop variable cannot be {stmt.var.dtype}", stmt)
            self.stmt(stmt.body, self.bind(scope, stmt.var, stmt))
            if _around_blocks(stmt):  # schedules can name it
                self.check(stmt.var.name not in self.loops, f"two loops are named {stmt.var.name}", stmt)
                self.loops.add(stmt.var.name)
        elif isinstance(stmt, Block):
            self.block(stmt, scope)
        elif isinstance(stmt, Store):
            self.store(stmt, scope)
        elif isinstance(stmt, If):
            self.expr(stmt.cond, scope, stmt, ("bool",), 1)
            self.stmt(stmt.then, scope)
            if stmt.orelse is not None:
                self.stmt(stmt.orelse, scope)
        elif isinstance(stmt, LetStmt):
            self.expr(stmt.value, scope, stmt, (stmt.var.dtype,), stmt.var.lanes)
            self.stmt(stmt.body, self.bind(scope, stmt.var, stmt))
        elif isinstance(stmt, Alloc):
            self.allocs(stmt, scope)
        elif isinstance(stmt, Do):
            for arg in stmt.args:
                self.expr(arg, scope, stmt)
            if stmt.body is not None:
                self.stmt(stmt.body, scope)

    def allocs(self, stmt: Stmt, scope: _Scope) -> None:
        """Allocations, one inside another, and what is in the innermost."""
        new: dict[Buffer, None] = {}
        while isinstance(stmt, Alloc) and not self.starts(stmt):
            self.declare(stmt.buffer, stmt)
            if stmt.buffer in scope.buffers or stmt.buffer in new:
                self.check(False, f"{stmt.buffer.name} is allocated inside itself", stmt)
            for extent in stmt.buffer.shape:
                if not (isinstance(extent, Const) and extent.dtype == "index"):
                    self.expr(extent, scope, stmt, self.subscripts, 1)
            new[stmt.buffer] = None
            stmt = stmt.body
        self.stmt(stmt, _Scope(scope.vars, scope.buffers.union(new), scope.writable.union(new)))

    def starts(self, stmt: Stmt) -> bool:
        """Whether `stmt` is the outermost one of a launch nest."""
        return self.rules == "flat" and Launch.starts(stmt)

    def kernel(self, nest: Stmt, scope: _Scope) -> None:
        """A launch nest: its form, then its statements."""
        try:
            Launch.of(nest)
        except VerifyError as error:
            raise VerifyError(f"{self.func.name}: {error}") from None
        self.rules = "launch"
        self.stmt(nest, scope)
        self.rules = self.level

    def host(self, stmt: Stmt) -> None:
        """What has a meaning only among the threads of a launch nest does not stand outside."""
        if isinstance(stmt, Do) and isinstance(stmt.what, str) and stmt.what != ATOMIC:
            self.check(False, f"{stmt.what} outside the threads of a launch nest", stmt)
        vthread = isinstance(stmt, For) and stmt.kind.startswith("vthread")
        self.check(not vthread, "loops of kind vthread are unrolled before the flat level", stmt)
        shuffles = any(_shuffles(e) for e in walk.children(stmt) if isinstance(e, Expr))
        self.check(not shuffles, "shuffle_xor outside the threads of a launch nest", stmt)

    def bind(self, scope: _Scope, var: Var, where: Node) -> _Scope:
        self.check(var not in scope.vars, f"{var.name} is bound already", where)
        return _Scope(scope.vars | {var}, scope.buffers, scope.writable)

    def store(self, stmt: Store, scope: _Scope) -> None:
        buffer = stmt.buffer
        self.check(buffer in scope.buffers, f"buffer {buffer.name} does not exist here", stmt)
        self.check(buffer in scope.writable, f"{buffer.name} is an input", stmt)
        self.access(stmt, stmt)
        lanes = max((i.lanes for i in stmt.indices), default=1)
        self.expr(stmt.value, scope, stmt, (buffer.dtype,), lanes)
        for part in (*stmt.indices, *(() if stmt.mask is None else (stmt.mask,))):
            self.expr(part, scope, stmt)

    def block(self, block: Block, scope: _Scope) -> None:
        self.check(block.name not in self.blocks, f"two blocks are named {block.name}", block)
        self.blocks.add(block.name)
        self.check(len(block.iters) == len(block.bindings), "iterators and bindings differ in number", block)
        for binding in block.bindings:
            self.expr(binding, scope, block, ("index",))
        self.expr(block.predicate, scope, block, ("bool",))
        symbols = {v for v in scope.vars if isinstance(v, Size | Knob)}
        for it in block.iters:
            self.check(it.kind in ITER_KINDS, f"unknown kind of iterator {it.kind}", block)
            self.expr(it.extent, scope, block, ("index",))
        every = frozenset(symbols | {it.var for it in block.iters})
        self.check(len({it.var for it in block.iters}) == len(block.iters), "an iterator is bound twice", block)
        if block.init is not None:
            spatial = frozenset(symbols | {it.var for it in block.iters if it.kind == SPATIAL})
            self.stmt(block.init, _Scope(spatial, scope.buffers, scope.writable))
        self.stmt(block.body, _Scope(every, scope.buffers, scope.writable))


class _Uses(NamedTuple):
    """What a statement needs of its surroundings, and what it makes that may clash with them."""

    vars: frozenset[Var]
    buffers: frozenset[Buffer]
    stored: frozenset[Buffer]
    bound: frozenset[Var]
    allocated: frozenset[Buffer]
    blocks: frozenset[str]
    loops: frozenset[str]


def _uses(stmt: Stmt) -> _Uses:
    """Remembered at the statement."""
    found: _Uses | None = stmt.memo.get("uses")
    if found is None:
        below = walk.statements(stmt, Stmt)
        allocated = frozenset(n.buffer for n in below if isinstance(n, Alloc))
        stored = frozenset(n.buffer for n in below if isinstance(n, Store))
        found = stmt.memo["uses"] = _Uses(
            walk.free_vars(stmt),
            walk.touched(stmt) - allocated,
            stored - allocated,
            frozenset(n.var for n in below if isinstance(n, For | LetStmt)),
            allocated,
            frozenset(n.name for n in below if isinstance(n, Block)),
            frozenset(n.var.name for n in below if isinstance(n, For) and _around_blocks(n)),
        )
    return found


def _around_blocks(loop: For) -> bool:
    return next(walk.find(loop, Block), None) is not None


def _shuffles(expr: Expr) -> bool:
    """Whether threads exchange values in `expr`."""
    if "shuffles" not in expr.memo:
        own = isinstance(expr, Op) and expr.op == "shuffle_xor"
        expr.memo["shuffles"] = own or any(_shuffles(e) for e in walk.children(expr) if isinstance(e, Expr))
    return expr.memo["shuffles"]
