"""loop_partition, fission, specialize, add_unit_loop."""

from typing import Any

import pytest

import tensorlang as tl
from tensorlang.ir import ops
from tensorlang.ir.nodes import SERIAL, Alloc, Block, For, Func, Load, Store, Var, const, seq
from tensorlang.ir.walk import find, replace_node, substitute
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
    running,
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


# -------------------------------------------------------------------------------------------------- fission
def test_fission(golden):
    s = Schedule(matmul(10, 12, 7))
    before = s.func
    s.decompose_reduction("C", "C.k")
    first, rest = s.fission("C.j", after="C.init")
    assert (first.name, rest.name) == ("C.j", "C.j.rest")
    assert [loop.name for loop in s.loops("C")] == ["C.i", "C.j.rest", "C.k"]
    golden("schedule/fission", before_and_after(before, s))
    check_kernel(before, s)


def test_fission_takes_allocations_along():
    s = Schedule(biased_matmul(10, 12, 7))
    before = s.func
    s.compute_at("C", "E.i")
    s.fission("E.i", after="C")
    check_kernel(before, s)
    assert isinstance(s.func.body, Alloc)


def test_fission_keeps_the_kind():
    s = Schedule(chain(10, 12))
    before = s.func
    s.compute_at("P", "C.i")
    s.parallel("C.i")
    first, rest = s.fission("C.i", after="P")
    assert first.kind == rest.kind == "parallel"
    check_kernel(before, s)


def shifted(offset: int) -> Func:
    """for x in 8: P[x] = A[x]; C[x] = P[x + offset] where there is such an element."""
    func = Schedule(chain(1, 8)).func
    alloc = next(find(func, Alloc))
    x, p, c = Var("C.x"), *find(func, Block)
    y = c.iters[1].var
    copy = Store(func.outputs[0], (const(0), y), Load(alloc.buffer, (const(0), y + offset)))
    there = (x + offset >= 0) & (x + offset < 8)
    p, c = p.replace(bindings=(const(0), x)), c.replace(bindings=(const(0), x), predicate=there, body=copy)
    return func.with_body(alloc.replace(body=For(x, const(8), SERIAL, seq(p, c))))


@pytest.mark.parametrize("offset", [0, -1, -3])
def test_fission_of_a_loop_that_carries_values_forwards(offset):
    s = Schedule(shifted(offset))
    before = s.func
    s.fission("C.x", after="P")
    check_numbers(before, s)


def test_fission_of_what_a_cut_made():
    s = Schedule(row_sum(6, 8))
    before = s.func
    s.split("C.k", [None, 3], tail="cut")
    s.fission("C.i", after="C")
    check_kernel(before, s)


def test_fission_refuses_to_carry_values_backwards():
    s = Schedule(shifted(1))
    error = refused(s, "loop_carries", lambda: s.fission("C.x", after="P"))
    assert "parts of P" in error.message
    s = Schedule(last_positive(6, 3, 9))
    s.split("C.k", [None, 5])
    s.split("C.k.1", [None, 2], tail="cut")
    refused(s, "loop_carries", lambda: s.fission("C.k.0", after="C"))


@pytest.mark.parametrize("reducer", [tl.sum, tl.max])
def test_fission_of_the_updates_of_a_commutative_reduction(reducer):
    n, k = tl.var("n"), tl.reduce_axis(9, name="k")
    a = tl.placeholder((n, 9), name="A")
    s = Schedule(tl.compute((n,), lambda i: reducer(a[i, k], axis=k), name="C"))
    before = s.func
    s.split("C.k", [None, 5])
    s.split("C.k.1", [None, 2], tail="cut")
    s.fission("C.k.0", after="C")
    check_kernel(before, s, *({"n": n} for n in (1, 7)))


