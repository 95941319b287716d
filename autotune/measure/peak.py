"""The machine's peak, measured by a kernel of our own: multiply-adds between registers, on all cores."""

from __future__ import annotations

from typing import Any

from autotune.measure import check
from autotune.measure.worker import Built, Run
from autotune.task import Target, Task, multiply_adds

_ROWS, _VECTORS = 2, 5  # accumulators: enough to hide the latency of a multiply-add, few enough for 16 registers
_STEPS = 1 << 14
_PIECES_PER_CORE = 8
_RUNS, _RUN_SECONDS = 40, 0.002  # many short ones: some of them nobody disturbs


def entry(setup: dict[str, Any]) -> Run:
    """Runs jobs without content; `seconds` of the outcome are seconds for one floating-point operation."""
    target = Target("llvm")

    def run(job: dict[str, Any], built: Built) -> dict[str, Any]:
        columns = _VECTORS * target.vector_bytes // 4
        schedule = multiply_adds(_PIECES_PER_CORE * target.cores, _ROWS, columns, _STEPS, target)
        task = Task(schedule.func, target, "peak")
        kernel = task.build(schedule)
        built()
        input_specs, output_specs = task.arrays()
        arrays = check.inputs(input_specs, (0,))
        timing = kernel.time(*arrays, out=check.Output(output_specs[0]).array, repeat=_RUNS, min_seconds=_RUN_SECONDS)
        return {"seconds": timing.minimum / task.flops, "runs": _RUNS}

    return run
