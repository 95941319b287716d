"""The notebooks of tutorials/: made of their sources, run from top to bottom, and complete."""

import os
from pathlib import Path

import nbclient
import nbformat
import pytest

import tensorlang as tl
from tests.tools import notebooks

ROOT = Path(__file__).parent.parent
IN_GPU_NOTEBOOKS = {"async_copy", "bind", "double_buffer", "software_pipeline"}


@pytest.mark.parametrize("source", notebooks.sources(), ids=lambda path: path.stem)
def test_a_notebook_is_made_of_its_source(source: Path) -> None:
    made = notebooks.notebook(source.read_text(encoding="utf-8"), notebooks.kept_outputs(source))
    nbformat.validate(nbformat.reads(made, as_version=4))
    assert notebooks.target(source).read_text(encoding="utf-8") == made, "run python -m tests.tools.notebooks"


def test_the_outputs_of_a_gpu_are_kept() -> None:
    outputs = str(notebooks.kept_outputs(notebooks.SOURCES / "12_gpu_matmul.md"))
    assert "H100" in outputs and outputs.count("of cuBLAS") == 2 * 8


def test_outputs_of_cells() -> None:
    markdown = "A question.\n\n```python\nx = 2\nprint(x)\nx + 1\n```\n\n```python\nx += 1\n```\n"
    first, second = notebooks.run(markdown)
    assert [output["output_type"] for output in first] == ["stream", "execute_result"] and second == []
    assert first[1]["data"] == {"text/plain": ["3"]}
    nbformat.validate(nbformat.reads(notebooks.notebook(markdown, [first, second]), as_version=4))


def test_every_notebook_has_a_source() -> None:
    assert sorted(notebooks.TUTORIALS.glob("*.ipynb")) == [notebooks.target(path) for path in notebooks.sources()]


@pytest.mark.parametrize("path", sorted(notebooks.TUTORIALS.glob("*.ipynb")), ids=lambda path: path.stem)
def test_a_notebook_runs(path: Path) -> None:
    client = nbclient.NotebookClient(nbformat.read(path, as_version=4), timeout=600, kernel_name="python3")
    client.execute(cwd=str(notebooks.TUTORIALS), env={**os.environ, "PYTHONPATH": str(ROOT)})


def test_every_primitive_is_shown() -> None:
    shown = "".join(path.read_text(encoding="utf-8") for path in notebooks.sources() if path.name.startswith("02"))
    primitives = {name for name, value in vars(tl.Schedule).items() if hasattr(value, "signature")}
    assert {name for name in primitives - IN_GPU_NOTEBOOKS if f"s.{name}(" not in shown} == set()


def test_links_between_pages_lead_somewhere() -> None:
    pages = [*notebooks.sources(), ROOT / "README.md", *(ROOT / "docs").glob("*.md"), ROOT / "tensorlang" / "README.md"]
    for page in pages:
        folder = notebooks.TUTORIALS if page in notebooks.sources() else page.parent
        for link in notebooks.links(page.read_text(encoding="utf-8")):
            assert (folder / link).exists(), f"{page}: {link}"
