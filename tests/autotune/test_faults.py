"""The run among faults of tests/tools/fault_run.py, small; `python -m tests.tools.fault_run` is the big one."""

from tests.tools import fault_run


def test_a_run_among_faults():
    report = fault_run.run(candidates=56, faults=14, free=False)
    assert report["wrongly_classified"] == []
    assert report["winner_is_the_fault_free_one"]
    assert report["processes_left"] == []
    assert report["candidates"] >= 56
    assert sum(n for status, n in report["statuses"].items() if status != "OK") == 14
