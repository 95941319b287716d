"""Light handles: a name and the schedule it belongs to. Wherever a handle fits, its name fits."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from tensorlang.ir.nodes import Expr

if TYPE_CHECKING:
    from tensorlang.schedule.schedule import Schedule


class Loop:
    """A loop of a schedule, by name. `extent` and `kind` are looked up when asked for."""

    __slots__ = ("name", "schedule")

    def __init__(self, schedule: Schedule, name: str):
        self.schedule, self.name = schedule, name

    @property
    def extent(self) -> Expr:
        return self.schedule.loop_node(self).extent

    @property
    def kind(self) -> str:
        return self.schedule.loop_node(self).kind

    def __repr__(self) -> str:
        return f"Loop({self.name!r})"


class BlockRef:
    """A block of a schedule, by name."""

    __slots__ = ("name", "schedule")

    def __init__(self, schedule: Schedule, name: str):
        self.schedule, self.name = schedule, name

    def __repr__(self) -> str:
        return f"Block({self.name!r})"


LoopLike: TypeAlias = Loop | str
BlockLike: TypeAlias = BlockRef | str
