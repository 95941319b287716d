"""loop_partition, specialize, add_unit_loop."""

import pytest

import tensorlang as tl
from tensorlang.ir.nodes import (
    SERIAL,
    Block,
    For,
    Var,
    const,
)
from tensorlang.ir.walk import find
from tensorlang.schedule.schedule import Schedule
from tests.schedule.programs import (
    add,
    before_and_after,
    biased_matmul,
    blur,
    chain,
    check_kernel,
    check_numbers,
    last_positive,
    matmul,
    refused,
    row_sum,
)


# ------------------------------------------------------------------------------------------- loop_partition
def test_partition(golden):
    s = Schedule(add(10, 12))
    before = s.func
    parts = s.loop_partition("C.i", [1, 9])
    assert [(p.name, p.extent.value) for p in parts] == [("C.i.part0", 1), ("C.i.part1", 8), ("C.i.part2", 1)]
    assert [b.name for b in s.blocks()] == ["C", "C.part1", "C.part2"]
    golden("schedule/loop_partition", before_and_after(before, s))
    check_kernel(before, s)


@pytest.mark.parametrize("points", [[0], [10], [3], [3, 3], [0, 4, 10]])
@pytest.mark.parametrize("make", [lambda: matmul(10, 12, 10), lambda: last_positive(10, 11, 10)])
@pytest.mark.parametrize("loop", ["C.i", "C.j", "C.k"])
def test_partition_keeps_numbers(points, make, loop):
    s = Schedule(make())
    before = s.func
    s.loop_partition(loop, points)
    check_numbers(before, s)


def test_partition_at_sizes():
    n = tl.var("n")
    s = Schedule(row_sum(4, n))
    before = s.func
    error = refused(s, "points_not_ascending", lambda: s.loop_partition("C.k", [1, n - 1]))
    assert "specialize" in error.hint
    s.specialize(n >= 2)
    s.loop_partition("C.k", [1, n - 1])
    check_kernel(before, s, *({"n": n} for n in (0, 1, 2, 3, 9)))


def test_partition_at_a_knob():
    t = tl.knob("t", (1, 4, 12))
    s = Schedule(add(10, 12))
    before = s.func
    s.loop_partition("C.i", [t])
    assert s.constraints == ()
    for value in t.choices:
        check_numbers(before, s.trace.instantiate({"t": value}).apply(before))


@pytest.mark.parametrize("points", [[10], [11], [3, 12], [12, 15]])
def test_partition_behind_the_end(points):
    s = Schedule(matmul(10, 12, 7))
    before = s.func
    parts = s.loop_partition("C.i", points)
    assert parts[-1].extent.value == 0
    check_numbers(before, s)
    n = tl.var("n")
    s = Schedule(row_sum(4, n))
    before = s.func
    s.loop_partition("C.k", points)
    check_kernel(before, s, *({"n": n} for n in (0, 1, 10, 11, 13, 20)))


def test_partition_takes_the_guards_out_of_the_middle():
    """The padding of a blur is decided at the borders only."""
    s = Schedule(blur())
    before = s.func
    s.compute_inline("P")
    s.loop_partition("H.i", [1, 11])
    check_kernel(before, s)


def test_partition_refuses():
    s = Schedule(matmul(10, 12, 7))
    refused(s, "bad_point", lambda: s.loop_partition("C.i", []))
    refused(s, "bad_point", lambda: s.loop_partition("C.i", 4))
    refused(s, "bad_point", lambda: s.loop_partition("C.i", [2.5]))
    refused(s, "bad_point", lambda: s.loop_partition("C.i", [tl.var("n")]))
    refused(s, "points_not_ascending", lambda: s.loop_partition("C.i", [4, 3]))
    refused(s, "points_not_ascending", lambda: s.loop_partition("C.i", [-1]))
    s.unroll("C.i")
    refused(s, "loop_kind", lambda: s.loop_partition("C.i", [4]))
    s.annotate("C.j", "note", 1)
    refused(s, "loop_annotated", lambda: s.loop_partition("C.j", [4]))


def test_partition_refuses_inits_that_would_not_be_whole():
    func = Schedule(row_sum(8, 8)).func
    outer, inner = func.body, func.body.body
    s = Schedule(func.with_body(inner.replace(body=outer.replace(extent=inner.var + 1, body=inner.body))))
    refused(s, "extent_depends", lambda: s.loop_partition("C.k", [4]))
    block, d = next(find(func, Block)), Var("C.d")
    s = Schedule(func.with_body(For(d, const(8), SERIAL, block.replace(bindings=(d, d)))))
    refused(s, "mixed_iterators", lambda: s.loop_partition("C.d", [4]))


@pytest.mark.parametrize("point", [7, 40, 46, 49, 60])
def test_a_first_part_that_visits_all_points_starts_the_sums_of_the_others(point):
    s = Schedule(row_sum(7, 7))
    before = s.func
    s.fuse("C.i", "C.k")
    if point <= 42:  # the last row begins behind
        refused(s, "mixed_iterators", lambda: s.loop_partition("C.i_k", [point]))
        return
    s.loop_partition("C.i_k", [point, point + 2])
    check_numbers(before, s)


