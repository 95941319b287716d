"""software_pipeline."""

import pytest

import tensorlang as tl
from tensorlang.ir.nodes import SERIAL, TRUE, Alloc, Block, Buffer, For, Func, Iter, Load, Store, Var, const, seq
from tensorlang.ir.ops import make
from tensorlang.ir.walk import find
from tensorlang.schedule.schedule import Schedule
from tests.passes.programs import check_all_passes, lowered
from tests.schedule.pipelines import STAGES, staged, versions
from tests.schedule.programs import (
    before_and_after,
    biased_matmul,
    blur,
    chain,
    check_kernel,
    last_positive,
    matmul,
    refused,
    row_sum,
    running,
)


def test_software_pipeline(golden):
    s = staged()
    before = Schedule(s.func)
    s.software_pipeline("C.k.0", STAGES)
    golden("schedule/software_pipeline", f"{before_and_after(before, s)}\n-->\n\n{lowered(s, 'pipeline')}")
    check_all_passes(s)


@pytest.mark.parametrize("last", [1, 2, 3])
@pytest.mark.parametrize("k", [1, 4, 7, 12, 14])
def test_loops_shorter_than_the_pipeline(k, last):
    s = staged(5, 6, k)
    before = Schedule(matmul(5, 6, k)).func
    s.software_pipeline("C.k.0", {**STAGES, "C": last})
    check_all_passes(s)
    check_kernel(before, s)


@pytest.mark.parametrize("last", [1, 3])
def test_symbolic_extents(last):
    m, n, k = tl.var("m"), tl.var("n"), tl.var("k")
    a, b = tl.placeholder((m, k), name="A"), tl.placeholder((k, n), name="B")
    kk = tl.reduce_axis(k, name="k")
    c = tl.compute((m, n), lambda i, j: tl.sum(a[i, kk] * b[kk, j], axis=kk), name="C")
    s = Schedule(c)
    before = s.func
    k0, k1 = s.split("C.k", [None, 4])
    s.reorder(k0, "C.i", "C.j", k1)
    s.compute_at(s.cache_read("C", "A", "shared"), k0)
    s.software_pipeline(k0, {"A.shared": 0, "C": last})
    assert f">= {last}" in str(lowered(s, "pipeline"))
    check_kernel(before, s, *({"m": 3, "n": 5, "k": size} for size in (0, 1, 4, 5, 11, 16, 23)))


def test_a_specialized_extent_needs_no_short_variant():
    n = tl.var("n")
    s = Schedule(chain(n, 5))
    s.specialize(n >= 8)
    s.compute_at("P", "C.i")
    s.compute_at("P.general", "C.general.i")
    s.software_pipeline("C.i", {"P": 0, "C": 1})
    assert "short" not in str(lowered(s, "pipeline")) and ".prologue" in str(lowered(s, "pipeline"))
    check_kernel(Schedule(chain(n, 5)).func, s, {"n": 5}, {"n": 8}, {"n": 13})


def test_versions_are_as_many_as_iterations_alive():
    for last, count in ((1, 2), (2, 3), (3, 4)):
        s = staged()
        s.software_pipeline("C.k.0", {**STAGES, "C": last})
        assert versions(s) == {"A.shared.versions": count, "B.shared.versions": count}


def test_used_before_filled_again_takes_one_version_less():
    s = staged()
    before = Schedule(matmul(10, 12, 14)).func
    s.software_pipeline("C.k.0", STAGES, order=["C", "A.shared", "B.shared"])
    assert versions(s) == {"A.shared.versions": 1, "B.shared.versions": 1}
    check_all_passes(s)
    check_kernel(before, s)


