"""split(tail="cut"): full tiles, then a remainder loop around copies of the blocks."""

import pytest

import tensorlang as tl
from tensorlang.ir.nodes import SERIAL, Block, For, Func, Var, const
from tensorlang.ir.walk import find
from tensorlang.schedule.schedule import Schedule
from tests.schedule.programs import (
    add,
    before_and_after,
    biased_matmul,
    check_kernel,
    check_numbers,
    last_positive,
    matmul,
    refused,
    row_sum,
    triangle,
)


def test_cut(golden):
    s = Schedule(matmul(10, 12, 7))
    before = s.func
    i0, i1, tail = s.split("C.i", [None, 4], tail="cut")
    assert (i0.name, i1.name, tail.name) == ("C.i.0", "C.i.1", "C.i.tail")
    assert (i0.extent.value, i1.extent.value, tail.extent.value) == (2, 4, 2)
    assert [loop.name for loop in s.loops("C.tail")] == ["C.i.tail", "C.tail.j", "C.tail.k"]
    golden("schedule/cut", before_and_after(before, s))
    check_kernel(before, s)


def test_the_remainder_of_a_reduction_goes_on(golden):
    """Its init has run before the full tiles, which may be none."""
    s = Schedule(row_sum(tl.var("m"), tl.var("n")))
    before = s.func
    s.split("C.k", [None, 4], tail="cut")
    golden("schedule/cut_reduction", before_and_after(before, s))
    check_kernel(before, s, *({"m": 5, "n": n} for n in (0, 1, 4, 7)))


@pytest.mark.parametrize("factors", [[None, 4], [4, None], [2, None, 3], [None], [2, 3], [7], [None, 1], [None, 64]])
@pytest.mark.parametrize("loop", ["C.i", "C.j", "C.k"])
def test_cut_keeps_numbers(factors, loop):
    s = Schedule(matmul(10, 12, 7))
    before = s.func
    s.split(loop, factors, tail="cut")
    check_numbers(before, s)


@pytest.mark.parametrize("order", ["ijk", "kij", "ikj"])
def test_cuts_in_all_loops(order):
    s = Schedule(matmul(10, 12, 7))
    before = s.func
    s.reorder(*(f"C.{axis}" for axis in order))
    for axis in reversed(order):
        s.split(f"C.{axis}", [None, 4], tail="cut")
    assert len(s.blocks()) == 8
    check_kernel(before, s)


def test_an_ordered_reduction_stays_in_order():
    s = Schedule(last_positive())
    before = s.func
    s.split("C.j", [None, 2], tail="cut")
    s.split("C.k", [None, 3], tail="cut")
    check_kernel(before, s)


def test_an_even_cut_has_an_empty_remainder():
    """So programs have one structure for all sizes."""
    s = Schedule(add(8, 12))
    before = s.func
    *_, tail = s.split("C.i", [None, 4], tail="cut")
    assert tail.extent.value == 0
    check_kernel(before, s)


def test_tiles_beyond_the_extent_in_which_guards_leave_out_all():
    """There is no remainder then. A guard on the loops that reduce does not keep the init from running."""
    s = Schedule(row_sum(11, 9))
    before = s.func
    s.tile(["C.i", "C.k"], [4, 2])
    *_, tail = s.split("C.i.0", [2, 2], tail="cut")
    assert tail.extent.value == 0
    s.split("C.k.0", [2, 4], tail="cut")
    check_kernel(before, s)
    once = Schedule(row_sum(11, 8))
    once.tile(["C.i", "C.k"], [4, 2])
    refused(once, "factors_exceed", lambda: once.split("C.k.0", [2, 4], tail="cut"))
    fused = Schedule(row_sum(3, 5))
    fused.split("C.i", [None, 2])
    fused.fuse("C.i.1", "C.k")
    refused(fused, "factors_exceed", lambda: fused.split("C.i.0", [3], tail="cut"))


