"""The thread pool: every iteration once, whatever else goes on, and little CPU time when idle."""

import ctypes
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from tensorlang.runtime import threads
from tests.runtime.native import Native

# The context is an array of i64: [0] n of an inner launch, [1] the address of tl_launch, [2] largest thread number,
# [3] iterations done, [4...] how often each iteration was run.
TEXT = """
define void @mark(ptr %ctx, i64 %begin, i64 %end, i64 %thread) {
entry:
  %largest = getelementptr i64, ptr %ctx, i64 2
  atomicrmw max ptr %largest, i64 %thread seq_cst
  %nothing = icmp sge i64 %begin, %end
  br i1 %nothing, label %bad, label %loop
loop:
  %i = phi i64 [ %begin, %entry ], [ %next, %loop ]
  %done = getelementptr i64, ptr %ctx, i64 3
  atomicrmw add ptr %done, i64 1 seq_cst
  %at = add i64 %i, 4
  %element = getelementptr i64, ptr %ctx, i64 %at
  %old = load i64, ptr %element
  %new = add i64 %old, 1
  store i64 %new, ptr %element
  %next = add i64 %i, 1
  %more = icmp slt i64 %next, %end
  br i1 %more, label %loop, label %return
bad:
  store i64 -1, ptr %largest
  br label %return
return:
  ret void
}

define void @nest(ptr %ctx, i64 %begin, i64 %end, i64 %thread) {
entry:
  br label %loop
loop:
  %i = phi i64 [ %begin, %entry ], [ %next, %loop ]
  %n = load i64, ptr %ctx
  %launch.at = getelementptr i64, ptr %ctx, i64 1
  %launch = load ptr, ptr %launch.at
  call void %launch(ptr @count, ptr %ctx, i64 %n)
  %next = add i64 %i, 1
  %more = icmp slt i64 %next, %end
  br i1 %more, label %loop, label %return
return:
  ret void
}

define internal void @count(ptr %ctx, i64 %begin, i64 %end, i64 %thread) {
  %size = sub i64 %end, %begin
  %done = getelementptr i64, ptr %ctx, i64 3
  atomicrmw add ptr %done, i64 %size seq_cst
  ; each thread number must be used by one thread at a time: a plain counter a thread
  %at = add i64 %thread, 4
  %element = getelementptr i64, ptr %ctx, i64 %at
  %old = load i64, ptr %element
  %new = add i64 %old, %size
  store i64 %new, ptr %element
  ret void
}
"""
NATIVE = Native(TEXT)
# Looked up once: llvmlite guards every call by a lock, which a fork may find taken by another thread.
ADDRESSES = {name: NATIVE.address(name) for name in ("mark", "nest")}


def launch(function: str, context: np.ndarray, n: int) -> None:
    tl_launch = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64)(threads.launch_address())
    tl_launch(ADDRESSES[function], context.ctypes.data, n)


def check_launch(n: int) -> None:
    context = np.zeros(4 + max(n, 0), np.int64)
    launch("mark", context, n)
    assert context[3] == max(n, 0)
    assert (context[4:] == 1).all()
    assert 0 <= context[2] < threads.count()


def run_python(code: str, **environment: str) -> str:
    """Run code in a fresh interpreter, with a limit of time; returns what it prints."""
    result = subprocess.run(
        [sys.executable, "-c", f"import signal\nfrom tests.runtime.test_threads import *\n{code}"],
        cwd=Path(__file__).parents[2],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.mark.parametrize("n", [-3, 0, 1, 2, 3, 7, 64, 1000, 100_000])
def test_each_iteration_runs_once(n: int) -> None:
    check_launch(n)


def test_many_launches_back_to_back() -> None:
    for number in range(3000):
        check_launch(number % 9)


def test_launches_that_find_the_workers_asleep() -> None:
    for _ in range(50):
        time.sleep(0.0005)
        check_launch(5)


def test_more_threads_than_cores() -> None:
    print_all = "for n in [2, 3, 100] * 300: check_launch(n)\nprint(threads.count())"
    assert run_python(print_all, TENSORLANG_NUM_THREADS="9") == "9\n"


def test_more_threads_than_slices() -> None:
    run_python("for n in [2, 63, 64, 65, 70, 1000] * 3: check_launch(n)", TENSORLANG_NUM_THREADS="70")


def test_one_thread() -> None:
    assert (
        run_python("check_launch(100); print(threading.active_count(), threads.count())", TENSORLANG_NUM_THREADS="1")
        == "1 1\n"
    )


def test_launches_from_several_python_threads() -> None:
    failures = []

    def work() -> None:
        try:
            for number in range(300):
                check_launch(number % 50)
        except AssertionError as error:
            failures.append(error)

    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not failures


def test_a_launch_inside_a_launch_runs_on_its_own_thread() -> None:
    context = np.zeros(4 + threads.count(), np.int64)
    context[:2] = 10, threads.launch_address()
    for _ in range(100):
        context[2:] = 0
        launch("nest", context, 300)
        assert context[3] == 3000
        assert context[4:].sum() == 3000


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_gets_a_pool_of_its_own() -> None:
    code = """
check_launch(100)
child = os.fork()
if child == 0:
    signal.alarm(20)
    for n in range(200): check_launch(n)
    grandchild = os.fork()
    if grandchild == 0:
        check_launch(100)
        os._exit(0)
    os._exit(os.waitpid(grandchild, 0)[1])
assert os.waitpid(child, 0)[1] == 0
check_launch(100)
"""
    run_python(code, PYTHONWARNINGS="ignore", TENSORLANG_NUM_THREADS="3")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_fork_while_another_thread_launches() -> None:
    code = """
check_launch(2)
stop = threading.Event()
def work():
    while not stop.is_set(): check_launch(2000)
worker = threading.Thread(target=work, daemon=True); worker.start()
for _ in range(10):
    child = os.fork()
    if child == 0:
        signal.alarm(20)
        for n in range(20): check_launch(n)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
stop.set(); worker.join()
"""
    run_python(code, PYTHONWARNINGS="ignore", TENSORLANG_NUM_THREADS="3")


def test_idle_workers_sleep() -> None:
    check_launch(100)
    before = time.process_time()
    time.sleep(0.3)
    assert time.process_time() - before < 0.03


def test_the_launcher_sleeps_while_a_worker_is_busy() -> None:
    """A worker holds the last iteration for 0.3 s in a sleep, which costs no CPU time: nor must the launcher's wait."""
    spent = []

    @ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64, ctypes.c_int64)
    def slow(ctx: int, begin: int, end: int, thread: int) -> None:
        if thread == 0:
            time.sleep(0.05)  # leaves the other iteration to a worker
        else:
            time.sleep(0.35)
            spent.append(thread)

    tl_launch = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64)(threads.launch_address())
    before = time.process_time()
    tl_launch(ctypes.cast(slow, ctypes.c_void_p).value, None, 2)
    if spent:  # no worker may have come in time on a busy machine
        assert time.process_time() - before < 0.1


@pytest.mark.parametrize("value", ["0", "-1", "many"])
def test_a_wrong_number_of_threads_is_refused(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from tensorlang import config

    monkeypatch.setenv("TENSORLANG_NUM_THREADS", value)
    with pytest.raises(ValueError, match="TENSORLANG_NUM_THREADS must be an integer of at least 1"):
        config.num_threads()


def test_exit_while_workers_sleep_or_spin() -> None:
    assert run_python("check_launch(100); print('done')", TENSORLANG_NUM_THREADS="4") == "done\n"
