"""What a person sees while tuning: a live display on a terminal, plain lines elsewhere, or nothing."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol, TextIO

from autotune.cost_model import Quality
from autotune.record import Record

PLAIN_SECONDS = 5.0  # between plain lines


@dataclass
class Snapshot:
    """The state of a tuning run.

    started: a time.monotonic(); peak_gflops: 0 if unknown; quality: of what the model foresaw of the latest batch;
    overall: of all batches; space: candidates that there are; scored: how many of them the model has looked at.
    """

    task: str
    trials: int
    resumed: int = 0
    done: int = 0
    best: Record | None = None
    peak_gflops: float = 0.0
    phase: str = "starting"
    quality: Quality | None = None
    overall: Quality | None = None
    space: int = 0
    scored: int = 0
    failures: dict[str, int] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    started: float = field(default_factory=time.monotonic)

    def fail(self, record: Record) -> None:
        """Count a failure, keeping the first reason of its kind."""
        self.failures[record.status] = self.failures.get(record.status, 0) + 1
        self.reasons.setdefault(record.status, record.reason)

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.started

    @property
    def seconds_left(self) -> float | None:
        """Expected seconds to the last trial; None before the first."""
        fresh = self.done - self.resumed
        return self.seconds / fresh * (self.trials - self.done) if fresh else None


class Progress(Protocol):
    """Is told of every change: of one task after another, or of several in turn."""

    def update(self, state: Snapshot) -> None: ...

    def finish(self, state: Snapshot) -> None:
        """Nothing more will come of this task."""

    def close(self) -> None: ...


class Quiet:
    """Says nothing."""

    def update(self, state: Snapshot) -> None:
        pass

    def finish(self, state: Snapshot) -> None:
        pass

    def close(self) -> None:
        pass


class Lines:
    """A line now and then, one for each failure of a new kind, and a summary."""

    def __init__(self, stream: TextIO | None = None):
        self._stream = stream or sys.stderr
        self._last = 0.0
        self._told: set[str] = set()

    def update(self, state: Snapshot) -> None:
        for status in state.failures.keys() - self._told:
            self._told.add(status)
            self._say(f"  first {status}: {state.reasons[status]}")
        now = time.monotonic()
        if now - self._last >= PLAIN_SECONDS:
            self._last = now
            self._say(_line(state))

    def finish(self, state: Snapshot) -> None:
        self._say(_line(state))
        for status, count in sorted(state.failures.items(), key=lambda pair: (-pair[1], pair[0])):
            self._say(f"  {count} {status}, for example: {state.reasons[status]}")

    def close(self) -> None:
        pass

    def _say(self, text: str) -> None:
        print(clean(text), file=self._stream, flush=True)


def choose(quiet: bool = False) -> Progress:
    """The display that fits where the errors go: a panel on a terminal, else lines."""
    if quiet:
        return Quiet()
    if not sys.stderr.isatty():
        return Lines()
    from autotune.panel import Display  # here, because nobody else needs what it imports

    return Display()


def clean(text: str) -> str:
    """Text of unknown origin, without anything that a terminal would obey."""
    return "".join(c if c.isprintable() else " " for c in text)


def table(rows: Sequence[Sequence[str]], header: Sequence[str]) -> str:
    """Plain columns, the first one to the left and the others to the right."""
    widths = [max(len(row[n]) for row in (header, *rows)) for n in range(len(header))]

    def line(row: Sequence[str]) -> str:
        cells = [cell.rjust(w) if n else cell.ljust(w) for n, (cell, w) in enumerate(zip(row, widths, strict=True))]
        return "  ".join(cells).rstrip()

    return "\n".join(clean(line(row)) for row in (header, *rows))


def _line(state: Snapshot) -> str:
    failed = sum(state.failures.values())
    parts = [state.task, f"{state.done}/{state.trials} trials", f"best {best(state)}", f"{failed} failed"]
    parts += facts(state)
    return " · ".join([*parts, clock(state)])


def best(state: Snapshot) -> str:
    """The best so far in words."""
    if state.best is None or state.best.seconds is None:
        return "none yet"
    text = f"{seconds(state.best.seconds)}, {state.best.gflops:.1f} GFLOP/s"
    return text + (f", {100 * state.best.gflops / state.peak_gflops:.0f} % of peak" if state.peak_gflops else "")


def facts(state: Snapshot) -> list[str]:
    """What is known of the model and the space, in words."""
    found = [f"{_share(state.scored, state.space)} of {state.space} candidates scored"] if state.space else []
    if state.quality is not None:
        found.append(f"model {quality(state.quality)}")
    if state.overall is not None:
        found.append(f"so far {quality(state.overall)}")
    return found


def _share(part: int, whole: int) -> str:
    """In percent, never rounded up to all."""
    return f"{math.floor(100 * part / whole)} %" if part >= whole / 100 else f"{100 * part / whole:.2g} %"


def quality(model: Quality) -> str:
    """How well the model foresees, in words."""
    return f"rank correlation {model.rank_correlation:.2f}, top 10 % recall {model.top_recall:.2f}"


def clock(state: Snapshot) -> str:
    """Seconds spent and left, in words."""
    left = state.seconds_left
    spent = f"{state.seconds:.0f} s"
    return f"{spent}, {left:.0f} s left" if left is not None and state.done < state.trials else spent


def bars(values: Sequence[float], width: int = 60) -> str:
    """Values from 0 on as bars of one line; of more than `width` values, the last of each of `width` groups.

    >>> bars([1.0, 2.0, 4.0, 8.0])
    '▁▂▄█'
    """
    count = min(width, len(values))
    picked = [values[(n + 1) * len(values) // count - 1] for n in range(count)]
    top = max(picked, default=0.0)
    return "".join("▁▂▃▄▅▆▇█"[max(0, math.ceil(8 * v / top) - 1)] for v in picked)


def seconds(value: float) -> str:
    """A time for people: 12.3 ms."""
    for unit, scale in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if value >= scale:
            return f"{value / scale:.3g} {unit}"
    return f"{value / 1e-9:.3g} ns"
