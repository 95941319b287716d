"""The program in README.md runs as printed."""

import re
from pathlib import Path

import pytest

README = Path(__file__).parent.parent / "README.md"


def test_the_ten_lines(capsys: pytest.CaptureFixture[str]) -> None:
    program = re.search(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    assert program is not None
    exec(compile(program[1], str(README), "exec"), {})
    assert capsys.readouterr().out.splitlines()[-1] == "True"
