import io

from rich.console import Console

from autotune.cost_model import Quality
from autotune.panel import Display
from autotune.progress import Lines, Quiet, Snapshot, choose, seconds, table
from autotune.record import Record


def snapshot():
    state = Snapshot("matmul", trials=64, done=16, peak_gflops=200.0, phase="measuring")
    state.best = Record("k", "matmul", {}, "tile", {}, {}, "OK", seconds=1e-3, flops=10**8)
    state.quality, state.overall = Quality(16, 0.875, 0.5), Quality(64, 0.75, 0.25)
    state.space, state.scored = 2000, 1999
    for reason in ("segfault", "another"):
        state.fail(Record("k", "matmul", {}, "tile", {}, {}, "CRASH", reason=reason))
    return state


def test_the_live_panel_shows_what_matters():
    stream = io.StringIO()
    display = Display(Console(file=stream, force_terminal=True, width=110))
    display.update(snapshot())
    other = snapshot()
    other.task = "another\x1b[31m"
    display.finish(other)
    display.close()
    shown = stream.getvalue()
    for part in (
        "16/64 trials",
        "1 ms, 100.0 GFLOP/s, 50 % of peak",
        "s left",
        "CRASH",
        "segfault",
        "0.88",
        "0.75",
        "99 % of 2000 candidates scored",
        "measuring",
        "another",
    ):
        assert part in shown
    assert "\x1b[31manother" not in shown


def test_lines_are_few_and_tell_each_kind_of_failure_once():
    stream = io.StringIO()
    lines = Lines(stream)
    for _ in range(100):
        lines.update(snapshot())
    lines.finish(snapshot())
    lines.close()
    said = stream.getvalue().splitlines()
    assert len(said) == 4
    assert said[0] == "  first CRASH: segfault"
    assert said[1].startswith("matmul · 16/64 trials · best 1 ms, 100.0 GFLOP/s, 50 % of peak · 2 failed")
    assert said[3] == "  2 CRASH, for example: segfault"


def test_quiet_and_the_choice(capsys):
    assert isinstance(choose(quiet=True), Quiet)
    assert isinstance(choose(), Lines)
    Quiet().update(snapshot())
    assert capsys.readouterr() == ("", "")


def test_before_the_first_trial_nothing_is_promised():
    state = Snapshot("matmul", trials=64)
    assert state.seconds_left is None


def test_units_and_tables():
    assert [seconds(s) for s in (2.0, 1.5e-2, 3.25e-6, 4e-10)] == ["2 s", "15 ms", "3.25 us", "0.4 ns"]
    assert table([("a", "10"), ("bcd", "2")], ("name", "n")) == "name   n\na     10\nbcd    2"
