"""compute_inline, reverse_compute_inline."""

import tensorlang as tl
from tensorlang.schedule.schedule import Schedule
from tests.schedule.programs import (
    before_and_after,
    biased_matmul,
    blur,
    chain,
    check_numbers,
    convolution,
    matmul,
    normalised,
    refused,
    row_sum,
)


def test_compute_inline(golden):
    s = Schedule(convolution(4, 5))
    before = s.func
    s.compute_inline("P")
    golden("schedule/compute_inline", before_and_after(before, s))
    check_numbers(before, s)
    assert "P" not in s.buffers()


def test_inlining_a_chain_in_either_order():
    for order in (["P", "H"], ["H", "P"]):
        s = Schedule(blur())
        before = s.func
        for block in order:
            s.compute_inline(block)
        assert [b.name for b in s.blocks()] == ["C"]
        check_numbers(before, s)


def test_inlining_into_several_consumers():
    s = Schedule(normalised())
    before = s.func
    s.compute_inline("E")
    check_numbers(before, s)


def test_inlining_after_splits_and_moves():
    s = Schedule(blur())
    before = s.func
    s.split("H.i", [None, 5])
    s.split("C.i", [None, 3])
    s.compute_at("P", "H.i.0")
    s.compute_inline("P")
    s.compute_inline("H")
    check_numbers(before, s)


def test_inlining_transposed():
    a = tl.placeholder((5, 6), name="A")
    t = tl.compute((6, 5), lambda i, j: a[j, i], name="T")
    s = Schedule(tl.compute((5, 6), lambda i, j: t[j, i] + t[5 - j, i], name="C"))
    before = s.func
    s.compute_inline("T")
    check_numbers(before, s)


def test_compute_inline_needs_one_plain_store():
    s = Schedule(normalised())
    assert "compute_at" in refused(s, "reduces", lambda: s.compute_inline("total")).hint
    a = tl.placeholder((6,), name="A")
    p, q = tl.compute((6,), lambda i: (a[i] + 1.0, a[i] * 2.0), name="P")
    s = Schedule(tl.compute((6,), lambda i: p[i] + q[i], name="C"))
    refused(s, "several_stores", lambda: s.compute_inline("P"))


def test_compute_inline_needs_an_intermediate():
    s = Schedule(chain())
    refused(s, "writes_parameter", lambda: s.compute_inline("C"))


def test_compute_inline_needs_plain_indices():
    s = Schedule(chain())
    s.transform_layout("P", lambda i, j: (j // 4, i, j % 4))
    assert "before transform_layout" in refused(s, "not_plain", lambda: s.compute_inline("P")).hint


def test_compute_inline_needs_its_inputs_in_scope():
    s = Schedule(blur())
    s.split("H.i", [None, 4])
    s.compute_at("P", "H.i.0")
    error = refused(s, "out_of_scope", lambda: s.compute_inline("H"))
    assert error.hint.startswith("compute_inline(H) before")


def test_reverse_compute_inline(golden):
    s = Schedule(chain(4, 5))
    before = s.func
    s.reverse_compute_inline("C")
    golden("schedule/reverse_compute_inline", before_and_after(before, s))
    check_numbers(before, s)
    assert [b.name for b in s.blocks()] == ["P"]


def test_reverse_compute_inline_transposed_and_of_a_cache():
    a, b = tl.placeholder((5, 6), name="A"), tl.placeholder((6, 5), name="B")
    p = tl.compute((5, 6), lambda i, j: a[i, j] * 2.0, name="P")
    s = Schedule(tl.compute((6, 5), lambda i, j: p[j, i] + b[i, j] * p[j, i], name="C"))
    before = s.func
    copy = s.cache_write("P", "local")
    s.split("P.i", [None, 2])
    s.reverse_compute_inline(copy)
    s.reverse_compute_inline("C")
    check_numbers(before, s)


def test_reverse_compute_inline_needs_a_producer_that_does_not_reduce():
    s = Schedule(biased_matmul())
    assert "reverse_compute_at" in refused(s, "producer_reduces", lambda: s.reverse_compute_inline("E")).hint


def test_reverse_compute_inline_needs_one_producer():
    s = Schedule(matmul())
    refused(s, "reduces", lambda: s.reverse_compute_inline("C"))
    s = Schedule(chain())
    refused(s, "no_producer", lambda: s.reverse_compute_inline("P"))
    s = Schedule(normalised())
    refused(s, "several_producers", lambda: s.reverse_compute_inline("C"))


def test_reverse_compute_inline_needs_a_sole_consumer():
    a = tl.placeholder((6,), name="A")
    p = tl.compute((6,), lambda i: a[i] + 1.0, name="P")
    q = tl.compute((6,), lambda i: p[i] * 2.0, name="Q")
    r = tl.compute((6,), lambda i: p[i] * 3.0, name="R")
    s = Schedule([q, r])
    refused(s, "several_consumers", lambda: s.reverse_compute_inline("R"))
    s = Schedule([p, q])
    refused(s, "writes_parameter", lambda: s.reverse_compute_inline("Q"))


def test_reverse_compute_inline_needs_one_instance_for_each_element():
    s = Schedule(blur())
    refused(s, "not_elementwise", lambda: s.reverse_compute_inline("C"))
    a = tl.placeholder((6,), name="A")
    p = tl.compute((6,), lambda i: a[i] + 1.0, name="P")
    s = Schedule(tl.compute((6, 2), lambda i, j: p[i] + a[i], name="C"))
    refused(s, "not_elementwise", lambda: s.reverse_compute_inline("C"))
    s = Schedule(tl.compute((5,), lambda i: p[i + 1] * 2.0, name="C"))
    refused(s, "other_domain", lambda: s.reverse_compute_inline("C"))


def test_inline_of_nothing_that_is_read():
    s = Schedule(row_sum())
    refused(s, "reduces", lambda: s.compute_inline("C"))
