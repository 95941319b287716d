import pytest

import tensorlang as tl
from tensorlang import display
from tests.schedule.programs import chain, matmul


def test_text(golden):
    s = tl.Schedule(matmul(10, 12, 7))
    s.split("C.i", [None, 4])
    golden("display/diff", str(s.diff()))


def test_several_steps_since_a_copy(golden):
    s = tl.Schedule(chain())
    before = s.copy()
    s.compute_at("P", "C.i")
    s.vectorize("C.j")
    golden("display/diff_since", str(s.diff(before)))


def test_nothing_done_is_no_difference():
    s = tl.Schedule(matmul())
    assert {mark for mark, _ in s.diff().lines} == {" "} and s.diff().title == ""


def test_a_refused_step_leaves_the_last_difference():
    s = tl.Schedule(matmul())
    s.parallel("C.i")
    shown = str(s.diff())
    with pytest.raises(tl.ScheduleError):
        s.vectorize("C.k")
    assert str(s.diff()) == shown and shown.startswith("parallel(C.i)")


def test_lines_lead_from_before_to_after():
    s = tl.Schedule(matmul())
    before = str(s)
    s.tile(["C.i", "C.j"], [4, 4])
    lines = display.diff(before, s).lines
    assert [line for mark, line in lines if mark != "-"] == str(s).splitlines()
    assert [line.strip() for mark, line in lines if mark != "+"] == [line.strip() for line in before.splitlines()]


def test_html_says_the_same():
    s = tl.Schedule(matmul())
    s.parallel("C.i")
    html = s.diff()._repr_html_()
    assert html.count('class="row gone"') == html.count('class="row added"') == 1
    assert "parallel C.i in 10:" in html
