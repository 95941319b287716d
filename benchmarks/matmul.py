"""Matrix products scheduled by hand, with public primitives only, beside NumPy.

    python -m benchmarks.matmul [--sizes 512 1024 2048 1000 1023] [--threads 1 2]

The schedule follows Goto and van de Geijn (Anatomy of High-Performance Matrix Multiplication, 2008): panels of B are
packed once, panels of A by each thread for its block of rows, and a register tile runs over the whole depth, so that
an element of C is written once. It is the routine `matmul` of tensorlang/schedule/library.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from benchmarks.harness import Contender, arguments, compare, record, show, speed

if TYPE_CHECKING:
    import tensorlang as tl

SETUP = "benchmarks.matmul:"


def schedule(c: tl.Tensor, rows: int, vectors: int, blocks: int, unroll: int = 1) -> tl.Schedule:
    """C = A @ B in register tiles of `rows` x `vectors` vectors; a thread takes `blocks` tiles of rows at a time."""
    import tensorlang as tl
    from tensorlang.schedule import library

    s = tl.Schedule(c)
    library.matmul(s, "C", tl.Target("llvm").vector_bytes // 4, rows, vectors, blocks, unroll)
    return s


def tile(m: int, k: int) -> dict[str, int]:
    """Parameters of `schedule` for this machine: a block of A fills at most half of the second-level cache, and there
    are enough blocks for the threads to finish together."""
    import tensorlang as tl

    target = tl.Target("llvm")
    rows = 8 if target.registers >= 32 else 6
    blocks = min(target.l2 // 2 // (4 * k * rows), m // rows // (8 * target.cores), 8)
    return {"rows": rows, "vectors": 2, "blocks": max(1, blocks)}


def ours(n: int, **parameters: int) -> Callable[[], None]:
    """The kernel of the hand-written schedule, on random matrices, checked once."""
    import numpy as np

    import tensorlang as tl
    from tensorlang.topi.linalg import matmul

    kernel = tl.build(schedule(matmul(n, n, n), **(tile(n, n) | parameters)), target="llvm")
    a, b, c = operands(n)
    kernel(a, b, out=c)
    np.testing.assert_allclose(c, a @ b, rtol=1e-6 * n)

    def run() -> None:
        kernel(a, b, out=c)

    return run


def numpy(n: int) -> Callable[[], None]:
    """OpenBLAS, through NumPy."""
    import numpy as np

    a, b, c = operands(n)

    def run() -> None:
        np.matmul(a, b, out=c)

    return run


def operands(n: int) -> tuple[Any, Any, Any]:
    """Two matrices with random elements and one for the result."""
    import numpy as np

    random = np.random.default_rng(0)
    return random.random((n, n), np.float32), random.random((n, n), np.float32), np.empty((n, n), np.float32)


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[512, 1024, 2048, 1000, 1023])
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    options = parser.parse_args()
    for threads in options.threads:
        for n in options.sizes:
            contenders = [
                Contender("NumPy", SETUP + "numpy", {"n": n}, threads),
                Contender("by hand", SETUP + "ours", {"n": n}, threads),
            ]
            rows = compare(contenders, options.turns, options.min_seconds)
            show(f"matmul {n} x {n} x {n}, float32", rows, work=2 * n**3, unit="GFLOP/s")
            record("matmul", rows, size=n, threads=threads, speed_vs_numpy=speed(rows[1], rows[0]))


if __name__ == "__main__":
    main()
