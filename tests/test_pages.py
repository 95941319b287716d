"""The code in README.md and in docs/ runs as printed.

The Python blocks of a page run one after another, in one namespace. A block that is followed by a block of text prints
that text; "..." in it stands for anything. docs/ERRORS.md has a test of its own.
"""

import doctest
import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from autotune import cli, workload

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "tensorlang" / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```python\n(?P<program>.*?)^```$(?:\n\n```text\n(?P<text>.*?)^```$)?", re.DOTALL | re.MULTILINE)
COMMAND = re.compile(r"^ *autotune (?P<arguments>.*)$", re.MULTILINE)
OPTIONS = doctest.ELLIPSIS


@pytest.mark.parametrize("page", [p for p in PAGES if p.name != "ERRORS.md"], ids=lambda p: str(p.relative_to(ROOT)))
def test_programs_run(
    page: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    scope: dict[str, Any] = {}
    markdown = page.read_text(encoding="utf-8")
    for block in BLOCK.finditer(markdown):
        program = "\n" * markdown[: block.start("program")].count("\n") + block["program"]
        exec(compile(program, str(page), "exec"), scope)
        printed = capsys.readouterr().out
        if block["text"] is not None:
            assert doctest.OutputChecker().check_output(block["text"], printed, OPTIONS), printed


def test_commands_are_understood(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workload, "check_target", lambda text: None)  # some name a GPU, which need not be there
    commands = [m["arguments"] for page in PAGES for m in COMMAND.finditer(page.read_text(encoding="utf-8"))]
    assert commands
    for command in commands:
        cli.parser().parse_args(shlex.split(command, comments=True))


def test_the_ten_lines(capsys: pytest.CaptureFixture[str]) -> None:
    program = next(b for b in BLOCK.finditer(PAGES[0].read_text(encoding="utf-8")) if "f.time" in b["program"])
    assert program["program"].count("\n") <= 16  # ten, the imports and the arrays
    exec(compile(program["program"], str(PAGES[0]), "exec"), {})
    assert capsys.readouterr().out.splitlines()[-1] == "True"
