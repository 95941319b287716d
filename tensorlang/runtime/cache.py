"""Compiled code on disk, by the hash of all that it was made from.

A folder of small files, of this user alone, for any number of processes: an entry is written beside its place and
moved there, so that nobody sees half of one, and each begins with the hash of its contents, so that a damaged one is
as good as none. When the folder outgrows its limit, the entries that were not used for longest go. Whatever the disk
refuses is no error: code that cannot be kept is compiled again. `config` says where the folder is, and whether.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path

from tensorlang import config

_SUFFIX = ".code"
_SCAN_EVERY = 32  # entries written, on average, between two looks at the size of the folder
_KEEP = 0.75  # of the limit, once it is reached


def key(parts: Iterable[str]) -> str:
    """A name for what is made from these parts and nothing else."""
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode()
        digest.update(f"{len(data)} ".encode() + data)
    return digest.hexdigest()


def get(name: str) -> bytes | None:
    """The contents that `put` stored under a key; None if there is no whole entry."""
    folder = _folder()
    if folder is None:
        return None
    file = folder / (name + _SUFFIX)
    try:
        data = file.read_bytes()
    except OSError:
        return None
    size = hashlib.sha256().digest_size
    if hashlib.sha256(data[size:]).digest() != data[:size]:
        with contextlib.suppress(OSError):
            file.unlink()
        return None
    with contextlib.suppress(OSError):
        os.utime(file)  # the time of its last use
    return data[size:]


def put(name: str, data: bytes) -> None:
    """Store the contents of a key."""
    folder = _folder(make=True)
    if folder is None:
        return
    with contextlib.suppress(OSError):
        handle, part = tempfile.mkstemp(dir=folder)
        try:
            with os.fdopen(handle, "wb") as stream:
                stream.write(hashlib.sha256(data).digest() + data)
            os.replace(part, folder / (name + _SUFFIX))
        except OSError:
            os.unlink(part)
            raise
        if int(name[:8], 16) % _SCAN_EVERY == 0:
            trim(folder, config.cache_bytes())


def trim(folder: Path, limit: int) -> None:
    """Delete what was not used for longest, if the folder holds more than `limit` bytes."""
    entries = []
    for file in folder.iterdir():
        with contextlib.suppress(OSError):  # another process deleted it
            stat = file.stat()
            entries.append((stat.st_mtime_ns, stat.st_size, file))
    total = sum(size for _, size, _ in entries)
    if total <= limit:
        return
    for _, size, file in sorted(entries):
        if total <= _KEEP * limit:
            break
        with contextlib.suppress(OSError):
            file.unlink()
        total -= size


def _folder(make: bool = False) -> Path | None:
    """The folder if it is to be used: code is only taken from one that nobody else can write to."""
    folder = config.cache_dir()
    if folder is None:
        return None
    try:
        if make:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        stat = folder.stat()
    except OSError:
        return None
    return folder if stat.st_uid == os.getuid() and not stat.st_mode & 0o022 else None
