"""split, fuse, reorder, tile."""

import pytest

import tensorlang as tl
from tensorlang.schedule.schedule import Schedule
from tests.schedule.programs import (
    add,
    before_and_after,
    chain,
    check_kernel,
    check_numbers,
    last_positive,
    matmul,
    refused,
    row_sum,
    running,
    triangle,
)


# ---------------------------------------------------------------------------------------------------- split
def test_split_guards_what_does_not_divide(golden):
    s = Schedule(matmul(10, 12, 7))
    before = s.func
    i0, i1 = s.split("C.i", [None, 4])
    assert (i0.name, i1.name) == ("C.i.0", "C.i.1")
    assert (i0.extent.value, i1.extent.value) == (3, 4)
    golden("schedule/split", before_and_after(before, s))
    check_numbers(before, s)


@pytest.mark.parametrize(
    "factors", [[None, 4], [4, None], [2, None, 3], [None], [2, 5], [3, 4], [10], [None, 1], [1, None], [None, 64]]
)
@pytest.mark.parametrize("loop", ["C.i", "C.k"])
def test_split_keeps_numbers(factors, loop):
    s = Schedule(matmul(10, 12, 7))
    before = s.func
    s.split(loop, factors)
    check_numbers(before, s)


def test_split_leaves_out_a_guard_that_is_proved():
    s = Schedule(matmul(10, 12, 7))
    s.split("C.j", [None, 4])
    assert "where" not in str(s)


def test_split_of_a_split():
    s = Schedule(matmul(10, 12, 7))
    before = s.func
    _, inner = s.split("C.i", [None, 6])
    s.split(inner, [None, 4])
    check_numbers(before, s)


@pytest.mark.parametrize("n", [0, 1, 3, 4, 9])
def test_split_of_a_symbolic_extent(n):
    s = Schedule(row_sum(tl.var("m"), tl.var("n")))
    before = s.func
    s.split("C.i", [None, 4])
    s.split("C.k", [None, 3])
    check_numbers(before, s, {"m": n, "n": 9 - n})


def test_split_refuses():
    s = Schedule(matmul(10, 12, 7))
    refused(s, "bad_factor", lambda: s.split("C.i", []))
    refused(s, "bad_factor", lambda: s.split("C.i", 4))
    refused(s, "bad_factor", lambda: s.split("C.i", [None, 2.5]))
    refused(s, "bad_factor", lambda: s.split("C.i", [None, tl.var("n")]))
    refused(s, "factor_not_positive", lambda: s.split("C.i", [None, 0]))
    refused(s, "several_inferred", lambda: s.split("C.i", [None, 4, None]))
    refused(s, "unknown_tail", lambda: s.split("C.i", [None, 4], tail="none"))
    error = refused(s, "factors_do_not_cover", lambda: s.split("C.i", [2, 4]))
    assert "make 8 iterations" in error.message
    s.unroll("C.i")
    refused(s, "loop_kind", lambda: s.split("C.i", [None, 4]))
    s.annotate("C.j", "note", 1)
    refused(s, "loop_annotated", lambda: s.split("C.j", [None, 4]))


# ----------------------------------------------------------------------------------------------------- fuse
def test_fuse(golden):
    s = Schedule(matmul(10, 12, 7))
    before = s.func
    fused = s.fuse("C.i", "C.j")
    assert (fused.name, fused.extent.value) == ("C.i_j", 120)
    golden("schedule/fuse", before_and_after(before, s))
    check_numbers(before, s)


def test_fuse_of_three_loops():
    s = Schedule(last_positive())
    before = s.func
    s.split("C.k", [2, 3])
    s.fuse("C.j", "C.k.0", "C.k.1")
    check_numbers(before, s)


def test_fuse_undoes_split():
    s = Schedule(add(10, 12))
    s.fuse(*s.split("C.j", [None, 4]))
    block = s.block_node("C")
    assert repr(block.bindings[1]) == "C.j.0_j.1"


