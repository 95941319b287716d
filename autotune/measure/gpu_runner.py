"""The runner for a GPU: processes on all cores build candidates, and one measures them, on a GPU of its own."""

from __future__ import annotations

import dataclasses
import shutil
import tempfile
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from autotune.measure.outcome import LIMITS, Limits, Outcome, Status, WorkerError
from autotune.measure.process import State, WorkerProcess, wait
from autotune.measure.runner import Job, Waiting, available

_NO_LIMIT = 1 << 46  # bytes of addresses, which the driver takes for the memory of the GPU


class GpuRunner:
    """Builders never touch the GPU; the process that measures is started anew when a candidate has ruined it.

    setup: see gpu_candidate.py; builders: how many, by default one for each core but one.
    """

    def __init__(
        self,
        setup: dict[str, Any],
        limits: Limits = LIMITS,
        builders: int | None = None,
        build: str = "autotune.measure.gpu_candidate:build",
        measure: str = "autotune.measure.gpu_candidate:measure",
    ):
        self._scratch = Path(tempfile.mkdtemp(prefix="autotune-"))
        setup = {**setup, "scratch": str(self._scratch)}
        count = max(1, len(available()) - 1) if builders is None else builders
        self._builders = [WorkerProcess(build, setup, limits) for _ in range(count)]
        self._device = WorkerProcess(measure, setup, dataclasses.replace(limits, memory_bytes=_NO_LIMIT))
        for worker in (self._device, *self._builders):  # they get ready while others prepare jobs
            worker.launch()

    def measure(self, jobs: Sequence[Job]) -> Iterator[tuple[int, Outcome]]:
        waiting = Waiting(jobs)
        building: dict[WorkerProcess, int] = {}
        built: deque[tuple[int, Outcome]] = deque()
        measuring: tuple[int, Outcome] | None = None
        try:
            while waiting or building or built or measuring:
                for worker in self._builders:
                    if worker not in building and waiting:
                        building[worker] = waiting.take()
                        job, file = jobs[building[worker]], str(self._file(building[worker]))
                        worker.submit({**job, "file": file})
                if measuring is None and built:
                    measuring = built.popleft()
                    job, file = jobs[measuring[0]], str(self._file(measuring[0]))
                    self._device.submit({**job, "file": file})
                if measuring is not None and self._device.state is State.BUILT:
                    self._device.go(best=jobs[measuring[0]].get("best"))
                wait([*self._builders, self._device])
                for at, outcome in self._poll_builders(building, waiting):
                    if outcome.status is Status.OK:
                        built.append((at, outcome))
                    else:
                        yield at, outcome
                measured = self._device.poll()
                if measured is not None and measuring is not None:
                    (at, of_builder), measuring = measuring, None
                    self._file(at).unlink(missing_ok=True)
                    yield at, _together(of_builder, measured)
        finally:  # also when the consumer wants no more: nobody waits for what is in the middle of a job
            for worker in building:
                worker.kill()
            if measuring is not None:
                self._device.kill()

    def _poll_builders(self, building: dict[WorkerProcess, int], waiting: Waiting) -> list[tuple[int, Outcome]]:
        """What has been built, or could not be."""
        found = []
        for worker in list(self._builders):
            try:
                outcome = worker.poll()
            except WorkerError:
                if len(self._builders) == 1:
                    raise
                self._builders.remove(worker)  # there is no room for it; others do its work
                waiting.give_back(building.pop(worker))
                worker.close()
                continue
            if outcome is not None:
                found.append((building.pop(worker), outcome))
        return found

    def _file(self, at: int) -> Path:
        return self._scratch / f"kernel-{at}"

    def __enter__(self) -> GpuRunner:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        for worker in (*self._builders, self._device):
            worker.close()
        shutil.rmtree(self._scratch, ignore_errors=True)


def _together(built: Outcome, measured: Outcome) -> Outcome:
    """The outcome of a candidate that one process has built and another one measured."""
    return dataclasses.replace(
        measured,
        build_seconds=built.build_seconds,
        wall_seconds=built.wall_seconds + measured.wall_seconds,
    )
