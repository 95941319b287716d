"""The parent's side of a worker process: start it, give it a job, pause it, watch its clock, kill it, start it anew.

Nothing here waits but `start` and `run`: a runner that has several workers polls them (runner.py).
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from enum import Enum
from pathlib import Path
from selectors import EVENT_READ, DefaultSelector
from typing import Any

from autotune.measure.outcome import Limits, Outcome, Status, WorkerError

_START = "import sys; sys.path[:] = {path!r}; from autotune.measure.worker import main; main({read}, {write}, {parent})"
_MEMORY_WORDS = ("out of memory", "bad_alloc", "memoryerror", "cannot allocate memory")
_OUTPUT_BYTES = 1 << 14  # at the end of what a worker printed, to look for its reasons
_VMSTAT = Path("/proc/vmstat")


class State(Enum):
    """What a worker does; `built` waits for leave to run."""

    DOWN = "down"
    START = "start"
    IDLE = "idle"
    BUILD = "build"
    BUILT = "built"
    RUN = "run"


_TIMED = {State.START, State.BUILD, State.RUN}


class _Ended(Exception):
    """The worker closed its pipe."""


class WorkerProcess:
    """One worker process, started when first needed and again after it died.

    entry: "module:function" (see worker.py); setup: JSON value handed to it; cores: the CPUs to run and to build on,
    `{"run": [...], "build": [...]}`, or nothing to leave that to the system.
    Example: `WorkerProcess("autotune.measure.candidate:entry", {...}, Limits()).run({"trace": "..."})`.
    """

    def __init__(
        self, entry: str, setup: dict[str, Any], limits: Limits, cores: dict[str, list[int]] | None = None
    ) -> None:
        self.limits, self.state = limits, State.DOWN
        self._hello = {"entry": entry, "setup": setup, "memory_bytes": limits.memory_bytes, "cores": cores or {}}
        self._process: subprocess.Popen[bytes] | None = None
        self._output = tempfile.TemporaryFile()  # noqa: SIM115 (lives as long as this object; closed in close)
        self._pending = b""
        self._read = self._write = -1
        self._job: dict[str, Any] | None = None
        self._since = self._build_seconds = 0.0
        self._paused_at: float | None = None
        self._paused_seconds = 0.0  # of all pauses that are over
        self._kills_before = self._output_start = 0

    # ------------------------------------------------------------------------------------------ without waiting
    def submit(self, job: dict[str, Any]) -> None:
        """Build a candidate; the process is started if it is down."""
        assert self._job is None
        self._job, self._build_seconds = job, 0.0
        if self.state is State.IDLE:
            self._begin()
        else:
            self.launch()

    def go(self, **news: Any) -> None:
        """Let a candidate that is built run; `news` is added to its job."""
        self.resume()
        self._enter(State.RUN)
        with contextlib.suppress(BrokenPipeError):  # poll finds out that it died
            self._send({"go": news})

    def poll(self) -> Outcome | None:
        """Take in what the worker says and look at the clock; the outcome of its job once there is one.

        Raises WorkerError if the process cannot be set up.
        """
        try:
            while (answer := self._message()) is not None:
                outcome = self._react(answer)
                if outcome is not None:
                    return outcome
        except _Ended:
            return self._died()
        if time.monotonic() <= self.deadline:
            return None
        if self.state is State.START:
            self.kill()
            raise WorkerError("a worker took too long to start")
        return self._late()

    @property
    def deadline(self) -> float:
        """When the current phase must be over, as time.monotonic(); infinite while nothing is timed."""
        if self.state not in _TIMED or self._paused_at is not None:
            return math.inf
        return self._since + self.limits.seconds(self.state.value) + self._paused_seconds

    def fileno(self) -> int:
        """What becomes readable when the worker says something; -1 while it is down."""
        return self._read if self._process is not None else -1

    def pause(self) -> None:
        """Stop the process where it is; its clock stops too. Only for systems on which it dies with this one."""
        if self._process is not None and self._paused_at is None:
            self._signal(signal.SIGSTOP)
            self._paused_at = time.monotonic()

    def resume(self) -> None:
        """Go on after a pause."""
        if self._paused_at is not None:
            self._paused_seconds += time.monotonic() - self._paused_at
            self._paused_at = None
            self._signal(signal.SIGCONT)

    def launch(self) -> None:
        """Start the process unless it runs, without waiting for it."""
        if self._process is not None:
            return
        child_read, self._write = os.pipe()
        self._read, child_write = os.pipe()
        program = _START.format(path=sys.path, read=child_read, write=child_write, parent=os.getpid())
        self._output.seek(0)
        self._output.truncate()
        self._output_start = 0
        # its own session: an interrupt at the keyboard is for the tuner, which then ends its workers
        self._process = subprocess.Popen(
            [sys.executable, "-c", program],
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=self._output,
            pass_fds=(child_read, child_write),
            start_new_session=True,
        )
        os.close(child_read)
        os.close(child_write)
        os.set_blocking(self._read, False)
        self._pending = b""
        self._enter(State.START)
        with contextlib.suppress(BrokenPipeError):  # poll finds out that it died
            self._send(self._hello)

    def kill(self) -> None:
        """End the process and all it started, now; its job, if any, is forgotten."""
        self._job = self._paused_at = None
        if self._process is None:
            return
        self._signal(signal.SIGKILL)
        self._process.wait()
        self._process = None
        self.state = State.DOWN
        os.close(self._read)
        os.close(self._write)

    def close(self) -> None:
        """End the process and give back all resources."""
        self.kill()
        self._output.close()

    # ------------------------------------------------------------------------------------------ waiting
    def start(self) -> None:
        """Start the process unless it runs and wait until it is ready. Raises WorkerError if its setup fails."""
        self.launch()
        with self._or_kill():
            while self.state is State.START:
                wait([self])
                self.poll()

    def run(self, job: dict[str, Any]) -> Outcome:
        """Measure one candidate; never raises on its account, but WorkerError if the process cannot be set up."""
        with self._or_kill():
            self.submit(job)
            while (outcome := self.poll()) is None:
                if self.state is State.BUILT:
                    self.go()
                wait([self])
        return outcome

    @contextlib.contextmanager
    def _or_kill(self) -> Iterator[None]:
        """Whatever interrupts the waiting ends the process: nobody waits for its job any more."""
        try:
            yield
        except BaseException:
            self.kill()
            raise

    # ------------------------------------------------------------------------------------------ how things go on
    def _begin(self) -> None:
        """Hand the job to the process, which is idle."""
        self._kills_before, self._output_start = _memory_kills(), self._output.seek(0, os.SEEK_END)
        self._enter(State.BUILD)
        with contextlib.suppress(BrokenPipeError):  # poll finds out that it died
            self._send(self._job)

    def _enter(self, state: State) -> None:
        self.state, self._since = state, self._now()

    def _now(self) -> float:
        """The worker's own clock, which stands still while it is paused."""
        return (time.monotonic() if self._paused_at is None else self._paused_at) - self._paused_seconds

    def _react(self, answer: dict[str, Any]) -> Outcome | None:
        """The next state after a message; the outcome if it was the last one of a job."""
        if "failed" in answer:
            self.kill()
            raise WorkerError(answer["failed"])
        if "ready" in answer:
            self._enter(State.IDLE)
            if self._job is not None:
                self._begin()
        elif "built" in answer:
            self._build_seconds = self._now() - self._since
            self._enter(State.BUILT)
        elif "done" in answer:
            return self._end(Status.OK, **answer["done"])
        else:
            return self._end(Status(answer["status"]), answer["reason"])
        return None

    def _end(self, status: Status, reason: str = "", **measured: Any) -> Outcome:
        """The outcome of the job; the process, if it still runs, is free for the next one."""
        spent = self._now() - self._since
        if self.state is State.BUILD:
            self._build_seconds = spent
        wall = self._build_seconds + (spent if self.state is State.RUN else 0.0)
        self._job = None
        if self._process is not None:
            self._enter(State.IDLE)
        return Outcome(status, reason, **measured, build_seconds=self._build_seconds, wall_seconds=wall)

    def _late(self) -> Outcome:
        phase = self.state.value
        status = Status.BUILD_TIMEOUT if self.state is State.BUILD else Status.RUN_TIMEOUT
        outcome = self._end(status, f"{phase} took more than {self.limits.seconds(phase):g} s")
        self.kill()
        return outcome

    def _died(self) -> Outcome | None:
        """The process ended by itself: why. None if it had no job."""
        assert self._process is not None
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=5)
        code, said, phase = self._process.poll(), self._said(), self.state.value
        if code is not None and code < 0:
            reason = f"killed by {signal.Signals(-code).name} in {phase}"
        else:
            reason = f"exited with code {code} in {phase}"
        reason += f": {said}" if said else ""
        memory = any(word in said.lower() for word in _MEMORY_WORDS)
        if code == -signal.SIGKILL and _memory_kills() > self._kills_before:
            memory, reason = True, f"{reason} (the system ran out of memory)"
        if self.state is State.START:
            self.kill()
            raise WorkerError(f"a worker {reason}")
        outcome = self._end(Status.OUT_OF_MEMORY if memory else Status.CRASH, reason) if self._job is not None else None
        self.kill()
        return outcome

    def _said(self) -> str:
        """What the worker itself printed last, during this job, before Python's list of its threads."""
        size = self._output.seek(0, os.SEEK_END)
        self._output.seek(max(self._output_start, size - _OUTPUT_BYTES))
        printed = re.split(r"\n(?:Current t|T)hread 0x", self._output.read().decode(errors="replace"))[0]
        lines = [line.strip() for line in printed.splitlines() if line.strip()]
        return " | ".join(lines[-3:])[-300:]

    # ------------------------------------------------------------------------------------------ the pipes
    def _send(self, message: dict[str, Any] | None) -> None:
        data = json.dumps(message).encode() + b"\n"
        while data:
            data = data[os.write(self._write, data) :]

    def _message(self) -> dict[str, Any] | None:
        """The next whole message, if there is one. Raises _Ended."""
        while b"\n" not in self._pending:
            if self._process is None:
                return None
            try:
                data = os.read(self._read, 1 << 16)
            except BlockingIOError:
                return None
            if not data:
                raise _Ended
            self._pending += data
        line, _, self._pending = self._pending.partition(b"\n")
        return json.loads(line)

    def _signal(self, number: signal.Signals) -> None:
        """Send a signal to the process and all it started."""
        assert self._process is not None
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)


def wait(workers: Iterable[WorkerProcess]) -> None:
    """Until one of the workers that run says something or one of their deadlines is over."""
    running = [w for w in workers if w.fileno() >= 0]
    left = min((w.deadline for w in running), default=0.0) - time.monotonic()
    with DefaultSelector() as selector:
        for worker in running:
            selector.register(worker.fileno(), EVENT_READ)
        selector.select(None if left == math.inf else max(0.0, left))


def _memory_kills() -> int:
    """How many processes the system has killed because memory was short, as far as it tells."""
    try:
        lines = _VMSTAT.read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) for line in lines if line.startswith("oom_kill "))
