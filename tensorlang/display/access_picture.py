"""How accesses are drawn: each element a cell with the step that first touches it, or the thread."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tensorlang.display.page import escape

if TYPE_CHECKING:
    from tensorlang.display.accesses import Accesses

MAX_ROWS, MAX_COLUMNS = 32, 64  # cells
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