def test_three_stages_and_a_buffer_of_one_stage():
    """Loads, sums and stores overlap; what only the sums use stays inside the loop."""
    s = Schedule(blur(9, 11))
    before = s.func
    s.compute_at("H", "C.i")
    s.compute_at("P", "C.i")
    s.reverse_compute_at(s.cache_write("C", "local"), "C.i")
    s.software_pipeline("C.i", {"P": 0, "H": 1, "C": 1, "C.write": 2})
    assert versions(s) == {"P.versions": 2, "C.local.versions": 2}
    check_all_passes(s)
    check_kernel(before, s)


def test_pipelines_nest():
    """From global to shared memory outside, from shared memory to registers inside."""
    s = staged(8, 6, 22, 8)
    before = Schedule(matmul(8, 6, 22)).func
    inner, _ = s.split("C.k.1", [None, 2])
    s.reorder(inner, "C.i", "C.j")
    for operand in ("A.shared", "B.shared"):
        s.compute_at(s.cache_read("C", operand, "local"), inner)
    s.software_pipeline(inner, {"A.shared.local": 0, "B.shared.local": 0, "C": 1})
    s.software_pipeline("C.k.0", {**STAGES, "C": 2})
    assert {name: n for name, n in versions(s).items() if "logue" not in name} == {
        "A.shared.versions": 3,
        "B.shared.versions": 3,
        "A.shared.local.versions": 2,
        "B.shared.local.versions": 2,
    }
    check_all_passes(s)
    check_kernel(before, s)


def test_nests_of_whole_kernels():
    """Inside a parallel loop, with vectors, an unrolled pipeline, and rows of another pitch."""
    s = Schedule(biased_matmul(13, 16, 10))
    before = s.func
    s.reverse_compute_at("E", "C.i")
    k0, _ = s.split("C.k", [None, 4])
    s.reorder(k0, "C.j")
    s.compute_at(s.cache_read("C", "B", "local"), k0)
    s.storage_align("B.local", axis=0, factor=16, offset=8)
    s.vectorize("B.local.j_1")
    s.parallel("C.i")
    s.software_pipeline(k0, {"B.local": 0, "C": 1})
    s.unroll(k0)
    check_all_passes(s)
    check_kernel(before, s)


def test_copies_of_a_pipelined_loop_are_pipelined():
    n = tl.var("n")
    s = Schedule(chain(n, 4))
    s.compute_at("P", "C.i")
    s.software_pipeline("C.i", {"P": 0, "C": 1})
    s.specialize(n % 4 == 0)
    loops = [n for n in find(s.func.body, For) if n.annotations]
    assert [n.var.name for n in loops] == ["C.i", "C.general.i"]
    check_kernel(Schedule(chain(n, 4)).func, s, {"n": 3}, {"n": 8})


def test_what_outlives_an_iteration_may_be_overlapped_where_parts_differ():
    s = Schedule(chain(8, 5))
    before = s.func
    s.compute_at("P", "C.i")
    s.store_at("P")
    s.software_pipeline("C.i", {"P": 0, "C": 2})
    assert versions(s) == {}
    check_all_passes(s)
    check_kernel(before, s)


def test_refusals_of_arguments():
    s = staged()
    for stages in ({"C": 1}, {"A.shared": 0, "B.shared": 0, "C": 0}, {**STAGES, "C": "1"}, {**STAGES, "A.shared": -1}):
        assert '"C": 2' in refused(s, "bad_stages", lambda st=stages: s.software_pipeline("C.k.0", st)).hint
    assert "cache_read" in refused(s, "bad_stages", lambda: s.software_pipeline("C.i", {"C": 0})).hint
    refused(s, "stages_missing", lambda: s.software_pipeline("C.k.0", {"A.shared": 0, "C": 1}))
    refused(s, "unknown_block", lambda: s.software_pipeline("C.k.0", {**STAGES, "D": 1}))
    refused(s, "bad_order", lambda: s.software_pipeline("C.k.0", STAGES, order=["C", "A.shared"]))
    refused(s, "bad_order", lambda: s.software_pipeline("C.k.0", STAGES, order=["C", "A.shared", "C"]))
    outside = Schedule(blur())
    outside.compute_at("H", "C.i")
    refused(outside, "block_outside_loop", lambda: outside.software_pipeline("C.i", {"H": 0, "C": 1, "P": 0}))
    s.software_pipeline("C.k.0", STAGES)
    refused(s, "pipelined", lambda: s.software_pipeline("C.k.0", STAGES))


