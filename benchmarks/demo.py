"""Tunes a matmul on this machine and compares: naive loops, the tuned kernel, NumPy. `make demo` runs it.

    python -m benchmarks.demo --trials 64 --log tuned.jsonl

Run it again and the log is resumed, not started anew.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

from benchmarks import machine, matmul, peak
from benchmarks.harness import BenchmarkError, Contender, arguments, compare, record, show, speed

SETUP = "benchmarks.demo:"


def naive(n: int) -> Callable[[], None]:
    """The three loops of the definition, as they come."""
    import tensorlang as tl
    from tensorlang.topi import linalg

    return _calls(tl.build(linalg.matmul(n, n, n)), n)


def tuned(n: int, log: str) -> Callable[[], None]:
    """The best schedule of the log."""
    import autotune
    from tensorlang.topi import linalg

    return _calls(autotune.compile(linalg.matmul(n, n, n), target="llvm", log=log), n)


def _calls(kernel: Any, n: int) -> Callable[[], None]:
    a, b, c = matmul.operands(n)

    def run() -> None:
        kernel(a, b, out=c)

    return run


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--size", type=int, default=1024, help="rows and columns of the matrices (default 1024)")
    parser.add_argument("--trials", type=int, default=64, help="candidates to measure (default 64)")
    parser.add_argument("--log", default="tuned.jsonl", help="where the results are kept (default tuned.jsonl)")
    parser.set_defaults(turns=7)
    options = parser.parse_args()
    n, threads = options.size, machine.cores()
    tune = ["tune", f"matmul:{n},{n},{n}", "--target", "llvm", "--trials", str(options.trials), "--log", options.log]
    status = subprocess.run([sys.executable, "-m", "autotune", *tune], check=False).returncode
    if status:
        sys.exit(status)
    rows = compare(
        [
            Contender("NumPy", matmul.SETUP + "numpy", {"n": n}, threads),
            Contender("tuned kernel", SETUP + "tuned", {"n": n, "log": options.log}, threads),
            Contender("naive loops", SETUP + "naive", {"n": n}, threads),
        ],
        options.turns,
        options.min_seconds,
    )
    show(f"matmul {n} x {n} x {n}, float32", rows, work=2 * n**3, unit="GFLOP/s")
    (best,) = compare([Contender("peak", peak.SETUP + "fma", {"threads": threads}, threads)], 5, options.min_seconds)
    ceiling = peak.fma_work(threads) / best.median / 1e9
    rate = 2 * n**3 / rows[1].median / 1e9
    print(f"  peak of this machine: {ceiling:.1f} GFLOP/s; the tuned kernel reaches {rate / ceiling:.0%} of it")
    print(f"  the log: {options.log}")
    record("demo", rows, size=n, trials=options.trials, speed_vs_numpy=speed(rows[1], rows[0]), peak_gflops=ceiling)


if __name__ == "__main__":
    try:
        main()
    except BenchmarkError as error:
        sys.exit(str(error))
