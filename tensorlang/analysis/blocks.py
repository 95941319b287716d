"""Blocks with the loops around them and what they access: what all of the analysis walks over."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from tensorlang.arith.stages import STAGES
from tensorlang.arith.subscripts import Subscript, subscripts
from tensorlang.ir.nodes import Alloc, Block, Buffer, Do, For, Func, Load, Stmt, Store
from tensorlang.ir.walk import children, find, visit


@dataclass(frozen=True)
class Home:
    """Where a buffer is allocated: depth: in how many loops; versions, aligned: see Footprint and storage_align."""

    depth: int = 0
    versions: int = 1
    aligned: tuple[tuple[int, int, int], ...] = ()


Homes = Mapping[Buffer, Home]
Accesses = Sequence[tuple[Load | Store, list[Subscript]]]


def blocks(stmt: Stmt, path: tuple[For, ...], homes: Homes) -> Iterator[tuple[tuple[For, ...], Block, Homes]]:
    """Each block with the loops around it and in it."""
    if isinstance(stmt, Block):
        yield (*path, *inside(stmt)), stmt, homes
        return
    if isinstance(stmt, Alloc):
        aligned = dict(stmt.annotations).get("align", ())
        homes = {**homes, stmt.buffer: Home(len(path), _versions(stmt.buffer, path), aligned)}
    inner = (*path, stmt) if isinstance(stmt, For) else path
    for child in children(stmt):
        if isinstance(child, Stmt):
            yield from blocks(child, inner, homes)


def with_subscripts(func: Func) -> tuple[tuple[tuple[For, ...], Block, Homes, Accesses], ...]:
    """The same, and what the block accesses."""
    memo = func.body.memo
    if "subscripts" not in memo:
        memo["subscripts"] = tuple((*each, subscripts(*each[:2])) for each in blocks(func.body, (), {}))
    return memo["subscripts"]


def inside(block: Block) -> list[For]:
    """The loops in a block, if its body is nothing but loops one in another."""
    found: list[For] = []
    stmt: Stmt | None = block.body
    while isinstance(stmt, For | Do):
        found += [stmt] if isinstance(stmt, For) else []
        stmt = stmt.body
    return found if isinstance(stmt, Store) else []


def _versions(buffer: Buffer, path: tuple[For, ...]) -> int:
    """How many versions of a buffer the innermost loop keeps at most, if it is pipelined."""
    given = dict(path[-1].annotations).get(STAGES, ()) if path else ()
    blocks = find(path[-1].body, Block) if given else ()
    used = [n for b, n in zip(blocks, given, strict=True) if any(a.buffer is buffer for a in loads_and_stores(b))]
    return 1 + max(used) - min(used) if used else 1


def loads_and_stores(block: Block) -> Iterator[Load | Store]:
    return (node for node in visit(block) if isinstance(node, Load | Store))
