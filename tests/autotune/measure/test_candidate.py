import json
import time

import numpy as np
import pytest

from autotune.measure.candidate import Reference, entry
from autotune.measure.outcome import WrongAnswer
from autotune.measure.racing import MORE_RUNS
from autotune.workload import parse


@pytest.fixture
def task():
    return parse("matmul:9,10,11")


@pytest.fixture
def reference(task, tmp_path):
    return Reference(task, 0, tmp_path)


class Fake:
    """A kernel that does what `act(a, b, out)` does and claims to take `seconds`."""

    def __init__(self, act, seconds=(1.0,)):
        self.act, self.seconds, self.asked = act, seconds, []

    def __call__(self, a, b, out):
        self.act(a, b, out)

    def time(self, a, b, out, repeat, min_seconds):
        self.asked.append(repeat)
        return type("Timing", (), {"runs": (self.seconds * repeat)[:repeat]})


def right(a, b, out):
    np.matmul(a, b, out=out)


def test_right_answers_are_timed(reference):
    fake = Fake(right, (1.0, 1.01, 1.02, 1.03))
    assert reference.measure(fake, 0, None) == {"seconds": 1.01, "spread": pytest.approx(0.01 / 1.01), "runs": 5}


def test_runs_that_differ_are_repeated_up_to_a_limit(reference):
    fake = Fake(right, (1.0, 2.0, 3.0, 4.0, 5.0))
    done = reference.measure(fake, 0, None)
    assert (done["runs"], sum(fake.asked)) == (MORE_RUNS, MORE_RUNS)
    assert done["spread"] > 0.3


def test_a_candidate_that_loses_while_it_is_repeated_is_cut_short(reference):
    fake = Fake(right, (1.0, 9.0, 9.0, 9.0, 9.0))
    assert reference.measure(fake, 0, best=1.0)["runs"] == 5


def test_cold_runs_are_single_calls_after_the_caches_were_emptied(task, tmp_path):
    fake = Fake(right)
    reference = Reference(task.with_cold_caches(), 0, tmp_path)
    before = int(reference._flush[0])
    done = reference.measure(fake, 0, None)
    assert fake.asked == [] and 5 <= done["runs"] <= MORE_RUNS
    assert int(reference._flush[0]) == (before + done["runs"]) % 256
    assert len(reference._flush) > task.target.l3


def test_losers_are_cut_short(reference):
    fake = Fake(right)
    assert reference.measure(fake, 0, best=1e-9)["runs"] == 2
    assert fake.asked == [2]


def test_one_disturbed_run_does_not_make_a_loser(reference):
    fake = Fake(right, (9.0, 1.0, 1.0, 1.0, 1.0))
    done = reference.measure(fake, 0, best=1.0)
    assert (done["seconds"], done["runs"]) == (1.0, MORE_RUNS)


def test_the_hopeless_are_called_once_more_and_not_timed(reference):
    def slow(a, b, out):
        time.sleep(0.005)
        right(a, b, out)

    fake = Fake(slow)
    assert 0.005 <= reference.measure(fake, 0, best=1e-3)["seconds"] < 1
    assert fake.asked == []


def test_a_slow_first_call_is_forgiven(reference):
    calls = []

    def cold(a, b, out):
        calls.append(time.sleep(0.0 if calls else 0.3))
        right(a, b, out)

    fake = Fake(cold)
    assert reference.measure(fake, 0, best=0.1)["seconds"] == 1.0


@pytest.mark.parametrize(
    "act",
    [
        lambda a, b, out: None,
        lambda a, b, out: np.matmul(a, b + 1e-3, out=out),
        lambda a, b, out: out.__setitem__(slice(0, 8), (a @ b)[:8]),
    ],
    ids=["writes nothing", "is a little off", "forgets the last row"],
)
def test_wrong_answers_are_refused_and_never_timed(reference, act):
    fake = Fake(act)
    with pytest.raises(WrongAnswer, match=r"C\[\d, \d\] is"):
        reference.measure(fake, 1, None)
    assert fake.asked == []


def test_an_answer_left_over_from_the_candidate_before_does_not_count(reference):
    reference.measure(Fake(right), 0, None)
    with pytest.raises(WrongAnswer, match="is nan"):
        reference.measure(Fake(lambda a, b, out: None), 0, None)


def test_workers_share_the_reference_through_files(task, tmp_path, monkeypatch):
    Reference(task, 0, tmp_path)
    monkeypatch.setattr(type(task), "plain", lambda self: pytest.fail("computed again"))
    Reference(task, 0, tmp_path).measure(Fake(right), 1, None)


def test_the_entry_says_when_it_is_built(task, tmp_path):
    run = entry({"task": task.to_json(), "seed": 0, "scratch": str(tmp_path)})
    told = []
    trace = json.loads(task.schedule().trace.to_json())
    done = run({"trace": trace, "names": task.names, "number": 0, "best": None}, lambda: told.append("built"))
    assert told == ["built"]
    assert done["seconds"] > 0
