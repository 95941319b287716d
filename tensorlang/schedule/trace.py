"""The trace of a schedule: the steps that made it, as plain data that can be stored and replayed.

A step records its arguments in full and, in order, the names of all loops, blocks and buffers that it made. Replay
gives out the same names again, so a stored trace does not depend on how names are chosen.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Step:
    """One primitive call: `args` by parameter name (names for handles), `out` the names it made, in order."""

    op: str
    args: dict[str, Any]
    out: tuple[str, ...]

    def __str__(self) -> str:
        made = f" -> {', '.join(self.out)}" if self.out else ""
        return f"{self.op}({call_text(self.args)}){made}"


def call_text(args: dict[str, Any]) -> str:
    """Arguments as a reader would write them, names without quotes: `C.i, [None, 32]`."""
    return ", ".join(_argument(v) for v in args.values())


def _argument(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_argument, value))}]"
    return value if isinstance(value, str) else repr(value)
