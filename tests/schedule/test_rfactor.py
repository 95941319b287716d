"""rfactor."""

import numpy as np
import pytest

import tensorlang as tl
from tensorlang.ir.nodes import SERIAL, Block, For, Func, If, Store, Var, const, seq
from tensorlang.ir.walk import find, replace_node
from tensorlang.schedule.schedule import Schedule
from tests.schedule.programs import (
    before_and_after,
    check_numbers,
    last_positive,
    matmul,
    outputs,
    refused,
    row_sum,
    triangle,
)


def argmax(m=5, n=11):
    a, k = tl.placeholder((m, n), name="A"), tl.reduce_axis(n, name="k")

    def combine(x, y):
        first = (x[1] > y[1]) | ((x[1] == y[1]) & (x[0] < y[0]))
        return tl.select(first, x[0], y[0]), tl.select(first, x[1], y[1])

    largest = tl.reducer(combine, lambda _, t: (1 << 40, tl.min_value(t)))
    return tl.compute((m,), lambda i: largest((k, a[i, k]), axis=k), name="C")


def total(n=10):
    a, k = tl.placeholder((n,), name="A"), tl.reduce_axis(n, name="k")
    return tl.compute((), lambda: tl.sum(a[k], axis=k), name="C")


def check_compiled(s):
    """The kernel computes what the interpreter does."""
    inputs = [p for p in s.func.params if p not in s.func.outputs]
    rng = np.random.default_rng(1)
    arrays = [rng.integers(-4, 5, [d.value for d in p.shape]).astype(p.dtype) for p in inputs]
    expected, got = tl.interpret(s, *arrays), tl.build(s)(*arrays)
    for e, g in zip(*(r if isinstance(r, tuple) else (r,) for r in (expected, got)), strict=True):
        np.testing.assert_array_equal(e, g)


def test_rfactor(golden):
    s = Schedule(total())
    before = s.func
    k0, k1 = s.split("C.k", [None, 4])
    rf = s.rfactor(k1)
    assert rf.name == "C.rf"
    assert [n.name for n in s.loops(rf)] == [k0.name, k1.name]
    assert s.block("C.rf").consumers == [s.block("C")]
    golden("schedule/rfactor", before_and_after(before, s))
    check_numbers(before, s)
    check_compiled(s)


def test_rfactor_of_a_tuple(golden):
    s = Schedule(argmax())
    before = s.func
    _, k1 = s.split("C.k", [None, 4])
    s.rfactor(k1, 1)
    golden("schedule/rfactor_argmax", before_and_after(before, s))
    check_numbers(before, s)
    check_compiled(s)


@pytest.mark.parametrize("order", ["ijk", "kij", "ikj"])
@pytest.mark.parametrize("loop", ["C.k.0", "C.k.1"])
@pytest.mark.parametrize("factor_axis", [0, 1, -1])
def test_rfactor_in_any_order(order, loop, factor_axis):
    s = Schedule(matmul(3, 6, 10))
    before = s.func
    pairs = {axis: s.split(f"C.{axis}", [None, 4]) for axis in "ijk"}
    s.reorder(*(pairs[axis][0] for axis in order), *(pairs[axis][1] for axis in order))
    s.rfactor(loop, factor_axis)
    check_numbers(before, s)
    check_compiled(s)


def test_partial_results_in_vectors_and_threads():
    s = Schedule(total(1003))
    before = s.func
    k0, _, k2 = s.split("C.k", [4, None, 16])
    s.parallel(s.loops(s.rfactor(k0))[0])
    assert s.loop(k0).kind == "parallel"
    s.rfactor(k2)
    s.vectorize(k2)
    check_numbers(before, s)
    check_compiled(s)


def test_kinds_of_copied_loops_and_annotations_stay():
    s = Schedule(matmul(4, 8, 10))
    before = s.func
    k0, k1 = s.split("C.k", [None, 4])
    s.reorder(k0, "C.i", k1, "C.j")
    s.vectorize("C.j")
    s.unroll(k1)
    s.annotate(k1, "note", 1)
    s.annotate("C", "mark", True)
    rf = s.rfactor(k0)
    assert [n.kind for n in s.loops("C")] == ["serial", "serial", "vectorize"]
    assert s.loop(k1).annotations == {"note": 1}
    assert rf.annotations == s.block("C").annotations == {"mark": True}
    check_numbers(before, s)
    check_compiled(s)


def test_fused_reduction_loops():
    """Iterators that share a fused loop are replaced together."""
    a, i, j = tl.placeholder((3, 5), name="A"), tl.reduce_axis(3, name="y"), tl.reduce_axis(5, name="x")
    s = Schedule(tl.compute((), lambda: tl.max(a[i, j], axis=(i, j)), name="C"))
    before = s.func
    _, inner = s.split(s.fuse("C.y", "C.x"), [None, 4])
    s.rfactor(inner)
    assert [axis.kind for axis in s.block("C.rf").iters] == ["spatial", "reduce"]
    check_numbers(before, s)
    check_compiled(s)


def test_the_partial_block_moves_with_its_guard():
    """What the guard excludes is excluded by the body: new loops over the block's domain do not read too far."""
    s = Schedule(matmul(5, 6, 10))
    before = s.func
    _, k1 = s.split("C.k", [None, 4])
    s.reorder(k1, "C.i", "C.j")
    s.rfactor(k1)
    s.compute_at("C.rf", s.loops("C")[0])
    check_numbers(before, s)
    check_compiled(s)


