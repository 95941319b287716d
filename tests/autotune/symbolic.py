"""Symbolic is concrete: a sketch opened once says of every knob vector what its own replay says, and makes its program.

    python -m tests.autotune.symbolic --vectors 1000 --jobs 2

compares the sketches of all published workloads, on so many knob vectors that their conditions allow, and on a quarter
as many drawn from all there are. A line for each sketch goes to RECORD; those that it has for this commit are not tried
again. Exit status 1 if anything differs.
"""

from __future__ import annotations

import argparse
import gc
import json
import multiprocessing
import os
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import suppress
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

import numpy as np

import tensorlang as tl
from autotune.features import NAMES, Features
from autotune.search import sample
from autotune.sketches import sketches_for
from autotune.space import Space
from autotune.task import Schedule, ScheduleError, numpy_function
from autotune.workload import parse
from benchmarks import machine
from benchmarks.harness import RESULTS
from tensorlang.ir.walk import same
from tensorlang.topi.published import PUBLISHED

RECORD = RESULTS / "symbolic.jsonl"
_CLOSE = 1e-4  # relative, of features: they are float32


@dataclass(frozen=True)
class Comparison:
    """Of one knob vector. accepted: whether its replay succeeds; compared: whether the sketch proposes it, so that
    features and program count too; difference: what open knobs say otherwise, "" if all is equal."""

    accepted: bool
    compared: bool
    difference: str


def draw(space: Space, count: int, rng: np.random.Generator) -> np.ndarray:
    """Up to `count` knob vectors that the conditions allow and a quarter as many drawn from all, each once."""
    anything = np.array([rng.choice(c, size=-(-count // 4)) for c in space.choices])
    return np.unique(np.concatenate([sample(space, count, rng), anything.T]), axis=0)


def compare(space: Space, values: np.ndarray) -> Iterator[Comparison]:
    """Open knobs beside known ones, for each of the knob vectors."""
    legal = np.ones(len(values), bool)
    for holds in numpy_function(space.schedule.constraints, space.knobs)(*values.T):
        legal &= holds
    features, estimates = space.features(values)
    rows = zip(values, legal, space.valid(values), features, estimates, strict=True)
    for row, fits, proposed, known, seconds in rows:
        knobs = space.named(row)
        try:
            schedule = space.task.replay(space.trace(knobs))
        except ScheduleError as error:
            yield Comparison(False, False, f"{knobs}: the replay says {error.oneline}" if fits else "")
            continue
        compared = bool(proposed and fits)
        if compared:
            found = _difference(space, knobs, schedule, known, seconds)
        else:
            found = "" if fits else "the constraints refuse what a replay does"
        yield Comparison(True, compared, f"{knobs}: {found}" if found else "")


def _difference(space: Space, knobs: dict[str, int], schedule: Schedule, known: np.ndarray, seconds: float) -> str:
    """What differs between the schedule with open knobs and the one that knew them."""
    if space.sketch.exact:
        with suppress(ScheduleError):  # of a schedule that says that a replay knows better, which is what is built then
            if not _same_program(space.schedule.instantiate(knobs), schedule, space.task.target):
                return "the program is not that of the replay"
    table, again = Features(space.task, schedule.func, ())(np.zeros((1, 0), np.int64))
    pairs = zip((*NAMES, "seconds"), (*known, seconds), (*table[0], again[0]), strict=True)
    return ", ".join(f"{name} {a} is {b}" for name, a, b in pairs if not np.isclose(a, b, rtol=_CLOSE))


def _same_program(a: Schedule, b: Schedule, target: tl.Target) -> bool:
    """Whether two schedules make the same kernel."""
    return same(a.func, b.func) or str(tl.lower(a, target)) == str(tl.lower(b, target))


# ------------------------------------------------------------------------------------------------- the long run
def run(workload: str, number: int, vectors: int) -> dict[str, Any]:
    """Compare a sketch of a workload; returns what goes on record."""
    task, begin = parse(workload), time.process_time()
    sketch = sketches_for(task)[number]
    line = {"workload": workload, "sketch": sketch.name, "vectors": vectors}
    try:
        space = Space(task, sketch)
    except ScheduleError as error:
        return {**line, "unfit": error.oneline}
    found = list(compare(space, draw(space, vectors, np.random.default_rng(0))))
    differences = [each.difference for each in found if each.difference]
    return {
        **line,
        "tried": len(found),
        "accepted": sum(each.accepted for each in found),
        "compared": sum(each.compared for each in found),
        "differences": len(differences),
        "first": differences[0] if differences else "",
        "cpu_seconds": round(time.process_time() - begin, 1),
    }


def _on_record(commit: str) -> set[tuple[str, str, int]]:
    """The sketches that were compared at this commit, with as many knob vectors."""
    lines = RECORD.read_text().splitlines() if RECORD.exists() else []
    known = [line for line in map(json.loads, lines) if line["commit"] == commit and not commit.endswith("+")]
    return {(line["workload"], line["sketch"], line["vectors"]) for line in known}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.autotune.symbolic", description=__doc__)
    parser.add_argument("--vectors", type=int, default=1000, help="knob vectors of each sketch that it proposes (1000)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes")
    parser.add_argument("--match", default="", help="only workloads whose names contain this")
    parser.add_argument("--dry", action="store_true", help="put nothing on record")
    options = parser.parse_args()
    commit = machine.commit()
    done = _on_record(commit)
    by_turns = (w for turn in zip_longest(*PUBLISHED.values()) for w in turn if w)  # one of each family, then others
    workloads = [w for w in by_turns if options.match in w]
    wanted = [
        (workload, number)
        for workload in workloads
        for number, sketch in enumerate(sketches_for(parse(workload)))
        if (workload, sketch.name, options.vectors) not in done
    ]
    print(f"{len(wanted)} sketches to compare, {len(done)} on record", flush=True)
    differences = 0
    with ProcessPoolExecutor(options.jobs, multiprocessing.get_context("fork"), gc.freeze) as pool:
        try:
            for future in as_completed([pool.submit(run, *each, options.vectors) for each in wanted]):
                line = {"commit": commit, **future.result()}
                differences += line.get("differences", 0)
                print(json.dumps(line), flush=True)
                if not options.dry:
                    with RECORD.open("a", encoding="utf-8") as file:
                        file.write(json.dumps(line) + "\n")
        finally:
            pool.shutdown(cancel_futures=True)  # an error does not wait for all that is left
    print(f"{differences} differences")
    return 1 if differences else 0


if __name__ == "__main__":
    sys.exit(main())
