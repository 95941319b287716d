"""Notebooks from Markdown: tutorials/source/NAME.md is what people write, tutorials/NAME.ipynb what they run.

    python -m tests.tools.notebooks                        # writes those that changed
    python -m tests.tools.notebooks --run 12_gpu_matmul    # runs that one, which keeps its outputs

Python blocks become code cells, the text between them Markdown cells. Whoever runs a notebook gets the outputs of their
own machine; one is kept with those of a machine that not everybody has, for as long as its code stays the same.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import io
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

TUTORIALS = Path(__file__).parent.parent.parent / "tutorials"
SOURCES = TUTORIALS / "source"
_CODE = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_LINK = re.compile(r"\]\(([^)#:]+)[^):]*\)")  # to files, not to the web
_NOT_RUN: dict[str, Any] = {"execution_count": None, "outputs": []}
_METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


def cells(markdown: str) -> list[tuple[str, str]]:
    """(kind, text) of the cells: "code" or "markdown"."""
    parts = _CODE.split(markdown)
    kinds = ("markdown", "code")
    return [(kinds[n % 2], part.strip("\n")) for n, part in enumerate(parts) if part.strip()]


def code(markdown: str) -> list[str]:
    """The text of the code cells."""
    return [text for kind, text in cells(markdown) if kind == "code"]


Outputs = Sequence[list[dict[str, Any]]]  # of each code cell


def notebook(markdown: str, outputs: Outputs = ()) -> str:
    """The notebook as JSON text; without outputs, it has not been run."""
    made: list[dict[str, Any]] = []
    count = 0
    for number, (kind, text) in enumerate(cells(markdown)):
        cell: dict[str, Any] = {"cell_type": kind, "id": f"cell-{number}", "metadata": {}}
        if kind == "code":
            count += 1
            cell |= {"execution_count": count, "outputs": outputs[count - 1]} if outputs else _NOT_RUN
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


def kept_outputs(source: Path) -> Outputs:
    """The outputs that the notebook of a source holds, if it has been run and its code is that of the source."""
    if not target(source).exists():
        return ()
    held = json.loads(target(source).read_text(encoding="utf-8"))["cells"]
    ran = [cell for cell in held if cell["cell_type"] == "code" and cell["execution_count"] is not None]
    same = ["".join(cell["source"]) for cell in ran] == code(source.read_text(encoding="utf-8"))
    return [cell["outputs"] for cell in ran] if same else ()


def run(markdown: str) -> Iterator[list[dict[str, Any]]]:
    """Run the code cells here, one after another, and yield the outputs of each, as a notebook stores them."""
    scope: dict[str, Any] = {"__name__": "__main__"}
    for number, text in enumerate(code(markdown), 1):
        body = ast.parse(text).body
        last = body.pop() if isinstance(body[-1], ast.Expr) else None
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            exec(compile(ast.Module(body, []), f"cell {number}", "exec"), scope)
            value = None
            if isinstance(last, ast.Expr):
                value = eval(compile(ast.Expression(last.value), f"cell {number}", "eval"), scope)
        yield [*_stream(printed.getvalue()), *_result(value, number)]


def _stream(text: str) -> list[dict[str, Any]]:
    return [{"name": "stdout", "output_type": "stream", "text": text.splitlines(keepends=True)}] if text else []


def _result(value: Any, number: int) -> list[dict[str, Any]]:
    if value is None:
        return []
    is_view = hasattr(value, "_repr_html_")
    data = {"text/plain": (str(value) if is_view else repr(value)).splitlines(keepends=True)}
    if is_view:
        data["text/html"] = value._repr_html_().splitlines(keepends=True)
    return [{"data": data, "execution_count": number, "metadata": {}, "output_type": "execute_result"}]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.tools.notebooks")
    parser.add_argument("--run", metavar="NAME", help="run this notebook and keep its outputs")
    options = parser.parse_args()
    for source in sources():
        markdown, path = source.read_text(encoding="utf-8"), target(source)
        made = notebook(markdown, list(run(markdown)) if source.stem == options.run else kept_outputs(source))
        if not path.exists() or path.read_text(encoding="utf-8") != made:
            path.write_text(made, encoding="utf-8")
            print(path)


if __name__ == "__main__":
    main()
