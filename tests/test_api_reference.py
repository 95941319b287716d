"""The API reference: docstrings become Markdown that shows programs as they stand, and the pages are made."""

import os
import subprocess
import sys
from pathlib import Path

import autotune
import tensorlang as tl
from tests.tools import api_reference

ROOT = Path(__file__).parent.parent


def test_programs_in_docstrings_become_code_and_lists_stay_lists() -> None:
    made = api_reference.markdown(
        """Split a loop.

        requires:
          1. factors
          2. no annotations

        rewrite:
          for i in n:
            block B
        """
    )
    assert "\n1. factors\n2. no annotations\n" in made
    assert made.endswith("rewrite:\n\n```text\nfor i in n:\n  block B\n```\n")


def test_every_public_name_has_its_place(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.tools.api_reference", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=True, capture_output=True)
    for module in (tl, autotune):
        page = (tmp_path / f"{module.__name__}.html").read_text(encoding="utf-8")
        assert {
            name for name in module.__all__ if f'id="{name}"' not in page and name not in ("display", "dtypes")
        } == set()
    assert 'id="Schedule.split"' in (tmp_path / "tensorlang.html").read_text(encoding="utf-8")
    assert (tmp_path / "tensorlang" / "display.html").exists()
