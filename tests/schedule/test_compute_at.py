"""compute_at."""

import pytest

import tensorlang as tl
from tensorlang.schedule.schedule import Schedule
from tests.fuzz.check import check as check_case
from tests.schedule.programs import (
    before_and_after,
    blur,
    chain,
    check_compact,
    check_kernel,
    convolution,
    matmul,
    normalised,
    refused,
    row_sum,
    running,
    shapes,
)


def test_compute_at(golden):
    s = Schedule(blur(10, 11))
    before = s.func
    i0, _ = s.split("C.i", [None, 4])
    s.compute_at("H", i0)
    golden("schedule/compute_at", before_and_after(before, s))
    check_compact(before, s)
    assert shapes(s)["H"] == "[6, 11]"


def test_a_chain_moves_consumers_first():
    s = Schedule(blur(10, 11))
    before = s.func
    i0, j0, _, _ = s.tile(["C.i", "C.j"], [4, 3])
    s.compute_at("H", j0)
    s.compute_at("P", j0)
    s.cache_read("P", "A", "local")
    s.compute_at("A.local", i0)
    check_compact(before, s)
    assert shapes(s) == {"H": "[6, 3]", "P": "[6, 5]", "A.local": "[6, 11]"}


def test_a_sliding_producer_at_every_loop():
    for depth in range(4):
        s = Schedule(convolution(9, 10))
        before = s.func
        s.compute_at("P", s.loops("C")[depth])
        check_compact(before, s)
        assert shapes(s)["P"] == ["[3, 12]", "[3, 3]", "[1, 3]", "[1, 1]"][depth]


def test_what_one_result_does_not_determine_runs_in_full():
    """Rows of Q are laid aslant: that just two rows of P are read is no reason to compute no more."""
    a, n = tl.placeholder((6, 5), "int32", name="A"), tl.placeholder((1,), "int32", name="N")
    p, q = tl.compute((6, 5), lambda i, j: (a[i, j] + 1, a[i, j] * 2), name="P")
    total = tl.compute((5,), lambda i: p[i, i] + p[i + 1, i] + q[n[0], i], name="C")
    s = Schedule(total)
    s.transform_layout(q, lambda i, j: (i + j, j))
    s.compute_at("P", "C.i")
    assert [str(loop.extent) for loop in s.loops("P")[-2:]] == ["6", "1"]
    check_case(s, [total], {}, seed=0)


def test_a_block_moves_in_and_out_again():
    s = Schedule(convolution(9, 10))
    before = s.func
    i, j, y, _ = s.loops("C")
    for loop, shape in ((j, "[3, 3]"), (i, "[3, 12]"), (y, "[1, 3]"), (j, "[3, 3]")):
        s.compute_at("P", loop)
        check_compact(before, s)
        assert shapes(s)["P"] == shape


def test_reductions_are_producers_too():
    s = Schedule(normalised(7, 9))
    before = s.func
    i0, _ = s.split("C.i", [None, 2])
    s.compute_at("total", i0)
    s.compute_at("E", i0)
    s.compute_at("top", i0)
    check_compact(before, s)
    assert shapes(s) == {"total": "[2]", "E": "[2, 9]", "top": "[2]"}


def test_recomputed_reduction():
    """Rows of a matmul are computed anew for each row of the consumer that needs them."""
    c = matmul(9, 5, 6)
    d = tl.compute((7, 5), lambda i, j: c[i, j] + c[i + 1, j] + c[i + 2, j], name="D")
    s = Schedule(d)
    before = s.func
    s.compute_at("C", "D.j")
    check_compact(before, s)
    assert shapes(s)["C"] == "[3, 1]"


def test_several_consumers_under_one_loop():
    a = tl.placeholder((10,), name="A")
    p = tl.compute((10,), lambda i: a[i] * 2.0, name="P")
    q = tl.compute((10,), lambda i: p[i] + 1.0, name="Q")
    c = tl.compute((10,), lambda i: p[9 - i] + q[i], name="C")
    s = Schedule(c)
    before = s.func
    error = refused(s, "consumer_outside_loop", lambda: s.compute_at("P", "C.i"))
    assert error.hint.startswith("no loop: ")
    s.compute_at("Q", "C.i")
    s.compute_at("P", "C.i")
    check_compact(before, s)


