"""How many trials a search needs, on recorded times: guided by the cost model, by its estimate alone, at random, grid.

    python -m benchmarks.search_quality                        # replays benchmarks/results/measured.jsonl
    python -m benchmarks.search_quality record --candidates 400    # measures that table anew, on one thread

The table holds random candidates of every sketch of five tasks, with the least seconds of their runs, and the target
that they were measured on; tables of several seeds may be joined. A strategy may
propose only what is in the table, so that all see the same space, and finding the best of it takes no machine. It
prints for each task, in the median over the seeds: trials until the strategy is as fast as the best of 256 at random,
and trials until it is within 5 % of the best of the table.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness import RESULTS
from benchmarks.machine import facts

TABLE = RESULTS / "measured.jsonl"
TASKS = (
    "batch_matmul:1,512,512,512",
    "conv2d:1,56,56,64,64,1,1,0,layout=NHWC",
    "conv2d:1,14,14,256,256,3,1,1,layout=NHWC",
    "depthwise_conv2d:1,14,14,512,3,2,1,layout=NHWC",
    "conv_transpose2d:1,16,16,128,64,4,2,1,layout=NHWC",
)
RANDOM_TRIALS, TRIALS, BATCH = 256, 64, 16
_RUNS, _RUN_SECONDS = 25, 0.0005  # short ones: some of them nobody disturbs
_HOPELESS = 4.0  # times the best so far: not worth so many


# ----------------------------------------------------------------------------------------------------- recording
def target_of(table: Path) -> Any:
    """The target of a table; if it is empty, one core of this machine, which is noted there."""
    from autotune.task import Target

    noted = next((line["target"] for line in _lines(table) if "target" in line), None)
    if noted is not None:
        return Target(**noted)
    target = dataclasses.replace(Target("llvm"), cores=1)
    _append(table, {"target": {k: v for k, v in dataclasses.asdict(target).items() if v and k != "features"}})
    return target


def record(candidates: int, table: Path, seed: int = 0) -> None:
    """Measure so many candidates of each task, in turn; goes on where the table ends."""
    from autotune.measure.candidate import Reference
    from autotune.workload import parse
    from autotune.zero_trial import open_spaces

    target, rows = target_of(table), _rows(table)
    setups = []
    for workload in TASKS:
        task = parse(workload, target)
        spaces = {space.sketch.name: space for space in open_spaces(task)}
        reference = Reference(task, seed, Path(tempfile.mkdtemp()))
        setups.append((workload, task, spaces, reference))
    done = {workload: {_key(row) for row in rows if row["task"] == workload} for workload in TASKS}
    best = {w: min((r["seconds"] for r in rows if r["task"] == w and r["seconds"]), default=1e9) for w in TASKS}
    rng = np.random.default_rng((seed, len(rows)))
    while any(len(done[workload]) < candidates for workload in TASKS):
        for workload, task, spaces, reference in setups:
            if len(done[workload]) < candidates:
                row = {"task": workload, **_draw(spaces, rng)}
                if _key(row) not in done[workload]:
                    done[workload].add(_key(row))
                    row["seconds"] = _seconds(task, spaces[row["sketch"]], reference, row["knobs"], best[workload])
                    best[workload] = min(best[workload], row["seconds"] or 1e9)
                    _append(table, row)


def _draw(spaces: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
    """A valid point of any sketch."""
    from autotune.search import sample

    name = list(spaces)[rng.integers(len(spaces))]
    return {"sketch": name, "knobs": spaces[name].named(sample(spaces[name], 16, rng)[0])}


def _seconds(task: Any, space: Any, reference: Any, knobs: dict[str, int], best: float) -> float | None:
    """The least seconds of a run; None if the candidate does not work."""
    from autotune.measure.outcome import WrongAnswer
    from autotune.task import ScheduleError

    try:
        kernel = task.build(space.instantiate(knobs))
        first = min(reference.measure(kernel, 0, best=1e-9)["seconds"] for _ in range(2))  # one meets cold memory
    except (ScheduleError, WrongAnswer) as error:
        print(f"{task.name} {knobs}: {error}")
        return None
    runs = 5 if first > _HOPELESS * best else _RUNS
    timing = kernel.time(*reference._inputs[0], out=reference._out(), repeat=runs, min_seconds=_RUN_SECONDS)
    return min(first, timing.minimum)


def _rows(table: Path) -> list[dict[str, Any]]:
    """The candidates of a table, each once."""
    rows = (line for line in _lines(table) if "task" in line)
    return list({(row["task"], _key(row)): row for row in rows}.values())


def _lines(table: Path) -> Iterator[dict[str, Any]]:
    if table.exists():
        yield from map(json.loads, table.read_text().splitlines())


def _append(table: Path, line: dict[str, Any]) -> None:
    with table.open("a") as file:
        file.write(json.dumps(line) + "\n")


def _key(row: dict[str, Any]) -> str:
    return json.dumps([row["sketch"], row["knobs"]], sort_keys=True)


# ------------------------------------------------------------------------------------------------------ replaying
class TableSpace:
    """The points of a space that were measured, for a search that takes a list of them for the space."""

    def __init__(self, space: Any, rows: Sequence[dict[str, Any]]):
        self._space = space
        self.rows = np.array([[row["knobs"][name] for name in space.names] for row in rows], np.int64)
        self.times = {tuple(p): row["seconds"] for p, row in zip(self.rows.tolist(), rows, strict=True)}
        self.choices = tuple(np.unique(column) for column in self.rows.T)

    def valid(self, values: np.ndarray) -> np.ndarray:
        return np.ones(len(values), bool)

    def features(self, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return self._space.features(values)


def best_so_far(spaces: Sequence[TableSpace], search: Any, seed: int, trials: int, batch: int) -> list[float]:
    """The best seconds after each trial, of which so many are proposed at a time."""
    from autotune.advisor import Advisor

    advisor, measured, curve = Advisor(spaces, search, seed), [], [np.inf]
    while len(measured) < trials:
        found, _ = advisor.propose(min(batch, trials - len(measured)), measured, {c for c, _ in measured})
        if not found:
            break
        for candidate in found:
            seconds = spaces[candidate.space].times[candidate.values]
            measured.append((candidate, seconds))
            curve.append(min(curve[-1], seconds))
    return curve[1:]


def first_below(curve: Sequence[float], seconds: float) -> int | None:
    """The number of the first trial that is as fast; None if there is none."""
    return next((n for n, t in enumerate(curve, 1) if t <= seconds), None)


def replay(table: Path, seeds: int) -> list[dict[str, Any]]:
    """For each task and strategy the trials that it takes."""
    from autotune.search import EvolutionarySearch, GridSearch, RandomSearch
    from autotune.workload import parse
    from autotune.zero_trial import open_spaces

    strategies = {
        "guided": (EvolutionarySearch(), TRIALS, BATCH),
        "random": (RandomSearch(), 2 * RANDOM_TRIALS, 2 * RANDOM_TRIALS),
        "grid": (GridSearch(), 2 * RANDOM_TRIALS, 2 * RANDOM_TRIALS),
    }
    found, target, every = [], target_of(table), _rows(table)
    print(f"  {'':50} table {'':7} 256random      95 %   (trials, median of {seeds} seeds)")
    for workload in TASKS:
        rows = [row for row in every if row["task"] == workload and row["seconds"]]
        spaces = []
        for space in open_spaces(parse(workload, target)):
            own = [row for row in rows if row["sketch"] == space.sketch.name]
            spaces += [TableSpace(space, own)] if own else []
        known = min(row["seconds"] for row in rows)
        curves = {
            name: [best_so_far(spaces, search, seed, min(trials, len(rows)), batch) for seed in range(seeds)]
            for name, (search, trials, batch) in strategies.items()
        }
        marks = [curve[:RANDOM_TRIALS][-1] for curve in curves["random"]]
        for name, each in curves.items():
            equal = [first_below(curve, mark) for curve, mark in zip(each, marks, strict=True)]
            near = [first_below(curve, known / 0.95) for curve in each]
            found.append({"task": workload, "strategy": name, "table": len(rows), "as_random": equal, "near_best": near,
                          "best_of_table": known, "best_of_random": marks})  # fmt: skip
            print(f"  {workload:50} {len(rows):5} {name:7} {_median(equal):>9} {_median(near):>9}", flush=True)
    return found


def _median(counts: Sequence[int | None]) -> str:
    value = statistics.median([np.inf if c is None else c for c in counts])
    return "never" if value == np.inf else f"{value:g}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", nargs="?", choices=("replay", "record"), default="replay")
    parser.add_argument("--table", type=Path, default=TABLE)
    parser.add_argument("--candidates", type=int, default=400, help="of each task to record (default 400)")
    parser.add_argument("--seeds", type=int, default=5, help="(default 5)")
    parser.add_argument("--seed", type=int, default=0, help="of what is recorded (default 0)")
    options = parser.parse_args()
    if options.action == "record":
        os.environ["TENSORLANG_NUM_THREADS"] = "1"
        record(options.candidates, options.table, options.seed)
        return
    start = time.perf_counter()
    found = replay(options.table, options.seeds)
    entry = {"benchmark": "search_quality", "seconds": time.perf_counter() - start, "rows": found, "machine": facts()}
    with (RESULTS / "search_quality.jsonl").open("a") as file:
        file.write(json.dumps(entry) + "\n")


if __name__ == "__main__":
    main()
