"""The analytical model: seconds of a nest of loops from its counts (features.py).

Constants were fitted on an AVX2 core with two FMA units; other CPUs differ by factors that the learnt correction
takes up. A sum of terms ranks candidates better than their maximum.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from autotune.features import Counts
    from autotune.task import Target

CLOCK = 3e9
FMA_LATENCY = 4.0
_LINE_CYCLES = (0.7, 2.0, 14.0)  # for a line from L2, L3, memory, prefetching considered
_ARITHMETIC_BYTES = 64  # of vector multiply-adds that a core starts in a cycle
_LAUNCH_SECONDS = 3e-6


@dataclass(frozen=True)
class Seconds:
    """Seconds of the busiest thread; excess: vectors that do not fit in registers."""

    compute: np.ndarray
    memory: np.ndarray
    excess: np.ndarray

    @property
    def total(self) -> np.ndarray:
        return self.compute + self.memory


def seconds(count: Counts, target: Target) -> Seconds:
    """What the nest should take."""
    registers = count.accumulators + np.where(count.accumulators > 0, count.operands + 1, 0)
    excess = np.maximum(0, registers - target.registers)
    arithmetic = count.step_vectors * max(count.flops, 1) / 2
    micro_ops = arithmetic + count.step_loads + count.step_stores + 3
    cycles = np.maximum.reduce(
        [
            arithmetic * target.vector_bytes / _ARITHMETIC_BYTES,
            0.9 * FMA_LATENCY * count.chain,
            count.step_loads / 2,
            count.step_stores,
            micro_ops / 6,
        ]
    )
    spill = 1.33 * excess + 6.7 * (excess > 0)
    cycles = cycles + spill + 0.16 * (count.step_loads + count.step_stores)
    around = count.calls * 2 * count.accumulators
    compute = (count.steps * cycles + around) * count.share / CLOCK
    lines = sum(cost * traffic for cost, traffic in zip(_LINE_CYCLES, count.traffic, strict=True))
    memory = lines * count.share / CLOCK + _LAUNCH_SECONDS * (count.parallel_trips > 1)
    return Seconds(compute, memory, excess)
