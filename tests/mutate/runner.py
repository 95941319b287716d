"""One mutant at a time: the tests that run the mutated function, then all others, then the fuzzer.

A warm process, which has imported what is slow to import but nothing of the code under test, forks for each mutant.
The child puts a copy of the tree first in its path, in which one file has the fault.
"""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from typing import Any

import pytest

from tests.mutate.baseline import Baseline, Recorder
from tests.mutate.mutants import ROOT, Mutant

LIMIT = 600.0  # seconds for a mutant
FUZZING = 120.0  # of them at most for the fuzzer
PATIENCE = (60.0, 20.0)  # a test that takes longer than this, and than so many times its usual time, hangs
SLOW_TO_IMPORT = ("numpy", "ml_dtypes", "llvmlite.binding", "hypothesis", "mpmath", "xdist", "multiprocessing.pool")
# These test the texts of the tree, or the machine, and not the code.
LEFT_OUT = ("tests/mutate", "tests/test_layering.py", "tests/benchmarks")


@dataclass(frozen=True)
class Outcome:
    """by: the test, fuzzer case or limit that told the mutant from the code; "" if it survived."""

    killed: bool
    by: str
    seconds: float


def warm_up() -> None:
    """Import what is slow to import, which every child then has."""
    for name in SLOW_TO_IMPORT:
        __import__(name)


class Copy:
    """A copy of the tree, in which one file at a time has a fault."""

    def __init__(self, folder: Path):
        self.folder = folder
        listed = subprocess.run(
            ["git", "ls-files", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True
        )
        for name in listed.stdout.splitlines():
            if (ROOT / name).is_file():
                target = folder / name
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(ROOT / name, target)

    def put(self, mutant: Mutant) -> None:
        (self.folder / mutant.path).write_text(mutant.source(), encoding="utf-8")

    def restore(self, mutant: Mutant) -> None:
        shutil.copyfile(ROOT / mutant.path, self.folder / mutant.path)


def record_baseline(copy: Copy, path: Path) -> None:
    """Run all tests on the code as it is, and write what they do to `path`."""

    def work(pipe: Connection) -> None:
        recorder = Recorder(copy.folder)
        pytest.main([*_options(), "tests"], plugins=[recorder])
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(recorder.tests), encoding="utf-8")
        pipe.send(("end", ""))

    child = Child(copy, work)
    while child.message(3600.0)[0] != "end":
        pass
    child.end()


def _options() -> list[str]:
    left_out = [f"--ignore={name}" for name in LEFT_OUT]
    return ["-q", "--no-header", "-p", "no:cacheprovider", "-p", "no:xdist", *left_out]


def try_mutant(mutant: Mutant, copy: Copy, baseline: Baseline) -> Outcome:
    """Put the fault into the copy, and see who notices."""
    begin = time.monotonic()
    copy.put(mutant)
    relevant = baseline.relevant(function_of(mutant))
    child = Child(copy, lambda pipe: _hunt(pipe, relevant, baseline.failing(), begin))
    try:
        by = _watch(child, baseline, begin)
    finally:
        child.end()
        copy.restore(mutant)
    return Outcome(bool(by), by, round(time.monotonic() - begin, 1))


def _watch(child: Child, baseline: Baseline, begin: float) -> str:
    """What killed the mutant, "" if nothing did in time."""
    running = "import"
    while True:
        least, times = PATIENCE
        patience = max(least, times * baseline.seconds(running))
        what, text = child.message(min(patience, begin + LIMIT - time.monotonic()))
        if what == "killed":
            return text
        if what == "end" or (what == "silent" and time.monotonic() > begin + LIMIT):
            return ""
        if what == "silent":
            return f"hang: {running}"
        if what == "gone":
            return f"crash: {running}"
        running = text


