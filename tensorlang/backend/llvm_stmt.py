"""Statements in LLVM: loops, branches, stores, and parallel loops outlined into functions of their own.

Buffers reach a function as `noalias` arguments, one pointer each, so LLVM knows that they do not overlap: the entry
finds the pointers of the workspace and calls the body; a parallel loop packs what it uses into an array of 8-byte
slots, from which the function that the threads run unpacks it and calls the body of the loop.
"""

from __future__ import annotations

from collections.abc import Sequence

from tensorlang.backend.llvm_code import Code, memory_type, suffix, value_type
from tensorlang.backend.llvm_expr import Values
from tensorlang.errors import BuildError
from tensorlang.intrin.intrin import Intrinsic
from tensorlang.ir import dtypes, walk
from tensorlang.ir.launch import ATOMIC, update_of
from tensorlang.ir.nodes import (
    PARALLEL,
    Alloc,
    Buffer,
    Const,
    Do,
    Expr,
    For,
    Func,
    If,
    LetStmt,
    Load,
    Ramp,
    Seq,
    Size,
    Stmt,
    Store,
    Var,
)
from tensorlang.passes.allocs import STACK, memory_of, workspace_layout
from tensorlang.passes.promote import REGISTER
from tensorlang.target.target import Target

Argument = Buffer | Var  # what a body needs from outside: memory, or a scalar


def symbol(name: str) -> str:
    """The symbol of a kernel: one that no library function has, so that none is called in its place."""
    return f"kernel_{name}"


class Module:
    """The functions of one Func in the order they were written, and the intrinsics that they call."""

    def __init__(self, func: Func, sizes: Sequence[Size], target: Target):
        self.func, self.sizes, self.target = func, tuple(sizes), target
        self.functions: list[str] = []
        self.declared: set[str] = set()
        self.layout = workspace_layout(func)
        self.attributes = _attributes(target)
        self.parallel_loops = 0
        self.intrinsics: dict[str, str] = {}  # their texts, by name

    def write(self) -> None:
        """Entry, body and outlined loops of the Func."""
        name, params = symbol(self.func.name), self.func.params
        shared = self.layout.workspace
        self.body(f"{name}.body", (*params, *shared, *self.sizes), self.func.body)
        code = Code(self.declared)
        outside: tuple[Argument, ...] = (*params, *self.sizes)
        names = {a: "%" + code.name(a.name) for a in outside}
        values = Values(code, self.target, {})
        for size in self.sizes:
            values.bind(size, names[size])
        for buffer, offset in shared.items():
            names[buffer] = self._region(code, values, "%workspace", offset, buffer)
        end = values.value(self.layout.workspace_bytes)
        threads = code.let(f"getelementptr i8, ptr %workspace, i64 {end}", "threads")
        everything: tuple[Argument, ...] = (*params, *shared, *self.sizes)
        passed = [f"{_type(a)} {names[a]}" for a in everything]
        code.do(f"call void @{name}.body({', '.join([*passed, f'ptr {threads}'])})")
        code.do("ret void")
        signature = ", ".join([f"ptr {names[p]}" for p in params] + [f"i64 {names[s]}" for s in self.sizes])
        header = f"define void @{name}({signature}{', ' if signature else ''}ptr %workspace) noinline {self.attributes}"
        self.functions.append(code.text(header))

    def body(self, name: str, arguments: Sequence[Argument], stmt: Stmt, loop: For | None = None) -> None:
        """`void name(arguments..., ptr threads)` that runs `stmt`, or a stretch of a parallel `loop`."""
        code = Code(self.declared)
        names = {a: "%" + code.name(a.name) for a in arguments}
        values = Values(code, self.target, {a: n for a, n in names.items() if isinstance(a, Buffer)})
        for argument in arguments:
            if isinstance(argument, Var):
                values.bind(argument, names[argument])
        writer = Statements(self, code, values, nested=loop is not None)
        if loop is None:
            writer.run(stmt)
        else:
            writer.loop(loop, "%begin", "%end")
        code.do("ret void")
        parts = [f"ptr noalias {names[a]}" if isinstance(a, Buffer) else f"{_type(a)} {names[a]}" for a in arguments]
        parts += ["ptr %threads"] + (["i64 %begin", "i64 %end"] if loop is not None else [])
        header = f"define internal void @{name}({', '.join(parts)}) noinline {self.attributes}"
        self.functions.append(code.text(header))

    def define(self, intrinsic: Intrinsic) -> None:
        """Write the function of an intrinsic, once; what it declares goes to the other declarations."""
        lines = (intrinsic.code(self.target) or "").splitlines()
        text = "\n".join(line for line in lines if not line.startswith("declare "))
        if self.intrinsics.setdefault(intrinsic.name, text) != text:
            raise BuildError(f"two intrinsics are named {intrinsic.name}")
        self.declared.update(line for line in lines if line.startswith("declare "))
        if text not in self.functions:
            self.functions.append(text)

    def _region(self, code: Code, values: Values, base: str, offset: Expr, buffer: Buffer) -> str:
        return code.let(f"getelementptr i8, ptr {base}, i64 {values.value(offset)}", buffer.name)

    def outline(self, loop: For) -> tuple[str, list[Argument]]:
        """Write the function that threads run for `loop`; returns its name and what its context holds, in order."""
        name = f"{symbol(self.func.name)}.parallel{self.parallel_loops}"
        self.parallel_loops += 1
        own = {a.buffer for a in walk.find(loop.body, Alloc)}
        private = [b for b in self.layout.thread if b in own]
        used = _buffers(loop.body) - own
        outside = walk.free_vars(loop.body) - {loop.var}
        sizes = set(self.sizes) if private else set()
        context: list[Argument] = sorted(used, key=lambda b: b.name)
        context += sorted(outside | sizes, key=lambda v: v.name)
        self.body(f"{name}.body", (*context, *private), loop.body, loop)
        code = Code(self.declared)
        values = Values(code, self.target, {})
        names: dict[Argument, str] = {}
        for n, argument in enumerate(context):
            slot = code.let(f"getelementptr i64, ptr %ctx, i64 {n}")
            names[argument] = code.let(f"load {_type(argument)}, ptr {slot}", argument.name)
            if isinstance(argument, Var):
                values.bind(argument, names[argument])
        threads = code.let(f"load ptr, ptr {code.let(f'getelementptr i64, ptr %ctx, i64 {len(context)}')}", "threads")
        if private:
            start = code.let(f"mul nsw i64 %thread, {values.value(self.layout.thread_bytes)}")
            base = code.let(f"getelementptr i8, ptr {threads}, i64 {start}", "own")
            for buffer in private:
                names[buffer] = self._region(code, values, base, self.layout.thread[buffer], buffer)
        passed = [f"{_type(a)} {names[a]}" for a in (*context, *private)]
        code.do(f"call void @{name}.body({', '.join([*passed, f'ptr {threads}', 'i64 %begin', 'i64 %end'])})")
        code.do("ret void")
        header = f"define internal void @{name}(ptr %ctx, i64 %begin, i64 %end, i64 %thread) {self.attributes}"
        self.functions.append(code.text(header))
        return name, context


