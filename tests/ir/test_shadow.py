"""Shadow memory finds a race exactly when comparing all pairs of accesses finds one."""

import itertools
import random

import numpy as np
import pytest

from tensorlang.ir.shadow import Moment, Shadow

BLOCKS, THREADS, ELEMENTS = 3, 3, 4
COMPATIBLE = {("read", "read"), ("update", "update")}


class Pairs:
    """Remembers every access: (kind, block, thread, phase) by element."""

    def __init__(self) -> None:
        self.seen: dict[int, list[tuple[str, int, int, int]]] = {e: [] for e in range(ELEMENTS)}

    def access(self, kind: str, entries: list[tuple[int, int, int, int]]) -> bool:
        """Whether these accesses (element, block, thread, phase), at the same time, race with any, or each other."""
        race = False
        for element, *who in entries:
            for other_kind, *other in self.seen[element]:
                ordered = other[:2] == who[:2] or (other[0] == who[0] and other[2] < who[2])
                race |= not ordered and (kind, other_kind) not in COMPATIBLE
            self.seen[element].append((kind, *who))
        return race


def play(rng: random.Random, calm: bool) -> None:
    shadow, pairs = Shadow(ELEMENTS, calm), Pairs()
    lanes = np.arange(BLOCKS * THREADS)
    moment, phases = Moment.start(lanes // THREADS, lanes % THREADS), [0] * BLOCKS
    kinds = rng.choices(["read", "write", "update"], k=3)  # so that some plays hold few stores
    for _ in range(30):
        if rng.random() < 0.4:
            together = rng.random() < 0.7
            meeting = range(BLOCKS) if together else rng.sample(range(BLOCKS), rng.randint(1, BLOCKS))
            shadow.barrier(of_all=len(meeting) == BLOCKS and calm)
            moment.next_phase(np.flatnonzero(np.isin(lanes // THREADS, list(meeting))), THREADS)
            for block in meeting:
                phases[block] += 1
            continue
        kind = rng.choice(kinds)
        chosen = rng.sample(range(BLOCKS * THREADS), rng.randint(1, 4))
        if calm:  # memory of one block
            chosen = [lane for lane in chosen if lane < THREADS] or [0]
        at = [rng.randrange(ELEMENTS) for _ in chosen]
        entries = [(e, n // THREADS, n % THREADS, phases[n // THREADS]) for e, n in zip(at, chosen, strict=True)]
        expected = pairs.access(kind, entries)
        found = getattr(shadow, kind)(np.array(at), moment, np.array(chosen), 7)
        assert (found is not None) == expected
        if found is not None:
            assert found.site == 7 and found.what in ("read", "stored", "updated")
            return


@pytest.mark.parametrize("calm", [False, True], ids=["global", "shared"])
def test_random_accesses_against_all_pairs(calm):
    for seed in range(400):
        play(random.Random(seed), calm)


def test_two_readers_convict_each_of_them():
    """Whoever of three threads that read an element stores to it next races with another."""
    for writer, order in itertools.product(range(3), itertools.permutations(range(3))):
        shadow = Shadow(1, calm=False)
        lanes = np.arange(3)
        moment = Moment.start(lanes * 0, lanes)
        for reader in order:
            assert shadow.read(np.array([0]), moment, np.array([reader]), 1) is None
        found = shadow.write(np.array([0]), moment, np.array([writer]), 2)
        assert found is not None and found.what == "read"


def test_copies_in_flight_exclude_all():
    shadow, lanes = Shadow(4, calm=True), np.arange(2)
    moment = Moment.start(lanes * 0, lanes)
    where = np.array([0, 1])
    assert shadow.begin_copy(where, moment, lanes, 3) is None
    for at in (where, where[::-1]):
        found = shadow.in_flight(at)
        assert found is not None and (found.site, found.in_flight, found.what) == (3, True, "copied to")
        assert shadow.write(at, moment, lanes, 4).in_flight
    shadow.end_copy(where, moment, lanes, 3)
    assert shadow.in_flight(where) is None
    assert shadow.read(where, moment, lanes, 5) is None  # each its own
    assert shadow.read(where[::-1], moment, lanes, 5).what == "stored"