def test_fission_of_what_the_first_iteration_does():
    s = Schedule(last_positive(6, 3, 9))
    before = s.func
    s.decompose_reduction("C", "C.k")
    assert "C.init" in str(s) and "where C.j == 0" in str(s)
    func, init, loop = s.func, s.block_node("C.init"), s.loop_node("C.j")
    s.fission("C.j", after="C.init")
    check_kernel(before, s)
    second = replace_node(func.body, init, init.replace(predicate=ops.make("eq", loop.var, const(1))))
    s = Schedule(func.with_body(second))
    refused(s, "loop_carries", lambda: s.fission("C.j", after="C.init"))


def repeated(rows: Any = 7) -> tl.Tensor:
    """P, computed of Q, and C, all rows of which read all of P."""
    a, b = tl.placeholder((11,), name="A"), tl.placeholder((rows,), name="B")
    q = tl.compute((11,), lambda j: a[j] * 2.0, name="Q")
    p = tl.compute((11,), lambda j: q[10 - j] + 1.0, name="P")
    return tl.compute((rows, 9), lambda i, j: p[j] + p[j + 2] * b[i], name="C")


def test_fission_of_what_all_iterations_repeat():
    s = Schedule(repeated(tl.var("n")))
    before = s.func
    s.compute_at("P", "C.i")
    s.compute_at("Q", "C.i")
    s.split("C.i", [None, 3])
    s.fission("C.i.1", after="P")
    s.fission("C.i.0", after="P")
    assert [loop.name for loop in s.loops("C")] == ["C.i.0.rest", "C.i.1.rest", "C.j"]
    check_kernel(before, s, *({"n": n} for n in (1, 3, 7)))


@pytest.mark.parametrize("whole", [False, True])
def test_fission_of_what_is_repeated_and_read_in_part(whole):
    a = tl.placeholder((5, 3), name="A")
    p = tl.compute((5, 3), lambda i, j: a[i, j] + 1.0, name="P")
    s = Schedule(tl.compute((7,), lambda i: tl.if_then_else(i >= 2, p[i - 2, (i * 2 + 1) % 3], 0.0), name="C"))
    before = s.func
    s.compute_at("P", "C.i")
    s.store_at("P", None)
    if whole:
        s.blockize(s.loops("P")[-1])
    s.fission("C.i", after="P")
    check_kernel(before, s)


def test_fission_refuses_what_iterations_do_not_repeat():
    total = row_sum(11, 5)
    s = Schedule(tl.compute((7, 11), lambda i, j: total[10 - j], name="D"))
    s.compute_at("C", "D.i")
    refused(s, "loop_carries", lambda: s.fission("D.i", after="C"))
    s.decompose_reduction("C", "C.k_1")
    refused(s, "loop_carries", lambda: s.fission("D.i", after="C.init"))
    s = Schedule(running())
    s.fuse("C.t", "C.x")
    refused(s, "loop_carries", lambda: s.fission("C.t_x", after="P"))


def test_fission_refuses():
    s = Schedule(matmul(10, 12, 7))
    error = refused(s, "nothing_after", lambda: s.fission("C.j", after="C"))
    assert "further in" in error.hint
    s.decompose_reduction("C", "C.k")
    error = refused(s, "nothing_after", lambda: s.fission("C.j", after="C"))
    assert error.hint == "C.init"
    s.annotate("C.j", "note", 1)
    refused(s, "loop_annotated", lambda: s.fission("C.j", after="C.init"))
    two = Schedule(chain())
    refused(two, "not_around", lambda: two.fission("C.i", after="P"))


def test_fission_refuses_to_use_a_buffer_before_its_init():
    """for k in 1: D reads C, whose init runs before the loop; then C adds to it."""
    c = row_sum(4, 1)
    func = Schedule(tl.compute(c.shape, lambda i: c[i] + 1.0, name="D")).func
    alloc = next(find(func, Alloc))
    reduction, reader = alloc.body.stmts
    k = reduction.body
    use = substitute(reader.body, {reader.var: reduction.var})
    body = reduction.replace(body=k.replace(body=seq(use, k.body)))
    s = Schedule(func.with_body(replace_node(func.body, alloc, alloc.replace(body=body))))
    refused(s, "init_before", lambda: s.fission("C.k", after="D"))


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
