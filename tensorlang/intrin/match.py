"""Does a statement do what an intrinsic does, and with which regions?

Statements are compared node by node, up to the names of variables, the order of operands that commute, and where in
its buffer a region begins. Regions are compared as positions in memory: in each access, the position minus what the
semantics say about it must be one and the same offset, free of the variables of the intrinsic's own loops. In a program
that each thread runs, loops of the semantics over threads are those threads, and local memory is what one of them has.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tensorlang.arith.affine import linear
from tensorlang.arith.context import EMPTY
from tensorlang.arith.simplify import simplify
from tensorlang.intrin.intrin import Intrinsic
from tensorlang.ir.nodes import (
    ONE,
    SERIAL,
    UNROLL,
    ZERO,
    Buffer,
    Const,
    Expr,
    For,
    If,
    LetStmt,
    Load,
    Node,
    Op,
    Seq,
    Stmt,
    Store,
    Var,
    const,
    unit_of,
)
from tensorlang.ir.walk import free_vars, substitute

_COMMUTE = ("add", "mul", "min", "max", "and", "or", "eq", "ne", "fma")  # in their first two operands
Access = Load | Store
Shapes = Mapping[Buffer, tuple[Expr, ...]]
Threads = Mapping[str, For]  # the loops over threads around a program, by axis
_LOCAL = "local"


class Mismatch(Exception):
    """reason: not_the_semantics, strides, aligned, aliased or scope. node: where in the program."""

    def __init__(self, reason: str, message: str, node: Node):
        super().__init__(message)
        self.reason, self.message, self.node = reason, message, node


@dataclass(frozen=True)
class Match:
    """For each parameter of the intrinsic a load of the region's first element; then its open strides, in elements."""

    origins: tuple[Load, ...]
    strides: tuple[Expr, ...]

    @property
    def args(self) -> tuple[Expr, ...]:
        return (*self.origins, *self.strides)


def match(intrinsic: Intrinsic, stmt: Stmt, shapes: Shapes = {}, threads: Threads | None = None) -> Match:
    """How `stmt` is the intrinsic. shapes: of buffers that lie in memory as if they had other ones. Raises Mismatch.

    threads: of the launch nest in which each thread runs `stmt`, at the flat level; None elsewhere.
    """
    matcher = _Matcher(intrinsic, shapes)
    matcher.stmt(intrinsic.semantics.body if threads is None else matcher.by_threads(stmt, threads), stmt)
    origins: list[Load] = []
    opened: list[Expr] = []
    for param in intrinsic.semantics.params:
        actual = matcher.buffers.get(param)
        if actual is None:
            raise Mismatch("not_the_semantics", f"{intrinsic.name} does not use its parameter {param.name}", stmt)
        others = [p.name for p, b in matcher.buffers.items() if b is actual and p is not param]
        if param in intrinsic.semantics.outputs and others:
            raise Mismatch("aliased", f"{actual.name} would be both {param.name} and {others[0]}", stmt)
        wanted = intrinsic.scopes.get(param.name, actual.scope)
        if actual.scope != wanted:
            message = f"{param.name} must be in memory {wanted}, {actual.name} is in {actual.scope}"
            raise Mismatch("scope", message, stmt)
        pairs = [(a, b) for a, b in matcher.accesses if a.buffer is param]
        region = _Region(param, intrinsic, pairs, matcher)
        origins.append(region.origin())
        opened += region.opened
        if threads is not None:
            region.is_aligned(intrinsic.aligned.get(param.name, 1))
    return Match(tuple(origins), tuple(opened))


