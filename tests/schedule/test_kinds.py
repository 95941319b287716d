"""parallel, vectorize, unroll, serpentine, annotate."""

import numpy as np
import pytest

import tensorlang as tl
from tensorlang.ir import interp
from tensorlang.ir.nodes import SERIAL, For, Func, Var, const, seq
from tensorlang.ir.walk import find
from tensorlang.passes.serpentine import serpentine
from tensorlang.schedule.schedule import Schedule
from tests.schedule.programs import (
    add,
    before_and_after,
    chain,
    check_kernel,
    check_numbers,
    check_replay,
    last_positive,
    matmul,
    refused,
    row_sum,
    running,
    triangle,
)


def test_kinds(golden):
    s = Schedule(matmul(10, 12, 7))
    before = s.func
    s.parallel("C.i")
    s.unroll("C.k")
    j0, j1 = s.split("C.j", [None, 4])
    s.vectorize(j1)
    s.annotate("C", "note", "hot")
    s.annotate(j0, "stride", 2)
    s.annotate(j0, "stride", 3)
    assert [loop.kind for loop in s.loops("C")] == ["parallel", "serial", "vectorize", "unroll"]
    golden("schedule/kinds", before_and_after(before, s))
    check_numbers(before, s)


@pytest.mark.parametrize("kind", ["parallel", "vectorize"])
def test_only_spatial_loops_run_together(kind):
    s = Schedule(matmul(10, 12, 7))
    error = refused(s, "loop_reduces", lambda: getattr(s, kind)("C.k"))
    assert error.hint.endswith("C.i, C.j; or rfactor(C.k) first")
    assert "^^^" in error.excerpt
    s = Schedule(last_positive())
    refused(s, "loop_reduces", lambda: getattr(s, kind)("C.j"))


@pytest.mark.parametrize("kind", ["parallel", "vectorize", "unroll"])
def test_a_kind_is_given_once(kind):
    s = Schedule(add(10, 12))
    getattr(s, kind)("C.i")
    refused(s, "loop_kind", lambda: getattr(s, kind)("C.i"))


def test_nesting():
    s = Schedule(add(10, 12))
    s.parallel("C.i")
    refused(s, "nested_kind", lambda: s.parallel("C.j"))
    s.vectorize("C.j")
    s = Schedule(add(10, 12))
    s.vectorize("C.i")
    refused(s, "nested_kind", lambda: s.vectorize("C.j"))
    refused(s, "nested_kind", lambda: s.parallel("C.j"))


def test_vectors_and_unrolling_need_a_known_extent():
    s = Schedule(add(tl.var("m"), tl.var("n")))
    before = s.func
    error = refused(s, "extent_not_fixed", lambda: s.vectorize("C.j"))
    assert "split(C.j, [None, 8])" in error.hint
    refused(s, "extent_not_fixed", lambda: s.unroll("C.j"))
    s.parallel("C.i")
    _, inner = s.split("C.j", [None, 8])
    s.vectorize(inner)
    check_numbers(before, s, {"m": 3, "n": 11})
    t = Schedule(triangle())
    refused(t, "extent_not_fixed", lambda: t.unroll("C.j"))


def test_fused_and_split_loops_are_independent():
    s = Schedule(add(10, 12))
    before = s.func
    i0, j0, _, _ = s.tile(["C.i", "C.j"], [4, 5])
    s.parallel(s.fuse(i0, j0))
    check_numbers(before, s)


def test_a_loop_of_one_iteration_is_independent():
    s = Schedule(row_sum())
    outer, _ = s.split("C.k", [1, None])
    s.parallel(outer)
    check_replay(Schedule(row_sum()).func, s)


def test_iterations_that_repeat_a_block_are_not_independent():
    """Loop P.r drives no iterator: all its iterations write the same elements."""
    func = Schedule(add(10, 12)).func
    repeated = Func("again", func.params, func.outputs, For(Var("C.r"), const(3), SERIAL, func.body))
    s = Schedule(repeated)
    refused(s, "loop_repeats", lambda: s.parallel("C.r"))


def test_loops_inside_may_be_fused_with_those_that_reduce():
    """Which iteration of C.i an instance belongs to is known, though i and j do not tell those of C.j_k apart."""
    s = Schedule(matmul(10, 12, 7))
    before = s.func
    outer, _ = s.split("C.i", [None, 4])
    s.parallel(outer)
    s.decompose_reduction("C", "C.i.1")
    s.fuse("C.i.1", "C.j", "C.k")
    check_kernel(before, s)
    refused(s, "loop_reduces", lambda: s.vectorize("C.i.1_j_k"))


