"""Random cases, and what the fuzzer itself must be able to do."""

import os
import signal

import numpy as np
import pytest

import tensorlang as tl
from tests.fuzz import prefixes
from tests.fuzz.case import Case, draw_case
from tests.fuzz.check import Failure, attempt, compare, poisoned, untouched
from tests.fuzz.drawers import DRAWERS
from tests.fuzz.random_te import Expression, random_expression
from tests.fuzz.refusals import HARMFUL, HARMLESS, verdict
from tests.fuzz.report import Report, append, summed
from tests.fuzz.runner import kind_of, run_seeds
from tests.fuzz.shrink import shrink

ADD_ONE = Expression(
    [
        "m = 12",
        'A = tl.placeholder((m, 9), "float32", name="A")',
        'k = tl.reduce_axis(9, "k")',
        'C = tl.compute((m,), lambda i: tl.sum(A[i, k], axis=k), name="C")',
        'D = tl.compute((m,), lambda i: C[i] + 1.0, name="D")',
    ],
    ["D"],
)


@pytest.mark.parametrize("first", range(0, 2000, 100))
def test_random_cases(first):
    report = Report()
    for result in run_seeds(iter(range(first, first + 100)), jobs=1):
        report.add(result)
    print(report.table())
    assert not report.failures, "\n".join(f"{r.seed} {r.kind}\n{r.details}" for r in report.failures.values())


def test_every_primitive_is_accepted():
    tried = [t for seed in range(400) for t in draw_case(seed, sampled=0).tried]
    accepted = {t.op for t in tried if not t.reason}
    assert accepted >= {op for op in DRAWERS if hasattr(tl.Schedule, op)}


def test_reports_add_up(tmp_path):
    total = Report()
    for first in (0, 4):
        report = Report()
        for result in run_seeds(iter(range(first, first + 4)), jobs=0):
            report.add(result)
            total.add(result)
        append(tmp_path / "runs.jsonl", "abc", first, 1.0, report)
    lines = (tmp_path / "runs.jsonl").read_text().splitlines()
    both, runs = summed(lines)
    assert both.to_json() == total.to_json() and len(runs) == 2
    with pytest.raises(ValueError, match="twice"):
        summed([lines[0], lines[0]])


def test_every_primitive_has_a_drawer():
    steps = {n for n, f in vars(tl.Schedule).items() if getattr(f, "__module__", "").startswith("tensorlang.schedule.")}
    steps -= {n for n in steps if getattr(tl.Schedule, n).__module__ == "tensorlang.schedule.schedule"}
    assert steps <= set(DRAWERS), "a primitive takes an entry in tests.fuzz.drawers.DRAWERS"


def test_a_seed_says_everything():
    one, other = draw_case(7), draw_case(7)
    assert (one.case, one.tried) == (other.case, other.tried)
    assert one.case.script() == other.case.script()


def test_scripts_run(capsys):
    exec(Case(ADD_ONE, ('split("D.i", [None, 5])',), 0).script(), {})
    assert "D.i.1" in capsys.readouterr().out


def test_a_failure_shrinks():
    """One step and one line, with its smallest number, are found in a longer case."""
    steps = ('split("C.k", [None, 4])', 'annotate("C", "note", 1)', 'fuse("C.i", "C.k.0")', 'parallel("D.i")')

    def fails(case: Case) -> bool:
        lines = case.expression.lines
        return 'parallel("D.i")' in case.steps and any(line in ("m = 12", "m = 6", "m = 3", "m = 2") for line in lines)

    small = shrink(Case(ADD_ONE, steps, 0), fails)
    assert small.steps == ('parallel("D.i")',)
    assert small.expression.lines == ["m = 2"]


def test_a_wrong_schedule_is_found(monkeypatch):
    monkeypatch.setattr(tl.Schedule, "require", lambda *args, **named: None)
    case = Case(ADD_ONE, ('split("C.k", [4, 2])',), 0)
    assert kind_of(case) == "interpreter: wrong numbers"
    with pytest.raises(Failure, match="wrong numbers"):
        case.run()


def test_a_crash_is_a_result(monkeypatch):
    monkeypatch.setattr(tl, "lower", lambda s: os.kill(os.getpid(), signal.SIGKILL))
    assert kind_of(Case(ADD_ONE, (), 0)) == "crash: exit code -9"
    results = list(run_seeds(iter([3, 4]), jobs=1))
    assert [(r.seed, r.kind) for r in results] == [(3, "crash: exit code -9"), (4, "crash: exit code -9")]
    assert results[0].case == draw_case(3).case


