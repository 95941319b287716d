"""Facts about the machine that measures, its peak measured by a kernel of our own."""

from __future__ import annotations

import platform
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any

from autotune.measure.outcome import Limits, Status
from autotune.measure.process import WorkerProcess
from autotune.record import Record


def facts(known: Iterable[Record] = ()) -> dict[str, Any]:
    """cpu, cores, system and peak_gflops (float32), the last one taken from `known` records of this machine if any.

    peak_gflops is missing where it could not be measured.
    """
    from autotune.task import Target

    stated = {"cpu": cpu_name(), "cores": Target("llvm").cores, "system": platform.platform()}
    for record in known:
        if record.machine.get("peak_gflops") and all(record.machine.get(k) == v for k, v in stated.items()):
            return dict(record.machine)
    peak = peak_gflops()
    return stated if peak is None else {**stated, "peak_gflops": peak}


@lru_cache
def cpu_name() -> str:
    """As the system tells."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def peak_gflops() -> float | None:
    """float32 multiply-adds on all cores, as 10^9 operations a second; None if the kernel fails."""
    worker = WorkerProcess("autotune.measure.peak:entry", {}, Limits(run_seconds=20))
    try:
        outcome = worker.run({})
    finally:
        worker.close()
    if outcome.status is not Status.OK or not outcome.seconds:
        return None
    return round(1e-9 / outcome.seconds, 1)
