"""The worker process: reads jobs as JSON lines, runs them, answers as JSON lines.

It does what candidates may do to it: crash, hang, print, eat memory. The parent (process.py) watches.
The work itself is a function named by the parent, `module:function`. Called with the setup, it returns a function
`run(job, built) -> dict` that builds, calls `built()`, which waits for the parent's leave to run and adds its news to
the job, and then runs.
"""

from __future__ import annotations

import ctypes
import faulthandler
import importlib
import json
import os
import queue
import resource
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from autotune.measure.outcome import WrongAnswer

_PR_SET_PDEATHSIG = 1
_STATM = Path("/proc/self/statm")
_MAX_FILE_BYTES = 64 << 20  # a candidate that prints without end must not fill the disk
Built = Callable[[], None]
Run = Callable[[dict[str, Any], Built], dict[str, Any]]


def main(read_fd: int, write_fd: int, parent: int) -> None:
    """Serve jobs from `read_fd` until it ends; answers go to `write_fd`; all other output is the candidates'."""
    _die_with(parent)
    faulthandler.enable()
    for fd in (read_fd, write_fd):  # what a candidate starts must not keep the pipes open
        os.set_inheritable(fd, False)
    lines = _lines(read_fd)

    def answer(message: dict[str, Any]) -> None:
        _write_all(write_fd, json.dumps(message).encode() + b"\n")

    def receive() -> dict[str, Any]:
        return json.loads(lines.get())

    hello = receive()
    cores = hello["cores"]
    _use(cores, "run")  # before anything counts them
    try:
        module, _, function = hello["entry"].partition(":")
        run: Run = getattr(importlib.import_module(module), function)(hello["setup"])
    except Exception as error:  # a boundary between processes: whatever went wrong is told to the parent
        answer({"failed": _describe(error)})
        return
    _limit(hello["memory_bytes"])
    answer({"ready": True})
    while True:
        job, running = receive(), False
        _use(cores, "build")

        def built(job: dict[str, Any] = job) -> None:
            nonlocal running
            answer({"built": True})
            job.update(receive()["go"])
            running = True
            _use(cores, "run")

        try:
            answer({"done": run(job, built)})
        except MemoryError as error:
            answer({"status": "OUT_OF_MEMORY", "reason": _describe(error)})
        except WrongAnswer as error:
            answer({"status": "WRONG_ANSWER", "reason": str(error)})
        except Exception as error:  # the same boundary
            answer({"status": "RUN_ERROR" if running else "BUILD_ERROR", "reason": _describe(error)})


def _describe(error: Exception) -> str:
    text = str(error).strip()
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _die_with(parent: int) -> None:
    """End when the parent ends, even in the middle of native code; workers exist for their parent only.

    Where the system cannot do that, the end of the pipe does (see _lines).
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before the line above
        os._exit(1)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _use(cores: dict[str, list[int]], phase: str) -> None:
    """Stay on the CPUs that are meant for a phase, if any are named. Threads that run already stay where they are."""
    if phase in cores and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, cores[phase])


def _limit(extra_bytes: int) -> None:
    """Bound what candidates may take; the setup, which is ours, is past."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (_MAX_FILE_BYTES, _MAX_FILE_BYTES))
    if _STATM.exists():
        now = int(_STATM.read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (now + extra_bytes, now + extra_bytes))


def _lines(fd: int) -> queue.SimpleQueue[bytes]:
    """The lines that arrive at `fd`. A thread reads them, so that the end of the pipe ends even a busy worker."""
    lines: queue.SimpleQueue[bytes] = queue.SimpleQueue()

    def read() -> None:
        with os.fdopen(fd, "rb") as stream:
            for line in stream:
                lines.put(line)
        os._exit(0)

    threading.Thread(target=read, daemon=True).start()
    return lines


def _write_all(fd: int, data: bytes) -> None:
    while data:
        data = data[os.write(fd, data) :]
