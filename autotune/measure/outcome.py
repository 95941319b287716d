"""How the measurement of one candidate can end."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any


class Status(str, Enum):
    """What became of a candidate. Everything but OK is a failure, with its reason in words.

    >>> [status.value for status in autotune.Status][:2]
    ['OK', 'BUILD_ERROR']
    """

    OK = "OK"
    BUILD_ERROR = "BUILD_ERROR"
    BUILD_TIMEOUT = "BUILD_TIMEOUT"
    RUN_ERROR = "RUN_ERROR"
    RUN_TIMEOUT = "RUN_TIMEOUT"
    CRASH = "CRASH"
    OUT_OF_MEMORY = "OUT_OF_MEMORY"
    WRONG_ANSWER = "WRONG_ANSWER"


@dataclass(frozen=True)
class Outcome:
    """The end of one candidate: `seconds` is the median run, `spread` the relative distance between the quartiles.

    machine: facts about the one that measured, if it was not this one.
    """

    status: Status
    reason: str = ""
    seconds: float | None = None
    spread: float = 0.0
    runs: int = 0
    build_seconds: float = 0.0
    wall_seconds: float = 0.0
    machine: dict[str, Any] | None = None


@dataclass(frozen=True)
class Limits:
    """What a candidate may take: seconds for each phase, bytes of memory on top of what an idle worker uses.

    >>> autotune.Limits(run_seconds=2.0).seconds("run")
    2.0
    """

    start_seconds: float = 120.0
    build_seconds: float = 20.0
    run_seconds: float = 10.0
    memory_bytes: int = 4 << 30

    def seconds(self, phase: str) -> float:
        return {"start": self.start_seconds, "build": self.build_seconds, "run": self.run_seconds}[phase]


LIMITS = Limits()


class WrongAnswer(Exception):
    """Raised by a candidate's check: the numbers are not those of the reference."""


class WorkerError(Exception):
    """A worker could not be set up at all, so that no candidate can be measured.

    >>> raise autotune.WorkerError("the worker did not start within 120 s")
    Traceback (most recent call last):
    ...
    autotune.measure.outcome.WorkerError: the worker did not start within 120 s
    """
