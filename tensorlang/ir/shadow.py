"""Shadow memory: for each element who accessed it when, so that races are found whatever the order of execution.

An access leaves a *stamp*, a number that says which thread it was in which phase (between which barriers of its
block). It is ordered before a later access by the same thread, and by any thread of its block in a later phase; two
accesses that are not ordered and exclude each other are a race. The last store and, of accesses that do not exclude
each other, two at most are enough to find a race wherever there is one (compare FastTrack, Flanagan and Freund 2009).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

_NEVER = -1
_BLOCK = 40  # a stamp is block << 40 | phase * threads of a block + number of the thread
_MOST_NOTED = 64


def block_of(stamp: int) -> int:
    return stamp >> _BLOCK


def number_of(stamp: int, block_size: int) -> int:
    """The number of the thread in its block."""
    return (stamp & (1 << _BLOCK) - 1) % block_size


@dataclass(frozen=True)
class Moment:
    """The stamps that lanes leave now; the least that their blocks leave in this phase, and in any phase."""

    now: np.ndarray
    phase: np.ndarray
    block: np.ndarray

    @staticmethod
    def start(block: np.ndarray, number: np.ndarray) -> Moment:
        first = block << _BLOCK
        return Moment(first + number, first.copy(), first)

    def next_phase(self, lanes: np.ndarray, block_size: int) -> None:
        self.now[lanes] += block_size
        self.phase[lanes] += block_size

    def of(self, lanes: np.ndarray) -> Moment:
        return Moment(self.now[lanes], self.phase[lanes], self.block[lanes])

    def unordered(self, stamps: np.ndarray) -> np.ndarray:
        """Where what left `stamps` is not ordered before the moment."""
        earlier = (stamps < self.phase) & (stamps >= self.block)
        return ~(earlier | (stamps == self.now) | (stamps == _NEVER))


class Conflict(NamedTuple):
    """Entry `entry` of the accesses at hand races with one that left `stamp`: `what` the statement `site` did."""

    entry: int
    what: str
    stamp: int
    site: int
    in_flight: bool = False


class _Stamps:
    """A stamp and its site for each element."""

    def __init__(self, what: str, count: int):
        self.what = what
        self.stamps, self.sites = np.full(count, _NEVER, np.int64), np.zeros(count, np.int32)

    def put(self, at: np.ndarray, stamps: np.ndarray, site: int) -> None:
        self.stamps[at] = stamps
        self.sites[at] = site

    def race(self, at: np.ndarray, when: Moment) -> Conflict | None:
        return self.at_entry(at, when.unordered(self.stamps[at]))

    def at_entry(self, at: np.ndarray, bad: np.ndarray, in_flight: bool = False) -> Conflict | None:
        """The conflict at the first entry that is `bad`."""
        if not bad.any():
            return None
        entry = int(np.argmax(bad))
        return Conflict(entry, self.what, int(self.stamps[at[entry]]), int(self.sites[at[entry]]), in_flight)


class _Peaceful:
    """Two accesses for each element that stand for all of a kind, of which none excludes another.

    `first` is the latest. `second` is one not ordered with it, of another block if there is one. What is ordered after
    both is ordered after all.
    """

    def __init__(self, what: str, count: int):
        self.first, self.second = _Stamps(what, count), _Stamps(what, count)

    def add(self, at: np.ndarray, when: Moment, site: int) -> None:
        latest = ~when.unordered(self.first.stamps[at])
        self.first.put(at[latest], when.now[latest], site)
        rest = when.unordered(self.first.stamps[at])  # also those that met another lane just now
        at, now = at[rest], when.now[rest]
        first, second = self.first.stamps[at] >> _BLOCK, self.second.stamps[at]
        elsewhere = now >> _BLOCK != first
        known_elsewhere = (second != _NEVER) & (second >> _BLOCK != first)
        for chosen in (~elsewhere & ~known_elsewhere, elsewhere):
            self.second.put(at[chosen], now[chosen], site)

    def race(self, at: np.ndarray, when: Moment) -> Conflict | None:
        return self.first.race(at, when) or self.second.race(at, when)


class Shadow:
    """The accesses to `count` elements. Each method records some, `lanes` of a batch at its `when`, or finds a race.

    A phase in which nobody stores costs nothing where all threads meet at barriers: loads are only noted, in case
    that a store follows before the next. calm: no thread has stored since a barrier of all.
    """

    def __init__(self, count: int, calm: bool):
        self.writes, self.in_flights = _Stamps("stored", count), _Stamps("copied to", count)
        self.reads, self.updates = _Peaceful("read", count), _Peaceful("updated", count)
        self.any_updates = self.any_copies = False
        self.calm = calm
        self.noted: list[tuple[np.ndarray, Moment, np.ndarray, int]] = []

    def barrier(self, of_all: bool) -> None:
        """Called before a phase ends, for all lanes or for some."""
        if of_all:
            self.noted.clear()
            self.calm = True
        else:
            self._disturb()

    def read(self, at: np.ndarray, when: Moment, lanes: np.ndarray, site: int) -> Conflict | None:
        if self.calm:
            self.noted.append((at, when, lanes, site))
            if len(self.noted) > _MOST_NOTED:
                self._disturb()
            return None
        when = when.of(lanes)
        found = self.writes.race(at, when) or (self.updates.race(at, when) if self.any_updates else None)
        if found is None:
            self.reads.add(at, when, site)
        return found

    def write(self, at: np.ndarray, when: Moment, lanes: np.ndarray, site: int) -> Conflict | None:
        when = when.of(lanes)
        found = self._accessed(at, when)
        if found is None:
            self.writes.put(at, when.now, site)
            found = self.writes.race(at, when)  # two lanes at one element
        return found

    def update(self, at: np.ndarray, when: Moment, lanes: np.ndarray, site: int) -> Conflict | None:
        """An atomic update, which excludes all but other atomic updates."""
        self._disturb()
        self.any_updates = True
        when = when.of(lanes)
        found = self.in_flight(at) or self.writes.race(at, when) or self.reads.race(at, when)
        if found is None:
            self.updates.add(at, when, site)
        return found

    def begin_copy(self, at: np.ndarray, when: Moment, lanes: np.ndarray, site: int) -> Conflict | None:
        """An asynchronous store begins, which excludes every access until `end_copy`."""
        when = when.of(lanes)
        found = self._accessed(at, when)
        if found is None:
            self.any_copies = True
            self.in_flights.put(at, when.now, site)
            found = self.in_flights.race(at, when)
        return found

    def end_copy(self, at: np.ndarray, when: Moment, lanes: np.ndarray, site: int) -> None:
        """It ends: from now on it counts as a store of its thread at this moment."""
        self._disturb()
        self.in_flights.put(at, np.full(len(at), _NEVER), site)
        self.writes.put(at, when.now[lanes], site)

    def in_flight(self, at: np.ndarray) -> Conflict | None:
        """A copy to one of these elements that has begun and not ended."""
        if not self.any_copies:
            return None
        return self.in_flights.at_entry(at, self.in_flights.stamps[at] != _NEVER, in_flight=True)

    def _disturb(self) -> None:
        """From now on loads have to be compared with stores at once."""
        for at, when, lanes, site in self.noted:
            self.reads.add(at, when.of(lanes), site)
        self.noted.clear()
        self.calm = False

    def _accessed(self, at: np.ndarray, when: Moment) -> Conflict | None:
        """A race of a store with what was there before."""
        self._disturb()
        found = self.in_flight(at) or self.writes.race(at, when) or self.reads.race(at, when)
        return found or (self.updates.race(at, when) if self.any_updates else None)
