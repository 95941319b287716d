"""Who writes and reads what, in which order, and where statements and allocations stand."""

from __future__ import annotations

from collections.abc import Iterator

from tensorlang.ir.nodes import NOTHING, Alloc, Block, Buffer, Expr, For, If, LetStmt, Load, Node, Seq, Stmt, Store, seq
from tensorlang.ir.walk import find, map_children, path_to, replace_node, visit


def blocks(root: Node) -> list[Block]:
    """All blocks below `root`, in program order."""
    return list(find(root, Block))


def stored(block: Block) -> tuple[Buffer, ...]:
    """The buffers that `block` writes, each once, in the order of its stores."""
    return tuple(dict.fromkeys(store.buffer for store in find(block.body, Store)))


def loaded(block: Block) -> tuple[Buffer, ...]:
    """The buffers that `block` reads, without those that it updates."""
    own = set(stored(block))
    return tuple(dict.fromkeys(load.buffer for load in find(block, Load) if load.buffer not in own))


def writers(root: Node, buffer: Buffer) -> list[Block]:
    """The blocks below `root` that write `buffer`, in program order."""
    return [b for b in blocks(root) if buffer in stored(b)]


def readers(root: Node, buffer: Buffer) -> list[Block]:
    """The blocks below `root` that read `buffer` and do not write it, in program order."""
    return [b for b in blocks(root) if buffer in loaded(b)]


def loads(node: Node, buffer: Buffer) -> Iterator[Load]:
    """The loads of `buffer` below `node`."""
    return find(node, Load, lambda n: n.buffer is buffer)


def stores(node: Node, buffer: Buffer) -> Iterator[Store]:
    """The stores to `buffer` below `node`."""
    return find(node, Store, lambda n: n.buffer is buffer)


def path(root: Node, node: Node) -> tuple[Node, ...]:
    """The statements from `root` down to `node`, both included."""
    found = path_to(root, node)
    if found is None:
        raise LookupError("the statement is not part of the program")
    return found


def loops_above(root: Node, node: Node) -> tuple[For, ...]:
    """The loops around `node`, outermost first, without `node` itself."""
    return tuple(n for n in path(root, node)[:-1] if isinstance(n, For))


def common(root: Node, nodes: list[Block]) -> Stmt:
    """The innermost statement that contains all `nodes`."""
    paths = [path(root, n) for n in nodes]
    shared = root
    for level in zip(*paths, strict=False):
        if any(n is not level[0] for n in level):
            break
        shared = level[0]
    return shared  # type: ignore[return-value]


def precedes(root: Node, first: Node, second: Node) -> bool:
    """Whether `first` stands before `second` in the program text."""
    for node in visit(root):
        if node is first:
            return True
        if node is second:
            return False
    return False


def child_towards(root: Node, ancestor: Node, node: Node) -> Stmt:
    """The direct part of the sequence (or the one statement) under `ancestor` that contains `node`.

    Allocations directly under `ancestor` are looked through.
    """
    way = path(root, node)
    at = next(n for n, step in enumerate(way) if step is ancestor) + 1
    while isinstance(way[at], Alloc | Seq):
        at += 1
    return way[at]  # type: ignore[return-value]


def own_nest(root: Stmt, block: Block) -> Stmt:
    """The outermost statement, a loop or the block itself, that holds no other block."""
    nest: Stmt = block
    for node in reversed(path(root, block)[:-1]):
        if not isinstance(node, For) or len(blocks(node)) > 1:
            break
        nest = node
    return nest


def splice(root: Stmt, old: Stmt, *fresh: Stmt) -> Stmt:
    """`root` with `old` replaced by the statements `fresh`; what is left empty vanishes."""

    def go(node: Node) -> Node:
        if node is old:
            return seq(*fresh)
        if isinstance(node, Expr | Block):
            return node
        out = map_children(node, go)
        if isinstance(out, Seq) and out is not node:
            return seq(*out.stmts)
        if isinstance(out, For | LetStmt | Alloc) and out.body is NOTHING:
            return NOTHING
        if isinstance(out, If) and out.then is NOTHING and out.orelse in (None, NOTHING):
            return NOTHING
        return out

    return go(root)  # type: ignore[return-value]


def drop_alloc(root: Stmt, buffer: Buffer) -> Stmt:
    """`root` without the Alloc of `buffer`."""
    for alloc in find(root, Alloc, lambda a: a.buffer is buffer):
        return splice(root, alloc, alloc.body)
    return root


def place_alloc(root: Stmt, buffer: Buffer) -> Stmt:
    """`root` with the Alloc of `buffer` around the innermost statement that contains all its uses."""
    root = drop_alloc(root, buffer)
    users = [b for b in blocks(root) if buffer in stored(b) or buffer in loaded(b)]
    place = common(root, users)
    return replace_node(root, place, Alloc(buffer, place))


def is_private(root: Node, buffer: Buffer) -> bool:
    """Whether `buffer` is allocated in the program, so not a parameter."""
    return any(True for _ in find(root, Alloc, lambda a: a.buffer is buffer))