def test_tuples_move_together():
    a = tl.placeholder((8, 6), name="A")
    p, q = tl.compute((8, 6), lambda i, j: (a[i, j] + 1.0, a[i, j] * 2.0), name="P")
    c = tl.compute((7, 6), lambda i, j: p[i, j] + q[i + 1, j], name="C")
    s = Schedule(c)
    before = s.func
    s.compute_at("P", "C.i")
    check_compact(before, s)


def test_symbolic_sizes():
    n = tl.var("n")
    s = Schedule(blur(n, 10))
    before = s.func
    i0, _ = s.split("C.i", [None, 4])
    s.compute_at("H", i0)
    s.compute_at("P", i0)
    for value in (0, 1, 4, 9):
        check_compact(before, s, {"n": value})
    assert shapes(s) == {"H": "[6, 10]", "P": "[6, 12]"}


def test_knobs():
    """With open knobs the boxes are expressions over them."""
    t, u = tl.knob("t", (1, 2, 4)), tl.knob("u", (1, 3))
    s = Schedule(blur(10, 11))
    i0, i1 = s.split("C.i", [None, t])
    j0, j1 = s.split("C.j", [None, u])
    s.reorder(i0, j0, i1, j1)
    s.compute_at("H", j0)
    s.compute_at("P", j0)
    assert repr([loop.extent for loop in s.loops("H")[2:]]) == "[t + 2, u]"
    assert shapes(s) == {"H": "[t + 2, u]", "P": "[t + 2, u + 2]"}


def windows(n, size, step, length=None):
    """P; C, of which each element sums `size` elements of P, `step` from those of the one before; D, all of P."""
    length = (n - 1) * step + size if length is None else length
    a = tl.placeholder((length,), name="A")
    p = tl.compute((length,), lambda i: a[i] * 2.0, name="P")
    k = tl.reduce_axis(size, name="k")
    c = tl.compute((n,), lambda i: tl.sum(p[i * step + k], axis=k), name="C")
    d = tl.compute((length,), lambda i: p[length - 1 - i] - 1.0, name="D")
    return c, d, p


@pytest.mark.parametrize("size, step", [(1, 1), (3, 1), (3, 2), (3, 3)])
def test_compute_at_leaves_all_to_what_stands_behind(size, step):
    for kept in (2, 3):  # C and D; P, too
        tensors = windows(7, size, step)[:kept]
        s = Schedule(tensors)
        before = s.func
        s.split("C.i", [None, 4])
        s.compute_at("P", "C.i.1")
        check_compact(before, s)
        check_kernel(before, s)
        if size > step:
            refused(s, "loop_repeats", lambda s=s: s.parallel("C.i.0"))


def test_compute_at_leaves_all_of_symbolic_sizes():
    n = tl.var("n")
    s = Schedule(windows(n, 1, 1, length=n))
    before = s.func
    s.compute_at("P", s.split("C.i", [None, 4])[0])
    check_kernel(before, s, *({"n": value} for value in (0, 1, 4, 7)))


def test_compute_at_leaves_what_is_read_behind():
    """Of P, which has four elements more than C reads, D reads just those; n may be 0, and D then reads none."""
    n = tl.var("n")
    a = tl.placeholder((n + 4,), name="A")
    p = tl.compute((n + 4,), lambda i: a[i] * 2.0, name="P")
    c = tl.compute((n,), lambda i: p[i] + 1.0, name="C")
    d = tl.compute((n,), lambda i: p[n - 1 - i] - 1.0, name="D")
    s = Schedule([c, tl.compute((n,), lambda i: p[n - i] - 1.0, name="D")])
    s.split("C.i", [None, 4])
    refused(s, "consumer_outside_loop", lambda: s.compute_at("P", "C.i.1"))
    s = Schedule([c, d])
    s.split("C.i", [None, 4])
    s.compute_at("P", "C.i.1")
    for value in (0, 1, 4, 7):
        check_case(s, [c, d], {n: value}, seed=1)


