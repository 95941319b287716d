"""Survivors that compute the same as the code: (file, function, kind, before, after, nth of its kind there) -> why."""

from __future__ import annotations

EQUIVALENT: dict[tuple[str, str, str, str, str, int], str] = {
    (
        "tensorlang/arith/division.py",
        "_parts",
        "constant",
        "0",
        "1",
        0,
    ): "a default that is only asked whether it is < 0",
}
