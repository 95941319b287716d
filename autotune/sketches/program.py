"""What rules look at: the blocks of a program as stages, with their loops, what they touch, and who feeds whom."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod

from autotune.task import Access, Schedule, Target, nests, patterns, to_numpy


@dataclass(frozen=True)
class Loop:
    """A loop of known extent. reduce: whether it drives only reduction iterators of its block."""

    name: str
    extent: int
    reduce: bool


@dataclass(frozen=True)
class Stage:
    """A block in loops of its own. loops: outermost first; producers, consumers: names of blocks, in program order.

    divisors: constants by which subscripts divide loops; item_bytes: of the widest element that it touches;
    result_bytes: of those that it stores; dtypes: of the buffers that it touches; operations: how many of each kind it
    does at a point.
    """

    block: str
    loops: tuple[Loop, ...]
    accesses: tuple[Access, ...]
    divisors: Mapping[str, int]
    producers: tuple[str, ...]
    consumers: tuple[str, ...]
    item_bytes: int
    result_bytes: int
    dtypes: Mapping[str, str]
    operations: Mapping[str, int]

    @property
    def spatial(self) -> list[Loop]:
        return [loop for loop in self.loops if not loop.reduce]

    @property
    def reduction(self) -> list[Loop]:
        return [loop for loop in self.loops if loop.reduce]

    @property
    def result(self) -> Access:
        """The store of its (first) result."""
        return next(a for a in self.accesses if a.written)

    @property
    def reads(self) -> list[Access]:
        """Its loads, but for those of what it updates."""
        results = {a.buffer for a in self.accesses if a.written}
        return [a for a in self.accesses if a.buffer not in results]

    def points(self, *, reduce: bool | None = None) -> int:
        """Iterations of all loops, or of the spatial or reducing ones only."""
        return prod(loop.extent for loop in self.loops if reduce is None or loop.reduce is reduce)

    def lanes(self, target: Target) -> int:
        """Elements of a vector register."""
        return max(1, target.vector_bytes // self.item_bytes)


class Program(Mapping[str, Stage]):
    """The stages of a schedule by block, in program order; blocks that `touched` names are left out.

    target: what the schedule is for.
    """

    def __init__(self, s: Schedule, target: Target, touched: frozenset[str] = frozenset()):
        self.target = target
        found = patterns(s.func)
        self._stages: dict[str, Stage] = {}
        for nest in nests(s.func):
            if nest.block in touched:
                continue
            block, pattern = s.block(nest.block), found[nest.block]
            self._stages[nest.block] = Stage(
                nest.block,
                tuple(Loop(loop.name, int(repr(loop.extent)), loop.reduce) for loop in nest.loops),
                pattern.accesses,
                pattern.divisors,
                tuple(b.name for b in block.producers),
                tuple(b.name for b in block.consumers),
                max((to_numpy(a.dtype).itemsize for a in pattern.accesses), default=4),
                next(to_numpy(a.dtype).itemsize for a in pattern.accesses if a.written),
                {a.buffer: a.dtype for a in pattern.accesses},
                nest.operations,
            )

    def __getitem__(self, block: str) -> Stage:
        return self._stages[block]

    def __iter__(self) -> Iterator[str]:
        return iter(self._stages)

    def __len__(self) -> int:
        return len(self._stages)

    def private_producers(self, stage: Stage) -> list[Stage]:
        """The stages whose results nobody but `stage` reads."""
        return [self[b] for b in stage.producers if b in self and self[b].consumers == (stage.block,)]
