"""The notebook about a GPU, on one. Run by `make test-gpu`; tests/test_tutorials.py runs it without."""

import pytest

from tests.tools import notebooks

pytestmark = pytest.mark.gpu


def test_the_ladder_of_the_matrix_product() -> None:
    pytest.importorskip("torch")
    outputs = list(notebooks.run((notebooks.SOURCES / "12_gpu_matmul.md").read_text(encoding="utf-8")))
    assert str(outputs).count("of cuBLAS") == 2 * 8  # each rung, and the list of all
