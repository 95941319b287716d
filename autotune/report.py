"""A page on the tasks of a log: HTML with everything in it, for the screen in light and dark and for paper.

Text from the log is escaped, and nothing in it is evaluated: loop nests are shown of operators of tensorlang.topi and
of the tasks that the caller names, never of files that a log names.
"""

from __future__ import annotations

import math
import statistics
import warnings
from collections.abc import Sequence
from html import escape
from importlib.resources import files

import numpy as np

from autotune.charts import Axis, Chart
from autotune.cost_model import quality, rank_correlation
from autotune.database import best, failures
from autotune.progress import clean, seconds
from autotune.record import Record, processor
from autotune.session import BATCH
from autotune.task import Target, Task, WorkloadError, nest_html
from autotune.tuner import best_known
from autotune.workload import UserCodeError, parse

_FEW = 8  # candidates of a sketch below which nothing is said of its knobs
_KNOBS = 6


def page(records: Sequence[Record], title: str, tasks: Sequence[Task] = ()) -> str:
    """The whole page. title: what the log is called; tasks: programs to look at, beside the operators of topi."""
    by_task: dict[str, list[Record]] = {}
    for record in records:
        by_task.setdefault(record.key, []).append(record)
    known = {key: task for task in tasks for key in (task.key, task.with_cold_caches().key)}
    sections = "".join(_task(key, found, known.get(key)) for key, found in by_task.items())
    head = (
        f"<h1>Tuning report: {_text(title)}</h1>"
        f'<p class="faint">{_text(_machines(records))}<br>'
        f"{_text(_moment(min(r.when for r in records)))} to {_text(_moment(max(r.when for r in records)))}</p>"
    )
    style = files("autotune").joinpath("report.css").read_text(encoding="utf-8")
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>Tuning report: {_text(title)}</title><style>{style}</style></head>"
        f"<body>{head}{_summary(by_task)}{sections}</body></html>\n"
    )


def _moment(when: str) -> str:
    return when.replace("T", " ").replace("+00:00", " UTC")


def _machines(records: Sequence[Record]) -> str:
    found = dict.fromkeys(_machine(r) for r in records)
    return "; ".join(found)


def _machine(record: Record) -> str:
    facts = record.machine
    parts = [processor(record)] if "gpu" in facts else [processor(record), f"{facts.get('cores', '?')} cores"]
    peak = _peak(record)
    return ", ".join([*parts, f"{peak:g} GFLOP/s peak (float32)"] if peak else parts)


def _peak(record: Record) -> float:
    value = record.machine.get("peak_gflops", 0.0)
    return float(value) if isinstance(value, int | float) else 0.0


def _summary(by_task: dict[str, list[Record]]) -> str:
    rows = []
    for key, records in by_task.items():
        top, first = best(records), [r for r in records if r.run == 0]
        failed = sum(not r.ok for r in first)
        cells = [f'<a href="#{_text(key)}">{_text(records[0].task)}</a>', str(len(first)), str(failed)]
        cells += ["-"] * 3 if top is None else [seconds(top.seconds or 0), f"{top.gflops:.1f}", _share(top)]
        rows.append(cells)
    return _table(("task", "trials", "failed", "best", "GFLOP/s", "of peak"), rows, numbers=(1, 2, 3, 4, 5))


def _share(record: Record) -> str:
    peak = _peak(record)
    return f"{100 * record.gflops / peak:.0f} %" if peak else "-"


# ------------------------------------------------------------------------------------------------ one task
def _task(key: str, records: list[Record], task: Task | None) -> str:
    first, top = [r for r in records if r.run == 0], best(records)
    parts = [f'<section id="{_text(key)}"><h2>{_text(records[0].task)}</h2>', _tiles(first, top)]
    if top is not None:
        parts.append(f'<div class="pair">{_progress(first)}{_foresight(first)}</div>')
        parts += [_sketches(first), _knobs(first, top), _best_schedule(records, task)]
    parts += [_failures(records), "</section>"]
    return "".join(parts)


def _tiles(first: Sequence[Record], top: Record | None) -> str:
    failed = sum(not r.ok for r in first)
    facts = [("trials", str(len(first))), ("failed", str(failed))]
    if top is not None:
        since = next(n for n, r in enumerate(first, 1) if r.candidate == top.candidate)
        facts = [
            ("best time", seconds(top.seconds or 0)),
            ("GFLOP/s", f"{top.gflops:.1f}"),
            ("of the machine's peak", _share(top)),
            ("spread between runs", f"{100 * top.spread:.0f} %"),
            *facts,
            ("found in trial", str(since)),
        ]
    return f'<div class="tiles">{"".join(f"<div class=tile><b>{v}</b><span>{n}</span></div>" for n, v in facts)}</div>'


