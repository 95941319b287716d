"""What @primitive and @composition add to a step."""

import numpy as np
import pytest

import tensorlang as tl
from tensorlang.errors import VerifyError
from tensorlang.ir.nodes import For
from tensorlang.schedule.index_map import IndexMap
from tensorlang.schedule.primitive import composition, primitive
from tensorlang.schedule.schedule import Schedule
from tests.schedule.programs import add, matmul, refused

PRIMITIVES = [method for method in vars(Schedule).values() if hasattr(method, "signature")]


@pytest.mark.parametrize("method", PRIMITIVES, ids=lambda m: m.__name__)
def test_every_primitive_says_what_it_requires_and_does(method):
    assert "requires" in method.__doc__ and "rewrite" in method.__doc__


@primitive
def rename(s, loop, to, keep=0):
    """Rename a loop, for these tests."""
    node = s.loop_node(loop)
    s.replace(node, node.replace(extent=node.extent + keep))
    if to == "refused":
        s.refuse("not_today", "it is not the day", at=[s.loop_node(loop)], hint="tomorrow")
    if to == "broken":
        s.replace(s.loop_node(loop), node.replace(body=For(node.var, node.extent, "serial", node.body)))
    if to == "stopped":
        raise KeyboardInterrupt
    return s.fresh(to)


def test_a_step_is_recorded_with_all_arguments():
    s = Schedule(add())
    assert rename(s, s.loops("C")[0], to="x") == "x"
    (step,) = s.trace.steps
    assert (step.op, step.args, step.out) == ("rename", {"loop": "C.i", "to": "x", "keep": 0}, ("x",))
    assert str(step) == "rename(C.i, x, 0) -> x"


def test_a_refused_step_is_located_and_undone():
    s = Schedule(add())
    error = refused(s, "not_today", lambda: rename(s, "C.i", "refused", keep=1))
    assert error.oneline == "rename(C.i, refused, 1): it is not the day [not_today]"
    assert "for C.i in 11:\n  ^^^" in error.excerpt
    assert str(error).endswith("legal here: tomorrow")


@pytest.mark.parametrize(("how", "error"), [("broken", VerifyError), ("stopped", KeyboardInterrupt)])
def test_whatever_fails_is_undone(how, error):
    s = Schedule(add())
    before = s.func
    with pytest.raises(error):
        rename(s, "C.i", how)
    assert s.func is before and s.trace.steps == ()


def test_wrong_arguments():
    s = Schedule(add())
    with pytest.raises(TypeError, match="loop"):
        s.split(factors=[4])
    refused(s, "bad_argument", lambda: s.annotate("C", "note", object()))


def test_arguments_become_plain():
    s = Schedule(add())
    s.split("C.i", (None, np.int64(4)))
    assert s.trace.steps[0].args["factors"] == [None, 4]
    rename(s, "C.j", to=s.func.params[0])
    assert s.trace.steps[1].args["to"] == "A"


def test_a_composition_is_all_or_nothing():
    @composition
    def twice(s, loop, factor):
        outer, inner = s.split(loop, [None, factor])
        return outer, *s.split(inner, [None, factor], tail="guard" if factor > 1 else "none")

    s = Schedule(matmul())
    refused(s, "unknown_tail", lambda: twice(s, "C.i", 1))
    twice(s, "C.i", 3)
    assert [step.op for step in s.trace.steps] == ["split", "split"]


def test_index_maps():
    index_map = IndexMap.of(lambda i, j: [j // 4, i, 0])
    assert repr(index_map) == "(i, j) -> (j // 4, i, 0)"
    x, y = tl.var("x"), tl.var("y")
    assert [repr(e) for e in index_map(x, y)] == ["y // 4", "x", "0"]
    for function in (lambda *i: i, lambda i: "i", lambda i: 1.5):
        with pytest.raises(tl.ScheduleError, match="index_map"):
            IndexMap.of(function)
