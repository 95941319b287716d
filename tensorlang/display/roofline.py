"""A kernel beside the limits of its machine: the roofline of Williams, Waterman and Patterson (Roofline: An Insightful
Visual Performance Model for Multicore Architectures, Communications of the ACM 52(4), 2009)."""

from __future__ import annotations

from dataclasses import dataclass
from math import floor, log10

from tensorlang.display import page, units

_WIDTH, _HEIGHT, _LEFT, _TOP, _RIGHT, _BOTTOM = 560, 300, 100, 14, 16, 44  # pixels
_COLUMNS, _ROWS = 56, 12  # characters of the same picture as text


@dataclass(frozen=True)
class Peaks:
    """What a machine can do at most: `flops` operations and `bandwidth` bytes from memory a second.

    >>> Peaks(flops=2e11, bandwidth=2e10).flops / 1e9
    200.0
    """

    flops: float
    bandwidth: float


@dataclass(frozen=True)
class Roofline(page.View):
    """A timed kernel. flops: operations of a call; bytes: what it must move at least, each argument once; seconds: of
    a call, the median.

    >>> r = Roofline("f", flops=2e9, bytes=12_000_000, seconds=0.02, peaks=Peaks(2e11, 2e10))
    >>> round(r.share, 3), r.limit
    (0.5, 'computing')
    """

    name: str
    flops: float
    bytes: float
    seconds: float
    peaks: Peaks

    @property
    def intensity(self) -> float:
        """Operations for each byte that has to come from or go to memory."""
        return self.flops / self.bytes

    @property
    def achieved(self) -> float:
        """Operations a second."""
        return self.flops / self.seconds

    @property
    def roof(self) -> float:
        """The most operations a second that this machine can do at this intensity."""
        return min(self.peaks.flops, self.intensity * self.peaks.bandwidth)

    @property
    def share(self) -> float:
        """How much of `roof` is achieved, 1.0 being all. More is possible where the data stay in caches."""
        return self.achieved / self.roof

    @property
    def limit(self) -> str:
        """What the roof is made of: "computing" or "memory"."""
        return "computing" if self.roof == self.peaks.flops else "memory"

    @property
    def summary(self) -> str:
        """The figures in a line."""
        return (
            f"{self.name}: {units.rate(self.achieved, 'FLOP/s')} in {units.seconds(self.seconds)} a call, "
            f"{self.share:.0%} of the {units.rate(self.roof, 'FLOP/s')} that {self.limit} allows at "
            f"{units.rate(self.intensity, 'FLOP/B')}"
        )

    def __str__(self) -> str:
        frame = _Frame(self, _COLUMNS - 1, _ROWS - 1)
        cells = [[" "] * _COLUMNS for _ in range(_ROWS)]
        for column in range(_COLUMNS):
            roof = min(self.peaks.flops, frame.intensity_at(column) * self.peaks.bandwidth)
            cells[round(frame.y(roof))][column] = "-" if roof == self.peaks.flops else "/"
        cells[round(frame.y(self.achieved))][round(frame.x(self.intensity))] = "*"
        labels = [""] * _ROWS
        for decade in frame.rates:
            labels[round(frame.y(decade))] = units.rate(decade, "FLOP/s")
        width = max(map(len, labels))
        rows = [f"{label:>{width}} |{''.join(row).rstrip()}" for label, row in zip(labels, cells, strict=True)]
        axis = [" "] * (_COLUMNS + 8)
        for decade in frame.intensities:
            label = f"{decade:g}"
            at = round(frame.x(decade))
            axis[at : at + len(label)] = label
        return "\n".join((self.summary, *rows, f"{'FLOP/B':>{width}}  {''.join(axis).rstrip()}"))

    def _repr_html_(self) -> str:
        return page.fragment(f'{_picture(self)}<div class="foot">{page.escape(self.summary)}</div>')


