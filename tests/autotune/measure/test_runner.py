from pathlib import Path

import pytest

from autotune.measure.outcome import Limits, Status
from autotune.measure.runner import Cores, LocalRunner, available

LIMITS = Limits(build_seconds=0.7, run_seconds=0.7, memory_bytes=1 << 30)
FIRST, LAST = available()[0], available()[-1]
FAKES = "tests.autotune.fakes:entry"
JOBS = [{"run": "segfault"}, {}, {"build": "hang"}, {"run": "wrong"}, {"seconds": 0.5}]
STATUSES = [Status.CRASH, Status.OK, Status.BUILD_TIMEOUT, Status.WRONG_ANSWER, Status.OK]


@pytest.mark.parametrize(
    "cores", [Cores((FIRST,), ()), Cores((FIRST, LAST), ()), Cores((FIRST,), (LAST,))], ids=["one", "shared", "spare"]
)
def test_every_job_ends_whatever_the_others_do(cores):
    with LocalRunner({}, LIMITS, FAKES, cores) as runner:
        ends = dict(runner.measure(JOBS))
        scratch = Path(runner._scratch)
        assert scratch.is_dir()
    assert [ends[n].status for n in range(5)] == STATUSES
    assert ends[4].seconds == 0.5
    assert ends[2].wall_seconds >= 0.7
    assert not scratch.exists()


def test_builders_pause_while_a_candidate_runs_unless_a_core_is_spare(tmp_path):
    """One writes to a file while it builds, the other watches the file while it runs."""
    grown = {}
    plans = {"shared": (Cores((FIRST, LAST), ()), 0.5), "spare": (Cores((FIRST,), (LAST,)), 15)}
    for name, (cores, seconds) in plans.items():
        file = tmp_path / name
        jobs = [{"build": f"wait for {file}", "run": f"watch {file} for {seconds}"}, {"build": f"write to {file}"}]
        with LocalRunner({}, Limits(build_seconds=60, run_seconds=60), FAKES, cores) as runner:
            ends = dict(runner.measure(jobs))
        assert [ends[n].status for n in range(2)] == [Status.OK, Status.OK]
        grown[name] = ends[0].seconds
    assert grown["shared"] == 0
    assert grown["spare"] > 0


def test_the_first_worker_does_the_work_of_one_that_cannot_be_set_up(tmp_path):
    with LocalRunner({"only one": str(tmp_path / "mark")}, LIMITS, FAKES, Cores((FIRST, LAST), ())) as runner:
        ends = dict(runner.measure([{"build": "sleep 0.2"}] * 6))
    assert [ends[n].status for n in range(6)] == [Status.OK] * 6


def test_only_a_paused_builder_is_not_late():
    """The build takes 0.5 s of its 0.7 and is paused for another 0.5 s meanwhile."""
    jobs = [{"run": "sleep 0.5"}, {"build": "sleep 0.5"}]
    with LocalRunner({}, LIMITS, FAKES, Cores((FIRST, LAST), ())) as runner:
        ends = dict(runner.measure(jobs))
    assert [ends[n].status for n in range(2)] == [Status.OK, Status.OK]


def test_the_seconds_to_beat_are_those_of_the_moment(tmp_path):
    jobs = [{"best": None}, {"best": None, "run": "tell best"}]
    seen = []
    with LocalRunner({}, LIMITS, FAKES, Cores((FIRST,), ())) as runner:
        for _, outcome in runner.measure(jobs):
            seen.append(outcome.seconds)
            jobs[1]["best"] = 0.25
    assert seen == [1e-3, 0.25]


def test_whoever_wants_no_more_outcomes_leaves_no_work_behind():
    with LocalRunner({}, LIMITS, FAKES, Cores((FIRST, LAST), ())) as runner:
        for _, outcome in runner.measure([{}, {"build": "hang"}, {}]):
            assert outcome.status is Status.OK
            break
        assert [o.status for _, o in runner.measure([{}, {}])] == [Status.OK, Status.OK]


def test_cores_are_shared_by_what_kernels_need():
    assert Cores.plan(2, [4, 5]) == Cores((4, 5), ())
    assert Cores.plan(2, [4, 5, 6, 7]) == Cores((4, 5), (6, 7))
    assert Cores.plan(2, [4, 5, 6, 7]).pinned() == {"run": [4, 5], "build": [6, 7]}
    assert [Cores.plan(t, range(n)).workers for t, n in ((1, 1), (2, 2), (64, 64), (1, 2), (2, 64))] == [1, 2, 8, 2, 9]
