import math
import os
import subprocess
import sys
import time

import pytest

from autotune.measure.outcome import Limits, Status, WorkerError
from autotune.measure.process import State, WorkerProcess, wait

ENTRY = "tests.autotune.fakes:entry"
LIMITS = Limits(start_seconds=60, build_seconds=0.7, run_seconds=0.7, memory_bytes=1 << 30)


@pytest.fixture(scope="module")
def worker():
    process = WorkerProcess(ENTRY, {}, LIMITS)
    yield process
    process.close()


@pytest.mark.parametrize(
    ("job", "status", "reason"),
    [
        ({}, Status.OK, ""),
        ({"build": "raise"}, Status.BUILD_ERROR, "ValueError: bad luck"),
        ({"run": "raise"}, Status.RUN_ERROR, "ValueError: bad luck"),
        ({"run": "wrong"}, Status.WRONG_ANSWER, "C[0, 0] is 1, expected 2"),
        ({"build": "memory"}, Status.OUT_OF_MEMORY, "MemoryError"),
        ({"run": "print"}, Status.OK, ""),
        ({"run": "segfault"}, Status.CRASH, "killed by SIGSEGV in run"),
        ({"run": "bad_alloc"}, Status.OUT_OF_MEMORY, "killed by SIGABRT in run: terminate called after throwing"),
        ({"build": "exit"}, Status.CRASH, "exited with code 3 in build"),
        ({"run": "killed"}, Status.CRASH, "killed by SIGKILL in run"),
        ({"build": "hang"}, Status.BUILD_TIMEOUT, "build took more than 0.7 s"),
        ({"run": "hang in native code"}, Status.RUN_TIMEOUT, "run took more than 0.7 s"),
    ],
)
def test_every_end_is_classified_and_the_next_job_is_served(worker, job, status, reason):
    outcome = worker.run(job)
    assert outcome.status is status
    assert outcome.reason.startswith(reason)
    assert worker.run({"seconds": 2.5}).seconds == 2.5


def test_the_process_is_reused():
    worker = WorkerProcess(ENTRY, {}, LIMITS)
    assert [worker.run({}).runs for _ in range(3)] == [1, 2, 3]
    worker.close()


def test_a_setup_that_fails_is_an_error_of_the_task():
    worker = WorkerProcess(ENTRY, {"broken": True}, LIMITS)
    with pytest.raises(WorkerError, match="ValueError: no such task"):
        worker.run({})
    worker.close()


def test_what_a_candidate_started_dies_with_it(worker):
    assert worker.run({"run": "leave a child"}).status is Status.RUN_TIMEOUT
    assert "61.5" not in _command_lines()


def test_workers_die_with_their_parent(tmp_path):
    """Idle, in the middle of native code while building, and paused there."""
    program = (
        "import os, pathlib, signal, time\n"
        "from autotune.measure.process import WorkerProcess; from autotune.measure.outcome import Limits\n"
        f"workers = [WorkerProcess({ENTRY!r}, {{}}, Limits()) for _ in range(3)]\n"
        "for w in workers: w.start()\n"
        f"for n in (1, 2): workers[n].submit({{'build': f'say {tmp_path}/{{n}} and hang in native code'}})\n"
        f"while not all(pathlib.Path('{tmp_path}', str(n)).exists() for n in (1, 2)): time.sleep(0.01)\n"
        "workers[2].pause()\n"
        "print(*(w._process.pid for w in workers), flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, check=False)
    pids = list(map(int, done.stdout.split()))
    assert len(pids) == 3
    deadline = time.monotonic() + 20
    while any(map(_alive, pids)) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not any(map(_alive, pids))


def _alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def _command_lines():
    lines = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline") as command:
                lines.append(command.read())
        except OSError:
            continue
    return "\n".join(lines)


def test_a_paused_worker_keeps_its_time_and_goes_on_with_leave_to_run():
    worker = WorkerProcess(ENTRY, {}, LIMITS)
    worker.start()
    begin = time.monotonic()
    worker.submit({"build": "sleep 0.2"})
    while worker.state is not State.BUILT:
        wait([worker])
        worker.poll()
        worker.pause()  # at once and, as the message may be under way, again
        assert worker.deadline == math.inf
        time.sleep(0.3)
        if worker.poll() is None and worker.state is State.BUILD:
            worker.resume()
    elapsed = time.monotonic() - begin
    worker.go()
    while (outcome := worker.poll()) is None:
        wait([worker])
    worker.close()
    assert outcome.status is Status.OK
    assert 0 < outcome.build_seconds <= elapsed - 0.3
    assert outcome.build_seconds <= outcome.wall_seconds
