"""Light handles: a name and the schedule it belongs to. Wherever a handle fits, its name fits.

What a handle says is looked up when asked for, so it is true of the program as it is now; a handle whose loop or
block was consumed by a step says so. Handles of the same thing are equal.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from tensorlang.ir.nodes import REDUCE, SPATIAL, Block, Buffer, Const, Expr, For, Stmt, const
from tensorlang.ir.walk import children, find, free_vars
from tensorlang.schedule import dataflow as flow

if TYPE_CHECKING:
    from tensorlang.schedule.schedule import Schedule


class _Handle:
    __slots__ = ("name", "schedule")

    def __init__(self, schedule: Schedule, name: str):
        self.schedule, self.name = schedule, name

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, _Handle) or type(other) is not type(self):
            return NotImplemented
        return other.schedule is self.schedule and other.name == self.name

    def __hash__(self) -> int:
        return hash((id(self.schedule), self.name))


class Loop(_Handle):
    """A loop of a schedule, by name.

    >>> [loop.name for loop in s.loops("C") if not loop.is_reduction]
    """

    __slots__ = ()

    @property
    def extent(self) -> Expr:
        """The number of iterations."""
        return self._node.extent

    @property
    def known_extent(self) -> int | None:
        """The number of iterations as an int, None if it depends on sizes, knobs or outer loops."""
        extent = self.extent
        return int(extent.value) if isinstance(extent, Const) else None

    @property
    def kind(self) -> str:
        """How it runs: serial, parallel, vectorize or unroll."""
        return self._node.kind

    @property
    def annotations(self) -> dict[str, Any]:
        """What `annotate` has attached."""
        return dict(self._node.annotations)

    @property
    def is_reduction(self) -> bool:
        """Whether it drives reductions (iterators that are not spatial), and nothing else, in the blocks inside."""
        kinds = {
            it.kind
            for block in find(self._node, Block)
            for it, binding in zip(block.iters, block.bindings, strict=True)
            if self._node.var in free_vars(binding)
        }
        return bool(kinds) and SPATIAL not in kinds

    @property
    def parent(self) -> Loop | None:
        """The next loop outside, None for an outermost one."""
        around = [n for n in self.schedule.path(self._node) if isinstance(n, For)]
        return Loop(self.schedule, around[-1].var.name) if around else None

    @property
    def children(self) -> list[Loop | BlockRef]:
        """The loops and blocks directly inside, in program order."""
        return [_handle(self.schedule, node) for node in _next_inside(self._node.body)]

    @property
    def blocks(self) -> list[BlockRef]:
        """All blocks inside, in program order."""
        return _refs(self.schedule, find(self._node, Block))

    @property
    def _node(self) -> For:
        return self.schedule.loop_node(self)

    def __repr__(self) -> str:
        return f"Loop({self.name!r})"


class Axis(NamedTuple):
    """An iterator of a block: its name, extent, kind (spatial, reduce, ordered) and the loops that drive it.

    >>> s.block("C").iters[2]
    Axis(name='k', extent=8, kind='reduce', loops=(Loop('C.k'),))
    """

    name: str
    extent: Expr
    kind: str
    loops: tuple[Loop, ...]


class BlockRef(_Handle):
    """A block of a schedule, by name.

    >>> [producer.name for producer in s.block("C").producers]
    """

    __slots__ = ()

    @property
    def loops(self) -> list[Loop]:
        """The loops around it, outermost first."""
        return self.schedule.loops(self)

    @property
    def iters(self) -> list[Axis]:
        """Its iterators, the axes of its compute, in order."""
        around = [n for n in self.schedule.path(self._node) if isinstance(n, For)]

        def drivers(binding: Expr) -> tuple[Loop, ...]:
            return tuple(Loop(self.schedule, n.var.name) for n in around if n.var in free_vars(binding))

        pairs = zip(self._node.iters, self._node.bindings, strict=True)
        return [Axis(it.var.name, it.extent, it.kind, drivers(binding)) for it, binding in pairs]

    @property
    def is_reduction(self) -> bool:
        """Whether it reduces: some iterator is not spatial."""
        return any(it.kind != SPATIAL for it in self._node.iters)

    @property
    def is_commutative(self) -> bool:
        """Whether it may reduce in any order; true of a block that does not reduce."""
        return all(it.kind in (SPATIAL, REDUCE) for it in self._node.iters)

    @property
    def annotations(self) -> dict[str, Any]:
        """What `annotate` has attached."""
        return dict(self._node.annotations)

    @property
    def reads(self) -> list[Buffer]:
        """The buffers it reads, in the order of its reads, without those it updates."""
        return list(flow.loaded(self._node))

    @property
    def writes(self) -> list[Buffer]:
        """The buffers it writes, in the order of its stores."""
        return list(flow.stored(self._node))

    @property
    def producers(self) -> list[BlockRef]:
        """The other blocks that write what it reads, in program order."""
        reads = set(self.reads)
        return self._others(lambda block: not reads.isdisjoint(flow.stored(block)))

    @property
    def consumers(self) -> list[BlockRef]:
        """The other blocks that read what it writes, in program order."""
        writes = set(self.writes)
        return self._others(lambda block: not writes.isdisjoint(flow.loaded(block)))

    def _others(self, chosen: Callable[[Block], bool]) -> list[BlockRef]:
        blocks = flow.blocks(self.schedule.func.body)
        return _refs(self.schedule, (b for b in blocks if b is not self._node and chosen(b)))

    @property
    def _node(self) -> Block:
        return self.schedule.block_node(self)

    def __repr__(self) -> str:
        return f"Block({self.name!r})"


LoopLike: TypeAlias = Loop | str
BlockLike: TypeAlias = BlockRef | str
Pattern: TypeAlias = str | Callable[[Any], bool]


def search(s: Schedule, pattern: Pattern, facts: dict[str, Any]) -> list[Any]:
    """The handles that `Schedule.find` returns.

    >>> search(s, "C.*", {"is_reduction": True})
    [Loop('C.k')]
    """

    def chosen(handle: Loop | BlockRef) -> bool:
        if isinstance(pattern, str) and not fnmatchcase(handle.name, pattern):
            return False
        if not all(hasattr(type(handle), key) and _agree(getattr(handle, key), v) for key, v in facts.items()):
            return False
        return isinstance(pattern, str) or bool(pattern(handle))

    nodes = (node for node in find(s.func.body, Stmt) if isinstance(node, For | Block))
    return [handle for node in nodes if chosen(handle := _handle(s, node))]


def _agree(found: Any, wanted: Any) -> bool:
    """Equality; of expressions, identity, for == builds another one."""
    if isinstance(found, Expr):
        return found is (wanted if isinstance(wanted, Expr) else const(wanted))
    return bool(found == wanted)


def _handle(s: Schedule, node: For | Block) -> Loop | BlockRef:
    return Loop(s, node.var.name) if isinstance(node, For) else BlockRef(s, node.name)


def _refs(s: Schedule, blocks: Iterable[Block]) -> list[BlockRef]:
    return [BlockRef(s, block.name) for block in blocks]


def _next_inside(stmt: Stmt) -> list[For | Block]:
    """The outermost loops and blocks of `stmt`."""
    if isinstance(stmt, For | Block):
        return [stmt]
    return [node for child in children(stmt) if isinstance(child, Stmt) for node in _next_inside(child)]