def test_an_internal_error_is_a_failure(monkeypatch):
    monkeypatch.setattr(tl.Schedule, "replace", lambda s, old, new: [][1])
    s = tl.Schedule(ADD_ONE.tensors()[0])
    with pytest.raises(Failure, match=r"step parallel: IndexError in kinds.py:_mark|step parallel: IndexError"):
        attempt(s, 'parallel("D.i")', {})


def test_a_refusal_that_changes_something_is_a_failure(monkeypatch):
    def parallel(s: tl.Schedule, loop: str) -> None:
        s.fresh("x")
        raise tl.ScheduleError("reason", "message", primitive="parallel")

    monkeypatch.setattr(tl.Schedule, "parallel", parallel)
    with pytest.raises(Failure, match="changed the schedule"):
        attempt(tl.Schedule(ADD_ONE.tensors()[0]), 'parallel("D.i")', {})


def test_refused_steps_are_tried_unchecked():
    outputs, sizes = ADD_ONE.tensors()
    s = tl.Schedule(outputs)
    assert verdict(s, 'split("C.k", [4, 2])', {}, outputs, sizes) == HARMFUL
    assert verdict(s, 'annotate("C", "note", None)', {}, outputs, sizes) == HARMLESS
    assert not s.trace.steps
    scalar = tl.placeholder((), name="A")
    outputs = [tl.compute((), lambda: scalar[()] + 1.0, name="C")]
    assert verdict(tl.Schedule(outputs), 'annotate("C", "note", None)', {}, outputs, {}) == HARMLESS


def test_harm_that_these_numbers_do_not_show_is_seen():
    n = tl.var("n")
    a = tl.placeholder((n, 5), name="A")
    k = tl.reduce_axis(n, name="k")
    total = tl.compute((5,), lambda i: tl.sum(a[k, i], axis=k), name="C")
    assert verdict(tl.Schedule(total), 'fuse("C.i", "C.k")', {}, [total], {n: 3}) == HARMFUL  # n may be 0
    b = tl.placeholder((1,), name="B")
    same = tl.compute((6,), lambda i: tl.maximum(tl.minimum(b[0], 4), -4), name="P")
    out = tl.compute((3,), lambda i: same[i * 2], name="C")
    s = tl.Schedule(out)
    assert verdict(s, 'split("P.i", [1, 5])', {}, [out], {}) == HARMFUL  # P[5], which C happens not to read
    out = tl.compute((6,), lambda i: same[i] + 1.0, name="C")
    s = tl.Schedule(out)
    assert verdict(s, 'transform_layout("P", lambda i: (i // 2,))', {}, [out], {}) == HARMFUL  # all P[i] are equal


def test_harm_to_what_nobody_reads_is_seen():
    a = tl.placeholder((6,), name="A")
    kept, _ = tl.compute((6,), lambda i: (a[i] + 1.0, a[i] * 2.0), name="P")
    verdicts = [
        verdict(tl.Schedule(kept), f"transform_layout('P_1', lambda i: ({index},))", {}, [kept], {})
        for index in ("i // 2", "5 - i")
    ]
    assert verdicts == [HARMFUL, HARMLESS]


def test_bits_count():
    zero, minus = np.zeros(2, "float32"), -np.zeros(2, "float32")
    nans = np.array([0x7FC00000, 0xFFC00001], "uint32").view("float32")
    compare("same", {"x": nans}, {"x": nans[::-1].copy()})
    with pytest.raises(Failure):
        compare("zeros", {"x": zero}, {"x": minus})


def test_canaries():
    array, memory = poisoned((3,), np.dtype("float32"))
    array[...] = 1
    untouched("x", array, memory)
    memory[-1] = 0
    with pytest.raises(Failure, match="outside"):
        untouched("x", array, memory)


@pytest.mark.parametrize("seed", range(0, 2000, 40))
def test_expressions_have_a_meaning(seed):
    outputs, sizes = random_expression(seed).tensors()
    assert outputs and all(v >= 1 for v in sizes.values())


@pytest.mark.parametrize("seed", [*range(40), 792])
def test_steps_after_prefixes(seed):
    """In case 792, a reader would leave the loop that its padding is filled in."""
    assert prefixes.attempt(seed) is None
