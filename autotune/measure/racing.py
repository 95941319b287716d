"""How often to time a candidate: the hopeless once, losers twice, the others until their runs agree."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable
from typing import Any

HOPELESS = 2.0  # times the best so far: not worth a run of several calls
LOSING = 1.25  # times the best so far: not worth precise timing
STEADY = 0.05  # the spread of runs that need no more of them
MORE_RUNS = 15  # at most, where they differ by more
RUNS = 5  # at first
_TRIES = 2  # of a loser: one may be disturbed


def race(time: Callable[[int], list[float]], best: float | None, least: int = RUNS) -> dict[str, Any]:
    """Losers get two runs, the others at least so many; runs that differ much are followed by more of them, until the
    candidate turns out to lose. time(n): the seconds of n runs; best: those to beat."""
    runs = time(_TRIES)
    limit = math.inf if best is None else LOSING * best
    while statistics.median_low(runs) < limit and (
        len(runs) < least or (len(runs) < MORE_RUNS and spread(runs) > STEADY)
    ):
        runs += time(RUNS - len(runs) % RUNS)
    return summary(runs)


def summary(runs: list[float]) -> dict[str, Any]:
    """What an Outcome tells of them."""
    return {"seconds": statistics.median_low(runs), "spread": spread(runs), "runs": len(runs)}


def spread(runs: list[float]) -> float:
    """The distance between the quartiles, relative to the median."""
    if len(runs) < 2:
        return 0.0
    low, median, high = statistics.quantiles(runs, n=4, method="inclusive")
    return (high - low) / median
