"""Entries for the measuring worker that misbehave on demand: the job says how."""

import ctypes
import os
import sys
import time

from autotune.measure.outcome import WrongAnswer


def entry(setup):
    if setup.get("broken"):
        raise ValueError("no such task")
    served = 0

    def run(job, phase):
        nonlocal served
        served += 1
        phase("build")
        act(job.get("build", ""))
        phase("run")
        act(job.get("run", ""))
        return {"seconds": job.get("seconds", 1e-3), "spread": 0.01, "runs": served}

    return run


def act(what):
    if what == "raise":
        raise ValueError("bad luck")
    if what == "wrong":
        raise WrongAnswer("C[0, 0] is 1, expected 2")
    if what == "segfault":
        ctypes.string_at(0)
    if what == "hang":
        time.sleep(60)
    if what == "hang in native code":
        ctypes.CDLL(None).sleep(60)
    if what == "exit":
        os._exit(3)
    if what == "killed":
        os.kill(os.getpid(), 9)
    if what == "memory":
        b"x" * (1 << 34)
    if what == "print":
        print('{"done": {"seconds": 0}}\n' * 1000)
        print("garbage \x00\xff" * 1000, file=sys.stderr, flush=True)
    if what == "leave a child":
        os.spawnlp(os.P_NOWAIT, "sleep", "sleep", "61.5")
        time.sleep(60)
