"""Cases in worker processes, so that a crash or a loop without end is a result like any other."""

from __future__ import annotations

import multiprocessing
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from typing import Any

import tensorlang as tl
from tests.fuzz.case import Case, CaseFailure, Tried, draw_case
from tests.fuzz.check import Failure
from tests.fuzz.refusals import HARMLESS

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
        result.case, result.tried = draw_case(seed)
        result.case.run()
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
                yield worker.result()
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
        self.process = FORK.Process(target=work, args=(theirs,), daemon=True)
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
        self.seed, self.since = 0, 0.0

    def give(self, seed: int | None) -> bool:
        if seed is None:
            return False
        self.seed, self.since = seed, time.monotonic()
        self.pipe.send(seed)
        return True

    def ready(self) -> bool:
        return self.pipe.poll(0) or time.monotonic() - self.since > PATIENCE

    def result(self) -> Result:
        """The result of the seed that was given; of a process that is gone, with a fresh one in its place."""
        try:
            return self.receive(0)
        except _Dead as dead:
            self.stop()
            super().__init__(_serve)
            return Result(self.seed, str(dead), case=_redrawn(self.seed))


def _redrawn(seed: int) -> Case | None:
    """The case of a seed whose process is gone; None if drawing it is what ended the process."""

    def work(pipe: Connection) -> None:
        pipe.send(draw_case(seed, sampled=0)[0])

    worker = _Worker(work)
    try:
        return worker.receive(PATIENCE)
    except _Dead:
        return None
    finally:
        worker.stop()


class Report:
    """Counts of what was tried, and one failure of each kind."""

    def __init__(self) -> None:
        self.cases = 0
        self.accepted: Counter[str] = Counter()
        self.refused: Counter[tuple[str, str]] = Counter()
        self.hintless: Counter[tuple[str, str]] = Counter()
        self.unchecked: Counter[tuple[str, str, str]] = Counter()
        self.kinds: Counter[str] = Counter()
        self.failures: dict[str, Result] = {}

    def add(self, result: Result) -> None:
        self.cases += 1
        for t in result.tried:
            if not t.reason:
                self.accepted[t.op] += 1
                continue
            self.refused[t.op, t.reason] += 1
            self.hintless[t.op, t.reason] += not t.hint
            if t.unchecked:
                self.unchecked[t.op, t.reason, t.unchecked] += 1
        if result.kind:
            self.kinds[result.kind] += 1
            self.failures.setdefault(result.kind, result)

    def table(self, reasons: bool = False) -> str:
        """One line a primitive: uses accepted and refused, refusals tried unchecked and harmless among them."""
        ops = sorted({*self.accepted, *(op for op, _ in self.refused)})
        lines = [f"{'':44}{'accepted':>9}{'refused':>9}{'no hint':>9}{'unchecked':>11}{'harmless':>10}"]
        for op in ops:
            lines.append(self._line(op, [k for k in self.refused if k[0] == op], str(self.accepted[op])))
            if reasons:
                lines += [self._line(f"  {k[1]}", [k], "") for k in sorted(self.refused) if k[0] == op]
        return "\n".join(lines)

    def _line(self, title: str, keys: list[tuple[str, str]], accepted: str) -> str:
        tried = sum(n for (op, reason, _), n in self.unchecked.items() if (op, reason) in keys)
        harmless = sum(self.unchecked[op, reason, HARMLESS] for op, reason in keys)
        share = f"{harmless / tried:.0%}" if tried else "-"
        counts = [sum(self.refused[k] for k in keys), sum(self.hintless[k] for k in keys)]
        return f"{title:44}{accepted:>9}{counts[0]:>9}{counts[1]:>9}{tried:>11}{harmless:>5} {share:>4}"
