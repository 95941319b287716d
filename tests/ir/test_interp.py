"""The interpreter: the init rule, memory, loops and branches."""

import itertools
import random

import numpy as np
import pytest

from tensorlang.errors import ArgumentError
from tensorlang.ir import dtypes, exact, interp, ops
from tensorlang.ir.nodes import (
    FALSE,
    LOOP_KINDS,
    NOTHING,
    TRUE,
    Alloc,
    Buffer,
    Expr,
    Func,
    If,
    Let,
    LetStmt,
    Load,
    Ramp,
    Size,
    Splat,
    Stmt,
    Store,
    Var,
    const,
    seq,
)
from tests.ir.small_funcs import extents, literal, matmul, nest, row_sum


def poisoned(*shape: int) -> np.ndarray:
    return np.full(shape, np.nan, np.float32)


def whole(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """Small whole numbers, whose sums are exact."""
    return rng.integers(-8, 9, shape).astype(np.float32)


def check_row_sum(func: Func, rows: int, columns: int, sizes=None) -> None:
    a, b = whole(np.random.default_rng(rows + columns), rows, columns), poisoned(rows)
    interp.run(func, [a, b], sizes or {})
    np.testing.assert_array_equal(b, a.sum(axis=1))


def test_matmul_fuses_each_update():
    rng = np.random.default_rng(0)
    a, b, c = rng.standard_normal((5, 7), "f"), rng.standard_normal((7, 3), "f"), poisoned(5, 3)
    interp.run(matmul(5, 3, 7), [a, b, c])
    for i, j in itertools.product(range(5), range(3)):
        expected = 0.0
        for k in range(7):
            expected = exact.fma32(float(a[i, k]), float(b[k, j]), expected)
        assert c[i, j] == np.float32(expected)


def test_init_runs_before_an_outer_reduction_loop():
    i, k = Var("B.i"), Var("B.k")
    check_row_sum(row_sum(5, 6, lambda block: nest([(k, 6), (i, 5)], block(i, k))), 5, 6)


def test_init_between_two_halves_of_a_split_reduction():
    i, k0, k1 = Var("B.i"), Var("B.k.0"), Var("B.k.1")
    inside = k0 * 4 + k1 < 6
    check_row_sum(row_sum(5, 6, lambda block: nest([(k0, 2), (i, 5), (k1, 4)], block(i, k0 * 4 + k1, inside))), 5, 6)


def test_init_keeps_the_guard_of_a_split_spatial_loop():
    i0, i1, k0, k1 = Var("B.i.0"), Var("B.i.1"), Var("B.k.0"), Var("B.k.1")
    guard = ops.all_of([i0 * 4 + i1 < 5, k0 * 4 + k1 < 6])
    loops = [(k0, 2), (i0, 2), (k1, 4), (i1, 4)]
    check_row_sum(row_sum(5, 6, lambda block: nest(loops, block(i0 * 4 + i1, k0 * 4 + k1, guard))), 5, 6)


def test_init_of_a_fused_spatial_and_reduction_loop():
    f0, f1 = Var("B.f.0"), Var("B.f.1")
    flat = f0 * 8 + f1
    check_row_sum(
        row_sum(5, 6, lambda block: nest([(f0, 4), (f1, 8)], block(flat // 6, flat % 6, flat < 30))),
        *(5, 6),
    )


def test_init_runs_when_the_reduction_is_empty():
    i, k = Var("B.i"), Var("B.k")
    for loops in ([(i, 5), (k, 0)], [(k, 0), (i, 5)]):
        check_row_sum(row_sum(5, 0, lambda block, loops=loops: nest(loops, block(i, k))), 5, 0)


def test_init_runs_again_when_a_point_is_computed_again():
    i, k, again = Var("B.i"), Var("B.k"), Var("again")
    check_row_sum(row_sum(5, 6, lambda block: nest([(again, 2), (i, 5), (k, 6)], block(i, k))), 5, 6)


def test_init_stands_under_conditions_free_of_reduction_variables():
    i, k = Var("B.i"), Var("B.k")
    func = row_sum(5, 6, lambda block: nest([(k, 6), (i, 5)], If((i < 3) & (k < 2), block(i, k))))
    a, b = whole(np.random.default_rng(1), 5, 6), poisoned(5)
    interp.run(func, [a, b])
    np.testing.assert_array_equal(b[:3], a[:3, :2].sum(axis=1))
    assert np.isnan(b[3:]).all()


def test_init_in_the_other_branch_stands_under_the_negated_condition():
    i, k = Var("B.i"), Var("B.k")
    func = row_sum(5, 6, lambda block: nest([(k, 6), (i, 5)], If(i < 3, NOTHING, block(i, k))))
    a, b = whole(np.random.default_rng(1), 5, 6), poisoned(5)
    interp.run(func, [a, b])
    np.testing.assert_array_equal(b[3:], a[3:].sum(axis=1))
    assert np.isnan(b[:3]).all()


def split(rng: random.Random, var: str, extent: int) -> tuple[Expr, list[tuple[Var, int]], Expr]:
    """An index split at random: its value, its loops, the guard they need."""
    factors = [rng.randint(1, 4) for _ in range(rng.randint(0, 2))]
    inner = int(np.prod(factors))
    loops = [(Var(f"{var}.{n}"), e) for n, e in enumerate([-(-extent // inner), *factors])]
    value: Expr = const(0)
    for loop, size in loops:
        value = value * size + loop
    return value, loops, value < extent


@pytest.mark.parametrize("seed", range(40))
def test_reductions_in_random_loop_orders(seed):
    rng = random.Random(seed)
    rows, columns = rng.randint(1, 6), rng.randint(0, 7)
    (i, loops, in_rows), (k, reduction, in_columns) = split(rng, "B.i", rows), split(rng, "B.k", columns)
    loops = [*loops, *reduction]
    if rng.random() < 0.3 and columns:  # one fused loop drives both iterators
        (flat, loops, in_range) = split(rng, "B.f", rows * columns)
        i, k, in_rows, in_columns = flat // columns, flat % columns, in_range, TRUE
    rng.shuffle(loops)
    check_row_sum(row_sum(rows, columns, lambda block: nest(loops, block(i, k, in_rows & in_columns))), rows, columns)


def test_spatial_loop_whose_extent_depends_on_a_reduction_loop():
    i, k = Var("B.i"), Var("B.k")
    func = row_sum(5, 5, lambda block: nest([(k, 5), (i, k + 1)], block(i, k)))
    a, b = whole(np.random.default_rng(1), 5, 5), poisoned(5)
    interp.run(func, [a, b])
    np.testing.assert_array_equal(b, np.triu(a).sum(axis=1))


def test_sizes_come_from_shapes_or_from_the_caller():
    n, m, i, k = Size("n"), Size("m"), Var("B.i"), Var("B.k")
    func = row_sum(n, m, lambda block: nest([(i, n), (k, m)], block(i, k)))
    for rows, columns in ((3, 4), (0, 4), (3, 0)):
        check_row_sum(func, rows, columns)
    out = Buffer("out", (n * 2,), "int32")
    fill = Func("fill", (out,), (out,), nest([(i, n * 2)], Store(out, (i,), literal(3, "int32"))))
    array = np.zeros(8, np.int32)
    with pytest.raises(ArgumentError, match="needs the values of n"):
        interp.run(fill, [array])
    interp.run(fill, {out: array}, {n: 4})
    assert (array == 3).all()


def test_every_kind_of_loop_runs_in_order():
    out, i = Buffer("out", extents(4), "int32"), Var("i")
    for kind in LOOP_KINDS:
        array = np.zeros(4, np.int32)
        body = nest([(i, 4)], Store(out, (i,), i.astype("int32")), kind)
        interp.run(Func("count", (out,), (out,), body), [array])
        assert array.tolist() == [0, 1, 2, 3]


def test_more_loops_than_python_nests():
    out = Buffer("out", extents(1), "int32")
    body: Stmt = Store(out, (const(0),), Load(out, (const(0),)) + literal(1, "int32"))
    loops = [(Var(f"i{n}"), 2 if n % 8 == 0 else 1) for n in range(40)]
    array = np.zeros(1, np.int32)
    interp.run(Func("deep", (out,), (out,), nest(loops, body)), [array])
    assert array[0] == 2**5


def test_negative_extents_run_nothing():
    out, i = Buffer("out", extents(4), "int32"), Var("i")
    array = np.zeros(4, np.int32)
    interp.run(Func("none", (out,), (out,), nest([(i, -3)], Store(out, (i,), literal(1, "int32")))), [array])
    assert not array.any()


@pytest.mark.parametrize("dtype", dtypes.DATA)
def test_fresh_memory_is_poisoned_each_time(dtype):
    out, fresh, i = Buffer("out", extents(2), dtype), Buffer("fresh", extents(3), dtype, "local"), Var("i")
    one = TRUE if dtype == "bool" else literal(1, dtype)
    copy = seq(Store(out, (i,), Load(fresh, (const(1),))), Store(fresh, (const(1),), one))
    array = np.zeros(2, dtypes.to_numpy(dtype))
    interp.run(Func("poison", (out,), (out,), nest([(i, 2)], Alloc(fresh, copy))), [array])
    assert (np.isnan(array) if dtypes.is_float(dtype) else array != 0).all()


def access(index: Expr, loops, shape=(4, 5)) -> Func:
    a, out = Buffer("A", extents(*shape), "float32"), Buffer("out", extents(1), "float32")
    body = Store(out, (const(0),), Load(a, (index, const(2))))
    return Func("access", (a, out), (out,), nest(loops, body))


def test_access_outside_a_buffer_is_an_error_that_names_it():
    i = Var("i")
    arrays = [np.zeros((4, 5), np.float32), poisoned(1)]
    interp.run(access(i, [(i, 4)]), arrays)
    with pytest.raises(IndexError, match=r"A\[4, 2\] is out of bounds"):
        interp.run(access(i, [(i, 5)]), arrays)
    with pytest.raises(IndexError, match=r"A\[-1, 2\] is out of bounds"):
        interp.run(access(i - 1, [(i, 4)]), arrays)


def test_only_if_then_else_guards_a_load():
    a, out, i = Buffer("A", extents(4), "float32"), Buffer("out", extents(6), "float32"), Var("i")

    def padded(choose: str) -> Func:
        value = ops.make(choose, i < 4, Load(a, (i,)), literal(0.0))
        return Func("pad", (a, out), (out,), nest([(i, 6)], Store(out, (i,), value)))

    array, result = np.arange(4, dtype=np.float32), poisoned(6)
    interp.run(padded("if_then_else"), [array, result])
    assert result.tolist() == [0, 1, 2, 3, 0, 0]
    with pytest.raises(IndexError, match=r"A\[4\]"):
        interp.run(padded("select"), [array, result])


def test_block_iterators_are_checked():
    i, k = Var("B.i"), Var("B.k")
    func = row_sum(5, 6, lambda block: nest([(i, 6), (k, 6)], block(i, k)))
    with pytest.raises(IndexError, match=r"block B: i = 5 is not in 0 \.\. 4"):
        interp.run(func, [np.zeros((5, 6), np.float32), poisoned(5)])


def test_arguments_are_checked():
    func = matmul(2, 3, 4)
    good = [np.zeros((2, 4), "f"), np.zeros((4, 3), "f"), np.zeros((2, 3), "f")]
    with pytest.raises(ArgumentError, match="takes 3 arrays, got 2"):
        interp.run(func, good[:2])
    with pytest.raises(ArgumentError, match="A must be float32, got float64"):
        interp.run(func, [good[0].astype("float64"), *good[1:]])
    with pytest.raises(ArgumentError, match="B must have 4 elements on axis 0, got 5"):
        interp.run(func, [good[0], np.zeros((5, 3), "f"), good[2]])


def test_strided_outputs_are_written_through():
    out = np.full((3, 4), np.nan, np.float32).T
    rng = np.random.default_rng(0)
    a, b = whole(rng, 4, 2), whole(rng, 2, 3)
    interp.run(matmul(4, 3, 2), [a[:, ::-1][:, ::-1], b, out])
    np.testing.assert_array_equal(out, a @ b)


def test_let_branches_and_statements():
    a, out, i = Buffer("A", extents(6), "int32"), Buffer("out", extents(6), "int32"), Var("i")
    x, y = Var("x", "int32"), Var("y", "int32")
    value = Let(y, x * x, y + y)
    body = LetStmt(x, Load(a, (i,)), If(x > 0, Store(out, (i,), value), If(x < -2, Store(out, (i,), -x), NOTHING)))
    array, result = np.array([1, 2, 0, -1, -3, 5], np.int32), np.full(6, 7, np.int32)
    interp.run(Func("lets", (a, out), (out,), nest([(i, 6)], body)), [array, result])
    assert result.tolist() == [2, 8, 7, 7, 3, 50]


def test_index_arithmetic_is_unbounded_and_floors():
    out, i = Buffer("out", extents(4), "int64"), Var("i")
    huge = const(2**70)
    values = [(huge + i) // 2**65, (const(-7) + i) // 4, (const(-7) + i) % 4, ops.make("min", i, const(1))]
    body = seq(*(Store(out, (const(n),), v.astype("int64")) for n, v in enumerate(values)))
    result = np.zeros(4, np.int64)
    interp.run(Func("index", (out,), (out,), nest([(i, 2)], body)), [result])
    assert result.tolist() == [32, -2, 2, 1]


# ------------------------------------------------------------------------------------------------ flat level
def test_masked_lanes_touch_no_memory():
    a, out = Buffer("A", extents(6), "float32"), Buffer("out", extents(6), "float32")
    i = Var("i")
    at = Ramp(i * 4, const(1), 4)
    mask = ops.make("lt", at, Splat(const(6), 4))
    body = nest([(i, 2)], Store(out, (at,), Load(a, (at,), mask) + Splat(literal(1.0), 4), mask))
    array, result = np.arange(6, dtype=np.float32), poisoned(6)
    interp.run(Func("tail", (a, out), (out,), body), [array, result])
    assert result.tolist() == [1, 2, 3, 4, 5, 6]
    unmasked = nest([(i, 2)], Store(out, (at,), Load(a, (at,), mask)))
    with pytest.raises(IndexError, match=r"out\[6\]"):
        interp.run(Func("tail", (a, out), (out,), unmasked), [array, result])


def test_masked_off_lanes_load_zero_and_scalars_may_be_masked():
    a, out = Buffer("A", extents(4), "float32"), Buffer("out", extents(5), "float32")
    at = Ramp(const(0), const(1), 4)
    mask = ops.make("lt", at, Splat(const(2), 4))
    body = seq(
        Store(out, (at,), Load(a, (at,), mask)),
        Store(out, (const(4),), Load(a, (const(9),), FALSE)),
        Store(out, (const(99),), literal(1.0), FALSE),
    )
    result = poisoned(5)
    interp.run(Func("mask", (a, out), (out,), body), [np.arange(1, 5, dtype=np.float32), result])
    assert result.tolist() == [1, 2, 0, 0, 0]


def test_flat_buffers_take_arrays_of_any_rank():
    a, out, i = Buffer("A", extents(6), "float32"), Buffer("out", extents(6), "float32"), Var("i")
    body = nest([(i, 6)], Store(out, (i.astype("int64"),), Load(a, (i.astype("int64"),)) * literal(2.0)))
    array, result = np.arange(6, dtype=np.float32).reshape(2, 3), poisoned(3, 2)
    interp.run(Func("double", (a, out), (out,), body), [array, result])
    assert result.reshape(-1).tolist() == [0, 2, 4, 6, 8, 10]