def test_refuses_loops_of_other_kinds():
    s = Schedule(chain())
    s.compute_at("P", "C.i")
    s.parallel("C.i")
    refused(s, "loop_kind", lambda: s.software_pipeline("C.i", {"P": 0, "C": 1}))


def test_refuses_stages_out_of_order():
    s = staged()
    error = refused(s, "stage_order", lambda: s.software_pipeline("C.k.0", {"A.shared": 1, "B.shared": 0, "C": 0}))
    assert error.hint == "a stage of at least 1 for C" and "^^^" in error.excerpt
    s.software_pipeline("C.k.0", {"A.shared": 1, "B.shared": 0, "C": 1})
    other = staged()
    order = ["C", "A.shared", "B.shared"]
    refused(
        other,
        "stage_order",
        lambda: other.software_pipeline("C.k.0", {"A.shared": 0, "B.shared": 1, "C": 1}, order=order),
    )


@pytest.mark.parametrize("n", [1, 2, 7])
def test_parts_that_store_the_same_in_each_iteration(n):
    a = tl.placeholder((5,), name="A")
    p = tl.compute((5,), lambda i: a[i] + 1.0, name="P")
    s = Schedule(tl.compute((n,), lambda i: p[(i * 3 + 1) % 5] * p[0], name="C"))
    before = s.func
    s.compute_at("P", "C.i")
    s.store_at("P", None)  # each iteration makes all of P
    s.software_pipeline("C.i", {"P": 0, "C": 1})
    check_kernel(before, s)


def test_parts_that_give_each_element_its_only_value():
    """Windows overlap: what runs ahead stores again what is there, and is read then."""
    for rolling in (False, True):
        s = Schedule(blur(10, 11))
        before = s.func
        s.compute_at("H", "C.i")
        if rolling:
            s.rolling_buffer("H", "C.i")
        else:
            s.store_at("H", None)
        s.software_pipeline("C.i", {"H": 0, "C": 2})
        check_all_passes(s)
        check_kernel(before, s)


def test_windows_that_roll_ahead_of_their_reader():
    """After the first iteration, each makes one row more, which no earlier one reads."""
    for rolling in (False, True):
        total = row_sum(9, 4)
        s = Schedule(tl.compute((7,), lambda i, c=total: c[i] + c[i + 1] * 2.0 + c[i + 2], name="D"))
        before = s.func
        s.compute_at("C", "D.i")
        if rolling:
            s.rolling_buffer("C", "D.i")
            s.software_pipeline("D.i", {"C": 0, "D": 2})
            check_all_passes(s)
        else:
            s.store_at("C", None)
            refused(s, "loop_carries", lambda s=s: s.software_pipeline("D.i", {"C": 0, "D": 2}))
        check_kernel(before, s)


def in_parts(tensor):
    """A reduction in the two parts C and C.part1 of each iteration of C.k.0."""
    s = Schedule(tensor)
    s.split("C.k", [None, 4])
    s.decompose_reduction("C", "C.k.0")
    s.loop_partition("C.k.1", [1])
    return s


@pytest.mark.parametrize("stages, reason", [((0, 2), "loop_carries"), ((1, 0), "stage_order")])
def test_updates_of_one_reduction_come_in_any_order(stages, reason):
    given = dict(zip(("C", "C.part1"), stages, strict=True))
    s = in_parts(row_sum(4, 11))
    s.software_pipeline("C.k.0", given)
    check_kernel(Schedule(row_sum(4, 11)).func, s)
    ordered = in_parts(last_positive(4, 3, 11))
    refused(ordered, reason, lambda: ordered.software_pipeline("C.k.0", given))