class _Matcher:
    """Pairs variables, buffers and accesses of the semantics with those of the program."""

    def __init__(self, intrinsic: Intrinsic, shapes: Shapes) -> None:
        self.intrinsic, self.shapes = intrinsic, shapes
        self.misplaced: Mismatch | None = None  # an access that fails for its place in memory only
        self.vars: dict[Var, Var] = {}
        self.threads: dict[Var, Expr] = {}  # those of the semantics that are no loops of the program, as 0
        self.buffers: dict[Buffer, Buffer] = {}
        self.accesses: list[tuple[Access, Access]] = []
        self.ctx = EMPTY  # with the loops of the program

    def fail(self, a: Node, b: Node) -> Mismatch:
        shown = [repr(n).splitlines()[0] for n in (b, a)]
        return Mismatch("not_the_semantics", f"{shown[0]} is not {shown[1]}", b)

    def by_threads(self, stmt: Stmt, threads: Threads) -> Stmt:
        """The semantics as each of the threads runs them."""
        for axis, count in self.intrinsic.threads.items():
            if axis not in threads or threads[axis].extent is not const(count):
                raise Mismatch("not_the_semantics", f"{self.intrinsic.name} is for {count} threads along {axis}", stmt)
        body = self.intrinsic.semantics.body
        while isinstance(body, For) and unit_of(body.kind):
            loop = threads[body.kind]
            self.vars[body.var], self.threads[body.var] = loop.var, ZERO
            self.ctx = self.ctx.bind(loop.var, loop.extent)
            body = body.body
        return body

    def stmt(self, a: Stmt, b: Stmt) -> None:
        if type(a) is not type(b):
            raise self.fail(a, b)
        if isinstance(a, Seq) and isinstance(b, Seq) and len(a.stmts) == len(b.stmts):
            for x, y in zip(a.stmts, b.stmts, strict=True):
                self.stmt(x, y)
        elif isinstance(a, For) and isinstance(b, For) and (a.kind == b.kind or b.kind in (SERIAL, UNROLL)):
            if simplify(a.extent) is not simplify(b.extent):
                raise self.fail(a, b)
            self.vars[a.var] = b.var
            self.ctx = self.ctx.bind(b.var, b.extent)
            self.stmt(a.body, b.body)
        elif isinstance(a, LetStmt) and isinstance(b, LetStmt):
            self.need(a.value, b.value)
            self.vars[a.var] = b.var
            self.stmt(a.body, b.body)
        elif isinstance(a, If) and isinstance(b, If) and (a.orelse is None) == (b.orelse is None):
            self.need(a.cond, b.cond)
            self.stmt(a.then, b.then)
            if a.orelse is not None and b.orelse is not None:
                self.stmt(a.orelse, b.orelse)
        elif isinstance(a, Store) and isinstance(b, Store) and a.mask is b.mask is None:
            if not self.access(a, b):
                raise self.misplaced or self.fail(a, b)
            self.need(a.value, b.value)
        else:
            raise self.fail(a, b)

    def need(self, a: Expr, b: Expr) -> None:
        if not self.expr(a, b):
            raise self.misplaced or self.fail(a, b)

    def expr(self, a: Expr, b: Expr) -> bool:
        if a.dtype != b.dtype or a.lanes != b.lanes:
            return False
        if isinstance(a, Load):
            return isinstance(b, Load) and a.mask is b.mask is None and self.access(a, b)
        if a.dtype == "index":
            return simplify(substitute(a, self.vars) - b, self.ctx) is ZERO
        if isinstance(a, Op) and isinstance(b, Op) and a.op == b.op and len(a.args) == len(b.args):
            saved = dict(self.buffers), len(self.accesses)
            if self.each(a.args, b.args):
                return True
            self.buffers, count = saved
            del self.accesses[count:]
            return a.op in _COMMUTE and self.each(a.args, (b.args[1], b.args[0], *b.args[2:]))
        return a is b if isinstance(a, Const) else isinstance(a, Var) and self.vars.get(a) is b

    def each(self, a: Sequence[Expr], b: Sequence[Expr]) -> bool:
        return all(self.expr(x, y) for x, y in zip(a, b, strict=True))

    def access(self, a: Access, b: Access) -> bool:
        """Both are accesses to the same place of the same region, as far as the strides are given."""
        if a.buffer.dtype != b.buffer.dtype or self.buffers.get(a.buffer, b.buffer) is not b.buffer:
            return False
        if None not in self.intrinsic.strides.get(a.buffer.name, ()):
            try:
                _Region(a.buffer, self.intrinsic, [(a, b)], self)
            except Mismatch as error:
                self.misplaced = error
                return False
        self.buffers[a.buffer] = b.buffer
        self.accesses.append((a, b))
        return True


