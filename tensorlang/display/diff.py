"""What a step changed: two programs line by line. A line that only moved in or out counts as kept."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import Any

from tensorlang.display import page

KEPT, GONE, ADDED = " ", "-", "+"
_CONTEXT = 4  # kept lines to show around changes


@dataclass(frozen=True)
class Diff(page.View):
    """Lines, each with its mark: kept (" "), gone ("-") or added ("+"); title: the steps between.

    Of kept lines far from changes the views show "..." only.

    >>> s.parallel("C.i")
    >>> "parallel C.i" in s.diff()._repr_html_()
    True
    """

    title: str
    lines: tuple[tuple[str, str], ...]

    def __str__(self) -> str:
        body = (f"{mark} {line}".rstrip() for mark, line in self.shortened)
        return "\n".join([self.title, *body] if self.title else body)

    @property
    def shortened(self) -> list[tuple[str, str]]:
        """The lines with "..." for runs of kept ones, but for the first line of the program."""
        changed = [n for n, (mark, _) in enumerate(self.lines) if mark != KEPT]
        near = {0} | {n + d for n in changed for d in range(-_CONTEXT, _CONTEXT + 1)}
        shown: list[tuple[str, str]] = []
        for n, (mark, line) in enumerate(self.lines):
            if n in near or (n - 1 in near and n + 1 in near):
                shown.append((mark, line))
            elif n - 1 in near:
                shown.append((KEPT, " " * (len(line) - len(line.lstrip())) + "..."))
        return shown

    def _repr_html_(self) -> str:
        css = {KEPT: "row", GONE: "row gone", ADDED: "row added"}
        rows = (
            f'<div class="{css[mark]}"><span><span class="mark">{mark}</span> {page.escape(line)}</span></div>'
            for mark, line in self.shortened
        )
        title = f'<div class="row key">{page.escape(self.title)}</div>' if self.title else ""
        return page.fragment(title + "".join(rows))


def diff(before: Any, after: Any, title: str = "") -> Diff:
    """The lines of two programs (Schedules, Funcs, or whatever prints as one), those of `before` marked "-".

    Of two Schedules, where `after` went on from `before`, the title is the steps between them.

    >>> print(diff("for i in 8:\\n  a", "for i.0 in 2:\\n  for i.1 in 4:\\n    a", "split(i, [None, 4])"))
    split(i, [None, 4])
    - for i in 8:
    + for i.0 in 2:
    +   for i.1 in 4:
          a
    """
    old, new = (str(program).splitlines() for program in (before, after))
    made: list[tuple[str, str]] = []
    matcher = difflib.SequenceMatcher(None, [line.strip() for line in old], [line.strip() for line in new], False)
    for tag, old_begin, old_end, new_begin, new_end in matcher.get_opcodes():
        if tag == "equal":
            made += [(KEPT, line) for line in new[new_begin:new_end]]
        else:
            made += [(GONE, line) for line in old[old_begin:old_end]]
            made += [(ADDED, line) for line in new[new_begin:new_end]]
    return Diff(title or _steps(before, after), tuple(made))


def _steps(before: Any, after: Any) -> str:
    """The steps that the second schedule took after the first one, one a line; "" where that is not the story."""
    first, last = (getattr(getattr(p, "trace", None), "steps", None) for p in (before, after))
    if first is None or last is None or last[: len(first)] != first:
        return ""
    return "\n".join(map(str, last[len(first) :]))
