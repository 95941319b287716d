"""Settings from the environment, and the only module that reads it.

| variable | meaning | default |
|---|---|---|
| TENSORLANG_DEBUG | 0: quiet; 1: pass times; 2: the program after each pass, and verify each | 0 |
| TENSORLANG_DUMP | a folder into which lowering writes the program after each pass | none |
| TENSORLANG_NUM_THREADS | threads that run parallel loops, the caller included | the cores this process may use |
| TENSORLANG_CACHE | the folder of compiled code, or `off` | tensorlang in $XDG_CACHE_HOME or ~/.cache |
| TENSORLANG_CACHE_MB | what that folder may hold, in 10^6 bytes | 256 |
"""

from __future__ import annotations

import os
from pathlib import Path


def debug() -> int:
    """The debug dial."""
    return _integer("TENSORLANG_DEBUG", 0, least=0)


def dump() -> Path | None:
    """Where lowering writes its intermediate programs, if anywhere."""
    folder = os.environ.get("TENSORLANG_DUMP")
    return Path(folder) if folder else None


def cache_dir() -> Path | None:
    """Where compiled code is kept; None if it is not."""
    text = os.environ.get("TENSORLANG_CACHE", "").strip()
    if text.lower() in ("off", "0"):
        return None
    if text:
        return Path(text)
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return Path(base) / "tensorlang" if os.path.isabs(base) else None


def cache_bytes() -> int:
    """How many bytes of compiled code are kept."""
    return _integer("TENSORLANG_CACHE_MB", 256, least=1) * 10**6


def num_threads() -> int:
    """How many threads run a parallel loop, the caller included.

    >>> tl.num_threads() >= 1
    True
    """
    return _integer("TENSORLANG_NUM_THREADS", cores(), least=1)


def cores() -> int:
    """How many CPUs this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _integer(name: str, default: int, least: int) -> int:
    text = os.environ.get(name, "").strip()
    if not text:
        return default
    if not text.isdecimal() or int(text) < least:
        raise ValueError(f"{name} must be an integer of at least {least}, not {text!r}")
    return int(text)