def test_compute_at_refuses_to_leave_a_part():
    gaps = windows(5, 2, 3)
    short = windows(5, 3, 1, length=8)
    n = tl.var("n")
    _, d, p = windows(5, 2, 1)
    x = tl.placeholder((n,), name="X")
    maybe_none = tl.compute((n,), lambda i: p[0] + p[5] * x[i], name="C"), d, p
    for c, d, p in (gaps, short, maybe_none):
        s = Schedule([c, d])
        refused(s, "consumer_outside_loop", lambda s=s: s.compute_at("P", "C.i"))
        s = Schedule([c, p])
        refused(s, "writes_parameter", lambda s=s: s.compute_at("P", "C.i"))
    c, d, p = windows(n, 1, 1, length=n)
    s = Schedule([d, c])  # D comes first
    refused(s, "consumer_outside_loop", lambda: s.compute_at("P", "C.i"))
    s = Schedule([c, d])
    s.specialize(n % 4 == 0, "C.i")
    refused(s, "consumer_outside_loop", lambda: s.compute_at("P", "C.i"))


def test_compute_at_needs_an_intermediate():
    s = Schedule(matmul())
    assert "cache_write" in refused(s, "writes_parameter", lambda: s.compute_at("C", "C.i")).hint


def test_compute_at_of_a_part_that_reduces():
    n = tl.var("n")
    total = row_sum(n, 3)
    s = Schedule(tl.compute((n,), lambda i: total[n - 1 - i] + 1.0, name="D"))
    before = s.func
    s.loop_partition("C.i", [2, 5])
    s.compute_at("C.part1", "D.i")  # which makes anew what C and C.part2 have made
    assert [loop.name for loop in s.loops("C.part1")] == ["D.i", "C.part1.i", "C.part1.k_1"]
    check_kernel(before, s, *({"n": size} for size in (1, 4, 9)))
    refused(s, "several_writers", lambda: s.compute_at("C", "D.i"))


def test_compute_at_of_a_result_beside_others_in_loops_that_run_once():
    a = tl.placeholder((1, 5), name="A")
    p, q = tl.compute((1, 5), lambda i, j: (a[i, j] + 1.0, a[i, j] * 2.0), name="P")
    s = Schedule([tl.compute((1, 5), lambda i, j: p[i, j] - 1.0, name="C"), q])
    before = s.func
    s.reverse_compute_at("C", "P.i")
    s.compute_at("P", s.loops("C")[-1])
    check_kernel(before, s)


def test_compute_at_leaves_a_decomposed_init_where_it_is():
    """The updates run once each, behind the init of their element."""
    n = tl.var("n")
    total = row_sum(n, 3)
    for place in (0, 1):
        for decomposed in (0, 1):
            s = Schedule(tl.compute((n, 2), lambda i, j: total[n - 1 - i] + j.astype("float32"), name="D"))
            before = s.func
            s.split("D.i", [None, 4])
            s.decompose_reduction("C", s.loops("C")[decomposed])
            s.compute_at("C", s.loops("D")[place])
            assert s.loops("C")[place].name == f"D.i.{place}" and s.loops("C.init")[0].name.startswith("C")
            check_kernel(before, s, *({"n": size} for size in (1, 4, 9)))


def test_compute_at_of_updates_that_are_one_block_behind_their_init():
    total = row_sum(10, 3)
    s = Schedule(tl.compute((10,), lambda i: total[9 - i] + 1.0, name="D"))
    before = s.func
    s.decompose_reduction("C", "C.k")
    s.compute_at(s.blockize("C.k"), "D.i")
    check_kernel(before, s)