class Statements:
    """Writes statements into `code`; `nested` inside of a parallel loop, where another one is an ordinary loop."""

    def __init__(self, module: Module, code: Code, values: Values, nested: bool):
        self.module, self.code, self.values, self.nested = module, code, values, nested

    def run(self, stmt: Stmt) -> None:
        """Append the code of `stmt`."""
        if isinstance(stmt, Seq):
            for part in stmt.stmts:
                self.run(part)
        elif isinstance(stmt, For):
            if stmt.kind == PARALLEL and not self.nested:
                self._launch(stmt)
            else:
                self.loop(stmt, "0", self.values.value(stmt.extent))
        elif isinstance(stmt, Store):
            self._store(stmt)
        elif isinstance(stmt, If):
            self._if(stmt)
        elif isinstance(stmt, LetStmt):
            self.values.bind(stmt.var, self.values.value(stmt.value))
            self.run(stmt.body)
        elif isinstance(stmt, Alloc):
            self._alloc(stmt)
        elif isinstance(stmt, Do) and isinstance(stmt.what, Intrinsic):
            self._intrinsic(stmt.what, stmt.args)
        elif isinstance(stmt, Do) and stmt.what == ATOMIC and isinstance(stmt.body, Store):
            self._atomic(stmt.body)
        else:
            raise BuildError(f"{type(stmt).__name__} cannot be compiled for this target")

    def loop(self, loop: For, begin: str, end: str) -> None:
        """A loop from `begin` up to `end`, tested before the first iteration unless it surely runs."""
        code, values = self.code, self.values
        body, done = code.name(loop.var.name + ".body"), code.name(loop.var.name + ".done")
        before = code.block
        if isinstance(loop.extent, Const) and begin == "0" and int(end) > 0:
            code.do(f"br label %{body}")
        else:
            code.do(f"br i1 {code.let(f'icmp slt i64 {begin}, {end}')}, label %{body}, label %{done}")
        code.label(body)
        counter, following = code.name(loop.var.name), code.name(loop.var.name + ".next")
        phi = len(code.lines)
        values.push()
        values.bind(loop.var, f"%{counter}")
        self.run(loop.body)
        values.pop()
        code.do(f"%{following} = add nuw nsw i64 %{counter}, 1")
        code.lines.insert(phi, f"  %{counter} = phi i64 [ {begin}, %{before} ], [ %{following}, %{code.block} ]")
        again = code.let(f"icmp slt i64 %{following}, {end}")
        code.do(f"br i1 {again}, label %{body}, label %{done}, !llvm.loop !0")
        code.label(done)

    def _if(self, stmt: If) -> None:
        code = self.code
        then, orelse, done = (code.name(base) for base in ("then", "else", "done"))
        other = orelse if stmt.orelse is not None else done
        code.do(f"br i1 {self.values.value(stmt.cond)}, label %{then}, label %{other}")
        for label, part in ((then, stmt.then), (orelse, stmt.orelse)):
            if part is not None:
                code.label(label)
                self.values.push()
                self.run(part)
                self.values.pop()
                code.do(f"br label %{done}")
        code.label(done)

    def _alloc(self, stmt: Alloc) -> None:
        buffer = stmt.buffer
        on_stack = buffer.scope == REGISTER or memory_of(stmt) == STACK
        if on_stack and buffer not in self.values.pointers:
            size = buffer.shape[0]
            if not isinstance(size, Const):
                raise BuildError(f"{buffer.name} is on the stack, but its size {size!r} is not constant")
            bytes_ = int(size.value) * dtypes.bytes_of(buffer.dtype)
            self.values.pointers[buffer] = self.code.alloca(bytes_, buffer.name)
        elif buffer not in self.values.pointers:
            raise BuildError(f"{buffer.name} has no place in memory")
        self.run(stmt.body)

    def _atomic(self, stmt: Store) -> None:
        """The end of a parallel loop orders more than the update itself."""
        update = update_of(stmt)
        if update is None:
            raise BuildError(f"memory of this target does not do {stmt!r} by itself")
        op, value = update
        dtype = stmt.buffer.dtype
        prefix = "f" if dtypes.is_float(dtype) else "u" if op != "add" and dtype.startswith("uint") else ""
        operand = f"{memory_type(dtype, 1)} {self.values.value(value)}"
        where = self.values.pointer(stmt.buffer, stmt.indices[0])
        self.code.do(f"atomicrmw {prefix}{op} ptr {where}, {operand} monotonic, align {dtypes.bytes_of(dtype)}")

    def _store(self, stmt: Store) -> None:
        values, code, buffer, index = self.values, self.code, stmt.buffer, stmt.indices[0]
        lanes = max(index.lanes, stmt.value.lanes)
        value = values.value(stmt.value) if stmt.value.lanes == lanes else values.splat(stmt.value, lanes)
        kind, align = memory_type(buffer.dtype, lanes), dtypes.bytes_of(buffer.dtype)
        if buffer.dtype == "bool":
            value = code.let(f"zext {value_type('bool', lanes)} {value} to {kind}")
        mask = f"{value_type('bool', lanes)} {values.mask(stmt.mask, lanes)}"
        stride = index.stride if isinstance(index, Ramp) else None
        if lanes == 1 and stmt.mask is None:
            code.do(f"store {kind} {value}, ptr {values.pointer(buffer, index)}, align {align}")
        elif isinstance(index, Ramp) and isinstance(stride, Const) and stride.value == 1:
            where = values.pointer(buffer, index.base, stmt.mask is None)
            if stmt.mask is None:
                code.do(f"store {kind} {value}, ptr {where}, align {align}")
            else:
                name = f"@llvm.masked.store.{suffix(kind)}.p0"
                code.declared.add(f"declare void {name}({kind}, ptr, {value_type('bool', lanes)})")
                code.do(f"call void {name}({kind} {value}, ptr align {align} {where}, {mask})")
        else:
            name = f"@llvm.masked.scatter.{suffix(kind)}.v{lanes}p0"
            code.declared.add(f"declare void {name}({kind}, <{lanes} x ptr>, {value_type('bool', lanes)})")
            where = f"<{lanes} x ptr> align {align} {values.addresses(buffer, index)}"
            code.do(f"call void {name}({kind} {value}, {where}, {mask})")
        values.loaded = {}

    def _intrinsic(self, intrinsic: Intrinsic, args: Sequence[Expr]) -> None:
        """Call the intrinsic's function with a pointer for each region, then the strides."""
        values, passed = self.values, []
        for arg in args:
            if isinstance(arg, Load):
                passed.append(f"ptr {values.pointer(arg.buffer, arg.indices[0])}")
            else:
                passed.append(f"i64 {values.value(arg)}")
        self.module.define(intrinsic)
        self.code.do(f"call void @{intrinsic.name}({', '.join(passed)})")
        values.loaded = {}

    def _launch(self, loop: For) -> None:
        """Pack the context and hand the loop to the threads."""
        code, values = self.code, self.values
        name, context = self.module.outline(loop)
        slots = code.alloca(8 * (len(context) + 1), "ctx")
        known = [(_type(a), values.pointers[a] if isinstance(a, Buffer) else values.value(a)) for a in context]
        for n, (kind, value) in enumerate([*known, ("ptr", "%threads")]):
            code.do(f"store {kind} {value}, ptr {code.let(f'getelementptr i64, ptr {slots}, i64 {n}')}")
        code.declared.add("declare void @tl_launch(ptr, ptr, i64)")
        code.do(f"call void @tl_launch(ptr @{name}, ptr {slots}, i64 {values.value(loop.extent)})")
        values.loaded = {}


def _buffers(stmt: Stmt) -> set[Buffer]:
    return {n.buffer for n in walk.visit(stmt) if isinstance(n, Load | Store)}


def _type(argument: Argument) -> str:
    return "ptr" if isinstance(argument, Buffer) else value_type(argument.dtype, argument.lanes)


def _attributes(target: Target) -> str:
    """Let LLVM use vectors as wide as ours: on some CPUs it would halve them."""
    bits = 8 * target.vector_bytes
    return f'nounwind "prefer-vector-width"="{bits}" "min-legal-vector-width"="{bits}"'
