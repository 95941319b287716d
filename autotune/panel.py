"""The live display on a terminal."""

from __future__ import annotations

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from autotune.progress import Snapshot, best, clean, clock, facts


class Display:
    """A panel that is redrawn in place, with a part for each task."""

    def __init__(self, console: Console | None = None):
        self._console = console or Console(stderr=True)
        self._states: dict[int, Snapshot] = {}
        self._live: Live | None = None

    def update(self, state: Snapshot) -> None:
        self._states[id(state)] = state
        if self._live is None:
            self._live = Live(console=self._console, auto_refresh=False)
            self._live.start()
        self._live.update(Group(*map(picture, self._states.values())), refresh=True)

    def finish(self, state: Snapshot) -> None:
        self.update(state)

    def close(self) -> None:
        if self._live is not None:
            self._live.stop()


def picture(state: Snapshot) -> Group:
    """The part of one task: bar, best, failures."""
    head = Table.grid(padding=(0, 2))
    bar = ProgressBar(total=max(state.trials, 1), completed=state.done, width=36)
    head.add_row(Text(clean(state.task), style="bold"), bar, Text(f"{state.done}/{state.trials} trials"), clock(state))
    parts: list[Table | Text] = [head, Text.assemble("  best  ", (best(state), "bold green"))]
    parts += [Text(f"  {fact}") for fact in facts(state)]
    if state.failures:
        failures = Table.grid(padding=(0, 2))
        for status, count in sorted(state.failures.items()):
            reason = Text(clean(state.reasons[status])[:90], style="dim")
            failures.add_row(Text(f"  {count:4d}", style="red"), status, reason)
        parts.append(failures)
    parts.append(Text(f"  {state.phase}", style="dim"))
    return Group(*parts)
