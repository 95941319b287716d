"""A tuning run among faults: `python -m tests.tools.fault_run [--candidates 1000] [--faults 200]`.

All candidates of a space are really built, run and checked, and get recorded times (a hash of their steps). Some are
made to fail in every way there is, the fault-free winner apart. The run must complete, tell each end by its right
status, leave no process behind, and find the winner of the fault-free run. tests/autotune/test_faults.py runs it small.
"""

from __future__ import annotations

import argparse
import ctypes
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from autotune.measure.candidate import Reference
from autotune.measure.outcome import Limits, Status
from autotune.measure.runner import LocalRunner
from autotune.measure.worker import Built, Run
from autotune.progress import Lines, Progress
from autotune.space import Sketch
from autotune.task import Kernel, Task
from autotune.tuner import Result, tune
from autotune.workload import parse
from autotune.zero_trial import open_spaces

ENDS = {  # of each fault
    "segfault": Status.CRASH,
    "segfault in the compiler": Status.CRASH,
    "hang": Status.RUN_TIMEOUT,
    "hang with a child": Status.RUN_TIMEOUT,
    "exhaust memory": Status.OUT_OF_MEMORY,
    "exhaust memory in native code": Status.OUT_OF_MEMORY,
    "be killed": Status.CRASH,
    "exit": Status.CRASH,
    "hang in the compiler": Status.BUILD_TIMEOUT,
    "give a wrong result": Status.WRONG_ANSWER,
    "write beside the output": Status.WRONG_ANSWER,
    "write to the input": Status.CRASH,
    "meet a full disk in the compiler": Status.BUILD_ERROR,
    "meet a full disk": Status.RUN_ERROR,
}
LIMITS = Limits(build_seconds=10, run_seconds=4, memory_bytes=1 << 30)
_CHILD = "7654.25"  # seconds that a child sleeps: what tells it apart


def entry(setup: dict[str, Any]) -> Run:
    """The worker's work, with faults: setup names a file of {digest of a trace: fault}."""
    task = Task.from_json(setup["task"])
    reference = Reference(task, setup["seed"], Path(setup["scratch"]))
    faults = json.loads(Path(setup["faults"]).read_text())

    def run(job: dict[str, Any], built: Built) -> dict[str, Any]:
        fault = faults.get(digest(job["trace"]), "")
        act(fault if fault.endswith("in the compiler") else "")
        kernel = task.build(task.replay(job["trace"], job["names"]))
        built()
        act(fault)
        answer = reference.measure(Wrong(kernel, fault), job["number"] % 2, None)  # type: ignore[arg-type]
        return {**answer, "seconds": recorded(job["trace"])}

    return run


class Wrong:
    """A kernel that does its work and then, if so told, some harm."""

    def __init__(self, kernel: Kernel, fault: str):
        self._kernel, self._fault = kernel, fault

    def __call__(self, *inputs: np.ndarray, out: np.ndarray) -> None:
        self._kernel(*inputs, out=out)
        if self._fault == "give a wrong result":
            out[-1, -1] += np.float32(0.01)
        elif self._fault == "write beside the output":
            ctypes.memset(out.ctypes.data + out.nbytes, 0, 4)
        elif self._fault == "write to the input":
            ctypes.memset(inputs[0].ctypes.data, 0, 4)

    def time(self, *inputs: np.ndarray, **how: Any) -> Any:
        return self._kernel.time(*inputs, **{**how, "min_seconds": 1e-5})


def act(fault: str) -> None:
    """Go wrong."""
    if fault.startswith("segfault"):
        ctypes.string_at(0)
    elif fault == "hang with a child":
        subprocess.Popen(["sleep", _CHILD])
        time.sleep(3600)
    elif fault.startswith("hang"):
        ctypes.CDLL(None).pause()
    elif fault == "exhaust memory":
        bytearray(1 << 40)
    elif fault == "exhaust memory in native code":
        native = ctypes.CDLL(None)
        native.malloc.restype = ctypes.c_void_p
        while native.malloc(ctypes.c_size_t(1 << 20)):
            pass
        os.write(2, b"terminate called after throwing an instance of 'std::bad_alloc'\n")
        os.abort()
    elif fault == "be killed":
        os.kill(os.getpid(), signal.SIGKILL)
    elif fault == "exit":
        os._exit(1)
    elif fault.startswith("meet a full disk"):
        with open("/dev/full", "wb", buffering=0) as stream:
            stream.write(b"x")


