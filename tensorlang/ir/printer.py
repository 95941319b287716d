"""IR as text, to be read by people: Python-like, one statement a line, marked nodes underlined.

    func matmul(A: f32[1024, 512], B: f32[512, 1024]) -> C: f32[1024, 1024]
      parallel C.i in 1024:
        for C.j in 1024:
          for C.k in 512:
            block C(i = C.i, j = C.j, k: reduce = C.k):
              init: C[i, j] = 0.0
              C[i, j] = fma(A[i, k], B[k, j], C[i, j])

An `alloc` and a `name = value` line hold for the lines after them, down to the end of the indentation they stand at;
where that would be too far, they end in a colon and their body is indented.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import NamedTuple

from tensorlang.ir import dtypes
from tensorlang.ir.nodes import (
    SERIAL,
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
    Iter,
    Let,
    LetStmt,
    Load,
    Node,
    Op,
    Ramp,
    Reduce,
    Reducer,
    Seq,
    Splat,
    Stmt,
    Store,
    Var,
)
from tensorlang.ir.ops import OPS

_ATOM, _UNARY, _LOOSEST = 100, 80, 0
_FULL_SIZE, _ELIDED_DEPTH = 2000, 5  # a larger expression (shared parts count each time) is cut below this depth
_EXCERPT_LINES = 40  # a program that is not longer is shown whole
_OPEN, _CLOSE = "\x01", "\x02"  # they surround marked text until `_underline` turns them into a line of ^^^


class Line(NamedTuple):
    """A line of a printed Func: its indentation, the text after it, and the Func or statement that it begins."""

    indent: str
    shown: str
    node: Node


def lines(func: Func) -> list[Line]:
    """The lines of `text(func)`, each with its node."""
    return list(_Printer(()).func(func))


def text(node: Node, mark: Collection[Node] = ()) -> str:
    """`node` (expression, statement, Func, Buffer, Iter) as text; nodes of `mark` are underlined with ^^^.

    Statements are marked on their first line. An expression with more than 2000 parts is cut short with "...".

    >>> text(Var("i") * 4 + 1)
    'i * 4 + 1'
    """
    printer = _Printer(mark)
    if isinstance(node, Func | Stmt):
        made = printer.func(node) if isinstance(node, Func) else printer.stmt(node, "", True)
        return "\n".join(shown for line in made for shown in _underline(line.indent + line.shown))
    if isinstance(node, Expr):
        shown = printer.top(node)
    elif isinstance(node, Buffer):
        shown = printer.declaration(node)
    elif isinstance(node, Iter):
        shown = f"{node.var.name}: {node.kind} in {printer.top(node.extent)}"
    elif isinstance(node, Reducer):
        shown = printer.reducer(node)
    else:
        raise TypeError(f"the printer does not know {type(node).__name__}")
    return "\n".join(_underline(shown))


def excerpt(func: Func, mark: Collection[Node]) -> str:
    """`func` as text with the statements of `mark` underlined; of a long one, only the lines that lead to them.

    That is, the lines that open the scopes around a marked line, and its neighbours; "..." stands for the rest.
    """
    lines = text(func, mark).splitlines()
    if len(lines) <= _EXCERPT_LINES:
        return "\n".join(lines)
    marks = [n for n, line in enumerate(lines) if line.strip() and not line.strip().strip("^")]
    kept = {n for mark in marks for n in range(max(0, mark - 2), min(len(lines), mark + 2))} | {0}
    for n in sorted(kept - set(marks)):
        depth = _depth(lines[n])
        for above in reversed(range(n)):
            if _depth(lines[above]) < depth:
                depth = _depth(lines[above])
                kept.add(above)
    shown: list[str] = []
    for n, line in enumerate(lines):
        if n in kept:
            shown.append(line)
        elif n - 1 in kept or n == 0:
            shown.append(" " * _depth(line) + "...")
    return "\n".join(shown)


def _depth(line: str) -> int:
    return len(line) - len(line.lstrip())


def _underline(line: str) -> Iterator[str]:
    """The line without its marks, then a line of ^^^ under what was marked, if anything was."""
    if _OPEN not in line:
        yield line
        return
    plain, under, depth = [], [], 0
    for char in line:
        if char in (_OPEN, _CLOSE):
            depth += 1 if char == _OPEN else -1
        else:
            plain.append(char)
            under.append("^" if depth else " ")
    yield "".join(plain)
    yield "".join(under).rstrip()


def _tree_size(expr: Expr) -> int:
    """The number of nodes with shared ones counted each time, without walking them each time."""
    sizes: dict[Expr, int] = {}
    stack = [expr]
    while stack:
        current = stack[-1]
        below = _parts(current)
        waiting = [e for e in below if e not in sizes]
        stack.extend(waiting)
        if not waiting:
            sizes[current] = 1 + sum(sizes[e] for e in below)
            stack.pop()
    return sizes[expr]


def _parts(expr: Expr) -> tuple[Expr, ...]:
    if isinstance(expr, Op):
        return expr.args
    if isinstance(expr, Load):
        return expr.indices
    if isinstance(expr, Let):
        return (expr.value, expr.body)
    if isinstance(expr, Reduce):
        return expr.sources
    if isinstance(expr, Ramp):
        return (expr.base, expr.stride)
    return (expr.value,) if isinstance(expr, Splat) else ()


def _constant(node: Const) -> str:
    if dtypes.is_float(node.dtype):
        return str(dtypes.to_numpy(node.dtype).type(node.value))  # the shortest text of that precision
    return str(node.value)


class _Printer:
    def __init__(self, mark: Collection[Node]):
        self.mark = {id(node) for node in mark}
        self.elide = False

    def marked(self, node: Node, shown: str) -> str:
        return f"{_OPEN}{shown}{_CLOSE}" if id(node) in self.mark else shown

    # ------------------------------------------------------------------------------------------ expressions
    def top(self, expr: Expr) -> str:
        self.elide = _tree_size(expr) > _FULL_SIZE
        return self.expr(expr, _LOOSEST, 0)

    def expr(self, expr: Expr, context: int, depth: int) -> str:
        """`expr` in parentheses if it binds less tightly than `context`."""
        if self.elide and depth > _ELIDED_DEPTH:
            return "..."
        shown, precedence = self.bare(expr, depth + 1)
        return self.marked(expr, shown if precedence >= context else f"({shown})")

    def bare(self, expr: Expr, depth: int) -> tuple[str, int]:
        """The text of `expr` and how tightly its outermost operator binds."""
        if isinstance(expr, Var):
            return expr.name, _ATOM
        if isinstance(expr, Const):
            shown = _constant(expr)
            return shown, _UNARY if shown.startswith("-") else _ATOM
        if isinstance(expr, Op):
            return self.op(expr, depth)
        if isinstance(expr, Load):
            return f"{expr.buffer.name}[{self.subscripts(expr.indices, expr.mask, depth)}]", _ATOM
        if isinstance(expr, Let):
            value, body = self.expr(expr.value, _LOOSEST + 1, depth), self.expr(expr.body, _LOOSEST, depth)
            return f"let {expr.var.name} = {value} in {body}", _LOOSEST
        if isinstance(expr, Ramp):
            return f"ramp({self.args((expr.base, expr.stride), depth)}, {expr.lanes})", _ATOM
        if isinstance(expr, Splat):
            return f"x{expr.lanes}({self.args((expr.value,), depth)})", _ATOM
        if isinstance(expr, Reduce):
            axes = ", ".join(axis.var.name for axis in expr.axes)
            axes = axes if len(expr.axes) == 1 else f"({axes})"
            sources = self.args(expr.sources, depth)
            if len(expr.sources) == 1:
                return f"{expr.reducer.name}({sources}, axis={axes})", _ATOM
            return f"{expr.reducer.name}(({sources}), axis={axes})[{expr.index}]", _ATOM
        raise TypeError(f"the printer does not know {type(expr).__name__}")

    def op(self, expr: Op, depth: int) -> tuple[str, int]:
        row = OPS.get(expr.op)
        if expr.op == "cast":
            return f"{dtypes.short(expr.dtype)}({self.args(expr.args, depth)})", _ATOM
        if expr.op == "reinterpret":
            return f"reinterpret_{dtypes.short(expr.dtype)}({self.args(expr.args, depth)})", _ATOM
        if row is None or not row.symbol or len(expr.args) != row.arity:
            return f"{expr.op}({self.args(expr.args, depth)})", _ATOM
        if row.arity == 1:
            return row.symbol + self.expr(expr.args[0], row.precedence + 1, depth), row.precedence
        chains = row.result == "bool" and expr.op not in ("and", "or")  # a < b < c would mean something else in Python
        left = self.expr(expr.args[0], row.precedence + chains, depth)
        right = self.expr(expr.args[1], row.precedence + 1, depth)
        return f"{left} {row.symbol} {right}", row.precedence

    def args(self, exprs: tuple[Expr, ...], depth: int) -> str:
        return ", ".join(self.expr(e, _LOOSEST, depth) for e in exprs)

    def subscripts(self, indices: tuple[Expr, ...], mask: Expr | None, depth: int) -> str:
        inside = self.args(indices, depth)
        return inside if mask is None else f"{inside}, mask={self.expr(mask, _LOOSEST, depth)}"

    def reducer(self, node: Reducer) -> str:
        left, right = (", ".join(v.name for v in side) for side in (node.left, node.right))
        kind = "" if node.commutative else " ordered"
        return (
            f"reducer {node.name}{kind}(({left}), ({right})) -> ({', '.join(map(self.top, node.combine))}) "
            f"from ({', '.join(map(self.top, node.identity))})"
        )

    # ------------------------------------------------------------------------------------------- statements
    def declaration(self, buffer: Buffer) -> str:
        scope = "" if buffer.scope == "global" else f" in {buffer.scope}"
        shape = ", ".join(map(self.top, buffer.shape))
        return self.marked(buffer, f"{buffer.name}: {dtypes.short(buffer.dtype)}[{shape}]{scope}")

    def func(self, func: Func) -> Iterator[Line]:
        outputs, count = func.outputs, len(func.params) - len(func.outputs)
        outputs_last = all(a is b for a, b in zip(func.params[count:], outputs, strict=True))
        inputs = func.params[:count] if outputs_last else func.params
        results = map(self.declaration, outputs) if outputs_last else (b.name for b in outputs)
        arguments = ", ".join(map(self.declaration, inputs))
        yield Line("", self.marked(func, f"func {func.name}({arguments}) -> {', '.join(results)}"), func)
        yield from self.stmt(func.body, "  ", True)

    def stmt(self, stmt: Stmt, indent: str, last: bool) -> Iterator[Line]:
        """Lines of `stmt`; `last`: nothing follows it at this indentation, so that open scopes need no colon."""
        inner = indent + "  "
        if isinstance(stmt, Seq):
            for n, part in enumerate(stmt.stmts):
                yield from self.stmt(part, indent, last and n == len(stmt.stmts) - 1)
            if not stmt.stmts:
                yield Line(indent, self.marked(stmt, "pass"), stmt)
            return
        head = self.head(stmt)
        scoped = isinstance(stmt, Alloc | LetStmt)
        opens = isinstance(stmt, For | If | Block) or (scoped and not last)
        comment = _annotations(stmt)
        yield Line(indent, self.marked(stmt, head + (":" if opens else "")) + comment, stmt)
        if isinstance(stmt, Alloc | LetStmt | For):
            yield from self.stmt(stmt.body, inner if opens else indent, True)
        elif isinstance(stmt, If):
            yield from self.stmt(stmt.then, inner, True)
            if stmt.orelse is not None:
                yield Line(indent, "else:", stmt)
                yield from self.stmt(stmt.orelse, inner, True)
        elif isinstance(stmt, Block):
            if isinstance(stmt.init, Store):
                yield Line(inner, "init: " + next(self.stmt(stmt.init, "", True)).shown, stmt.init)
            elif stmt.init is not None:
                yield Line(inner, "init:", stmt)
                yield from self.stmt(stmt.init, inner + "  ", True)
            yield from self.stmt(stmt.body, inner, True)

    def head(self, stmt: Stmt) -> str:
        """The first line of a statement, without indentation and colon."""
        if isinstance(stmt, For):
            keyword = "for" if stmt.kind == SERIAL else stmt.kind
            return f"{keyword} {stmt.var.name} in {self.top(stmt.extent)}"
        if isinstance(stmt, Block):
            iters = zip(stmt.iters, stmt.bindings, strict=False)
            bound = ", ".join(f"{_iter_name(it)} = {self.top(value)}" for it, value in iters)
            always = isinstance(stmt.predicate, Const) and stmt.predicate.value
            return f"block {stmt.name}({bound})" + ("" if always else f" where {self.top(stmt.predicate)}")
        if isinstance(stmt, Store):
            return f"{stmt.buffer.name}[{self.subscripts(stmt.indices, stmt.mask, 1)}] = {self.top(stmt.value)}"
        if isinstance(stmt, Alloc):
            return f"alloc {self.declaration(stmt.buffer)}"
        if isinstance(stmt, If):
            return f"if {self.top(stmt.cond)}"
        if isinstance(stmt, LetStmt):
            return f"{stmt.var.name} = {self.top(stmt.value)}"
        if isinstance(stmt, Do) and isinstance(stmt.what, str) and isinstance(stmt.body, Store):
            return f"{stmt.what} {self.head(stmt.body)}"
        if isinstance(stmt, Do):
            return f"{getattr(stmt.what, 'name', stmt.what)}({', '.join(map(self.top, stmt.args))})"
        raise TypeError(f"the printer does not know {type(stmt).__name__}")


def _iter_name(it: Iter) -> str:
    return it.var.name if it.kind == SPATIAL else f"{it.var.name}: {it.kind}"


def _annotations(stmt: Stmt) -> str:
    pairs = getattr(stmt, "annotations", ())
    return "  # " + ", ".join(f"{key} = {value!r}" for key, value in pairs) if pairs else ""
