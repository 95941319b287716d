"""One tuning of one task: propose, measure, learn, remember."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from autotune import machine, progress
from autotune.advisor import Advisor, Experience
from autotune.cost_model import Quality, quality
from autotune.database import Database, best, rank
from autotune.measure.outcome import LIMITS, Limits, Outcome
from autotune.measure.runner import Job, Runner
from autotune.record import Record
from autotune.search import Candidate, EvolutionarySearch, Search, size
from autotune.space import Sketch, Space
from autotune.task import Task
from autotune.zero_trial import open_spaces

BATCH = 16
GPU_BATCH = 32  # of which many are built at the same time
GPU_AHEAD = 1  # batches that are under way beside the oldest one
LEADERS = 5  # candidates that are measured again at the end
GPU_RUNS = 30  # of each of them: calls are short there, and their times close to each other
PASSES = 3  # measurements that the winner rests on, the first one included
_HOPE = 0.1  # of its time that the next batch may save, were it the second one

MakeRunner = Callable[[Task, int, Limits], Runner]  # from task, seed and limits


@dataclass(frozen=True)
class Plan:
    """How tasks are tuned.

    trials: of each task; budget: of all together, too; minutes: no trial begins later; sketches: by default those that
    the rules make; cold: time single calls after emptying the caches; make_runner: where to measure, by default in
    worker processes of this machine.
    """

    trials: int = 200
    budget: int | None = None
    minutes: float | None = None
    seed: int = 0
    search: Search = field(default_factory=EvolutionarySearch)
    sketches: Sequence[Sketch] | None = None
    cold: bool = False
    limits: Limits = LIMITS
    make_runner: MakeRunner | None = None
    show: progress.Progress = field(default_factory=progress.Quiet)


@dataclass
class _Batch:
    """Candidates under way. expected: log(seconds) of each; start: the number of the first one among the jobs; left:
    those that are not measured yet; measured: log(seconds) expected of those that worked, and the seconds."""

    candidates: list[Candidate]
    expected: np.ndarray
    start: int
    left: set[int]
    measured: list[tuple[float, float]] = field(default_factory=list)


class Session:
    """What is known of a task, and what to do next."""

    def __init__(
        self,
        task: Task,
        database: Database,
        plan: Plan,
        deadline: float = math.inf,
        experience: Experience | None = None,
    ):
        self.task, self.database, self.plan = task, database, plan
        self._machine: dict[str, Any] = {}
        self._deadline, self._experience = deadline, experience
        self._spaces: list[Space] = []
        self._advisor = Advisor((), plan.search, plan.seed, experience)
        self._bests: list[float | None] = []  # after each batch
        self._batches = deque[_Batch]()  # under way, the oldest first
        self._jobs: list[Job] = []  # theirs, and of those before that the runner was given, too
        self._ends: Iterator[tuple[int, Outcome]] = iter(())  # of these jobs
        known = [r for r in database.records(task.key) if r.run == 0]
        self.state = progress.Snapshot(task.name, plan.trials, resumed=len(known), done=len(known))
        for record in known:
            if not record.ok:
                self.state.fail(record)
        self.state.best = best(database.records(task.key))

    @property
    def left(self) -> int:
        """Trials still to do."""
        return max(0, self.state.trials - self.state.done)

    @property
    def gain(self) -> float:
        """Seconds that the next batch may save: what the latest one saved of its time, or hope that fades."""
        known = [t for t in self._bests if t is not None]
        if not known:
            return math.inf
        saved = 1 - known[-1] / known[-2] if len(known) > 1 else 1.0
        return known[-1] * max(saved, _HOPE / len(known))

    def step(self, runner: Runner, most: float = math.inf) -> bool:
        """Measure until another batch is complete; at most so many candidates. False if there is nothing left to try.

        For a GPU, the next batch is under way by then, so that nobody waits for the last ones of a batch. What is in it
        depends on complete batches alone, not on how fast the others are.
        """
        if not self._spaces:
            self._open()
        ahead = GPU_AHEAD if self.task.target.simt else 0
        while len(self._batches) <= ahead and not self._late and self._begin(most):
            pass
        return self._complete_batch(runner)

    def settle(self, runner: Runner) -> None:
        """Measure what is under way."""
        while self._complete_batch(runner):
            pass

    def _open(self) -> None:
        self._tell("opening the search space")
        self._spaces = open_spaces(self.task, self.plan.sketches)
        self._advisor = Advisor(self._spaces, self.plan.search, self.plan.seed, self._experience)
        if not self.task.target.simt:  # facts of a GPU come from the process that measures on it
            self._tell("measuring the machine's peak")
            self._machine = machine.facts(self.database.records())
            self.state.peak_gflops = self._machine.get("peak_gflops", 0.0)
        self._tell("starting a worker")

    @property
    def _late(self) -> bool:
        return time.monotonic() > self._deadline

    @property
    def _under_way(self) -> int:
        """Candidates that are proposed and not measured yet."""
        return sum(len(batch.left) for batch in self._batches)

    def _begin(self, most: float) -> bool:
        """Propose a batch, so that no more than `most` candidates are under way; False if there is none."""
        largest = GPU_BATCH if self.task.target.simt else BATCH
        count = int(min(largest, min(self.left, most) - self._under_way))
        if count <= 0:
            return False
        proposed = {candidate for batch in self._batches for candidate in batch.candidates}
        measured = [(c, t) for c, t in self._measured() if c not in proposed]
        candidates, expected = self._advisor.propose(count, measured, self._seen() | proposed)
        self.state.space = sum(map(size, self._spaces))
        self.state.scored = sum(map(min, self._advisor.scored, map(size, self._spaces)))
        if not candidates:
            self._tell("the search space is used up")
            return False
        first = self.state.done + self._under_way
        self._batches.append(_Batch(candidates, expected, len(self._jobs), set(range(len(candidates)))))
        for number, candidate in enumerate(candidates, first):
            self._jobs.append({**self._job(candidate), "number": number, "best": self._seconds_to_beat()})
        return True

    def _job(self, candidate: Candidate) -> Job:
        """What tells a worker what to build."""
        space = self._spaces[candidate.space]
        knobs = space.named(candidate.values)
        steps = {"trace": space.trace(knobs), "names": self.task.names}
        return steps if space.program is None else {**steps, "program": space.program, "knobs": knobs}

    def _complete_batch(self, runner: Runner) -> bool:
        """Measure until the oldest batch is complete, or no time is left; False if none is under way."""
        if not self._batches:
            return False
        oldest = self._batches[0]
        if not oldest.start:
            self._ends = runner.measure(self._jobs)
        while oldest.left and (end := next(self._ends, None)) is not None:
            self._take(*end)
            if self._late:
                break
        self._batches.popleft()
        if self._late:
            self._batches.clear()
        if not self._batches:
            self._ends, self._jobs = iter(()), []
        self.state.quality = _quality(oldest.measured) or self.state.quality
        self.state.overall = self._overall()
        self._bests.append(None if self.state.best is None else self.state.best.seconds)
        return True

    def _take(self, job: int, outcome: Outcome) -> None:
        """Note what became of a job."""
        batch = next(batch for batch in reversed(self._batches) if batch.start <= job)
        at = job - batch.start
        candidate, expected = batch.candidates[at], float(batch.expected[at])
        trace, names = self._jobs[job]["trace"], self._jobs[job]["names"]
        record = self._remember(candidate, trace, names, outcome, expected=math.exp(expected))
        batch.left.discard(at)
        for other in self._jobs[self._batches[0].start :]:  # those that have not run yet look it up then
            other["best"] = self._seconds_to_beat()
        if record.ok and record.seconds is not None:
            batch.measured.append((expected, record.seconds))
        self._tell("measuring")

    def _overall(self) -> Quality | None:
        """How well all candidates were foreseen, each before it was measured."""
        known = (r for r in self.database.records(self.task.key) if r.run == 0 and r.ok)
        return _quality([(r.expected, r.seconds) for r in known if r.expected and r.seconds is not None])

    def _remember(
        self,
        candidate: Candidate,
        trace: dict[str, Any],
        names: list[str],
        outcome: Outcome,
        run: int = 0,
        expected: float | None = None,
    ) -> Record:
        space = self._spaces[candidate.space]
        record = Record(
            key=self.task.key,
            task=self.task.name,
            target=self.task.target_facts,
            sketch=space.sketch.name,
            knobs=space.named(candidate.values),
            trace=trace,
            names=names,
            run=run,
            expected=expected,
            flops=self.task.flops,
            seed=self.plan.seed,
            **{**asdict(outcome), "status": outcome.status.value, "machine": outcome.machine or self._machine},
        )
        self.database.append([record])
        if run == 0:
            self.state.done += 1
            if not record.ok:
                self.state.fail(record)
            elif record.seconds is not None and record.seconds < (self._seconds_to_beat() or math.inf):
                self.state.best = record
        else:
            self.state.best = best(self.database.records(self.task.key))
        return record

    def confirm(self, runner: Runner) -> None:
        """Measure the leaders again in passes of their own: one measurement may owe its time to luck."""
        self._tell("measuring the leaders again")
        for _ in range(2 * PASSES):
            records = self.database.records(self.task.key)
            leaders = [r for r in rank(records)[:LEADERS] if r.run + 1 < PASSES]
            if not leaders:
                break
            many = {"runs": GPU_RUNS} if self.task.target.simt else {}
            jobs: list[Job] = [
                {"trace": r.trace, "names": r.names, "number": r.run + 1, "best": None, **many} for r in leaders
            ]
            for at, outcome in runner.measure(jobs):
                candidate = self._candidate(leaders[at])
                if candidate is not None:
                    leader = leaders[at]
                    self._remember(candidate, leader.trace, leader.names, outcome, run=leader.run + 1)
                self._tell("measuring the leaders again")
        self._tell("out of time" if self.left and self._late else "done")

    def _candidate(self, record: Record) -> Candidate | None:
        """Where a record lies in today's spaces; None if it lies nowhere."""
        for index, space in enumerate(self._spaces):
            if space.sketch.name == record.sketch and set(space.names) == record.knobs.keys():
                values = tuple(record.knobs[name] for name in space.names)
                if all(value in knob.choices for value, knob in zip(values, space.knobs, strict=True)):
                    return Candidate(index, values)
        return None

    def _seen(self) -> set[Candidate]:
        found = (self._candidate(r) for r in self.database.records(self.task.key))
        return {c for c in found if c is not None}

    def _measured(self) -> list[tuple[Candidate, float]]:
        """Candidates that worked, with seconds, the fastest first, in an order that does not depend on the log's."""
        pairs = ((self._candidate(r), r.seconds) for r in rank(self.database.records(self.task.key)))
        found = [(c, t) for c, t in pairs if c is not None and t is not None]
        return sorted(found, key=lambda pair: (pair[1], pair[0].space, pair[0].values))

    def _seconds_to_beat(self) -> float | None:
        return None if self.state.best is None else self.state.best.seconds

    def _tell(self, phase: str) -> None:
        self.state.phase = phase
        self.plan.show.update(self.state)


def _quality(pairs: Sequence[tuple[float, float]]) -> Quality | None:
    """Of pairs of what was expected and the seconds."""
    return quality(*np.array(pairs).T) if pairs else None
