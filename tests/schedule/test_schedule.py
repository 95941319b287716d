"""Schedule: handles, names, services for primitives."""

import pytest

import tensorlang as tl
from tensorlang.arith.context import Context
from tensorlang.arith.prove import proves
from tensorlang.ir.nodes import FALSE, NOTHING, TRUE, For, Seq
from tensorlang.schedule.schedule import Schedule
from tests.schedule.programs import add, chain, matmul, refused, row_sum


def test_a_schedule_of_tensors_or_of_a_func():
    c = chain()
    s = Schedule(c)
    assert s.func.params[-1].name == "C"
    assert Schedule(s.func).func is s.func
    assert [p.name for p in Schedule([c]).func.params] == ["A", "C"]
    assert "for P.i in 10:" in str(s)
    assert repr(s) == "<Schedule of C, 0 steps>"


def test_a_target_may_be_named():
    assert tl.Schedule(matmul(), target="llvm").target == tl.Target("llvm")
    with pytest.raises(tl.BuildError, match="unknown target 'tpu'"):
        tl.Schedule(matmul(), target="tpu")


def test_handles():
    s = Schedule(chain())
    assert [b.name for b in s.blocks()] == ["P", "C"]
    assert s.block("P").name == "P" and s.block(s.block("P")).name == "P"
    i, j = s.loops("P")
    assert (i.name, i.extent.value, i.kind) == ("P.i", 10, "serial")
    assert s.loop("P.j").name == s.loop(j).name == "P.j"
    assert list(s.buffers()) == ["A", "C", "P"]
    assert (repr(i), repr(s.block("C"))) == ("Loop('P.i')", "Block('C')")


def test_names_fit_wherever_handles_do():
    by_name, by_handle = Schedule(matmul()), Schedule(matmul())
    by_name.reorder("C.k", "C.i")
    i, _, k = by_handle.loops("C")
    by_handle.reorder(k, i)
    assert by_name.trace.to_json() == by_handle.trace.to_json()


def test_unknown_names_come_with_the_known_ones():
    s = Schedule(chain())
    error = refused(s, "unknown_loop", lambda: s.parallel("P.h"))
    assert "did you mean P.j or P.i?" in error.message or "did you mean P.i or P.j?" in error.message
    assert error.hint == "P.i, P.j, C.i, C.j"
    with pytest.raises(tl.ScheduleError) as caught:
        s.block("Q")
    assert (caught.value.reason, caught.value.hint) == ("unknown_block", "P, C")


def test_a_consumed_handle_names_the_step():
    s = Schedule(add())
    i, _ = s.loops("C")
    s.split(i, [None, 4])
    error = refused(s, "consumed_loop", lambda: s.parallel(i))
    assert "step 1: split(C.i, [None, 4], guard) -> C.i.0, C.i.1" in error.message
    with pytest.raises(tl.ScheduleError, match="consumed_loop"):
        _ = i.extent


def test_handles_of_another_schedule():
    s, other = Schedule(add()), Schedule(add())
    refused(s, "foreign_handle", lambda: s.parallel(other.loops("C")[0]))


def test_a_name_is_never_used_twice():
    s = Schedule(add())
    s.fuse(*s.split("C.i", [None, 4]))
    assert s.fresh("C.i.0") == "C.i.0_1"
    assert s.fresh("C.i.0") == "C.i.0_2"
    assert s.fresh("C", "block") == "C_1"
    assert s.fresh("C", "buffer") == "C_1"


def test_path_and_context():
    s = Schedule(row_sum(10, tl.var("n")))
    s.split("C.i", [None, 4])
    block = s.block_node("C")
    path = s.path(block)
    assert path[0] is s.func and [n.var.name for n in path if isinstance(n, For)] == ["C.i.0", "C.i.1", "C.k"]
    i0, i1, k = (n.var for n in path[1:])
    assert proves(i0 * 4 + i1 < 12, s.context(block))
    assert not proves(i0 * 4 + i1 < 10, s.context(block))
    assert proves(i0 * 4 + i1 < 10, s.context(block, inside=True))
    assert not proves(k < 5, s.context(block))
    assert not proves(i0 < 3, s.context(path[1]))
    assert proves(i0 < 3, s.context(path[1], inside=True))


def test_replace_keeps_sequences_flat():
    s = Schedule(chain())
    first, second = s.path(s.loop_node("P.i"))[-1].stmts
    s.replace(second, Seq((second, first)))
    stmts = s.path(s.loop_node("C.i"))[-1].stmts
    assert len(stmts) == 3 and stmts[0] is first and stmts[1] is second
    s = Schedule(chain())
    s.replace(s.loop_node("P.i"), NOTHING)
    assert [b.name for b in s.blocks()] == ["C"]
    assert not isinstance(s.path(s.loop_node("C.i"))[-1], Seq)


def test_require():
    s = Schedule(add())
    t, n = tl.knob("t", (1, 2, 8)), tl.var("n")
    ctx = Context()
    s.require(TRUE, ctx, "never", "never")
    s.require(t <= 8, ctx, "never", "never")
    assert s.constraints == ()
    s.require(t <= 4, ctx, "never", "never")
    s.require(t <= 4, ctx, "never", "never")
    assert [repr(c) for c in s.constraints] == ["t < 5"]
    assert str(s).endswith("where t < 5")
    for cond in (FALSE, t > 8, n > 3, n > t):
        with pytest.raises(tl.ScheduleError) as caught:
            s.require(cond, ctx, "too_small", "it is too small", hint="more")
        assert (caught.value.reason, caught.value.hint) == ("too_small", "more")


def test_copies_are_independent():
    s = Schedule(add())
    s.split("C.i", [None, 4])
    other = s.copy()
    other.split("C.j", [None, 4])
    s.parallel("C.i.0")
    assert [step.op for step in s.trace.steps] == ["split", "parallel"]
    assert [step.op for step in other.trace.steps] == ["split", "split"]
    assert other.loop("C.i.0").kind == "serial"


@pytest.mark.parametrize("ref", [3, None, 1.5, object()])
def test_what_is_no_handle_is_refused(ref):
    s = Schedule(matmul())
    refused(s, "bad_argument", lambda: s.parallel(ref))
    with pytest.raises(tl.ScheduleError, match="expected a block or its name"):
        s.block(ref)
