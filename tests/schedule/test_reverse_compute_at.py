"""reverse_compute_at."""

import pytest

import tensorlang as tl
from tensorlang.schedule.schedule import Schedule
from tests.schedule.programs import (
    before_and_after,
    biased_matmul,
    blur,
    chain,
    check_compact,
    matmul,
    normalised,
    refused,
    shapes,
)


def test_reverse_compute_at(golden):
    s = Schedule(biased_matmul(10, 12, 7))
    before = s.func
    _, j0, _, _ = s.tile(["C.i", "C.j"], [4, 5])
    s.reverse_compute_at("E", j0)
    golden("schedule/reverse_compute_at", before_and_after(before, s))
    check_compact(before, s)
    assert shapes(s)["C"] == "[4, 5]"


def test_write_back_of_a_cache_at_every_loop():
    for depth in range(4):
        s = Schedule(matmul(10, 11, 7))
        before = s.func
        copy = s.cache_write("C", "local")
        i0, j0, i1, j1 = s.tile(["C.i", "C.j"], [4, 3])
        s.reverse_compute_at(copy, (i0, j0, i1, j1)[depth])
        check_compact(before, s)
        assert shapes(s)["C.local"] == ["[4, 11]", "[4, 3]", "[1, 3]", "[1, 1]"][depth]


def test_a_row_reduction_follows_its_rows():
    s = Schedule(normalised(7, 9))
    before = s.func
    i0, _ = s.split("E.i", [None, 3])
    s.reverse_compute_at("total", i0)
    s.reverse_compute_at("C", i0)
    check_compact(before, s)
    assert refused(s, "reduction_split", lambda: s.reverse_compute_at("total", "E.j")).hint


def test_nested_guards_leave_no_gap():
    """32 does not divide 100, nor 10 what is left: the inner guard bounds what one outer iteration produces."""
    a = tl.placeholder((50,), name="A")
    p = tl.compute((50,), lambda i: a[i] * 2.0, name="P")
    s = Schedule(tl.compute((50,), lambda i: p[i] + 1.0, name="C"))
    before = s.func
    i0, rest = s.split("P.i", [None, 16])
    s.split(rest, [None, 5])
    s.reverse_compute_at("C", i0)
    check_compact(before, s)


def test_iterations_that_produce_nothing():
    """The outer loop has iterations beyond the domain, for which the consumer must not run either."""
    s = Schedule(chain(4, 5))
    before = s.func
    s.split("P.i", [4, 9])
    s.reverse_compute_at("C", "P.i.0")
    check_compact(before, s)


def test_strided_production_has_gaps():
    a = tl.placeholder((12,), name="A")
    p = tl.compute((12,), lambda i: a[i] * 2.0, name="P")
    s = Schedule(tl.compute((12,), lambda i: p[i] + 1.0, name="C"))
    i0, i1 = s.split("P.i", [3, 4])
    s.reorder(i1, i0)
    assert refused(s, "not_gapless", lambda: s.reverse_compute_at("C", i1))


def test_reverse_compute_at_needs_a_producer_there():
    s = Schedule(blur())
    assert refused(s, "no_producer_in_loop", lambda: s.reverse_compute_at("C", "P.i")).hint == "H.i, H.j"


def test_reverse_compute_at_needs_complete_producers():
    s = Schedule(biased_matmul())
    error = refused(s, "producer_incomplete", lambda: s.reverse_compute_at("E", "C.k"))
    assert error.hint == "C.i, C.j"


def test_reverse_compute_at_needs_elements_produced_there():
    s = Schedule(blur())
    refused(s, "not_elementwise", lambda: s.reverse_compute_at("C", "H.i"))
    s.reverse_compute_at("H", "P.i")


def test_reverse_compute_at_needs_other_inputs_before():
    s = Schedule(normalised())
    refused(s, "producer_not_before", lambda: s.reverse_compute_at("C", "E.i"))


def test_reverse_compute_at_needs_scalar_loops():
    s = Schedule(chain())
    s.vectorize("P.j")
    assert refused(s, "vector_loop", lambda: s.reverse_compute_at("C", "P.j")).hint == "P.i"


def test_reverse_compute_at_needs_its_consumers_after():
    s = Schedule(matmul())
    s.reverse_compute_at(s.cache_write("C", "local"), "C.j")
    copy = s.cache_read("C.write", "C.local", "local")
    error = refused(s, "consumer_before", lambda: s.reverse_compute_at(copy, "C.i"))
    assert error.hint == "C.j"


def test_reverse_compute_at_symbolic():
    n = tl.var("n")
    s = Schedule(biased_matmul(n, 6, n))
    before = s.func
    i0, _ = s.split("C.i", [None, 4])
    s.reverse_compute_at("E", i0)
    for value in (0, 1, 5, 8):
        check_compact(before, s, {"n": value})


def test_a_consumer_that_reads_under_a_condition_stays():
    a = tl.placeholder((3,), "float32", name="A")
    c = tl.compute((3,), lambda i: a[i] + 1.0, name="C")
    s = Schedule(tl.compute((3,), lambda i: tl.if_then_else(i >= 1, c[i - 1], 0.0), name="D"))
    refused(s, "conditional_read", lambda: s.reverse_compute_at("D", "C.i"))


def test_what_is_narrowed_to_conditional_reads_draws_no_reader():
    a = tl.placeholder((1, 1), name="A")
    read = lambda i, j: tl.if_then_else((i >= 1) & (j >= 1), a[i - 1, j - 1], 0.0)  # noqa: E731
    s = Schedule(tl.compute((2, 2), read, name="C"))
    s.reindex("C", "A")
    s.compute_at("A.reindex", "C.i")
    refused(s, "conditional_read", lambda: s.reverse_compute_at("C", "A.reindex.j_1"))


@pytest.mark.parametrize("loop", ["C.i.0", "P.i_1", "P.j_1"])
@pytest.mark.parametrize("gaps", [True, False])
def test_gaps_between_conditional_reads(gaps, loop):
    """Where each tile begins an even row, which alone is made; or all rows are, whatever the condition."""
    a = tl.placeholder((6, 3), name="A")
    p = tl.compute((6, 3), lambda i, j: a[i, j] * 2.0, name="P")
    asked = lambda i, j: i % 2 == 0 if gaps else i + j < 6  # noqa: E731
    s = Schedule(tl.compute((6, 3), lambda i, j: tl.if_then_else(asked(i, j), p[i, j], 0.0), name="C"))
    before = s.func
    s.split("C.i", [None, 2])
    s.compute_at("P", "C.i.0")
    if gaps:
        refused(s, "conditional_read", lambda: s.reverse_compute_at("C", loop))
    else:
        s.reverse_compute_at("C", loop)
        check_compact(before, s)
