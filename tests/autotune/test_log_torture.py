"""The torture of tests/tools/log_torture.py, small."""

import pytest

from autotune.database import Database
from autotune.task import ScheduleError
from autotune.tuner import best_known
from autotune.workload import parse
from tests.tools import log_torture
from tests.tools.log_torture import STEP, record


def test_a_killed_writer_loses_at_most_its_last_record(tmp_path):
    assert log_torture.kill_writers(tmp_path / "log.jsonl", 20)["acknowledged"] >= 20


def test_writers_beside_each_other(tmp_path):
    log_torture.write_together(tmp_path / "log.jsonl", 4, 100)


def test_a_log_cut_anywhere(tmp_path):
    log_torture.cut_everywhere(tmp_path / "log.jsonl")


def test_a_hostile_log_is_refused_line_by_line(tmp_path):
    log_torture.read_hostile(tmp_path / "log.jsonl", tmp_path / "mark")


@pytest.mark.parametrize(
    "args",
    [
        {"loop": "__class__", "factors": [None, 4], "tail": "guard"},
        {"loop": "C.i", "factors": [10**30, None, None], "tail": "guard"},
        {"loop": "C.i", "factors": {"expr": ["floordiv", "x", 0]}, "tail": "guard"},
        {"loop": "C.i", "factors": None, "tail": {"expr": "__import__('os')"}},
        {"self": 1},
    ],
)
def test_steps_of_a_known_name_that_make_no_sense_are_passed_over(args):
    task = parse("matmul:8,8,8")
    records = [record("k", n) for n in range(2)]
    records[0].trace["steps"] = [{**STEP, "args": args}]
    with pytest.raises(ScheduleError):
        task.replay(records[0].trace, task.names)
    records = [type(r)(**{**vars(r), "names": task.names}) for r in records]
    with pytest.warns(UserWarning, match="does not fit matmul:8,8,8"):
        known, schedule = best_known(task, records)
    assert known.knobs == {"n": 1}
    assert schedule.loops("C")[0].name == "C.i.0"


def test_a_full_disk_loses_nothing(tmp_path, monkeypatch):
    """/dev/full has no room, ever; then the log is a file again."""
    database = Database("/dev/full")
    with pytest.warns(UserWarning, match="/dev/full: No space left on device; what is measured"):
        database.append([record("a", 0)])
    database.append([record("a", 1)])  # with no further warning
    assert len(database.records("a")) == 2
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    rescued = database.rescue()
    assert rescued.parent == tmp_path
    assert Database(rescued).records() == database.records()
    assert database.rescue() is None

    with pytest.warns(UserWarning):
        database.append([record("a", 2)])
    database.path = tmp_path / "log.jsonl"
    database.append([record("a", 3)])
    assert [r.knobs["n"] for r in Database(database.path).records()] == [2, 3]
    assert database.rescue() is None


def test_a_write_that_ends_half_way_leaves_no_trace(tmp_path):
    """The limit on the size of files stands for a disk that gets full in the middle of a record."""
    import resource
    import signal

    path = tmp_path / "log.jsonl"
    Database(path).append([record("a", 0)])
    size = path.stat().st_size
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 20, before[1]))
    try:
        database = Database(path)
        with pytest.warns(UserWarning, match="File too large"):
            database.append([record("a", 1)])
        assert path.stat().st_size == size
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    database.append([record("a", 2)])
    assert [r.knobs["n"] for r in Database(path).records()] == [0, 1, 2]