def function_of(mutant: Mutant) -> str:
    """Where the function with the fault begins: "path:first line", decorators included, as code objects tell."""
    tree = ast.parse((ROOT / mutant.path).read_text(encoding="utf-8"))
    around = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef) and node.lineno <= mutant.fault.line <= (node.end_lineno or 0)
    ]
    if not around:
        return mutant.path
    node = max(around, key=lambda n: n.lineno)
    first = min([node.lineno, *(d.lineno for d in node.decorator_list)])
    return f"{mutant.path}:{first}"


# ------------------------------------------------------------------------------------------------- in the child
def _hunt(pipe: Connection, relevant: list[str], failing: list[str], begin: float) -> None:
    """Tests, the relevant ones first, then the fuzzer; tells the parent what is running and what failed."""
    reporter = _Reporter(pipe, relevant, failing)
    if relevant:
        files = list(dict.fromkeys(name.split("::")[0] for name in relevant))
        pytest.main(["-x", *_options(), *files], plugins=[reporter])
    if not reporter.failed:
        reporter.everything = True
        pytest.main(["-x", *_options(), "tests"], plugins=[reporter])
    if not reporter.failed:
        _fuzz(pipe, begin)
    pipe.send(("end", ""))


def _fuzz(pipe: Connection, begin: float) -> None:
    from tests.fuzz.runner import run_seed

    until = min(time.monotonic() + FUZZING, begin + LIMIT - 5)
    seed = 1_000_000  # apart from those that tests use
    while time.monotonic() < until:
        pipe.send(("running", f"fuzz seed {seed}"))
        result = run_seed(seed)
        if result.kind:
            pipe.send(("killed", f"fuzz seed {seed}: {result.kind}"))
            return
        seed += 1


class _Reporter:
    """A pytest plugin: the relevant tests first and no others in a first run, the others in a second one."""

    def __init__(self, pipe: Connection, relevant: list[str], failing: list[str]):
        self.pipe, self.order = pipe, {name: n for n, name in enumerate(relevant)}
        self.failing = set(failing)
        self.everything = self.failed = False

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        wanted = [i for i in items if (i.nodeid in self.order) is not self.everything and i.nodeid not in self.failing]
        items[:] = sorted(wanted, key=lambda i: self.order.get(i.nodeid, 0))

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self._kill(f"import of {report.nodeid}")

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self.pipe.send(("running", nodeid))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self._kill(report.nodeid)

    def _kill(self, by: str) -> None:
        if not self.failed:
            self.failed = True
            self.pipe.send(("killed", by))


class Child:
    """A forked process in the copy of the tree, which runs work(pipe)."""

    def __init__(self, copy: Copy, work: Any):
        self.pipe, theirs = Pipe()
        self.pid = os.fork()
        if self.pid:
            theirs.close()
            return
        status = 1
        try:
            os.setsid()  # so that all that it starts ends with it
            _enter(copy.folder)
            work(theirs)
            status = 0
        finally:
            os._exit(status)

    def message(self, patience: float) -> tuple[str, str]:
        """(what, text) as sent, or "silent" after that many seconds, or "gone"."""
        try:
            if not self.pipe.poll(max(0.0, patience)):
                return "silent", ""
            return self.pipe.recv()
        except (EOFError, ConnectionResetError):
            return "gone", ""

    def end(self) -> None:
        try:
            os.killpg(self.pid, 9)
        except ProcessLookupError:
            os.kill(self.pid, 9)  # it has not yet made its own group
        os.waitpid(self.pid, 0)
        self.pipe.close()


def _enter(folder: Path) -> None:
    """Let imports, subprocesses and relative paths find the copy; keep quiet."""
    os.chdir(folder)
    sys.path[:] = [str(folder), *(p for p in sys.path if Path(p or ".").resolve() != ROOT)]
    os.environ["PYTHONPATH"] = str(folder)
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
    sys.dont_write_bytecode = True
    for name in [n for n in sys.modules if n.split(".")[0] in ("tests", "tensorlang", "autotune", "benchmarks")]:
        if name != "tests.mutate" and not name.startswith("tests.mutate."):
            del sys.modules[name]
    silent = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silent, 1)
    os.dup2(silent, 2)