def test_rfactor_twice_and_decompose():
    s = Schedule(row_sum(5, 37))
    before = s.func
    k0, k1, _ = s.split("C.k", [None, 3, 4])
    s.rfactor(k1)
    s.rfactor(k0)
    assert [b.name for b in s.blocks()] == ["C.rf.rf", "C.rf", "C"]
    s.decompose_reduction("C.rf", s.loops("C.rf")[1])
    check_numbers(before, s)
    check_compiled(s)


@pytest.mark.parametrize("n", [0, 1, 5, 8])
def test_symbolic_size(n):
    s = Schedule(row_sum(4, tl.var("n")))
    before = s.func
    k0, _ = s.split("C.k", [None, 4])
    s.rfactor(k0)
    check_numbers(before, s, {"n": n})


def test_open_knob():
    s = Schedule(row_sum(4, 10))
    before = s.func
    _, k1 = s.split("C.k", [None, tl.knob("t", (1, 3, 4))])
    s.rfactor(k1)
    for value in (1, 3, 4):
        literal = s.trace.instantiate({"t": value}).apply(before)
        assert [str(a) for a in outputs(before)] == [str(a) for a in outputs(literal.func)]


# ---------------------------------------------------------------------------------------------------- refusals
def test_refuses_loops_that_do_not_reduce():
    s = Schedule(matmul())
    assert refused(s, "not_reducing", lambda: s.rfactor("C.i")).hint == "C.k"
    s.decompose_reduction("C", "C.k")
    refused(s, "no_init", lambda: s.rfactor("C.k"))


def test_refuses_several_blocks():
    func = Schedule(row_sum()).func
    other = next(find(func, Block))
    both = replace_node(func, other, seq(other, other.replace(name="D")))
    s = Schedule(both)
    refused(s, "several_blocks", lambda: s.rfactor("C.k"))


def test_refuses_an_ordered_reducer():
    s = Schedule(last_positive())
    error = refused(s, "not_commutative", lambda: s.rfactor("C.k"))
    assert "C.j" in error.hint and "commutative" in error.hint


def test_an_ordered_reducer_combines_parts_in_order():
    s = Schedule(last_positive())
    before = s.func
    outer, _ = s.split("C.j", [None, 2])
    block = s.rfactor(outer)
    assert {it.kind for b in (block.name, "C") for it in s.block_node(b).iters} == {"spatial", "ordered"}
    check_numbers(before, s)


def test_refuses_what_is_no_plain_update():
    func = Schedule(row_sum()).func
    block = next(find(func, Block))
    s = Schedule(replace_node(func, block, block.replace(init=block.init.replace(value=block.init.value + 1.0))))
    refused(s, "not_an_update", lambda: s.rfactor("C.k"))
    shifted = Store(block.body.buffer, (const(0),), block.body.value)
    s = Schedule(replace_node(func, block, block.replace(body=shifted)))
    refused(s, "not_an_update", lambda: s.rfactor("C.k"))


@pytest.mark.parametrize("axis", [2, -3, "i", None])
def test_refuses_axes_that_are_not_there(axis):
    s = Schedule(row_sum())
    assert refused(s, "bad_factor_axis", lambda: s.rfactor("C.k", axis)).hint == "0 to 1, or -1 to -2"


def test_refuses_extents_that_depend_on_loops():
    func = Schedule(row_sum(8, 8)).func
    inner = func.body.body
    s = Schedule(func.with_body(func.body.replace(body=inner.replace(extent=func.body.var + 1))))
    refused(s, "extent_depends", lambda: s.rfactor("C.k"))


def test_refuses_extents_that_may_be_negative():
    func = Schedule(row_sum(4, tl.var("n"))).func
    inner = func.body.body
    s = Schedule(func.with_body(func.body.replace(body=inner.replace(extent=inner.extent - 3))))
    refused(s, "extent_negative", lambda: s.rfactor("C.k"))


def test_refuses_loops_that_repeat_the_reduction():
    func = Schedule(row_sum()).func
    inner = func.body.body
    s = Schedule(
        func.with_body(func.body.replace(body=inner.replace(body=For(Var("C.r"), const(3), SERIAL, inner.body))))
    )
    refused(s, "visits_twice", lambda: s.rfactor("C.k"))


def test_refuses_conditions_on_the_way():
    func = Schedule(row_sum()).func
    block = next(find(func, Block))
    s = Schedule(replace_node(func, block, If(func.body.body.var < 3, block)))
    refused(s, "conditional", lambda: s.rfactor("C.k"))


def test_refuses_guards_that_mix_loops():
    func = Schedule(row_sum()).func
    block = next(find(func, Block))
    below = block.replace(predicate=func.body.body.var < func.body.var)
    s = Schedule(replace_node(func, block, below))
    error = refused(s, "mixed_guard", lambda: s.rfactor("C.k"))
    assert "C.i" in error.message


def test_refuses_results_that_are_used_inside():
    c = row_sum(4, 5)
    func = Schedule(tl.compute(c.shape, lambda i: c[i] + 1.0, name="D")).func
    d = next(find(func, Block, lambda b: b.name == "D"))
    block = next(find(func, Block))
    alloc_body = func.body.body.stmts[0]
    moved = seq(block, d.replace(bindings=(alloc_body.var,)))
    s = Schedule(func.with_body(func.body.replace(body=replace_node(alloc_body, block, moved))))
    refused(s, "used_inside", lambda: s.rfactor("C.k"))


def test_spatial_blocks_are_left_alone():
    s = Schedule(triangle())
    assert isinstance(s.func, Func)
    refused(s, "not_reducing", lambda: s.rfactor("C.j"))
