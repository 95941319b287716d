"""fission."""

from typing import Any

import pytest

import tensorlang as tl
from tensorlang.ir import ops
from tensorlang.ir.nodes import (
    SERIAL,
    Alloc,
    Block,
    For,
    Func,
    Load,
    Store,
    Var,
    const,
    seq,
)
from tensorlang.ir.walk import find, replace_node, substitute
from tensorlang.schedule.schedule import Schedule
from tests.schedule.programs import (
    before_and_after,
    biased_matmul,
    chain,
    check_kernel,
    check_numbers,
    last_positive,
    matmul,
    refused,
    row_sum,
    running,
)


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
