"""Entries for the measuring worker that misbehave on demand: the job says how."""

import ctypes
import os
import sys
import time
from pathlib import Path

from autotune.measure.outcome import WrongAnswer


def entry(setup):
    if setup.get("broken"):
        raise ValueError("no such task")
    if "only one" in setup:
        Path(setup["only one"]).touch(exist_ok=False)
    served = 0

    def run(job, built):
        nonlocal served
        served += 1
        act(job.get("build", ""))
        built()
        told = job["best"] if job.get("run") == "tell best" else act(job.get("run", ""))
        return {"seconds": job.get("seconds", 1e-3) if told is None else told, "spread": 0.01, "runs": served}

    return run


def build(setup):
    """For builders that leave a file to those who measure."""

    def run(job, built):
        act(job.get("build", ""))
        Path(job["file"]).touch()
        return {}

    return run


def measure(setup):
    """For a device, which has to find the file."""
    run = entry(setup)

    def find_and_run(job, built):
        assert Path(job["file"]).exists()
        return run({**job, "build": ""}, built)

    return find_and_run


def act(what):
    word, *rest = what.split(" ", 1) if what else ("", "")
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
    if what == "bad_alloc":
        os.write(2, b"terminate called after throwing an instance of 'std::bad_alloc'\n")
        os.abort()
    if what == "print":
        print('{"done": {"seconds": 0}}\n' * 1000)
        print("garbage \x00\xff" * 1000, file=sys.stderr, flush=True)
    if what == "leave a child":
        os.spawnlp(os.P_NOWAIT, "sleep", "sleep", "61.5")
        time.sleep(60)
    if what == "full disk":
        with open("/dev/full", "w") as stream:
            stream.write("x")
    if word == "sleep":
        time.sleep(float(rest[0]))
    if word == "write":  # until the one who watches has seen enough
        file = Path(rest[0].removeprefix("to "))
        while not file.with_suffix(".seen").exists():
            with file.open("a") as stream:
                stream.write("x")
            time.sleep(0.02)
    if word == "say":
        file, _, more = rest[0].partition(" and ")
        Path(file).write_text(str(os.getpid()))
        act(more)
    if word == "wait":
        while not Path(rest[0].removeprefix("for ")).exists():
            time.sleep(0.01)
    if word == "watch":
        file, seconds = rest[0].split(" for ")
        return watch(Path(file), float(seconds))
    return None


def watch(file, seconds):
    """How much the file grows, within so many seconds at the latest."""
    size, end = file.stat().st_size, time.monotonic() + seconds
    while file.stat().st_size == size and time.monotonic() < end:
        time.sleep(0.01)
    grown = file.stat().st_size - size
    file.with_suffix(".seen").touch()
    return grown
