"""Which mutants there are, and which of them a seed draws."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tests.mutate.operators import Fault, faults, mutated

ROOT = Path(__file__).parents[2]
GROUPS = {  # what is put to the test, in equal shares
    "checks": ("schedule",),
    "arithmetic": ("arith",),
    "passes": ("passes",),
    "code generation": ("backend",),
}
# Reading and showing what is there: no checks.
LEFT_OUT = ("schedule/trace.py", "schedule/handles.py", "schedule/library.py", "schedule/views.py")


@dataclass(frozen=True)
class Mutant:
    """A fault in a file, given by its path from the root."""

    path: str
    fault: Fault

    @property
    def identity(self) -> tuple[str, str, str, str, str, int]:
        """What stays the same while other code changes."""
        f = self.fault
        return self.path, f.function, f.kind, f.before, f.after, f.nth

    def source(self) -> str:
        """The text of the file with the fault."""
        return mutated((ROOT / self.path).read_text(encoding="utf-8"), self.fault.number)

    def __str__(self) -> str:
        f = self.fault
        return f"{self.path}:{f.line} {f.function}: {f.kind}: {_short(f.before)}  ->  {_short(f.after)}"


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 100 else line[:97] + "..."


def files(group: str) -> list[str]:
    """The paths of the files of a group."""
    found = [p for room in GROUPS[group] for p in sorted((ROOT / "tensorlang" / room).rglob("*.py"))]
    paths = [p.relative_to(ROOT).as_posix() for p in found]
    return [p for p in paths if not p.endswith(LEFT_OUT)]


def draw(seed: int, count: int) -> list[Mutant]:
    """`count` different mutants, the groups by turns; the first ones of a larger count are those of a smaller.

    Each has a place of its own in the order, so that what other code is written hardly changes who is drawn."""

    def place(mutant: Mutant) -> bytes:
        return hashlib.sha256(repr((seed, mutant.identity)).encode()).digest()

    decks = [sorted(_of(group), key=place) for group in GROUPS]
    drawn = [mutant for turn in zip(*decks, strict=False) for mutant in turn]
    return drawn[:count]


@cache
def _of(group: str) -> tuple[Mutant, ...]:
    """All of them, in the order of the text."""
    return tuple(Mutant(path, f) for path in files(group) for f in faults((ROOT / path).read_text(encoding="utf-8")))
