"""What the commands of the command line do (see cli.py): each takes its options and returns an exit code."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import math
import sys
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from autotune import cli, export, progress
from autotune.cli import DONE, INTERRUPTED, NOTHING, UNSAVED, USAGE
from autotune.database import Database, best, failures, rank, write
from autotune.measure.outcome import Limits, Status, WorkerError
from autotune.record import Record, to_line
from autotune.session import MakeRunner, Plan
from autotune.task import ScheduleError, Task, WorkloadError, trace_json
from autotune.tuner import Result, best_known, local_runner, suggest, tune_all
from autotune.workload import UserCodeError, families, parse


def run(options: argparse.Namespace) -> int:
    """Run the command that the options name."""
    try:
        return COMMANDS[options.name](options)
    except (WorkloadError, WorkerError, ScheduleError, OSError) as error:
        print(f"autotune {options.name}: {progress.clean(str(error))}", file=sys.stderr)
        return USAGE
    except UserCodeError as error:
        _show_user_traceback(error)
        return USAGE
    except KeyboardInterrupt:
        return INTERRUPTED


# --------------------------------------------------------------------------------------------------- tuning
def tune(options: argparse.Namespace) -> int:
    tasks = [parse(workload, options.target) for workload in dict.fromkeys(options.workload)]
    limits = Limits(
        build_seconds=options.build_timeout,
        run_seconds=options.run_timeout,
        memory_bytes=int(options.memory * 1e9),
    )
    plan = Plan(
        trials=options.trials,
        budget=options.budget,
        minutes=options.minutes,
        seed=options.seed,
        cold=options.cold,
        limits=limits,
        make_runner=_ray_runner(options) if options.runner == "ray" else None,
        show=progress.choose(options.quiet),
    )
    results = tune_all(tasks, plan, options.log)
    if options.json:
        values = [_result_json(result) for result in results]
        print(json.dumps(values[0] if len(values) == 1 else values))
    else:
        for result in results:
            print(_result_text(result))
    if results[0].unsaved is not None:
        print(f"autotune: {options.log} is full; the rest of the records is in {results[0].unsaved}", file=sys.stderr)
        return UNSAVED
    if results[0].interrupted:
        print(f"interrupted; the same command goes on from {options.log}", file=sys.stderr)
        return INTERRUPTED
    return DONE if all(result.best is not None for result in results) else NOTHING


def _ray_runner(options: argparse.Namespace) -> MakeRunner:
    from autotune.measure.ray_runner import RayRunner

    def make(task: Task, seed: int, limits: Limits) -> RayRunner:
        setup = {"task": task.to_json(), "seed": seed}
        return RayRunner(setup, limits, options.address, options.resources, options.workers)

    return make


def _result_text(result: Result) -> str:
    if result.best is None:
        return f"{result.task.name}: no candidate worked" if result.history else f"{result.task.name}: nothing measured"
    return summary(result.best)


def _result_json(result: Result) -> dict[str, Any]:
    value = _task_json(result.task.key, result.history)
    return {**value, "task": result.task.name, "interrupted": result.interrupted}


# --------------------------------------------------------------------------------------------------- one task
def show_best(options: argparse.Namespace) -> int:
    _, known = _known(options)
    if known is None:
        return NOTHING
    record, schedule = known
    if options.json:
        print(json.dumps(_as_json(record)))
        return DONE
    print(summary(record))
    if options.trace:
        print(schedule.trace.as_python(), end="")
    return DONE


def export_best(options: argparse.Namespace) -> int:
    task, known = _known(options)
    if known is None:
        return NOTHING
    text = export.script(task, options.workload, *known)
    if options.output is not None:
        options.output.write_text(text, encoding="utf-8")
    if options.json:
        print(json.dumps({"task": task.name, "key": task.key, "script": text}))
    elif options.output is None:
        print(text, end="")
    return DONE


def bench(options: argparse.Namespace) -> int:
    """The best schedule known, the one that the analytical model suggests, and the program as it stands."""
    task, known = _known(options)
    if known is None:
        return NOTHING
    schedules = {"best known": known[1], "without any trial": suggest(task), "unscheduled": task.unscheduled()}
    jobs = [
        {"trace": trace_json(s.trace), "names": known[0].names if n == 0 else task.names, "number": 0, "best": None}
        for n, s in enumerate(schedules.values())
    ]
    with contextlib.closing(local_runner(task, 0, Limits(run_seconds=60))) as runner:
        ends = dict(runner.measure(jobs))
    if options.json:
        values = {name: {**dataclasses.asdict(ends[n]), "status": ends[n].status} for n, name in enumerate(schedules)}
        print(json.dumps({"task": task.name, "schedules": values}))
        return DONE
    rows = []
    for n, name in enumerate(schedules):
        seconds = ends[n].seconds
        if seconds is None:
            rows.append((name, ends[n].status.value, "-", "-"))
        else:
            rate = f"{task.flops / seconds / 1e9:.1f}"
            rows.append((name, progress.seconds(seconds), f"{100 * ends[n].spread:.0f} %", rate))
    print(progress.table(rows, (task.name, "time", "spread", "GFLOP/s")))
    return DONE if ends[0].status is Status.OK else NOTHING


def _known(options: argparse.Namespace) -> tuple[Task, Any]:
    """The task that is named and the best that the log knows of it; None, after a message, if that is nothing."""
    task = parse(options.workload, options.target)
    task = task.with_cold_caches() if options.cold else task
    known = best_known(task, _existing(options.log).records(task.key))
    if known is None:
        print(f"autotune {options.name}: {options.log} has no result for {task.name} on this target", file=sys.stderr)
    return task, known


# --------------------------------------------------------------------------------------------------- whole logs
def list_tasks(options: argparse.Namespace) -> int:
    tasks = _by_task(record for log in options.logs for record in _existing(log).records())
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


def show(options: argparse.Namespace) -> int:
    found = _by_task(_existing(options.log).records())
    tasks = {k: r for k, r in found.items() if r[0].task.startswith(options.part) or k.startswith(options.part)}
    if options.json:
        values = [{**_task_json(k, r), "top": [_as_json(t) for t in rank(r)[: options.top]]} for k, r in tasks.items()]
        print(json.dumps(values))
        return DONE if tasks else NOTHING
    if not tasks:
        print(f"autotune show: {options.log} has no task {options.part!r}", file=sys.stderr)
    for key, records in tasks.items():
        print(_details(key, records, options.top))
    return DONE if tasks else NOTHING


def _details(key: str, records: list[Record], count: int) -> str:
    first = [r for r in records if r.run == 0]
    facts = ", ".join(f"{name} {value}" for name, value in records[-1].machine.items())
    lines = [f"{records[0].task}  [{key}]", f"  {len(first)} trials, the last one {records[-1].when}; {facts}"]
    rows = []
    for record in rank(records)[:count]:
        time, spread = progress.seconds(record.seconds or 0.0), f"{100 * record.spread:.0f} %"
        rows.append((_choice(record), time, spread, f"{record.gflops:.1f}", str(record.run + 1)))
    if rows:
        table = progress.table(rows, ("candidate", "time", "spread", "GFLOP/s", "passes"))
        lines += [f"  {line}" for line in table.splitlines()]
    lines += [
        f"  {f.count} {f.status}, for example {_choice(f.example)}: {f.example.reason}" for f in failures(records)
    ]
    return "\n".join(map(progress.clean, lines))


def compare(options: argparse.Namespace) -> int:
    first, second = (_by_task(_existing(log).records()) for log in (options.first, options.second))
    rows, ratios = [], []
    for key in {**first, **second}:
        a, b = (best(tasks.get(key, ())) for tasks in (first, second))
        ratio = None
        if a is not None and b is not None and a.seconds and b.seconds:
            ratio = a.seconds / b.seconds
            ratios.append(ratio)
        rows.append((key, (first.get(key) or second[key])[0].task, a, b, ratio))
    mean = math.exp(sum(map(math.log, ratios)) / len(ratios)) if ratios else None
    if options.json:
        names = ("key", "task", "seconds_a", "seconds_b", "b_is_faster_by")
        values = [dict(zip(names, (k, t, a and a.seconds, b and b.seconds, r), strict=True)) for k, t, a, b, r in rows]
        print(json.dumps({"tasks": values, "geometric_mean": mean}))
        return DONE if ratios else NOTHING
    cells = [
        (task, *("-" if r is None else progress.seconds(r.seconds or 0.0) for r in (a, b)), _ratio(ratio))
        for _, task, a, b, ratio in rows
    ]
    cells.append(("geometric mean", "", "", _ratio(mean)))
    print(progress.table(cells, ("task", "A", "B", "A / B")))
    return DONE if ratios else NOTHING


def merge(options: argparse.Namespace) -> int:
    known = {to_line(r) for r in Database(options.into).records()}
    found = [r for log in options.logs for r in _existing(log).records()]
    fresh: dict[bytes, Record] = {}
    for record in found:
        line = to_line(record)
        if line not in known:
            fresh[line] = record
    write(options.into, fresh.values())
    counts = {"read": len(found), "added": len(fresh), "records": len(known) + len(fresh)}
    print(json.dumps(counts) if options.json else "{read} read, {added} added, {records} in all".format(**counts))
    return DONE


def report(options: argparse.Namespace) -> int:
    from autotune.report import page

    tasks = [parse(workload) for workload in options.workload]
    records = _existing(options.log).records()
    if not records:
        print(f"autotune report: {options.log} has no records", file=sys.stderr)
        return NOTHING
    output = options.output or options.log.with_suffix(".html")
    output.write_text(page(records, options.log.name, tasks), encoding="utf-8")
    print(json.dumps({"report": str(output)}) if options.json else f"wrote {output}")
    return DONE


# --------------------------------------------------------------------------------------------------- the rest
def operators(options: argparse.Namespace) -> int:
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
            for takes, text in members.items():
                print(f"  {takes}\n      {text}")
    return DONE if chosen else NOTHING


def completion(options: argparse.Namespace) -> int:
    try:
        import shtab
    except ImportError:
        print("autotune completion: needs shtab: pip install 'tensorlang[completion]'", file=sys.stderr)
        return USAGE
    text = shtab.complete(cli.parser(), options.shell)
    print(json.dumps({"shell": options.shell, "script": text}) if options.json else text)
    return DONE


COMMANDS: dict[str, Callable[[argparse.Namespace], int]] = {
    "tune": tune,
    "best": show_best,
    "bench": bench,
    "export": export_best,
    "list": list_tasks,
    "show": show,
    "compare": compare,
    "merge": merge,
    "report": report,
    "operators": operators,
    "completion": completion,
}


# ------------------------------------------------------------------------------------------------ what is printed
def summary(record: Record) -> str:
    """The result of a candidate in two lines."""
    return (
        f"{progress.clean(record.task)}: {progress.seconds(record.seconds or 0.0)}, {record.gflops:.1f} GFLOP/s, "
        f"median of {record.run + 1} passes\n  {progress.clean(_choice(record))}"
    )


def _choice(record: Record) -> str:
    knobs = ", ".join(f"{name}={value}" for name, value in record.knobs.items())
    return f"sketch {record.sketch}: {knobs}"


def _ratio(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _by_task(records: Iterable[Record]) -> dict[str, list[Record]]:
    tasks: dict[str, list[Record]] = {}
    for record in records:
        tasks.setdefault(record.key, []).append(record)
    return tasks


def _task_json(key: str, records: list[Record]) -> dict[str, Any]:
    top = best(records)
    return {
        "key": key,
        "task": records[0].task if records else "",
        "trials": sum(r.run == 0 for r in records),
        "candidates_that_work": len(rank(records)),
        "failures": [{"status": f.status, "count": f.count, "example": f.example.reason} for f in failures(records)],
        "best": None if top is None else _as_json(top),
    }


def _as_json(record: Record) -> dict[str, Any]:
    return {**dataclasses.asdict(record), "gflops": record.gflops}


def _existing(log: Path) -> Database:
    if not log.exists():
        raise WorkloadError(f"--log: there is no file {str(log)!r}")
    return Database(log)


def _show_user_traceback(error: UserCodeError) -> None:
    """The error of the user's own file, from the first line of that file on."""
    cause = error.__cause__
    assert cause is not None
    frames = cause.__traceback__
    while frames is not None and frames.tb_next is not None and frames.tb_frame.f_code.co_filename != str(error):
        frames = frames.tb_next
    traceback.print_exception(type(cause), cause, frames)
