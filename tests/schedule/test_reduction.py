"""decompose_reduction and atomic."""

import numpy as np
import pytest

import tensorlang as tl
from tensorlang.ir import ops
from tensorlang.ir.nodes import SERIAL, TRUE, Alloc, Block, For, Iter, Load, Store, Var, const, seq
from tensorlang.ir.walk import find, replace_node, substitute
from tensorlang.schedule.schedule import Schedule
from tests.schedule.programs import (
    before_and_after,
    check_kernel,
    check_numbers,
    last_positive,
    matmul,
    refused,
    row_sum,
)


def test_decompose_reduction(golden):
    s = Schedule(matmul(10, 12, 7))
    before = s.func
    s.split("C.i", [None, 4])
    init = s.decompose_reduction("C", "C.i.1")
    assert init.name == "C.init"
    assert [loop.name for loop in s.loops(init)] == ["C.i.0", "C.init.i.1", "C.init.j"]
    golden("schedule/decompose_reduction", before_and_after(before, s))
    check_numbers(before, s)


def test_init_between_reduction_loops(golden):
    """The init runs in the first iteration of the reduction loop that stays outside; padding does not count."""
    s = Schedule(matmul(10, 12, 7))
    before = s.func
    k0, k1 = s.split("C.k", [None, 4])
    i0, i1 = s.split("C.i", [None, 4])
    j0, j1 = s.split("C.j", [None, 5])
    s.reorder(k0, i0, j0, k1, i1, j1)
    s.vectorize(j1)
    s.decompose_reduction("C", j0)
    golden("schedule/decompose_reduction_inside", before_and_after(before, s))
    check_numbers(before, s)


@pytest.mark.parametrize("loop", range(6))
@pytest.mark.parametrize("order", ["ijk", "kij", "ikj"])
def test_init_at_any_loop(loop, order):
    s = Schedule(matmul(10, 12, 7))
    before = s.func
    pairs = {axis: s.split(f"C.{axis}", [None, 3]) for axis in "ijk"}
    s.reorder(*(pairs[axis][0] for axis in order), *(pairs[axis][1] for axis in order))
    s.decompose_reduction("C", s.loops("C")[loop])
    check_numbers(before, s)


@pytest.mark.parametrize("n", [0, 1, 5])
def test_an_empty_reduction_still_gets_its_init(n):
    s = Schedule(row_sum(4, tl.var("n")))
    before = s.func
    s.split("C.k", [None, 4])
    s.decompose_reduction("C", "C.k.0")
    check_numbers(before, s, {"n": n})


@pytest.mark.parametrize("again", [False, True])
def test_the_init_of_nothing_runs_in_loops_that_are_too_long(again):
    a, k = tl.placeholder((3, 0), name="A"), tl.reduce_axis(0, "k")
    s = Schedule(tl.compute((3,), lambda i: tl.sum(a[i, k], axis=k), name="C"))
    before = s.func
    s.split("C.k", [1, 1])
    if again:
        s.split("C.k.1", [2, 3])
        s.fuse("C.k.0", "C.k.1.0")
        s.split("C.i", [None, 2])
    check_kernel(before, s)
    s.decompose_reduction("C", s.loops("C")[0])
    check_kernel(before, s)


def test_init_with_an_open_outer_extent():
    """A knob is at least 1, so the reduction loop outside runs; a shape variable may be 0."""
    s = Schedule(row_sum(4, tl.var("n")))
    s.split("C.k", [None, 4])
    error = refused(s, "reduction_may_be_empty", lambda: s.decompose_reduction("C", "C.k.1"))
    assert "C.k.0" in error.hint
    s = Schedule(row_sum(4, 12))
    s.split("C.k", [tl.knob("t", (1, 2, 4)), None])
    s.decompose_reduction("C", "C.k.1")
    assert s.constraints == ()


def test_ordered_reduction_decomposes():
    s = Schedule(last_positive())
    before = s.func
    s.decompose_reduction("C", "C.k")
    check_numbers(before, s)


def test_decompose_refuses():
    s = Schedule(matmul(10, 12, 7))
    refused(s, "unknown_loop", lambda: s.decompose_reduction("C", "C.z"))
    s.decompose_reduction("C", "C.k")
    refused(s, "no_init", lambda: s.decompose_reduction("C", "C.k"))
    c = row_sum()
    two = Schedule(tl.compute(c.shape, lambda i: c[i] + 1.0, name="D"))
    error = refused(two, "not_around", lambda: two.decompose_reduction("C", "D.i"))
    assert error.hint == "C.i, C.k"


def test_decompose_refuses_loops_that_repeat_the_reduction():
    func = Schedule(row_sum()).func
    repeated = func.with_body(For(Var("C.r"), const(3), SERIAL, func.body))
    s = Schedule(repeated)
    refused(s, "visits_twice", lambda: s.decompose_reduction("C", "C.r"))
    s.decompose_reduction("C", "C.i")
    check_numbers(repeated, s)


