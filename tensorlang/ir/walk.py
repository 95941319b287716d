"""One generic traversal for all nodes: look at children, rebuild with others, substitute.

Rewrites copy only the path that changes: an unchanged subtree is the same object.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

from tensorlang.ir.nodes import (
    Alloc,
    Block,
    Buffer,
    Const,
    Expr,
    For,
    Func,
    Iter,
    Let,
    LetStmt,
    Load,
    Node,
    Reduce,
    Reducer,
    Size,
    Stmt,
    Store,
    Var,
)

N = TypeVar("N", bound=Node)


def children(node: Node) -> Iterator[Node]:
    """Direct children in evaluation order: expressions, statements, Iters (not the Buffers or bound Vars)."""
    for field in node.fields:
        value = getattr(node, field)
        if isinstance(value, Node):
            if not isinstance(value, Buffer) and field != "var":
                yield value
        elif type(value) is tuple:
            for item in value:
                if isinstance(item, Node) and not isinstance(item, Buffer):
                    yield item


def map_children(node: N, fold: Callable[[Any], Any]) -> N:
    """`node` with each direct child replaced by `fold(child)`; the same object if no child changes."""
    values, changed = [], False
    for field in node.fields:
        value = getattr(node, field)
        fresh = value
        if isinstance(value, Node):
            if not isinstance(value, Buffer) and field != "var":
                fresh = fold(value)
        elif type(value) is tuple and value and isinstance(value[0], Node) and not isinstance(value[0], Buffer):
            fresh = tuple(map(fold, value))
            if all(a is b for a, b in zip(fresh, value, strict=True)):
                fresh = value
        changed |= fresh is not value
        values.append(fresh)
    if not changed:
        return node
    return type(node)(*values)


def transform(node: N, fold: Callable[[Any], Any]) -> N:
    """Bottom-up: `fold` sees each node after its children were transformed, and returns its replacement."""
    done: dict[Expr, Expr] = {}

    def go(n: Any) -> Any:
        if isinstance(n, Expr):
            if n not in done:
                done[n] = fold(map_children(n, go))
            return done[n]
        return fold(map_children(n, go))

    return go(node)


def visit(node: Node) -> Iterator[Node]:
    """All nodes below and including `node`, parents first."""
    stack = [node]
    while stack:
        current = stack.pop()
        yield current
        stack.extend(reversed(list(children(current))))


def find(node: Node, kind: type[N], where: Callable[[N], bool] = lambda _: True) -> Iterator[N]:
    """The nodes of class `kind` below `node` for which `where` holds, in order."""
    nodes = _visit_statements(node) if isinstance(kind, type) and issubclass(kind, Stmt) else visit(node)
    return (n for n in nodes if isinstance(n, kind) and where(n))


def _visit_statements(node: Node) -> Iterator[Node]:
    """As visit, without expressions, which hold no statements."""
    stack = [node]
    while stack:
        current = stack.pop()
        yield current
        below = [child for child in children(current) if not isinstance(child, Expr)]
        stack.extend(reversed(below))


def path_to(root: Node, target: Node) -> tuple[Node, ...] | None:
    """The statements from `root` down to and including `target` (by identity), or None."""
    if root is target:
        return (root,)
    for child in children(root):
        if not isinstance(child, Expr):
            below = path_to(child, target)
            if below is not None:
                return (root, *below)
    return None


def replace_node(root: N, old: Node, fresh: Node) -> N:
    """`root` with the one statement `old` (by identity) replaced."""
    if root is old:
        return fresh  # type: ignore[return-value]
    return map_children(root, lambda child: child if isinstance(child, Expr) else replace_node(child, old, fresh))


def free_vars(node: Node) -> frozenset[Var]:
    """Variables used but not bound below `node`, those in shapes of accessed buffers included."""
    if isinstance(node, Expr) and "free_vars" in node.memo:
        return node.memo["free_vars"]
    if isinstance(node, Var):
        return frozenset((node,))
    result = frozenset[Var]().union(*map(free_vars, children(node)))
    if isinstance(node, Load | Store | Alloc):
        result = result.union(*map(free_vars, node.buffer.shape))
    if isinstance(node, For):
        result = (result - {node.var}) | free_vars(node.extent)
    elif isinstance(node, Let | LetStmt):
        result = (result - {node.var}) | free_vars(node.value)
    elif isinstance(node, Block):
        bound = {it.var for it in node.iters}
        outside = frozenset[Var]().union(*map(free_vars, (*node.bindings, node.predicate)))
        result = (result - bound) | outside
    elif isinstance(node, Reduce):
        result = result - {axis.var for axis in node.axes}
    elif isinstance(node, Reducer):
        result = result - {*node.left, *node.right}
    elif isinstance(node, Func):
        result = result.union(*(free_vars(d) for p in node.params for d in p.shape))
    if isinstance(node, Expr):
        node.memo["free_vars"] = result
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
    done: dict[Expr, Expr] = {}

    def go(n: Any) -> Any:
        if isinstance(n, Expr):
            if n in done:
                return done[n]
            done[n] = fresh = expr(n)
            return fresh
        n = map_children(n, go)
        if isinstance(n, For | LetStmt | Iter) and n.var in values:
            renamed: Any = values[n.var]
            n = type(n)(renamed, *(getattr(n, f) for f in n.fields[1:]))
        if isinstance(n, Store | Alloc) and n.buffer in buffers:
            n = n.replace(buffer=buffers[n.buffer])
        return n

    def expr(n: Expr) -> Expr:
        if isinstance(n, Var):
            return values.get(n, n)
        if not buffers and not (free_vars(n) & values.keys()) and not isinstance(n, Let | Reduce):
            return n
        n = rebuild(map_children(n, go), n)
        if isinstance(n, Let) and n.var in values:
            n = Let(values[n.var], n.value, n.body)  # type: ignore[arg-type]
        if isinstance(n, Load) and n.buffer in buffers:
            n = Load(buffers[n.buffer], n.indices, n.mask)
        return n

    return go(node)


def rebuild(node: Expr, before: Expr) -> Expr:
    """`node`, a changed copy of `before`, built anew through ops.make so that constants fold and lanes broadcast."""
    from tensorlang.ir import ops
    from tensorlang.ir.nodes import Op

    if node is before or not isinstance(node, Op):
        return node
    if node.op == "cast":
        return ops.cast(node.args[0], node.dtype)
    if node.op == "reinterpret":
        return node
    return ops.make(node.op, *node.args)


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
