"""What workers do with a candidate for a GPU: some build it, and never touch the GPU; one checks and times it there."""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from autotune.measure import check
from autotune.measure.outcome import WrongAnswer
from autotune.measure.racing import RUNS, race
from autotune.measure.worker import Built, Run
from autotune.task import Array, DeviceArray, GpuKernel, Task

INPUT_SETS = 2  # that candidates meet in turn
_CANARY, _CANARY_BYTES = 0xA5, 4096
_PERIOD = 1_000_003  # of random inputs: no power of two, so that values at the wrong place are wrong


def build(setup: dict[str, Any]) -> Run:
    """setup: task (Task.to_json), scratch (a folder to leave kernels in)."""
    task = Task.from_json(setup["task"])

    def run(job: dict[str, Any], built: Built) -> dict[str, Any]:
        """job: as Task.scheduled takes it; file, for the kernel."""
        kernel: GpuKernel = task.build(task.scheduled(job))
        Path(job["file"]).write_text(json.dumps(kernel.packed()))
        return {}

    return run


def measure(setup: dict[str, Any]) -> Run:
    """setup: task (Task.to_json), seed. Whatever leaves the GPU unusable for this process ends it."""
    task = Task.from_json(setup["task"])
    reference = Reference(task, setup["seed"])

    def run(job: dict[str, Any], built: Built) -> dict[str, Any]:
        """job: file of the kernel; number; best, the seconds to beat, or None; runs, at least, of one that may win."""
        kernel = task.unpack(json.loads(Path(job["file"]).read_text()))
        built()
        try:
            return reference.measure(kernel, job["number"] % INPUT_SETS, job["best"], job.get("runs", RUNS))
        except WrongAnswer:
            raise
        except Exception as error:  # of the driver, from whatever call came next
            if _usable():
                raise
            print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
            os._exit(1)

    return run


class Reference:
    """Inputs in the memory of the GPU, with the outputs that the plain schedule computes from them."""

    def __init__(self, task: Task, seed: int):
        self._length = task.reduction_length
        specs, outputs = task.arrays()
        self._outputs = [Memory(spec) for spec in outputs]
        self._inputs = [_inputs(specs, (seed, number)) for number in range(INPUT_SETS)]
        self._machine = facts()
        plain: GpuKernel = task.build(task.plain())
        self._wanted = [self._plain(plain, inputs) for inputs in self._inputs]

    def _plain(self, kernel: GpuKernel, inputs: Sequence[Memory]) -> list[Any]:
        self._call(kernel, inputs)
        return [output.values().copy() for output in self._outputs]

    def measure(self, kernel: GpuKernel, number: int, best: float | None, runs: int) -> dict[str, Any]:
        """Seconds of a launch that finds nothing in the caches, after the answer was checked. Raises WrongAnswer."""
        inputs = self._inputs[number]
        self._call(kernel, inputs)
        for output, want in zip(self._outputs, self._wanted[number], strict=True):
            output.check(want, self._length)
        return {**race(partial(self._time, kernel, inputs), best, runs), "machine": self._machine}

    def _call(self, kernel: GpuKernel, inputs: Sequence[Memory]) -> None:
        for output in self._outputs:
            output.poison()
        kernel(*(memory.array for memory in inputs), out=[output.array for output in self._outputs])

    def _time(self, kernel: GpuKernel, inputs: Sequence[Memory], repeat: int) -> list[float]:
        arrays = [memory.array for memory in inputs]
        outputs = [output.array for output in self._outputs]
        return list(kernel.time(*arrays, out=outputs, repeat=repeat, cold=True).runs)


class Memory:
    """An array in the memory of the GPU; what lies around it must not change."""

    def __init__(self, spec: Array):
        import cupy

        self.spec = spec
        size = math.prod(spec.shape) * spec.numpy.itemsize
        self._bytes = cupy.full(size + 2 * _CANARY_BYTES, _CANARY, np.uint8)
        self._inner = self._bytes[_CANARY_BYTES : _CANARY_BYTES + size]
        device = self._bytes.device.id
        self.array = DeviceArray(self._inner.data.ptr, spec.shape, spec.numpy, True, device, True, self._bytes)

    def poison(self) -> None:
        """Fill with what no right answer holds."""
        self._inner.fill(check.poison(self.spec))

    def values(self) -> Any:
        """The array as cupy computes with it: bfloat16 as float32."""
        if self.spec.dtype == "bfloat16":
            return (self._inner.view(np.uint16).astype(np.uint32) << 16).view(np.float32).reshape(self.spec.shape)
        return self._inner.view(self.spec.numpy).reshape(self.spec.shape)

    def put(self, values: np.ndarray) -> None:
        """Fill with `values`, over and over."""
        import cupy

        period = cupy.asarray(np.ascontiguousarray(values).view(np.uint8))
        for start in range(0, len(self._inner), len(period)):
            part = self._inner[start : start + len(period)]
            part[...] = period[: len(part)]

    def check(self, want: Any, length: int) -> None:
        """Raise WrongAnswer unless the array holds `want`, which was reduced over up to `length` values."""
        around = (self._bytes[:_CANARY_BYTES], self._bytes[len(self._bytes) - _CANARY_BYTES :])
        if not all((side == _CANARY).all() for side in around):
            raise WrongAnswer(f"memory around {self.spec.name} was written to")
        check.compare(self.spec.name, self.values(), want, self.spec.dtype, length)


def _inputs(specs: Sequence[Array], seed: Sequence[int]) -> list[Memory]:
    """Random inputs, as those for a CPU."""
    rng = np.random.default_rng(seed)
    found = []
    for spec in specs:
        memory = Memory(spec)
        memory.put(check.random(spec, rng, _PERIOD))
        found.append(memory)
    return found


def facts() -> dict[str, Any]:
    """About the GPU: its name, and the version of the driver's interface."""
    import cupy

    properties = cupy.cuda.runtime.getDeviceProperties(cupy.cuda.Device().id)
    return {"gpu": properties["name"].decode(), "driver": cupy.cuda.runtime.driverGetVersion()}


def _usable() -> bool:
    """Whether this process can still use the GPU; after an illegal address it cannot."""
    import cupy

    try:
        cupy.cuda.runtime.deviceSynchronize()
    except cupy.cuda.runtime.CUDARuntimeError:
        return False
    return True
