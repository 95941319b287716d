"""Launch nests in the interpreter: right kernels compute what NumPy does, faulty ones are caught."""

import random

import numpy as np
import pytest

from tensorlang.errors import (
    ArgumentError,
    DivergenceError,
    ExprError,
    OutOfBoundsError,
    RaceError,
    UninitializedError,
    VerifyError,
)
from tensorlang.ir import dtypes, interp, interp_launch, ops
from tensorlang.ir.interp_launch import Settings
from tensorlang.ir.launch import ATOMIC
from tensorlang.ir.nodes import (
    Alloc,
    Buffer,
    Do,
    Expr,
    For,
    Func,
    If,
    Let,
    LetStmt,
    Ramp,
    Size,
    Splat,
    Stmt,
    Var,
    const,
    seq,
)
from tests.ir import faults
from tests.ir.kernels import at, barrier, buffer, bx, k, line, literal, loops, matmul, padded, put, serial, tx, ty
from tests.ir.test_interp_ops import random_array, random_expr

ORDERS = [Settings(), Settings(seed=1, lanes=1), Settings("ascending"), Settings("descending", lanes=100)]


@pytest.mark.parametrize("settings", ORDERS, ids=lambda s: f"{s.order}, {s.lanes} lanes")
@pytest.mark.parametrize("program", faults.PROGRAMS)
def test_kernels_agree_with_numpy_in_every_order(program, settings):
    assert faults.run(program, faults.PROGRAMS[program][0], 3, settings)


@pytest.mark.parametrize("fault", faults.FAULTS, ids=lambda f: f"{f.program}: {f.what}")
def test_seeded_faults_are_found(fault):
    error = faults.find(fault)
    assert type(error) is fault.error
    assert not fault.about or error.buffer == fault.about


@pytest.mark.parametrize("fault", [f for f in faults.FAULTS if issubclass(f.error, RaceError)], ids=lambda f: f.what)
def test_races_are_found_whatever_the_order(fault):
    for settings in ORDERS[1:]:
        found = faults.find(fault, settings)
        assert isinstance(found, RaceError) and found.buffer == fault.about


def test_a_race_is_reported_with_both_statements():
    func = faults.without("barrier")(matmul(16, 16, 16, 8))
    arrays = [np.zeros((16, 16), np.float32) for _ in range(3)]
    with pytest.raises(RaceError) as caught:
        interp_launch.run(func, arrays, settings=Settings("ascending"))
    error = caught.value
    assert (error.code, error.buffer, error.element) == ("race", "A.tile", 0)
    assert error.threads == ("thread (1, 0) of block (0, 0)", "thread (0, 0) of block (0, 0)")
    stored = "A.tile[ty * 8 + tx] = if_then_else(by * 8 + ty < 16 and ko * 8 + tx < 16, "
    stored += "A[(by * 8 + ty) * 16 + (ko * 8 + tx)], 0.0)"
    read = "acc[0] = fma(A.tile[ty * 8 + k], B.tile[k * 8 + tx], acc[0])"
    lines = [text.strip() for text in str(error).splitlines()]
    assert lines[lines.index(stored) + 1] == "^" * len(stored)
    assert lines[lines.index(read) + 1] == "^" * len(read)
    assert lines.count("barrier()") == 1


