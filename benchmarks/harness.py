"""Contenders measured side by side: each in a process of its own, taking turns (A B A B ...), medians compared.

Two thread pools in one process disturb each other for milliseconds, and a machine's speed drifts. So only one process
runs at a time, each turn starts after a pause in which idle threads fall asleep, and the ratio of medians counts.

    rows = compare([Contender("NumPy", "benchmarks.matmul:numpy_matmul", {"n": 512}, threads=2), ...])
    show("matmul 512", rows, work=2 * 512**3, unit="GFLOP/s")
    record("matmul", rows, n=512)
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks import machine

RESULTS = Path(__file__).parent / "results"
THREAD_VARIABLES = ("TENSORLANG_NUM_THREADS", "OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
# These would keep OpenBLAS from choosing the best kernels for the CPU.
UNWANTED_VARIABLES = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE", "OPENBLAS_VERBOSE")


class BenchmarkError(Exception):
    """A contender that could not be set up or broke down."""


@dataclass(frozen=True)
class Contender:
    """`setup` ("module:function"), called with `arguments` in a process of its own, returns the function to measure.

    threads: how many its libraries may use; python: the interpreter, if not this one; environment: further variables.
    """

    name: str
    setup: str
    arguments: dict[str, Any] = field(default_factory=dict)
    threads: int = 1
    python: str = sys.executable
    environment: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Row:
    """Seconds a call of one contender: median over the turns, interquartile range, minimum, and all turns."""

    name: str
    threads: int
    median: float
    spread: float
    minimum: float
    turns: tuple[float, ...]
    versions: dict[str, str]


class _Process:
    """A running contender."""

    def __init__(self, contender: Contender):
        self.contender, self.seconds = contender, list[float]()
        environment = {k: v for k, v in os.environ.items() if k not in UNWANTED_VARIABLES}
        environment.update(dict.fromkeys(THREAD_VARIABLES, str(contender.threads)))
        environment.update(contender.environment)
        environment["PYTHONPATH"] = str(machine.ROOT)
        self._popen = subprocess.Popen(
            [contender.python, "-m", "benchmarks.child"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
            cwd=machine.ROOT,
        )
        self.versions = self.ask(setup=contender.setup, arguments=contender.arguments)["versions"]

    def ask(self, **request: Any) -> dict[str, Any]:
        assert self._popen.stdin is not None and self._popen.stdout is not None
        try:
            self._popen.stdin.write(json.dumps(request) + "\n")
            self._popen.stdin.flush()
            line = self._popen.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise BenchmarkError(f"{self.contender.name}: the process ended, status {self._popen.wait()}")
        answer = json.loads(line)
        if "error" in answer:
            raise BenchmarkError(f"{self.contender.name}:\n{answer['error']}")
        return answer

    def close(self) -> None:
        self._popen.kill()
        self._popen.wait()
        for pipe in (self._popen.stdin, self._popen.stdout):
            if pipe is not None:
                pipe.close()

    def row(self) -> Row:
        low, _, high = statistics.quantiles(self.seconds, n=4, method="inclusive")
        return Row(
            self.contender.name,
            self.contender.threads,
            statistics.median(self.seconds),
            high - low,
            min(self.seconds),
            tuple(self.seconds),
            self.versions,
        )


def compare(
    contenders: Sequence[Contender], turns: int = 11, min_seconds: float = 0.1, pause: float = 0.25
) -> list[Row]:
    """Measure the contenders in `turns` rounds (2 or more); each runs for `min_seconds` a turn, after a `pause`.

    The pause outlasts the spinning of the contender before: idle workers of OpenBLAS spin for 2**28 cycles, 0.1 s.

    Raises BenchmarkError if one of them fails.
    """
    processes: list[_Process] = []
    try:
        for contender in contenders:
            processes.append(_Process(contender))
        for process in processes:
            process.ask(min_seconds=0.0)  # the first calls are slower: page faults, thread starts
        for number in range(turns):
            # Every other round runs backwards, so that nobody always follows the same neighbour.
            for process in processes if number % 2 == 0 else reversed(processes):
                time.sleep(pause)
                process.seconds.append(process.ask(min_seconds=min_seconds)["seconds"])
        return [process.row() for process in processes]
    finally:
        for process in processes:
            process.close()


def speed(row: Row, base: Row) -> float:
    """How many times as fast as `base`: the ratio of medians."""
    return base.median / row.median


def show(title: str, rows: Sequence[Row], work: float = 0.0, unit: str = "") -> None:
    """Print a table. `work` a call gives the rate (in `unit`, 1e9 a second); speed is relative to the first row."""
    print(f"\n{title}")
    width = max(len(row.name) for row in rows)
    head = f"  {'':{width}}  threads   median us   spread"
    print(head + (f"  {unit:>9}" if work else "") + f"  speed vs {rows[0].name}")
    for row in rows:
        line = f"  {row.name:{width}}  {row.threads:7}  {row.median * 1e6:10.2f}  {row.spread / row.median:6.1%}"
        if work:
            line += f"  {work / row.median / 1e9:9.1f}"
        print(line + f"  {speed(row, rows[0]):8.3f}")


def record(name: str, rows: Sequence[Row], **more: Any) -> Path:
    """Append a JSON line (rows, machine facts, `more`) to benchmarks/results/<name>.jsonl; returns its path."""
    entry = {
        "benchmark": name,
        "when": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        **more,
        "rows": [asdict(row) for row in rows],
        "machine": machine.facts(),
    }
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.jsonl"
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(entry) + "\n")
    return path


def arguments(description: str) -> argparse.ArgumentParser:
    """The options that all benchmarks share."""
    parser = argparse.ArgumentParser(
        description=description.strip(), formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--turns", type=int, default=11, help="rounds in which each contender runs once (default 11)")
    parser.add_argument("--min-seconds", type=float, default=0.1, help="length of a turn (default 0.1)")
    return parser
