"""One mutant at a time: the tests that run the mutated function, then the fuzzer.

All happens in forks of one warm process, in which everything is imported and the tests are collected. A child gives
the function with the fault its other code and runs tests until one fails; nothing is written to the tree.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection, Pipe, wait
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

import pytest

from tests.mutate.baseline import Baseline, Recorder
from tests.mutate.mutants import ROOT, Mutant

LIMIT = 600.0  # seconds for a mutant
KILLED, SURVIVED, UNDECIDED = "killed", "survived", "undecided"  # the last: time was up before all tests had run
PATIENCE = (60.0, 20.0)  # a test that takes longer than this, and than so many times its usual time, hangs
# These test the texts of the tree, or the machine, and not the code; the fuzzer has its own turn.
LEFT_OUT = ("tests/mutate", "tests/test_layering.py", "tests/benchmarks", "tests/fuzz/test_fuzz.py")


@dataclass(frozen=True)
class Outcome:
    """status: KILLED, SURVIVED or UNDECIDED; by: the test, fuzzer case or limit that told the mutant from the code."""

    status: str
    by: str
    seconds: float


@dataclass(frozen=True)
class Plan:
    """What is to be tried, and how."""

    tests: list[str]  # paths of tests
    fuzzing: float  # seconds that a mutant must survive the fuzzer
    jobs: int
    baseline: Path | None  # where it is stored which tests run what; None to do without
    fresh: bool  # find that out anew
    limit: float = LIMIT


def run(mutants: list[Mutant], plan: Plan, done: Callable[[Mutant, Outcome], None]) -> None:
    """Try all mutants; tells `done` about each."""
    session = _Session(mutants, plan, done)
    left_out = [f"--ignore={name}" for name in LEFT_OUT]
    options = ["-o", "addopts=", *(f"-pno:{plugin}" for plugin in ("terminal", "cacheprovider", "xdist")), *left_out]
    status = pytest.main([*options, *plan.tests], plugins=[session])
    if session.error is not None:
        raise session.error
    if not session.ran:
        raise RuntimeError(f"the tests were not collected: pytest ended with {status!r}")


class _Session:
    """A pytest plugin that runs mutants instead of the tests it has collected."""

    def __init__(self, mutants: list[Mutant], plan: Plan, done: Callable[[Mutant, Outcome], None]):
        self.mutants, self.plan, self.done = mutants, plan, done
        self.error: BaseException | None = None
        self.ran = False

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        if session.testsfailed:
            return True
        self.ran = True
        try:
            with session.config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
                baseline = self._baseline(session)
                self._hunt(session, baseline)
        except BaseException as error:  # which pytest would print and pass over
            self.error = error
        return True

    def _baseline(self, session: pytest.Session) -> Baseline:
        path = self.plan.baseline
        if path is None:
            return Baseline({})
        known = {} if self.plan.fresh or not path.exists() else json.loads(path.read_text(encoding="utf-8"))
        unknown = [item for item in session.items if item.nodeid not in known]
        if unknown:
            print(f"learning what {len(unknown)} tests run ...", flush=True)
            known |= self._learnt(session.config, unknown)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(known), encoding="utf-8")
        return Baseline.load(path)

    def _learnt(self, config: pytest.Config, items: list[pytest.Item]) -> dict[str, Any]:
        """What Recorder finds, in as many processes as mutants are tried in."""

        def child(first: int) -> Child:
            return Child(lambda pipe: pipe.send(_learn(config, items[first :: self.plan.jobs])))

        children = [child(first) for first in range(self.plan.jobs)]
        try:
            return {name: record for child in children for name, record in child.pipe.recv().items()}
        finally:
            for child in children:
                child.end()

    def _hunt(self, session: pytest.Session, baseline: Baseline) -> None:
        waiting = list(reversed(self.mutants))
        running: list[tuple[Child, Mutant]] = []
        try:
            while waiting or running:
                while waiting and len(running) < self.plan.jobs:
                    mutant = waiting.pop()
                    items = ordered(session.items, mutant, baseline)
                    child = Child(lambda pipe, m=mutant, i=items: _try(pipe, m, i, self.plan.fuzzing))  # type: ignore[misc]
                    running.append((child, mutant))
                wait([child.pipe for child, _ in running], timeout=1.0)
                for child, mutant in list(running):
                    verdict = child.verdict(baseline, self.plan.limit)
                    if verdict is not None:
                        running.remove((child, mutant))
                        child.end()
                        self.done(mutant, Outcome(*verdict, round(time.monotonic() - child.begin, 1)))
        finally:
            for child, _ in running:
                child.end()


def ordered(items: list[pytest.Item], mutant: Mutant, baseline: Baseline) -> list[pytest.Item]:
    """The tests that are known to run the function, those that tell soonest first; if none is known, all tests, first
    those of its file and its room, for tests mirror the source. Tests that fail anyway are left out.

    No other test can notice: the fault is in this process, and not in those that a test starts."""
    failing = set(baseline.failing())
    known = {name: n for n, name in enumerate(baseline.relevant(function_of(mutant))) if name not in failing}
    if known:
        return sorted((i for i in items if i.nodeid in known), key=lambda i: known[i.nodeid])
    room, module = mutant.path.removeprefix("tensorlang/").removesuffix(".py").rsplit("/", 1)
    own = (f"tests/{room}/test_{module}.py", f"tests/{room}/")

    def rank(item: pytest.Item) -> int:
        return next((n for n, place in enumerate(own) if item.nodeid.startswith(place)), len(own))

    return sorted((i for i in items if i.nodeid not in failing), key=rank)


def function_of(mutant: Mutant) -> str:
    """The function with the fault, as Recorder names it."""
    return f"{mutant.path}:{mutant.fault.function.split('.')[-1]}"


# ------------------------------------------------------------------------------------------------- in the child
def _try(pipe: Connection, mutant: Mutant, items: list[pytest.Item], fuzzing: float) -> None:
    """Tells the parent what is running, and what failed."""
    pipe.send(("running", "the change"))
    put(mutant)
    for item in items:
        pipe.send(("running", item.nodeid))
        if _fails(item):
            pipe.send(("killed", item.nodeid))
            return
    _fuzz(pipe, fuzzing)
    pipe.send(("end", ""))


def _fails(item: pytest.Item) -> bool:
    """Run one test, set up as if no other came after it."""
    with _watching(item) as failures:
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=None)
    return bool(failures)


@contextmanager
def _watching(item: pytest.Item) -> Iterator[list[str]]:
    failures: list[str] = []

    class Watch:
        def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
            if report.failed:
                failures.append(report.nodeid)

    watch = Watch()
    item.config.pluginmanager.register(watch)
    try:
        yield failures
    finally:
        item.config.pluginmanager.unregister(watch)


def _fuzz(pipe: Connection, seconds: float) -> None:
    from tests.fuzz.runner import run_seed

    until = time.monotonic() + seconds
    seed = 1_000_000  # apart from those that tests use
    while time.monotonic() < until:
        pipe.send(("running", f"fuzz seed {seed}"))
        result = run_seed(seed)
        if result.kind:
            pipe.send(("killed", f"fuzz seed {seed}: {result.kind}"))
            return
        seed += 1


def _learn(config: pytest.Config, items: list[pytest.Item]) -> dict[str, Any]:
    recorder = Recorder(ROOT)
    config.pluginmanager.register(recorder)
    for item in items:
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=None)
    return recorder.tests


def put(mutant: Mutant) -> None:
    """Give the function with the fault the code that it would have been compiled to."""
    module = importlib.import_module(mutant.path.removesuffix(".py").replace("/", "."))
    names = mutant.fault.function.split(".")
    function, depth = _function(module, names)
    code = compile(mutant.source(), module.__file__ or "", "exec", dont_inherit=True)
    for name in names[:depth]:
        code = next(c for c in code.co_consts if isinstance(c, CodeType) and c.co_name == name)
    function.__code__ = code


def _function(module: ModuleType, names: list[str]) -> tuple[FunctionType, int]:
    """The outermost function on the way to a name, whatever wraps it, and how many names lead there."""
    found: Any = module
    for depth, name in enumerate(names, 1):
        found = vars(found)[name]
        if not isinstance(found, type):
            for inner in ("__wrapped__", "fget", "func", "__func__"):
                while not isinstance(found, FunctionType) and hasattr(found, inner):
                    found = getattr(found, inner)
            while hasattr(found, "__wrapped__"):
                found = found.__wrapped__
            return found, depth
    raise LookupError(f"{'.'.join(names)} is no function")


class Child:
    """A forked process that runs work(pipe)."""

    def __init__(self, work: Callable[[Connection], None]):
        self.begin = time.monotonic()
        self.running, self.since = "fork", self.begin
        self.pipe, theirs = Pipe()
        self.pid = os.fork()
        if self.pid:
            theirs.close()
            return
        status = 1
        try:
            os.setsid()  # so that all that it starts ends with it
            silent = os.open(os.devnull, os.O_WRONLY)
            os.dup2(silent, 1)
            os.dup2(silent, 2)
            sys.stdout = sys.stderr = open(os.devnull, "w")  # noqa: SIM115
            work(theirs)
            status = 0
        finally:
            os._exit(status)

    def message(self, patience: float) -> tuple[str, str]:
        """(what, text) as sent, or "silent" after that many seconds, or "gone"."""
        try:
            return self.pipe.recv() if self.pipe.poll(patience) else ("silent", "")
        except (EOFError, ConnectionResetError):
            return "gone", ""

    def verdict(self, baseline: Baseline, limit: float) -> tuple[str, str] | None:
        """(status, what has killed the mutant), or None while there is time."""
        while True:
            what, text = self.message(0)
            if what == "running":
                self.running, self.since = text, time.monotonic()
                continue
            if what == "killed":
                return KILLED, text
            if what == "end":
                return SURVIVED, ""
            if what == "gone":
                return KILLED, f"crash: {self.running}"
            now = time.monotonic()
            if now - self.since > max(PATIENCE[0], PATIENCE[1] * baseline.seconds(self.running)):
                return KILLED, f"hang: {self.running}"
            return (UNDECIDED, "") if now - self.begin > limit else None

    def end(self) -> None:
        for kill in (os.killpg, os.kill):  # before it has made its own group, there is but the process
            try:
                kill(self.pid, 9)
                break
            except ProcessLookupError:
                continue
        os.waitpid(self.pid, 0)
        self.pipe.close()