def test_tiles_beyond_a_symbolic_extent_in_which_guards_leave_out_all():
    n = tl.var("n")
    s = Schedule(add(5, n))
    before = s.func
    s.split("C.j", [None, 4])
    s.split("C.i", [None, 3])
    s.split("C.i.0", [3], tail="cut")
    s.split("C.j.0", [3], tail="cut")
    refused(s, "factors_exceed", lambda: s.split("C.j.1", [5], tail="cut"))
    check_kernel(before, s, *({"n": n} for n in (0, 1, 9, 30)))


def test_tiles_of_a_loop_in_one_that_never_runs():
    s = Schedule(add(4, 12))
    before = s.func
    outer, inner, _ = s.split("C.i", [None, 8], tail="cut")
    s.split(inner, [3, 3], tail="cut")
    refused(s, "factors_exceed", lambda: s.split(outer, [1], tail="cut"))  # which then would run
    check_kernel(before, s)
    empty = Schedule(row_sum(10, 0))
    empty.reorder("C.k", "C.i")
    empty.split("C.i", [4, 3])
    refused(empty, "factors_exceed", lambda: empty.split("C.i.1", [4], tail="cut"))  # as the init does


def test_inits_keep_the_guards_of_a_loop_over_points_and_their_sums():
    """In rows of five, the last two rows of the longer loop have no point."""
    s = Schedule(row_sum(6, 5))
    before = s.func
    long = s.fuse("C.i", "C.k")
    for factors in ([None, 4], [2, 20]):
        long = s.fuse(*s.split(long, factors))
    assert "in 40" in str(s)
    refused(s, "mixed_iterators", lambda: s.split(long, [None, 5], tail="cut"))
    refused(s, "mixed_iterators", lambda: s.split(long, [8, 5]))
    s.split(long, [None, 3], tail="cut")
    check_kernel(before, s)
    even = Schedule(row_sum(tl.var("m"), 5))
    before = even.func
    even.split(even.fuse("C.i", "C.k"), [None, 5], tail="cut")
    check_kernel(before, even, *({"m": m} for m in (0, 1, 4)))


@pytest.mark.parametrize("n", [0, 1, 3, 4, 9])
def test_cut_of_symbolic_extents(n):
    s = Schedule(matmul(tl.var("m"), 12, tl.var("n")))
    before = s.func
    s.split("C.i", [None, 2], tail="cut")
    s.split("C.k", [None, 4], tail="cut")
    assert "where" not in str(s)
    check_numbers(before, s, {"m": 9 - n, "n": n})


def test_cut_with_knobs_keeps_the_structure_of_numbers():
    t, u = tl.knob("t", (1, 2, 3, 5, 12)), tl.knob("u", (1, 2))
    s = Schedule(matmul(10, 12, 7))
    before = s.func
    s.split("C.j", [None, t, u], tail="cut")
    s.split("C.k", [t, u], tail="cut")
    assert [repr(c) for c in s.constraints] == ["t * u < 8"]
    for values in ({"t": 1, "u": 2}, {"t": 2, "u": 1}, {"t": 3, "u": 2}, {"t": 5, "u": 1}):
        concrete = s.trace.instantiate(values).apply(before)
        assert [b.name for b in concrete.blocks()] == [b.name for b in s.blocks()]
        assert str(concrete).count(" in ") == str(s).count(" in ")
        check_numbers(before, concrete)
    with pytest.raises(tl.ScheduleError, match="factors_exceed"):
        s.trace.instantiate({"t": 12, "u": 1}).apply(before)


def test_parts_are_scheduled_on_their_own():
    s = Schedule(matmul(10, 20, 7))
    before = s.func
    _, j1, tail = s.split("C.j", [None, 8], tail="cut")
    s.reorder("C.k", j1)
    s.vectorize(j1)
    s.parallel("C.i")
    s.reorder("C.tail.k", tail)
    s.vectorize(tail)
    check_kernel(before, s)


def test_a_cut_inside_and_around_kinds():
    s = Schedule(add(10, 20))
    before = s.func
    _, j1 = s.split("C.j", [None, 4])
    s.vectorize(j1)
    *_, tail = s.split("C.i", [None, 4], tail="cut")
    s.parallel(tail)
    assert [loop.kind for loop in s.loops("C.tail")] == ["parallel", "serial", "vectorize"]
    check_kernel(before, s)


