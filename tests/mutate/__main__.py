"""`python -m tests.mutate --seed S --count N`: put N small faults into the code, one by one, and see which are found.

Each is given ten minutes: the tests that run the mutated function, then the fuzzer. Results are appended to
benchmarks/results/mutation.jsonl, and mutants that are there already are not tried again. The first run takes longer:
it learns which tests run which functions, and keeps that in build/mutate; later only of new tests (--fresh: learn it
anew; --quick: do without, and begin with the tests of the same name and place).
"""

from __future__ import annotations

import argparse
import datetime
import json
import sys
from collections import Counter
from typing import Any

from benchmarks.machine import commit
from tests.mutate import runner
from tests.mutate.equivalent import EQUIVALENT
from tests.mutate.mutants import ROOT, Mutant, draw

RESULTS = ROOT / "benchmarks" / "results" / "mutation.jsonl"
BASELINE = ROOT / "build" / "mutate" / "baseline.json"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.mutate", description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--jobs", type=int, default=1, help="mutants at the same time")
    parser.add_argument("--tests", nargs="+", default=["tests"], help="which tests to run (default: all)")
    parser.add_argument("--fuzz", type=float, default=180, help="seconds of fuzzing that a mutant must survive")
    parser.add_argument("--limit", type=float, default=runner.LIMIT, help="seconds for a mutant in all")
    parser.add_argument("--fresh", action="store_true", help="learn anew which tests run what")
    parser.add_argument("--quick", action="store_true", help="do not learn which tests run what")
    parser.add_argument("--list", action="store_true", help="print the mutants and try none")
    parser.add_argument("--report", action="store_true", help="print the score of what was tried, and try none")
    parser.add_argument("--again", action="store_true", help="try those once more that live and are not equivalent")
    options = parser.parse_args()
    mutants = draw(options.seed, options.count)
    if options.list:
        print(*mutants, sep="\n")
        return 0
    done = recorded(options.seed)
    if options.report:
        return report(mutants, done)
    again = {key(m) for m in mutants if m.identity not in EQUIVALENT} if options.again else set()
    left = [m for m in mutants if key(m) not in done or (key(m) in again and status(done[key(m)]) != runner.KILLED)]

    def tell(mutant: Mutant, outcome: runner.Outcome) -> None:
        done[key(mutant)] = record(options.seed, mutant, outcome)
        print(f"{outcome.seconds:6.1f} s  {outcome.by or outcome.status.upper():60}  {mutant}", flush=True)

    baseline = None if options.quick else BASELINE
    plan = runner.Plan(options.tests, options.fuzz, options.jobs, baseline, options.fresh, options.limit)
    runner.run(left, plan, tell)
    return report(mutants, done)


def key(mutant: Mutant) -> str:
    return json.dumps(mutant.identity)


def recorded(seed: int) -> dict[str, dict[str, Any]]:
    """What was found before, by mutant; the last record of each counts."""
    if not RESULTS.exists():
        return {}
    entries = [json.loads(line) for line in RESULTS.read_text(encoding="utf-8").splitlines()]
    return {json.dumps(e["mutant"]): e for e in entries if e["seed"] == seed}


def record(seed: int, mutant: Mutant, outcome: runner.Outcome) -> dict[str, Any]:
    entry = {
        "benchmark": "mutation",
        "when": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "seed": seed,
        "mutant": mutant.identity,
        "line": mutant.fault.line,
        "status": outcome.status,
        "by": outcome.by,
        "seconds": outcome.seconds,
        "commit": commit(),
    }
    with RESULTS.open("a", encoding="utf-8") as file:
        file.write(json.dumps(entry) + "\n")
    return entry


def status(entry: dict[str, Any]) -> str:
    """How a record says that its mutant ended; some say only whether it was killed, and how long it took."""
    if "status" in entry:
        return entry["status"]
    late = entry["seconds"] >= runner.LIMIT
    return runner.KILLED if entry["killed"] else runner.UNDECIDED if late else runner.SURVIVED


def report(mutants: list[Mutant], done: dict[str, dict[str, Any]]) -> int:
    """Print those that were not killed and the score: killed of those that were decided and are not equivalent."""
    ends = {m: "equivalent" if m.identity in EQUIVALENT else status(done[key(m)]) for m in mutants if key(m) in done}
    for mutant, end in ends.items():
        if end != runner.KILLED:
            print(f"{end}: {mutant}" + (f" ({EQUIVALENT[mutant.identity]})" if end == "equivalent" else ""))
    counts = Counter(ends.values())
    killed, counted = counts[runner.KILLED], counts[runner.KILLED] + counts[runner.SURVIVED]
    told = ", ".join(f"{counts[end]} {end}" for end in (runner.KILLED, runner.SURVIVED, runner.UNDECIDED, "equivalent"))
    print(f"{len(ends)} of {len(mutants)} mutants tried: {told}; score {killed / counted if counted else 0:.1%}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