def digest(trace: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(trace, sort_keys=True).encode()).hexdigest()


def recorded(trace: dict[str, Any]) -> float:
    """The time of a candidate, whenever it is measured."""
    return 1e-3 * (1 + int(digest(trace)[:8], 16) / (1 << 32))


def space(candidates: int) -> Sketch:
    """A sketch for a matmul with so many candidates, or a few more."""
    side = next(n for n in range(1, 100) if n**3 >= candidates)
    choices = list(range(1, side + 1))

    def write(s: Any, knob: Any) -> None:
        i, j, k = s.loops("C")
        i0, i1 = s.split(i, [None, knob("i", choices)])
        j0, j1 = s.split(j, [None, knob("j", choices)])
        k0, k1 = s.split(k, [None, knob("k", choices[: -(-candidates // side**2)])])
        s.reorder(i0, j0, k0, i1, k1, j1)

    return Sketch("tiles", write)


def run(candidates: int, faults: int, seed: int = 0, free: bool = True, show: Progress | None = None) -> dict[str, Any]:
    """Tune among faults; free: also without them, else the winner follows from the recorded times."""
    task = parse("matmul:12,12,12")
    sketch = space(candidates)
    (opened,) = open_spaces(task, [sketch])
    traces = [opened.trace(opened.named(values)) for values in opened.rows.tolist()]
    expected = digest(min(traces, key=recorded))
    if free:
        found = _tune(task, sketch, len(traces), {}, show)
        assert found.best is not None and digest(found.best.trace) == expected
        assert not found.failures
    rng = random.Random(seed)
    victims = rng.sample([d for d in map(digest, traces) if d != expected], faults)
    kinds = list(ENDS)
    plan = {victim: kinds[n % len(kinds)] for n, victim in enumerate(victims)}
    begin, before = time.monotonic(), left_behind()
    result = _tune(task, sketch, len(traces), plan, show)
    wrong = []
    for record in result.history:
        fault = plan.get(digest(record.trace))
        wanted = Status.OK if fault is None else ENDS[fault]
        if record.status != wanted.value:
            wrong.append(f"{fault}: {record.status} ({record.reason}), expected {wanted.value}")
    assert result.best is not None
    return {
        "candidates": len({r.candidate for r in result.history}),
        "faults": len(plan),
        "statuses": dict(Counter(r.status for r in result.history if r.run == 0)),
        "wrongly_classified": wrong,
        "winner_is_the_fault_free_one": digest(result.best.trace) == expected,
        "processes_left": [command for pid, command in left_behind().items() if pid not in before],
        "seconds": round(time.monotonic() - begin, 1),
    }


def _tune(task: Task, sketch: Sketch, trials: int, plan: dict[str, str], show: Progress | None) -> Result:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "faults.json"
        file.write_text(json.dumps(plan))
        setup = {"task": task.to_json(), "seed": 0, "faults": str(file)}
        with LocalRunner(setup, LIMITS, entry=f"{entry.__module__}:entry".replace("__main__", __spec__.name)) as runner:
            log = Path(folder) / "log.jsonl"
            return tune(task, trials=trials, log=log, sketches=[sketch], runner=runner, show=show)


def left_behind() -> dict[str, str]:
    """The processes that workers are or have started, and that still run: pid -> command line. There may be some that
    another run has left, which was killed."""
    found = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            try:
                command = folder.joinpath("cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue
            if _CHILD in command or ("autotune.measure.worker" in command and f", {os.getpid()})" in command):
                found[folder.name] = command
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--candidates", type=int, default=1000)
    parser.add_argument("--faults", type=int, default=200)
    parser.add_argument(
        "--no-free", action="store_true", help="no run without faults: its winner follows from the times"
    )
    options = parser.parse_args()
    report = run(options.candidates, options.faults, free=not options.no_free, show=Lines())
    print(json.dumps(report, indent=1))
    good = not report["wrongly_classified"] and not report["processes_left"] and report["winner_is_the_fault_free_one"]
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
