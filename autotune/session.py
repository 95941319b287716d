"""One tuning of one task: propose, measure, learn, remember."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from autotune import machine, progress
from autotune.advisor import Advisor, Experience
from autotune.cost_model import Quality, quality
from autotune.database import Database, best, rank
from autotune.measure.outcome import LIMITS, Limits, Outcome
from autotune.measure.runner import Runner
from autotune.record import Record
from autotune.search import Candidate, EvolutionarySearch, Search, size
from autotune.space import Sketch, Space
from autotune.task import Task
from autotune.zero_trial import open_spaces

BATCH = 16
GPU_BATCH = 48  # of which many are built at the same time
LEADERS = 5  # candidates that are measured again at the end
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
        """Measure a batch, of at most so many candidates; False if there is nothing left to try."""
        if not self._spaces:
            self._open()
        if not self.left or self._late:
            return False
        count = int(min(GPU_BATCH if self.task.target.simt else BATCH, self.left, most))
        candidates, expected = self._advisor.propose(count, self._measured(), self._seen())
        self.state.space = sum(map(size, self._spaces))
        self.state.scored = sum(map(min, self._advisor.scored, map(size, self._spaces)))
        if candidates:
            self._batch(runner, candidates, expected)
            self._bests.append(None if self.state.best is None else self.state.best.seconds)
        else:
            self._tell("the search space is used up")
        return bool(candidates)

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

    def _batch(self, runner: Runner, candidates: list[Candidate], expected: np.ndarray) -> None:
        traces = [self._spaces[c.space].trace(self._spaces[c.space].named(c.values)) for c in candidates]
        first = self.state.done
        names, beat = self.task.names, self._seconds_to_beat()
        jobs = [{"trace": t, "names": names, "number": first + n, "best": beat} for n, t in enumerate(traces)]
        foreseen, seconds = [], []
        for at, outcome in runner.measure(jobs):
            record = self._remember(candidates[at], traces[at], names, outcome, expected=float(np.exp(expected[at])))
            for job in jobs:  # those that have not run yet look it up then
                job["best"] = self._seconds_to_beat()
            if record.ok and record.seconds is not None:
                foreseen.append(expected[at])
                seconds.append(record.seconds)
            self._tell("measuring")
            if self._late:
                break
        self.state.quality = quality(np.array(foreseen), np.array(seconds)) or self.state.quality
        self.state.overall = self._overall()

    def _overall(self) -> Quality | None:
        """How well all candidates were foreseen, each before it was measured."""
        known = (r for r in self.database.records(self.task.key) if r.run == 0 and r.ok)
        pairs = [(r.expected, r.seconds) for r in known if r.expected and r.seconds is not None]
        return quality(*np.array(pairs).T) if pairs else None

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
            jobs = [{"trace": r.trace, "names": r.names, "number": r.run + 1, "best": None} for r in leaders]
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
                if all(value in choices for value, choices in zip(values, space.choices, strict=True)):
                    return Candidate(index, values)
        return None

    def _seen(self) -> set[Candidate]:
        found = (self._candidate(r) for r in self.database.records(self.task.key))
        return {c for c in found if c is not None}

    def _measured(self) -> list[tuple[Candidate, float]]:
        """Candidates that worked, with seconds."""
        pairs = ((self._candidate(r), r.seconds) for r in rank(self.database.records(self.task.key)))
        return [(c, t) for c, t in pairs if c is not None and t is not None]

    def _seconds_to_beat(self) -> float | None:
        return None if self.state.best is None else self.state.best.seconds

    def _tell(self, phase: str) -> None:
        self.state.phase = phase
        self.plan.show.update(self.state)
