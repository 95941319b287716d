"""What to measure next: a strategy, led by the cost model, over the spaces of a task's sketches."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Protocol

import numpy as np

from autotune.cost_model import CostModel
from autotune.search import Candidate, KnobSpace, Known, Measured, Search


class ScoredSpace(KnobSpace, Protocol):
    """A space whose points can be foreseen."""

    def features(self, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]: ...


# For each task features, estimates and seconds of what was measured. The key is any that tells tasks apart.
Experience = dict[int, tuple[np.ndarray, np.ndarray, np.ndarray]]


class Advisor:
    """Proposes candidates and says what it expects of them.

    experience: shared by the advisors of several tasks, which learn from each other.

    scored: how many points the latest proposal has scored in each space, each time that it did; of a space that is
    scored in full this is its number of valid points.
    Equal seeds and measurements give equal proposals.
    """

    def __init__(self, spaces: Sequence[ScoredSpace], search: Search, seed: int, experience: Experience | None = None):
        self.spaces, self.scored = spaces, [0] * len(spaces)
        self._experience: Experience = {} if experience is None else experience
        self._search, self._seed, self._model = search, seed, CostModel(seed)

    def propose(
        self, count: int, measured: Measured, seen: Collection[Candidate]
    ) -> tuple[list[Candidate], np.ndarray]:
        """At most `count` candidates that are not in `seen`, and log(seconds) that the model expects of them.

        measured: candidates with seconds; the model learns from them first.
        """
        if measured:
            features, estimate = self._features([c for c, _ in measured])
            self._experience[id(self)] = features, estimate, np.array([t for _, t in measured])
        others = [rows for key, rows in self._experience.items() if key != id(self)]
        own = self._experience.get(id(self))
        if own or others:
            features, estimate, seconds = own or (part[:0] for part in others[0])
            self._model.fit(features, estimate, seconds, others)
        self.scored = [0] * len(self.spaces)
        best = sorted(measured, key=lambda pair: pair[1])
        rng = np.random.default_rng((self._seed, len(seen)))
        found = self._search.propose(Known(self.spaces, self._score, best, seen, rng), count)
        return found, self._model.predict(*self._features(found)) if found else np.zeros(0)

    def _score(self, space: int, values: np.ndarray) -> np.ndarray:
        self.scored[space] += len(values)
        return self._model.predict(*self.spaces[space].features(values))

    def _features(self, candidates: Sequence[Candidate]) -> tuple[np.ndarray, np.ndarray]:
        """Features and estimates of candidates, one a row; those of a space are computed together."""
        places: dict[int, list[int]] = {}
        for place, candidate in enumerate(candidates):
            places.setdefault(candidate.space, []).append(place)
        parts = [
            self.spaces[space].features(np.array([candidates[n].values for n in own], dtype=np.int64))
            for space, own in places.items()
        ]
        order = np.argsort(np.concatenate(list(places.values())))
        features, estimate = (np.concatenate(each)[order] for each in zip(*parts, strict=True))
        return features, estimate
