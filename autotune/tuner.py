"""Tuning: of several tasks the one that may gain the most comes next, until trials or the time are used up."""

from __future__ import annotations

import contextlib
import math
import time
import warnings
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from html import escape
from itertools import accumulate
from pathlib import Path
from typing import Any

from autotune import progress
from autotune.advisor import Experience
from autotune.database import Database, Failures, best, failures, rank
from autotune.measure.gpu_runner import GpuRunner
from autotune.measure.outcome import LIMITS, Limits
from autotune.measure.runner import LocalRunner, Runner
from autotune.record import Record
from autotune.search import EvolutionarySearch, Search
from autotune.session import Plan, Session
from autotune.space import Sketch
from autotune.task import Kernel, Schedule, ScheduleError, Target, Task, View, WorkloadError, fragment
from autotune.zero_trial import suggest


@dataclass(frozen=True)
class Result(View):
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
        """The report on the task, as a notebook shows it, in a frame of its own style but in the notebook's theme."""
        if not self.history:
            return f"<pre>{escape(str(self))}</pre>"
        from autotune.report import page  # which looks at tasks and records as this module does

        report = escape(page(self.history, self.task.name, [self.task]))
        return fragment(f'<iframe srcdoc="{report}" style="width: 100%; height: 44em; border: 0"></iframe>')


def tune(
    computed: Any,
    target: str | Target | None = None,
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

    computed: a Tensor, a list of output Tensors, a Func or a Task, of known sizes. target: None is that of a Task, and
    "llvm", this CPU, for all else. log: a file of JSON lines to append to; trials that it holds already are not
    repeated and count. minutes: no trial begins later. cold: time single calls after emptying the caches; such results
    are a task of their own in the log. An interrupt at the keyboard ends the search with what is known; the same call
    resumes. Equal seed, log and times give equal candidates.
    Raises WorkerError if the task cannot be run at all, WorkloadError if a size is open or a loop never runs.

    >>> r = tune(C, trials=2, log="tuned.jsonl")
    >>> r.best.gflops, r.kernel(a, b)
    """
    make_runner = None if runner is None else lambda task, seed, limits: _Borrowed(runner)
    plan = Plan(
        trials=trials, minutes=minutes, seed=seed, search=search or EvolutionarySearch(), sketches=sketches, cold=cold,
        limits=limits, make_runner=make_runner, show=show or progress.Quiet(),
    )  # fmt: skip
    return tune_all([Task.of(computed, target)], plan, log)[0]


def tune_all(tasks: Sequence[Task], plan: Plan, log: str | Path | None = None) -> list[Result]:
    """`tune` for several tasks: `plan.trials` for each, `plan.minutes` for all together.

    Each batch goes to the task that may gain the most seconds by it, as its latest batches tell. What is learnt from
    one task helps to foresee the others.
    """
    for task in tasks:
        if task.is_empty:
            raise WorkloadError(f"{task.name} has a loop of length 0: there is nothing to tune")
    database = Database(log)
    deadline = math.inf if plan.minutes is None else time.monotonic() + 60 * plan.minutes
    experience: Experience = {}
    timed = [task.with_cold_caches() if plan.cold else task for task in tasks]
    sessions = [Session(task, database, plan, deadline, experience) for task in timed]
    interrupted = False
    try:
        if any(session.left for session in sessions):
            database.append([])  # a log that cannot be written is found out before anything is measured
            _take_turns(sessions, plan)
    except KeyboardInterrupt:
        interrupted = True
        for session in sessions:
            session.state.phase = "interrupted"
    finally:
        for session in sessions:
            plan.show.finish(session.state)
        plan.show.close()
    unsaved = database.rescue()
    found = [(s.task, database.records(s.task.key)) for s in sessions]
    return [Result(task, best(records), records, interrupted, unsaved) for task, records in found]


def _take_turns(sessions: Sequence[Session], plan: Plan) -> None:
    """A batch of the session that may gain the most, until all are done. Who measures has the machines to itself."""
    make_runner = plan.make_runner or local_runner
    budget = math.inf if plan.budget is None else plan.budget

    def left() -> float:
        """Trials of the budget."""
        return budget - sum(session.state.done - session.state.resumed for session in sessions)

    turns = deque(session for session in sessions if session.left)
    while turns:
        turns.rotate(-max(range(len(turns)), key=lambda n: turns[n].gain))
        session = turns.popleft()
        with contextlib.closing(make_runner(session.task, plan.seed, plan.limits)) as runner:
            more = keeps = True
            while more and keeps:
                more = left() > 0 and session.step(runner, left())
                keeps = all(session.gain > other.gain for other in turns)
            session.settle(runner)
            if not more:
                session.confirm(runner)
        if more:
            turns.append(session)


def local_runner(task: Task, seed: int, limits: Limits) -> Runner:
    """Worker processes of this machine, for its CPU or its GPU."""
    make = GpuRunner if task.target.simt else LocalRunner
    return make({"task": task.to_json(), "seed": seed}, limits)


class _Borrowed:
    """A runner that belongs to someone else, who will close it."""

    def __init__(self, runner: Runner):
        self.measure = runner.measure

    def close(self) -> None:
        pass


def compile(computed: Any, target: str | Target | None = None, log: str | Path | None = None) -> Kernel:
    """The fastest kernel that the log knows for the task; without one, that of the analytical model. target: see tune.

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
