"""The loop: propose, measure, learn, remember."""

from __future__ import annotations

import contextlib
import math
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from html import escape
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np

from autotune import machine, progress
from autotune.advisor import Advisor, Experience
from autotune.cost_model import Quality, quality
from autotune.database import Database, Failures, best, failures, rank
from autotune.measure.outcome import LIMITS, Limits, Outcome
from autotune.measure.runner import LocalRunner, Runner
from autotune.record import Record
from autotune.search import Candidate, EvolutionarySearch, Search
from autotune.space import Sketch, Space
from autotune.task import Kernel, Schedule, ScheduleError, Target, Task, WorkloadError
from autotune.zero_trial import open_spaces, suggest

BATCH = 16
LEADERS = 5  # candidates that are measured again at the end
_HOPE = 0.1  # of its time that the next batch may save, were it the second one
PASSES = 3  # measurements that the winner rests on, the first one included


@dataclass(frozen=True)
class Result:
    """What tuning found. best: None if no candidate worked; history: all records of the task, oldest first.

    >>> np.allclose(r.kernel(a, b), a @ b), len(r.schedule.trace.steps) > 0
    (True, True)

    Prints as its best time and the way there; a notebook shows the report on it.

    unsaved: the file that holds the records for which the log's disk had no room, if there are any.
    """

    task: Task
    best: Record | None
    history: list[Record]
    interrupted: bool = False
    unsaved: Path | None = None

    @cached_property
    def schedule(self) -> Schedule:
        """The best schedule; without one, that of the analytical model."""
        known = best_known(self.task, self.history)
        return suggest(self.task) if known is None else known[1]

    @cached_property
    def failures(self) -> list[Failures]:
        """The candidates that failed, by kind, the most frequent kind first."""
        return failures(self.history)

    @cached_property
    def kernel(self) -> Kernel:
        """The kernel of the best schedule."""
        return self.task.build(self.schedule)

    def __str__(self) -> str:
        """The best time, and how it was approached: the least seconds up to each trial, as bars of a line."""
        first = [r for r in self.history if r.run == 0]
        failed = sum(not r.ok for r in first)
        head = f"{self.task.name}: {len(first)} trials, {failed} failed"
        if self.best is None or not self.best.seconds:
            return f"{head}, nothing found"
        times = [r.seconds if r.ok and r.seconds else math.inf for r in first]
        least = [t for t in accumulate(times, min) if t < math.inf]
        speed = f", {self.best.gflops:.1f} GFLOP/s" if self.best.flops else ""
        best_time = progress.seconds(self.best.seconds)
        return (
            f"{head}, best {best_time} a call{speed}\nspeed of the best so far: {progress.bars([1 / t for t in least])}"
        )

    def _repr_html_(self) -> str:
        """The report on the task, as a notebook shows it, in a frame of its own style."""
        if not self.history:
            return f"<pre>{escape(str(self))}</pre>"
        from autotune.report import page  # which looks at tasks and records as this module does

        report = escape(page(self.history, self.task.name, [self.task]))
        return f'<iframe srcdoc="{report}" style="width: 100%; height: 44em; border: 0"></iframe>'


def tune(
    computed: Any,
    target: str | Target = "llvm",
    trials: int = 200,
    log: str | Path | None = None,
    seed: int = 0,
    *,
    search: Search | None = None,
    sketches: Sequence[Sketch] | None = None,
    runner: Runner | None = None,
    limits: Limits = LIMITS,
    minutes: float | None = None,
    cold: bool = False,
    show: progress.Progress | None = None,
) -> Result:
    """Search a fast schedule by measuring `trials` candidates on this machine.

    computed: a Tensor, a list of output Tensors, a Func or a Task, of known sizes. log: a file of JSON lines to
    append to; trials that it holds already are not repeated and count. minutes: no trial begins later. cold: time
    single calls after emptying the caches; such results are a task of their own in the log. An interrupt at the
    keyboard ends the search with what is known; the same call resumes. Equal seed, log and times give equal candidates.
    Raises WorkerError if the task cannot be run at all, WorkloadError if a size is open or a loop never runs.

    >>> r = tune(C, trials=2, log="tuned.jsonl")
    >>> r.best.gflops, r.kernel(a, b)
    """
    make_runner = None if runner is None else lambda task, seed, limits: _Borrowed(runner)
    return tune_all(
        [computed], target, trials, log, seed, search=search, sketches=sketches, make_runner=make_runner,
        limits=limits, minutes=minutes, cold=cold, show=show,
    )[0]  # fmt: skip


MakeRunner = Callable[[Task, int, Limits], Runner]  # from task, seed and limits


