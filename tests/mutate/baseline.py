"""What the tests do on the code as it is: which functions each runs, how long it takes, and that it passes.

Only calls are traced, so that the run takes little longer than the tests themselves.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from pathlib import Path
from types import FrameType
from typing import Any

import pytest


class Recorder:
    """A pytest plugin that fills `tests`: node id -> {"seconds", "passed", "runs": ["path:function", ...]}."""

    def __init__(self, root: Path):
        self.prefix = str(root / "tensorlang")
        self.root = str(root) + "/"
        self.tests: dict[str, dict[str, Any]] = {}
        self.seen: set[tuple[str, str]] = set()

    def _trace(self, frame: FrameType, event: str, arg: Any) -> None:
        code = frame.f_code
        if code.co_filename.startswith(self.prefix):
            self.seen.add((code.co_filename, code.co_name))

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item):
        self.seen = set()
        begin = time.perf_counter()
        threading.settrace(self._trace)
        sys.settrace(self._trace)
        yield
        sys.settrace(None)
        threading.settrace(None)  # type: ignore[arg-type]
        record = self.tests.setdefault(item.nodeid, {"passed": True})
        record["seconds"] = round(time.perf_counter() - begin, 3)
        record["runs"] = sorted(f"{path.removeprefix(self.root)}:{name}" for path, name in self.seen)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self.tests.setdefault(report.nodeid, {})["passed"] = False


class Baseline:
    """What Recorder has found, as the runner asks for it."""

    def __init__(self, tests: dict[str, dict[str, Any]]):
        self.tests = tests
        self.by_function: dict[str, list[str]] = {}
        for name, record in tests.items():
            for function in record.get("runs", ()):
                self.by_function.setdefault(function, []).append(name)

    @classmethod
    def load(cls, path: Path) -> Baseline:
        return cls(json.loads(path.read_text(encoding="utf-8")))

    def failing(self) -> list[str]:
        """Tests that fail without any fault, and so say nothing."""
        return [name for name, record in self.tests.items() if not record["passed"]]

    def seconds(self, test: str) -> float:
        return self.tests.get(test, {}).get("seconds", 1.0)

    def relevant(self, function: str) -> list[str]:
        """The tests that run a function ("path:name"), quickest first; those that run little else before all."""
        names = self.by_function.get(function, [])
        return sorted(names, key=lambda n: (self.seconds(n) > 1, len(self.tests[n]["runs"]) // 50, self.seconds(n)))
