"""Memory as the threads of a launch nest see it: each access checked, and recorded in shadow memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from tensorlang.errors import MissingWaitError, OutOfBoundsError, RaceError, UninitializedError
from tensorlang.ir.shadow import Conflict, Moment, Shadow, block_of

if TYPE_CHECKING:
    from tensorlang.ir.threads import Batch

Mask = np.ndarray | None


class Access(NamedTuple):
    """An access by the lanes of a batch: each to element `at`, or to `width` elements if that is more than one.

    on: the lanes that take part (None: all); mask: of these or, in vectors, of their elements; site: the statement.
    """

    batch: Batch
    at: Any
    width: int
    on: Mask
    mask: Any
    site: int

    @property
    def shape(self) -> tuple[int, ...]:
        lanes = len(self.batch.lanes)
        return (lanes,) if self.width == 1 else (lanes, self.width)

    def chosen(self) -> Mask:
        """Which of the accesses happen; None: all."""
        on = self.on if self.on is None or self.width == 1 else self.on[:, None]
        if self.mask is None and on is None:
            return None
        return np.broadcast_to(self.mask if on is None else on if self.mask is None else self.mask & on, self.shape)

    def thread(self, lane: int) -> str:
        return self.batch.grid.thread(int(self.batch.moment.now[lane]))

    def excerpt(self, *others: int) -> str:
        return self.batch.grid.sites.excerpt(*others, self.site)


@dataclass
class _Places:
    """The accesses that happen, one an entry: where in the data (or a slice of it), by which lane; see `chosen`."""

    where: Any
    lanes: np.ndarray
    chosen: Mask


@dataclass
class Copy:
    """Asynchronous stores in flight, one an entry: where, what, by which lane, in which of its groups; one site."""

    memory: Memory
    where: np.ndarray
    values: np.ndarray
    lanes: np.ndarray
    group: np.ndarray
    site: int

    def part(self, chosen: np.ndarray) -> Copy:
        where, values, lanes, group = (a[chosen] for a in (self.where, self.values, self.lanes, self.group))
        return Copy(self.memory, where, values, lanes, group, self.site)


@dataclass(eq=False)
class Memory:
    """A buffer: element e of a lane is `data[e * step + base[lane]]`, without `base` `data[e]`.

    size: how many elements a lane can reach; ready: which are written (None: all); shadow: None where no two threads
    can meet, or none stores.
    """

    name: str
    data: np.ndarray
    size: int
    step: int
    base: np.ndarray | None
    ready: np.ndarray | None
    shadow: Shadow | None

    def load(self, access: Access) -> np.ndarray:
        """What each lane reads; zero where an access does not happen."""
        places = self._places(access)
        self._check_ready(access, places)
        if self.shadow is not None:
            found = self.shadow.read(places.where, access.batch.moment, places.lanes, access.site)
            self._check(access, places, "read", found)
        return self._values(access, places)

    def peek(self, access: Access) -> np.ndarray:
        """What each lane reads in order to `update` it, which is when it is checked."""
        places = self._places(access)
        self._check_ready(access, places)
        return self._values(access, places)

    def store(self, access: Access, value: np.ndarray) -> None:
        places = self._places(access)
        if self.shadow is not None:
            found = self.shadow.write(places.where, access.batch.moment, places.lanes, access.site)
            self._check(access, places, "stored", found)
        self._put(places.where, _entries(access, places, value))

    def update(self, access: Access, value: np.ndarray) -> None:
        """The store of an atomic statement."""
        places = self._places(access)
        if self.shadow is not None:
            found = self.shadow.update(places.where, access.batch.moment, places.lanes, access.site)
            self._check(access, places, "updated", found)
        self._put(places.where, _entries(access, places, value))

    def copy(self, access: Access, value: np.ndarray) -> None:
        """Begin an asynchronous store, which `complete` ends."""
        places, batch = self._places(access), access.batch
        assert self.shadow is not None  # the form of a launch nest says so
        found = self.shadow.begin_copy(places.where, batch.moment, places.lanes, access.site)
        self._check(access, places, "copied to", found)
        values, group = np.array(_entries(access, places, value)), batch.groups[places.lanes]
        batch.copies.append(Copy(self, places.where, values, places.lanes, group, access.site))

    def complete(self, copy: Copy, moment: Moment) -> None:
        assert self.shadow is not None
        self.shadow.end_copy(copy.where, moment, copy.lanes, copy.site)
        self._put(copy.where, copy.values)

    def turns(self, access: Access) -> Iterator[np.ndarray]:
        """Masks that let the lanes pass in turns, so that in none of them two lanes meet at an element."""
        places = self._places(access)
        where, lanes = places.where, places.lanes
        while len(lanes):
            _, first = np.unique(where, return_index=True)
            yield np.isin(access.batch.lanes, lanes[first])
            where, lanes = np.delete(where, first), np.delete(lanes, first)

    # -------------------------------------------------------------------------------------------- places
    def _places(self, access: Access) -> _Places:
        """Where the accesses go. Raises OutOfBoundsError."""
        at, lanes, chosen = access.at, access.batch.lanes, access.chosen()
        registers = self.shadow is None and self.base is not None
        if registers and chosen is None and isinstance(at, int) and 0 <= at < self.size:
            return _Places(slice(at * self.step, (at + 1) * self.step), lanes, None)  # one of each lane
        shape = access.shape
        if len(shape) == 2:
            lanes = np.broadcast_to(lanes[:, None], shape)
        if np.shape(at) != shape:
            at = np.broadcast_to(at, shape)
        at, lanes = (at.reshape(-1), lanes.reshape(-1)) if chosen is None else (at[chosen], lanes[chosen])
        at = at.astype(np.int64, copy=False)
        outside = at.view(np.uint64) >= self.size
        if outside.any():
            self._outside(access, int(at[np.argmax(outside)]), int(lanes[np.argmax(outside)]))
        if self.base is None:
            return _Places(at, lanes, chosen)
        return _Places(at * self.step + self.base[lanes], lanes, chosen)

    def _values(self, access: Access, places: _Places) -> np.ndarray:
        found = self.data[places.where]
        if places.chosen is None:
            return found.copy() if isinstance(places.where, slice) else found.reshape(access.shape)
        result = np.zeros(access.shape, self.data.dtype)
        result[places.chosen] = found
        return result

    def _put(self, where: Any, values: np.ndarray) -> None:
        self.data[where] = values
        if self.ready is not None:
            self.ready[where] = True

    # ------------------------------------------------------------------------------------------- reports
    def _element(self, where: int, lane: int) -> int:
        return where if self.base is None else (where - int(self.base[lane])) // self.step

    def _outside(self, access: Access, at: int, lane: int) -> None:
        thread = access.thread(lane)
        raise OutOfBoundsError(
            f"{self.name}[{at}] is out of bounds: {self.name} has {self.size} elements; accessed by {thread}",
            buffer=self.name,
            element=at,
            threads=(thread,),
            excerpt=access.excerpt(),
        )

    def _check_ready(self, access: Access, places: _Places) -> None:
        """Refuse to read what nothing has written, or what is still being copied to."""
        if self.shadow is not None:
            self._check(access, places, "read", self.shadow.in_flight(places.where))
        if self.ready is None or not access.batch.grid.settings.strict or self.ready[places.where].all():
            return
        entry = int(np.argmin(self.ready[places.where]))
        lane = int(places.lanes[entry])
        where = int(np.arange(len(self.data))[places.where][entry])
        thread, element = access.thread(lane), self._element(where, lane)
        raise UninitializedError(
            f"{self.name}[{element}] is read by {thread}, and nothing has written it",
            buffer=self.name,
            element=element,
            threads=(thread,),
            excerpt=access.excerpt(),
        )

    def _check(self, access: Access, places: _Places, what: str, found: Conflict | None) -> None:
        """Report the conflict, if there is one, of these accesses with an earlier one."""
        if found is None:
            return
        lane = int(places.lanes[found.entry])
        threads = (access.thread(lane), access.batch.grid.thread(found.stamp))
        element = self._element(int(places.where[found.entry]), lane)
        here = int(access.batch.moment.block[lane])
        error, why = (
            RaceError,
            "no barrier is between" if block_of(here) == block_of(found.stamp) else "blocks run in any order",
        )
        if found.in_flight:
            error, why = MissingWaitError, "the copy may be in flight, no wait is between"
        raise error(
            f"{self.name}[{element}] is {what} by {threads[0]} and {found.what} by {threads[1]}: {why}",
            buffer=self.name,
            element=element,
            threads=threads,
            excerpt=access.excerpt(found.site),
        )


def _entries(access: Access, places: _Places, value: np.ndarray) -> np.ndarray:
    """The values of the accesses that happen."""
    value = np.broadcast_to(value, access.shape)
    return value.reshape(-1) if places.chosen is None else value[places.chosen]
