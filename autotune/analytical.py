"""The analytical model: seconds of a nest of loops from its counts (counts.py).

A sum of terms, each a count times a cost in cycles; it ranks candidates better than their maximum. The costs were
fitted by least squares of log(seconds) to measured matmuls of several shapes, together for a core with 512-bit vectors
and one with 256-bit vectors; what differs between machines comes from the target. The learnt correction
(cost_model.py) takes up the rest.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from autotune.counts import Count, Counts
from autotune.task import Target

CLOCK = 3.3e9
FMA_LATENCY = 4.0
_ARITHMETIC_BYTES = 64  # of vector multiply-adds that a core starts in a cycle
_ISSUE = 6  # micro-operations that it starts in a cycle
_NOT_HIDDEN = 0.85  # of the sum of the terms: they overlap
_LAUNCH_SECONDS = 3e-6

# Floating-point operations that one of these takes the time of: instructions of its polynomial, or a busy divider
_FLOPS = {"fma": 2, "div": 20, "sqrt": 24, "rsqrt": 44, "if_then_else": 4, "select": 2}
_FLOPS |= dict.fromkeys(("exp", "exp2", "expm1", "log", "log2", "log10", "log1p", "sigmoid", "tanh"), 36)
_FLOPS |= dict.fromkeys(("sin", "cos", "tan", "atan", "erf", "sinh", "cosh", "power"), 64)

# Cycles
_STEP = 0.25  # of a step, whatever it does
_ACCESS = 0.11  # of a load or store within a step
_MOVED = 6.0  # of a vector moved between memory and an accumulator, around a call
_SPILLED = 2.4  # of a vector that has no register, for each step
_SPILLING = 12.0  # of a step that spills at all
_LINE = (0.43, 1.1, 4.1)  # of a line from beyond L1, L2, L3, prefetching considered
_PAGE = 5.9  # of an address translation


@dataclass(frozen=True)
class Seconds:
    """Seconds of the busiest thread; excess: vectors that do not fit in registers."""

    compute: Count
    memory: Count
    excess: Count

    @property
    def total(self) -> Count:
        return self.compute + self.memory


def seconds(c: Counts, target: Target) -> Seconds:
    """What the nest should take."""
    registers = c.accumulators + np.where(c.accumulators > 0, c.operands + 1, 0)
    excess = np.maximum(registers - target.registers, 0)
    accesses = c.step_loads + c.step_stores
    spill = _SPILLED * excess + _SPILLING * (excess > 0)
    compute = c.steps * (_busy(c, target) + _STEP + _ACCESS * accesses + spill) + c.calls * 2 * _MOVED * c.accumulators
    memory = sum((cost * lines for cost, lines in zip(_LINE, c.traffic, strict=True)), _PAGE * c.pages)
    to_seconds = c.share * np.float32(_NOT_HIDDEN / CLOCK)
    return Seconds(
        compute * to_seconds, memory * to_seconds + _LAUNCH_SECONDS * (c.parallel_trips > 1) * c.starts_threads, excess
    )


def _busy(c: Counts, target: Target) -> Count:
    """Cycles of a step that its busiest unit needs: multiply-adds, one after another, loads, stores, all together."""
    flops = sum(number * _FLOPS.get(op, 1) for op, number in c.operations.items())
    arithmetic = c.step_vectors * np.float32(max(flops, 1) / 2)
    busy = arithmetic * np.float32(target.vector_bytes / _ARITHMETIC_BYTES)
    for bound in (
        c.chain * np.float32(0.9 * FMA_LATENCY),
        c.step_loads / 2,
        c.step_stores,
        (arithmetic + c.step_loads + c.step_stores + 3) / _ISSUE,
    ):
        busy = np.maximum(busy, bound)
    return busy
