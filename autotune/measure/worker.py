"""The worker process: reads jobs as JSON lines, runs them, answers as JSON lines.

It does what candidates may do to it: crash, hang, print, eat memory. The parent (process.py) watches.
The work itself is a function named by the parent, `module:function`. Called with the setup, it returns a function
`run(job, phase) -> dict` that announces its phases, "build" and then "run", through `phase(name)`.
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
from typing import Any

from autotune.measure.outcome import WrongAnswer

_PR_SET_PDEATHSIG = 1
_MAX_FILE_BYTES = 64 << 20  # a candidate that prints without end must not fill the disk
Phase = Callable[[str], None]
Run = Callable[[dict[str, Any], Phase], dict[str, Any]]


def main(read_fd: int, write_fd: int, parent: int) -> None:
    """Serve jobs from `read_fd` until it ends; answers go to `write_fd`; all other output is the candidates'."""
    _die_with(parent)
    faulthandler.enable()
    lines = _lines(read_fd)

    def answer(message: dict[str, Any]) -> None:
        _write_all(write_fd, json.dumps(message).encode() + b"\n")

    setup = json.loads(lines.get())
    try:
        module, _, function = setup["entry"].partition(":")
        run: Run = getattr(importlib.import_module(module), function)(setup["setup"])
    except Exception as error:  # a boundary between processes: whatever went wrong is told to the parent
        answer({"failed": _describe(error)})
        return
    _limit(setup["memory_bytes"])
    answer({"ready": True})
    while True:
        answer(_serve(run, json.loads(lines.get()), answer))


def _serve(run: Run, job: dict[str, Any], answer: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    current = "build"

    def phase(name: str) -> None:
        nonlocal current
        current = name
        answer({"phase": name})

    try:
        return {"done": run(job, phase)}
    except MemoryError as error:
        return {"status": "OUT_OF_MEMORY", "reason": _describe(error)}
    except WrongAnswer as error:
        return {"status": "WRONG_ANSWER", "reason": str(error)}
    except Exception as error:  # the same boundary
        return {"status": "BUILD_ERROR" if current == "build" else "RUN_ERROR", "reason": _describe(error)}


def _describe(error: Exception) -> str:
    text = str(error).strip()
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _die_with(parent: int) -> None:
    """End when the parent ends, even in the middle of native code; workers exist for their parent only."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before the line above
        os._exit(1)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _limit(extra_bytes: int) -> None:
    """Bound what candidates may take; the setup, which is ours, is past."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (_MAX_FILE_BYTES, _MAX_FILE_BYTES))
    with open("/proc/self/statm") as statm:
        now = int(statm.read().split()[0]) * resource.getpagesize()
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


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
