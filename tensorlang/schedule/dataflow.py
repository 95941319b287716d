"""Who writes and reads what, in which order, and where statements and allocations stand."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

from tensorlang.arith.context import Context
from tensorlang.arith.simplify import negation
from tensorlang.ir.nodes import (
    NOTHING,
    SPATIAL,
    Alloc,
    Block,
    Buffer,
    For,
    If,
    LetStmt,
    Load,
    Node,
    Seq,
    Stmt,
    Store,
    seq,
)
from tensorlang.ir.walk import (
    accesses_to,
    find,
    free_vars,
    path_to,
    replace_node,
    statements,
    touched,
    with_part,
)

STORE_AT, ALIGN, FOLD = "store_at", "align", "fold"  # what the annotations of an Alloc may say: see storage.py


def blocks(root: Node) -> list[Block]:
    """All blocks below `root`, in program order."""
    return list(find(root, Block))


def stored(block: Block) -> tuple[Buffer, ...]:
    """The buffers that `block` writes, each once, in the order of its stores."""
    if "stored" not in block.memo:
        block.memo["stored"] = tuple(dict.fromkeys(store.buffer for store in find(block.body, Store)))
    return block.memo["stored"]


def loaded(block: Block) -> tuple[Buffer, ...]:
    """The buffers that `block` reads, without those that it updates."""
    if "loaded" not in block.memo:
        own = stored(block)
        found = (load.buffer for load in find(block, Load) if load.buffer not in own)
        block.memo["loaded"] = tuple(dict.fromkeys(found))
    return block.memo["loaded"]


def writers(root: Node, buffer: Buffer, beside: Node | None = None) -> list[Block]:
    """The blocks below `root` that write `buffer`, in program order.

    beside: a statement below `root`; blocks that never run when it does, being in another branch, are left out.
    """
    found = [b for b in users(root, buffer) if buffer in stored(b)]
    if beside is None or len(found) < 2:
        return found
    return [b for b in found if not _excluded(root, b, beside)]


def _excluded(root: Node, a: Node, b: Node) -> bool:
    """Are `a` and `b` in different branches of an If?"""
    outer = root
    for left, right in zip(path(root, a), path(root, b), strict=False):
        if left is not right:
            return isinstance(outer, If)
        outer = left
    return False


def readers(root: Node, buffer: Buffer) -> list[Block]:
    """The blocks below `root` that read `buffer` and do not write it, in program order."""
    return [b for b in users(root, buffer) if buffer in loaded(b)]


def loads(node: Node, buffer: Buffer) -> Iterator[Load]:
    """The loads of `buffer` below `node`."""
    return (n for n in accesses_to(buffer, node) if isinstance(n, Load))


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


def knowing(root: Node, node: Node, ctx: Context) -> Context:
    """`ctx` and the conditions of the Ifs around `node`, as specialize makes them."""
    way = path(root, node)
    for outer, inner in pairwise(way):
        if isinstance(outer, If):
            ctx = ctx.assume(outer.cond if inner is outer.then else negation(outer.cond))
    return ctx


def common(root: Node, nodes: Sequence[Stmt]) -> Stmt:
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
    for node in statements(root, Stmt):
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
    before, after = old, seq(*fresh)
    for parent in reversed((path_to(root, old) or (root,))[:-1]):
        if after is before:
            return root
        before, after = parent, _without_nothing(with_part(parent, before, after))  # type: ignore[assignment]
    return after if before is root else root


def _without_nothing(stmt: Node) -> Node:
    """`stmt`, of which one part has changed, without sequences in sequences; NOTHING if nothing is left in it."""
    if isinstance(stmt, Seq):
        return seq(*stmt.stmts)
    if isinstance(stmt, For | LetStmt | Alloc) and stmt.body is NOTHING:
        return NOTHING
    if isinstance(stmt, If) and stmt.then is NOTHING and stmt.orelse in (None, NOTHING):
        return NOTHING
    return stmt


def drop_alloc(root: Stmt, buffer: Buffer) -> Stmt:
    """`root` without the Alloc of `buffer`."""
    for alloc in find(root, Alloc, lambda a: a.buffer is buffer):
        return splice(root, alloc, alloc.body)
    return root


def place_alloc(root: Stmt, buffer: Buffer, before: Stmt | None = None) -> Stmt:
    """`root` with the Alloc of `buffer` around the innermost statement that contains all its uses.

    before: the program (default: `root`) with the Alloc as it was. What was said about it stays; if store_at has put
    it into a loop, so does its place, while that loop contains all uses.
    """
    before = root if before is None else before
    old = next(find(before, Alloc, lambda a: a.buffer is buffer), None)
    notes = () if old is None else old.annotations
    root = drop_alloc(root, buffer)
    place = common(root, [_with_init(root, b, buffer) for b in users(root, buffer)])
    if old is not None and any(key == STORE_AT for key, _ in notes):
        home = loops_above(before, old)
        around = [n for n in path(root, place) if isinstance(n, For) and home and n.var is home[-1].var]
        if around or not home:
            place = around[0].body if around else root
        else:
            notes = tuple((key, value) for key, value in notes if key not in (STORE_AT, FOLD))
    return replace_node(root, place, Alloc(buffer, place, notes))


def _with_init(root: Node, block: Block, buffer: Buffer) -> Stmt:
    """The outermost loop that drives a reduction of `block`, if its init, which runs before that loop, writes `buffer`;
    else the block itself."""
    if block.init is None or not any(True for _ in stores(block.init, buffer)):
        return block
    bound = zip(block.iters, block.bindings, strict=True)
    driving = {v for it, b in bound if it.kind != SPATIAL for v in free_vars(b)}
    return next((n for n in path(root, block) if isinstance(n, For) and n.var in driving), block)


def users(root: Node, buffer: Buffer) -> list[Block]:
    """The blocks below `root` that read or write `buffer`, in program order."""
    return [b for b in blocks(root) if buffer in touched(b)]


def is_private(root: Node, buffer: Buffer) -> bool:
    """Whether `buffer` is allocated in the program, so not a parameter."""
    return any(True for _ in find(root, Alloc, lambda a: a.buffer is buffer))