def _progress(first: Sequence[Record]) -> str:
    """Best so far over trials, with every candidate as a dot."""
    speed = all(r.flops for r in first)
    values = {n: r.gflops if speed else 1e3 * (r.seconds or 0) for n, r in enumerate(first, 1) if r.ok}
    peak = _peak(first[-1]) if speed else 0.0
    shown = [*values.values(), peak] if 0 < peak < 4 * max(values.values()) else [*values.values()]
    y = Axis.around(shown, "GFLOP/s" if speed else "milliseconds", log=not speed, zero=speed)
    chart = Chart(Axis(0, len(first) + 1, "trial"), y, "Best so far and all candidates, by trial").axes()
    curve: list[tuple[float, float]] = []
    for n, record in enumerate(first, 1):
        if n not in values:
            chart.cross(n, "failed", f"trial {n}: {record.status}: {clean(record.reason)[:200]}")
            continue
        chart.dot(n, values[n], "tried", f"trial {n}: {seconds(record.seconds or 0)}, {_choice(record)}", 2.5)
        ahead = curve and (curve[-1][1] >= values[n] if speed else curve[-1][1] <= values[n])
        if not ahead:
            curve.append((n, values[n]))
    chart.steps([*curve, (len(first) + 1, curve[-1][1])], "best")
    if peak in shown:
        chart.line((0, peak), (len(first) + 1, peak), "limit", f"peak of the machine, {peak:g}")
    note = "" if peak in shown or not peak else f" The machine's peak, {peak:g} GFLOP/s, is off the chart."
    failed = " Crosses are candidates that failed." if len(values) < len(first) else ""
    first_only = "Each dot is the first measurement of a candidate; leaders are measured again at the end."
    return _figure(chart, "Best so far", f"{first_only}{failed}{note}")


