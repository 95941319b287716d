"""Regions against the accesses that really happen, and exact extents for the programs that schedules make."""

from __future__ import annotations

import random

import pytest

from tensorlang.arith.context import Context
from tensorlang.arith.regions import Region, accesses, covers
from tensorlang.arith.simplify import simplify
from tensorlang.ir import ops
from tensorlang.ir.nodes import (
    REDUCE,
    SERIAL,
    SPATIAL,
    TRUE,
    Alloc,
    Block,
    Buffer,
    Expr,
    For,
    If,
    Iter,
    Knob,
    LetStmt,
    Load,
    Size,
    Stmt,
    Store,
    Var,
    const,
    seq,
)
from tensorlang.ir.ops import literal
from tests.arith.index_fuzz import evaluate

M, N, K = Size("M"), Size("N"), Size("K")
T, U = Knob("T", (4, 8, 16)), Knob("U", (2, 3))
i0, i1, j0, j1, k0, k1, r = (Var(s) for s in ("i0", "i1", "j0", "j1", "k0", "k1", "r"))
A, B, C = Buffer("A", (M, K), "float32"), Buffer("B", (K, N), "float32"), Buffer("C", (M, N), "float32")


def loop(var: Var, extent: Expr | int, body: Stmt) -> For:
    return For(var, const(extent) if isinstance(extent, int) else extent, SERIAL, body)


def matmul(bindings: tuple[Expr, Expr, Expr], predicate: Expr = TRUE) -> Block:
    i, j, k = Var("i"), Var("j"), Var("k")
    iters = (Iter(i, M, SPATIAL), Iter(j, N, SPATIAL), Iter(k, K, REDUCE))
    update = Store(C, (i, j), ops.make("fma", Load(A, (i, k)), Load(B, (k, j)), Load(C, (i, j))))
    return Block("C", iters, bindings, predicate, None, Store(C, (i, j), literal(0.0, "float32")), update)


def same(exprs: tuple[Expr, ...], *expected: Expr | int) -> None:
    wanted = [const(e) if isinstance(e, int) else simplify(e) for e in expected]
    assert len(exprs) == len(wanted) and all(a is b for a, b in zip(exprs, wanted, strict=True)), (exprs, wanted)


