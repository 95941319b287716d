"""One generic traversal for all nodes: look at children, rebuild with others, substitute.

Rewrites copy only the path that changes: an unchanged subtree is the same object.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from tensorlang.ir import ops
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
    Reduce,
    Reducer,
    Seq,
    Size,
    Splat,
    Stmt,
    Store,
    Var,
)

N = TypeVar("N", bound=Node)
S = TypeVar("S", bound=Stmt)
_NONE: frozenset[Var] = frozenset()
_NO_BUFFERS: frozenset[Buffer] = frozenset()
_LEAVES = (Const, Var)
_VARIABLES = frozenset((Var, Size, Knob))
_NO_MEMO: Mapping[Any, Any] = {}


class _Fields(dict[type[Node], tuple[str, ...]]):
    """Fields by class; a class that is not in the table has those of its base."""

    def __missing__(self, kind: type[Node]) -> tuple[str, ...]:
        found = self[kind] = next((self[base] for base in kind.__mro__[1:] if base in self), ())
        return found


# The fields that hold nodes, in evaluation order: expressions, statements, Iters (not the Buffers or bound Vars).
_HOLDING = _Fields(
    {
        Op: ("args",),
        Load: ("indices", "mask"),
        Let: ("value", "body"),
        Ramp: ("base", "stride"),
        Splat: ("value",),
        Reduce: ("reducer", "sources", "axes"),
        Reducer: ("left", "right", "combine", "identity"),
        Iter: ("extent",),
        Buffer: ("shape",),
        For: ("extent", "body"),
        Block: ("iters", "bindings", "predicate", "reducer", "init", "body"),
        Store: ("indices", "value", "mask"),
        Alloc: ("body",),
        If: ("cond", "then", "orelse"),
        LetStmt: ("value", "body"),
        Seq: ("stmts",),
        Do: ("args", "body"),
        Func: ("body",),
    }
)


def children(node: Node) -> tuple[Node, ...]:
    """Direct children in evaluation order: expressions, statements, Iters (not the Buffers or bound Vars)."""
    if isinstance(node, Op):
        return node.args
    out: list[Node] = []
    for field in _HOLDING[type(node)]:
        value = getattr(node, field)
        if type(value) is tuple:
            out += value
        elif value is not None:
            out.append(value)
    return tuple(out)


def run_by(node: Node) -> tuple[Node, ...]:
    """The children that run with `node`: of a Do its body, if it has one, as its args only say where operands are."""
    return (node.body,) if isinstance(node, Do) and node.body is not None else children(node)


def parts(stmt: Node) -> tuple[Stmt, ...]:
    """The statements directly below a statement (or Func)."""
    kind = type(stmt)
    if kind is Seq:
        return stmt.stmts  # type: ignore[attr-defined]
    if kind is Store:
        return ()
    if kind is For or kind is Alloc or kind is LetStmt or kind is Func:
        return (stmt.body,)  # type: ignore[attr-defined]
    if isinstance(stmt, Block):
        return (stmt.body,) if stmt.init is None else (stmt.init, stmt.body)
    if isinstance(stmt, If):
        return (stmt.then,) if stmt.orelse is None else (stmt.then, stmt.orelse)
    return (stmt.body,) if isinstance(stmt, Do) and stmt.body is not None else ()


def map_children(node: N, fold: Callable[[Any], Any]) -> N:
    """`node` with each direct child replaced by `fold(child)`; the same object if no child changes."""
    kind: Any = type(node)
    if kind is Op:
        args = _mapped(node.args, fold)  # type: ignore[attr-defined]
        return node if args is node.args else Op(node.op, args, node.dtype)  # type: ignore[attr-defined,return-value]
    changes = {}
    for field in _HOLDING[kind]:
        value = getattr(node, field)
        if value is not None:
            fresh = _mapped(value, fold) if type(value) is tuple else fold(value)
            if fresh is not value:
                changes[field] = fresh
    if not changes:
        return node
    return kind(*[changes[f] if f in changes else getattr(node, f) for f in node.fields])


def _mapped(nodes: tuple[Any, ...], fold: Callable[[Any], Any]) -> tuple[Any, ...]:
    """`fold` of each node; the same tuple if none changes."""
    for at, node in enumerate(nodes):
        fresh = fold(node)
        if fresh is not node:
            return (*nodes[:at], fresh, *map(fold, nodes[at + 1 :]))
    return nodes


def map_operands(expr: Expr, fold: Callable[[Any], Any]) -> Expr:
    """map_children of an expression; constants fold and lanes broadcast as in ops.make."""
    if type(expr) is not Op:
        return map_children(expr, fold)
    args = _mapped(expr.args, fold)
    return expr if args is expr.args else ops.with_operands(expr, args)


def transform(node: N, fold: Callable[[Any], Any], skip: Callable[[Expr], bool] = lambda e: False) -> N:
    """Bottom-up: `fold` sees each node after its children were transformed, and returns its replacement.

    Expressions for which `skip` holds stay as they are, unseen, with all that is below.
    """
    return _Transform(fold, skip)(node)


class _Transform:
    """What `transform` does. Unlike a function that calls itself, it goes, and what it has made, when it is done."""

    __slots__ = ("done", "fold", "skip")

    def __init__(self, fold: Callable[[Any], Any], skip: Callable[[Expr], bool]):
        self.fold, self.skip = fold, skip
        self.done: dict[Expr, Expr] = {}

    def __call__(self, node: Any) -> Any:
        if not isinstance(node, Expr):
            return self.fold(map_children(node, self))
        found = self.done.get(node)
        if found is None:
            found = self.done[node] = node if self.skip(node) else self.fold(map_children(node, self))
        return found


def visit(node: Node) -> Iterator[Node]:
    """All nodes below and including `node`, parents first."""
    stack = [node]
    while stack:
        current = stack.pop()
        yield current
        stack.extend(reversed(children(current)))


def accesses_to(buffer: Buffer, node: Node) -> Iterator[Load | Store]:
    """The loads from and stores to `buffer` below `node`, parents first."""
    if buffer in touched(node):
        if isinstance(node, (Load, Store)) and node.buffer is buffer:
            yield node
        for child in children(node):
            yield from accesses_to(buffer, child)


def find(node: Node, kind: type[N], where: Callable[[N], bool] | None = None) -> Iterator[N]:
    """The nodes of class `kind` below `node` for which `where` holds, in order."""
    found: Iterable[N]
    if isinstance(kind, type) and issubclass(kind, Stmt):
        found = statements(node, kind)
    else:
        found = (n for n in visit(node) if isinstance(n, kind))
    return iter(found) if where is None else filter(where, found)


def statements(node: Node, kind: type[S]) -> tuple[S, ...]:
    """All statements of class `kind` below and including `node`, parents first; remembered at the node."""
    if isinstance(node, Func):
        return statements(node.body, kind)
    if not isinstance(node, Stmt):
        return ()
    below = node.memo.get(kind)
    if below is None:  # without `node`, which would refer to itself and so stay until the next garbage collection
        below = node.memo[kind] = tuple([n for n in _below(node) if isinstance(n, kind)])
    return (node, *below) if isinstance(node, kind) else below


def _below(node: Stmt) -> tuple[Stmt, ...]:
    """All statements below `node`."""
    found = node.memo.get(Stmt)
    if found is None:
        out: list[Stmt] = []
        stack = [*reversed(parts(node))]
        while stack:
            current = stack.pop()
            out.append(current)
            if isinstance(current, (For, Block)):
                out += _below(current)
            else:
                stack += reversed(parts(current))
        found = node.memo[Stmt] = tuple(out)
    return found


def _identities(stmt: Stmt) -> frozenset[int]:
    """Of `stmt` and of all statements below it. They stay valid: a statement keeps alive what is below it."""
    found = stmt.memo.get("identities")
    if found is None:
        found = stmt.memo["identities"] = frozenset(map(id, statements(stmt, Stmt)))
    return found


def path_to(root: Node, target: Node) -> tuple[Node, ...] | None:
    """The statements from `root` down to and including `target` (by identity), or None."""
    path: list[Node] = []
    node: Node | None = root
    wanted = id(target)
    while node is not None:
        trunk = _trunk(node)
        path += trunk
        if wanted in map(id, trunk):
            while path[-1] is not target:
                path.pop()
            return tuple(path)
        node = next((n for n in parts(path[-1]) if wanted in (n.memo.get("identities") or _identities(n))), None)
    return None


def _trunk(root: Node) -> tuple[Node, ...]:
    """`root` and what is below it, down to the first statement that does not hold just one other one."""
    memo: dict[Any, Any] = getattr(root, "memo", {})
    found = memo.get("trunk")
    if found is None:
        out, below = list[Node](), parts(root)
        while len(below) == 1:
            out.append(below[0])
            below = parts(below[0])
        found = memo["trunk"] = tuple(out)
    return (root, *found)


def replace_node(root: N, old: Node, fresh: Node) -> N:
    """`root` with the one statement `old` (by identity) replaced."""
    path = path_to(root, old)
    return root if path is None else replace_along(path[:-1], old, fresh)


def replace_along(path: Sequence[Node], old: Node, fresh: Node) -> Any:
    """The first node of `path`, which leads to the statement `old`, with that replaced."""
    before, after = old, fresh
    for parent in reversed(path):
        before, after = parent, with_part(parent, before, after)
    return after


def with_part(parent: Any, before: Node, after: Node) -> Node:
    """A statement with one of its parts replaced."""
    if isinstance(parent, For):
        return For(parent.var, parent.extent, parent.kind, after, parent.annotations)
    if isinstance(parent, Alloc):
        return Alloc(parent.buffer, after, parent.annotations)
    if isinstance(parent, Seq):
        return Seq(tuple([after if part is before else part for part in parent.stmts]))
    return map_children(parent, lambda child: after if child is before else child)


def has_load(expr: Expr) -> bool:
    """Whether evaluating `expr` reads memory."""
    return bool(touched(expr))


def loads_nothing(expr: Expr) -> bool:
    """Not has_load."""
    return not touched(expr)


def touched(node: Node) -> frozenset[Buffer]:
    """The buffers that a statement or an expression reads or writes; remembered."""
    memo: dict[Any, Any] | None = getattr(node, "memo", None)
    found = None if memo is None else memo.get("touched")
    if found is None:
        found = _NO_BUFFERS
        for child in children(node):
            if isinstance(child, _LEAVES):
                continue
            below = getattr(child, "memo", _NO_MEMO).get("touched")
            if below is None:
                below = touched(child)
            if below is not found and below:  # most sets are equal to another one, which they share
                found = found | below if found else below
        if isinstance(node, (Load, Store)):
            found = found | {node.buffer}
        if memo is not None:
            memo["touched"] = found
    return found


def free_vars(node: Node) -> frozenset[Var]:
    """Variables used but not bound below `node`, those in shapes of accessed buffers included.

    >>> sorted(v.name for v in free_vars(s.block_node("C").body))
    ['i', 'j', 'k']
    """
    if node.__class__ in _VARIABLES:  # most of them, found without a call
        return frozenset((node,))  # type: ignore[arg-type]
    try:
        memo: dict[Any, Any] = node.memo  # type: ignore[attr-defined]
    except AttributeError:  # neither expression nor statement
        return _free_vars(node)
    found = memo.get("free_vars")
    if found is None:
        if isinstance(node, Var):
            return frozenset((node,))
        found = memo["free_vars"] = _free_vars(node)
    return found


def _free_vars(node: Node) -> frozenset[Var]:
    if isinstance(node, Const):
        return _NONE
    if isinstance(node, Op):
        return _NONE.union(*map(free_vars, node.args))
    if isinstance(node, For):
        return (free_vars(node.body) - {node.var}) | free_vars(node.extent)
    if isinstance(node, Alloc):
        shapes = list[Expr]()
        while isinstance(node, Alloc):
            shapes += node.buffer.shape
            node = node.body
        return free_vars(node).union(*(free_vars(dim) for dim in shapes if not isinstance(dim, Const)))
    result = _NONE.union(*map(free_vars, children(node)))
    if isinstance(node, Load | Store):
        return result.union(*(free_vars(dim) for dim in node.buffer.shape if not isinstance(dim, Const)))
    if isinstance(node, Let | LetStmt):
        result = (result - {node.var}) | free_vars(node.value)
    elif isinstance(node, Block):
        bound = {it.var for it in node.iters}
        outside = _NONE.union(*map(free_vars, (*node.bindings, node.predicate)))
        result = (result - bound) | outside
    elif isinstance(node, Reduce):
        result = result - {axis.var for axis in node.axes}
    elif isinstance(node, Reducer):
        result = result - {*node.left, *node.right}
    elif isinstance(node, Func):
        result = result.union(*(free_vars(d) for p in node.params for d in p.shape))
    return result


def sizes(func: Func) -> tuple[Size, ...]:
    """The shape variables of the parameters, in the order in which their shapes first mention them."""
    found = (n for param in func.params for extent in param.shape for n in visit(extent))
    return tuple(dict.fromkeys(n for n in found if isinstance(n, Size)))


def substitute(node: N, values: Mapping[Var, Expr] = {}, buffers: Mapping[Buffer, Buffer] = {}) -> N:
    """`node` with variables replaced by expressions and buffers by buffers.

    Bound variables are renamed only if they are in `values` themselves (then by Vars). Shapes of buffers do not
    change: pass new buffers.
    """
    return _Substitution(values, buffers)(node)


class _Substitution:
    """What `substitute` does; see _Transform."""

    __slots__ = ("buffers", "done", "values")

    def __init__(self, values: Mapping[Var, Expr], buffers: Mapping[Buffer, Buffer]):
        self.values, self.buffers = values, buffers
        self.done: dict[Expr, Expr] = {}

    def __call__(self, n: Any) -> Any:
        if isinstance(n, Expr):
            found = self.done.get(n)
            if found is None:
                found = self.done[n] = self.expr(n)
            return found
        n = map_children(n, self)
        if isinstance(n, (For, LetStmt, Iter)) and n.var in self.values:
            renamed: Any = self.values[n.var]
            n = type(n)(renamed, *(getattr(n, f) for f in n.fields[1:]))
        if isinstance(n, (Store, Alloc)) and n.buffer in self.buffers:
            n = n.replace(buffer=self.buffers[n.buffer])
        return n

    def expr(self, n: Expr) -> Expr:
        values, buffers = self.values, self.buffers
        if isinstance(n, Var):
            return values.get(n, n)
        kept = not (values and free_vars(n) & values.keys()) and not isinstance(n, (Let, Reduce))
        if kept and not (buffers and has_load(n)):
            return n
        n = map_operands(n, self)
        if isinstance(n, Let) and n.var in values:
            n = Let(values[n.var], n.value, n.body)  # type: ignore[arg-type]
        if isinstance(n, Load) and n.buffer in buffers:
            n = Load(buffers[n.buffer], n.indices, n.mask)
        return n


def same(a: Any, b: Any, pairs: dict[Any, Any] | None = None) -> bool:
    """Structural equality of statements and Funcs, up to the identity of bound variables and of all buffers.

    Names do not matter. Free variables are equal only to themselves, unless `pairs` (a to b) says otherwise.
    """
    pairs = {} if pairs is None else pairs
    if isinstance(a, Func) and isinstance(b, Func):  # shape variables are implicit parameters
        pairs.update(zip(sizes(a), sizes(b), strict=False))
    if isinstance(a, Buffer) and isinstance(b, Buffer):
        if a not in pairs:
            if (a.dtype, a.scope) != (b.dtype, b.scope) or not same(a.shape, b.shape, pairs):
                return False
            pairs[a] = b
        return pairs[a] is b
    if type(a) is not type(b):
        return False
    if isinstance(a, Const):  # interned; so NaN equals itself, and -0.0 differs from 0.0
        return a is b
    if isinstance(a, Var):
        return pairs.get(a, a) is b
    if isinstance(a, tuple):
        return len(a) == len(b) and all(same(x, y, pairs) for x, y in zip(a, b, strict=True))
    if not isinstance(a, Node):
        return a == b
    if isinstance(a, Block):  # iterators bind the variables of init and body
        pairs.update((x.var, y.var) for x, y in zip(a.iters, b.iters, strict=False))
    if isinstance(a, Reduce):
        pairs.update((x.var, y.var) for x, y in zip(a.axes, b.axes, strict=False))
    if isinstance(a, For | Let | LetStmt):
        pairs[a.var] = b.var
    if isinstance(a, Reducer):
        pairs.update(zip((*a.left, *a.right), (*b.left, *b.right), strict=False))
    return all(same(getattr(a, f), getattr(b, f), pairs) for f in a.fields if f != "name" or isinstance(a, Block))