# ---------------------------------------------------------------- threads alone agree with one after the other
def own_elements(rng: random.Random, dtype: str, count: int) -> tuple[list[Buffer], Buffer, Stmt]:
    """Statements by which each thread computes its own element of an output, at random: their buffers, themselves."""
    inputs = {d: buffer(d, count, dtype=d) for d in dtypes.DATA}
    out, own = buffer("out", count, dtype=dtype), buffer("own", 3, "local", dtype)
    me, column = Var("me"), Var("column")
    local = {d: Var(f"x.{d}", d) for d in dtypes.DATA}

    def leaves(turn: Expr) -> dict[str, Expr]:
        index = rng.choice([me, (me + turn) % count, turn % count])
        found: dict[str, Expr] = {d: at(b, index) for d, b in inputs.items()}
        found[dtype] = rng.choice([found[dtype], at(own, rng.choice([turn % 3, const(1)])), local[dtype]])
        return found

    def value(turn: Expr) -> Expr:
        result = random_expr(rng, leaves(turn), dtype, 3)
        if rng.random() < 0.3:
            result = ops.make("if_then_else", condition(turn), result, random_expr(rng, leaves(turn), dtype, 2))
        if rng.random() < 0.2:
            name = Var("let", dtype)
            result = Let(name, result, ops.make("select", condition(turn), name, at(inputs[dtype], me)))
        return result

    def condition(turn: Expr) -> Expr:
        return random_expr(rng, leaves(turn), "bool", 2) if rng.random() < 0.5 else me % 5 < turn + 1

    def stmt(turn: Expr, depth: int) -> Stmt:
        kind = rng.random()
        if depth and kind < 0.2:
            return If(condition(turn), stmt(turn, depth - 1), rng.choice([None, stmt(turn, depth - 1)]))
        if depth and kind < 0.4:
            var = Var(f"turn.{depth}")
            extent = rng.choice([const(2), me % 3, turn + 1])
            return For(var, extent, "serial", stmt(var, depth - 1))
        if depth and kind < 0.7:
            return seq(*(stmt(turn, depth - 1) for _ in range(2)))
        return put(own, rng.choice([const(0), turn % 3, me % 3]), value(turn))

    start = seq(*(put(own, n, at(inputs[dtype], (me + n) % count)) for n in range(3)))
    body = seq(start, stmt(const(1), 4), put(out, me, at(own, me % 3)))
    for d, var in local.items():
        body = LetStmt(var, at(inputs[d], (me * 3 + 1) % count), body)
    body = LetStmt(column, tx * 2 + ty, body)
    return [*inputs.values()], out, LetStmt(me, bx * 6 + (ty * 3 + tx), Alloc(own, body))


@pytest.mark.parametrize("dtype", dtypes.DATA)
def test_random_threads_agree_bit_for_bit_with_their_sequential_meaning(dtype):
    rng, numbers, count = random.Random(dtype), np.random.default_rng(1), 24
    for _ in range(12):
        inputs, out, body = own_elements(rng, dtype, count)
        nest = loops(body, bx=("blockIdx.x", 4), ty=("threadIdx.y", 2), tx=("threadIdx.x", 3))
        func = Func("threads", (*inputs, out), (out,), nest)
        arrays = [random_array(numbers, b.dtype, count) for b in inputs]
        results = []
        for run in (interp.run, interp_launch.run):
            results.append(np.zeros(count, dtypes.to_numpy(dtype)))
            run(func, [*arrays, results[-1]])
        one, many = (np.where(np.isnan(r), np.nan, r) if dtypes.is_float(dtype) else r for r in results)
        assert one.tobytes() == many.tobytes(), func


def test_vectors_of_each_thread():
    a, b = buffer("A", 64), buffer("B", 61)
    four = Ramp(tx * 4, const(1), 4)
    mask = ops.make("lt", four, const(61))
    value = at(a, four) * Splat(at(a, tx), 4) + Ramp(literal(1.0), literal(0.5), 4)
    chosen = ops.make("if_then_else", tx < 9, value, Splat(literal(2.0), 4))
    arrays = [np.arange(64, dtype=np.float32), np.full(61, np.nan, np.float32)]
    store = put(b, four, chosen).replace(mask=mask)
    interp_launch.run(Func("vectors", (a, b), (b,), loops(store, tx=("threadIdx.x", 16))), arrays)
    x = arrays[0].reshape(16, 4)
    expected = np.where(np.arange(16)[:, None] < 9, x * x.ravel()[:16, None] + np.array([1, 1.5, 2, 2.5], "f"), 2)
    np.testing.assert_array_equal(arrays[1], expected.ravel()[:61])
    with pytest.raises(OutOfBoundsError, match=r"B\[61\] is out of bounds: B has 61 elements; accessed by thread 15"):
        unmasked = store.replace(mask=None)
        interp_launch.run(Func("vectors", (a, b), (b,), loops(unmasked, tx=("threadIdx.x", 16))), arrays)


