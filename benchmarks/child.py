"""The process of one contender. harness.py starts it and speaks JSON lines with it, a request and an answer at a time.

    -> {"setup": "benchmarks.matmul:numpy_matmul", "arguments": {"n": 1024}}
    <- {"versions": {"numpy": "2.4.0", ...}}
    -> {"min_seconds": 0.1}                                            run for at least that long
    <- {"seconds": 0.0118, "calls": 9}                                 seconds a call

It imports nothing but the standard library and the contender's own module, so it runs in any environment.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
import traceback
from collections.abc import Callable
from typing import Any

from benchmarks import machine

Contestant = Callable[[], float | None]


def main() -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print must not get between the answers
    run: Contestant | None = None
    for line in sys.stdin:
        request = json.loads(line)
        try:
            if run is None:
                run = prepare(request["setup"], request["arguments"])
                answer: dict[str, Any] = {"versions": machine.versions()}
            else:
                answer = turn(run, request["min_seconds"])
        except Exception:  # whatever a contender raises is reported, with its traceback
            answer = {"error": traceback.format_exc()}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def prepare(setup: str, arguments: dict[str, Any]) -> Contestant:
    """The function to measure: what `module:function`, called with `arguments`, returns."""
    module, _, function = setup.partition(":")
    return getattr(importlib.import_module(module), function)(**arguments)


def turn(run: Contestant, min_seconds: float) -> dict[str, Any]:
    """One warm-up call, then calls for at least `min_seconds`. A `run` that returns seconds measures itself."""
    run()
    calls, own = 0, 0.0
    start = time.perf_counter()
    while True:
        seconds = run()
        calls += 1
        own += seconds or 0.0
        elapsed = time.perf_counter() - start
        if elapsed >= min_seconds:
            return {"seconds": (elapsed if seconds is None else own) / calls, "calls": calls}


if __name__ == "__main__":
    main()