def test_decompose_refuses_to_leave_an_allocation():
    c = row_sum()
    func = Schedule(tl.compute(c.shape, lambda i: c[i] + 1.0, name="D")).func
    alloc = next(find(func, Alloc))
    c_nest, d_nest = alloc.body.stmts
    d_body = substitute(d_nest.body, {d_nest.var: c_nest.var})
    together = c_nest.replace(body=Alloc(alloc.buffer, seq(c_nest.body, d_body)))
    s = Schedule(func.with_body(together))
    error = refused(s, "allocated_inside", lambda: s.decompose_reduction("C", "C.i"))
    assert error.hint == "C.k"
    s.decompose_reduction("C", "C.k")
    check_numbers(func.with_body(together), s)


def sum_of_planes(m=5, n=4, p=7):
    a = tl.placeholder((m, n, p), name="A")
    k, ll = tl.reduce_axis(n, name="k"), tl.reduce_axis(p, name="l")
    return tl.compute((m,), lambda i: tl.sum(a[i, k, ll], axis=(k, ll)), name="C")


@pytest.mark.parametrize("loop", ["C.i", "C.k", "C.l.part0"])
@pytest.mark.parametrize("order", ["ik", "ki"])
def test_an_init_passes_parts_of_its_reduction(order, loop):
    s = Schedule(sum_of_planes())
    before = s.func
    s.reorder(*(f"C.{axis}" for axis in order))
    s.loop_partition("C.l", [3])
    s.decompose_reduction("C", loop)
    check_kernel(before, s)


def test_an_init_of_one_part_of_rows_leaves_the_others():
    """Both come inside of a loop that reduces."""
    s = Schedule(sum_of_planes())
    before = s.func
    s.reorder("C.k", "C.i")
    s.split("C.i", [None, 2], tail="cut")
    s.loop_partition("C.i.0", [1])
    s.decompose_reduction("C.part1", "C.part1.l")
    s.decompose_reduction("C", "C.i.1")
    check_kernel(before, s)


def with_a_writer(beside, shift=0, after=False):
    """The sum of planes with a block D beside the loop of that name, which doubles C[i + shift] and adds 1."""
    func = Schedule(sum_of_planes()).func
    c = func.outputs[0]
    inner, row = (next(find(func, For, lambda n, name=name: n.var.name == name)) for name in (beside, "C.i"))
    x = Var("x")
    place = ops.make("min", row.var + shift, c.shape[0] - 1)
    store = Store(c, (x,), Load(c, (x,)) * 2.0 + 1.0)
    block = Block("D", (Iter(x, c.shape[0]),), (place,), TRUE, None, None, store)
    return func.with_body(replace_node(func.body, inner, seq(inner, block) if after else seq(block, inner)))


def test_an_init_does_not_come_after_what_its_loop_has_stored():
    before = with_a_writer("C.l")
    s = Schedule(before)
    error = refused(s, "several_writers", lambda: s.decompose_reduction("C", "C.l"))
    assert error.hint == "C.k"
    s.decompose_reduction("C", "C.i")
    check_numbers(before, s)


def test_an_init_does_not_come_before_what_an_earlier_iteration_stores():
    """The sum of each row begins anew after the row before has left something in its place; in its own it may."""
    s = Schedule(with_a_writer("C.k", shift=1, after=True))
    refused(s, "several_writers", lambda: s.decompose_reduction("C", "C.i"))
    before = with_a_writer("C.k", after=True)
    s = Schedule(before)
    s.decompose_reduction("C", "C.i")
    check_numbers(before, s)


def test_an_init_passes_the_variant_for_other_sizes():
    m = tl.var("m")
    s = Schedule(row_sum(m, 5))
    before = s.func
    s.specialize(m % 2 == 0, "C.k")
    s.decompose_reduction("C.general", "C.i")
    s.decompose_reduction("C", "C.i")
    check_kernel(before, s, *({"m": m} for m in (0, 3, 4)))


def test_an_init_does_not_pass_what_stores_over_it():
    """Each iteration fills its row, and sums in it."""
    total = row_sum(10, 4)
    s = Schedule(tl.compute((10,), lambda i: total[9 - i] + 1.0, name="D"))
    before = s.func
    s.rfactor("C.k", 1)
    s.transform_layout("C.rf", lambda k, i: (i, k), pad_value=2.0)
    s.store_at("C.rf", None)
    error = refused(s, "several_writers", lambda: s.decompose_reduction("C.rf", "C.i"))
    assert "C.rf.pad" in error.message and error.hint == "C.k"
    s.decompose_reduction("C.rf", "C.k")
    check_numbers(before, s)


