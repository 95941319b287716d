"""Candidates scored a second: constraints, features and the cost model's trees together, over whole sketch spaces.
And how long it takes to suggest a schedule without any trial.

    python -m benchmarks.search_speed [--points 1000000] [--suggestions 9]

For each workload it draws the model's training set from the space of the first sketch, then lists all valid candidates
and scores them in parts, as the search does. It prints how many a second in the best of several rounds, by the clock
and by the time that the CPUs spent, which other processes disturb less; and the share of the space that was seen.
Suggestions are timed in turns, CPU time, from the expression to the schedule, each beside an empty loop, which tells
how fast the machine was.
"""

from __future__ import annotations

import argparse
import math
import time
from statistics import median
from typing import Any

import numpy as np

from benchmarks.harness import RESULTS
from benchmarks.machine import cores, empty_loop, facts
from benchmarks.tuner import ROWS

WORKLOADS = (
    "batch_matmul:1,512,512,512",
    "batch_matmul:1,1024,1024,1024",
    "conv2d:1,14,14,256,256,3,1,1,layout=NHWC",
    "depthwise_conv2d:1,112,112,32,3,1,1,layout=NHWC",
)
_TRAINING = 256
_PART = 1 << 16
_ROUNDS = 3


def measure(workload: str, most: int) -> dict[str, Any]:
    """Figures of the first sketch of a workload, of at most so many points."""
    from autotune.cost_model import CostModel
    from autotune.search import sample
    from autotune.sketches import sketches_for
    from autotune.space import Space
    from autotune.workload import parse

    task = parse(workload)
    start = time.perf_counter()
    space = Space(task, sketches_for(task)[0])
    opening = time.perf_counter() - start
    rng, model = np.random.default_rng(0), CostModel()
    features, estimate = space.features(sample(space, _TRAINING, rng))
    model.fit(features, estimate, estimate * rng.uniform(0.7, 1.6, len(estimate)))
    best: tuple[float, float] = (np.inf, np.inf)
    for _ in range(_ROUNDS):
        wall, cpu = time.perf_counter(), time.process_time()
        vars(space).pop("rows", None)  # listing them is part of the work
        rows = space.rows
        assert rows is not None
        seen = min(len(rows), most)
        for first in range(0, seen, _PART):
            model.predict(*space.features(rows[first : min(first + _PART, seen)]))
        best = (min(best[0], time.perf_counter() - wall), min(best[1], time.process_time() - cpu))
    return {
        "workload": workload,
        "sketch": space.sketch.name,
        "open_seconds": opening,
        "points": math.prod(len(c) for c in space.choices),
        "candidates": seen,
        "share_of_space": seen / len(rows),
        "candidates_per_second": seen / best[0],
        "candidates_per_cpu_second": seen / best[1],
    }


def suggestions(repeats: int) -> list[dict[str, Any]]:
    """Milliseconds to suggest a schedule for each row of benchmarks/tuner.py, and of an empty loop right before."""
    import autotune
    from autotune.workload import parse

    rows: list[dict[str, Any]] = [{"row": name, "ms": [], "empty_loop_ms": []} for name in ROWS]
    for turn in range(repeats + 1):
        for row in rows:
            task = parse(ROWS[row["row"]])
            loop, begin = empty_loop(), time.process_time()
            autotune.suggest(task)
            if turn:  # the first is slower: imports, tables
                row["ms"].append(round(1e3 * (time.process_time() - begin), 1))
                row["empty_loop_ms"].append(round(1e3 * loop, 2))
    return rows


def main() -> None:
    import json

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, default=1_000_000, help="candidates to score at most (default 10^6)")
    parser.add_argument("--workloads", nargs="*", default=list(WORKLOADS))
    parser.add_argument("--suggestions", type=int, default=9, help="of each row (default 9)")
    options = parser.parse_args()
    rows = []
    print(f"  {'workload':52} {'points':>9} {'valid':>8} {'seen':>6} {'valid/s':>9} {'valid/CPU-s':>12}")
    for workload in options.workloads:
        row = measure(workload, options.points)
        rows.append(row)
        print(
            f"  {workload:52} {row['points']:9} {row['candidates']:8} {row['share_of_space']:6.0%} "
            f"{row['candidates_per_second']:9.0f} {row['candidates_per_cpu_second']:12.0f}",
            flush=True,
        )
    suggested = suggestions(options.suggestions)
    print(f"\n  {'suggested without any trial, CPU ms':52} {'median':>7} {'least':>7} {'an empty loop':>14}")
    for row in suggested:
        times, loops = row["ms"], row["empty_loop_ms"]
        print(f"  {row['row']:52} {median(times):7.1f} {min(times):7.1f} {median(loops):7.2f} {min(loops):6.2f}")
    entry = {"benchmark": "search_speed", "cores": cores(), "rows": rows, "suggestions": suggested, "machine": facts()}
    with (RESULTS / "search_speed.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(entry) + "\n")


if __name__ == "__main__":
    main()
