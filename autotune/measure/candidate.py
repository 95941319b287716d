"""What a worker does with a candidate: replay its trace, build, check against the reference, time."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from autotune.measure import check
from autotune.measure.worker import Phase, Run
from autotune.task import Array, Kernel, Task

INPUT_SETS = 2  # that candidates meet in turn
HOPELESS = 2.0  # times the best so far: not worth a second run
LOSING = 1.25  # times the best so far: not worth precise timing
_RUNS = 5
_RUN_SECONDS = 0.004  # at least, for a run


def entry(setup: dict[str, Any]) -> Run:
    """setup: task (Task.to_json), seed, scratch (a folder that workers of this tuning share)."""
    task = Task.from_json(setup["task"])
    reference = Reference(task, setup["seed"], Path(setup["scratch"]))

    def run(job: dict[str, Any], phase: Phase) -> dict[str, Any]:
        """job: trace and names; number; best, the seconds to beat, or None."""
        phase("build")
        kernel = task.build(task.replay(job["trace"], job["names"]))
        phase("run")
        return reference.measure(kernel, job["number"] % INPUT_SETS, job["best"])

    return run


class Reference:
    """Inputs with the outputs that an untiled kernel computes from them, shared through files in `scratch`."""

    def __init__(self, task: Task, seed: int, scratch: Path):
        self._length = task.reduction_length
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
        begin = time.perf_counter()
        self._call(kernel, arrays)
        first = time.perf_counter() - begin
        for output, want in zip(self._outputs, self._wanted[number], strict=True):
            output.check(want, self._length)
        return self._time(kernel, arrays, first, best)

    def _time(self, kernel: Kernel, arrays: list[np.ndarray], first: float, best: float | None) -> dict[str, Any]:
        """The first call is cold, so it only rules out the hopeless; losers get one warm run, the others several."""
        if best is not None and first > HOPELESS * best and first > 1e-3:
            return {"seconds": first, "spread": 0.0, "runs": 1}
        runs = [first]
        if best is not None and first > LOSING * best:
            runs = self._runs(kernel, arrays, 1)
        if best is None or runs[0] < LOSING * best:
            runs = self._runs(kernel, arrays, _RUNS)
        low, median, high = statistics.quantiles(runs, n=4, method="inclusive") if len(runs) > 1 else runs * 3
        return {"seconds": median, "spread": (high - low) / median, "runs": len(runs)}

    def _runs(self, kernel: Kernel, arrays: list[np.ndarray], repeat: int) -> list[float]:
        timing = kernel.time(*arrays, out=self._out(), repeat=repeat, min_seconds=_RUN_SECONDS)
        return list(timing.runs)

    def _call(self, kernel: Kernel, arrays: list[np.ndarray]) -> list[np.ndarray]:
        kernel(*arrays, out=self._out())
        return [output.array for output in self._outputs]

    def _out(self) -> Any:
        arrays = tuple(output.array for output in self._outputs)
        return arrays[0] if len(arrays) == 1 else arrays


def _save(file: Path, arrays: Sequence[np.ndarray]) -> None:
    with open(file, "wb") as stream:
        for array in arrays:
            stream.write(array.tobytes())


def _load(file: Path, specs: Sequence[Array]) -> list[np.ndarray]:
    with open(file, "rb") as stream:
        return [
            np.frombuffer(stream.read(spec.numpy.itemsize * int(np.prod(spec.shape))), spec.numpy).reshape(spec.shape)
            for spec in specs
        ]