def test_iterations_that_exchange_values_are_not_independent():
    s = Schedule(running())
    error = refused(s, "loop_carries", lambda: s.parallel("C.x"))
    assert "T" in error.message


def test_init_and_update_below_one_parallel_loop():
    s = Schedule(matmul(10, 12, 7))
    before = s.func
    i0, i1 = s.split("C.i", [None, 4])
    s.parallel(i0)
    s.decompose_reduction("C", "C.k")
    s.vectorize(i1)
    check_numbers(before, s)


def test_a_parallel_loop_may_move_inside_a_reduction():
    s = Schedule(matmul(10, 12, 7))
    before = s.func
    s.parallel("C.i")
    s.reorder("C.k", "C.i")
    check_numbers(before, s)


def test_annotate_refuses():
    s = Schedule(chain())
    refused(s, "bad_annotation", lambda: s.annotate("P.i", "note", [1]))
    refused(s, "bad_annotation", lambda: s.annotate("P.i", 3, 1))
    refused(s, "unknown_loop", lambda: s.annotate("P.z", "note", 1))
    refused(s, "unknown_block", lambda: s.annotate("Z", "note", 1))


def test_annotate_refuses_a_name_of_two_things():
    func = Schedule(add(4, 4)).func
    loop = func.body
    named = loop.replace(body=loop.body.replace(body=loop.body.body.replace(name="C.i")))
    s = Schedule(func.with_body(seq(named)))
    refused(s, "ambiguous_name", lambda: s.annotate("C.i", "note", 1))


# ------------------------------------------------------------------------------------------------------ serpentine
def test_serpentine(golden):
    s = Schedule(matmul(10, 12, 7))
    before = s.func
    j0, j1 = s.split("C.j", [None, 4])
    s.serpentine(j0, "C.i")
    s.unroll(j1)
    s.serpentine(j1, "C.i")
    s.serpentine("C.k", j1)
    s.serpentine("C.k", j0)
    golden("schedule/serpentine", before_and_after(before, s))
    check_numbers(before, s)
    check_replay(before, s)
    lowered = serpentine(tl.lower(s).func, s.target)
    a, b = (np.random.default_rng(0).integers(-4, 5, shape).astype(np.float32) for shape in ((10, 7), (7, 12)))
    c = np.full((10, 12), np.nan, np.float32)
    interp.run(lowered, [a, b, c], {})
    np.testing.assert_array_equal(c, a @ b)


def test_serpentine_loops_have_an_order_and_a_loop_around_them():
    s = Schedule(matmul(10, 12, 7))
    refused(s, "no_outer_loop", lambda: s.serpentine("C.i", "C.j"))
    refused(s, "no_outer_loop", lambda: s.serpentine("C.j", "C.j"))
    s.serpentine("C.j", "C.i")
    refused(s, "loop_kind", lambda: s.vectorize("C.j"))
    refused(s, "loop_annotated", lambda: s.split("C.j", [None, 4]))
    refused(s, "no_outer_loop", lambda: s.reorder("C.j", "C.i"))
    refused(s, "no_outer_loop", lambda: s.split("C.i", [None, 4]))
    s.vectorize("C.i")
    refused(s, "loop_kind", lambda: s.serpentine("C.i", "C.j"))


def test_only_what_may_run_backwards_is_serpentine():
    s = Schedule(last_positive())
    refused(s, "ordered_iterators", lambda: s.serpentine("C.j", "C.i"))
    s = Schedule(running())
    refused(s, "loop_carries", lambda: s.serpentine("C.x", "C.t"))
    s = Schedule(chain())
    s.compute_at("P", "C.j")
    s.software_pipeline("C.j", {"P": 0, "C": 1})
    refused(s, "pipelined", lambda: s.serpentine("C.j", "C.i"))


def test_by_a_loop_of_one_iteration_any_loop_may_turn():
    """It never does."""
    s = Schedule(last_positive(4, 3, 5))
    before = s.func
    unit = s.add_unit_loop("C.k")
    s.serpentine("C.k", unit)
    refused(s, "ordered_iterators", lambda: s.serpentine("C.k", "C.i"))
    lowered = serpentine(tl.lower(s).func, s.target)
    assert "turning" not in str(lowered)
    check_kernel(before, s)


def test_copies_of_serpentine_loops_turn_by_copies():
    s = Schedule(matmul(10, 12, 7))
    before = s.func
    s.serpentine("C.k", "C.j")
    s.split("C.i", [None, 4], tail="cut")
    turned = {loop.var.name: dict(loop.annotations).get("serpentine") for loop in find(s.func.body, For)}
    assert turned["C.k"] == "C.j" and turned["C.tail.k"] == "C.tail.j"
    check_numbers(before, s)
