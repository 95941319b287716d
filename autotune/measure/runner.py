"""Runners measure candidates. Here: worker processes of this machine."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from autotune.measure.outcome import LIMITS, Limits, Outcome, WorkerError
from autotune.measure.process import State, WorkerProcess, wait
from autotune.task import num_threads

Job = dict[str, Any]
_MOST_BUILDERS = 8


class Runner(Protocol):
    """What the tuner asks of a measuring machinery, be it local or far away."""

    def measure(self, jobs: Sequence[Job]) -> Iterator[tuple[int, Outcome]]:
        """(index of the job, its outcome) for each job, in the order in which they end.

        A job is trace and names, maybe program and knobs, which are the same and sooner built (Task.scheduled), number,
        and best: the seconds to beat, which is looked up when the candidate runs. Jobs that are appended between
        outcomes are measured, too.
        """

    def close(self) -> None:
        """End all that was started."""


@dataclass(frozen=True)
class Cores:
    """How the CPUs of this machine are shared: some run candidates, the spare ones build meanwhile.

    Without spare ones all build, and whoever builds is paused while a candidate runs.
    """

    run: tuple[int, ...]
    spare: tuple[int, ...]

    @classmethod
    def plan(cls, threads: int, available: Sequence[int]) -> Cores:
        """For kernels of so many threads on these CPUs."""
        return cls(tuple(available[:threads]), tuple(available[threads:]))

    @property
    def workers(self) -> int:
        """Worker processes that are of use: one for each core that builds, and one more if another one runs beside."""
        if self.spare:
            return min(len(self.spare), _MOST_BUILDERS) + 1
        return min(len(self.run), _MOST_BUILDERS) if sys.platform == "linux" else 1  # a paused worker must die with us

    def pinned(self) -> dict[str, list[int]]:
        """The CPUs for each phase of a worker."""
        return {"run": list(self.run), "build": list(self.spare or self.run)}


class Waiting:
    """The numbers of the jobs that nobody has begun, of a list that may grow meanwhile."""

    def __init__(self, jobs: Sequence[Job]):
        self._jobs, self._next, self._again = jobs, 0, list[int]()

    def __bool__(self) -> bool:
        return bool(self._again) or self._next < len(self._jobs)

    def take(self) -> int:
        """The next one."""
        if self._again:
            return self._again.pop()
        self._next += 1
        return self._next - 1

    def give_back(self, number: int) -> None:
        """One that was begun in vain."""
        self._again.append(number)


class LocalRunner:
    """Worker processes that build, check and time candidates; several build at once, one runs at a time.

    setup, entry: see WorkerProcess; the workers share a folder, `scratch` in their setup. A worker is started anew
    after it died or was killed.
    """

    def __init__(
        self,
        setup: dict[str, Any],
        limits: Limits = LIMITS,
        entry: str = "autotune.measure.candidate:entry",
        cores: Cores | None = None,
    ):
        self._cores = cores or Cores.plan(num_threads(), available())
        self._scratch = tempfile.mkdtemp(prefix="autotune-")
        setup = {**setup, "scratch": self._scratch}
        self._workers = [WorkerProcess(entry, setup, limits, self._cores.pinned()) for _ in range(self._cores.workers)]

    def start(self) -> None:
        """Start a worker now; it leaves in `scratch` what the others need. Raises WorkerError if the setup fails."""
        self._workers[0].start()

    def measure(self, jobs: Sequence[Job]) -> Iterator[tuple[int, Outcome]]:
        self.start()
        waiting = Waiting(jobs)
        at: dict[WorkerProcess, int] = {}
        try:
            while waiting or at:
                for worker in self._workers:
                    if worker not in at and waiting:
                        at[worker] = waiting.take()
                        worker.submit(jobs[at[worker]])
                self._share(jobs, at)
                wait(self._workers)
                for worker in list(self._workers):
                    try:
                        outcome = worker.poll()
                    except WorkerError:
                        if worker is self._workers[0]:
                            raise
                        self._workers.remove(worker)  # there is no room for it; the first one does its work
                        waiting.give_back(at.pop(worker))
                        worker.close()
                        continue
                    if outcome is not None:
                        yield at.pop(worker), outcome
        finally:  # also when the consumer wants no more: nobody waits for what is in the middle of a job
            for worker in at:
                worker.kill()

    def _share(self, jobs: Sequence[Job], at: dict[WorkerProcess, int]) -> None:
        """Let the first candidate that is built run, unless one does; builders pause meanwhile if no core is spare."""
        running = [w for w in at if w.state is State.RUN]
        built = [w for w in at if w.state is State.BUILT]
        if not running and built:
            running = [min(built, key=at.__getitem__)]
            self._pause(running)
            running[0].go(best=jobs[at[running[0]]].get("best"))
        elif not running:
            for worker in self._workers:
                worker.resume()
        else:
            self._pause(running)

    def _pause(self, running: list[WorkerProcess]) -> None:
        if not self._cores.spare:
            for worker in self._workers:
                if worker not in running:
                    worker.pause()

    def close(self) -> None:
        for worker in self._workers:
            worker.close()
        shutil.rmtree(self._scratch, ignore_errors=True)

    def __enter__(self) -> LocalRunner:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def available() -> list[int]:
    """The CPUs that this process may use."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(os.cpu_count() or 1))
