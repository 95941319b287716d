"""The ceilings of this machine, measured by our own kernels: fused multiply-adds and memory bandwidth.

    python -m benchmarks.peak

On one thread and on all. Figures of other benchmarks are to be read in percent of these.
"""

from __future__ import annotations

from collections.abc import Callable

from benchmarks import machine
from benchmarks.harness import Contender, arguments, compare, record, show

SETUP = "benchmarks.peak:"
ROWS, VECTORS = 2, 5  # accumulators: enough to hide the latency of an FMA, few enough for 16 registers
STEPS = 1 << 18
TRIAD = 1 << 25  # elements: 128 MiB an array, larger than any cache


def fma_work(threads: int) -> int:
    """Floating-point operations of one call of the FMA kernel."""
    return 2 * threads * ROWS * VECTORS * lanes() * STEPS


def lanes() -> int:
    import tensorlang as tl

    return tl.Target("llvm").vector_bytes // 4


def fma(threads: int) -> Callable[[], float]:
    """Each thread adds x[i] * y[j] to its accumulators [i, j] again and again; nothing is loaded meanwhile."""
    import numpy as np

    import tensorlang as tl

    width = VECTORS * lanes()
    x = tl.placeholder((threads, ROWS), "float32", name="X")
    y = tl.placeholder((threads, width), "float32", name="Y")
    k = tl.reduce_axis(STEPS, name="k")
    c = tl.compute((threads, ROWS, width), lambda t, i, j: tl.sum(x[t, i] * y[t, j], axis=k), name="C")
    s = tl.Schedule(c)
    t, i, j, step = s.loops("C")
    s.reorder(t, step, i, j)
    s.parallel(t)
    s.unroll(i)
    s.vectorize(j)
    return timed(tl.build(s), np.ones((threads, ROWS), np.float32), np.ones((threads, width), np.float32))


def triad(threads: int) -> Callable[[], float]:
    """C = A + 3 B over arrays far larger than the caches."""
    import numpy as np

    import tensorlang as tl

    a, b = (tl.placeholder((TRIAD,), "float32", name=name) for name in "AB")
    s = tl.Schedule(tl.compute((TRIAD,), lambda i: a[i] + 3.0 * b[i], name="C"))
    (i,) = s.loops("C")
    piece, _, lane = s.split(i, [16 * threads, None, lanes()])
    s.parallel(piece)
    s.vectorize(lane)
    return timed(tl.build(s), np.ones(TRIAD, np.float32), np.ones(TRIAD, np.float32))


def timed(kernel: Callable, *inputs: object) -> Callable[[], float]:
    """Seconds of one call, timed natively."""
    out = kernel(*inputs)

    def run() -> float:
        return kernel.time(*inputs, out=out, repeat=1, min_seconds=0.02).median  # type: ignore[attr-defined]

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