def test_compute_at_of_updates_behind_their_init_in_the_same_loop():
    s = Schedule(normalised())
    before = s.func
    s.compute_at("total", "C.i")
    s.decompose_reduction("total", s.loops("total")[-1])
    s.split("C.j", [3, 4])
    refused(s, "several_writers", lambda: s.compute_at("total", "C.j.1"))  # once for each column
    s.compute_at("total", "C.i")
    check_kernel(before, s)


def test_compute_at_needs_a_sole_writer():
    """Or others that are done before; updates do not come twice, as they would in a window or for each column."""
    total = row_sum(10, 3)
    d = tl.compute((9, 2), lambda i, j: total[i] + total[i + 1], name="D")
    for place in ("D.i", "D.j"):
        s = Schedule(d)
        s.compute_at("C", place)
        s = Schedule(d)
        s.decompose_reduction("C", s.loops("C")[0])
        hint = refused(s, "several_writers", lambda s=s, place=place: s.compute_at("C", place)).hint
        assert "decompose_reduction" in hint
    s = Schedule(tl.compute((10,), lambda i: total[i], name="D"))
    s.split("C.k", [2], tail="cut")
    refused(s, "several_writers", lambda: s.compute_at("C", "D.i"))
    refused(s, "several_writers", lambda: s.compute_at("C.tail", "D.i"))


def test_compute_at_names_the_legal_loops():
    s = Schedule(blur())
    error = refused(s, "consumer_outside_loop", lambda: s.compute_at("P", "C.i"))
    assert error.hint == "H.i, H.j"
    assert "^^^" in error.excerpt
    assert refused(s, "consumer_outside_loop", lambda: s.compute_at("H", "H.i")).hint == "C.i, C.j"


def test_compute_at_needs_complete_inputs():
    s = Schedule(normalised())
    s.compute_at("total", "C.i")
    s.compute_at("E", "C.i")
    s.compute_at("top", "C.i")
    error = refused(s, "consumer_outside_loop", lambda: s.compute_at("E", "total.l_1"))
    assert error.hint == "C.i"


def test_compute_at_needs_scalar_loops():
    s = Schedule(chain())
    s.vectorize("C.j")
    assert refused(s, "vector_loop", lambda: s.compute_at("P", "C.j")).hint == "C.i"


@pytest.mark.parametrize("move", ["compute_at", "reverse_compute_at"])
def test_moved_loops_were_plain(move):
    block, loop = ("P", "C.i") if move == "compute_at" else ("C", "P.i")
    s = Schedule(chain())
    s.parallel(f"{block}.i")
    refused(s, "loop_kind", lambda: getattr(s, move)(block, loop))
    s = Schedule(chain())
    s.annotate(f"{block}.j", "note", "hot")
    refused(s, "loop_annotated", lambda: getattr(s, move)(block, loop))


def test_blocks_that_overwrite_stay():
    s = Schedule(running())
    refused(s, "overwrites", lambda: s.compute_at("P", "C.x"))
    refused(s, "overwrites", lambda: s.reverse_compute_at("C", "C.t"))


def test_under_a_parallel_loop():
    s = Schedule(blur())
    before = s.func
    s.parallel("C.i")
    s.compute_at("H", "C.i")
    s.compute_at("P", "C.i")
    check_compact(before, s)


@pytest.mark.parametrize("dtype", ["int8", "uint16", "int32", "uint32", "int64", "uint64"])
def test_rows_that_data_chooses(dtype):
    """All rows are computed: what a dtype can hold is no bound of a subscript."""
    rows, n = tl.var("rows"), tl.var("n")
    places = tl.placeholder((n,), dtype, name="P")
    table = tl.placeholder((rows, 3), "int32", name="T")
    doubled = tl.compute((rows, 3), lambda i, j: table[i, j] * 2, name="D")
    picked = tl.compute((n, 3), lambda i, j: doubled[places[i], j], name="C")
    s = Schedule(picked)
    s.compute_at("D", "C.i")
    check_case(s, [picked], {rows: 4, n: 5}, seed=0)
    check_case(s, [picked], {rows: 1, n: 2}, seed=1)
