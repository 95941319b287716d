"""Notebooks from Markdown: tutorials/source/NAME.md is what people write, tutorials/NAME.ipynb what they run.

    python -m tests.tools.notebooks        # writes those that changed

Python blocks become code cells, the text between them Markdown cells. Notebooks hold no outputs; whoever runs one
gets those of their own machine.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

TUTORIALS = Path(__file__).parent.parent.parent / "tutorials"
SOURCES = TUTORIALS / "source"
_CODE = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_LINK = re.compile(r"\]\(([^)#:]+)[^):]*\)")  # to files, not to the web
_METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


def cells(markdown: str) -> list[tuple[str, str]]:
    """(kind, text) of the cells: "code" or "markdown"."""
    parts = _CODE.split(markdown)
    kinds = ("markdown", "code")
    return [(kinds[n % 2], part.strip("\n")) for n, part in enumerate(parts) if part.strip()]


def notebook(markdown: str) -> str:
    """The notebook as JSON text."""
    made: list[dict[str, Any]] = []
    for number, (kind, text) in enumerate(cells(markdown)):
        cell: dict[str, Any] = {"cell_type": kind, "id": f"cell-{number}", "metadata": {}}
        if kind == "code":
            cell |= {"execution_count": None, "outputs": []}
        made.append(cell | {"source": text.splitlines(keepends=True)})
    value = {"cells": made, "metadata": _METADATA, "nbformat": 4, "nbformat_minor": 5}
    return json.dumps(value, indent=1, ensure_ascii=False) + "\n"


def links(markdown: str) -> list[str]:
    """The files that a page links to."""
    return _LINK.findall(_CODE.sub("", markdown))


def sources() -> list[Path]:
    return sorted(SOURCES.glob("*.md"))


def target(source: Path) -> Path:
    """The notebook that is made of a source."""
    return TUTORIALS / f"{source.stem}.ipynb"


def main() -> None:
    for source in sources():
        made, path = notebook(source.read_text(encoding="utf-8")), target(source)
        if not path.exists() or path.read_text(encoding="utf-8") != made:
            path.write_text(made, encoding="utf-8")
            print(path)


if __name__ == "__main__":
    main()