def test_fuse_of_symbolic_extents():
    s = Schedule(add(tl.var("m"), tl.var("n")))
    before = s.func
    s.fuse("C.i", "C.j")
    for m, n in ((3, 4), (0, 2), (2, 0)):
        check_numbers(before, s, {"m": m, "n": n})


def test_factors_need_not_cover_what_guards_leave_out():
    s = Schedule(row_sum(11, 9))
    before = s.func
    s.split("C.i", [None, 7])
    s.split("C.k", [None, 5])
    refused(s, "factors_do_not_cover", lambda: s.split("C.k.0", [1]))
    refused(s, "factors_do_not_cover", lambda: s.split("C.i.1", [6]))
    check_kernel(before, s)
    single = Schedule(row_sum(3, 5))
    before = single.func
    single.split("C.i", [1, 8])
    single.split("C.k", [1, 8])
    refused(single, "factors_do_not_cover", lambda: single.split("C.i.1", [2]))
    single.split("C.i.1", [3])
    single.split("C.k.1", [5])
    check_kernel(before, single)


def test_fuse_of_spatial_and_reduction_loops():
    s = Schedule(matmul(4, 5, 7))
    before = s.func
    fused = s.fuse("C.j", "C.k")
    check_numbers(before, s)
    refused(s, "loop_reduces", lambda: s.parallel(fused))
    refused(s, "visits_twice", lambda: s.decompose_reduction("C", fused))
    s.split(fused, [None, 3])
    s.reorder("C.j_k.1", "C.j_k.0")
    check_numbers(before, s)
    s = Schedule(row_sum(4, tl.var("n")))
    assert "C.k" in refused(s, "reduction_may_be_empty", lambda: s.fuse("C.i", "C.k")).message


def test_fuse_of_loops_that_are_empty_together():
    """A sum of nothing is stored for no point if the loop over the points is empty where the one over the terms is."""
    n = tl.var("n")
    s = Schedule(row_sum(n, n))
    before = s.func
    s.fuse("C.i", "C.k")
    for size in (0, 1, 5):
        check_numbers(before, s, {"n": size})
    s = Schedule(matmul(5, tl.var("m"), n))
    refused(s, "reduction_may_be_empty", lambda: s.fuse("C.j", "C.k"))


def test_fuse_of_one_point_with_its_sum():
    """The loop drives no spatial iterator then, and the init runs before it, also if the sum has no terms."""
    n = tl.var("n")
    s = Schedule(matmul(1, 3, n))
    before = s.func
    s.reorder("C.j", "C.i", "C.k")
    refused(s, "reduction_may_be_empty", lambda: s.fuse("C.j", "C.i", "C.k"))
    s.fuse("C.i", "C.k")
    for size in (0, 1, 5):
        check_numbers(before, s, {"n": size})


def test_fuse_with_a_loop_for_points_and_their_sums():
    s = Schedule(matmul(3, tl.var("m"), 7))
    before = s.func
    fused = s.fuse("C.j", "C.k")  # empty if there are no points
    s.fuse("C.i", fused)
    for size in (0, 1, 5):
        check_numbers(before, s, {"m": size})


def test_fuse_refuses():
    s = Schedule(matmul(10, 12, 7))
    refused(s, "too_few_loops", lambda: s.fuse("C.i"))
    refused(s, "duplicate_loop", lambda: s.fuse("C.i", "C.i"))
    error = refused(s, "not_adjacent", lambda: s.fuse("C.i", "C.k"))
    assert "directly inside C.i is loop C.j" in error.hint
    refused(s, "not_adjacent", lambda: s.fuse("C.j", "C.i"))
    s.annotate("C.j", "note", 1)
    refused(s, "loop_annotated", lambda: s.fuse("C.i", "C.j"))
    s.parallel("C.i")
    refused(s, "loop_kind", lambda: s.fuse("C.i", "C.j"))


