"""What a person sees while tuning: a live display on a terminal, plain lines elsewhere, or nothing."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol, TextIO

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from autotune.cost_model import Quality
from autotune.record import Record

PLAIN_SECONDS = 5.0  # between plain lines


@dataclass
class Snapshot:
    """The state of a tuning run. `started` is a time.monotonic(); peak_gflops is 0 if unknown."""

    task: str
    trials: int
    resumed: int = 0
    done: int = 0
    best: Record | None = None
    peak_gflops: float = 0.0
    phase: str = "starting"
    quality: Quality | None = None
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
    """Is told of every change."""

    def update(self, state: Snapshot) -> None: ...

    def close(self, state: Snapshot) -> None: ...


class Quiet:
    """Says nothing."""

    def update(self, state: Snapshot) -> None:
        pass

    def close(self, state: Snapshot) -> None:
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

    def close(self, state: Snapshot) -> None:
        self._say(_line(state))
        for status, count in sorted(state.failures.items()):
            self._say(f"  {count} {status}, for example: {state.reasons[status]}")

    def _say(self, text: str) -> None:
        print(text, file=self._stream, flush=True)


class Display:
    """A panel that is redrawn in place."""

    def __init__(self, console: Console | None = None):
        self._console = console or Console(stderr=True)
        self._live: Live | None = None

    def update(self, state: Snapshot) -> None:
        if self._live is None:
            self._live = Live(console=self._console, auto_refresh=False)
            self._live.start()
        self._live.update(picture(state), refresh=True)

    def close(self, state: Snapshot) -> None:
        self.update(state)
        assert self._live is not None
        self._live.stop()


def choose(quiet: bool = False) -> Progress:
    """The display that fits where the errors go: a panel on a terminal, else lines."""
    if quiet:
        return Quiet()
    return Display() if sys.stderr.isatty() else Lines()


def picture(state: Snapshot) -> Group:
    """The panel: bar, best, failures."""
    head = Table.grid(padding=(0, 2))
    bar = ProgressBar(total=max(state.trials, 1), completed=state.done, width=36)
    head.add_row(Text(state.task, style="bold"), bar, Text(f"{state.done}/{state.trials} trials"), _clock(state))
    parts: list[Table | Text] = [head, Text.assemble("  best  ", (_best(state), "bold green"))]
    if state.quality is not None:
        parts.append(Text(f"  model {_quality(state.quality)}"))
    if state.failures:
        failures = Table.grid(padding=(0, 2))
        for status, count in sorted(state.failures.items()):
            failures.add_row(Text(f"  {count:4d}", style="red"), status, Text(state.reasons[status][:90], style="dim"))
        parts.append(failures)
    parts.append(Text(f"  {state.phase}", style="dim"))
    return Group(*parts)


def table(rows: Sequence[Sequence[str]], header: Sequence[str]) -> str:
    """Plain columns, the first one to the left and the others to the right."""
    widths = [max(len(row[n]) for row in (header, *rows)) for n in range(len(header))]

    def line(row: Sequence[str]) -> str:
        cells = [cell.rjust(w) if n else cell.ljust(w) for n, (cell, w) in enumerate(zip(row, widths, strict=True))]
        return "  ".join(cells).rstrip()

    return "\n".join(map(line, (header, *rows)))


def _line(state: Snapshot) -> str:
    failed = sum(state.failures.values())
    parts = [state.task, f"{state.done}/{state.trials} trials", f"best {_best(state)}", f"{failed} failed"]
    if state.quality is not None:
        parts.append(f"model {_quality(state.quality)}")
    return " · ".join([*parts, _clock(state)])


def _best(state: Snapshot) -> str:
    if state.best is None or state.best.seconds is None:
        return "none yet"
    text = f"{seconds(state.best.seconds)}, {state.best.gflops:.1f} GFLOP/s"
    return text + (f", {100 * state.best.gflops / state.peak_gflops:.0f} % of peak" if state.peak_gflops else "")


def _quality(quality: Quality) -> str:
    return f"rank correlation {quality.rank_correlation:.2f}, top 10 % recall {quality.top_recall:.2f}"


def _clock(state: Snapshot) -> str:
    left = state.seconds_left
    spent = f"{state.seconds:.0f} s"
    return f"{spent}, {left:.0f} s left" if left is not None and state.done < state.trials else spent


def seconds(value: float) -> str:
    """A time for people: 12.3 ms."""
    for unit, scale in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if value >= scale:
            return f"{value / scale:.3g} {unit}"
    return f"{value / 1e-9:.3g} ns"
