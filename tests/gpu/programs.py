"""Programs scheduled for a GPU, small and of sizes that do not divide."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorlang as tl
from tensorlang import ceilings
from tensorlang.schedule import gpu_library
from tensorlang.topi import convolution as convolutions
from tensorlang.topi import elementwise, linalg, normalization, reduction

H100 = tl.Target("cuda", arch="sm_90a")


def add(m: Any = 10, n: Any = 12, dtype: str = "float32", vector: int = 4) -> tl.Schedule:
    """Elementwise, with 16-byte accesses where rows allow."""
    s = tl.Schedule(elementwise.add(m, n, dtype=dtype), target=H100)
    i, j = s.loops("add")
    j0, j1, j2 = s.split(j, [None, 4, vector])
    s.bind(i, "blockIdx.y")
    s.bind(j0, "blockIdx.x")
    s.bind(j1, "threadIdx.x")
    s.vectorize(j2)
    return s


def fused(m: int = 10, n: int = 12) -> tl.Schedule:
    """A chain of two blocks, the first kept by the thread that needs it."""
    a = tl.placeholder((m, n), name="A")
    p = tl.compute((m, n), lambda i, j: tl.exp(a[i, j]), name="P")
    s = tl.Schedule(tl.compute((m, n), lambda i, j: p[i, j] + 1.0, name="C"), target=H100)
    f = s.fuse(*s.loops("C"))
    f0, f1 = s.split(f, [None, 32])
    s.bind(f0, "blockIdx.x")
    s.bind(f1, "threadIdx.x")
    s.compute_at("P", f1)
    return s


def two_kernels(m: int = 10, n: int = 12) -> tl.Schedule:
    """P, then its rows backwards: the second kernel reads what all blocks of the first have written."""
    a = tl.placeholder((m, n), name="A")
    p = tl.compute((m, n), lambda i, j: a[i, j] * 2.0, name="P")
    s = tl.Schedule(tl.compute((m, n), lambda i, j: p[m - 1 - i, j] + 1.0, name="C"), target=H100)
    for block in ("P", "C"):
        i, j = s.loops(block)
        s.bind(i, "blockIdx.x")
        s.bind(j, "threadIdx.x")
    return s


def handed_on() -> tl.Schedule:
    """What one thread of a block writes to global memory, all of them read."""
    a = tl.placeholder((4,), "float32", name="A")
    p = tl.compute((4,), lambda i: a[i] * 2.0, name="P")
    s = tl.Schedule([p, tl.compute((4, 32), lambda i, _: p[i] + 1.0, name="C")], target=H100)
    i, j = s.loops("C")
    s.bind(i, "blockIdx.x")
    s.bind(j, "threadIdx.x")
    s.compute_at("P", i)
    return s


def matmul(m: Any = 20, n: Any = 17, k: Any = 11, tile: int = 2, depth: int = 8, dtype: str = "float32") -> tl.Schedule:
    """Tiles of A and B that 8 x 8 threads fetch together, tile x tile results a thread."""
    s = tl.Schedule(linalg.matmul(m, n, k, dtype=dtype), target=H100)
    (block,) = (b.name for b in s.blocks() if b.is_reduction)
    write = s.cache_write(block, "local")
    i, j, k_ = s.loops(block)
    i0, i1, i2 = s.split(i, [None, 8, tile])
    j0, j1, j2 = s.split(j, [None, 8, tile])
    k0, k1 = s.split(k_, [None, depth])
    s.reorder(i0, j0, i1, j1, k0, k1, i2, j2)
    for loop, axis in ((i0, "blockIdx.y"), (j0, "blockIdx.x"), (i1, "threadIdx.y"), (j1, "threadIdx.x")):
        s.bind(loop, axis)
    s.reverse_compute_at(write, j1)
    s.vectorize(s.loops(write)[-1])
    for operand in s.block(block).reads:
        if operand.name.endswith("local"):
            continue
        copy = s.cache_read(block, operand.name, "shared")
        s.compute_at(copy, k0)
        rows, columns = s.loops(copy)[-2:]
        f0, f1, f2, f3 = s.split(s.fuse(rows, columns), [None, 8, 8, 4])
        s.bind(f1, "threadIdx.y")
        s.bind(f2, "threadIdx.x")
        s.vectorize(f3)
        s.unroll(f0)
    for loop in (i2, j2, k1):
        s.unroll(loop)
    return s


def library_matmul(stages: int, **options: int) -> tl.Schedule:
    """The product of the library, whose tiles are interleaved, and loaded ahead where there are stages."""
    s = tl.Schedule(linalg.matmul(32, 64, 80), target=H100)
    gpu_library.matmul(s, "C", (32, 64, 16), group=1, stages=stages, **options)
    return s


def library_tiles(stages: int, k: int = 80, **options: int) -> tl.Schedule:
    """The same with loops that are not fused."""
    s = tl.Schedule(linalg.matmul(32, 64, k), target=H100)
    gpu_library.tiled_matmul(s, "C", (2, 4, 8), (2, 1), (2, 8), group=1, stages=stages, **options)
    return s


def tensor_cores(m: int, n: int, k: int, dtype: str = "float16", into: str = "", **options: Any) -> tl.Schedule:
    """The product of the library on tensor cores; `into`: a dtype that the product is converted to by another block."""
    product = linalg.matmul(m, n, k, dtype=dtype, out_dtype="float32")
    result = tl.compute((m, n), lambda i, j: product[i, j].astype(into), name="D") if into else product
    s = tl.Schedule(result, target=H100)
    gpu_library.tensor_core_matmul(s, "C", **{"group": 1, **options})
    return s


def convolution(*sizes: int, **options: Any) -> tl.Schedule:
    s = tl.Schedule(convolutions.conv2d(*sizes), target=H100)
    gpu_library.conv2d(s, "conv2d", **options)
    return s


def depthwise_convolution(height: int = 12) -> tl.Schedule:
    s = tl.Schedule(convolutions.depthwise_conv2d(2, height, 12, 3, 3, 1, 1), target=H100)
    gpu_library.depthwise_conv2d(s, "depthwise_conv2d", (12, 12), (4, 4))
    return s


def library_rows(kind: str, m: int, n: int, dtype: str = "float32", beside: int = 1) -> tl.Schedule:
    """A norm or softmax by the library."""
    s = tl.Schedule(getattr(normalization, kind)(m, n, dtype=dtype), target=H100)
    gpu_library.rows(s, kind, 32, 4, beside)
    return s


def library_sums(m: int = 20, n: int = 256) -> tl.Schedule:
    """Sums of rows, by the library."""
    s = tl.Schedule(reduction.sum(m, n), target=H100)
    gpu_library.row_sums(s, "sum", 32, 4, 2)
    return s


def library_sums_of_matrices() -> tl.Schedule:
    """The same of several matrices."""
    x = tl.placeholder((3, 5, 256), name="x")
    k = tl.reduce_axis(256, name="k")
    s = tl.Schedule(tl.compute((3, 5), lambda b, i: tl.sum(x[b, i, k], axis=k), name="sum"), target=H100)
    gpu_library.row_sums(s, "sum", 32, 4, 2)
    return s


def library_column_sums(m: int = 40, n: int = 256) -> tl.Schedule:
    """Sums of columns, by the library."""
    s = tl.Schedule(reduction.sum(m, n, dim=0), target=H100)
    gpu_library.column_sums(s, "sum", 4, 32, 4, 5)
    return s


def library_transpose(m: int = 32, n: int = 64) -> tl.Schedule:
    s = tl.Schedule(elementwise.transpose(m, n), target=H100)
    gpu_library.transpose(s, "transpose", (8, 8))
    return s


def library_add(m: int = 6, n: int = 100) -> tl.Schedule:
    s = tl.Schedule(elementwise.add(m, n), target=H100)
    gpu_library.elementwise(s, "add", 32, 4, 2)
    return s


def swizzled(s: tl.Schedule) -> tl.Schedule:
    s.swizzle("A.shared", 64)
    s.swizzle("B.shared", 128)
    return s


def hinted(hint: str, vector: int = 4, dtype: str = "float32", scope: str = "local") -> tl.Schedule:
    """A sum, one operand of which is read by way of a copy, both under a hint."""
    s = add(10, 16 * vector, dtype, vector)
    copy = s.cache_read("add", "x", scope)
    s.compute_at(copy, s.loops("add")[-2])
    s.vectorize(s.loops(copy)[-1])
    s.cache_hint(copy, hint)
    s.cache_hint("add", hint)
    return s


def row_sum(m: int = 3, n: int = 70, threads: int = 64, axis: str = "threadIdx.x", op: str = "sum") -> tl.Schedule:
    """A row for each block, whose threads reduce it together."""
    s = tl.Schedule(getattr(reduction, op)(m, n), target=H100)
    (block,) = (b.name for b in s.blocks())
    i, k = s.loops(block)
    _, k1, _ = s.split(k, [None, threads, 4])
    s.bind(i, "blockIdx.x")
    s.bind(k1, axis)
    copy = s.cache_read(block, "x", "local")
    s.compute_at(copy, k1)
    s.vectorize(s.loops(copy)[-1])
    return s


LARGEST = tl.reducer(lambda x, y: tl.select(x > y, x, y), float("-inf"), name="largest")
ANY = tl.reducer(lambda x, y: x | y, False, name="any")


def exchanged(reduce: Any, dtype: str, m: int = 3, n: int = 70) -> tl.Schedule:
    """A row for each warp, by a reducer of which code need not evaluate each operand once."""
    a, k = tl.placeholder((m, n), dtype, name="A"), tl.reduce_axis(n, "k")
    s = tl.Schedule(tl.compute((m,), lambda i: reduce(a[i, k], axis=k), name="C"), target=H100)
    s.bind("C.i", "blockIdx.x")
    s.bind(s.split("C.k", [None, 32])[1], "threadIdx.x")
    return s


def rows_across_blocks(m: int = 5, n: int = 100, threads: int = 32) -> tl.Schedule:
    """Blocks add what their threads have summed to a row in global memory, which another kernel has cleared."""
    s = tl.Schedule(reduction.sum(m, n), target=H100)
    partial = s.rfactor(s.split("sum.k", [None, threads])[0])
    i, k = s.loops("sum")
    init = s.decompose_reduction("sum", i)
    s.atomic("sum")
    s.compute_at(partial, k)
    s.set_scope("sum.rf", "local")
    s.bind(s.loops(init)[0], "threadIdx.x")
    s.bind(i, "blockIdx.y")
    s.bind(k, "blockIdx.x")
    s.bind(s.loops(partial)[-1], "threadIdx.x")
    return s


def atomic_in_shared_memory(m: int = 5, n: int = 100, threads: int = 32) -> tl.Schedule:
    """The threads of a block add to the same elements of shared memory."""
    s = tl.Schedule(reduction.sum(m, n), target=H100)
    write = s.cache_write("sum", "shared")
    i0, i1 = s.split(s.loops(write)[0], [None, 4])
    s.bind(i0, "blockIdx.x")
    s.bind(i1, "threadIdx.x")
    s.compute_at("sum", i0)
    _, i, k = s.loops("sum")
    _, k1 = s.split(k, [None, threads])
    init = s.decompose_reduction("sum", i)
    s.atomic("sum")
    s.bind(s.loops(init)[-1], "threadIdx.x")
    s.bind(k1, "threadIdx.x")
    return s


def rows_side_by_side(m: int = 7, n: int = 33, rows: int = 4, threads: int = 8) -> tl.Schedule:
    """Several rows for each block, along y."""
    s = tl.Schedule(reduction.sum(m, n), target=H100)
    i, k = s.loops("sum")
    i0, i1 = s.split(i, [None, rows])
    _, k1 = s.split(k, [None, threads])
    s.bind(i0, "blockIdx.x")
    s.bind(i1, "threadIdx.y")
    s.bind(k1, "threadIdx.x")
    return s


def column_sum(m: int = 37, n: int = 50, parts: int = 3) -> tl.Schedule:
    """Partial sums of parts of the rows, which a second kernel adds up."""
    s = tl.Schedule(reduction.sum(m, n, dim=0), target=H100)
    j, k = s.loops("sum")
    k0, k1 = s.split(k, [parts, None])
    s.reorder(k0, j, k1)
    partial = s.rfactor(k0)
    s.bind(k0, "blockIdx.y")
    for block in (partial, "sum"):
        column = next(loop for loop in s.loops(block) if loop.known_extent == n)
        c0, c1 = s.split(column, [None, 32])
        if block == "sum":
            s.reorder(c0, c1, s.loops("sum")[0])
        s.bind(c0, "blockIdx.x")
        s.bind(c1, "threadIdx.x")
    return s


def best_of_rows(m: int = 5, n: int = 70, threads: int = 32) -> tl.Schedule:
    """A reduction of pairs: where the largest value of each row is."""
    s = tl.Schedule(reduction.argmax(m, n), target=H100)
    (block,) = (b.name for b in s.blocks() if b.is_reduction)
    i, k = s.loops(block)
    _, k1 = s.split(k, [None, threads])
    s.bind(i, "blockIdx.x")
    s.bind(k1, "threadIdx.x")
    return s


def softmax(m: int = 3, n: int = 500, threads: int = 64, vector: int = 4, dtype: str = "float32") -> tl.Schedule:
    """A row for each block, kept in registers from one step to the next."""
    s = tl.Schedule(normalization.softmax(m, n, dtype=dtype), target=H100)
    i, _ = s.loops("softmax")
    for block in ("scale", "total", "powers", "largest"):
        s.compute_at(block, i)
    for block in ("largest", "powers", "total", "softmax"):
        j0, j1, j2 = s.split(s.loops(block)[-1], [None, threads, vector])
        s.bind(j1, "threadIdx.x")
        s.unroll(j0)
        if s.block(block).is_reduction:
            s.unroll(j2)
        else:
            s.vectorize(j2)
    s.bind(i, "blockIdx.x")
    for block in ("powers", "scale", "total", "largest"):
        s.set_scope(block, "local")
    return s


def transpose(m: int = 40, n: int = 50, tile: int = 16, blocks: int = 0) -> tl.Schedule:
    """Through a tile in shared memory, with rows that are padded by one element. blocks: so many blocks of threads
    stay, and each does one tile after the other."""
    s = tl.Schedule(elementwise.transpose(m, n), target=H100)
    i, j = s.loops("transpose")
    i0, j0, i1, j1 = s.tile([i, j], [tile, tile])
    if blocks:
        j0, resident = s.split(s.fuse(i0, j0), [None, blocks])
        s.reorder(resident, j0)
        s.bind(resident, "blockIdx.x")
    else:
        s.bind(i0, "blockIdx.y")
        s.bind(j0, "blockIdx.x")
    copy = s.cache_read("transpose", "x", "shared")
    s.compute_at(copy, j0)
    s.storage_align("x.shared", 0, tile, 1)
    for rows, columns in ((i1, j1), s.loops(copy)[-2:]):
        s.bind(rows, "threadIdx.y")
        s.bind(columns, "threadIdx.x")
    return s


# Each with its arguments: those that tile evenly, and those that do not.
PROGRAMS: dict[str, Callable[[], tl.Schedule]] = {
    "add": lambda: add(5, 64),
    "add with tails": lambda: add(10, 37),
    "add, half": lambda: add(6, 64, "float16", vector=8),
    "add, bfloat16 with tails": lambda: add(6, 63, "bfloat16", vector=8),
    "add, float8 e4m3": lambda: add(6, 128, "float8_e4m3fn", vector=16),
    "add, float8 e5m2 with tails": lambda: add(6, 63, "float8_e5m2", vector=4),
    "add, evict_first, half": lambda: hinted("evict_first", 8, "float16"),
    "add, no_allocate, one by one": lambda: hinted("no_allocate", 1),
    "add, evict_last, to shared memory": lambda: hinted("evict_last", scope="shared"),
    "fused": fused,
    "two kernels": two_kernels,
    "handed on": handed_on,
    "matmul": lambda: matmul(32, 16, 16),
    "matmul with tails": matmul,
    "matmul with swizzles": lambda: swizzled(matmul(depth=16)),
    "matmul with swizzles, float16": lambda: swizzled(matmul(24, 32, 40, dtype="float16", depth=40)),
    "row sum": row_sum,
    "row sum of one warp": lambda: row_sum(threads=32),
    "row sum of a part of a warp": lambda: row_sum(threads=8),
    "row sum of three warps": lambda: row_sum(threads=96),
    "row sum along y": lambda: row_sum(threads=24, axis="threadIdx.y"),
    "row maximum": lambda: row_sum(op="amax"),
    "least, unsigned": lambda: exchanged(tl.min, "uint32"),
    "least, bytes": lambda: exchanged(tl.min, "int8"),
    "any": lambda: exchanged(ANY, "bool"),
    "largest, compared": lambda: exchanged(LARGEST, "float32"),
    "rows across blocks": rows_across_blocks,
    "atomic in shared memory": atomic_in_shared_memory,
    "rows side by side": rows_side_by_side,
    "rows side by side in warps": lambda: rows_side_by_side(rows=2, threads=64),
    "column sum": column_sum,
    "best of rows": best_of_rows,
    "best of rows in two warps": lambda: best_of_rows(threads=64),
    "softmax": softmax,
    "softmax, bfloat16": lambda: softmax(2, 256, 32, 8, "bfloat16"),
    "transpose": transpose,
    "transpose with tails": lambda: transpose(35, 50),
    "transpose with persistent blocks": lambda: transpose(64, 48, blocks=4),
    "transpose with persistent blocks and tails": lambda: transpose(35, 50, blocks=5),
    "library: matmul": lambda: library_matmul(0),
    "library: matmul with one stage": lambda: library_matmul(1, resident=4),
    "library: matmul with two stages": lambda: library_matmul(2),
    "library: matmul, asynchronous": lambda: library_matmul(2, asynchronous=True),
    "library: tiles": lambda: library_tiles(0),
    "library: tiles in two stages, asynchronous": lambda: library_tiles(2, asynchronous=True, order="rows"),
    "library: tiles by columns, every other one backwards": lambda: library_tiles(
        2, asynchronous=True, order="columns", turning=True
    ),
    "library: tiles, the last one of depth 1": lambda: library_tiles(2, 33, asynchronous=True),
    "library: tensor cores": lambda: tensor_cores(32, 48, 64, tile=(32, 48, 32), warp=(16, 16), stages=2),
    "library: tensor cores, one stage": lambda: tensor_cores(32, 32, 32, tile=(32, 16, 16), warp=(32, 16), stages=1),
    "library: tensor cores, bfloat16": lambda: tensor_cores(
        64, 64, 96, "bfloat16", "bfloat16", tile=(32, 32, 16), warp=(16, 32), stages=4, group=2, resident=2
    ),
    "library: tensor cores, loads ahead": lambda: tensor_cores(
        32, 32, 192, into="float16", tile=(32, 32, 64), warp=(16, 32), stages=3, staged=True
    ),
    "library: convolution": lambda: convolution(1, 12, 15, 6, 16, 3, 2, 1, tile=(8, 3, 8, 2), each=(4, 1, 2)),
    "library: convolution, one stage": lambda: convolution(
        2, 6, 8, 4, 8, 3, 1, 1, tile=(8, 3, 8, 4), each=(4, 1, 4), stages=1
    ),
    "library: convolution of points": lambda: convolution(
        2, 8, 8, 16, 16, 1, tile=(16, 2, 8, 8), each=(4, 1, 4), stages=3, vector=4
    ),
    "library: depthwise convolution": depthwise_convolution,
    "library: softmax": lambda: library_rows("softmax", 4, 256, beside=2),
    "library: layer norm": lambda: library_rows("layer_norm", 3, 200),
    "library: rms norm, bfloat16": lambda: library_rows("rms_norm", 2, 256, "bfloat16"),
    "library: row sums": library_sums,
    "library: row sums of matrices": library_sums_of_matrices,
    "library: column sums": library_column_sums,
    "library: transpose": library_transpose,
    "library: elementwise": library_add,
    "peak: multiply-adds": lambda: ceilings.gpu_multiply_adds(H100, 256, 4),
    "peak: triad": lambda: ceilings.gpu_triad(H100, 2048),
}