def test_fuse_and_reorder_refuse_a_triangle():
    s = Schedule(triangle())
    error = refused(s, "extent_depends", lambda: s.fuse("C.i", "C.j"))
    assert "C.i + 1" in error.message
    refused(s, "extent_depends", lambda: s.reorder("C.j", "C.i"))


def test_fuse_refuses_a_negative_extent():
    s = Schedule(triangle(tl.var("n") - 5))
    refused(s, "extent_negative", lambda: s.fuse("C.i", "C.j"))


# -------------------------------------------------------------------------------------------------- reorder
def test_reorder(golden):
    s = Schedule(matmul(10, 12, 7))
    before = s.func
    assert s.reorder("C.k", "C.i") is None
    assert [loop.name for loop in s.loops("C")] == ["C.k", "C.j", "C.i"]
    golden("schedule/reorder", before_and_after(before, s))
    check_numbers(before, s)


def test_reorder_refuses():
    s = Schedule(matmul(10, 12, 7))
    refused(s, "too_few_loops", lambda: s.reorder("C.i"))
    refused(s, "duplicate_loop", lambda: s.reorder("C.i", "C.j", "C.i"))
    two = Schedule(chain())
    error = refused(two, "not_perfectly_nested", lambda: two.reorder("P.i", "C.j"))
    assert "P.i > P.j" in error.hint


def test_reorder_keeps_an_ordered_reduction_in_order():
    s = Schedule(last_positive())
    before = s.func
    refused(s, "ordered_iterators", lambda: s.reorder("C.k", "C.j"))
    k0, k1 = s.split("C.k", [2, 2])
    refused(s, "ordered_iterators", lambda: s.reorder(k1, k0))
    s.reorder("C.j", k0, "C.i")
    check_numbers(before, s)


def test_reorder_of_a_nest_with_two_blocks():
    """Init and update of one element stay in order, whichever way the loops around both of them go."""
    s = Schedule(matmul(10, 12, 7))
    before = s.func
    s.decompose_reduction("C", "C.k")
    s.reorder("C.j", "C.i")
    check_numbers(before, s)


def test_reorder_refuses_to_carry_values_the_other_way():
    s = Schedule(running())
    refused(s, "loop_carries", lambda: s.reorder("C.x", "C.t"))


# ----------------------------------------------------------------------------------------------------- tile
def test_tile(golden):
    s = Schedule(matmul(10, 12, 7))
    before = s.func
    loops = s.tile(["C.i", "C.j"], [4, 6])
    assert [loop.name for loop in loops] == ["C.i.0", "C.j.0", "C.i.1", "C.j.1"]
    golden("schedule/tile", before_and_after(before, s))
    check_numbers(before, s)


def test_tile_is_undone_as_a_whole():
    s = Schedule(chain())
    refused(s, "not_perfectly_nested", lambda: s.tile(["P.i", "C.i"], [4, 4]))
    with pytest.raises(tl.ScheduleError, match="factor_count"):
        s.tile(["P.i"], [4, 4])


def test_split_of_a_loop_for_points_and_their_sums():
    """The init runs without the loops that reduce, so without a guard that speaks of them."""
    A = tl.placeholder((4,), "float32", name="A")
    k = tl.reduce_axis(2, "k")
    C = tl.compute((2,), lambda i: tl.sum(A[i + k], axis=k), name="C")
    s = tl.Schedule(C)
    s.fuse("C.i", "C.k")
    refused(s, "mixed_iterators", lambda: s.split("C.i_k", [5, 2]))
    s.split("C.i_k", [2, 2])


def test_fuse_keeps_inits_where_they_are():
    s = Schedule(row_sum(6, 5))
    before = s.func
    unit = s.add_unit_loop("C")
    s.reorder(unit, "C.k")
    s.split(unit, [2, 3])  # five iterations too many, in which neither the block runs nor its init
    refused(s, "visits_twice", lambda: s.fuse("C.unit.1", "C.k"))
    s.fuse("C.unit.0", "C.unit.1")
    check_kernel(before, s)


