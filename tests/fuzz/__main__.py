"""`python -m tests.fuzz --minutes N --seed S --cases N`: draw cases, check them, print what fails as small scripts.

Exit status 1 if anything failed. --seed and --cases say which: seeds S, S + 1, ...; --script N prints the case of
seed N and runs nothing; --record adds a line about the run to RESULTS, and --sum adds such lines up.
"""

from __future__ import annotations

import argparse
import itertools
import os
import sys
import time

from benchmarks import machine
from benchmarks.harness import RESULTS
from tests.fuzz.case import draw_case
from tests.fuzz.report import Report, append, summed
from tests.fuzz.runner import Result, kind_of, run_seeds
from tests.fuzz.shrink import shrink

RECORD = RESULTS / "fuzz.jsonl"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--minutes", type=float, help="no case begins later (default: no limit, or 1 without --cases)")
    parser.add_argument("--seed", type=int, default=0, help="the seed of the first case")
    parser.add_argument("--cases", type=int, help="how many cases")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes")
    parser.add_argument("--reasons", action="store_true", help="count refusals by reason too")
    parser.add_argument("--script", type=int, metavar="SEED", help="print the case of that seed")
    parser.add_argument("--record", action="store_true", help=f"add a line about the run to {RECORD.name}")
    parser.add_argument("--sum", action="store_true", help=f"run nothing: add up the lines of {RECORD.name}")
    options = parser.parse_args()
    if options.script is not None:
        print(draw_case(options.script, sampled=0).case.script())
        return 0
    if options.sum:
        return show_sum(options.reasons)
    os.environ.setdefault("TENSORLANG_CACHE", "off")  # nobody compiles these kernels again
    minutes = options.minutes or (1 if options.cases is None else float("inf"))
    seeds = itertools.count(options.seed)
    if options.cases is not None:
        seeds = itertools.islice(seeds, options.cases)
    report, begin = Report(), time.monotonic()
    for result in run_seeds(seeds, options.jobs, begin + 60 * minutes):
        new = bool(result.kind) and result.kind not in report.failures
        report.add(result)
        if new:
            print(describe(result), flush=True)
    seconds = time.monotonic() - begin
    print(report.table(options.reasons))
    print(f"{seconds:.0f} s, {1e3 * seconds / max(report.cases, 1):.0f} ms a case")
    if options.record:
        append(RECORD, machine.commit(), options.seed, seconds, report)
    return show_failures(report)


def show_failures(report: Report) -> int:
    """Print how many cases failed, by kind; returns the exit status."""
    failed = sum(report.kinds.values())
    print(f"{report.cases} cases, {failed} failed")
    for kind, count in report.kinds.most_common():
        print(f"{count:6} {kind}, first seed {report.failures[kind].seed}")
    return 1 if failed else 0


def show_sum(reasons: bool) -> int:
    """Print the sum of all recorded runs; returns the exit status."""
    report, runs = summed(RECORD.read_text().splitlines())
    print(report.table(reasons))
    for run in runs:
        failed = sum(n for _, n, _ in run["failures"])
        print(f"{run['commit']:10} seeds {run['seed']} .. {run['seed'] + run['cases'] - 1}, {failed} failed")
    return show_failures(report)


def describe(result: Result) -> str:
    """A failure with its script, made small."""
    title = f"seed {result.seed}: {result.kind}"
    if result.case is None:
        return f"{title}\n{result.details}"
    small = result.case
    if kind_of(small) == result.kind:
        small = shrink(small, lambda case: kind_of(case) == result.kind)
    return "\n".join(["-" * 80, title, result.details, "-" * 80, small.script(), "-" * 80])


if __name__ == "__main__":
    sys.exit(main())
