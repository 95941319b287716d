"""The examples in docstrings run, and print what they say they print; every public name has one.

They share a few names, given anew to each docstring: see `names`. An example without output may print anything.
"""

import doctest
import functools
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import autotune
import tensorlang as tl
from autotune import progress
from tensorlang.display import page, units
from tensorlang.ir import evaluate
from tensorlang.te import Axis
from tests.tools import api_reference

OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE | doctest.IGNORE_EXCEPTION_DETAIL
DOCUMENTED = api_reference.modules()
MODULES = (*DOCUMENTED, page, units, evaluate, progress)


class Checker(doctest.OutputChecker):
    """Nothing is asked of examples that show no output."""

    def check_output(self, want: str, got: str, optionflags: int) -> bool:
        return not want or super().check_output(want, got, optionflags)


@functools.cache
def shared() -> dict[str, Any]:
    """What does not change when it is used."""
    A, B = (tl.placeholder((8, 8), "float32", name=name) for name in "AB")
    k = tl.reduce_axis(8, name="k")
    C = tl.compute((8, 8), lambda i, j: tl.sum(A[i, k] * B[k, j], axis=k), name="C")
    D = tl.compute((8, 8), lambda i, j: tl.maximum(C[i, j], 0.0), name="D")
    a, b = (np.random.default_rng(0).integers(-4, 5, (8, 8)).astype("float32") for _ in "ab")
    modules = {"np": np, "tl": tl, "autotune": autotune}
    axes = {"i": Axis("i"), "j": Axis("j"), "k": k}
    return modules | axes | {"A": A, "B": B, "C": C, "D": D, "a": a, "b": b, "f": tl.build(C)}


def names() -> dict[str, Any]:
    """What examples find: a product C of 8 x 8 matrices, D = max(C, 0), schedules s of C and t of D, its kernel f."""
    return shared() | {"s": tl.Schedule(shared()["C"]), "t": tl.Schedule(shared()["D"])}


def public(module: ModuleType) -> Iterator[tuple[str, Any]]:
    """The public names of a module that its docs are about."""
    for name in getattr(module, "__all__", None) or vars(module):
        value = getattr(module, name)
        own = inspect.getmodule(value) is module or hasattr(module, "__all__")
        if not name.startswith("_") and own and (callable(value) or isinstance(value, ModuleType)):
            yield f"{module.__name__}.{name}", value


def methods(value: type) -> list[str]:
    return [n for n, v in vars(value).items() if not n.startswith("_") and callable(getattr(v, "__func__", v))]


def described() -> dict[str, Any]:
    """Everything whose docstring is run, by name: what is public, with the methods of classes."""
    found: dict[str, Any] = {}
    for module in MODULES:
        found[module.__name__] = module
        for name, value in public(module):
            found[name] = value
            if inspect.isclass(value):
                found |= {f"{name}.{n}": getattr(value, n) for n in methods(value)}
    return {name: value for name, value in found.items() if ">>>" in (inspect.getdoc(value) or "")}


@functools.cache
def tuned() -> autotune.Result:
    """The result r of examples that speak of one."""
    return autotune.tune(shared()["C"], trials=2)


@pytest.mark.parametrize("value", [pytest.param(value, id=name) for name, value in described().items()])
def test_examples(value: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = inspect.getdoc(value) or ""
    scope = {**vars(inspect.getmodule(value)), **names()}
    if re.search(r">>> .*\br\.", text) and ">>> r =" not in text:
        scope["r"] = tuned()
    monkeypatch.chdir(tmp_path)
    test = doctest.DocTestParser().get_doctest(text, scope, "docstring", None, 0)
    runner = doctest.DocTestRunner(Checker(), verbose=False, optionflags=OPTIONS)
    told: list[str] = []
    runner.run(test, out=told.append)
    assert runner.summarize(verbose=False).failed == 0, "".join(told)


def test_every_public_name_has_an_example() -> None:
    """Those that the reference lists, and the methods that people call: those of schedules, traces and tasks."""
    names = {name for module in DOCUMENTED for name, _ in public(module)}
    for value in (tl.Schedule, tl.Trace, autotune.Task):
        names |= {f"{value.__module__.partition('.')[0]}.{value.__name__}.{n}" for n in methods(value)}
    only_primitive_calls = {"tensorlang.Schedule.naming", "tensorlang.Schedule.finish"}
    assert names - described().keys() == only_primitive_calls
