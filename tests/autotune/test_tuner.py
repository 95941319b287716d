import hashlib
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

import autotune
import tensorlang as tl
from autotune.database import Database
from autotune.measure.outcome import Outcome, Status
from autotune.session import BATCH, GPU_BATCH, Plan
from autotune.sketches import sketches_for
from autotune.tuner import tune_all
from autotune.zero_trial import open_spaces


def matmul(m=24, n=40, k=18, names="ABC"):
    a, b, c = names
    x = tl.placeholder((m, k), "float32", name=a)
    y = tl.placeholder((k, n), "float32", name=b)
    axis = tl.reduce_axis(k, name="k")
    return tl.compute((m, n), lambda i, j: tl.sum(x[i, axis] * y[axis, j], axis=axis), name=c)


def timed(job):
    """The outcome of a job, whose time a hash of its trace decides."""
    digest = hashlib.sha256(json.dumps(job["trace"]).encode()).digest()
    return Outcome(Status.OK, seconds=1e-3 * (1 + digest[0]), runs=5)


class FakeRunner:
    """Times that a hash of the trace decides; every seventh job fails; `stop_after` jobs the user interrupts."""

    def __init__(self, stop_after=None):
        self.jobs, self.stop_after = [], stop_after

    def measure(self, jobs):
        for index, job in enumerate(jobs):
            if len(self.jobs) == self.stop_after:
                raise KeyboardInterrupt
            self.jobs.append(job)
            if len(self.jobs) % 7 == 0:
                yield index, Outcome(Status.CRASH, "killed by SIGSEGV in run")
            else:
                yield index, timed(job)

    def close(self):
        pass


@pytest.fixture(autouse=True)
def no_peak(monkeypatch):
    monkeypatch.setattr("autotune.machine.peak_gflops", lambda: 100.0)


def tune(log, runner, trials=20, **more):
    task = autotune.Task.of(matmul())
    sketches = sketches_for(task)[-2:]
    return autotune.tune(task, trials=trials, log=log, runner=runner, sketches=sketches, **more)


def test_a_result_shows_itself(tmp_path):
    result = tune(tmp_path / "log.jsonl", FakeRunner())
    head, curve = str(result).splitlines()
    assert "20 trials" in head and "failed" in head and curve.endswith("\u2588")
    assert "<iframe srcdoc=" in result._repr_html_() and "GFLOP/s" in result._repr_html_()
    nothing = autotune.Result(result.task, None, [])
    assert "nothing found" in str(nothing) and "nothing found" in nothing._repr_html_()


def test_the_loop_measures_remembers_and_counts_failures(tmp_path):
    log, runner = tmp_path / "log.jsonl", FakeRunner()
    result = tune(log, runner)
    first = [r for r in result.history if r.run == 0]
    assert len(first) == len({r.candidate for r in first}) == 20
    assert {r.status for r in first} == {"OK", "CRASH"}
    assert Database(log).records() == result.history
    assert result.best.machine["peak_gflops"] == 100.0
    assert result.best.seconds == min(r.seconds for r in first if r.ok and _always_ok(result, r))


def _always_ok(result, record):
    return all(r.ok for r in result.history if r.candidate == record.candidate)


def test_a_second_run_measures_nothing(tmp_path):
    log = tmp_path / "log.jsonl"
    tune(log, FakeRunner())
    again = FakeRunner()
    begin = time.monotonic()
    assert tune(log, again).best is not None
    assert again.jobs == []
    assert time.monotonic() - begin < 2


def test_an_interrupted_run_resumes_and_ends_where_a_whole_one_ends(tmp_path):
    whole = tune(tmp_path / "whole.jsonl", FakeRunner())
    log = tmp_path / "log.jsonl"
    runner = FakeRunner(stop_after=BATCH)
    part = tune(log, runner)
    assert part.interrupted
    assert len(part.history) == BATCH
    runner.stop_after = None
    rest = tune(log, runner)
    names = [{r.candidate for r in result.history if r.run == 0} for result in (whole, rest)]
    assert names[0] == names[1]
    assert len([r for r in rest.history if r.run == 0]) == 20


def test_a_log_serves_tasks_by_meaning_not_by_names(tmp_path):
    log = tmp_path / "log.jsonl"
    best = tune(log, FakeRunner()).best
    task = autotune.Task.of(matmul())
    assert task.key == best.key
    assert autotune.Task.of(matmul(m=25)).key != best.key
    other = tl.Target("llvm", cpu="x86-64-v3")
    assert autotune.Task.of(matmul(), other).key != best.key
    cold = task.with_cold_caches()
    assert autotune.Task.of(task) is task and autotune.Task.of(task, task.target) is task
    assert autotune.Task.of(task, other).key == autotune.Task.of(matmul(), other).key
    assert autotune.Task.of(cold, other).key == autotune.Task.of(matmul(), other).with_cold_caches().key
    renamed = autotune.Task.of(matmul(names="XYZ"))
    assert renamed.key == best.key
    a, b = (np.random.default_rng(0).random(s, dtype=np.float32) for s in ((24, 18), (18, 40)))
    np.testing.assert_allclose(autotune.compile(renamed, log=log)(Y=b, X=a), a @ b, rtol=1e-5)


