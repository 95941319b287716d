"""One measurement as a line of JSON: what is in it, and how a line of unknown origin is checked.

Reading evaluates nothing. A line is either a whole record, with every field of its type, finite numbers, known
primitives and modest nesting, or refused with the reason.
"""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timezone
from itertools import accumulate
from typing import Any

from autotune.measure.outcome import Status
from autotune.task import primitives

VERSION = 1
MAX_LINE_BYTES = 1 << 20
_MAX_DEPTH = 40
_ESCAPE = re.compile(rb"\\.")
_BRACKETS = b"[]{}"
_NO_BRACKETS = bytes(set(range(256)) - set(_BRACKETS))
_STEPS = bytes.maketrans(_BRACKETS, bytes([0, 2, 0, 2]))  # 1 minus these is 1 for opening and -1 for closing


@dataclass(frozen=True)
class Record:
    """One measurement of one candidate of one task.

    key: hash of task and target; task: readable; target: its facts; sketch and knobs: where in the space;
    trace: literal schedule steps, as Trace.to_json; names: what they call the task's parts; seconds: median of one
    run, or None; expected: the seconds that the cost model foresaw; run: 0 for the first measurement, 1 ... for later
    passes over the leaders; flops: floating-point operations of the task.

    >>> r.best.status, r.best.seconds > 0, r.best.gflops > 0
    ('OK', True, True)
    """

    key: str
    task: str
    target: dict[str, Any]
    sketch: str
    knobs: dict[str, int]
    trace: dict[str, Any]
    status: str
    names: list[str] = field(default_factory=list)
    reason: str = ""
    seconds: float | None = None
    expected: float | None = None
    spread: float = 0.0
    runs: int = 0
    run: int = 0
    flops: int = 0
    seed: int = 0
    build_seconds: float = 0.0
    wall_seconds: float = 0.0
    machine: dict[str, Any] = field(default_factory=dict)
    when: str = field(default_factory=lambda: datetime.now(timezone.utc).isoformat(timespec="seconds"))
    version: int = VERSION

    @property
    def ok(self) -> bool:
        return self.status == Status.OK.value

    @property
    def candidate(self) -> str:
        """What tells candidates of one task apart."""
        return json.dumps([self.sketch, self.knobs], sort_keys=True)

    @property
    def gflops(self) -> float:
        """10^9 floating-point operations a second; 0 for a failure."""
        return self.flops / self.seconds / 1e9 if self.seconds else 0.0


def processor(record: Record) -> str:
    """What the candidate ran on."""
    return str(record.machine.get("gpu") or record.machine.get("cpu", "an unknown CPU"))


def to_line(record: Record) -> bytes:
    """The line of a log that `parse` reads."""
    return json.dumps(vars(record), allow_nan=False).encode() + b"\n"


def parse(line: bytes) -> Record:
    """One line of the log. Raises ValueError if it is not a record of this version."""
    if len(line) > MAX_LINE_BYTES:
        raise ValueError(f"{len(line)} bytes, more than a record ever has")
    if _depth(line) > _MAX_DEPTH:
        raise ValueError("nested too deeply")
    data = json.loads(line, parse_constant=_not_finite, parse_float=_finite)
    if not isinstance(data, dict):
        raise ValueError(f"expected an object, got {type(data).__name__}")
    if data.get("version") != VERSION:
        raise ValueError(f"expected version {VERSION}, got {_short(data.get('version'))}")
    values = {name: value for name, value in data.items() if name in _CHECKS}
    for name, (spec, fits, required) in _CHECKS.items():
        if name in values:
            if not fits(values[name]):
                raise ValueError(f"{name}: expected {spec}, got {_short(values[name])}")
        elif required:
            raise ValueError(f"no {name}")
    if values["status"] not in Status.__members__:
        raise ValueError(f"unknown status {_short(values['status'])}")
    record = Record(**values)
    if record.ok and record.seconds is None:
        raise ValueError("status OK without seconds")
    _check_steps(record.trace.get("steps", []))
    return record


def _check_steps(steps: Any) -> None:
    if not isinstance(steps, list):
        raise ValueError(f"trace: expected a list of steps, got {_short(steps)}")
    for number, step in enumerate(steps, 1):
        if not isinstance(step, dict) or not isinstance(step.get("args"), dict) or not _strings(step.get("out")):
            raise ValueError(f"trace: step {number} is no step: {_short(step)}")
        if not isinstance(step.get("op"), str) or step["op"] not in primitives():
            raise ValueError(f"trace: step {number} is no primitive: {_short(step.get('op'))}")


# ------------------------------------------------------------------------------------------------ checks of values
def _finite(text: str) -> float:
    value = float(text)
    return value if math.isfinite(value) else _not_finite(text)


def _not_finite(text: str) -> float:
    raise ValueError(f"{text[:60]} is no finite number")


def _depth(line: bytes) -> int:
    """How deeply objects and lists are nested, in text that may be no JSON at all."""
    outside_of_strings = b"".join(_ESCAPE.sub(b"", line).split(b'"')[::2])
    brackets = outside_of_strings.translate(_STEPS, _NO_BRACKETS)
    return max(accumulate(1 - step for step in brackets), default=0)


def _strings(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(v, str) for v in value)


def _number(value: Any, least: float, limit: float) -> bool:
    return type(value) in (int, float) and least <= value < limit


_FITS: dict[str, Callable[[Any], bool]] = {
    "str": lambda v: isinstance(v, str),
    "int": lambda v: type(v) is int and 0 <= v < 1 << 63,
    "float": lambda v: _number(v, 0, 1e18),
    "float | None": lambda v: v is None or (_number(v, 0, 1e18) and v > 0),
    "list[str]": _strings,
    "dict[str, Any]": lambda v: isinstance(v, dict),
    "dict[str, int]": lambda v: isinstance(v, dict) and all(type(n) is int and abs(n) < 1 << 63 for n in v.values()),
}
_CHECKS = {
    f.name: (
        str(f.type),
        _FITS[str(f.type)],
        f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING,
    )
    for f in dataclasses.fields(Record)
}


def _short(value: Any) -> str:
    """A value for a message: its beginning, with nothing that a terminal would obey."""
    return repr(value if isinstance(value, int | float | str) and len(str(value)) < 60 else str(value)[:60])
