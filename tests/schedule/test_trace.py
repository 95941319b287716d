"""Traces: JSON, replay, knobs, Python source."""

import json

import pytest

import tensorlang as tl
from tensorlang.ir.nodes import Func
from tensorlang.ir.walk import same
from tensorlang.schedule.index_map import IndexMap
from tensorlang.schedule.schedule import Schedule
from tensorlang.schedule.trace import Step, Trace
from tests.schedule.programs import add, check_replay, matmul, row_sum


def scheduled() -> tuple[Func, Schedule]:
    """A schedule that uses every primitive of loops, kinds and reductions."""
    s = Schedule(matmul(10, 12, 7))
    before = s.func
    i0, j0, i1, j1 = s.tile(["C.i", "C.j"], [4, 6])
    k0, k1 = s.split("C.k", [None, 4])
    s.reorder(k0, i1, k1, j1)
    s.decompose_reduction("C", k0)
    s.parallel(s.fuse(i0, j0))
    s.vectorize(j1)
    s.unroll(k1)
    s.annotate("C", "note", "x")
    return before, s


def test_round_trip(golden):
    before, s = scheduled()
    check_replay(before, s)
    golden("schedule/trace", s.trace.to_json().replace('{"op"', '\n{"op"'))


def test_json_is_literal():
    _, s = scheduled()
    data = json.loads(s.trace.to_json())
    assert data["steps"][0] == {
        "op": "split",
        "args": {"loop": "C.i", "factors": [None, 4], "tail": "guard"},
        "out": ["C.i.0", "C.i.1"],
    }


def test_replay_gives_the_recorded_names():
    text = Schedule(add()).trace.to_json()
    data = json.loads(text)
    data["steps"] = [{"op": "split", "args": {"loop": "C.i", "factors": [None, 4], "tail": "guard"}, "out": ["o", "p"]}]
    s = Trace.from_json(json.dumps(data)).apply(add())
    assert [loop.name for loop in s.loops("C")] == ["o", "p", "C.j"]


@pytest.mark.parametrize("out", [["o"], ["o", "p", "q"], ["o", "o"], ["C.j", "p"]])
def test_names_that_do_not_fit(out):
    trace = Trace((Step("split", {"loop": "C.i", "factors": [None, 4], "tail": "guard"}, tuple(out)),))
    s = Schedule(add())
    before = s.func
    with pytest.raises(tl.ScheduleError) as caught:
        s.apply(trace)
    assert caught.value.reason == "trace_mismatch"
    assert s.func is before and s.trace.steps == ()
    s.split("C.i", [None, 4])


def test_a_trace_that_does_not_fit_fails_at_its_step():
    _, s = scheduled()
    with pytest.raises(tl.ScheduleError) as caught:
        s.trace.apply(row_sum(10, 12))
    assert caught.value.reason == "unknown_loop"
    assert "step 2 of the trace" in caught.value.message


def test_unknown_primitive_and_arguments():
    for op in ("explode", "apply", "func", "__init__"):
        with pytest.raises(tl.ScheduleError, match="unknown_primitive"):
            Trace((Step(op, {}, ()),)).apply(add())
    with pytest.raises(tl.ScheduleError, match="trace_mismatch"):
        Trace((Step("parallel", {"where": "C.i"}, ()),)).apply(add())


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "not JSON"),
        ("[]", "must be a JSON object with an entry 'version', got []"),
        ('{"version": "1"}', "'version' of the trace must be a whole number"),
        ('{"version": 2, "knobs": {}, "steps": []}', "trace version 2"),
        ('{"version": 1, "knobs": {"t": [0]}, "steps": []}', "knob 't' must have whole numbers >= 1 as choices"),
        ('{"version": 1, "knobs": {}, "steps": 3}', "'steps' of the trace must be a list, got 3"),
        ('{"version": 1, "knobs": {}, "steps": [3]}', "step 1 must be a JSON object with an entry 'op', got 3"),
        ('{"version": 1, "knobs": {}, "steps": [{"op": "fuse", "args": {}, "out": [1]}]}', "must be a list of names"),
        ('{"version": 1, "knobs": {}, "steps": [{"op": "fuse", "args": {"x": {"expr": {}}}, "out": []}]}', "(fuse)"),
    ],
)
def test_not_a_trace(text, says):
    with pytest.raises(tl.ScheduleError) as caught:
        Trace.from_json(text)
    assert caught.value.reason == "bad_trace" and says in caught.value.message


def test_steps_that_are_no_primitives():
    trace = Trace.from_json('{"version": 1, "knobs": {}, "steps": [{"op": "copy", "args": {}, "out": []}]}')
    with pytest.raises(tl.ScheduleError, match="unknown_primitive"):
        trace.apply(matmul())
    with pytest.raises(tl.ScheduleError, match="unknown_primitive"):
        trace.as_python()


def test_knobs_stay_open_and_close():
    t, u = tl.knob("t", (1, 2, 4)), tl.knob("u", (2, 3))
    s = Schedule(matmul(10, 12, 8))
    before = s.func
    s.split("C.i", [None, t * 2])
    s.split("C.j", [None, u, t])
    stored = Trace.from_json(s.trace.to_json())
    assert [(k.name, k.choices) for k in stored.knobs.values()] == [("t", (1, 2, 4)), ("u", (2, 3))]
    check_replay(before, s)
    half = stored.instantiate({"t": 2})
    assert list(half.knobs) == ["u"]
    closed = half.instantiate({"u": 3, "unused": 5})
    assert not closed.knobs
    assert closed.steps[0].args["factors"] == [None, 4] and closed.steps[1].args["factors"] == [None, 3, 2]
    by_hand = Schedule(before)
    by_hand.split("C.i", [None, 4])
    by_hand.split("C.j", [None, 3, 2])
    assert same(closed.apply(before).func, by_hand.func)
    assert closed.to_json() == by_hand.trace.to_json()


def test_index_maps_are_stored_as_expressions():
    index_map = IndexMap.of(lambda i, j: (j // 4, i, j % 4))
    trace = Trace((Step("transform_layout", {"buffer": "B", "index_map": index_map, "pad_value": None}, ()),))
    data = json.loads(trace.to_json())
    assert data["steps"][0]["args"]["index_map"] == {
        "indices": ["i", "j"],
        "map": [["floordiv", "j", 4], "i", ["mod", "j", 4]],
    }
    again = Trace.from_json(trace.to_json())
    assert repr(again.steps[0].args["index_map"]) == repr(index_map)
    assert again.to_json() == trace.to_json()


def test_as_python_does_the_same(golden):
    before, s = scheduled()
    t = tl.knob("t", (1, 2, 4))
    s.split("C.i.1", [None, t])
    text = s.trace.as_python()
    golden("schedule/as_python", text)
    fresh = Schedule(before)
    exec(text, {"s": fresh, "tl": tl})
    assert fresh.trace.to_json() == s.trace.to_json()
    assert str(fresh) == str(s)
