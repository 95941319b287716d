"""Matrix products scheduled by hand, with public primitives only, beside NumPy.

    python -m benchmarks.matmul [--sizes 512 1024 2048 1000 1023] [--threads 1 2]

The schedule follows Goto and van de Geijn (Anatomy of High-Performance Matrix Multiplication, 2008): panels of B are
packed once, panels of A by each thread for its block of rows, and a register tile runs over the whole depth, so that
an element of C is written once.
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

    lanes = tl.Target("llvm").vector_bytes // 4
    width = vectors * lanes
    s = tl.Schedule(c)
    i, j, k = s.loops("C")
    i0, i1, i2 = s.split(i, [None, blocks, rows])
    j0, j1, j2 = s.split(j, [None, vectors, lanes])
    k0, k1 = s.split(k, [None, unroll])
    s.reorder(i0, j0, i1, k0, k1, i2, j1, j2)
    s.parallel(i0)
    for loop in (k1, i2, j1):
        s.unroll(loop)
    s.vectorize(j2)
    write_back(s, i1, lanes)
    pack(s, "B", 1, width, at=None)
    pack(s, "A", 0, rows, at=i0)
    return s


def write_back(s: tl.Schedule, tile: tl.Loop, lanes: int) -> None:
    """Accumulate the tile in registers and write it to C when it is complete."""
    copy = s.cache_write("C", "local")
    s.reverse_compute_at(copy, tile)
    i, j = s.loops(copy)[-2:]
    j0, j1 = s.split(j, [None, lanes])
    s.unroll(i)
    s.unroll(j0)
    s.vectorize(j1)


def pack(s: tl.Schedule, operand: str, dimension: int, width: int, at: tl.Loop | None) -> None:
    """Copy an operand into panels of `width` along `dimension`: once for all threads, or inside a loop."""
    copy = s.cache_read("C", operand, "packed")
    if at is not None:
        s.compute_at(copy, at)
    outer, inner = s.loops(copy)[-2:]
    if dimension == 0:
        s.transform_layout(copy, lambda i, k: (i // width, k, i % width))
        panel, lane = s.split(outer, [None, width])
        s.reorder(panel, inner, lane)
        s.unroll(lane)
    else:
        s.transform_layout(copy, lambda k, j: (j // width, k, j % width))
        panel, lane = s.split(inner, [None, width])
        s.reorder(panel, outer, lane)
        s.vectorize(lane)
    if at is None:
        s.parallel(panel)


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
