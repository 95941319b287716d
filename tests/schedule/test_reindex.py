"""reindex."""

import pytest

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
    shapes,
)
from tests.schedule.test_storage import built


def pooling(n=7, step=2, width=3):
    a = tl.placeholder((step * (n - 1) + width,), name="A")
    r = tl.reduce_axis(width, name="r")
    return tl.compute((n,), lambda i: tl.sum(a[i * step + r], axis=r), name="C")


def test_reindex_what_is_read(golden):
    s = Schedule(pooling())
    before = s.func
    assert s.reindex("C", "A").name == "A.reindex"
    golden("schedule/reindex_read", before_and_after(before, s))
    built(before, s)


def test_reindex_what_is_written(golden):
    s = Schedule(matmul(5, 4, 3))
    before = s.func
    s.reindex("C", "C")
    golden("schedule/reindex_write", before_and_after(before, s))
    built(before, s)


def test_image_to_columns():
    """A convolution becomes a matrix product over copies."""
    s = Schedule(convolution(5, 6))
    before = s.func
    s.reindex("C", "P")
    s.reindex("C", "W")
    s.reindex("C", "C")
    assert repr(s.buffers()["P.reindex"].shape) == "(5, 6, 3, 3)"
    built(before, s)
    s.compute_at("P.reindex", "C.i")
    s.compute_inline("P")
    assert shapes(s)["P.reindex"] == "[1, 6, 3, 3]"
    built(before, s)


def test_layouts_and_shared_elements():
    a = tl.placeholder((4, 6), name="A")
    p = tl.compute((4, 6), lambda i, j: a[i, j] * 2.0, name="P")
    s = Schedule(tl.compute((4, 6), lambda i, j: p[3 - i, 0] + 1.0, name="C"))
    before = s.func
    s.transform_layout("P", lambda i, j: (j // 4, i, j % 4))
    s.reindex("C", "P")
    s.reindex("P", "P")
    assert repr(s.buffers()["P.reindex"].shape) == "(4,)"
    assert repr(s.buffers()["P.reindex_1"].shape) == "(4, 6)"
    built(before, s)


def test_guarded_accesses_stay_inside():
    s = Schedule(blur(6, 7))
    before = s.func
    s.reindex("P", "A")
    built(before, s)


@pytest.mark.parametrize("n", [0, 1, 5])
def test_symbolic_sizes(n):
    s = Schedule(matmul(tl.var("n"), 3, 4))
    before = s.func
    s.reindex("C", "A")
    s.reindex("C", "C")
    built(before, s, {"n": n})


def test_inside_loops():
    s = Schedule(normalised())
    before = s.func
    s.compute_at("total", "C.i")
    s.compute_at("E", "C.i")
    s.reindex("total", "E")
    built(before, s)


def test_reindexes_what_is_accessed():
    s = Schedule(chain())
    assert refused(s, "not_accessed", lambda: s.reindex("C", "A")).hint == "P, C"


def test_reindexes_one_access():
    s = Schedule(blur())
    error = refused(s, "several_accesses", lambda: s.reindex("H", "P"))
    assert "P[i, j + 1]" in error.message
    a, at = tl.placeholder((5,), name="A"), tl.placeholder((5,), "int32", name="at")
    s = Schedule(tl.compute((5,), lambda i: a[at[i]], name="C"))
    refused(s, "several_accesses", lambda: s.reindex("C", "A"))


def test_reindexes_by_iterators():
    s = Schedule(chain())
    s.blockize(s.loops("C")[-1])
    for name in ("C", s.block("C").reads[0].name):
        error = refused(s, "loops_inside", lambda name=name: s.reindex("C", name))
        assert "before blockize" in error.hint


def test_reindex_what_several_parts_write():
    n = tl.var("n")
    s = Schedule(matmul(5, n, 3))
    before = s.func
    s.decompose_reduction("C", "C.k")
    s.split("C.j", [None, 4], tail="cut")
    copy = s.reindex("C.tail", "C")
    assert [w.name for w in copy.producers] == ["C.init", "C", "C.init.tail", "C.tail"]
    for size in (0, 1, 6):
        check_numbers(before, s, {"n": size})


def test_reindexes_the_work_of_one_block():
    s = Schedule(biased_matmul(10, 12, 7))
    s.transform_layout("C", lambda i, j: (i // 4, j, i % 4), pad_value=0.0)  # C.pad fills all of it
    refused(s, "several_writers", lambda: s.reindex("C", "C"))
    s = Schedule(chain())
    s.compute_at("P", "C.i")
    refused(s, "consumer_inside", lambda: s.reindex("P", "P"))
