"""Runners measure candidates. Here: worker processes of this machine."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

from autotune.measure.outcome import LIMITS, Limits, Outcome
from autotune.measure.process import WorkerProcess

Job = dict[str, Any]


class Runner(Protocol):
    """What the tuner asks of a measuring machinery, be it local or far away."""

    def measure(self, jobs: Sequence[Job]) -> Iterator[tuple[int, Outcome]]:
        """(index of the job, its outcome) for each job, in the order in which they end."""

    def close(self) -> None:
        """End all that was started."""


class LocalRunner:
    """One persistent worker process that builds, checks and times candidates, one after the other.

    Building therefore never disturbs measuring. The worker is started anew after it died or was killed.
    """

    def __init__(self, setup: dict[str, Any], limits: Limits = LIMITS, entry: str = "autotune.measure.candidate:entry"):
        self._scratch = tempfile.mkdtemp(prefix="autotune-")
        self._worker = WorkerProcess(entry, {**setup, "scratch": self._scratch}, limits)

    def start(self) -> None:
        """Start the worker now. Raises WorkerError if the task itself cannot be set up."""
        self._worker.start()

    def measure(self, jobs: Sequence[Job]) -> Iterator[tuple[int, Outcome]]:
        for index, job in enumerate(jobs):
            yield index, self._worker.run(job)

    def close(self) -> None:
        self._worker.close()
        shutil.rmtree(self._scratch, ignore_errors=True)

    def __enter__(self) -> LocalRunner:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
