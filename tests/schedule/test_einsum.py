"""pad_einsum."""

import numpy as np
import pytest

import tensorlang as tl
from tensorlang.ir.nodes import For
from tensorlang.ir.walk import find
from tensorlang.schedule.schedule import Schedule
from tests.schedule.programs import before_and_after, biased_matmul, blur, check_numbers, matmul, refused, row_sum
from tests.schedule.test_storage import built


def test_pad_einsum(golden):
    s = Schedule(matmul(5, 8, 3))
    before = s.func
    made = s.pad_einsum("C", [4, 4, 2])
    assert [b.name for b in made] == ["A.pad", "B.pad", "C.write"]
    golden("schedule/pad_einsum", before_and_after(before, s))
    built(before, s)


@pytest.mark.parametrize(
    "padding", [[4, 8, 4], [4, None, 1], [None, 5, None], [1, None, 3], [16, 16, 16], [None] * 3, [5, 6, 7]]
)
def test_paddings(padding):
    s = Schedule(matmul(10, 12, 7))
    before = s.func
    s.pad_einsum("C", padding)
    built(before, s)


def test_tiles_divide_then():
    s = Schedule(biased_matmul(10, 12, 7))
    before = s.func
    s.pad_einsum("C", [4, 8, 4])
    s.tile(["C.i", "C.j", "C.k"], [4, 8, 4])
    assert repr(s.block_node("C").predicate) == "True"
    s.compute_at("A.pad", "C.i.0")
    s.vectorize(s.loops("C")[4])
    built(before, s)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "int8", "int32", "float64"])
def test_dtypes(dtype):
    a, b = tl.placeholder((5, 7), dtype, name="A"), tl.placeholder((7, 6), dtype, name="B")
    k = tl.reduce_axis(7, name="k")
    wide = {"int8": "int32"}.get(dtype, dtype)
    c = tl.compute((5, 6), lambda i, j: tl.sum(a[i, k].astype(wide) * b[k, j].astype(wide), axis=k), name="C")
    s = Schedule(c)
    before = s.func
    s.pad_einsum("C", [4, 4, 4])
    check_numbers(before, s)


def test_sums_and_batches():
    s = Schedule(row_sum(5, 7))
    before = s.func
    s.pad_einsum("C", [4, 4])
    built(before, s)
    a, b = tl.placeholder((3, 5, 7), name="A"), tl.placeholder((3, 6, 7), name="B")
    k = tl.reduce_axis(7, name="k")
    s = Schedule(tl.compute((3, 5, 6), lambda n, i, j: tl.sum(a[n, i, k] * b[n, j, k], axis=k), name="C"))
    before = s.func
    s.pad_einsum("C", [2, 4, 4, 4])
    built(before, s)


def test_zeros_keep_their_sign_and_infinities_stay():
    """-1e-30 * 1e-30 rounds to -0.0, to which +0.0 must not be added."""
    s = Schedule(matmul(3, 3, 3))
    plain = tl.build(s.func)
    s.pad_einsum("C", [2, 2, 2])
    a, b = np.full((3, 3), -1e-30, "float32"), np.full((3, 3), 1e-30, "float32")
    a[1], b[:, 2] = [np.inf, -np.inf, np.nan], -1.0
    expected, got = plain(a, b), tl.build(s)(a, b)
    np.testing.assert_array_equal(expected.view(np.uint32), got.view(np.uint32))
    assert np.signbit(expected[0, 0]) and expected[0, 0] == 0


@pytest.mark.parametrize("n", [0, 1, 4, 6])
def test_symbolic_sizes(n):
    size = tl.var("n")
    s = Schedule(matmul(size, 5, size))
    before = s.func
    s.pad_einsum("C", [4, 4, 4])
    built(before, s, {"n": n})


def test_knobs():
    t = tl.knob("t", (1, 2, 4))
    s = Schedule(matmul(5, 6, 7))
    before = s.func
    s.pad_einsum("C", [t, None, t])
    assert len(list(find(s.func.body, For))) == 9
    for value in (1, 2, 4):
        check_numbers(before, s.trace.instantiate({"t": value}).apply(before))


def test_takes_a_factor_for_each_iterator():
    s = Schedule(matmul())
    refused(s, "bad_padding", lambda: s.pad_einsum("C", [4, 4]))
    refused(s, "bad_padding", lambda: s.pad_einsum("C", 4))
    refused(s, "factor_not_positive", lambda: s.pad_einsum("C", [4, 0, 4]))


def test_needs_a_contraction():
    refused(s := Schedule(blur()), "not_a_contraction", lambda: s.pad_einsum("H", [4, 4]))
    a = tl.placeholder((5, 7), name="A")
    k = tl.reduce_axis(7, name="k")
    most = Schedule(tl.compute((5,), lambda i: tl.max(a[i, k], axis=k), name="C"))
    refused(most, "not_a_contraction", lambda: most.pad_einsum("C", [4, 4]))
    in_order = tl.reducer(lambda x, y: x + y, 0.0, commutative=False)
    ordered = Schedule(tl.compute((5,), lambda i: in_order(a[i, k], axis=k), name="C"))
    refused(ordered, "not_a_contraction", lambda: ordered.pad_einsum("C", [4, 4]))
    square = Schedule(tl.compute((5,), lambda i: tl.sum(a[i, k] * a[i, k], axis=k), name="C"))
    refused(square, "not_a_contraction", lambda: square.pad_einsum("C", [4, 4]))
    s = Schedule(matmul())
    s.decompose_reduction("C", "C.k")
    refused(s, "not_a_contraction", lambda: s.pad_einsum("C", [4, 4, 4]))


def test_zeros_meet_zeros():
    a, w = tl.placeholder((5, 7), name="A"), tl.placeholder((5,), name="W")
    k = tl.reduce_axis(7, name="k")
    s = Schedule(tl.compute((5,), lambda i: tl.sum(a[i, k] * w[i], axis=k), name="C"))
    before = s.func
    refused(s, "operand_without", lambda: s.pad_einsum("C", [None, 4]))
    s.pad_einsum("C", [4, None])
    built(before, s)


def test_needs_the_loops_as_they_were_born():
    s = Schedule(matmul())
    s.split("C.i", [None, 4])
    refused(s, "loops_remade", lambda: s.pad_einsum("C", [4, 4, 4]))
    s = Schedule(matmul())
    s.reorder("C.k", "C.i")
    before = s.func
    s.pad_einsum("C", [4, 4, 4])
    built(before, s)
    s = Schedule(matmul())
    s.parallel("C.i")
    refused(s, "loop_kind", lambda: s.pad_einsum("C", [4, 4, 4]))
    s = Schedule(matmul())
    s.annotate("C.i", "note", 1)
    refused(s, "loop_annotated", lambda: s.pad_einsum("C", [4, 4, 4]))


def test_needs_to_be_the_sole_writer():
    s = Schedule(matmul())
    s.loop_partition("C.i", [3])
    assert "before" in refused(s, "several_writers", lambda: s.pad_einsum("C", [4, 4, 4])).hint
