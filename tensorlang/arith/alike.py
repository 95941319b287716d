"""When two blocks compute the same, whatever loops are around them.

block C(i = i): C[i] = A[i] + 1.0       block C.tail(i = n // 4 * 4 + i.tail): C[i] = A[i] + 1.0
"""

from __future__ import annotations

from collections.abc import Iterator

from tensorlang.ir.nodes import REDUCE, SPATIAL, Block, Expr, LetStmt, Load, Node, Seq, Stmt, Store, Var
from tensorlang.ir.walk import find, run_by, substitute


def updates(block: Block) -> bool:
    """Does the block read what it writes?"""
    own = {store.buffer for store in find(block.body, Store)}
    return any(isinstance(n, Load) and n.buffer in own for n in _run(block.body))


def _run(node: Node) -> Iterator[Node]:
    """`node` and what runs with it."""
    yield node
    for child in run_by(node):
        yield from _run(child)


def repeats(a: Block, b: Block) -> bool:
    """Do both store the same values, wherever both store? Parts of one block that does not reduce do, also if an
    intrinsic computes one."""
    if any(n.init is not None or updates(n) or any(it.kind != SPATIAL for it in n.iters) for n in (a, b)):
        return False
    return a is b or _do_the_same(a, b) or _stores_alike(a, b) or _stores_alike(b, a)


def restarts(a: Block, b: Block) -> bool:
    """Do both compute the same, each from its init on, wherever both store?"""
    if a.init is None or b.init is None:
        return False
    return _do_the_same(a, b) and _do_the_same(a.replace(body=a.init), b.replace(body=b.init))


def commute(a: Block, b: Block) -> bool:
    """Are both updates of the same elements by one commutative reduction, so that they may come in any order?"""
    kinds = {it.kind for it in a.iters} - {SPATIAL}
    return kinds == {REDUCE} and _do_the_same(a, b)


def _do_the_same(a: Block, b: Block) -> bool:
    """Has one block the iterators and, at each point, the body of the other?"""
    if len(a.iters) != len(b.iters):
        return False
    if any(x.extent is not y.extent or x.kind != y.kind for x, y in zip(a.iters, b.iters, strict=True)):
        return False
    values: dict[Var, Expr] = {y.var: x.var for x, y in zip(a.iters, b.iters, strict=True)}
    return _same(a.body, substitute(b.body, values))


def _stores_alike(a: Block, b: Block) -> bool:
    """Does `a` store into each element what `b` does, whose subscripts are its iterators?"""
    stores, parts = list(find(a.body, Store)), b.body.stmts if isinstance(b.body, Seq) else (b.body,)
    likes = {part.buffer: part for part in parts if isinstance(part, Store)}
    own = {it.var for it in b.iters}
    plain = len(likes) == len(parts) and all(set(like.indices) == own for like in likes.values())
    if not plain or {s.buffer for s in stores} != likes.keys() or any(True for _ in find(a.body, LetStmt)):
        return False
    for store in stores:
        like = likes[store.buffer]
        place = {v: e for v, e in zip(like.indices, store.indices, strict=True) if isinstance(v, Var)}
        if len(place) < len(store.indices) or substitute(like.value, place) is not store.value:
            return False
    return True


def _same(a: Stmt, b: Stmt) -> bool:
    if isinstance(a, Seq) and isinstance(b, Seq):
        return len(a.stmts) == len(b.stmts) and all(map(_same, a.stmts, b.stmts))
    if isinstance(a, LetStmt) and isinstance(b, LetStmt):
        return a.var is b.var and a.value is b.value and _same(a.body, b.body)
    if not (isinstance(a, Store) and isinstance(b, Store) and a.buffer is b.buffer):
        return False
    return a.value is b.value and all(x is y for x, y in zip(a.indices, b.indices, strict=True))
