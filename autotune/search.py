"""Search: which candidates to measure next.

A strategy sees spaces of knob vectors and a score to minimise, and proposes candidates. All randomness comes from the
generator that is passed, so that a seed fixes everything.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol

import numpy as np

_PART = 1 << 16  # points of a space that are scored at a time
_GRID_TRIES = 64  # points to look at for one that is valid and not seen


class KnobSpace(Protocol):
    """What search needs of a space (see space.py): knob vectors are rows of int64 values, one column a knob.

    rows: all valid ones, in ascending order; None if there are too many to list.
    """

    @property
    def choices(self) -> tuple[np.ndarray, ...]: ...

    @property
    def rows(self) -> np.ndarray | None: ...

    def valid(self, values: np.ndarray) -> np.ndarray: ...


@dataclass(frozen=True)
class Candidate:
    """A point: index of the space, value of each knob."""

    space: int
    values: tuple[int, ...]


Score = Callable[[int, np.ndarray], np.ndarray]  # (index of the space, knob vectors) -> lower is better
Measured = Sequence[tuple[Candidate, float]]  # with seconds


@dataclass(frozen=True)
class Known:
    """What a strategy goes by. best: measured candidates, fastest first; seen: those not to propose again."""

    spaces: Sequence[KnobSpace]
    score: Score
    best: Measured
    seen: Collection[Candidate]
    rng: np.random.Generator


class Search(Protocol):
    """A strategy."""

    def propose(self, known: Known, count: int) -> list[Candidate]:
        """At most `count` new candidates, most promising first; fewer only if the spaces hold no more."""
        ...


class RandomSearch:
    """Uniform over the valid points of all spaces, each space being as likely as its share of points."""

    def propose(self, known: Known, count: int) -> list[Candidate]:
        found: dict[Candidate, None] = {}
        sizes = np.array([size(space) for space in known.spaces], dtype=float)
        for _ in range(20):
            for index in known.rng.choice(len(known.spaces), size=4 * count, p=sizes / sizes.sum()):
                for row in sample(known.spaces[index], 1, known.rng):
                    candidate = Candidate(int(index), tuple(row.tolist()))
                    if candidate not in known.seen:
                        found[candidate] = None
                    if len(found) == count:
                        return list(found)
        return list(found)


class GridSearch:
    """Points spread evenly over all spaces, one after another, ever more finely; neither luck nor a model plays a part.

    Point n is the fraction of the way through all points that the binary digits of n, in reverse order, stand for.
    """

    def propose(self, known: Known, count: int) -> list[Candidate]:
        found: dict[Candidate, None] = {}
        spaces = known.spaces
        ends = np.cumsum([size(space) for space in spaces])
        for n in range(_GRID_TRIES * (count + len(known.seen))):
            at = int(_reversed_digits(n) * ends[-1])
            space = int(np.searchsorted(ends, at, side="right"))
            row = points(spaces[space], np.array([at - (ends[space - 1] if space else 0)]))
            if (
                spaces[space].valid(row)[0]
                and (candidate := Candidate(space, tuple(row[0].tolist()))) not in known.seen
            ):
                found[candidate] = None
            if len(found) == count:
                break
        return list(found)


def _reversed_digits(n: int) -> float:
    """The van der Corput sequence: 0, 1/2, 1/4, 3/4, 1/8 ..."""
    return int(f"{n:b}"[::-1], 2) / (1 << n.bit_length()) if n else 0.0


@dataclass(frozen=True)
class EvolutionarySearch:
    """Scores a whole space unless it is too large; then walks it: mutation and crossover, the fittest are kept.

    population: knob vectors kept for each space; generations: rounds of offspring; exhaustive: points of the largest
    listed space that is scored in full, 10^6 of which take some seconds; explore: share of a batch that is drawn at
    random, which the model learns from; alike: proposals that may share all knobs but one with a better one of a batch.
    """

    population: int = 2048
    generations: int = 12
    exhaustive: int = 1_000_000
    explore: float = 0.1
    alike: int = 2

    def propose(self, known: Known, count: int) -> list[Candidate]:
        pool: list[tuple[float, int, Candidate]] = []
        for index, space in enumerate(known.spaces):
            parents = np.array([c.values for c, _ in known.best[:64] if c.space == index], dtype=np.int64)
            values = self.survivors(space, partial(known.score, index), known.rng, parents)
            points = known.score(index, values)
            order = np.lexsort((*values.T[::-1], points))
            fresh = [(float(points[n]), Candidate(index, tuple(values[n].tolist()))) for n in order]
            pool += [(p, place, c) for place, (p, c) in enumerate((p, c) for p, c in fresh if c not in known.seen)]
        # nothing measured yet: the model may be wrong about a whole space, so each gets its turn
        pool.sort(key=lambda item: (item[0] if known.best else item[1], item[2].space, item[2].values))
        ranked = [candidate for *_, candidate in pool]
        chosen = self._diverse(ranked, count - int(self.explore * count))
        taken = {*known.seen, *chosen}
        chosen += RandomSearch().propose(replace(known, seen=taken), count - len(chosen))
        rest = (c for c in ranked if c not in set(chosen))
        return chosen + [c for c, _ in zip(rest, range(count - len(chosen)), strict=False)]

    def survivors(
        self,
        space: KnobSpace,
        score: Callable[[np.ndarray], np.ndarray],
        rng: np.random.Generator,
        parents: np.ndarray | None = None,
    ) -> np.ndarray:
        """The fittest knob vectors of one space, best first; parents: known ones to start from too."""
        if space.rows is not None and len(space.rows) <= self.exhaustive:
            return self._fittest(space.rows, score)
        values = sample(space, self.population, rng)
        if parents is not None and len(parents):
            values = np.concatenate([values, parents])
        for _ in range(self.generations):
            young = np.concatenate([mutate(space, values, rng), crossover(values, rng)])
            values = np.unique(np.concatenate([values, young[space.valid(young)]]), axis=0)
            values = values[np.argsort(score(values), kind="stable")[: self.population]]
        return values

    def _fittest(self, rows: np.ndarray, score: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        """The fittest of these knob vectors, scored a part at a time, best first."""
        parts = [score(rows[start : start + _PART]) for start in range(0, len(rows), _PART)]
        scores = np.concatenate(parts) if parts else np.zeros(0)
        return rows[np.argsort(scores, kind="stable")[: self.population]]

    def _diverse(self, ranked: Sequence[Candidate], count: int) -> list[Candidate]:
        """The first `count`, but at most `alike` neighbours of one proposal."""
        chosen: list[Candidate] = []
        neighbours: dict[tuple[int, int, tuple[int, ...]], int] = {}
        for candidate in ranked:
            if len(chosen) == count:
                break
            signs = [
                (candidate.space, at, candidate.values[:at] + candidate.values[at + 1 :])
                for at in range(len(candidate.values))
            ]
            if all(neighbours.get(sign, 0) < self.alike for sign in signs):
                chosen.append(candidate)
                for sign in signs:
                    neighbours[sign] = neighbours.get(sign, 0) + 1
        return chosen


def size(space: KnobSpace) -> int:
    """Knob vectors of the space; of one that is not listed, the invalid ones included."""
    if space.rows is not None:
        return len(space.rows)
    return int(np.prod([len(c) for c in space.choices], dtype=object))


def points(space: KnobSpace, numbers: np.ndarray) -> np.ndarray:
    """The knob vectors of those numbers, which count from 0 to size(space) - 1."""
    if space.rows is not None:
        return space.rows[numbers]
    digits = np.unravel_index(numbers, [len(c) for c in space.choices])
    return np.stack([c[d] for c, d in zip(space.choices, digits, strict=True)], axis=1)


def sample(space: KnobSpace, count: int, rng: np.random.Generator) -> np.ndarray:
    """Up to `count` valid knob vectors drawn uniformly; fewer if few are valid."""
    if space.rows is not None:
        return space.rows[rng.choice(len(space.rows), size=min(count, len(space.rows)), replace=False)]
    found = np.zeros((0, len(space.choices)), np.int64)
    for _ in range(20):
        if len(found) >= count:
            break
        drawn = np.stack([rng.choice(c, size=2 * count) for c in space.choices], axis=1)
        found = np.concatenate([found, drawn[space.valid(drawn)]])
    return found[:count]


def mutate(space: KnobSpace, values: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Each vector with one knob changed: half of the time to a neighbouring choice, else to any."""
    young = values.copy()
    knobs = rng.integers(len(space.choices), size=len(values))
    for knob, choices in enumerate(space.choices):
        rows = np.flatnonzero(knobs == knob)
        at = np.searchsorted(choices, values[rows, knob])
        step = np.clip(at + rng.choice([-1, 1], size=len(rows)), 0, len(choices) - 1)
        anywhere = rng.integers(len(choices), size=len(rows))
        young[rows, knob] = choices[np.where(rng.random(len(rows)) < 0.5, step, anywhere)]
    return young


def crossover(values: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Each vector with some knobs taken from another one."""
    partners = values[rng.permutation(len(values))]
    return np.where(rng.random(values.shape) < 0.5, values, partners)
