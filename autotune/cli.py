"""The command `autotune`: tune, best, show, operators.

Exit codes: 0 done; 1 nothing found (no candidate worked, or the log knows nothing of the task); 2 wrong arguments or
a user's file that fails; 130 interrupted, with the log complete up to there.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import traceback
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from autotune import progress
from autotune.database import Database, best, rank
from autotune.measure.outcome import Limits, WorkerError
from autotune.record import Record
from autotune.task import ScheduleError, UserCodeError, WorkloadError, check_target, families, parse
from autotune.tuner import Result, tune

DONE, NOTHING, USAGE, INTERRUPTED = 0, 1, 2, 130

_WORKLOAD = """\
WORKLOAD names what to tune:
  matmul:1024,1024,1024     an operator of tensorlang.topi and its integer arguments in their order
  softmax:64,512,dim=0      the same with options by name; `autotune operators` lists operators and options
  mine.py:blur              a function in a file of yours that returns a tensor (or a list of outputs, or a Func)
  mine.py:blur:512,512      the same with arguments
"""
_EXAMPLES = """\
examples:
  autotune tune matmul:1024,1024,1024 --trials 64 --log tuned.jsonl
  autotune best matmul:1024,1024,1024 --log tuned.jsonl --trace
  autotune show tuned.jsonl
  autotune operators conv
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line (by default that of the process) and return its exit code."""
    parser = _parser()
    try:
        options = parser.parse_args(arguments)
    except SystemExit as end:  # argparse has said what is wrong, or printed the help
        return DONE if end.code in (0, None) else USAGE
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _show_warning  # type: ignore[assignment]
            return options.command(options)
    except (WorkloadError, WorkerError, ScheduleError, OSError) as error:
        print(f"autotune {options.name}: {error}", file=sys.stderr)
        return USAGE
    except UserCodeError as error:
        _show_user_traceback(error)
        return USAGE
    except KeyboardInterrupt:
        return INTERRUPTED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="autotune",
        description="Find fast schedules for tensor programs by measuring them on this machine.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="name", required=True, metavar="COMMAND")

    one = _command(commands, "tune", _tune, "search and measure schedules; resumes if the log knows the task")
    _workload(one)
    one.add_argument("--trials", type=_at_least(1), default=200, help="candidates to measure in all (default: 200)")
    one.add_argument("--log", type=Path, default=Path("tuned.jsonl"), help="file to append to (default: tuned.jsonl)")
    one.add_argument("--seed", type=_at_least(0), default=0, help="fixes all random choices (default: 0)")
    one.add_argument(
        "--build-timeout", type=_seconds, default=Limits.build_seconds, metavar="SECONDS", help="for one candidate"
    )
    one.add_argument(
        "--run-timeout", type=_seconds, default=Limits.run_seconds, metavar="SECONDS", help="for one candidate"
    )
    one.add_argument("--quiet", action="store_true", help="print the result only")

    one = _command(commands, "best", _best, "print the best schedule that a log knows for a task")
    _workload(one)
    one.add_argument("--log", type=Path, default=Path("tuned.jsonl"), help="file to read (default: tuned.jsonl)")
    one.add_argument("--trace", action="store_true", help="also print the steps as Python")

    one = _command(commands, "show", _show, "list the tasks of a log with their best results and failures")
    one.add_argument("log", type=Path, help="file to read")

    one = _command(commands, "operators", _operators, "list the operators that a workload may name, and their options")
    one.add_argument("part", nargs="?", default="", metavar="PART", help="only those with PART in their name")
    return parser


def _command(commands: Any, name: str, function: Any, summary: str) -> argparse.ArgumentParser:
    parser = commands.add_parser(
        name,
        help=summary,
        description=summary[0].upper() + summary[1:] + ".",
        epilog=_WORKLOAD if name in ("tune", "best") else None,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.set_defaults(command=function)
    return parser


def _workload(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("workload", metavar="WORKLOAD", help="what to tune, see below")
    parser.add_argument("--target", type=_target, default="llvm", help="what to tune for: llvm, this CPU (default)")


# --------------------------------------------------------------------------------------------------- commands
def _tune(options: argparse.Namespace) -> int:
    task = parse(options.workload, options.target)
    limits = Limits(build_seconds=options.build_timeout, run_seconds=options.run_timeout)
    show = progress.choose(options.quiet)
    result = tune(task, trials=options.trials, log=options.log, seed=options.seed, limits=limits, show=show)
    _print_result(result, options.json)
    if result.interrupted:
        if not options.json:
            print(f"interrupted; the same command goes on from {options.log}", file=sys.stderr)
        return INTERRUPTED
    return DONE if result.best is not None else NOTHING


def _best(options: argparse.Namespace) -> int:
    task = parse(options.workload, options.target)
    record = best(_existing(options.log).records(task.key))
    if record is None:
        print(f"autotune best: {options.log} has no result for {task.name} on this target", file=sys.stderr)
        return NOTHING
    if options.json:
        print(json.dumps(_as_json(record)))
        return DONE
    print(_summary(record))
    if options.trace:
        print(task.replay(record.trace, record.names).trace.as_python(), end="")
    return DONE


def _show(options: argparse.Namespace) -> int:
    tasks: dict[str, list[Record]] = {}
    for record in _existing(options.log).records():
        tasks.setdefault(record.key, []).append(record)
    if options.json:
        print(json.dumps([_task_json(key, records) for key, records in tasks.items()]))
        return DONE if tasks else NOTHING
    rows = []
    for records in tasks.values():
        top, first = best(records), [r for r in records if r.run == 0]
        failed = sum(not r.ok for r in first)
        time, speed = ("-", "-") if top is None else (progress.seconds(top.seconds or 0.0), f"{top.gflops:.1f}")
        rows.append((records[0].task, str(len(first)), str(failed), time, speed))
    print(progress.table(rows, ("task", "trials", "failed", "best", "GFLOP/s")))
    return DONE if tasks else NOTHING


def _operators(options: argparse.Namespace) -> int:
    chosen = {
        family: {takes: summary for takes, summary in members.items() if options.part in takes.partition("(")[0]}
        for family, members in families().items()
    }
    chosen = {family: members for family, members in chosen.items() if members}
    if options.json:
        print(json.dumps(chosen))
    else:
        for family, members in chosen.items():
            print(f"{family}:")
            for takes, summary in members.items():
                print(f"  {takes}\n      {summary}")
    return DONE if chosen else NOTHING


# ------------------------------------------------------------------------------------------------ what is printed
def _print_result(result: Result, as_json: bool) -> None:
    if as_json:
        value = _task_json(result.task.key, result.history)
        print(json.dumps({**value, "task": result.task.name, "interrupted": result.interrupted}))
    elif result.best is None:
        print(f"{result.task.name}: no candidate worked" if result.history else f"{result.task.name}: nothing measured")
    else:
        print(_summary(result.best))


def _summary(record: Record) -> str:
    knobs = ", ".join(f"{name}={value}" for name, value in record.knobs.items())
    return (
        f"{record.task}: {progress.seconds(record.seconds or 0.0)}, {record.gflops:.1f} GFLOP/s, "
        f"median of {record.run + 1} passes\n  sketch {record.sketch}: {knobs}"
    )


def _task_json(key: str, records: list[Record]) -> dict[str, Any]:
    top = best(records)
    failures: dict[str, int] = {}
    for record in records:
        if not record.ok:
            failures[record.status] = failures.get(record.status, 0) + 1
    return {
        "key": key,
        "task": records[0].task if records else "",
        "trials": sum(r.run == 0 for r in records),
        "candidates_that_work": len(rank(records)),
        "failures": failures,
        "best": None if top is None else _as_json(top),
    }


def _as_json(record: Record) -> dict[str, Any]:
    return {**dataclasses.asdict(record), "gflops": record.gflops}


def _existing(log: Path) -> Database:
    if not log.exists():
        raise WorkloadError(f"--log: there is no file {str(log)!r}")
    return Database(log)


def _show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    print(f"autotune: {message}", file=sys.stderr)


def _show_user_traceback(error: UserCodeError) -> None:
    """The error of the user's own file, from the first line of that file on."""
    cause = error.__cause__
    assert cause is not None
    frames = cause.__traceback__
    while frames is not None and frames.tb_next is not None and frames.tb_frame.f_code.co_filename != str(error):
        frames = frames.tb_next
    traceback.print_exception(type(cause), cause, frames)


# ------------------------------------------------------------------------------------------------ argument types
def _at_least(least: int) -> Any:
    def integer(text: str) -> int:
        if not text.isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(f"expected an integer of at least {least}, got {text!r}")
        return int(text)

    return integer


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < 1e6:
        raise argparse.ArgumentTypeError(f"expected a number of seconds above 0, got {text!r}")
    return value


def _target(text: str) -> str:
    try:
        check_target(text)
    except WorkloadError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return text
