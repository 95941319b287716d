from autotune import machine
from autotune.record import Record


def record(facts):
    return Record("k", "matmul", {}, "tile", {}, {}, "OK", seconds=1.0, machine=facts)


def test_the_peak_is_measured_once_and_then_taken_from_the_log(monkeypatch):
    monkeypatch.setattr(machine, "peak_gflops", lambda: 100.0)
    facts = machine.facts()
    assert facts["peak_gflops"] == 100.0
    assert facts["cores"] >= 1 and facts["cpu"]
    monkeypatch.setattr(machine, "peak_gflops", lambda: 50.0)
    assert machine.facts([record(facts)]) == facts
    assert machine.facts([record({**facts, "cpu": "another"})])["peak_gflops"] == 50.0


def test_the_peak_itself():
    assert machine.peak_gflops() > 0.1
