"""Schedule.instantiate: numbers take the place of knobs at once, and it is as if all steps had been done with them."""

import pytest

import tensorlang as tl
from tensorlang.ir.walk import same
from tensorlang.schedule.schedule import Schedule
from tests.schedule.programs import check_numbers, matmul
from tests.schedule.test_symbolic import K, M, N, cached, covered, knob, tiled, twice, vectors


@pytest.mark.parametrize("sketch", [tiled, covered, twice, cached])
def test_it_makes_what_a_replay_makes(sketch):
    s = Schedule(matmul(M, N, K))
    start = s.func
    sketch(s)
    compared = 0
    for vector in vectors(s, 10):
        try:
            replayed = s.trace.instantiate(vector).apply(start)
        except tl.ScheduleError:
            with pytest.raises(tl.ScheduleError) as caught:
                s.instantiate(vector)
            assert caught.value.reason == "constraint"
            continue
        made = s.instantiate(vector)
        assert same(made.func, replayed.func) or str(tl.lower(made)) == str(tl.lower(replayed)), vector
        assert (made.trace, made.constraints) == (replayed.trace, ())
        compared += 1
    assert compared > 1


def packed(s: Schedule, width: tl.Expr) -> None:
    """Panels of B, and partial sums in lanes: knobs in shapes, in subscripts, in iterators and in a condition."""
    copy = s.cache_read("C", "B", "packed")
    s.transform_layout(copy, lambda k, j: (j // width, k, j % width))
    _, lane = s.split("C.k", [None, width])
    s.rfactor(lane, factor_axis=-1)


def test_knobs_in_shapes_and_blocks():
    s = Schedule(matmul(10, 11, 12))
    before = s.func
    packed(s, knob("w", 4, 5))
    for width in (4, 5):
        other = Schedule(before)
        packed(other, width)
        made = s.instantiate({"w": width})
        assert same(made.func, other.func)
        check_numbers(before, made)
    assert made.buffers()["B.packed"].shape[2].value == 5
    assert s.buffers()["B.packed"].shape[2].name == "w"  # this one stays as it was


def test_steps_go_on_from_there():
    s = Schedule(matmul(10, 11, 12))
    before = s.func
    t, u = knob("t", 2, 5), knob("u", 3, 4)
    s.split("C.i", [None, t])
    s.split("C.k", [None, u])
    half = s.instantiate({"t": 5})
    assert list(half.trace.knobs) == ["u"]
    done = half.instantiate({"u": 4})
    done.parallel("C.i.0")
    done.vectorize(done.split("C.j", [None, 4])[1])
    check_numbers(before, done)
    with pytest.raises(tl.ScheduleError, match=r"consumed by step 1: split\(C.i, \[None, 5\]"):
        done.loop("C.i")


def test_numbers_that_a_knob_does_not_have_or_that_break_a_constraint():
    s = Schedule(matmul(10, 11, 12))
    s.split("C.i", [knob("a", 1, 3), knob("b", 4, 9)])
    with pytest.raises(tl.ScheduleError, match="7 is not a choice of knob a") as caught:
        s.instantiate({"a": 7, "b": 4})
    assert (caught.value.reason, caught.value.hint) == ("knob_value", "1, 3")
    with pytest.raises(tl.ScheduleError, match="does not hold for a = 1, b = 9"):
        s.instantiate({"a": 1, "b": 9})
    assert s.instantiate({"a": 3, "b": 4}).loops()[0].known_extent == 3


def test_a_moved_block_that_makes_all_at_once_is_left_to_a_replay():
    s = Schedule(matmul(10, 11, 12))
    before = s.func
    tile, _ = s.split("C.j", [None, knob("t", 4, 10, 11, 16)])
    s.reorder(tile, "C.i")
    s.compute_at(s.cache_read("C", "B", "local"), tile)
    check_numbers(before, s.instantiate({"t": 4}))
    check_numbers(before, s.instantiate({"t": 10}))
    with pytest.raises(tl.ScheduleError, match="makes all of"):
        s.instantiate({"t": 11})
    with pytest.raises(tl.ScheduleError, match=r"an iteration makes all of B\.local along j") as caught:
        s.instantiate({"t": 16})
    assert caught.value.reason == "whole_box"


def test_the_init_of_nothing_runs_whatever_the_numbers():
    a, k = tl.placeholder((3, 0), name="A"), tl.reduce_axis(0, "k")
    s = Schedule(tl.compute((3,), lambda i: tl.sum(a[i, k], axis=k), name="C"))
    before = s.func
    s.split("C.k", [1, knob("t", 2, 4)])
    check_numbers(before, s.instantiate({"t": 2}))
