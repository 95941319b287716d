import dataclasses
import json
import warnings

import pytest

from autotune.database import Database, best, failures, rank, read, write
from autotune.record import Record, parse


def record(seconds=1e-3, knobs={"a": 1}, status="OK", **more):
    values = {"key": "k", "task": "matmul", "target": {"kind": "llvm"}, "sketch": "tile", "trace": {"steps": []}}
    return Record(knobs=knobs, status=status, seconds=seconds if status == "OK" else None, **{**values, **more})


def test_what_is_written_is_read(tmp_path):
    path = tmp_path / "log.jsonl"
    records = [record(), record(status="CRASH", reason="killed by SIGSEGV in run"), record(key="other")]
    Database(path).append(records)
    assert Database(path).records() == records
    assert Database(path).records("other") == records[2:]


def test_no_file_is_an_empty_log_and_none_is_memory(tmp_path):
    assert Database(tmp_path / "none.jsonl").records() == []
    database = Database()
    database.append([record()])
    assert len(database.records("k")) == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 99}, "expected version 1, got 99"),
        ({"status": "FINE"}, "unknown status 'FINE'"),
        ({"seconds": None}, "status OK without seconds"),
        ({"seconds": -1}, "seconds: expected float"),
        ({"seconds": True}, "seconds: expected float"),
        ({"knobs": {"a": 0.5}}, "knobs: expected dict"),
        ({"knobs": {"a": 1 << 80}}, "knobs: expected dict"),
        ({"trace": "__import__('os')"}, "trace: expected dict"),
        ({"key": None}, "key: expected str"),
    ],
)
def test_a_line_that_is_no_record_says_why(change, message):
    line = json.dumps({**dataclasses.asdict(record()), **change}).encode()
    with pytest.raises(ValueError, match=message):
        parse(line)


@pytest.mark.parametrize("line", [b"[" * 100_000, b"[1, 2]", b"nonsense", b"\xff\xfe", b'{"version": 1}', b"1" * 5000])
def test_hostile_lines_are_skipped(tmp_path, line):
    path = tmp_path / "log.jsonl"
    path.write_bytes(line + b"\n")
    write(path, [record()])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert len(list(read(path))) == 1
    assert len(caught) == 1


def test_the_best_is_the_fastest_by_the_median_of_its_passes():
    lucky = [record(1e-3, {"a": 1}), record(5e-3, {"a": 1}, run=1), record(5e-3, {"a": 1}, run=2)]
    steady = [record(2e-3, {"a": 2}), record(2e-3, {"a": 2}, run=1), record(2e-3, {"a": 2}, run=2)]
    broken = [record(0.5e-3, {"a": 3}), record(knobs={"a": 3}, status="WRONG_ANSWER", run=1)]
    chosen = best(lucky + steady + broken)
    assert (chosen.knobs, chosen.seconds, chosen.run) == ({"a": 2}, 2e-3, 2)
    assert [r.knobs["a"] for r in rank(lucky + steady + broken)] == [2, 1]
    assert best(broken) is None


def test_failures_are_counted_by_kind_with_an_example():
    crash, wrong = (record(knobs={"a": n}, status=s, reason=s) for n, s in enumerate(["CRASH", "WRONG_ANSWER"]))
    again = dataclasses.replace(wrong, run=1)
    found = failures([record(), crash, wrong, again, dataclasses.replace(crash, reason="another")])
    assert [(f.status, f.count, f.example.reason) for f in found] == [
        ("CRASH", 2, "CRASH"),
        ("WRONG_ANSWER", 1, "WRONG_ANSWER"),
    ]


def test_unreadable_lines_are_named_up_to_a_limit(tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_text("nonsense\n" * 100)
    with pytest.warns(UserWarning) as caught:
        assert list(read(path)) == []
    assert len(caught) == 4
    assert str(caught[-1].message).endswith("97 more lines skipped")
