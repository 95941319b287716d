"""docs/ERRORS.md shows errors as printed: each program on the page runs, and fails with the text beneath it.

`python -m pytest --update-golden` writes the texts anew.
"""

import re
from pathlib import Path

import pytest

import tensorlang as tl

PAGE = Path(__file__).parent.parent / "docs" / "ERRORS.md"
PROGRAM = re.compile(r"```python\n(?P<program>.*?)```\n\n```text\n(?P<text>.*?)```", re.DOTALL)


def printed(setup: str, program: str) -> str:
    """What Python would print last if `program` ran after `setup`."""
    with pytest.raises(tl.TensorlangError) as caught:
        exec(compile(setup + program, str(PAGE), "exec"), {})
    return f"{type(caught.value).__name__}: {caught.value}\n"


def test_the_page_shows_what_is_printed(request: pytest.FixtureRequest) -> None:
    page = PAGE.read_text(encoding="utf-8")
    start = re.search(r"```python\n(.*?)```", page, re.DOTALL)
    assert start is not None
    setup, rest = start[1], page[start.end() :]
    assert len(PROGRAM.findall(rest)) == rest.count("\n## ") >= 10
    fresh = page[: start.end()] + PROGRAM.sub(
        lambda m: f"```python\n{m['program']}```\n\n```text\n{printed(setup, m['program'])}```", rest
    )
    if request.config.getoption("--update-golden"):
        PAGE.write_text(fresh, encoding="utf-8")
    assert fresh == PAGE.read_text(encoding="utf-8")