def test_reorder_of_iterations_that_guards_leave_out():
    """A tile of a loop with fewer iterations runs the block once: it may come inside the reduction."""
    s = Schedule(row_sum(6, 5))
    before = s.func
    unit = s.add_unit_loop("C")
    s.tile([unit, "C.i", "C.k"], [3, 4, 2])
    assert [loop.name for loop in s.loops("C")][3:] == ["C.unit.1", "C.i.1", "C.k.1"]
    check_kernel(before, s)


def test_reorder_of_a_reduction_in_order_of_which_guards_leave_one_iteration():
    s = Schedule(last_positive(3, 1, 11))
    before = s.func
    s.tile(["C.i", "C.j", "C.k"], [2, 4, 3])
    assert [loop.name for loop in s.loops("C")][3:] == ["C.i.1", "C.j.1", "C.k.1"]
    check_kernel(before, s)
    more = Schedule(last_positive(3, 2, 11))
    refused(more, "ordered_iterators", lambda: more.tile(["C.i", "C.j", "C.k"], [2, 4, 3]))


def test_fuse_keeps_guards_of_inits():
    s = Schedule(row_sum(6, 5))
    before = s.func
    s.split(s.add_unit_loop("C"), [2, 3])
    s.tile(["C.unit.1", "C.k"], [5, 5])
    refused(s, "mixed_iterators", lambda: s.fuse("C.unit.1.1", "C.k.1"))  # then, C.unit.0 would run the init twice
    check_kernel(before, s)


def test_fuse_keeps_guards_of_inits_on_loops_that_come_to_reduce_only():
    s = Schedule(row_sum(6, 5))
    before = s.func
    long = s.fuse("C.i", "C.k")
    for factors in ([None, 4], [2, 20]):
        long = s.fuse(*s.split(long, factors))
    rows, columns, unit = s.split(long, [8, 5, None])
    s.reorder(unit, columns)
    assert str(s.block_node("C").bindings[0]) == f"{rows.name} + ({columns.name} + {unit.name}) // 5"
    refused(s, "mixed_iterators", lambda: s.fuse(rows, unit))  # it is known that unit is 0: columns alone reduces
    check_kernel(before, s)


def test_fuse_with_a_loop_that_may_run_nothing_and_was_around_the_init():
    s = Schedule(row_sum(6, 5))
    before = s.func
    unit = s.add_unit_loop("C.i")
    s.loop_partition(unit, [1])
    s.reorder("C.part1.i", "C.i.unit.part1")
    refused(s, "loop_may_be_empty", lambda: s.fuse("C.i.unit.part1", "C.part1.k"))
    check_kernel(before, s)


def test_fuse_with_a_loop_over_points_and_their_sums():
    s = Schedule(row_sum(6, 5))
    before = s.func
    outer, inner = s.split("C.i", [None, 4])
    mixed = s.fuse(inner, "C.k")
    s.fuse(outer, mixed)
    check_kernel(before, s)


def test_loops_that_repeat_a_reduction_stay_outside_of_it():
    total = row_sum(3, 5)
    first = tl.compute((7,), lambda i: total[0] + total[2] * 2.0, name="D")
    s = Schedule(tl.compute((7,), lambda i: first[i] + 1.0, name="E"))
    before = s.func
    s.compute_at("C", "D.i")
    s.compute_at("D", "E.i")  # which leaves D.i, seven times all of C
    refused(s, "visits_twice", lambda: s.reorder("C.k_1", "D.i"))
    refused(s, "visits_twice", lambda: s.fuse("D.i", "C.i_1", "C.k_1"))
    s.reorder("C.i_1", "D.i")
    s.reorder("D.i", "C.k_1", "C.i_1")
    s.fuse("C.k_1", "C.i_1")
    check_kernel(before, s)