class _Frame:
    """Logarithmic axes, from the origin at the top left to `width` and `height`, in which roof and kernel fit."""

    def __init__(self, r: Roofline, width: float, height: float):
        ridge = r.peaks.flops / r.peaks.bandwidth
        self.left, self.right = floor(log10(min(r.intensity, ridge))) - 0.3, log10(max(r.intensity, ridge)) + 0.7
        self.high = log10(max(r.peaks.flops, r.achieved)) + 0.2
        self.low = min(floor(log10(r.achieved)), floor(log10(10**self.left * r.peaks.bandwidth)))
        self.width, self.height = width, height

    def x(self, intensity: float) -> float:
        return (log10(intensity) - self.left) / (self.right - self.left) * self.width

    def y(self, rate: float) -> float:
        return min(self.high - log10(rate), self.high - self.low) / (self.high - self.low) * self.height

    def intensity_at(self, x: float) -> float:
        return 10 ** (self.left + x / self.width * (self.right - self.left))

    @property
    def intensities(self) -> list[float]:
        return [10.0**n for n in range(floor(self.left) + 1, floor(self.right) + 1)]

    @property
    def rates(self) -> list[float]:
        return [10.0**n for n in range(floor(self.low), floor(self.high) + 1)]


def _picture(r: Roofline) -> str:
    frame = _Frame(r, _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM)
    bottom = _HEIGHT - _BOTTOM
    parts = [f'<svg width="{_WIDTH}" height="{_HEIGHT}" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img">']
    for decade in frame.rates:
        y = _TOP + frame.y(decade)
        parts.append(_line([(_LEFT, y), (_WIDTH - _RIGHT, y)], "line", 1))
        parts.append(_text(_LEFT - 8, y + 4, units.rate(decade, "FLOP/s"), "end"))
    for decade in frame.intensities:
        x = _LEFT + frame.x(decade)
        parts.append(_line([(x, _TOP), (x, bottom)], "line", 1))
        parts.append(_text(x, bottom + 16, f"{decade:g}", "middle"))
    parts.append(_text((_LEFT + _WIDTH - _RIGHT) / 2, _HEIGHT - 8, "operations for each byte (FLOP/B)", "middle"))
    ridge = r.peaks.flops / r.peaks.bandwidth
    start = max(frame.intensity_at(0), 10**frame.low / r.peaks.bandwidth)
    roof = [
        (start, start * r.peaks.bandwidth),
        (ridge, r.peaks.flops),
        (frame.intensity_at(frame.width), r.peaks.flops),
    ]
    parts.append(_line([(_LEFT + frame.x(i), _TOP + frame.y(rate)) for i, rate in roof], "parallel", 2.5))
    parts.append(_text(_WIDTH - _RIGHT, _TOP + frame.y(r.peaks.flops) - 7, units.rate(r.peaks.flops, "FLOP/s"), "end"))
    slope = (start**3 * ridge) ** 0.25
    x, y = _LEFT + frame.x(slope), _TOP + frame.y(slope * r.peaks.bandwidth)
    parts.append(_text(x + 10, y + 14, units.rate(r.peaks.bandwidth, "B/s"), "start"))
    x, y, top = _LEFT + frame.x(r.intensity), _TOP + frame.y(r.achieved), _TOP + frame.y(r.roof)
    parts.append(_line([(x, y), (x, top)], "threadIdx", 1.5, "4 3"))
    parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5" fill="var(--tl-threadIdx)"/>')
    offset, anchor = (-10, "end") if x > _LEFT + 0.6 * frame.width else (10, "start")
    parts.append(_text(x + offset, y + 4, f"{r.name}: {r.share:.0%}", anchor, "key"))
    return "".join(parts) + "</svg>"


def _line(points: list[tuple[float, float]], colour: str, width: float, dashes: str = "") -> str:
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    dashed = f' stroke-dasharray="{dashes}"' if dashes else ""
    return f'<polyline points="{path}" fill="none" stroke="var(--tl-{colour})" stroke-width="{width}"{dashed}/>'


def _text(x: float, y: float, shown: str, anchor: str, css: str = "faint") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" class="{css}">{page.escape(shown)}</text>'
