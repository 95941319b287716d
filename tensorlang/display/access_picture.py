"""How accesses are drawn: each element a cell with the step that first touches it, or the thread."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tensorlang.display.page import escape

if TYPE_CHECKING:
    from tensorlang.display.accesses import Accesses

MAX_ROWS, MAX_COLUMNS, MAX_TURNS = 32, 64, 8  # cells
_BANK = 24  # pixels of a bank
_LARGE, _SMALL, _NUMBERED = 26, 12, 32  # pixels of a cell; most columns for which large ones, with numbers, fit
_LEFT, _TOP = 48, 22  # pixels for the labels of rows and columns
_RAMP = ((38, 70, 140), (46, 139, 140), (246, 203, 98))  # from early to late; white and black text on it
_DARK_UNTIL = 0.6


def window(a: Accesses) -> tuple[slice, slice]:
    """The rows and columns to show: those from the first touched one on, as many as fit."""
    touched = np.argwhere(a.first >= 0)
    (top, left), (bottom, right) = touched.min(0).tolist(), touched.max(0).tolist()
    return slice(top, min(bottom + 1, top + MAX_ROWS)), slice(left, min(right + 1, left + MAX_COLUMNS))


def text(a: Accesses) -> str:
    """A number in each cell, that of the first step or of its thread; "." where nothing is touched."""
    rows, columns = window(a)
    shown = (a.lane if a.threads else a.first)[rows, columns]
    width = max(2, len(str(shown.max())))
    cells = (" ".join(f"{v:{width}}" if v >= 0 else f"{'.':>{width}}" for v in row) for row in shown.tolist())
    labels = [f"{n:5} | {line}" for n, line in enumerate(cells, rows.start)]
    what = "thread" if a.threads else "step"
    return "\n".join([f"first {what} to touch each element, from row {rows.start}, column {columns.start}:", *labels])


def svg(a: Accesses) -> str:
    """The same as a picture; hover over a cell for its index, its lane, and how often it is touched."""
    rows, columns = window(a)
    count = (rows.stop - rows.start, columns.stop - columns.start)
    cell = _LARGE if count[1] <= _NUMBERED else _SMALL
    width, height = _LEFT + cell * count[1] + 4, _TOP + cell * count[0] + 4
    parts = [f'<svg width="{width}" height="{height}" viewBox="0 0 {width} {height}" role="img">']
    for r in range(rows.start, rows.stop):
        y = _TOP + cell * (r - rows.start)
        if cell == _LARGE or r % 2 == 0:
            parts.append(_label(_LEFT - 6, y + cell / 2 + 4, r, "end"))
        for c in range(columns.start, columns.stop):
            parts.append(_cell(a, r, c, _LEFT + cell * (c - columns.start), y, cell))
    for c in range(columns.start, columns.stop, 1 if cell == _LARGE else 4):
        parts.append(_label(_LEFT + cell * (c - columns.start) + cell / 2, _TOP - 7, c, "middle"))
    return "".join(parts) + "</svg>"


def banks_text(a: Accesses) -> list[str]:
    """Which bank gives which thread its word, in turns; nothing but for shared memory."""
    if not len(a.turns):
        return []
    width = max(2, len(str(a.turns.max())))
    rows = [range(a.turns.shape[1]), *a.turns[:MAX_TURNS].tolist()]
    lines = [" ".join(f"{v:{width}}" if v >= 0 else f"{'.':>{width}}" for v in row) for row in rows]
    labels = [" bank", *(f"{n:5}" for n in range(len(rows) - 1))]
    drawn = [f"{label} | {line}" for label, line in zip(labels, lines, strict=True)]
    return [_told_turns(a), *drawn]


def banks_html(a: Accesses) -> str:
    """The same as a picture."""
    if not len(a.turns):
        return ""
    shown = a.turns[:MAX_TURNS].tolist()
    width, height = _LEFT + _BANK * a.turns.shape[1] + 4, _TOP + _BANK * len(shown) + 4
    parts = [f'<svg width="{width}" height="{height}" viewBox="0 0 {width} {height}" role="img">']
    for bank in range(a.turns.shape[1]):
        parts.append(_label(_LEFT + _BANK * (bank + 0.5), _TOP - 7, bank, "middle"))
    for turn, row in enumerate(shown):
        y = _TOP + _BANK * turn
        parts.append(_label(_LEFT - 6, y + _BANK / 2 + 4, turn, "end"))
        for bank, thread in enumerate(row):
            x = _LEFT + _BANK * bank
            fill = "var(--tl-shade)" if thread < 0 else _colour(0) if turn == 0 else "var(--tl-memory)"
            parts.append(
                f'<rect x="{x + 1}" y="{y + 1}" width="{_BANK - 2}" height="{_BANK - 2}" rx="2" fill="{fill}"/>'
            )
            if thread >= 0:
                ink = "#fff" if turn == 0 else "Canvas"
                middle = f'x="{x + _BANK / 2:g}" y="{y + _BANK / 2 + 4:g}" text-anchor="middle"'
                parts.append(f'<text {middle} style="fill:{ink}">{thread}</text>')
    return f'{"".join(parts)}</svg><div class="foot">{escape(_told_turns(a))}</div>'


def _told_turns(a: Accesses) -> str:
    more = len(a.turns) - MAX_TURNS
    left = f", {more} more turns are not shown" if more > 0 else ""
    return f"banks at the busiest moment: a row is a turn, a number the thread that a bank serves in it{left}"


def _cell(a: Accesses, row: int, column: int, x: int, y: int, size: int) -> str:
    """One element, with a bar before it where a cache line, or the first bank, begins."""
    step = int(a.first[row, column])
    box = f'<rect x="{x + 1}" y="{y + 1}" width="{size - 2}" height="{size - 2}" rx="2"'
    bar = f'<path d="M{x} {y}v{size}" stroke="var(--tl-text)" stroke-width="2"/>' if a.begins_line(row, column) else ""
    if step < 0:
        return f'{box} fill="var(--tl-shade)"/>{bar}'
    at = step / max(1, int(a.first.max()))
    told = f"<title>{escape(a.told(row, column))}</title>"
    box += ' stroke="var(--tl-memory)" stroke-width="2"' if a.in_conflict[row, column] else ""
    number = ""
    if size == _LARGE:
        ink = "#fff" if at < _DARK_UNTIL else "#111"
        shown = a.lane[row, column] if a.threads else step
        middle = f'x="{x + size / 2:g}" y="{y + size / 2 + 4:g}" text-anchor="middle"'
        number = f'<text {middle} style="fill:{ink}">{shown}</text>'
    return f'<g>{told}{box} fill="{_colour(at)}"/>{number}</g>{bar}'


def _colour(at: float) -> str:
    """The colour at 0 <= at <= 1 of the ramp."""
    place = at * (len(_RAMP) - 1)
    low = min(int(place), len(_RAMP) - 2)
    mixed = (round(a + (b - a) * (place - low)) for a, b in zip(_RAMP[low], _RAMP[low + 1], strict=True))
    return f"rgb({','.join(map(str, mixed))})"


def _label(x: float, y: float, number: int, anchor: str) -> str:
    return f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}" class="faint">{number}</text>'