# ----------------------------------------------------------------------------------------------- specialize
def test_specialize(golden):
    n = tl.var("n")
    s = Schedule(row_sum(4, n))
    before = s.func
    fast, general = s.specialize(n % 4 == 0)
    assert [b.name for b in (*fast, *general)] == ["C", "C.general"]
    s.split("C.k", [None, 4])
    assert "where" not in str(s)
    golden("schedule/specialize", before_and_after(before, s))
    check_kernel(before, s, *({"n": n} for n in (0, 1, 4, 7, 8)))


def test_specialize_a_loop():
    m, n = tl.var("m"), tl.var("n")
    s = Schedule(biased_matmul(m, n, 5))
    before = s.func
    s.specialize((m % 2 == 0) & (n % 3 == 0), "C.i")
    s.split("C.i", [None, 2])
    s.split("C.j", [None, 3])
    assert "where" not in str(s)
    s.split("C.general.j", [None, 3])
    check_kernel(before, s, *({"m": m, "n": n} for m, n in ((2, 3), (4, 4), (3, 6), (0, 5))))


def test_both_variants_have_buffers_of_their_own():
    m, n = tl.var("m"), tl.var("n")
    s = Schedule(chain(m, n))
    before = s.func
    s.specialize(n >= 4)
    assert {"P", "P.general"} <= set(s.buffers())
    s.compute_inline("P")
    s.compute_at("P.general", "C.general.i")
    check_kernel(before, s, *({"m": 3, "n": n} for n in (0, 3, 4, 9)))


def test_the_general_variant_knows_that_the_condition_fails():
    n = tl.var("n")
    s = Schedule(row_sum(4, n))
    before = s.func
    s.specialize(n < 8)
    s.split("C.general.k", [8, None], tail="guard")
    s.loop_partition("C.general.k.1", [1])
    check_kernel(before, s, *({"n": n} for n in (0, 7, 8, 19)))


def test_specialize_inside_a_reduction():
    """The inits of both variants run before the loop over k, under the condition too."""
    n = tl.var("n")
    s = Schedule(matmul(n, 12, 7))
    before = s.func
    s.reorder("C.k", "C.i", "C.j")
    s.specialize(n == 3, "C.i")
    s.split("C.i", [3])
    check_kernel(before, s, *({"n": n} for n in (0, 1, 3, 5)))


def test_specialize_refuses():
    n = tl.var("n")
    s = Schedule(row_sum(4, n))
    refused(s, "bad_condition", lambda: s.specialize(n + 1))
    refused(s, "bad_condition", lambda: s.specialize(3))
    refused(s, "bad_condition", lambda: s.specialize(tl.var("q") >= 4))
    refused(s, "bad_condition", lambda: s.specialize(tl.knob("t", (1, 2)) >= 2))
    refused(s, "condition_decided", lambda: s.specialize(n >= 0))
    s.specialize(n >= 4)
    refused(s, "condition_decided", lambda: s.specialize(n >= 2, "C.k"))
    refused(s, "condition_decided", lambda: s.specialize(n >= 4, "C.general.k"))
    s.vectorize("C.i")
    refused(s, "vector_loop", lambda: s.specialize(n >= 8, "C.k"))
    numbers = Schedule(row_sum())
    error = refused(numbers, "bad_condition", lambda: numbers.specialize(n >= 4))
    assert "all extents are numbers" in error.hint


def test_a_trace_with_sizes_as_python():
    n = tl.var("n")
    s = Schedule(row_sum(4, n))
    s.specialize(n % 4 == 0)
    s.loop_partition("C.general.k", [n // 2])
    text = s.trace.as_python()
    assert text.startswith("n = tl.var('n')\n")
    again = Schedule(row_sum(4, tl.var("n")))
    exec(text, {"tl": tl, "s": again})
    assert str(again) == str(s)


# -------------------------------------------------------------------------------------------- add_unit_loop
def test_add_unit_loop(golden):
    s = Schedule(row_sum(10, 12))
    before = s.func
    assert s.add_unit_loop("C").name == "C.unit"
    s.add_unit_loop("C.i")
    golden("schedule/add_unit_loop", before_and_after(before, s))
    assert [loop.name for loop in s.loops("C")] == ["C.i.unit", "C.i", "C.k", "C.unit"]
    s.parallel("C.i.unit")
    check_kernel(before, s)


def test_add_unit_loop_refuses_an_ambiguous_name():
    s = Schedule(row_sum())
    refused(s, "unknown_block", lambda: s.add_unit_loop("D"))
    func = s.func
    both = Schedule(func.with_body(For(Var("C"), const(1), SERIAL, func.body)))
    refused(both, "ambiguous_name", lambda: both.add_unit_loop("C"))
