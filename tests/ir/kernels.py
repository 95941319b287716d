"""Kernels as launch nests, written by hand: the patterns of GPU code that the interpreter has to understand.

Each function returns a flat Func; `CASES` pairs some with the arrays that they take and what they must compute.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from tensorlang.ir import ops
from tensorlang.ir.launch import ASYNC_COMMIT, ASYNC_COPY, ASYNC_WAIT, ATOMIC, BARRIER
from tensorlang.ir.nodes import (
    ZERO,
    Alloc,
    Buffer,
    Do,
    Expr,
    For,
    Func,
    If,
    Load,
    Ramp,
    Stmt,
    Store,
    Var,
    const,
    seq,
)
from tests.ir.small_funcs import extents, literal


def barrier() -> Stmt:
    return Do(BARRIER, ())


def commit() -> Stmt:
    return Do(ASYNC_COMMIT, ())


def wait(left: int) -> Stmt:
    return Do(ASYNC_WAIT, (const(left),))


def loops(body: Stmt, **kinds: tuple[str, int]) -> Stmt:
    """`body` in loops, the first outermost; each is given as its variable's name = (kind, extent).

    The body uses the variables of `V` of these names.
    """
    for name, (kind, extent) in reversed(kinds.items()):
        body = For(V[name], const(extent), kind, body)
    return body


def serial(name: str, extent: int | Expr, body: Stmt) -> Stmt:
    return For(V[name], extents(extent)[0], "serial", body)


def allocs(body: Stmt, *buffers: Buffer) -> Stmt:
    for buffer in reversed(buffers):
        body = Alloc(buffer, body)
    return body


def tiles(body: Stmt, m: int, n: int, t: int, *shared: Buffer) -> Stmt:
    """`body` for the t x t threads of a block, one block for each tile of an m x n matrix."""
    block = allocs(loops(body, ty=("threadIdx.y", t), tx=("threadIdx.x", t)), *shared)
    return loops(block, by=("blockIdx.y", -(-m // t)), bx=("blockIdx.x", -(-n // t)))


def line(body: Stmt, blocks: int, threads: int, *shared: Buffer) -> Stmt:
    """`body` for the threads of a row of blocks."""
    return loops(allocs(loops(body, tx=("threadIdx.x", threads)), *shared), bx=("blockIdx.x", blocks))


def buffer(name: str, count: int, scope: str = "global", dtype: str = "float32") -> Buffer:
    return Buffer(name, extents(count), dtype, scope)


def at(buffer: Buffer, index: int | Expr) -> Expr:
    return Load(buffer, extents(index))


def put(buffer: Buffer, index: int | Expr, value: Expr) -> Store:
    return Store(buffer, extents(index), value)


def padded(inside: Expr, value: Expr) -> Expr:
    return ops.make("if_then_else", inside, value, literal(0.0))


V = {name: Var(name) for name in ("by", "bx", "ty", "tx", "ko", "k", "i", "s")}
by, bx, ty, tx, ko, k, i, s = V.values()


def matmul(m: int, n: int, depth: int, t: int) -> Func:
    """C = A @ B by tiles of t x t in shared memory; sizes need not divide."""
    a, b, c = buffer("A", m * depth), buffer("B", depth * n), buffer("C", m * n)
    a_tile, b_tile = buffer("A.tile", t * t, "shared"), buffer("B.tile", t * t, "shared")
    acc = buffer("acc", 1, "local")
    row, column = by * t + ty, bx * t + tx
    load_a = padded((row < m) & (ko * t + tx < depth), at(a, row * depth + (ko * t + tx)))
    load_b = padded((ko * t + ty < depth) & (column < n), at(b, (ko * t + ty) * n + column))
    update = ops.make("fma", at(a_tile, ty * t + k), at(b_tile, k * t + tx), at(acc, 0))
    step = seq(
        put(a_tile, ty * t + tx, load_a),
        put(b_tile, ty * t + tx, load_b),
        barrier(),
        serial("k", t, put(acc, 0, update)),
        barrier(),
    )
    result = If((row < m) & (column < n), put(c, row * n + column, at(acc, 0)))
    body = allocs(seq(put(acc, 0, literal(0.0)), serial("ko", -(-depth // t), step), result), acc)
    return Func("matmul", (a, b, c), (c,), tiles(body, m, n, t, a_tile, b_tile))


def double_buffered(m: int, n: int, depth: int, t: int) -> Func:
    """C = A @ B with two slots of shared memory, so that one barrier a step is enough; t divides all sizes."""
    a, b, c = buffer("A", m * depth), buffer("B", depth * n), buffer("C", m * n)
    a_tile, b_tile = buffer("A.tile", 2 * t * t, "shared"), buffer("B.tile", 2 * t * t, "shared")
    acc = buffer("acc", 1, "local")
    row, column = by * t + ty, bx * t + tx

    def fetch(step: Expr) -> Stmt:
        slot = step % 2 * (t * t)
        return seq(
            put(a_tile, slot + (ty * t + tx), at(a, row * depth + (step * t + tx))),
            put(b_tile, slot + (ty * t + tx), at(b, (step * t + ty) * n + column)),
        )

    slot = ko % 2 * (t * t)
    update = ops.make("fma", at(a_tile, slot + (ty * t + k)), at(b_tile, slot + (k * t + tx)), at(acc, 0))
    step = seq(If(ko + 1 < depth // t, fetch(ko + 1)), serial("k", t, put(acc, 0, update)), barrier())
    body = seq(put(acc, 0, literal(0.0)), fetch(ZERO), barrier(), serial("ko", depth // t, step))
    body = allocs(seq(body, put(c, row * n + column, at(acc, 0))), acc)
    return Func("double_buffered", (a, b, c), (c,), tiles(body, m, n, t, a_tile, b_tile))


def pipelined(m: int, n: int, depth: int, t: int, stages: int = 3) -> Func:
    """C = A @ B with asynchronous copies, `stages - 1` steps ahead; t divides all sizes, rows of B are vectors of 4."""
    a, b, c = buffer("A", m * depth), buffer("B", depth * n), buffer("C", m * n)
    a_tile, b_tile = buffer("A.tile", stages * t * t, "shared"), buffer("B.tile", stages * t * t, "shared")
    acc = buffer("acc", 1, "local")
    row, column = by * t + ty, bx * t + tx

    def fetch(step: Expr) -> Stmt:
        slot = step % stages * (t * t)
        from_a = put(a_tile, slot + (ty * t + tx), at(a, row * depth + (step * t + tx)))
        four = Ramp(slot + (ty * t + tx * 4), const(1), 4)
        source = Ramp((step * t + ty) * n + (bx * t + tx * 4), const(1), 4)
        from_b = If(tx < t // 4, Do(ASYNC_COPY, (), put(b_tile, four, at(b, source))))
        return seq(Do(ASYNC_COPY, (), from_a), from_b)

    slot = ko % stages * (t * t)
    update = ops.make("fma", at(a_tile, slot + (ty * t + k)), at(b_tile, slot + (k * t + tx)), at(acc, 0))
    ahead = stages - 1
    step = seq(
        wait(ahead - 1),
        barrier(),
        If(ko + ahead < depth // t, fetch(ko + ahead)),
        commit(),
        serial("k", t, put(acc, 0, update)),
    )
    first = [part for n in range(ahead) for part in (fetch(const(n)), commit())]
    body = seq(put(acc, 0, literal(0.0)), *first, serial("ko", depth // t, step))
    body = allocs(seq(body, put(c, row * n + column, at(acc, 0))), acc)
    return Func("pipelined", (a, b, c), (c,), tiles(body, m, n, t, a_tile, b_tile))


def transpose(m: int, n: int, t: int, pitch: int) -> Func:
    """B = A.T by tiles of t x t, whose rows are `pitch` apart in shared memory; sizes need not divide."""
    a, b, tile = buffer("A", m * n), buffer("B", m * n), buffer("tile", t * pitch, "shared")
    row, column = by * t + ty, bx * t + tx
    out_row, out_column = bx * t + ty, by * t + tx
    body = seq(
        If((row < m) & (column < n), put(tile, ty * pitch + tx, at(a, row * n + column))),
        barrier(),
        If((out_row < n) & (out_column < m), put(b, out_row * m + out_column, at(tile, tx * pitch + ty))),
    )
    return Func("transpose", (a, b), (b,), tiles(body, m, n, t, tile))


def softmax(rows: int, columns: int, threads: int) -> Func:
    """Softmax of each row by one block: registers, warp shuffles, then shared memory; sizes need not divide."""
    a, b = buffer("A", rows * columns), buffer("B", rows * columns)
    warps = threads // 32
    parts = buffer("parts", warps, "shared")
    each = -(-columns // threads)
    values, most, total = buffer("values", each, "local"), buffer("most", 1, "local"), buffer("total", 1, "local")
    column = i * threads + tx
    inside = column < columns

    def over_block(result: Buffer, combine: Callable[[Expr, Expr], Expr]) -> Stmt:
        tree = [put(result, 0, combine(at(result, 0), ops.shuffle_xor(at(result, 0), 16 >> n))) for n in range(5)]
        of_warp = If(ops.make("eq", tx % 32, ZERO), put(parts, tx // 32, at(result, 0)))
        others = serial("k", warps - 1, put(result, 0, combine(at(result, 0), at(parts, k + 1))))
        return seq(*tree, of_warp, barrier(), put(result, 0, at(parts, 0)), others, barrier())

    def larger(x: Expr, y: Expr) -> Expr:
        return ops.make("max", x, y)

    exponential = ops.make("exp", at(values, i) - at(most, 0))
    least = literal(float("-inf"))
    body = seq(
        put(most, 0, least),
        serial("i", each, put(values, i, ops.make("if_then_else", inside, at(a, bx * columns + column), least))),
        serial("i", each, put(most, 0, larger(at(most, 0), at(values, i)))),
        over_block(most, larger),
        put(total, 0, literal(0.0)),
        serial("i", each, seq(put(values, i, exponential), put(total, 0, at(total, 0) + at(values, i)))),
        over_block(total, lambda x, y: x + y),
        serial("i", each, If(inside, put(b, bx * columns + column, at(values, i) / at(total, 0)))),
    )
    return Func("softmax", (a, b), (b,), line(allocs(body, values, most, total), rows, threads, parts))


def tree_sum(rows: int, threads: int) -> Func:
    """Sums of rows of `threads` elements, a power of two, by halving in shared memory."""
    a, b, part = buffer("A", rows * threads), buffer("B", rows), buffer("part", threads, "shared")
    half = (threads >> 1) // (ops.make("shl", literal(1, "int32"), s.astype("int32")).astype("index"))
    body = seq(
        put(part, tx, at(a, bx * threads + tx)),
        barrier(),
        serial(
            "s",
            threads.bit_length() - 1,
            seq(If(tx < half, put(part, tx, at(part, tx) + at(part, tx + half))), barrier()),
        ),
        If(ops.make("eq", tx, ZERO), put(b, bx, at(part, 0))),
    )
    return Func("tree_sum", (a, b), (b,), line(body, rows, threads, part))


def stencil(count: int, t: int) -> Func:
    """B[i] = A[i - 1] + A[i] + A[i + 1], zero outside, by tiles of t with a halo; sizes need not divide."""
    a, b, tile = buffer("A", count), buffer("B", count), buffer("tile", t + 2, "shared")

    def fetch(offset: int) -> Stmt:
        source = bx * t + tx + (offset - 1)
        value = padded((source >= 0) & (source < count), at(a, source))
        return put(tile, tx + offset, value)

    result = at(tile, tx) + at(tile, tx + 1) + at(tile, tx + 2)
    body = seq(
        fetch(0),
        If(tx < 2, fetch(t)),
        barrier(),
        If(bx * t + tx < count, put(b, bx * t + tx, result)),
    )
    return Func("stencil", (a, b), (b,), line(body, -(-count // t), t, tile))


def histogram(count: int, bins: int, threads: int) -> Func:
    """How often each of the numbers 0 .. bins - 1 occurs, counted in shared memory, then added; two launches."""
    a, h = buffer("A", count, dtype="int32"), buffer("H", bins, dtype="int32")
    own = buffer("own", bins, "shared", "int32")
    one, none = literal(1, "int32"), literal(0, "int32")
    clear = loops(put(h, tx, none), tx=("threadIdx.x", bins))
    bin_of = at(a, bx * threads + tx).astype("index")
    body = seq(
        If(tx < bins, put(own, tx, none)),
        barrier(),
        If(bx * threads + tx < count, Do(ATOMIC, (), put(own, bin_of, at(own, bin_of) + one))),
        barrier(),
        If(tx < bins, Do(ATOMIC, (), put(h, tx, at(h, tx) + at(own, tx)))),
    )
    return Func("histogram", (a, h), (h,), seq(clear, line(body, -(-count // threads), threads, own)))


def triangle(n: int, threads: int) -> Func:
    """B[i] = sum of A[i, j] for j <= i: the length of the loop differs between threads."""
    a, b, acc = buffer("A", n * n), buffer("B", n), buffer("acc", 1, "local")
    row = bx * threads + tx
    sum_up = serial("k", ops.make("min", row + 1, const(n)), put(acc, 0, at(acc, 0) + at(a, row * n + k)))
    body = seq(put(acc, 0, literal(0.0)), If(row < n, seq(sum_up, put(b, row, at(acc, 0)))))
    return Func("triangle", (a, b), (b,), line(allocs(body, acc), -(-n // threads), threads))


@dataclass(frozen=True)
class Case:
    """A kernel, the shapes of its inputs, and what it computes."""

    func: Func
    shapes: tuple[tuple[int, ...], ...]
    expected: Callable[..., np.ndarray]

    def inputs(self, seed: int) -> list[np.ndarray]:
        """Small whole numbers, whose sums are exact in any order."""
        rng = np.random.default_rng(seed)
        return [rng.integers(-4, 5, shape).astype(np.float32) for shape in self.shapes]


def _product(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return a @ b


def _neighbours(a: np.ndarray) -> np.ndarray:
    return np.convolve(a, np.ones(3, a.dtype), "same")


CASES = {
    "matmul": Case(matmul(32, 48, 16, 16), ((32, 16), (16, 48)), _product),
    "matmul of odd sizes": Case(matmul(19, 21, 37, 8), ((19, 37), (37, 21)), _product),
    "double buffered": Case(double_buffered(16, 24, 40, 8), ((16, 40), (40, 24)), _product),
    "pipelined": Case(pipelined(16, 24, 48, 8), ((16, 48), (48, 24)), _product),
    "pipelined, 2 stages": Case(pipelined(16, 8, 32, 8, 2), ((16, 32), (32, 8)), _product),
    "transpose": Case(transpose(37, 21, 8, 9), ((37, 21),), np.transpose),
    "tree sum": Case(tree_sum(5, 64), ((5, 64),), lambda a: a.sum(axis=1)),
    "stencil": Case(stencil(77, 16), ((77,),), _neighbours),
    "triangle": Case(triangle(21, 8), ((21, 21),), lambda a: np.tril(a).sum(axis=1)),
}
