"""The parent's side of a worker process: start it, give it a job, wait with a deadline, kill it, start it anew."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from typing import Any

from autotune.measure.outcome import Limits, Outcome, Status, WorkerError

_START = "import sys; sys.path[:] = {path!r}; from autotune.measure.worker import main; main({read}, {write}, {parent})"
_MEMORY_WORDS = ("out of memory", "bad_alloc", "memoryerror", "cannot allocate memory")


class _Ended(Exception):
    """The worker closed its pipe."""


class _Late(Exception):
    """A deadline passed."""


class WorkerProcess:
    """One worker process, started when first needed and again after it died.

    entry: "module:function" (see worker.py); setup: JSON value handed to it.
    Example: `WorkerProcess("autotune.measure.candidate:entry", {...}, Limits()).run({"trace": "..."})`.
    """

    def __init__(self, entry: str, setup: dict[str, Any], limits: Limits):
        self.limits = limits
        self._hello = {"entry": entry, "setup": setup, "memory_bytes": limits.memory_bytes}
        self._process: subprocess.Popen[bytes] | None = None
        self._output = tempfile.TemporaryFile()  # noqa: SIM115 (lives as long as this object; closed in close)
        self._pending = b""
        self._read = self._write = -1

    def start(self) -> None:
        """Start the process unless it runs. Raises WorkerError if its setup fails."""
        if self._process is not None:
            return
        child_read, self._write = os.pipe()
        self._read, child_write = os.pipe()
        program = _START.format(path=sys.path, read=child_read, write=child_write, parent=os.getpid())
        self._output.seek(0)
        self._output.truncate()
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
        self._pending = b""
        try:
            self._send(self._hello)
            answer = self._receive(time.monotonic() + self.limits.start_seconds)
        except (_Ended, _Late, BrokenPipeError) as error:
            late = isinstance(error, _Late)
            raise WorkerError("a worker took too long to start" if late else self._death("start").reason) from error
        except BaseException:
            self.kill()
            raise
        if "failed" in answer:
            self.kill()
            raise WorkerError(answer["failed"])

    def run(self, job: dict[str, Any]) -> Outcome:
        """Measure one candidate; never raises on its account."""
        self.start()
        begin, phase = time.monotonic(), "build"
        build_seconds = 0.0
        deadline = begin + self.limits.seconds(phase)
        try:
            self._send(job)
            while "phase" in (answer := self._receive(deadline)):
                now = time.monotonic()
                build_seconds = now - begin if answer["phase"] == "run" else build_seconds
                phase = answer["phase"]
                deadline = now + self.limits.seconds(phase)
        except _Late:
            self.kill()
            status = Status.BUILD_TIMEOUT if phase == "build" else Status.RUN_TIMEOUT
            outcome = Outcome(status, f"{phase} took more than {self.limits.seconds(phase):g} s")
        except (_Ended, BrokenPipeError):
            outcome = self._death(phase)
        except BaseException:  # an interrupt: the worker is in the middle of a job that nobody waits for
            self.kill()
            raise
        else:
            outcome = _outcome(answer)
        times = {"build_seconds": build_seconds, "wall_seconds": time.monotonic() - begin}
        return Outcome(outcome.status, outcome.reason, outcome.seconds, outcome.spread, outcome.runs, **times)

    def kill(self) -> None:
        """End the process and all it started, now."""
        if self._process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._process = None
        os.close(self._read)
        os.close(self._write)

    def close(self) -> None:
        """End the process and give back all resources."""
        self.kill()
        self._output.close()

    def _send(self, message: dict[str, Any]) -> None:
        data = json.dumps(message).encode() + b"\n"
        while data:
            data = data[os.write(self._write, data) :]

    def _receive(self, deadline: float) -> dict[str, Any]:
        poll = select.poll()
        poll.register(self._read, select.POLLIN)
        while b"\n" not in self._pending:
            left = deadline - time.monotonic()
            if left <= 0 or not poll.poll(1000 * left):
                raise _Late
            data = os.read(self._read, 1 << 16)
            if not data:
                raise _Ended
            self._pending += data
        line, _, self._pending = self._pending.partition(b"\n")
        return json.loads(line)

    def _death(self, phase: str) -> Outcome:
        """The worker died by itself: why."""
        assert self._process is not None
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=5)
        code = self._process.poll()
        said = self._said()
        self.kill()
        memory = code == -signal.SIGKILL or any(word in said.lower() for word in _MEMORY_WORDS)
        if code is not None and code < 0:
            reason = f"killed by {signal.Signals(-code).name} in {phase}"
        else:
            reason = f"exited with code {code} in {phase}"
        reason += f": {said}" if said else ""
        return Outcome(Status.OUT_OF_MEMORY if memory else Status.CRASH, reason)

    def _said(self) -> str:
        """The last lines of the worker's own output."""
        size = self._output.seek(0, os.SEEK_END)
        self._output.seek(max(0, size - 2000))
        lines = self._output.read().decode(errors="replace").strip().splitlines()
        return " | ".join(line.strip() for line in lines[-3:])[-300:]


def _outcome(answer: dict[str, Any]) -> Outcome:
    if "done" in answer:
        return Outcome(Status.OK, **answer["done"])
    return Outcome(Status(answer["status"]), answer["reason"])
