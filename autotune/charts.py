"""Charts as SVG text: axes with sensible ticks, points, steps. Colours come from the page's style by class."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 640, 260
_LEFT, _RIGHT, _TOP, _BOTTOM = 58, 14, 14, 40


@dataclass(frozen=True)
class Axis:
    """The values from `low` to `high`, linear or logarithmic, with a title."""

    low: float
    high: float
    title: str = ""
    log: bool = False

    @classmethod
    def around(cls, values: Iterable[float], title: str = "", log: bool = False, zero: bool = False) -> Axis:
        """An axis with a little room around the values; zero: it begins there."""
        found = [v for v in values if v > 0 or not log] or [1.0]
        low, high = min(found), max(found)
        if log:
            return cls(low / 1.15, high * 1.15, title, log)
        low = 0.0 if zero else low
        room = 0.05 * (high - low) or 0.5
        return cls(low if zero else low - room, high + room, title)

    def place(self, value: float) -> float:
        """Where a value lies, from 0 to 1."""
        if self.log:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)

    def ticks(self, about: int = 5) -> list[float]:
        """Round values between low and high."""
        if self.log:
            return _log_ticks(self.low, self.high, about)
        step = _round_step((self.high - self.low) / about)
        first = math.ceil(self.low / step - 1e-9)
        return [n * step for n in range(first, math.floor(self.high / step + 1e-9) + 1)]


def _round_step(about: float) -> float:
    power = 10.0 ** math.floor(math.log10(about))
    return next(power * m for m in (1, 2, 2.5, 5, 10) if power * m >= about * 0.999)


def _log_ticks(low: float, high: float, about: int) -> list[float]:
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for digits in ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 5, 7)):
        found = [d * 10.0**n for n in decades for d in digits if low <= d * 10.0**n <= high]
        if len(found) >= min(about, 3):
            break
    every = -(-len(found) // (2 * about))
    return found[::every]


class Chart:
    """A chart that is drawn part by part; `str` of it is the SVG. label: what it shows, for those who cannot see it."""

    def __init__(self, x: Axis, y: Axis, label: str, width: int = WIDTH, height: int = HEIGHT):
        self._x, self._y, self._label = x, y, label
        self._width, self._height = width, height
        self._parts: list[str] = []

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Pixels of a point."""
        return (
            _LEFT + self._x.place(x) * (self._width - _LEFT - _RIGHT),
            self._height - _BOTTOM - self._y.place(y) * (self._height - _TOP - _BOTTOM),
        )

    def axes(self, x_ticks: Sequence[tuple[float, str]] | None = None) -> Chart:
        """Grid, ticks and titles. x_ticks: (value, text) instead of round values."""
        left, right = _LEFT, self._width - _RIGHT
        top, bottom = _TOP, self._height - _BOTTOM
        for value in self._y.ticks(4):
            y = self.at(self._x.low, value)[1]
            self._parts.append(f'<line class="grid" x1="{left}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}"/>')
            self._text(left - 7, y + 4, _number(value), "end")
        for value, text in x_ticks if x_ticks is not None else [(v, _number(v)) for v in self._x.ticks(6)]:
            x = self.at(value, self._y.low)[0]
            self._parts.append(f'<line class="axis" x1="{x:.1f}" x2="{x:.1f}" y1="{bottom}" y2="{bottom + 4}"/>')
            self._text(x, bottom + 16, text, "middle")
        self._parts.append(f'<line class="axis" x1="{left}" x2="{right}" y1="{bottom}" y2="{bottom}"/>')
        self._text((left + right) / 2, self._height - 6, self._x.title, "middle", "title")
        middle = (top + bottom) / 2
        turned = f'transform="rotate(-90 14 {middle:.0f})"'
        self._text(14, middle, self._y.title, "middle", "title", turned)
        return self

    def dot(self, x: float, y: float, css: str, tip: str = "", radius: float = 3) -> None:
        px, py = self.at(x, y)
        title = f"<title>{escape(tip)}</title>" if tip else ""
        self._parts.append(f'<circle class="{css}" cx="{px:.1f}" cy="{py:.1f}" r="{radius}">{title}</circle>')

    def cross(self, x: float, css: str, tip: str = "") -> None:
        """A mark at the bottom: something that has no y."""
        px, py = self.at(x, self._y.low)[0], self._height - _BOTTOM - 6
        path = f"M{px - 3:.1f} {py - 3:.1f}l6 6m0 -6l-6 6"
        self._parts.append(f'<path class="{css}" d="{path}"><title>{escape(tip)}</title></path>')

    def steps(self, points: Sequence[tuple[float, float]], css: str) -> None:
        """A line that goes across and then up or down to each next point."""
        (x, y), *rest = (self.at(*p) for p in points)
        path = f"M{x:.1f} {y:.1f}" + "".join(f"H{px:.1f}V{py:.1f}" for px, py in rest)
        self._parts.append(f'<path class="{css}" d="{path}"/>')

    def line(self, a: tuple[float, float], b: tuple[float, float], css: str, text: str = "") -> None:
        """A straight line, with a text above its right end."""
        (x1, y1), (x2, y2) = self.at(*a), self.at(*b)
        self._parts.append(f'<line class="{css}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>')
        if text:
            self._text(x2 - 2, y2 - 5, text, "end", "note")

    def _text(self, x: float, y: float, text: str, anchor: str, css: str = "tick", more: str = "") -> None:
        if text:
            self._parts.append(
                f'<text class="{css}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" {more}>{escape(text)}</text>'
            )

    def __str__(self) -> str:
        size = f'viewBox="0 0 {self._width} {self._height}" style="max-width: {self._width}px"'
        return f'<svg role="img" aria-label="{escape(self._label)}" {size}>{"".join(self._parts)}</svg>'


def _number(value: float) -> str:
    if value and not 1e-3 <= abs(value) < 1e5:
        return f"{value:.3g}".replace("e-0", "e-").replace("e+0", "e")
    return f"{value:.10g}"