def _foresight(first: Sequence[Record]) -> str:
    """What the model foresaw beside what was measured."""
    pairs = [(n, r, r.expected, r.seconds) for n, r in enumerate(first) if r.ok and r.expected and r.seconds]
    if len(pairs) < 2:
        return _figure(None, "Model quality", "The log does not say what the model foresaw.")
    both = [1e3 * t for _, _, e, s in pairs for t in (e, s) if t]
    x, y = Axis.around(both, "foreseen, ms", log=True), Axis.around(both, "measured, ms", log=True)
    chart = Chart(x, y, "Seconds foreseen by the cost model and measured").axes()
    chart.line((x.low, y.low), (x.high, y.high), "ideal")
    for _, record, expected, measured in pairs:
        tip = f"foreseen {seconds(expected or 0)}, measured {seconds(measured or 0)}: {_choice(record)}"
        chart.dot(1e3 * (expected or 0), 1e3 * (measured or 0), "point", tip)
    whole = rank_correlation(np.array([p[2] for p in pairs]), np.array([p[3] for p in pairs]))
    batches: dict[int, list[tuple[float, float]]] = {}
    for n, _, expected, measured in pairs:
        batches.setdefault(n // BATCH, []).append((expected or 0, measured or 0))
    found = [quality(np.array([e for e, _ in b]), np.array([s for _, s in b])) for b in batches.values()]
    each = ", ".join("-" if q is None else f"{q.rank_correlation:.2f}" for q in found)
    caption = (
        f"Rank correlation {whole:.2f} in all; by batches of {BATCH}, each before the model learnt from it: {each}. "
        "On the dashed line both agree."
    )
    return _figure(chart, "Model quality", caption)


def _sketches(first: Sequence[Record]) -> str:
    groups: dict[str, list[Record]] = {}
    for record in first:
        groups.setdefault(record.sketch, []).append(record)
    rows = []
    for name, group in sorted(groups.items(), key=lambda g: min([r.seconds or 1e9 for r in g[1] if r.ok], default=1e9)):
        times = [r.seconds for r in group if r.ok and r.seconds]
        cells = [seconds(min(times)), seconds(statistics.median(times))] if times else ["-", "-"]
        rows.append([f"<code>{_text(name)}</code>", str(len(group)), *cells])
    return "<h3>Sketches tried</h3>" + _table(("sketch", "trials", "best", "median"), rows, numbers=(1, 2, 3))


# ------------------------------------------------------------------------------------------------ knobs
def _knobs(first: Sequence[Record], top: Record) -> str:
    """How much of the spread of the times goes with each knob of the best sketch, and the times by its values."""
    same = [r for r in first if r.ok and r.sketch == top.sketch and r.knobs.keys() == top.knobs.keys() and r.seconds]
    if len(same) < _FEW or not top.knobs:
        return ""
    shares = sorted(((influence(same, name), name) for name in top.knobs), reverse=True)
    rows = [
        [f"<code>{_text(name)}</code>", _bar(share), str(top.knobs[name])] for share, name in shares if share > 0.005
    ]
    if not rows:
        return ""
    charts = "".join(_knob(same, name, top) for share, name in shares[:_KNOBS] if share > 0.005)
    return (
        f"<h3>Knobs that matter, in sketch {_text(top.sketch)}</h3><p class=faint>The share of the spread of log(time) "
        f"among {len(same)} candidates that goes with the value of each knob alone.</p>"
        + _table(("knob", "share", "best value"), rows, numbers=(2,))
        + f'<div class="many">{charts}</div>'
    )


def influence(records: Sequence[Record], name: str) -> float:
    """The share of the variance of log(seconds) between the values of a knob, corrected for how many values there are.

    That is the adjusted correlation ratio: 0 for a knob that does not matter, 1 for one that decides alone.
    """
    groups: dict[int, list[float]] = {}
    for record in records:
        groups.setdefault(record.knobs[name], []).append(math.log(record.seconds or 1.0))
    values = [v for group in groups.values() for v in group]
    mean, count = statistics.fmean(values), len(values)
    total = sum((v - mean) ** 2 for v in values)
    within = sum((v - statistics.fmean(group)) ** 2 for group in groups.values() for v in group)
    if total == 0 or count <= len(groups) or len(groups) < 2:
        return 0.0
    return max(0.0, 1 - within / (count - len(groups)) * (count - 1) / total)


def _knob(records: Sequence[Record], name: str, top: Record) -> str:
    values = sorted({r.knobs[name] for r in records})
    slots = {value: n for n, value in enumerate(values)}
    fastest = min(r.seconds or math.inf for r in records)
    y = Axis.around([(r.seconds or 0) / fastest for r in records], "time / best", log=True)
    chart = Chart(Axis(-0.5, len(values) - 0.5, name), y, f"Time by the value of {name}", 300, 190)
    every = -(-len(values) // 8)
    chart.axes([(n, str(value)) for value, n in slots.items() if n % every == 0])
    for record in records:
        css = "chosen" if record.candidate == top.candidate else "tried"
        chart.dot(slots[record.knobs[name]], (record.seconds or 0) / fastest, css, _choice(record), 3.5)
    return f"<figure>{chart}</figure>"


def _bar(share: float) -> str:
    return f'<span class="bar"><i style="width: {100 * share:.0f}%"></i></span>{100 * share:.0f} %'


# ------------------------------------------------------------------------------------------------ the best, failures
def _best_schedule(records: Sequence[Record], task: Task | None) -> str:
    top = best(records)
    assert top is not None
    head = f"<h3>The best schedule</h3><p><code>{_text(_choice(top))}</code></p>"
    task = task or _operator(top)
    if task is None:
        return head + (
            '<p class="faint">Its loop nest is not shown: the log holds the steps, but not the program. Name the '
            "workload beside the log to see it.</p>"
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        known = best_known(task, records)
    if known is None:
        return head
    steps = escape(known[1].trace.as_python())
    return (
        f'{head}<div class="nest scroll">{nest_html(known[1])}</div>'
        f'<details class="steps"><summary>Its steps, as Python</summary><pre>{steps}</pre></details>'
    )


def _operator(record: Record) -> Task | None:
    """The task of a record, if its name is that of an operator of topi and really means what the record says."""
    if record.task.partition(":")[0].endswith(".py"):
        return None
    try:
        task = parse(record.task, Target(**record.target))
    except (WorkloadError, UserCodeError, TypeError, ValueError):
        return None
    return task if record.key in (task.key, task.with_cold_caches().key) else None


def _failures(records: Sequence[Record]) -> str:
    found = failures(records)
    if not found:
        return "<h3>Failures</h3><p>None.</p>"
    rows = [
        [
            f'<span class="status">{f.status}</span>',
            str(f.count),
            _text(f.example.reason[:600]),
            _text(_choice(f.example)),
        ]
        for f in found
    ]
    return "<h3>Failures</h3>" + _table(("status", "count", "one of them", "candidate"), rows, (1,), wide=(2, 3))


# ------------------------------------------------------------------------------------------------ pieces
def _choice(record: Record) -> str:
    return clean(f"{record.sketch}: {', '.join(f'{name}={value}' for name, value in record.knobs.items())}")


def _text(text: str) -> str:
    return escape(clean(text))


def _figure(chart: Chart | None, title: str, caption: str) -> str:
    return f"<figure>{chart or ''}<figcaption><b>{title}.</b> {escape(caption)}</figcaption></figure>"


def _table(
    header: Sequence[str], rows: Sequence[Sequence[str]], numbers: Sequence[int] = (), wide: Sequence[int] = ()
) -> str:
    """A table of cells that are HTML already."""

    def row(cells: Sequence[str], tag: str) -> str:
        made = []
        for n, cell in enumerate(cells):
            css = ' class="number"' if n in numbers else ' class="wide"' if n in wide else ""
            made.append(f"<{tag}{css}>{cell}</{tag}>")
        return f"<tr>{''.join(made)}</tr>"

    body = "".join(row(cells, "td") for cells in rows)
    return f'<div class="scroll"><table><thead>{row(header, "th")}</thead><tbody>{body}</tbody></table></div>'