class _Region:
    """Where in its buffer the region of one parameter begins, and its strides."""

    def __init__(
        self,
        param: Buffer,
        intrinsic: Intrinsic,
        pairs: Sequence[tuple[Access, Access]],
        matcher: _Matcher,
    ):
        self.param, self.shapes, self.variables, self.ctx = param, matcher.shapes, matcher.vars, matcher.ctx
        self.bound = frozenset(matcher.vars.values())
        self.private = matcher.threads if pairs[0][1].buffer.scope == _LOCAL else {}
        self.steps: list[Expr | None] = list(_row_major(param.shape))
        if param.name in intrinsic.strides:
            self.steps = [None if step is None else const(step) for step in intrinsic.strides[param.name]]
        self.opened: list[Expr] = []
        for dim, step in enumerate(self.steps):
            if step is None:
                self.steps[dim] = self.found(dim, pairs)
                self.opened.append(self.steps[dim])  # type: ignore[arg-type]
        offsets = [self.offset(a, b) for a, b in pairs]
        for (_, b), offset in zip(pairs, offsets, strict=True):
            if free_vars(offset) & self.bound or simplify(offset - offsets[0], self.ctx) is not ZERO:
                raise self.fail(b)
        self.pairs = pairs

    def fail(self, node: Node) -> Mismatch:
        shown = ", ".join(repr(step) if step is not None else "any" for step in self.steps)
        message = f"the elements of {self.param.name} must lie ({shown}) apart in memory, those of {node!r} do not"
        return Mismatch("strides", message, node)

    def found(self, dim: int, pairs: Sequence[tuple[Access, Access]]) -> Expr:
        """The stride of a dimension that is indexed by a variable of its own, times a number, in some access."""
        for a, b in pairs:
            index = linear(simplify(substitute(a.indices[dim], self.private)), list(self.variables))
            others = [i for n, i in enumerate(a.indices) if n != dim]
            for var, times in index[0].items() if index is not None else ():
                if times is ZERO or any(var in free_vars(i) for i in others):
                    continue
                form = linear(simplify(self.position(b), self.ctx), self.bound)
                step = form and simplify(form[0].get(self.variables[var], ZERO))
                if form is None or simplify(step % times) is not ZERO:
                    raise self.fail(b)
                return simplify(step // times)
        raise self.fail(pairs[0][1])

    def is_aligned(self, count: int) -> None:
        """Raise Mismatch unless the place of the region and its open strides are multiples of `count`."""
        at = self.origin().indices
        if any(simplify(value % count, self.ctx) is not ZERO for value in (*at, *self.opened)):
            message = f"{self.param.name} must lie at a multiple of {count} elements, and so must its rows"
            raise Mismatch("aligned", message, self.pairs[0][1])

    def offset(self, a: Access, b: Access) -> Expr:
        inside: Expr = ZERO
        for index, step in zip(a.indices, self.steps, strict=True):
            inside = inside + substitute(substitute(index, self.private), self.variables) * step  # type: ignore[operator]
        return simplify(self.position(b) - inside, self.ctx)

    def position(self, access: Access) -> Expr:
        """Where in memory an access goes."""
        shape = self.shapes.get(access.buffer, access.buffer.shape)
        total: Expr = ZERO
        for index, step in zip(access.indices, _row_major(shape), strict=True):
            total = total + index * step
        return total

    def origin(self) -> Load:
        """The access to the first element, in the first iteration."""
        start = dict.fromkeys(self.variables, ZERO)
        for a, b in self.pairs:
            if all(simplify(substitute(i, start)) is ZERO for i in a.indices):
                zero = dict.fromkeys(self.bound, ZERO)
                return Load(b.buffer, tuple(simplify(substitute(i, zero)) for i in b.indices))
        raise self.fail(self.pairs[0][1])


def _row_major(shape: Sequence[Expr]) -> list[Expr]:
    steps: list[Expr] = []
    step: Expr = ONE
    for extent in reversed(shape):
        steps.insert(0, step)
        step = simplify(step * extent)
    return steps