def test_an_init_passes_other_parts():
    """Columns of their own, before and after."""
    s = Schedule(matmul(10, 12, 7))
    before = s.func
    s.loop_partition("C.j", [5])
    s.decompose_reduction("C", "C.i")
    s.decompose_reduction("C.part1", "C.i")
    check_numbers(before, s)


def test_an_init_passes_updates_behind_its_own():
    """The second part of each sum stands behind the first, in rows of its own."""
    s = Schedule(row_sum(10, 12))
    before = s.func
    s.loop_partition("C.k", [5])
    s.decompose_reduction("C", "C.i")
    check_numbers(before, s)


def test_decompose_refuses_extents_that_follow_the_reduction():
    """for k: for i in k + 1: C[i] += A[i, k] has no loop over i to copy outside of k."""
    func = Schedule(row_sum(8, 8)).func
    outer, inner = func.body, func.body.body
    s = Schedule(func.with_body(inner.replace(body=outer.replace(extent=inner.var + 1, body=inner.body))))
    refused(s, "extent_depends", lambda: s.decompose_reduction("C", "C.k"))


@pytest.mark.parametrize(
    ("reducer", "dtype"), [(tl.sum, "float32"), (tl.sum, "float64"), (tl.max, "int64"), (tl.min, "uint32")]
)
def test_atomic(golden, reducer, dtype):
    A = tl.placeholder((5, 100), dtype, name="A")
    k = tl.reduce_axis(100, "k")
    s = Schedule(tl.compute((5,), lambda i: reducer(A[i, k], axis=k), name="C"))
    before = s.func
    s.decompose_reduction("C", "C.i")
    s.reorder("C.k", "C.i")
    s.atomic("C")
    s.parallel("C.k")
    if dtype == "float32":
        golden("schedule/atomic", before_and_after(before, s))
    check_numbers(before, s)
    a = np.random.default_rng(0).integers(0, 9, (5, 100)).astype(dtype)
    np.testing.assert_array_equal(tl.build(s, "llvm")(a), tl.interpret(before, a))


def test_partial_sums_of_products_are_added():
    s = Schedule(matmul(10, 12, 7))
    before = s.func
    k, _ = s.split("C.k", [None, 4])
    s.reorder(k, "C.i", "C.j")
    partial = s.rfactor(k)
    k = s.loops("C")[0]
    s.decompose_reduction("C", k)
    s.atomic("C")
    s.compute_at(partial, k)
    s.parallel(k)
    check_numbers(before, s)
    a, b = (np.random.default_rng(0).integers(-4, 5, shape).astype("float32") for shape in ((10, 7), (7, 12)))
    np.testing.assert_array_equal(tl.build(s, "llvm")(a, b), a @ b)


def test_atomic_refuses():
    s = Schedule(matmul(10, 12, 7))
    assert "decompose_reduction" in refused(s, "has_init", lambda: s.atomic("C")).hint
    s.decompose_reduction("C", "C.i")
    assert "rfactor" in refused(s, "not_atomic", lambda: s.atomic("C")).hint  # a product is added as fma
    s = Schedule(last_positive())
    s.decompose_reduction("C", "C.k")
    refused(s, "not_commutative", lambda: s.atomic("C"))
    A = tl.placeholder((5, 6), "float16", name="A")
    k = tl.reduce_axis(6, "k")
    s = Schedule(tl.compute((5,), lambda i: tl.sum(A[i, k], axis=k), name="C"))
    s.decompose_reduction("C", "C.i")
    refused(s, "not_atomic", lambda: s.atomic("C"))
    s = Schedule(row_sum(8, 8))
    s.decompose_reduction("C", "C.i")
    s.reorder("C.k", "C.i")
    s.vectorize("C.i")
    refused(s, "atomic_vectors", lambda: s.atomic("C"))


def test_atomic_updates_stay_what_they_are():
    """No vectors, not in the memory of one thread, and no init among them."""
    s = Schedule(row_sum(8, 8))
    s.cache_write("C", "local")
    s.decompose_reduction("C", "C.i")
    s.reorder("C.k", "C.i")
    s.atomic("C")
    refused(s, "atomic_vectors", lambda: s.vectorize("C.i"))
    refused(s, "loop_reduces", lambda: s.parallel("C.k"))
    s.set_scope("C.local", "global")
    s.parallel("C.k")
    refused(s, "loop_reduces", lambda: s.set_scope("C.local", "local"))
    s = Schedule(row_sum(8, 8))
    k, _ = s.split("C.k", [None, 4])
    s.reorder(k, "C.i")
    s.decompose_reduction("C", "C.i")  # in the first iteration of k
    s.atomic("C")
    refused(s, "loop_repeats", lambda: s.parallel(k))
