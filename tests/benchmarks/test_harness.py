"""The benchmark harness: turns, tables, records, and contenders that fail."""

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks import harness, machine
from benchmarks.harness import BenchmarkError, Contender, compare

HERE = "tests.benchmarks.test_harness:"


def sleeper(seconds: float) -> Callable[[], None]:
    print("libraries may print")
    return lambda: time.sleep(seconds)


def self_timed(seconds: float) -> Callable[[], float]:
    return lambda: seconds


def variable(name: str, expected: str | None) -> Callable[[], float]:
    import os

    assert os.environ.get(name) == expected
    return lambda: 1.0


def failing() -> Callable[[], None]:
    raise ValueError("no such shape")


def dying() -> Callable[[], None]:
    import os

    os._exit(3)


def test_compares_in_turns() -> None:
    contenders = [Contender(f"{n} ms", HERE + "sleeper", {"seconds": n / 1000}, threads=1) for n in (4, 20)]
    rows = compare(contenders, turns=3, min_seconds=0.01, pause=0.0)
    assert [row.name for row in rows] == ["4 ms", "20 ms"]
    assert all(len(row.turns) == 3 and row.minimum == min(row.turns) <= row.median for row in rows)
    assert rows[0].minimum >= 0.004 and rows[1].minimum >= 0.02
    assert rows[0].versions["python"]


def test_a_contender_may_time_itself() -> None:
    (row,) = compare([Contender("own", HERE + "self_timed", {"seconds": 2.5})], turns=2, min_seconds=0.0, pause=0.0)
    assert row.median == 2.5 and row.spread == 0


def test_environment_of_contenders(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Prescott")
    contenders = [
        Contender(name, HERE + "variable", {"name": name, "expected": expected}, threads=3, environment={"MINE": "x"})
        for name, expected in {
            "OPENBLAS_CORETYPE": None,
            "OPENBLAS_NUM_THREADS": "3",
            "TENSORLANG_NUM_THREADS": "3",
            "MINE": "x",
        }.items()
    ]
    assert len(compare(contenders, turns=2, min_seconds=0.0, pause=0.0)) == 4


@pytest.mark.parametrize("setup, message", [("failing", "no such shape"), ("dying", "status 3")])
def test_failing_contenders(setup: str, message: str) -> None:
    with pytest.raises(BenchmarkError, match=message):
        compare([Contender("broken", HERE + setup)])


def test_table_and_record(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(harness, "RESULTS", tmp_path)
    rows = [harness.Row(name, 2, s, s / 10, s, (s, s), {}) for name, s in (("base", 0.002), ("fast", 0.001))]
    harness.show("a title", rows, work=2e6, unit="GFLOP/s")
    table = capsys.readouterr().out.splitlines()
    assert table[1] == "a title"
    assert table[3].split() == ["base", "2", "2000.00", "10.0%", "1.0", "1.000"]
    assert table[4].split() == ["fast", "2", "1000.00", "10.0%", "2.0", "2.000"]
    for _ in range(2):
        path = harness.record("some", rows, size=7)
    entries = [json.loads(line) for line in path.read_text().splitlines()]
    assert len(entries) == 2 and entries[1]["size"] == 7
    assert entries[1]["rows"][1]["median"] == 0.001 and entries[1]["machine"]["cores"] == machine.cores()