def test_tiles_of_a_matmul() -> None:
    ctx = Context().bind(i0, M // T).bind(j0, N // 32).bind(k0, K // 8)
    body = loop(i1, T, loop(j1, 32, loop(k1, 8, matmul((i0 * T + i1, j0 * 32 + j1, k0 * 8 + k1)))))
    reads, writes = accesses(body, ctx)
    same(reads[A].mins, i0 * T, k0 * 8)
    same(reads[A].extents, T, 8)
    same(reads[B].extents, 8, 32)
    same(writes[C].mins, i0 * T, j0 * 32)
    same(writes[C].extents, T, 32)


def test_guarded_tiles_keep_their_size_unless_asked() -> None:
    ctx = Context().bind(i0, (M + T - 1) // T).bind(j0, N)
    row = i0 * T + i1
    body = loop(i1, T, loop(k1, K, matmul((row, j0, k1), row < M)))
    reads, _ = accesses(body, ctx)
    same(reads[A].extents, T, K)
    reads, _ = accesses(body, ctx, clip=True)
    same(reads[A].extents, ops.make("min", T, M - i0 * T), K)


def test_guard_of_the_whole() -> None:
    buffer = Buffer("D", (const(1000),), "float32")
    row = i0 * 32 + i1
    store = Store(buffer, (row,), literal(0.0, "float32"))
    _, writes = accesses(loop(i0, 32, loop(i1, 32, If(row < 1000, store))))
    same(writes[buffer].mins, 0)
    same(writes[buffer].extents, 1000)


def test_halo() -> None:
    buffer, out = Buffer("D", (M * 2 + 1,), "float32"), Buffer("E", (M,), "float32")
    body = loop(i1, T, loop(r, 3, Store(out, (i0 * T + i1,), Load(buffer, ((i0 * T + i1) * 2 + r,)))))
    reads, _ = accesses(body, Context().bind(i0, M // T))
    same(reads[buffer].mins, i0 * T * 2)
    same(reads[buffer].extents, T * 2 + 1)


def test_hull_of_several_accesses() -> None:
    buffer, out = Buffer("D", (M + 2,), "float32"), Buffer("E", (M,), "float32")
    row = i0 * 8 + i1
    value = Load(buffer, (row,)) + Load(buffer, (row + 2,)) + Load(buffer, (row + 1,))
    reads, _ = accesses(loop(i1, 8, Store(out, (row,), value)), Context().bind(i0, M // 8))
    same(reads[buffer].mins, i0 * 8)
    same(reads[buffer].extents, 10)


def test_a_guard_that_ties_one_access_to_a_place() -> None:
    """Where 4 of thread t are below 1, t is 0: of all threads, it is one of their four."""
    buffer, t = Buffer("D", (const(64),), "float32"), Var("t")
    store = Store(buffer, (t * 4 + i1,), literal(0.0, "float32"))
    body = seq(loop(i1, 4, store), loop(j1, 4, If(t * 4 + j1 < 1, Store(buffer, (t * 4 + j1,), store.value))))
    _, writes = accesses(body, Context().bind(t, 16))
    same(writes[buffer].mins, t * 4)
    same(writes[buffer].extents, 4)


def test_packed_layout() -> None:
    packed, out = Buffer("P", ((N + 15) // 16, K, const(16)), "float32"), Buffer("E", (N, K), "float32")
    column = j0 * 16 + j1
    body = loop(j1, 16, loop(k1, K, Store(out, (column, k1), Load(packed, (column // 16, k1, column % 16)))))
    reads, _ = accesses(body, Context().bind(j0, N // 16))
    same(reads[packed].mins, j0, 0, 0)
    same(reads[packed].extents, 1, K, 16)


def test_padding_guard_in_an_expression() -> None:
    buffer, out = Buffer("D", (M,), "float32"), Buffer("E", (M + 2,), "float32")
    value = ops.make("if_then_else", (i1 >= 1) & (i1 <= M), Load(buffer, (i1 - 1,)), 0.0)
    reads, _ = accesses(loop(i1, M + 2, Store(out, (i1,), value)))
    same(reads[buffer].mins, 0)
    same(reads[buffer].extents, M)


def test_data_dependent_rows_are_clamped_or_whole() -> None:
    index = Buffer("I", (M,), "int32")
    table, out = Buffer("D", (K, N), "float32"), Buffer("E", (M, N), "float32")
    row = ops.cast(Load(index, (i1,)), "index")
    reads, _ = accesses(loop(i1, M, Store(out, (i1, j0), Load(table, (row, j0)))), Context().bind(j0, N))
    same(reads[table].mins, 0, j0)
    same(reads[table].extents, K, 1)
    assert reads[index].extents[0] is M


def test_lets_and_inner_buffers() -> None:
    local, out = Buffer("L", (T,), "float32", "local"), Buffer("E", (M,), "float32")
    x = Var("x")
    fill = loop(i1, T, Store(local, (i1,), Load(out, (i0 * T + i1,))))
    use = loop(j1, T, LetStmt(x, i0 * T + j1, Store(out, (x,), Load(local, (j1,)))))
    reads, writes = accesses(Alloc(local, seq(fill, use)), Context().bind(i0, M // T))
    assert set(reads) == {out} and set(writes) == {out}
    same(writes[out].extents, T)


def test_init_of_an_empty_reduction() -> None:
    """With K = 0 the init still writes, so what K >= 1 would say about rows does not count there."""
    i, k = Var("i"), Var("k")
    out = Buffer("E", (K + 1,), "float32")
    iters = (Iter(i, ops.make("max", K, 1), SPATIAL), Iter(k, K, REDUCE))
    store = Store(out, (i,), literal(0.0, "float32"))
    block = Block("E", iters, (i1, k1), TRUE, None, store, store)
    _, writes = accesses(loop(i1, ops.make("max", K, 1), loop(k1, K, block)))
    assert all(evaluate(writes[out].extents[0], {K: size}) >= max(size, 1) for size in range(4))


def test_an_init_keeps_the_guard_of_its_points() -> None:
    i, k, out = Var("i"), Var("k"), Buffer("E", (const(20),), "float32")
    iters = (Iter(i, const(8), SPATIAL), Iter(k, const(3), REDUCE))
    store = Store(out, (i,), literal(0.0, "float32"))
    block = Block("E", iters, (i1, k1), (i1 < 5) & (k1 < 2), None, store, store)
    _, writes = accesses(loop(i1, 8, loop(k1, 3, block)))
    same(writes[out].extents, 5)


def test_covers() -> None:
    ctx = Context().bind(i0, M // T).bind(i1, T)
    tile = Region(A, (i0 * T, const(0)), (T, K))
    assert covers(tile, Region(A, (i0 * T + i1, const(0)), (const(1), K)), ctx)
    assert covers(Region(A, (const(0), const(0)), (M, K)), tile, ctx)
    assert not covers(tile, Region(A, (i0 * T + 1, const(0)), (T, K)), ctx)


@pytest.mark.parametrize("seed", range(60))
def test_against_enumeration(seed: int) -> None:
    rng = random.Random(seed)
    out = Buffer("E", (const(400),), "float32")
    loops = [(i0, rng.choice([M, (M + 3) // 4])), (i1, rng.choice([const(4), U, ops.make("min", const(3), M - i0)]))]
    loops.append((r, rng.choice([const(3), i1 + 1, U])))
    inside = rng.choice([1, 2, 3])
    base = rng.choice([i0 * 4 + i1, i0 * U + i1, M - i0 - 1, i0 * 4 - i1])
    index = rng.choice([base, base * 2 + r, (base + r) // 4 * 3, (base + r) % U, base // U + r, i1 * r, base - r])
    index = index + rng.choice([0, 5, M])
    guard = rng.choice([TRUE, i0 * 4 + i1 < M, base >= 1, r < 2])
    body: Stmt = If(guard, Store(out, (index,), literal(0.0, "float32")))
    for var, extent in reversed(loops[3 - inside :]):
        body = loop(var, extent, body)
    ctx = Context()
    for var, extent in loops[: 3 - inside]:
        ctx = ctx.bind(var, extent)
    clip = bool(seed % 2)
    region = accesses(body, ctx, clip)[1][out]
    for m in range(6):
        for u in (2, 3):
            for at in points(loops, {M: m, U: u}):
                if evaluate(guard, at) and 0 <= evaluate(index, at) < 400:
                    first = evaluate(region.mins[0], at)
                    assert first <= evaluate(index, at) < first + evaluate(region.extents[0], at), (index, region, at)


def points(loops: list, at: dict) -> list[dict]:
    for var, extent in loops[:1]:
        return [p for v in range(evaluate(extent, at)) for p in points(loops[1:], {**at, var: v})]
    return [at]
