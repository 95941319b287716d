"""The report page: what it says, and how a real browser shows it."""

import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest

from autotune.charts import Axis, Chart
from autotune.database import Database, write
from autotune.record import Record
from autotune.report import influence, page
from autotune.workload import parse

BROWSER = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), ""
)
EVIL = "<script>document.title = 'evil'</script>\x1b[31m"


def records():
    """48 candidates of a matmul whose time depends on `a` alone, some of which fail, and one of a user's file."""
    task = parse("matmul:64,64,64")
    plain = json.loads(task.schedule().trace.to_json())
    made = []
    for n in range(48):
        knobs = {"a": 2 ** (n % 4), "b": n // 4}
        failed = n % 10 == 9
        made.append(
            Record(
                key=task.key,
                task=task.name,
                target=task.target_facts,
                sketch="tile",
                knobs=knobs,
                trace=plain,
                names=task.names,
                status="CRASH" if failed else "OK",
                reason=f"killed by SIGSEGV {EVIL}" if failed else "",
                seconds=None if failed else 1e-5 / knobs["a"] * (1 + n % 3 / 100),
                expected=1e-5 * (1 + n % 7),
                flops=task.flops,
                machine={"cpu": "Some CPU", "cores": 2, "peak_gflops": 300.0},
            )
        )
    mine = Record("mine", f"mine.py:blur {EVIL}", {}, "tile", {"a": 1}, {}, "OK", seconds=1e-3)
    hopeless = Record("none", "hopeless", {}, "tile", {"a": 1}, {}, "RUN_ERROR", reason="bad luck")
    return [*made, mine, hopeless]


@pytest.fixture(scope="module")
def html():
    return page(records(), f"tuned.jsonl {EVIL}")


def test_what_it_says(html):
    for part in (
        "Tuning report: tuned.jsonl",
        "Some CPU, 2 cores, 300 GFLOP/s peak (float32)",
        "peak of the machine, 300",
        "Rank correlation",
        "Knobs that matter, in sketch tile",
        "<code>a</code>",
        "killed by SIGSEGV",
        "but not the program",
        "bad luck",
    ):
        assert part in html, part
    assert "for C.i in 64" in re.sub("<[^>]*>", "", html)
    assert html.count('<svg role="img"') == 4  # two figures and a knob; one figure for mine.py


def test_it_is_one_file_that_runs_nothing(html):
    """No script, no address elsewhere, and what came from the log is text."""
    assert "<script" not in html
    assert "\x1b" not in html
    assert not re.search(r"src=|href=.(?!#)|url\(|@import|https?:", html)


def test_it_is_well_formed(html):
    class Nesting(HTMLParser):
        def __init__(self):
            super().__init__()
            self.open = []

        def handle_starttag(self, tag, attributes):
            if tag not in ("meta", "br"):
                self.open.append(tag)

        def handle_endtag(self, tag):
            assert self.open.pop() == tag

    parser = Nesting()
    parser.feed(html)
    assert parser.open == []


def test_influence_tells_the_knob_that_decides():
    good = [r for r in records() if r.ok and r.task.startswith("matmul")]
    assert influence(good, "a") > 0.95
    assert influence(good, "b") < 0.3


@pytest.mark.parametrize(
    ("axis", "ticks"),
    [
        (Axis(0, 100), [0, 20, 40, 60, 80, 100]),
        (Axis(0, 7), [0, 2, 4, 6]),
        (Axis(0.9, 110, log=True), [1, 10, 100]),
        (Axis(1, 4, log=True), [1, 1.5, 2, 3]),
        (Axis(1, 1.15, log=True), [1]),
    ],
)
def test_ticks_are_round(axis, ticks):
    assert axis.ticks() == pytest.approx(ticks)
    assert all(0 <= axis.place(t) <= 1 for t in ticks)


def test_charts_escape_what_they_say():
    chart = Chart(Axis(0, 1, "<x>"), Axis(0, 1), "<label>").axes()
    chart.dot(0.5, 0.5, "tried", "<tip>")
    assert "<x>" not in str(chart) and "<tip>" not in str(chart) and "<label>" not in str(chart)


# ------------------------------------------------------------------------------------------------ in a browser
_MEASURE = f"<script>{Path(__file__).with_name('page_in_browser.js').read_text()}</script></body>"


def browser(*arguments):
    command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", *map(str, arguments)]
    return subprocess.run(
        command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, timeout=300
    )


needs_browser = pytest.mark.skipif(not BROWSER, reason="no Chromium here: apt-get install chromium")


@needs_browser
@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (600, "dark")])
def test_in_a_browser(html, tmp_path, width, scheme):
    """Nothing overlaps or is cut off, all is readable, nothing is fetched, and no text of the log is a script."""
    file = tmp_path / "report.html"
    file.write_text(html.replace("</body>", _MEASURE))
    setting = f"--blink-settings=preferredColorScheme={int(scheme == 'light')}"
    dump = browser(setting, f"--window-size={width},2000", "--dump-dom", file.as_uri()).stdout
    found = json.loads(re.search(r'data-found="([^"]*)"', dump)[1].replace("&quot;", '"'))
    assert found["problems"] == []
    assert found["title"].startswith("Tuning report")
    assert found["overflow"] <= 0
    assert found["loaded"] == 0
    assert found["contrast"] > 4.5
    assert (found["paper"] > 0.9) == (scheme == "light")


@needs_browser
def test_on_paper(html, tmp_path):
    (tmp_path / "report.html").write_text(html)
    browser(f"--print-to-pdf={tmp_path}/report.pdf", "--no-pdf-header-footer", (tmp_path / "report.html").as_uri())
    pages = len(re.findall(rb"/Type\s*/Page\b(?!s)", (tmp_path / "report.pdf").read_bytes()))
    assert 3 <= pages <= 8  # a task begins on a page of its own


def test_the_command_writes_it(tmp_path, capsys):
    from autotune import cli

    log = tmp_path / "log.jsonl"
    write(log, records()[:12])
    assert len(Database(log).records()) == 12
    assert cli.main(["report", str(log)]) == 0
    assert "Tuning report: log.jsonl" in (tmp_path / "log.html").read_text()
    (tmp_path / "empty").touch()
    assert cli.main(["report", str(tmp_path / "empty")]) == 1
