"""The cost model: an analytical estimate, corrected by what was measured.

XGBoost learns log(measured / estimate) from the features, across sketches and tasks alike: features do not depend on
the loop order of a sketch, so that one model serves all. Before anything was measured the estimate stands alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from autotune.task import num_threads

_PARAMETERS = {
    "objective": "reg:squarederror",
    "max_depth": 3,
    "eta": 0.1,
    "subsample": 0.8,
    "colsample_bytree": 0.6,
    "tree_method": "hist",
    "nthread": 1,  # what is learnt from is small: more threads would wait for each other
}
_TREES = 50  # few and flat: with little to learn from, the estimate should stand
_MANY = 1 << 14  # candidates whose prediction is worth several threads
_OTHERS = 0.25  # what a candidate of another task counts
_ENOUGH = 8  # measured candidates before the correction is worth anything


@dataclass(frozen=True)
class Quality:
    """How well a model foresaw a batch: Spearman's rank correlation, and the share of the true top 10 % in its own."""

    samples: int
    rank_correlation: float
    top_recall: float


class CostModel:
    """Predicts log(seconds) of candidates from their features and analytical estimates.

    features: float32[n, number of features]; estimate: seconds[n].
    """

    def __init__(self, seed: int = 0):
        self._seed = seed
        self._trees: Any = None

    def predict(self, features: np.ndarray, estimate: np.ndarray) -> np.ndarray:
        """log(seconds) as foreseen, lower is better."""
        base = np.log(estimate)
        if self._trees is None:
            return base
        self._trees.set_param({"nthread": 1 if len(features) < _MANY else num_threads()})
        return base + self._trees.inplace_predict(features)

    def fit(
        self,
        features: np.ndarray,
        estimate: np.ndarray,
        seconds: np.ndarray,
        others: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray]] = (),
    ) -> None:
        """Learn the correction anew from all that was measured. Too little of it leaves the estimate as it is.

        others: the same of other tasks, which counts less.
        """
        parts = [(features, estimate, seconds), *others]
        if sum(len(part[2]) for part in parts) < _ENOUGH:
            return
        import xgboost  # here, because its import takes half a second that workers and look-ups need not spend

        table, estimates, times = (np.concatenate([part[n] for part in parts]) for n in range(3))
        weights = np.full(len(times), _OTHERS, np.float32)
        weights[: len(seconds)] = 1
        data = xgboost.DMatrix(table, label=np.log(times) - np.log(estimates), weight=weights)
        self._trees = xgboost.train({**_PARAMETERS, "seed": self._seed}, data, _TREES)


def quality(predicted: np.ndarray, seconds: np.ndarray) -> Quality | None:
    """How well `predicted` (any monotone measure of time) orders the measured `seconds`; None below two samples."""
    if len(seconds) < 2:
        return None
    top = max(1, round(len(seconds) / 10))
    hits = np.intersect1d(np.argsort(predicted, kind="stable")[:top], np.argsort(seconds, kind="stable")[:top])
    return Quality(len(seconds), rank_correlation(predicted, seconds), len(hits) / top)


def rank_correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Spearman's rank correlation, ties sharing their mean rank; 0 if either is constant."""
    x, y = _ranks(a), _ranks(b)
    x, y = x - x.mean(), y - y.mean()
    norm = float(np.sqrt((x @ x) * (y @ y)))
    return float(x @ y) / norm if norm else 0.0


def _ranks(values: np.ndarray) -> np.ndarray:
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return (last - (counts - 1) / 2)[inverse]
