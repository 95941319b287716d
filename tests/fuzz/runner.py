"""Cases in worker processes, so that a crash or a loop without end is a result like any other."""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from typing import Any

import tensorlang as tl
from tests.fuzz.case import Case, CaseFailure, Tried, draw_case
from tests.fuzz.check import Failure

FORK = multiprocessing.get_context("fork")
PATIENCE = 60.0  # seconds that a case may take


@dataclass
class Result:
    """What became of the case of that seed; `kind` is "" if all is well."""

    seed: int
    kind: str = ""
    details: str = ""
    case: Case | None = None
    tried: list[Tried] = field(default_factory=list)


def run_seed(seed: int) -> Result:
    """Draw a case and check it."""
    result = Result(seed)
    try:
        trial = draw_case(seed)
        result.case, result.tried = trial.case, trial.tried
        trial.check()
    except CaseFailure as error:
        result.case, result.kind, result.details = error.case, error.failure.kind, error.failure.details
    except Failure as error:
        result.kind, result.details = error.kind, error.details
    return result


def kind_of(case: Case) -> str:
    """How the case fails, "" if it does not, tried in a process of its own."""

    def work(pipe: Connection) -> None:
        try:
            case.run()
            pipe.send("")
        except Failure as error:
            pipe.send(error.kind)
        except (tl.ExprError, LookupError, NameError, TypeError, SyntaxError, ValueError):
            pipe.send("no meaning")

    worker = _Worker(work)
    try:
        return worker.receive(PATIENCE)
    except _Dead as dead:
        return str(dead)
    finally:
        worker.stop()


def run_seeds(seeds: Iterator[int], jobs: int, until: float = float("inf")) -> Iterator[Result]:
    """The results of `seeds`, on `jobs` processes, as they come; none is begun after the time `until`."""
    if jobs == 0:
        yield from (run_seed(seed) for seed in iter(lambda: _next(seeds, until), None))
        return
    workers = [_SeedWorker() for _ in range(jobs)]
    busy: list[_SeedWorker] = []
    try:
        for worker in workers:
            if worker.give(_next(seeds, until)):
                busy.append(worker)
        while busy:
            wait([w.pipe for w in busy], timeout=1)
            for worker in [w for w in busy if w.ready()]:
                result = worker.result()
                if result is None:
                    continue
                yield result
                if not worker.give(_next(seeds, until)):
                    busy.remove(worker)
    finally:
        for worker in workers:
            worker.stop()


def _next(seeds: Iterator[int], until: float) -> int | None:
    return None if time.monotonic() > until else next(seeds, None)


class _Dead(Exception):
    """The process died, or took too long; the text says how."""


class _Worker:
    """A forked process that runs work(pipe)."""

    def __init__(self, work: Callable[[Connection], None]):
        self.pipe, theirs = FORK.Pipe()

        def run() -> None:
            os.environ["TENSORLANG_CACHE"] = "off"  # no two kernels are alike
            work(theirs)

        self.process = FORK.Process(target=run, daemon=True)
        self.process.start()
        theirs.close()

    def receive(self, patience: float) -> Any:
        if not self.pipe.poll(patience):
            raise _Dead("hang")
        try:
            return self.pipe.recv()
        except EOFError:
            self.process.join()
            raise _Dead(f"crash: exit code {self.process.exitcode}") from None

    def stop(self) -> None:
        self.process.kill()
        self.process.join()
        self.pipe.close()


def _serve(pipe: Connection) -> None:
    while True:
        try:
            seed = pipe.recv()
        except EOFError:
            return
        pipe.send(run_seed(seed))


class _SeedWorker(_Worker):
    """A worker that takes seeds, one at a time."""

    def __init__(self) -> None:
        super().__init__(_serve)
        self.seed, self.since, self.again = 0, 0.0, False

    def give(self, seed: int | None, again: bool = False) -> bool:
        if seed is None:
            return False
        self.seed, self.since, self.again = seed, time.monotonic(), again
        self.pipe.send(seed)
        return True

    def ready(self) -> bool:
        return self.pipe.poll(0) or time.monotonic() - self.since > PATIENCE

    def result(self) -> Result | None:
        """The result of the seed that was given; of a process that is gone, with a fresh one in its place.

        None if the seed is tried again: what takes long once may have met a machine that was stopped or busy.
        """
        try:
            return self.receive(0)
        except _Dead as dead:
            self.stop()
            _Worker.__init__(self, _serve)
            if str(dead) == "hang" and not self.again:
                self.give(self.seed, again=True)
                return None
            return Result(self.seed, str(dead), case=_redrawn(self.seed))


def _redrawn(seed: int) -> Case | None:
    """The case of a seed whose process is gone; None if drawing it is what ended the process."""

    def work(pipe: Connection) -> None:
        pipe.send(draw_case(seed, sampled=0).case)

    worker = _Worker(work)
    try:
        return worker.receive(PATIENCE)
    except _Dead:
        return None
    finally:
        worker.stop()
