"""The ceilings of this machine, measured by our own kernels: fused multiply-adds and memory bandwidth.

    python -m benchmarks.peak

On one thread and on all. Figures of other benchmarks are to be read in percent of these.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from benchmarks import machine
from benchmarks.harness import Contender, arguments, compare, record, show

SETUP = "benchmarks.peak:"
PIECES = 8  # for each thread
TRIAD = 1 << 25  # elements: 128 MiB an array, larger than any cache


def fma_work(threads: int) -> int:
    """Floating-point operations of one call of the FMA kernel."""
    import tensorlang as tl
    from tensorlang.ceilings import multiply_adds

    return tl.analysis.flops(multiply_adds(tl.Target("llvm"), PIECES * threads).func)


def fma(threads: int) -> Callable[[], float]:
    """Each thread adds x[i] * y[j] to its accumulators [i, j] again and again; nothing is loaded meanwhile."""
    import tensorlang as tl
    from tensorlang.ceilings import multiply_adds

    return timed(multiply_adds(tl.Target("llvm"), PIECES * threads))


def triad(threads: int) -> Callable[[], float]:
    """C = A + 3 B over arrays far larger than the caches."""
    import tensorlang as tl
    from tensorlang.ceilings import triad as schedule

    return timed(schedule(tl.Target("llvm"), TRIAD, 16 * threads))


def timed(schedule: Any) -> Callable[[], float]:
    """Seconds of one call on arrays of ones, timed natively."""
    import numpy as np

    import tensorlang as tl

    kernel = tl.build(schedule)
    func = schedule.func
    inputs = [np.ones(tuple(map(int, map(repr, p.shape))), np.float32) for p in func.params if p not in func.outputs]
    out = kernel(*inputs)

    def run() -> float:
        return kernel.time(*inputs, out=out, repeat=1, min_seconds=0.02).median

    return run


def main() -> None:
    options = arguments(__doc__).parse_args()
    counts = sorted({1, machine.cores()})
    for name, unit in (("fma", "GFLOP/s"), ("triad", "GB/s")):
        contenders = [Contender(f"{name}, {n} threads", SETUP + name, {"threads": n}, threads=n) for n in counts]
        rows = compare(contenders, options.turns, options.min_seconds)
        rates = {}
        for row in rows:
            work = fma_work(row.threads) if name == "fma" else 3 * 4 * TRIAD
            rates[row.threads] = work / row.median / 1e9
        show(f"{name}: median", rows)
        for threads, rate in rates.items():
            print(f"  {name} on {threads} threads: {rate:.1f} {unit}")
        record("peak", rows, what=name, unit=unit, rates=rates)


if __name__ == "__main__":
    main()
