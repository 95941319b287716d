"""Candidates scored a second: constraints, features and the cost model's trees together, over whole sketch spaces.

    python -m benchmarks.search_speed [--points 1000000]

For each workload it draws the model's training set from the space of the first sketch, then lists all valid candidates
and scores them in parts, as the search does. It prints how many a second in the best of several rounds, by the clock
and by the time that the CPUs spent, which other processes disturb less; and the share of the space that was seen.
"""

from __future__ import annotations

import argparse
import math
import time
from typing import Any

import numpy as np

from benchmarks.harness import RESULTS
from benchmarks.machine import cores, facts

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


def main() -> None:
    import json

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, default=1_000_000, help="candidates to score at most (default 10^6)")
    parser.add_argument("--workloads", nargs="+", default=list(WORKLOADS))
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
    entry = {"benchmark": "search_speed", "cores": cores(), "rows": rows, "machine": facts()}
    with (RESULTS / "search_speed.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(entry) + "\n")


if __name__ == "__main__":
    main()