def test_a_variable_is_the_same_for_all_threads_in_one_place_and_not_in_another():
    b = buffer("B", 72)
    place, twice = tx * 3 + k, k * 2  # one expression each, wherever k comes from
    own = LetStmt(k, tx % 3, put(b, place + 24, twice.astype("float32")))
    counted = [serial("k", 3, put(b, place + first, twice.astype("float32"))) for first in (0, 48)]
    array = np.full(72, -1, np.float32)
    nest = loops(seq(counted[0], own, counted[1]), tx=("threadIdx.x", 8))
    interp_launch.run(Func("twice", (b,), (b,), nest), [array])
    values = np.tile([0, 2, 4], (8, 1))
    np.testing.assert_array_equal(array[:24].reshape(8, 3), values)
    np.testing.assert_array_equal(array[48:].reshape(8, 3), values)
    chosen = np.arange(3) == np.arange(8)[:, None] % 3
    np.testing.assert_array_equal(array[24:48].reshape(8, 3), np.where(chosen, values, -1))


def test_grids_depend_on_sizes_and_loads_behind_conditions_are_lazy():
    n = Size("n")
    a, b = Buffer("A", (n,), "float32"), Buffer("B", (n,), "float32")
    row = bx * 8 + tx
    body = If(row < n, put(b, row, padded(row + 1 < n, at(a, row + 1))))
    nest = For(bx, (n + 7) // 8, "blockIdx.x", loops(body, tx=("threadIdx.x", 8)))
    func = Func("shift", (a, b), (b,), nest)
    for count in (0, 1, 8, 21):
        x, y = np.arange(count, dtype=np.float32), np.full(count, np.nan, np.float32)
        interp_launch.run(func, [x, y])
        assert y.tolist() == [*x[1:], 0][:count]


# ------------------------------------------------------------------------------------------------- memory
def test_launches_follow_each_other_and_share_workspaces():
    a, b, work = buffer("A", 32), buffer("B", 32), buffer("work", 32)
    row = bx * 8 + tx
    first = line(put(work, row, at(a, row)), 4, 8)
    second = line(put(b, row, at(work, 31 - row)), 4, 8)
    x, y = np.arange(32, dtype=np.float32), np.empty(32, np.float32)
    interp_launch.run(Func("reverse", (a, b), (b,), Alloc(work, seq(first, second))), [x, y])
    assert y.tolist() == x[::-1].tolist()
    with pytest.raises(UninitializedError, match=r"work\[.*\] is read by thread .* and nothing has written it"):
        interp_launch.run(Func("reverse", (a, b), (b,), Alloc(work, second)), [x, y])


def test_global_memory_is_ordered_within_a_block_and_not_between_blocks():
    a, work = buffer("A", 32), buffer("work", 32)
    row = bx * 8 + tx

    def exchange(partner: Expr) -> Func:
        body = seq(put(work, row, at(a, row)), barrier(), put(a, row, at(work, partner)))
        return Func("exchange", (a,), (a,), Alloc(work, line(body, 4, 8)))

    x = np.arange(32, dtype=np.float32)
    fill = line(put(a, row, literal(1.0)), 4, 8)
    func = exchange(bx * 8 + (7 - tx))
    interp_launch.run(func.with_body(seq(fill, func.body)), [x])
    assert (x == 1).all()
    func = exchange((row + 1) % 32)
    with pytest.raises(RaceError, match="blocks run in any order"):
        interp_launch.run(func.with_body(seq(fill, func.body)), [x], settings=Settings("ascending"))


def test_uninitialised_memory_may_be_poison_instead():
    a, tile = buffer("A", 8), buffer("tile", 8, "shared")
    func = Func("poison", (a,), (a,), line(put(a, tx, at(tile, tx)), 1, 8, tile))
    x = np.zeros(8, np.float32)
    with pytest.raises(UninitializedError, match=r"tile\[0\] is read by thread 0 of block 0"):
        interp_launch.run(func, [x])
    interp_launch.run(func, [x], settings=Settings(strict=False))
    assert np.isnan(x).all()


def test_atomic_updates_exclude_other_accesses():
    a, h = buffer("A", 32, dtype="int32"), buffer("H", 4, dtype="int32")
    update = put(h, tx % 4, at(h, tx % 4) + at(a, bx * 8 + tx))
    clear = loops(put(h, tx, literal(0, "int32")), tx=("threadIdx.x", 4))
    x = np.arange(32, dtype=np.int32)

    def total(*more: Stmt) -> np.ndarray:
        result = np.full(4, -1, np.int32)
        count = line(seq(Do(ATOMIC, (), update), *more), 4, 8)
        interp_launch.run(Func("total", (a, h), (h,), seq(clear, count)), [x, result])
        return result

    assert total().tolist() == x.reshape(8, 4).sum(axis=0).tolist()
    with pytest.raises(RaceError, match=r"H\[0\] is stored by .* and updated by"):
        total(put(h, tx % 4, literal(0, "int32")))
    copy = buffer("copy", 1, "local", "int32")
    with pytest.raises(RaceError, match=r"H\[0\] is read by .* and updated by"):
        total(Alloc(copy, put(copy, 0, at(h, tx % 4))))


# ----------------------------------------------------------------------------------------------- shuffles
def test_shuffles_exchange_values_of_a_warp():
    a, b = buffer("A", 128, dtype="int32"), buffer("B", 128, dtype="int32")
    x, y = np.random.default_rng(0).integers(0, 100, 128, dtype=np.int32), np.zeros(128, np.int32)
    row = bx * 64 + tx
    for bits in (1, 5, 16, 31):
        body = put(b, row, at(a, row) - ops.shuffle_xor(at(a, row), bits))
        interp_launch.run(Func("shuffle", (a, b), (b,), line(body, 2, 64)), [x, y])
        np.testing.assert_array_equal(y, x - x[np.arange(128) ^ bits])


def test_shuffles_need_whole_warps():
    a = buffer("A", 96)
    shuffle = put(a, bx * 48 + tx, ops.shuffle_xor(tx.astype("float32"), 1))
    x = np.zeros(96, np.float32)
    with pytest.raises(DivergenceError, match="the shuffle is reached by 16 of the 32 threads of a warp of block 0"):
        interp_launch.run(Func("part", (a,), (a,), line(shuffle, 2, 48)), [x], settings=Settings("ascending"))
    interp_launch.run(Func("part", (a,), (a,), line(If(tx < 32, shuffle), 2, 48)), [x])
    assert x[48:80].tolist() == [n ^ 1 for n in range(32)]
    with pytest.raises(DivergenceError, match="reached by 1 of the 32 threads of a warp of block 1"):
        interp_launch.run(Func("part", (a,), (a,), line(If((tx < 32) & (bx * 48 + tx < 49), shuffle), 2, 48)), [x])


def test_shuffles_have_no_meaning_outside_launches():
    a = buffer("A", 32)
    body = serial("k", 32, put(a, k, ops.shuffle_xor(k.astype("float32"), 1)))
    func = Func("loop", (a,), (a,), body)
    with pytest.raises(ExprError, match="only among the threads of a launch nest"):
        interp.run(func, [np.zeros(32, np.float32)])
    with pytest.raises(VerifyError, match="shuffle_xor outside the threads of a launch nest"):
        interp_launch.run(func, [np.zeros(32, np.float32)])


def test_barriers_have_no_meaning_one_thread_after_the_other():
    func = matmul(8, 8, 8, 8)
    arrays = [np.zeros((8, 8), np.float32) for _ in range(3)]
    with pytest.raises(VerifyError, match="use interp_launch"):
        interp.run(func, arrays)


def test_barriers_in_loops_that_some_threads_leave_early():
    a = buffer("A", 8)
    body = seq(put(a, tx, literal(0.0)), serial("k", tx // 4 + 1, barrier()))
    x = np.zeros(8, np.float32)
    with pytest.raises(DivergenceError, match="the barrier is reached by 4 of the 8 threads of block 0"):
        interp_launch.run(Func("leave", (a,), (a,), line(body, 1, 8)), [x])
    of_block = seq(put(a, bx * 4 + tx, literal(2.0)), serial("k", bx + 1, barrier()))
    interp_launch.run(Func("stay", (a,), (a,), line(of_block, 2, 4)), [x])
    assert (x == 2).all()


def test_settings_are_checked():
    with pytest.raises(ArgumentError, match="order must be one of shuffled, ascending, descending, got 'random'"):
        interp_launch.run(matmul(8, 8, 8, 8), [], settings=Settings("random"))