def test_parts_of_a_block_give_each_element_its_only_value():
    n = tl.var("n")
    total = row_sum(n, 3)
    p = tl.compute((n, 7), lambda i, j: total[i] * 2.0, name="P")
    s = Schedule(tl.compute((n, 7), lambda i, j: p[i, j] + 1.0, name="D"))
    before = s.func
    s.split("P.j", [None, 4], tail="cut")
    s.compute_at("P.tail", "D.i")
    s.store_at("P", None)
    s.software_pipeline("D.i", {"P.tail": 0, "D": 1})
    check_kernel(before, s, {"n": 1}, {"n": 5})


def test_iterations_that_are_points_of_a_fused_domain():
    n = tl.var("n")
    s = Schedule(matmul(3, n, 2))
    before = s.func
    s.fuse("C.i", "C.j")
    s.decompose_reduction("C", "C.k")
    s.software_pipeline("C.i_j", {"C.init": 0, "C": 2})
    check_kernel(before, s, {"n": 1}, {"n": 5})


def test_refuses_elements_that_change():
    """Sums in the making, and what another block has stored."""
    total = row_sum(10, 3)
    s = Schedule(tl.compute((9,), lambda i: total[i] + total[i + 1], name="D"))
    s.compute_at("C", "D.i")
    s.store_at("C", None)
    refused(s, "loop_carries", lambda: s.software_pipeline("D.i", {"C": 0, "D": 1}))
    x = tl.placeholder((8,), name="x")
    p = tl.compute((10,), lambda i: tl.if_then_else(i >= 2, x[i - 2], 0.0), name="P")
    s = Schedule(tl.compute((8,), lambda i: p[i] + p[i + 2], name="C"))
    s.compute_at("P", "C.i")
    s.store_at("P", None)
    s.decompose_padding("P", s.loops("P")[-1])
    refused(s, "loop_carries", lambda: s.software_pipeline("C.i", {"P.pad": 0, "P": 0, "C": 1}))


def test_refuses_to_read_before_an_earlier_iteration_has_written():
    """C reads what P has stored one iteration before; that no store changes it does not help."""
    a, p, c = (Buffer(name, (const(5),), "float32") for name in ("A", "P", "C"))
    i, x = Var("C.i"), Var("x")
    late = make("if_then_else", x >= 1, Load(p, (x - 1,)), Load(a, (x,)))
    parts = (
        Block(b.name, (Iter(x, const(5)),), (i,), TRUE, None, None, Store(b, (x,), value))
        for b, value in ((c, late), (p, Load(a, (x,))))
    )
    s = Schedule(Func("late", (a, c), (c,), Alloc(p, For(i, const(5), SERIAL, seq(*parts)))))
    refused(s, "loop_carries", lambda: s.software_pipeline("C.i", {"C": 0, "P": 1}))


def test_refuses_buffers_that_depend_on_each_other():
    """P[0] = C[0], then C[0] = P[0] + 1: each iteration stores something else."""
    p, c, i = Buffer("P", (const(1),), "float32"), Buffer("C", (const(1),), "float32"), Var("C.i")
    zero = (const(0),)
    first = Block("P", (), (), TRUE, None, None, Store(p, zero, Load(c, zero)))
    then = Block("C", (), (), TRUE, None, None, Store(c, zero, Load(p, zero) + 1.0))
    func = Func("counts", (c,), (c,), Alloc(p, For(i, const(5), SERIAL, seq(first, then))))
    s = Schedule(func)
    refused(s, "loop_carries", lambda: s.software_pipeline("C.i", {"P": 0, "C": 1}))