def test_every_candidate_is_legal_and_right(tmp_path):
    """No fake here: worker, reference, check and all."""
    result = autotune.tune(matmul(), trials=6, log=tmp_path / "log.jsonl")
    assert [r.status for r in result.history] == ["OK"] * len(result.history)
    a, b = (np.random.default_rng(0).random(s, dtype=np.float32) for s in ((24, 18), (18, 40)))
    for kernel in (result.kernel, autotune.compile(matmul(), log=tmp_path / "log.jsonl"), autotune.compile(matmul())):
        np.testing.assert_allclose(kernel(a, b), a @ b, rtol=1e-5)


def test_sketches_written_by_the_user_are_searched():
    def write(s, knob):
        i, j, k = s.loops("C")
        i0, i1 = s.split(i, [None, knob("t", [2, 3, 4])])
        s.reorder(i0, k, i1, j)

    result = autotune.tune(matmul(), trials=9, sketches=[autotune.Sketch("mine", write)], runner=FakeRunner())
    assert sorted(r.knobs["t"] for r in result.history if r.run == 0) == [2, 3, 4]


def test_a_task_that_cannot_be_tuned_says_why():
    n = tl.var("n")
    x = tl.placeholder((n,), "float32", name="x")
    with pytest.raises(autotune.WorkloadError, match="open sizes"):
        autotune.tune(tl.compute((n,), lambda i: x[i] + 1, name="y"))


def test_what_never_runs_needs_no_tuning():
    a = tl.placeholder((0, 3), name="A")
    empty = tl.compute((0, 3), lambda i, j: a[i, j] + 1, name="B")
    assert autotune.compile(empty)(np.zeros((0, 3), np.float32)).shape == (0, 3)
    with pytest.raises(autotune.WorkloadError, match="has a loop of length 0"):
        autotune.tune(empty, trials=1)


def test_suggest_needs_no_measurement():
    schedule = autotune.suggest(matmul())
    assert schedule.trace.steps
    assert len(open_spaces(autotune.Task.of(matmul()))) == 1


def test_an_interrupt_at_the_keyboard_ends_cleanly_with_a_log_that_resumes(tmp_path):
    log = tmp_path / "log.jsonl"
    command = [sys.executable, "-m", "autotune", "tune", "matmul:32,32,32", "--log", str(log), "--json"]
    process = subprocess.Popen(
        [*command, "--trials", "500"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # which a shell's background jobs ignore
    )
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and (not log.exists() or log.read_text().count("\n") < 3):
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGINT)
    out, errors = process.communicate(timeout=30)
    assert process.returncode == 130, errors
    assert "Traceback" not in errors
    known = json.loads(out)
    assert known["interrupted"] and known["best"]["status"] == "OK"
    done = known["trials"]
    assert len(Database(log).records()) == done
    more = subprocess.run(
        [*command, "--trials", str(done + 1), "--quiet"], stdout=subprocess.PIPE, text=True, check=True
    )
    assert json.loads(more.stdout)["trials"] == done + 1


def test_a_budget_for_several_tasks_goes_where_it_gains_most(tmp_path):
    """One task takes a thousand times as long as the other and gets faster: after a batch of each, all goes to it."""
    measured = {}

    class Improving(FakeRunner):
        def __init__(self, task, *_):
            super().__init__()
            self.rows = task.arrays()[1][0].shape[0]

        def measure(self, jobs):
            for index, _ in enumerate(jobs):
                measured[self.rows] = measured.get(self.rows, 0) + 1
                yield (
                    index,
                    Outcome(Status.OK, seconds=(1.0 if self.rows == 24 else 1e-3) / measured[self.rows], runs=5),
                )

    tasks = [autotune.Task.of(matmul(rows, 40, 18)) for rows in (16, 24)]
    results = tune_all(tasks, Plan(trials=64, budget=64, make_runner=Improving), tmp_path / "log")
    assert [sum(r.run == 0 for r in result.history) for result in results] == [16, 48]


class AnyOrder:
    """Never fails; `pick` chooses which of the jobs that are there ends next."""

    def __init__(self, pick):
        self.pick = pick

    def measure(self, jobs):
        ended = set()
        while len(ended) < len(jobs):
            index = self.pick(set(range(len(jobs))) - ended)
            ended.add(index)
            yield index, timed(jobs[index])


def test_what_comes_next_on_a_gpu_depends_on_complete_batches_alone():
    """Two batches are under way at a time, and end in any order."""

    def write(s, knob):
        blocks, each, threads = s.split(s.fuse("y.i", "y.j"), [None, knob("each", N), knob("threads", N)])
        s.reorder(blocks, threads, each)
        s.bind(blocks, "blockIdx.x")
        s.bind(threads, "threadIdx.x")

    N = range(1, 17)
    x = tl.placeholder((24, 40), "float32", name="x")
    y = tl.compute((24, 40), lambda i, j: x[i, j] + 1.0, name="y")
    task, trials = autotune.Task.of(y, tl.Target("cuda", arch="sm_90a")), 3 * GPU_BATCH + 5
    found = []
    for pick in (min, max):
        result = autotune.tune(task, trials=trials, sketches=[autotune.Sketch("y", write)], runner=AnyOrder(pick))
        first = [r.candidate for r in result.history if r.run == 0]
        assert len(first) == trials
        found.append(set(first))
    assert found[0] == found[1] and len(found[0]) == trials
