"""Funcs and expressions as JSON, and the structural hash of a Func.

An expression is nested JSON: an index literal is a number, a bool true or false, a variable its name, everything else
a list that starts with what it is:

    ["add", ["mul", "i", 4], 1]        ["const", "float32", 0.5]        ["cast", "float32", x]
    ["load", "A", ["i", "k"], null]    ["ramp", "i", 1, 8]              ["splat", x, 8]          ["let", "v", x, body]

A Func lists its variables and buffers first (names made unique), then compound expressions that occur more than once,
to which the statements refer as {"shared": n}. Reading builds plain nodes from plain data: nothing is evaluated.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping
from hashlib import blake2b
from typing import Any

from tensorlang.errors import ExprError
from tensorlang.ir import dtypes, walk
from tensorlang.ir.nodes import (
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
    Knob,
    Let,
    LetStmt,
    Load,
    Node,
    Op,
    Ramp,
    Reducer,
    Seq,
    Size,
    Splat,
    Stmt,
    Store,
    Var,
)
from tensorlang.ir.ops import OPS, typed

VERSION = 1


def to_json(func: Func) -> str:
    """`func` as one line of JSON; `from_json` gives back a Func that is `walk.same`.

    >>> to_json(s.func).startswith("{")
    True
    >>> from_json(to_json(s.func)).params
    (A: f32[8, 8], B: f32[8, 8], C: f32[8, 8])
    """
    return json.dumps(_Writer(canonical=False).func(func), separators=(",", ":"))


def from_json(text: str, variables: Mapping[str, Var] = {}, intrinsics: Mapping[str, Any] = {}) -> Func:
    """The Func that `to_json` wrote. `variables` to use for free variables (knobs, sizes), by name; others are new.

    intrinsics: the Intrinsics by name; one that is not among them stays a name, and its Do means its body.
    Raises ValueError if the text is not such JSON.

    >>> from_json(to_json(s.func)).params
    (A: f32[8, 8], B: f32[8, 8], C: f32[8, 8])
    """
    data = json.loads(text)
    if not isinstance(data, dict) or data.get("version") != VERSION:
        raise ValueError(f"not a Func in JSON of version {VERSION}")
    return _Reader(variables, intrinsics).func(data)


def structural_hash(func: Func) -> str:
    """32 hexadecimal digits that are the same for Funcs that differ in names only, in every process.

    >>> structural_hash(s.func) == structural_hash(tl.create_func(C))
    True
    """
    data = _Writer(canonical=True).func(func)
    return blake2b(json.dumps(data, sort_keys=True).encode(), digest_size=16).hexdigest()


def expr_to_json(expr: Expr) -> Any:
    """`expr` as plain JSON values; variables and buffers go by their names, which must tell them apart.

    >>> expr_to_json(Var("i") * 4 + 1)
    ['add', ['mul', 'i', 4], 1]
    """
    return _Writer(canonical=False, unique=False).expr(expr)


def expr_from_json(value: Any, variables: Mapping[str, Var], buffers: Mapping[str, Buffer] = {}) -> Expr:
    """The expression that `expr_to_json` wrote, over these variables and buffers.

    Raises ValueError if `value` is not such an expression or names something else.
    """
    reader = _Reader(variables)
    reader.vars.update(variables)
    reader.buffers.update(buffers)
    return reader.expr(value)


# -------------------------------------------------------------------------------------------------- writing
class _Writer:
    """`canonical`: names are made up in order of appearance, so that the result does not depend on them."""

    def __init__(self, canonical: bool, unique: bool = True):
        self.canonical, self.unique = canonical, unique
        self.names: dict[Node, str] = {}
        self.taken: set[tuple[bool, str]] = set()  # variables and buffers may share names
        self.vars: dict[str, list[Any]] = {}
        self.buffers: dict[str, list[Any]] = {}
        self.repeated: set[Expr] = set()
        self.shared: list[Any] = []
        self.places: dict[Expr, int] = {}

    def func(self, func: Func) -> dict[str, Any]:
        self.repeated = _repeated(func.body)
        return {
            "version": VERSION,
            "name": "" if self.canonical else func.name,
            "params": [self.buffer(p) for p in func.params],
            "outputs": [self.buffer(p) for p in func.outputs],
            "body": self.stmt(func.body),
            "vars": self.vars,
            "buffers": self.buffers,
            "shared": self.shared,
        }

    def name(self, node: Var | Buffer) -> str:
        """The name under which `node` is written."""
        if not self.unique:
            return node.name
        if node not in self.names:
            is_var = isinstance(node, Var)
            base = ("v" if is_var else "b") if self.canonical else node.name
            name, count = base, 1
            while (is_var, name) in self.taken:
                count += 1
                name = f"{base}~{count}"
            self.taken.add((is_var, name))
            self.names[node] = name
        return self.names[node]

    def var(self, var: Var) -> str:
        name = self.name(var)
        if name not in self.vars:
            kind = "size" if isinstance(var, Size) else "knob" if isinstance(var, Knob) else "var"
            more: list[Any] = [list(var.choices)] if isinstance(var, Knob) else [var.dtype, var.lanes]
            self.vars[name] = [kind, *more]
        return name

    def buffer(self, buffer: Buffer) -> str:
        name = self.name(buffer)
        if name not in self.buffers:
            self.buffers[name] = []  # holds its place in the order
            shape = [self.nested(e) for e in buffer.shape]
            self.buffers[name] = [buffer.dtype, shape, buffer.scope]
        return name

    def nested(self, expr: Expr) -> Any:
        """`expr` without references to shared expressions."""
        repeated, self.repeated = self.repeated, set()
        result = self.expr(expr)
        self.repeated = repeated
        return result

    def expr(self, expr: Expr) -> Any:
        if expr in self.places:
            return {"shared": self.places[expr]}
        result = self.plain(expr)
        if expr not in self.repeated:
            return result
        self.places[expr] = len(self.shared)
        self.shared.append(result)
        return {"shared": self.places[expr]}

    def plain(self, expr: Expr) -> Any:
        if isinstance(expr, Var):
            return self.var(expr)
        if isinstance(expr, Const):
            return expr.value if expr.dtype in ("index", "bool") else ["const", expr.dtype, _number(expr.value)]
        if isinstance(expr, Op):
            args = [self.expr(a) for a in expr.args]
            return [expr.op, expr.dtype, *args] if expr.op in ("cast", "reinterpret") else [expr.op, *args]
        if isinstance(expr, Load):
            mask = None if expr.mask is None else self.expr(expr.mask)
            return ["load", self.buffer(expr.buffer), [self.expr(i) for i in expr.indices], mask]
        if isinstance(expr, Let):
            return ["let", self.var(expr.var), self.expr(expr.value), self.expr(expr.body)]
        if isinstance(expr, Ramp):
            return ["ramp", self.expr(expr.base), self.expr(expr.stride), expr.lanes]
        if isinstance(expr, Splat):
            return ["splat", self.expr(expr.value), expr.lanes]
        raise ExprError(f"{type(expr).__name__} has no JSON form: {expr!r}")

    def stmt(self, stmt: Stmt | None) -> Any:
        if stmt is None:
            return None
        if isinstance(stmt, Seq):
            return ["seq", *map(self.stmt, stmt.stmts)]
        if isinstance(stmt, For):
            notes = _plain_annotations(stmt.annotations)
            return ["for", self.var(stmt.var), self.expr(stmt.extent), stmt.kind, notes, self.stmt(stmt.body)]
        if isinstance(stmt, Store):
            mask = None if stmt.mask is None else self.expr(stmt.mask)
            indices = [self.expr(i) for i in stmt.indices]
            return ["store", self.buffer(stmt.buffer), indices, self.expr(stmt.value), mask]
        if isinstance(stmt, Alloc):
            notes = [_plain_annotations(stmt.annotations)] if stmt.annotations else []
            return ["alloc", self.buffer(stmt.buffer), self.stmt(stmt.body), *notes]
        if isinstance(stmt, If):
            return ["if", self.expr(stmt.cond), self.stmt(stmt.then), self.stmt(stmt.orelse)]
        if isinstance(stmt, LetStmt):
            return ["let", self.var(stmt.var), self.expr(stmt.value), self.stmt(stmt.body)]
        if isinstance(stmt, Block):
            return ["block", self.block(stmt)]
        if isinstance(stmt, Do):
            name = getattr(stmt.what, "name", stmt.what)
            return ["do", name, [self.expr(a) for a in stmt.args], self.stmt(stmt.body)]
        raise ExprError(f"{type(stmt).__name__} has no JSON form: {stmt!r}")

    def block(self, block: Block) -> dict[str, Any]:
        return {
            "name": "" if self.canonical else block.name,
            "iters": [[self.var(i.var), self.expr(i.extent), i.kind] for i in block.iters],
            "bindings": [self.expr(b) for b in block.bindings],
            "predicate": self.expr(block.predicate),
            "reducer": None if block.reducer is None else self.reducer(block.reducer),
            "init": self.stmt(block.init),
            "body": self.stmt(block.body),
            "annotations": _plain_annotations(block.annotations),
        }

    def reducer(self, reducer: Reducer) -> dict[str, Any]:
        return {
            "name": "" if self.canonical else reducer.name,
            "left": [self.var(v) for v in reducer.left],
            "right": [self.var(v) for v in reducer.right],
            "combine": [self.expr(e) for e in reducer.combine],
            "identity": [self.expr(e) for e in reducer.identity],
            "commutative": reducer.commutative,
        }


def _repeated(body: Stmt) -> set[Expr]:
    """The compound expressions that occur at more than one place of a statement."""
    uses: Counter[Expr] = Counter()
    stack: list[Node] = [body]
    while stack:
        node = stack.pop()
        if isinstance(node, Expr):
            uses[node] += 1
            if uses[node] > 1:
                continue
        stack.extend(walk.children(node))
    return {e for e, count in uses.items() if count > 1 and not isinstance(e, Var | Const)}


def _number(value: float) -> Any:
    """JSON has no infinities and no NaN: they become strings."""
    return value if math.isfinite(value) else str(value)


def _plain_annotations(annotations: tuple[tuple[str, Any], ...]) -> list[list[Any]]:
    return [[key, value] for key, value in annotations]


# -------------------------------------------------------------------------------------------------- reading
class _Reader:
    def __init__(self, variables: Mapping[str, Var], intrinsics: Mapping[str, Any] = {}):
        self.given, self.intrinsics = variables, intrinsics
        self.vars: dict[str, Var] = {}
        self.buffers: dict[str, Buffer] = {}
        self.shared: list[Expr] = []

    def func(self, data: dict[str, Any]) -> Func:
        for name, (kind, *more) in data["vars"].items():
            self.vars[name] = self.given[name] if name in self.given else _variable(_original(name), kind, more)
        for name, (dtype, shape, scope) in data["buffers"].items():
            self.buffers[name] = Buffer(_original(name), tuple(map(self.expr, shape)), dtype, scope)
        for row in data["shared"]:
            self.shared.append(self.expr(row))
        params, outputs = (tuple(self.buffers[n] for n in data[key]) for key in ("params", "outputs"))
        return Func(data["name"], params, outputs, self.stmt(data["body"]))

    def expr(self, value: Any) -> Expr:
        if isinstance(value, bool | int):
            return Const(value, "bool" if isinstance(value, bool) else "index")
        if isinstance(value, str):
            return _known(self.vars, value, "variable")
        if isinstance(value, dict):
            return self.shared[value["shared"]]
        if not isinstance(value, list) or not value or not isinstance(value[0], str):
            raise ValueError(f"{value!r} is not an expression")
        what, *rest = value
        return self.op(what, rest) if what in OPS else self.other(what, rest)

    def op(self, what: str, rest: list[Any]) -> Expr:
        row = OPS[what]
        converts = what in ("cast", "reinterpret")
        args = tuple(map(self.expr, rest[1:] if converts else rest))
        if len(args) != row.arity:
            raise ValueError(f"{what} takes {row.arity} operands, got {len(args)}")
        same = typed(what, args)[0].dtype
        return Op(what, args, rest[0] if converts else same if row.result == "same" else row.result)

    def other(self, what: str, rest: list[Any]) -> Expr:
        if what == "const":
            dtype, number = rest
            return Const(float(number) if dtypes.is_float(dtype) else int(number), dtype)
        if what == "load":
            name, indices, mask = rest
            buffer = _known(self.buffers, name, "buffer")
            return Load(buffer, tuple(map(self.expr, indices)), None if mask is None else self.expr(mask))
        if what == "ramp":
            return Ramp(self.expr(rest[0]), self.expr(rest[1]), rest[2])
        if what == "splat":
            return Splat(self.expr(rest[0]), rest[1])
        if what == "let":
            name, bound, body = rest
            value = self.expr(bound)
            self.vars.setdefault(name, Var(name, value.dtype, value.lanes))
            return Let(self.vars[name], value, self.expr(body))
        raise ValueError(f"unknown expression {what!r}")

    def stmt(self, data: Any) -> Any:
        """The statement `data` stands for; None for null."""
        if data is None:
            return None
        what, *rest = data
        if what == "seq":
            return Seq(tuple(map(self.stmt, rest)))
        if what == "for":
            var, extent, kind, notes, body = rest
            return For(self.vars[var], self.expr(extent), kind, self.stmt(body), _annotations(notes))
        if what == "store":
            name, indices, value, mask = rest
            on = None if mask is None else self.expr(mask)
            return Store(self.buffers[name], tuple(map(self.expr, indices)), self.expr(value), on)
        if what == "alloc":
            buffer, body, *alloc_notes = rest
            return Alloc(self.buffers[buffer], self.stmt(body), *map(_annotations, alloc_notes))
        if what == "if":
            return If(self.expr(rest[0]), self.stmt(rest[1]), self.stmt(rest[2]))
        if what == "let":
            return LetStmt(self.vars[rest[0]], self.expr(rest[1]), self.stmt(rest[2]))
        if what == "block":
            return self.block(rest[0])
        if what == "do":
            name, args, body = rest
            return Do(self.intrinsics.get(name, name), tuple(map(self.expr, args)), self.stmt(body))
        raise ValueError(f"unknown statement {what!r}")

    def block(self, data: dict[str, Any]) -> Block:
        return Block(
            data["name"],
            tuple(Iter(self.vars[var], self.expr(extent), kind) for var, extent, kind in data["iters"]),
            tuple(map(self.expr, data["bindings"])),
            self.expr(data["predicate"]),
            None if data["reducer"] is None else self.reducer(data["reducer"]),
            self.stmt(data["init"]),
            self.stmt(data["body"]),
            _annotations(data["annotations"]),
        )

    def reducer(self, data: dict[str, Any]) -> Reducer:
        left, right = (tuple(self.vars[name] for name in data[side]) for side in ("left", "right"))
        combine, identity = (tuple(map(self.expr, data[key])) for key in ("combine", "identity"))
        return Reducer(data["name"], left, right, combine, identity, data["commutative"])


def _original(name: str) -> str:
    """The name without the ~2 that made it unique."""
    return name.partition("~")[0]


def _known(table: Mapping[str, Any], name: str, what: str) -> Any:
    if name not in table:
        raise ValueError(f"unknown {what} {name!r}")
    return table[name]


def _variable(name: str, kind: str, more: list[Any]) -> Var:
    if kind == "size":
        return Size(name)
    return Knob(name, tuple(more[0])) if kind == "knob" else Var(name, *more)


def _annotations(pairs: list[list[Any]]) -> tuple[tuple[str, Any], ...]:
    return tuple((key, _hashable(value)) for key, value in pairs)


def _hashable(value: Any) -> Any:
    return tuple(map(_hashable, value)) if isinstance(value, list) else value
