"""The log of measurements: JSON lines, one self-contained record a line (record.py), appended under a lock.

Reading never evaluates anything. A line that cannot be read is skipped with a warning that says where and why; a
torn last line (a writer was killed) is cut off from the next record by a newline.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import fcntl
import math
import os
import tempfile
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from autotune.record import MAX_LINE_BYTES, Record, parse, to_line

_WARNINGS = 3  # lines to name of those that cannot be read; the others are counted
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO}


class Database:
    """The records in a file, or in memory if `path` is None. Raises FileNotFoundError if its folder is not there.

    Example: `db = Database("tuned.jsonl"); db.append([record]); best(db.records(key))`.
    """

    def __init__(self, path: str | Path | None = None):
        self.path = None if path is None else Path(path)
        if self.path is not None and not self.path.parent.is_dir():
            raise FileNotFoundError(f"log: there is no folder {str(self.path.parent)!r}")
        self._records = [] if self.path is None else list(read(self.path))
        self._unsaved: list[Record] = []

    def records(self, key: str | None = None) -> list[Record]:
        """All records, or those of one task, oldest first."""
        return [r for r in self._records if key is None or r.key == key]

    def append(self, records: Iterable[Record]) -> None:
        """Remember and write out `records`; whole lines reach the file, whoever else writes to it.

        On a full disk they are kept, with a warning, and written with the next ones.
        """
        records = list(records)
        self._records.extend(records)
        if self.path is None:
            return
        before = len(self._unsaved)
        self._unsaved += records
        try:
            write(self.path, self._unsaved)
        except OSError as error:
            if error.errno not in _FULL:
                raise
            if not before:
                warnings.warn(f"{self.path}: {error.strerror}; what is measured from here on is kept", stacklevel=2)
        else:
            self._unsaved = []

    def rescue(self) -> Path | None:
        """The file, in the folder for temporary ones, that takes what the log could not; None if nothing is left.

        Raises OSError if there is no room either.
        """
        assert self.path is not None or not self._unsaved
        with contextlib.suppress(OSError):
            self.append([])
        if not self._unsaved or self.path is None:
            return None
        handle, name = tempfile.mkstemp(prefix=f"{self.path.stem}-", suffix=".jsonl")
        os.close(handle)
        write(Path(name), self._unsaved)
        self._unsaved = []
        return Path(name)


def write(path: Path, records: Iterable[Record]) -> None:
    """Append `records` to the file, which is made if it is not there: all of them, or none and OSError."""
    data = b"".join(map(to_line, records))
    with open(path, "ab+", buffering=0) as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        end = stream.seek(0, os.SEEK_END)
        if end and data:
            stream.seek(end - 1)
            if stream.read(1) != b"\n":
                data = b"\n" + data
        try:
            while data:
                data = data[stream.write(data) :]
        except OSError:
            with contextlib.suppress(OSError):  # a device has no length
                stream.truncate(end)
            raise


def read(path: Path) -> Iterator[Record]:
    """The records of the file in order; unreadable lines are skipped with a warning. No file: no records."""
    if not path.exists() or path.is_char_device() or path.is_fifo():
        return
    skipped = 0
    with open(path, "rb") as stream:
        for number, line in enumerate(_lines(stream), 1):
            if not line.strip():
                continue
            try:
                yield parse(line)
            except ValueError as error:
                skipped += 1
                torn = " (torn: its writer was interrupted)" if not line.endswith(b"\n") else ""
                if skipped <= _WARNINGS:
                    warnings.warn(f"{path}, line {number} skipped{torn}: {error}", stacklevel=2)
    if skipped > _WARNINGS:
        warnings.warn(f"{path}: {skipped - _WARNINGS} more lines skipped", stacklevel=2)


def _lines(stream: BinaryIO) -> Iterator[bytes]:
    """The lines of a file; of one that is too long for a record, a beginning that is too long as well."""
    while line := stream.readline(MAX_LINE_BYTES + 1):
        rest = line
        while len(rest) > MAX_LINE_BYTES and not rest.endswith(b"\n"):
            rest = stream.readline(MAX_LINE_BYTES + 1)
        yield line if rest is line else line + b"\n" * rest.endswith(b"\n")


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


@dataclass(frozen=True)
class Failures:
    """How many candidates ended with one status, and one of them as an example."""

    status: str
    count: int
    example: Record


def failures(records: Iterable[Record]) -> list[Failures]:
    """The failures among first measurements by status, the most frequent one first."""
    groups: dict[str, list[Record]] = {}
    for record in records:
        if not record.ok and record.run == 0:
            groups.setdefault(record.status, []).append(record)
    found = [Failures(status, len(group), group[0]) for status, group in groups.items()]
    return sorted(found, key=lambda f: (-f.count, f.status))
