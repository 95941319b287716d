"""Where things are in a program: loops, blocks and buffers by name, and the way to each of them.

What is below a statement is remembered there, so that a step that rebuilds one of many nests leaves the others known.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import Any

from tensorlang.ir.nodes import Alloc, Block, For, Func, Node, Seq, Stmt
from tensorlang.ir.walk import parts, path_to

LOOP, BLOCK, BUFFER = "loop", "block", "buffer"
Name = tuple[str, str]  # (space, name)


class Index:
    """Where things are in one Func: nodes by (space, name), and the way to every statement."""

    def __init__(self, func: Func):
        self.func = func
        self._trunk: list[Node] = [func]  # the nodes around all nests
        self._buffers = {p.name: p for p in func.params}  # those outside of all nests
        stmt = func.body
        while isinstance(stmt, Alloc):
            self._buffers[stmt.buffer.name] = stmt.buffer
            self._trunk.append(stmt)
            stmt = stmt.body
        if isinstance(stmt, Seq):
            self._trunk.append(stmt)
        self._nests = stmt.stmts if isinstance(stmt, Seq) else (stmt,)
        self._paths: dict[int, tuple[Node, ...]] = {}

    @cached_property
    def _first(self) -> dict[Name, Stmt]:
        """By which nest to go to what has a name."""
        found = dict[Name, Stmt]()
        for nest in self._nests:
            _add(found, nest)
        return found

    @property
    def names(self) -> Iterator[Name]:
        """Of everything, in program order."""
        yield from ((BUFFER, name) for name in self._buffers)
        yield from self._first

    def lacks(self, other: Index) -> list[Name]:
        """The names in `other` that nothing has here."""
        gone = other._first.keys() - self._first.keys()
        gone |= {(BUFFER, name) for name in other._buffers.keys() - self._buffers.keys()}
        return [name for name in gone if self.get(*name) is None]

    def get(self, space: str, name: str) -> Any:
        """What has this name, or None."""
        if space == BUFFER and name in self._buffers:
            return self._buffers[name]
        way = self._way((space, name))
        return None if not way else way[-1].buffer if isinstance(way[-1], Alloc) else way[-1]

    def path(self, node: Stmt) -> tuple[Node, ...]:
        """The nodes around a statement, outermost first. Raises LookupError if it is not part of the program."""
        found = self._paths.get(id(node))
        if found is None:
            found = self._paths[id(node)] = self._path(node)
        return found

    def _path(self, node: Stmt) -> tuple[Node, ...]:
        if isinstance(node, For | Block):
            way = self._way(_name(node))
            if way and way[-1] is node:
                return (*self._trunk, *way[:-1])
        whole = path_to(self.func, node)
        if whole is None:
            raise LookupError("the statement is not part of the program")
        return whole[:-1]

    def _way(self, name: Name) -> list[Any]:
        """From the trunk to what has that name; empty if nothing has."""
        way = [self._first[name]] if name in self._first else []
        while way and _name(way[-1]) != name:
            way.append(_parts(way[-1])[name])
        return way


def _name(stmt: Stmt) -> Name:
    """Of a loop, a block, or an allocated buffer."""
    if isinstance(stmt, For):
        return LOOP, stmt.var.name
    if isinstance(stmt, Block):
        return BLOCK, stmt.name
    return BUFFER, stmt.buffer.name if isinstance(stmt, Alloc) else ""


def _parts(stmt: Stmt) -> dict[Name, Stmt]:
    """By which part of `stmt` to go to the loops, blocks and buffers below it, in program order; remembered."""
    found: dict[Name, Stmt] | None = stmt.memo.get("parts")
    if found is None:
        found = stmt.memo["parts"] = {}
        for part in parts(stmt) if not isinstance(stmt, Block) else ():
            _add(found, part)
    return found


def _add(found: dict[Name, Stmt], part: Stmt) -> None:
    if isinstance(part, (For, Block, Alloc)):
        found[_name(part)] = part
    found.update(dict.fromkeys(_parts(part), part))
