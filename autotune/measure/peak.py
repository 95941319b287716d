"""The machine's peak, measured by a kernel of our own: many small matmuls that stay in registers and the nearest cache."""

from __future__ import annotations

from typing import Any

from autotune.measure import check
from autotune.measure.worker import Phase, Run
from autotune.task import Target, Task, micro_matmuls

_ROWS, _VECTORS, _DEPTH = 6, 2, 256
_TILES_PER_CORE = 512


def entry(setup: dict[str, Any]) -> Run:
    """Runs jobs without content; `seconds` of the outcome are seconds for one floating-point operation."""
    target = Target("llvm")

    def run(job: dict[str, Any], phase: Phase) -> dict[str, Any]:
        phase("build")
        rows = _ROWS if target.registers <= 16 else 2 * _ROWS
        lanes = target.vector_bytes // 4
        tiles = _TILES_PER_CORE * target.cores
        schedule = micro_matmuls(tiles, rows, _VECTORS * lanes, _DEPTH, target)
        task = Task(schedule.func, target, "peak")
        kernel = task.build(schedule)
        phase("run")
        input_specs, output_specs = task.arrays()
        arrays = check.inputs(input_specs, (0,))
        timing = kernel.time(*arrays, out=check.Output(output_specs[0]).array, repeat=10, min_seconds=0.02)
        return {"seconds": timing.minimum / task.flops, "runs": 10}

    return run
