"""The machine's peak, measured in a worker process, where threads and failures disturb nobody."""

from __future__ import annotations

from typing import Any

from autotune.measure.worker import Built, Run
from autotune.task import peaks


def entry(setup: dict[str, Any]) -> Run:
    """Runs jobs without content; `seconds` of the outcome are seconds for one floating-point operation."""

    def run(job: dict[str, Any], built: Built) -> dict[str, Any]:
        built()
        return {"seconds": 1 / peaks().flops, "runs": 1}

    return run
