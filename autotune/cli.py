"""The command `autotune`: arguments, help, exit codes. What the commands do stands in commands.py.

Nothing slow is imported before the arguments are known to be right.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from autotune.measure.outcome import Limits

DONE, NOTHING, USAGE, UNSAVED, INTERRUPTED = 0, 1, 2, 3, 130
SHELLS = ("bash", "zsh")

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
  autotune tune softmax:64,512 mine.py:blur --minutes 10       several tasks, by what each may gain
  autotune best matmul:1024,1024,1024 --log tuned.jsonl --trace
  autotune export matmul:1024,1024,1024 --log tuned.jsonl -o matmul.py
  autotune report tuned.jsonl -o report.html
  autotune operators conv

From Python: `import autotune; autotune.tune(C, trials=64, log="tuned.jsonl").kernel`, and later, without measuring,
`autotune.compile(C, log="tuned.jsonl")`.

exit codes:
  0    done
  1    nothing found: no candidate worked, or the log knows nothing of what was asked for
  2    wrong arguments, a file that cannot be read or written, or an error in your own file, shown as its traceback
  3    done, but the log's disk is full; the message says which file holds the rest
  130  interrupted at the keyboard; the log is whole, and the same command goes on from there
"""
_TUNE = """\
How it works: rules write sketches of schedules with open numbers (tile sizes and so on). A cost model scores the
points of these spaces, the most promising ones are built in worker processes, checked against a reference, timed, and
written to the log; then the model learns from them. Trials that the log holds already are not repeated, so the same
command resumes. What fails (a crash, a timeout, a wrong answer ...) costs only itself, and is counted and shown.

A config file holds options by their long names, for example tuned.toml, used by `--config tuned.toml`:
  workload = ["matmul:1024,1024,1024", "softmax:64,512"]
  trials = 64
  log = "tuned.jsonl"
Options on the command line go before those of the file.
"""
_RUNNERS = """\
--runner ray measures on the machines of a Ray cluster (pip install 'tensorlang[ray]'), one candidate a worker:
  ray start --head; autotune tune matmul:512,512,512 --runner ray --address auto --resources CPU=4,board=1
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line (by default that of the process) and return its exit code."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    try:
        options = _parse(arguments)
    except SystemExit as end:  # argparse has said what is wrong, or printed the help
        return DONE if end.code in (0, None) else USAGE
    from autotune import commands

    with warnings.catch_warnings():
        warnings.showwarning = _show_warning  # type: ignore[assignment]
        return commands.run(options)


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    result = argparse.ArgumentParser(
        prog="autotune",
        description="Find fast schedules for tensor programs by measuring them on this machine.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = result.add_subparsers(dest="name", required=True, metavar="COMMAND")
    _tune_options(_command(commands, "tune", "search and measure schedules; resumes if the log knows the task"))

    one = _command(commands, "best", "print the best schedule that a log knows for a task")
    _workload(one)
    _log(one)
    one.add_argument("--trace", action="store_true", help="also print the steps as Python")

    one = _command(commands, "bench", "time the best schedule of a log beside those without any trial")
    _workload(one)
    _log(one)

    one = _command(commands, "export", "write the best schedule as a Python script that runs by itself")
    _workload(one)
    _log(one)
    _output(one, "file to write (default: print it)")

    one = _command(commands, "list", "list the tasks of logs with their best results")
    one.add_argument("logs", type=Path, nargs="+", metavar="LOG", help="files to read")

    one = _command(commands, "show", "show the tasks of a log in detail: best candidates, failures with their reasons")
    one.add_argument("log", type=Path, metavar="LOG", help="file to read")
    one.add_argument("part", nargs="?", default="", metavar="TASK", help="only tasks whose name or key begins so")
    one.add_argument("--top", type=_at_least(1), default=5, metavar="N", help="candidates of each task (default: 5)")

    one = _command(commands, "compare", "compare the best results of two logs")
    one.add_argument("first", type=Path, metavar="A", help="a log")
    one.add_argument("second", type=Path, metavar="B", help="another one")

    one = _command(commands, "merge", "add the records of logs to a log, each once")
    one.add_argument("logs", type=Path, nargs="+", metavar="LOG", help="files to read")
    one.add_argument("--into", type=Path, required=True, metavar="LOG", help="file to add to, made if not there")

    one = _command(commands, "report", "write a page (HTML, all in one file) on the tasks of a log")
    one.add_argument("log", type=Path, metavar="LOG", help="file to read")
    one.add_argument("workload", nargs="*", metavar="WORKLOAD", help="files of yours whose tasks are in the log")
    _output(one, "file to write (default: LOG with the ending .html)")

    one = _command(commands, "operators", "list the operators that a workload may name, and their options")
    one.add_argument("part", nargs="?", default="", metavar="PART", help="only those with PART in their name")

    one = _command(commands, "completion", "print a script that completes this command's arguments in a shell")
    one.add_argument("shell", choices=SHELLS, help='for example: eval "$(autotune completion bash)"')
    return result


def _tune_options(one: argparse.ArgumentParser) -> None:
    one.epilog = f"{_WORKLOAD}\n{_TUNE}\n{_RUNNERS}"
    _workload(one, nargs="*")
    one.add_argument("--trials", type=_at_least(1), default=200, help="candidates to measure a task (default: 200)")
    one.add_argument("--budget", type=_at_least(1), metavar="TRIALS", help="of all tasks together (default: no limit)")
    one.add_argument("--minutes", type=_positive("minutes"), help="begin no trial later (default: no limit)")
    one.add_argument("--log", type=Path, default=Path("tuned.jsonl"), help="file to append to (default: tuned.jsonl)")
    one.add_argument("--seed", type=_at_least(0), default=0, help="fixes all random choices (default: 0)")
    one.add_argument("--cold", action="store_true", help="time single calls with nothing in the caches")
    one.add_argument("--quiet", action="store_true", help="print the results only")
    one.add_argument("--config", type=Path, metavar="FILE", help="take options from a TOML file, see below")
    limits = one.add_argument_group("limits of a candidate")
    seconds = _positive("seconds")
    limits.add_argument("--build-timeout", type=seconds, default=Limits.build_seconds, metavar="SECONDS")
    limits.add_argument("--run-timeout", type=seconds, default=Limits.run_seconds, metavar="SECONDS")
    limits.add_argument(
        "--memory", type=_positive("GB"), default=Limits.memory_bytes / 1e9, metavar="GB", help="default: 4.3"
    )
    where = one.add_argument_group("where to measure")
    where.add_argument("--runner", choices=("local", "ray"), default="local", help="default: local, this machine")
    where.add_argument("--address", default="auto", help="of the Ray cluster (default: auto)")
    where.add_argument("--workers", type=_at_least(1), help="how many (default: as many as the cluster has room for)")
    where.add_argument(
        "--resources", type=_resources, default={}, metavar="NAME=N,...", help="that each worker needs; CPU, GPU or own"
    )


def _command(commands: Any, name: str, summary: str) -> argparse.ArgumentParser:
    one = commands.add_parser(
        name,
        help=summary,
        description=summary[0].upper() + summary[1:] + ".",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    one.add_argument("--json", action="store_true", help="print the result as JSON")
    return one


def _workload(one: argparse.ArgumentParser, nargs: str | None = None) -> None:
    one.epilog = one.epilog or _WORKLOAD
    one.add_argument("workload", metavar="WORKLOAD", nargs=nargs, help="what to tune, see below")
    one.add_argument(
        "--target", type=_target, default="llvm", help="what to tune for: llvm, this CPU (default), or cuda, its GPU"
    )


def _log(one: argparse.ArgumentParser) -> None:
    one.add_argument("--log", type=Path, default=Path("tuned.jsonl"), help="file to read (default: tuned.jsonl)")
    one.add_argument("--cold", action="store_true", help="what was timed with nothing in the caches")


def _output(one: argparse.ArgumentParser, what: str) -> None:
    one.add_argument("-o", "--output", type=Path, metavar="FILE", help=what)


# ------------------------------------------------------------------------------------------------ config file
def _parse(arguments: list[str]) -> argparse.Namespace:
    """The options, those of a config file included."""
    one = parser()
    options = one.parse_args(arguments)
    if options.name != "tune":
        return options
    workloads: list[str] = []
    if options.config is not None:
        from_file, workloads = _read_config(options.config, one)
        options = one.parse_args([arguments[0], *from_file, *arguments[1:]])
    options.workload = options.workload or workloads
    if not options.workload:
        one.error("the following arguments are required: WORKLOAD")
    return options


def _read_config(file: Path, one: argparse.ArgumentParser) -> tuple[list[str], list[str]]:
    """The options in a config file as arguments, and its workloads."""
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    try:
        values = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        one.error(f"--config: {error}")
    except ValueError as error:
        one.error(f"--config: {file} is no TOML file: {error}")
    workloads = values.pop("workload", [])
    if not isinstance(workloads, list) or not all(isinstance(w, str) for w in workloads):
        one.error(f"--config: {file}: workload: expected a list of strings, got {workloads!r}")
    result: list[str] = []
    for name, value in values.items():
        if name == "config" or not isinstance(value, bool | int | float | str):
            one.error(f"--config: {file}: {name}: expected an option of `autotune tune` and its value, got {value!r}")
        if value is not False:
            result.append(f"--{name}" if value is True else f"--{name}={value}")
    unknown = one.parse_known_args(["tune", *result])[1]
    if unknown:
        one.error(f"--config: {file}: no such option: {', '.join(unknown)}")
    return result, workloads


# ------------------------------------------------------------------------------------------------ argument types
def _at_least(least: int) -> Any:
    def integer(text: str) -> int:
        if not text.isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(f"expected an integer of at least {least}, got {text!r}")
        return int(text)

    return integer


def _positive(unit: str) -> Any:
    def number(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = 0.0
        if not 0 < value < 1e6:
            raise argparse.ArgumentTypeError(f"expected a number of {unit} above 0, got {text!r}")
        return value

    return number


def _resources(text: str) -> dict[str, float]:
    result: dict[str, float] = {}
    for part in text.split(","):
        name, equals, amount = part.partition("=")
        if not name or name in result:
            raise argparse.ArgumentTypeError(f"expected NAME=N with commas between, each name once, got {text!r}")
        result[name] = _positive(name)(amount if equals else "1")
    return result


def _target(text: str) -> str:
    from autotune.task import WorkloadError
    from autotune.workload import check_target

    try:
        check_target(text)
    except WorkloadError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return text


def _show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    from autotune.progress import clean

    print(f"autotune: {clean(str(message))}", file=sys.stderr)
