"""What all tests share: golden text, options, and no compiled code from an earlier run.

`python -m pytest --update-golden` writes the files in tests/golden anew from what the tests see.
"""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

os.environ["TENSORLANG_CACHE"] = "off"

GOLDEN = Path(__file__).parent / "golden"
SLOW = (
    "tests/fuzz/test_fuzz.py",
    "tests/test_tutorials.py",
    "tests/autotune/test_faults.py",
    "tests/autotune/measure/",
)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="write tests/golden anew")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes long comes first, so that no process is left alone with it at the end."""
    items.sort(key=lambda item: not item.nodeid.startswith(SLOW))


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """golden(name, text): `text` must be what tests/golden/NAME.txt holds."""

    def check(name: str, text: str) -> None:
        path = GOLDEN / f"{name}.txt"
        if request.config.getoption("--update-golden"):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text.rstrip() + "\n")
        assert path.exists(), f"no {path}: run python -m pytest --update-golden"
        assert text.rstrip() + "\n" == path.read_text()

    return check
