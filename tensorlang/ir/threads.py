"""The threads of a launch nest at run time: `Grid`, all its blocks, and `Batch`, some of them in lockstep.

Every thread of a batch is a *lane* of NumPy arrays; a mask `on` says which lanes take part in a statement (None: all).
Lockstep is one of the orders in which threads may run; what another order could change is an error (lane_memory.py).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tensorlang.errors import DivergenceError
from tensorlang.ir import dtypes
from tensorlang.ir.lane_memory import Access, Copy, Mask, Memory
from tensorlang.ir.memory import poison
from tensorlang.ir.nodes import Func, Stmt
from tensorlang.ir.ops import WARP
from tensorlang.ir.printer import excerpt
from tensorlang.ir.shadow import Moment, Shadow, block_of, number_of

ORDERS = ("shuffled", "ascending", "descending")


@dataclass(frozen=True)
class Settings:
    """How a launch runs where its meaning leaves it open.

    order: of the blocks, `shuffled` (by `seed`), `ascending` or `descending`. lanes: blocks run together until there
    are so many threads. strict: reading what nothing has written is an error; otherwise it gives poison.
    """

    order: str = "shuffled"
    seed: int = 0
    lanes: int = 8192
    strict: bool = True


@dataclass(frozen=True, eq=False)
class Sites:
    """The statements of a Func that reports may speak of, by number."""

    func: Func
    stmts: list[Stmt] = field(default_factory=list)

    def number(self, stmt: Stmt) -> int:
        if not self.stmts or self.stmts[-1] is not stmt:
            self.stmts.append(stmt)
        return len(self.stmts) - 1

    def excerpt(self, *numbers: int) -> str:
        return excerpt(self.func, [self.stmts[n] for n in numbers])


class Grid:
    """The blocks and threads of one launch. `blocks` and `threads` give the extent of each axis in use, z first."""

    def __init__(self, sites: Sites, settings: Settings, blocks: dict[str, int], threads: dict[str, int]):
        self.sites, self.settings = sites, settings
        self.blocks, self.threads = blocks, threads
        self.count, self.block_size = math.prod(max(0, n) for n in blocks.values()), math.prod(threads.values())

    def batches(self) -> Iterator[Batch]:
        """All blocks, in the order that the settings say."""
        order = np.arange(self.count)
        if self.settings.order == "shuffled":
            np.random.default_rng(self.settings.seed).shuffle(order)
        elif self.settings.order == "descending":
            order = order[::-1]
        step = -(-self.settings.lanes // self.block_size)
        for first in range(0, self.count, step):
            yield Batch(self, order[first : first + step])

    def whole(self, name: str, data: np.ndarray, ready: np.ndarray | None, stored: bool) -> Memory:
        """Global memory. stored: whether this launch writes to it; if not, threads cannot race."""
        return Memory(name, data, len(data), 1, None, ready, Shadow(len(data), calm=False) if stored else None)

    def block(self, stamp: int) -> str:
        """The block of the thread that left a stamp, as people say it."""
        return f"block {_coordinates(block_of(stamp), self.blocks)}"

    def thread(self, stamp: int) -> str:
        """The thread that left a stamp: thread (3, 0) of block (1, 2), x first."""
        return f"thread {_coordinates(number_of(stamp, self.block_size), self.threads)} of {self.block(stamp)}"


def _coordinates(number: int, axes: dict[str, int]) -> int | tuple[int, ...]:
    at = tuple(int(n) for n in np.unravel_index(number, tuple(axes.values()))[::-1]) if axes else (0,)
    return at[0] if len(at) == 1 else at


class Batch:
    """The blocks `ids` of a grid, run in lockstep."""

    def __init__(self, grid: Grid, ids: np.ndarray):
        self.grid, self.ids = grid, ids
        size = grid.block_size
        self.lanes = np.arange(len(ids) * size)
        self.row, self.number = np.divmod(self.lanes, size)  # of the block in this batch, of the thread in its block
        self.moment = Moment.start(ids[self.row], self.number)
        self.shadows: list[Shadow] = []  # of shared memory
        self.copies: list[Copy] = []
        self.groups = np.zeros(len(self.lanes), np.int64)  # of copies, that each lane has committed

    # ------------------------------------------------------------------------------------------- values
    def index(self, axis: str, dtype: np.dtype) -> np.ndarray:
        """The index of each lane along an axis such as threadIdx.x."""
        blocks = axis in self.grid.blocks
        extents, linear = (self.grid.blocks, self.ids[self.row]) if blocks else (self.grid.threads, self.number)
        return np.unravel_index(linear, tuple(extents.values()))[list(extents).index(axis)].astype(dtype)

    def mask(self, cond: Any) -> np.ndarray:
        """A condition as a mask."""
        return np.broadcast_to(np.asarray(cond, bool), self.lanes.shape)

    def value(self, x: Any, dtype: str) -> np.ndarray:
        """A value that all threads share, or that each has, as an array."""
        return np.atleast_1d(np.asarray(x, dtypes.to_numpy(dtype)))

    def longest(self, extents: Any, on: Mask) -> int:
        """The largest of the extents of the lanes that are on."""
        extents = np.broadcast_to(extents, self.lanes.shape)
        return int((extents if on is None else extents[on]).max(initial=0))

    def access(self, at: Any, width: int, on: Mask, mask: Any, site: int) -> Access:
        return Access(self, at, width, on, mask, site)

    # ------------------------------------------------------------------------------------------- memory
    def shared(self, name: str, count: int, dtype: str) -> Memory:
        """Memory of which each block has its own."""
        total = count * len(self.ids)
        shadow = Shadow(total, calm=True)
        self.shadows.append(shadow)
        return Memory(name, poison(total, dtype), count, 1, self.row * count, np.zeros(total, bool), shadow)

    def local(self, name: str, count: int, dtype: str) -> Memory:
        """Memory of which each thread has its own."""
        total = count * len(self.lanes)
        return Memory(name, poison(total, dtype), count, len(self.lanes), self.lanes, np.zeros(total, bool), None)

    # ---------------------------------------------------------------------------------- synchronisation
    def barrier(self, on: Mask, site: int) -> None:
        if on is not None:
            self._together(on.reshape(len(self.ids), -1), "barrier", "block", site)
        arrived = self.lanes if on is None else np.flatnonzero(on)
        for shadow in self.shadows:
            shadow.barrier(of_all=len(arrived) == len(self.lanes))
        self.moment.next_phase(arrived, self.grid.block_size)

    def shuffle_xor(self, value: np.ndarray, bits: int, on: Mask, site: int) -> np.ndarray:
        size = self.grid.block_size
        if on is not None or size % WARP:
            warps = np.zeros((len(self.ids), -(-size // WARP) * WARP), bool)
            warps[:, :size] = True if on is None else on.reshape(len(self.ids), size)
            self._together(warps.reshape(-1, WARP), "shuffle", "warp", site)
        partner = self.lanes - self.number + (self.number ^ bits)
        return np.broadcast_to(value, self.lanes.shape)[np.minimum(partner, len(self.lanes) - 1)]

    def _together(self, on: np.ndarray, what: str, unit: str, site: int) -> None:
        """Raise DivergenceError unless in each row, a block or a warp, all threads are on or none."""
        arrived = on.sum(axis=1)
        torn = np.flatnonzero((arrived != 0) & (arrived != on.shape[1]))
        if not len(torn):
            return
        unit_row = int(torn[0])
        row, inside = divmod(unit_row, len(on) // len(self.ids))
        first = row * self.grid.block_size + inside * on.shape[1] + int(np.argmax(on[unit_row]))
        stamp = int(self.moment.now[first])
        whole = f"the {on.shape[1]} threads of {'a warp of ' if unit == 'warp' else ''}{self.grid.block(stamp)}"
        raise DivergenceError(
            f"the {what} is reached by {arrived[unit_row]} of {whole}",
            threads=(self.grid.thread(stamp),),
            excerpt=self.grid.sites.excerpt(site),
        )

    # ------------------------------------------------------------------------------ asynchronous copies
    def commit(self, on: Mask) -> None:
        self.groups += 1 if on is None else on

    def wait(self, left: int, on: Mask) -> None:
        """Complete the copies of the lanes that are on, but for the last `left` groups that each has committed."""
        waiting: list[Copy] = []
        for copy in self.copies:
            done = copy.group + left < self.groups[copy.lanes]
            if on is not None:
                done &= on[copy.lanes]
            copy.memory.complete(copy.part(done), self.moment)
            if not done.all():
                waiting.append(copy.part(~done))
        self.copies = waiting
