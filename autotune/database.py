"""The log of measurements: JSON lines, one self-contained record a line, appended under a lock.

Reading never evaluates anything. A line that cannot be read is skipped with a warning that says where and why; a
torn last line (a writer was killed) is cut off from the next record by a newline.
"""

from __future__ import annotations

import dataclasses
import fcntl
import json
import math
import os
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from autotune.measure.outcome import Status

VERSION = 1
MAX_LINE_BYTES = 4 << 20


@dataclass(frozen=True)
class Record:
    """One measurement of one candidate of one task.

    key: hash of task and target; task: readable; target: its facts; sketch and knobs: where in the space;
    trace: literal schedule steps, as Trace.to_json; names: what they call the task's parts; seconds: median of one
    run, or None; run: 0 for the first measurement, 1 ... for later passes over the leaders; flops: floating-point
    operations of the task.
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


class Database:
    """The records in a file, or in memory if `path` is None. Raises FileNotFoundError if its folder is not there.

    Example: `db = Database("tuned.jsonl"); db.append([record]); best(db.records(key))`.
    """

    def __init__(self, path: str | Path | None = None):
        self.path = None if path is None else Path(path)
        if self.path is not None and not self.path.parent.is_dir():
            raise FileNotFoundError(f"log: there is no folder {str(self.path.parent)!r}")
        self._records = [] if self.path is None else list(read(self.path))

    def records(self, key: str | None = None) -> list[Record]:
        """All records, or those of one task, oldest first."""
        return [r for r in self._records if key is None or r.key == key]

    def append(self, records: Iterable[Record]) -> None:
        """Remember and write out `records`; whole lines reach the file, whoever else writes to it."""
        records = list(records)
        self._records.extend(records)
        if self.path is not None and records:
            write(self.path, records)


def write(path: Path, records: Iterable[Record]) -> None:
    """Append `records` to the file, which is made if it is not there."""
    data = b"".join(json.dumps(dataclasses.asdict(r), allow_nan=False).encode() + b"\n" for r in records)
    with open(path, "ab+") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        end = stream.seek(0, os.SEEK_END)
        if end:
            stream.seek(end - 1)
            if stream.read(1) != b"\n":
                data = b"\n" + data
        stream.write(data)
        stream.flush()


def read(path: Path) -> Iterator[Record]:
    """The records of the file in order; unreadable lines are skipped with a warning. No file: no records."""
    if not path.exists():
        return
    with open(path, "rb") as stream:
        for number, line in enumerate(stream, 1):
            if not line.strip():
                continue
            try:
                yield parse(line)
            except (ValueError, RecursionError) as error:
                torn = " (torn: its writer was interrupted)" if not line.endswith(b"\n") else ""
                warnings.warn(f"{path}, line {number} skipped{torn}: {error}", stacklevel=2)


def parse(line: bytes) -> Record:
    """One line of the log. Raises ValueError if it is not a record of this version."""
    if len(line) > MAX_LINE_BYTES:
        raise ValueError(f"{len(line)} bytes, more than a record ever has")
    data = json.loads(line)
    if not isinstance(data, dict):
        raise ValueError(f"expected an object, got {type(data).__name__}")
    if data.get("version") != VERSION:
        raise ValueError(f"expected version {VERSION}, got {data.get('version')!r}")
    known = {f.name: f for f in dataclasses.fields(Record)}
    values = {name: value for name, value in data.items() if name in known}
    for name, spec in known.items():
        required = spec.default is dataclasses.MISSING and spec.default_factory is dataclasses.MISSING
        if name not in values:
            if required:
                raise ValueError(f"no {name}")
        elif not _fits(values[name], str(spec.type)):
            raise ValueError(f"{name}: expected {spec.type}, got {str(values[name])[:60]!r}")
    if values["status"] not in Status.__members__:
        raise ValueError(f"unknown status {values['status'][:60]!r}")
    record = Record(**values)
    if record.ok and record.seconds is None:
        raise ValueError("status OK without seconds")
    return record


def best(records: Iterable[Record]) -> Record | None:
    """The record of the fastest candidate, its `seconds` being the median over its passes; None if none worked."""
    ranking = rank(records)
    return ranking[0] if ranking else None


def rank(records: Iterable[Record]) -> list[Record]:
    """One record for each candidate that worked, fastest first: `seconds` is the median over its passes.

    A candidate that failed in any pass is left out.
    """
    groups: dict[str, list[Record]] = {}
    for record in records:
        groups.setdefault(record.candidate, []).append(record)
    medians = [_median_pass(group) for group in groups.values() if all(r.ok for r in group)]
    return sorted(medians, key=lambda r: r.seconds or math.inf)


def _median_pass(group: list[Record]) -> Record:
    times = sorted(r.seconds for r in group if r.seconds is not None)
    middle = len(times) // 2
    median = times[middle] if len(times) % 2 else (times[middle - 1] + times[middle]) / 2
    return dataclasses.replace(group[0], seconds=median, run=len(group) - 1)


def _fits(value: Any, spec: str) -> bool:
    """Whether a JSON value has the type that an annotation of Record names."""
    number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    checks = {
        "str": isinstance(value, str),
        "int": number and isinstance(value, int) and 0 <= value < 1 << 63,
        "float": number and 0 <= value < 1e18,
        "float | None": value is None or (number and 0 < value < 1e18),
        "list[str]": isinstance(value, list) and all(isinstance(v, str) for v in value),
        "dict[str, Any]": isinstance(value, dict),
        "dict[str, int]": isinstance(value, dict) and all(type(v) is int and abs(v) < 1 << 63 for v in value.values()),
    }
    return checks[spec]
