"""Survivors that compute the same as the code: (file, function, kind, before, after) -> why."""

from __future__ import annotations

EQUIVALENT: dict[tuple[str, str, str, str, str], str] = {}