def test_what_no_later_iteration_does():
    for k in (1, 2, 5):
        s = Schedule(row_sum(4, k))
        before = s.func
        s.decompose_reduction("C", "C.k")
        s.split("C.i", [4, None])
        s.software_pipeline("C.i.1", {"C.init": 0, "C": 1})  # which runs once
        check_kernel(before, s)
    s = Schedule(row_sum(4, 5))
    before = s.func
    s.split("C.k", [None, 2])
    s.cache_write("C", "local")
    s.decompose_reduction("C", "C.k.1")
    s.software_pipeline("C.k.0", {"C.init": 0, "C": 1})  # where the init is done in one iteration only
    check_kernel(before, s)


def test_what_only_the_last_iteration_does():
    a = tl.placeholder((3, 12), name="A")
    p = lambda i, j: tl.if_then_else((i >= 2) & (j >= 1), a[i - 2, j - 1], 7.0)  # noqa: E731
    s = Schedule(tl.compute((3, 12), p, name="P"))
    before = s.func
    s.decompose_padding("P", "P.j")
    s.software_pipeline("P.i", {"P.pad": 0, "P": 1})
    check_kernel(before, s)


def test_parts_without_iterations_are_in_nobodys_way():
    for cut, reason in ((8, ""), (7, "stage_order")):
        s = Schedule(chain(6, 8))
        before = s.func
        s.compute_at("P", "C.i")
        s.loop_partition("P.j_1", [cut])
        s.fission("P.i_1", "P")
        step = lambda s=s: s.software_pipeline("C.i", {"P": 0, "P.part1": 1, "C": 0})  # noqa: E731
        if reason:
            refused(s, reason, step)
        else:
            step()
        check_kernel(before, s)


def test_refuses_what_another_iteration_needs():
    s = Schedule(running())
    s.software_pipeline("C.x", {"P": 0, "C": 1})  # C reads the first element only, which no later iteration writes
    s = Schedule(running())
    s.fission("C.x", "P")
    error = refused(s, "loop_carries", lambda: s.software_pipeline("C.t", {"P": 0, "C": 1}))
    assert "T, which outlives an iteration" in error.message and "allocated inside C.t" in error.hint


def test_refuses_different_stages_in_one_statement():
    s = Schedule(blur())
    s.compute_at("H", "C.j")
    s.compute_at("P", "C.i")
    refused(s, "stages_differ", lambda: s.software_pipeline("C.i", {"P": 0, "H": 1, "C": 2}))
    s.software_pipeline("C.i", {"P": 0, "H": 1})


def test_later_steps_are_held_to_it():
    s = Schedule(blur())
    s.compute_at("H", "C.i")
    s.software_pipeline("C.i", {"H": 0, "C": 1})
    refused(s, "loop_kind", lambda: s.parallel("C.i"))
    assert "before" in refused(s, "stages_missing", lambda: s.compute_at("P", "C.i")).hint
    refused(s, "loop_annotated", lambda: s.split("C.i", [None, 2]))
    s.split("C.j", [None, 4])
    refused(s, "stages_missing", lambda: s.compute_inline("H"))


def test_an_order_is_one_of_all_parts():
    s = Schedule(blur())
    s.compute_at("H", "C.i")
    s.split("C.j", [None, 4])
    s.loop_partition("C.j.1", [2])
    s.software_pipeline("C.i", {"H": 0, "C": 1}, order=["C", "H"])
    refused(s, "stages_missing", lambda: s.fission("C.j.0", "C"))


def test_updates_of_a_sum_whose_init_comes_before_the_loop():
    a = tl.placeholder((6, 3, 4), name="A")
    k, m = tl.reduce_axis(3, name="k"), tl.reduce_axis(4, name="m")
    total = tl.compute((6,), lambda i: tl.sum(a[i, k, m], axis=(k, m)), name="C")
    s = Schedule(total)
    before = s.func
    s.loop_partition("C.m", [3])
    s.software_pipeline("C.k", {"C": 0, "C.part1": 1})
    check_kernel(before, s)
