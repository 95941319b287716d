"""Builders and one device, both played by fakes."""

from autotune.measure.gpu_runner import GpuRunner
from autotune.measure.outcome import Limits, Status

LIMITS = Limits(build_seconds=0.7, run_seconds=0.7, memory_bytes=1 << 30)


def runner(builders=2, setup=None):
    return GpuRunner(setup or {}, LIMITS, builders, "tests.autotune.fakes:build", "tests.autotune.fakes:measure")


def test_every_job_ends_whatever_the_others_do():
    jobs = [
        {"run": "exit"},
        {},
        {"build": "hang"},
        {"build": "raise"},
        {"run": "hang"},
        {"run": "raise"},
        {"run": "wrong"},
        {"build": "segfault"},
        {"seconds": 0.5},
    ]
    with runner() as both:
        ends = dict(both.measure(jobs))
        scratch = both._scratch
        assert list(scratch.iterdir()) == []
    assert [ends[n].status.value for n in range(9)] == [
        *("CRASH", "OK", "BUILD_TIMEOUT", "BUILD_ERROR", "RUN_TIMEOUT", "RUN_ERROR", "WRONG_ANSWER", "CRASH", "OK")
    ]
    assert ends[8].seconds == 0.5 and ends[8].build_seconds > 0
    assert not scratch.exists()


def test_the_device_measures_while_others_build():
    """Each of four takes 0.3 s to build and 0.3 s to run."""
    with runner() as both:
        list(both.measure([{}, {}]))  # all processes run
        ends = list(both.measure([{"build": "sleep 0.3", "run": "sleep 0.3"}] * 4))
    assert [outcome.status for _, outcome in ends] == [Status.OK] * 4
    assert sorted(at for at, _ in ends) == [0, 1, 2, 3]


def test_what_nobody_waits_for_ends():
    with runner() as both:
        for _, outcome in both.measure([{}, {"run": "sleep 0.5"}, {"build": "sleep 0.5"}]):
            assert outcome.status is Status.OK
            break
        ends = dict(both.measure([{}]))
    assert ends[0].status is Status.OK


def test_the_seconds_to_beat_are_those_of_the_moment():
    jobs = [{"best": None}, {"best": None, "run": "tell best"}]
    with runner(builders=1) as both:
        seen = []
        for _, outcome in both.measure(jobs):
            seen.append(outcome.seconds)
            for job in jobs:
                job["best"] = 0.125
    assert seen == [1e-3, 0.125]


def test_jobs_may_be_added_while_others_are_measured():
    jobs = [{}, {}]
    with runner() as both:
        ends = []
        for at, outcome in both.measure(jobs):
            ends.append((at, outcome.status))
            if len(jobs) < 5:
                jobs.append({})
    assert sorted(ends) == [(n, Status.OK) for n in range(5)]