def tune_all(
    computed: Sequence[Any],
    target: str | Target = "llvm",
    trials: int = 200,
    log: str | Path | None = None,
    seed: int = 0,
    *,
    search: Search | None = None,
    sketches: Sequence[Sketch] | None = None,
    make_runner: MakeRunner | None = None,
    limits: Limits = LIMITS,
    minutes: float | None = None,
    cold: bool = False,
    budget: int | None = None,
    show: progress.Progress | None = None,
) -> list[Result]:
    """`tune` for several tasks, which take turns: `trials` for each, `minutes` for all together.

    budget: trials of all together, too; then each batch goes to the task that may gain the most seconds by it, as its
    latest batches tell. What is learnt from one task helps to foresee the others. make_runner: where to measure; by
    default worker processes of this machine.
    """
    tasks = [Task.of(c, target) for c in computed]
    for task in tasks:
        if task.is_empty:
            raise WorkloadError(f"{task.name} has a loop of length 0: there is nothing to tune")
    show, database = show or progress.Quiet(), Database(log)
    deadline = math.inf if minutes is None else time.monotonic() + 60 * minutes
    experience: Experience = {}
    sessions = [
        Session(t.with_cold_caches() if cold else t, database, trials, seed, search or EvolutionarySearch(), show,
                sketches, deadline, experience)
        for t in tasks
    ]  # fmt: skip
    interrupted = False
    try:
        if any(session.left for session in sessions):
            database.append([])  # a log that cannot be written is found out before anything is measured
            _take_turns(sessions, make_runner or _local_runner, limits, budget)
    except KeyboardInterrupt:
        interrupted = True
        for session in sessions:
            session.state.phase = "interrupted"
    finally:
        for session in sessions:
            show.finish(session.state)
        show.close()
    unsaved = database.rescue()
    found = [(s.task, database.records(s.task.key)) for s in sessions]
    return [Result(task, best(records), records, interrupted, unsaved) for task, records in found]


def _take_turns(sessions: Sequence[Session], make_runner: MakeRunner, limits: Limits, budget: int | None) -> None:
    """A batch of each session in turn, until all are done; within a budget of the one that may gain the most.

    Who measures has the machines to itself meanwhile.
    """
    left = math.inf if budget is None else budget
    turns = deque(session for session in sessions if session.left)
    while turns:
        if budget is not None:
            turns.rotate(-max(range(len(turns)), key=lambda n: turns[n].gain))
        session = turns.popleft()
        with contextlib.closing(make_runner(session.task, session.seed, limits)) as runner:
            more = keeps = True
            while more and keeps:
                before = session.state.done
                more = left > 0 and session.step(runner, left)
                left -= session.state.done - before
                keeps = not turns or (budget is not None and session.gain > max(other.gain for other in turns))
            if not more:
                session.confirm(runner)
        if more:
            turns.append(session)


def _local_runner(task: Task, seed: int, limits: Limits) -> Runner:
    return LocalRunner({"task": task.to_json(), "seed": seed}, limits)


class _Borrowed:
    """A runner that belongs to someone else, who will close it."""

    def __init__(self, runner: Runner):
        self.measure = runner.measure

    def close(self) -> None:
        pass


def compile(computed: Any, target: str | Target = "llvm", log: str | Path | None = None) -> Kernel:
    """The fastest kernel that the log knows for the task; without one, that of the analytical model.

    >>> autotune.compile(C, log="tuned.jsonl").signature
    'C(A: float32[8, 8], B: float32[8, 8]) -> C: float32[8, 8]'
    """
    task = Task.of(computed, target)
    known = best_known(task, Database(log).records(task.key)) if log is not None else None
    return task.build(suggest(task) if known is None else known[1])


def best_known(task: Task, records: Iterable[Record]) -> tuple[Record, Schedule] | None:
    """The fastest of these records of the task, and its schedule; None if none worked.

    A record whose steps are not legal for the task is passed over with a warning.
    """
    for record in rank(records):
        try:
            return record, task.replay(record.trace, record.names)
        except ScheduleError as error:
            warnings.warn(f"a record of {record.when} does not fit {task.name}: {error.oneline}", stacklevel=2)
    return None


class Session:
    """One tuning of one task: what is known, and what to do next."""

    def __init__(
        self,
        task: Task,
        database: Database,
        trials: int,
        seed: int,
        search: Search,
        show: progress.Progress,
        sketches: Sequence[Sketch] | None,
        deadline: float = math.inf,
        experience: Experience | None = None,
    ):
        self.task, self.database, self.seed = task, database, seed
        self._search, self._show, self._sketches = search, show, sketches
        self._machine: dict[str, Any] = {}
        self._deadline, self._experience = deadline, experience
        self._spaces: list[Space] = []
        self._advisor = Advisor((), search, seed, experience)
        self._bests: list[float | None] = []  # after each batch
        known = [r for r in database.records(task.key) if r.run == 0]
        self.state = progress.Snapshot(task.name, trials, resumed=len(known), done=len(known))
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
        candidates, expected = self._advisor.propose(int(min(BATCH, self.left, most)), self._measured(), self._seen())
        if candidates:
            self._batch(runner, candidates, expected)
            self._bests.append(None if self.state.best is None else self.state.best.seconds)
        else:
            self._tell("the search space is used up")
        return bool(candidates)

    def _open(self) -> None:
        self._tell("opening the search space")
        self._spaces = open_spaces(self.task, self._sketches)
        self._advisor = Advisor(self._spaces, self._search, self.seed, self._experience)
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
        self.state.quality = _pooled(quality(np.array(foreseen), np.array(seconds)), self.state.quality)

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
            seed=self.seed,
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
                return Candidate(index, tuple(record.knobs[name] for name in space.names))
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
        self._show.update(self.state)


def _pooled(fresh: Quality | None, before: Quality | None) -> Quality | None:
    """The quality to show: the latest batch that says something."""
    return before if fresh is None else fresh
