"""Good neighbours: what a script's NumPy loses when it alternates with our kernels, and what a launch costs.

    make peers && python -m benchmarks.neighbour --torch-python .venv-peers/bin/python

Three scripts, each in a process of its own: NumPy matmul alone; alternating with a parallel kernel of ours; alternating
with a parallel torch kernel of the same length (both multiply two vectors whose length is chosen to take that long).
Only NumPy's part is timed. Threads that still spin after their kernel take NumPy's cores away.

The bars: NumPy loses at most 5 points more beside ours than beside torch's; a launch costs at most 5 us.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks import machine
from benchmarks.harness import BenchmarkError, Contender, Row, arguments, compare, record, show

SETUP = "benchmarks.neighbour:"
PEERS_PYTHON = machine.ROOT / ".venv-peers" / "bin" / "python"
MATMUL = 512
CHAIN, LINE = 1 << 14, 16  # multiply-adds one after the other; floats of a cache line
FIRST_SIZE = 1 << 18  # elements of the vectors before they are sized


def numpy_alone() -> Callable[[], float]:
    return beside(lambda: None)


def numpy_beside_tensorlang(milliseconds: float) -> Callable[[], float]:
    return beside(sized(tensorlang_multiply, milliseconds))


def numpy_beside_torch(milliseconds: float) -> Callable[[], float]:
    return beside(sized(torch_multiply, milliseconds))


def beside(other: Callable[[], Any]) -> Callable[[], float]:
    """Runs `other`, then a matmul of NumPy; returns the seconds of the matmul alone."""
    import numpy as np

    a = np.random.default_rng(0).random((MATMUL, MATMUL), np.float32)
    c = np.empty_like(a)

    def run() -> float:
        other()
        start = time.perf_counter()
        np.matmul(a, a, out=c)
        return time.perf_counter() - start

    return run


def sized(make: Callable[[int], Callable[[], Any]], milliseconds: float) -> Callable[[], Any]:
    """The function that `make(n)` returns, for the n at which a call takes about that long."""
    size = FIRST_SIZE
    for _ in range(3):
        run = make(size)
        times = []
        for _ in range(20):
            start = time.perf_counter()
            run()
            times.append(time.perf_counter() - start)
        size = max(1 << 14, int(size * milliseconds / 1e3 / sorted(times)[10]) >> 14 << 14)
    return make(size)


def tensorlang_multiply(n: int) -> Callable[[], Any]:
    """C = A * B over n elements on all threads."""
    import numpy as np

    import tensorlang as tl

    a, b = (tl.placeholder((n,), "float32", name=name) for name in "AB")
    s = tl.Schedule(tl.compute((n,), lambda i: a[i] * b[i], name="C"))
    (i,) = s.loops("C")
    piece, _, lane = s.split(i, [64, None, tl.Target("llvm").vector_bytes // 4])
    s.parallel(piece)
    s.vectorize(lane)
    kernel = tl.build(s)
    x, y, z = (np.ones(n, np.float32) for _ in range(3))
    return lambda: kernel(x, y, out=z)


def torch_multiply(n: int) -> Callable[[], Any]:
    """C = A * B over n elements on all threads."""
    import torch

    x, y, z = (torch.ones(n) for _ in range(3))
    return lambda: torch.mul(x, y, out=z)


def pieces(count: int) -> Callable[[], float]:
    """Seconds of one of many back-to-back calls that run `count` pieces of about 20 us of work in parallel.

    A piece is a chain of multiply-adds in registers that reads and writes a cache line of its own, so that threads
    share nothing and wait for no memory. One piece needs no launch; as many as threads need one, in which every thread
    takes part.
    """
    import numpy as np

    import tensorlang as tl

    a = tl.placeholder((count, LINE), "float32", name="A")
    k = tl.reduce_axis(CHAIN, name="k")
    s = tl.Schedule(tl.compute((count, LINE), lambda i, j: tl.sum(a[i, j] * a[i, j], axis=k), name="C"))
    i, j, k = s.loops("C")
    s.reorder(i, k, j)
    s.parallel(i)
    s.vectorize(j)
    kernel = tl.build(s)
    x = np.ones((count, LINE), np.float32)
    z = kernel(x)
    return lambda: kernel.time(x, out=z, repeat=1, min_seconds=0.02).median


def report(rows: list[Row]) -> dict[str, float]:
    """Percent of its speed that NumPy loses beside each neighbour."""
    losses = {row.name: 100 * (1 - rows[0].median / row.median) for row in rows[1:]}
    for name, loss in losses.items():
        print(f"  {name}: loses {loss:.1f} points")
    return losses


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument(
        "--torch-python", type=Path, default=PEERS_PYTHON, help="an interpreter that has torch (default: of make peers)"
    )
    parser.add_argument("--milliseconds", type=float, default=1.0, help="length of the neighbour's kernel (default 1)")
    options = parser.parse_args()
    threads, length = machine.cores(), {"milliseconds": options.milliseconds}
    contenders = [
        Contender("NumPy alone", SETUP + "numpy_alone", threads=threads),
        Contender("NumPy beside tensorlang", SETUP + "numpy_beside_tensorlang", length, threads),
    ]
    if options.torch_python.exists():
        contenders.append(
            Contender(
                "NumPy beside torch", SETUP + "numpy_beside_torch", length, threads, python=str(options.torch_python)
            )
        )
    else:
        print(f"no {options.torch_python}: run `make peers` to compare with torch", file=sys.stderr)
    rows = compare(contenders, options.turns, options.min_seconds)
    show(f"NumPy matmul {MATMUL} (f32), alternating with kernels of {options.milliseconds} ms", rows,
         work=2 * MATMUL**3, unit="GFLOP/s")  # fmt: skip
    losses = report(rows)
    cost = launch_cost(threads, options.turns, options.min_seconds)
    record("neighbour", rows + cost, losses=losses, launch_us=(cost[1].median - cost[0].median) * 1e6, **length)


def launch_cost(threads: int, turns: int, min_seconds: float) -> list[Row]:
    """One piece of work without a launch, and one for each thread with it; the difference is the cost of a launch."""
    rows = compare(
        [
            Contender("one piece, no launch", SETUP + "pieces", {"count": 1}, threads),
            Contender("a piece for each thread", SETUP + "pieces", {"count": threads}, threads),
        ],
        turns,
        min_seconds,
    )
    show("back-to-back launches", rows)
    print(f"  a launch on {threads} threads costs {(rows[1].median - rows[0].median) * 1e6:.2f} us")
    return rows


if __name__ == "__main__":
    try:
        main()
    except BenchmarkError as error:
        sys.exit(str(error))
