"""What a worker does with a candidate: replay its trace, build, check against the reference, time."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from autotune.measure import check
from autotune.measure.racing import HOPELESS, race, summary
from autotune.measure.worker import Built, Run
from autotune.task import Array, Kernel, Task

INPUT_SETS = 2  # that candidates meet in turn
_LONG = 1e-3  # seconds of a call that are worth saving
_RUN_SECONDS = 0.004  # at least, for a run
_FLUSH_FACTOR = 2  # bytes to write for each byte of cache, so that nothing of a kernel's data is left there


def entry(setup: dict[str, Any]) -> Run:
    """setup: task (Task.to_json), seed, scratch (a folder that workers of this tuning share)."""
    task = Task.from_json(setup["task"])
    reference = Reference(task, setup["seed"], Path(setup["scratch"]))

    def run(job: dict[str, Any], built: Built) -> dict[str, Any]:
        """job: as Task.scheduled takes it; number; best, the seconds to beat, or None."""
        kernel = task.build(task.scheduled(job))
        built()
        return reference.measure(kernel, job["number"] % INPUT_SETS, job["best"])

    return run


class Reference:
    """Inputs with the outputs that an untiled kernel computes from them, shared through files in `scratch`.

    A task with cold caches is timed by single calls, each after the caches were emptied, instead of warm ones in a row.
    """

    def __init__(self, task: Task, seed: int, scratch: Path):
        self._length = task.reduction_length
        self._flush = np.zeros(_FLUSH_FACTOR * task.cache_bytes, np.uint8) if task.cold else None
        input_specs, output_specs = task.arrays()
        self._outputs = [check.Output(spec) for spec in output_specs]
        self._inputs = [check.inputs(input_specs, (seed, number)) for number in range(INPUT_SETS)]
        files = [scratch / f"reference-{number}" for number in range(INPUT_SETS)]
        if not files[-1].exists():
            kernel = task.build(task.plain())
            for file, arrays in zip(files, self._inputs, strict=True):
                _save(file, self._call(kernel, arrays))
        self._wanted = [_load(file, output_specs) for file in files]

    def measure(self, kernel: Kernel, number: int, best: float | None) -> dict[str, Any]:
        """Seconds of a run, after the answer was checked. Raises WrongAnswer."""
        arrays = self._inputs[number]
        for output in self._outputs:
            output.poison()
        first = self._seconds(kernel, arrays)
        for output, want in zip(self._outputs, self._wanted[number], strict=True):
            output.check(want, self._length)
        return self._time(kernel, arrays, first, best)

    def _time(self, kernel: Kernel, arrays: list[np.ndarray], first: float, best: float | None) -> dict[str, Any]:
        """The hopeless get a single call; the first one is cold, it fetches code and the pages of workspaces, so that
        only a call after it tells who is hopeless."""
        if best is not None and first > HOPELESS * best and first > _LONG:
            again = self._seconds(kernel, arrays)
            if again > HOPELESS * best:
                return summary([again])
        return race(partial(self._runs, kernel, arrays), best)

    def _runs(self, kernel: Kernel, arrays: list[np.ndarray], repeat: int) -> list[float]:
        """Seconds of a call in each of `repeat` runs."""
        if self._flush is None:
            return list(kernel.time(*arrays, out=self._out(), repeat=repeat, min_seconds=_RUN_SECONDS).runs)
        runs = []
        for _ in range(repeat):
            self._flush += 1
            runs.append(self._seconds(kernel, arrays))
        return runs

    def _seconds(self, kernel: Kernel, arrays: list[np.ndarray]) -> float:
        """Of a single call."""
        begin = time.perf_counter()
        self._call(kernel, arrays)
        return time.perf_counter() - begin

    def _call(self, kernel: Kernel, arrays: list[np.ndarray]) -> list[np.ndarray]:
        kernel(*arrays, out=self._out())
        return [output.array for output in self._outputs]

    def _out(self) -> Any:
        arrays = tuple(output.array for output in self._outputs)
        return arrays[0] if len(arrays) == 1 else arrays


def _save(file: Path, arrays: Sequence[np.ndarray]) -> None:
    part = file.with_suffix(".part")  # a file that is there is whole
    with open(part, "wb") as stream:
        for array in arrays:
            stream.write(array.tobytes())
    part.rename(file)


def _load(file: Path, specs: Sequence[Array]) -> list[np.ndarray]:
    """The arrays as pages of the file, which all workers share and none can write to."""
    wanted: list[np.ndarray] = []
    start = 0
    for spec in specs:
        size = math.prod(spec.shape)
        wanted.append(np.memmap(file, spec.numpy, "r", start, spec.shape) if size else np.empty(spec.shape, spec.numpy))
        start += spec.numpy.itemsize * size
    return wanted
