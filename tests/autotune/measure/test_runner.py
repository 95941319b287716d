from pathlib import Path

from autotune.measure.outcome import Limits, Status
from autotune.measure.runner import LocalRunner

LIMITS = Limits(build_seconds=0.7, run_seconds=0.7, memory_bytes=1 << 30)


def test_jobs_end_one_by_one_whatever_they_do():
    jobs = [{"run": "segfault"}, {}, {"build": "hang"}, {"run": "wrong"}, {"seconds": 0.5}]
    with LocalRunner({}, LIMITS, entry="tests.autotune.fakes:entry") as runner:
        ends = list(runner.measure(jobs))
        scratch = Path(runner._scratch)
        assert scratch.is_dir()
    assert [index for index, _ in ends] == [0, 1, 2, 3, 4]
    statuses = [outcome.status for _, outcome in ends]
    assert statuses == [Status.CRASH, Status.OK, Status.BUILD_TIMEOUT, Status.WRONG_ANSWER, Status.OK]
    assert ends[4][1].seconds == 0.5
    assert ends[2][1].wall_seconds >= 0.7
    assert not scratch.exists()