def test_cut_copies_what_was_moved_inside():
    """With block and buffer, which is private to each part."""
    s = Schedule(biased_matmul(10, 12, 7))
    before = s.func
    s.compute_at("C", "E.i")
    s.split("E.i", [None, 4], tail="cut")
    assert [b.name for b in s.blocks()] == ["C", "E", "C.tail", "E.tail"]
    assert {"C", "C.tail"} <= set(s.buffers())
    check_kernel(before, s)


def test_decompose_before_and_after_a_cut():
    s = Schedule(matmul(10, 12, 7))
    before = s.func
    s.split("C.k", [None, 4], tail="cut")
    s.decompose_reduction("C", "C.k.0")
    s.split("C.j", [None, 8], tail="cut")
    assert [b.name for b in s.blocks()] == ["C.init", "C", "C.tail", "C.init.tail", "C.tail_1", "C.tail.tail"]
    check_kernel(before, s)


def test_cut_refuses():
    s = Schedule(matmul(10, 12, 7))
    refused(s, "factor_not_positive", lambda: s.split("C.i", [None, 0], tail="cut"))
    error = refused(s, "factors_exceed", lambda: s.split("C.i", [3, 4], tail="cut"))
    assert "make 12 iterations" in error.message and error.hint
    refused(s, "unknown_tail", lambda: s.split("C.i", [None, 4], tail="none"))
    s.annotate("C.j", "note", 1)
    refused(s, "loop_annotated", lambda: s.split("C.j", [None, 4], tail="cut"))
    s.unroll("C.i")
    refused(s, "loop_kind", lambda: s.split("C.i", [None, 4], tail="cut"))
    open_ended = Schedule(row_sum(4, tl.var("n")))
    refused(open_ended, "factors_exceed", lambda: open_ended.split("C.k", [2, 2], tail="cut"))


def test_cut_refuses_a_negative_extent():
    s = Schedule(triangle(tl.var("n") - 5))
    refused(s, "extent_negative", lambda: s.split("C.j", [None, 4], tail="cut"))


def test_cut_refuses_an_init_that_follows_the_loop():
    """for k: for i in k + 1: C[i] += A[i, k]: the remainder has elements of its own, with their init."""
    func = Schedule(row_sum(8, 8)).func
    outer, inner = func.body, func.body.body
    s = Schedule(func.with_body(inner.replace(body=outer.replace(extent=inner.var + 1, body=inner.body))))
    refused(s, "extent_depends", lambda: s.split("C.k", [None, 4], tail="cut"))
    s.split("C.i", [None, 4])
    refused(s, "extent_depends", lambda: s.split("C.k", [None, 4], tail="cut"))


def test_cut_of_reduction_loops_whose_extents_follow_each_other():
    s = Schedule(row_sum(5, 11))
    before = s.func
    block = next(find(before, Block))
    k0, k1 = Var("C.k0"), Var("C.k1")
    body = block.replace(bindings=(block.bindings[0], k0 * (k0 + 1) // 2 + k1))
    staircase = before.with_body(before.body.replace(body=For(k0, const(4), SERIAL, For(k1, k0 + 1, SERIAL, body))))
    s = Schedule(staircase)
    s.split("C.k0", [None, 3], tail="cut")
    check_numbers(staircase, s)


def diagonal() -> Func:
    """C.d drives the spatial and the reduce iterator of C at once."""
    func = Schedule(row_sum(5, 5)).func
    block, d = next(find(func, Block)), Var("C.d")
    return func.with_body(For(d, const(5), SERIAL, block.replace(bindings=(d, d))))


def test_full_tiles_that_visit_all_points_start_the_sums_of_the_rest():
    s = Schedule(row_sum(5, 7))
    before = s.func
    s.fuse("C.i", "C.k")
    refused(s, "mixed_iterators", lambda: s.split("C.i_k", [None, 20], tail="cut"))
    s.split("C.i_k", [None, 4], tail="cut")
    check_numbers(before, s)


def test_cut_refuses_a_loop_that_drives_both_kinds():
    s = Schedule(diagonal())
    error = refused(s, "mixed_iterators", lambda: s.split("C.d", [None, 2], tail="cut"))
    assert "decompose_reduction" in error.hint
