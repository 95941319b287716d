"""Names of tasks on the command line.

A task is named as `operator:arguments` (an operator of tensorlang.topi) or as `file.py:function`, with `:arguments`
after it if the function takes any: integers in their order, then options as `name=value`.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import inspect
import pkgutil
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from autotune.task import BuildError, ExprError, Target, Task, WorkloadError, topi


class UserCodeError(Exception):
    """The user's own file raised; the error is the cause.

    >>> raise autotune.UserCodeError("mine.py") from ZeroDivisionError("division by zero")
    Traceback (most recent call last):
    ...
    autotune.workload.UserCodeError: mine.py
    """


def parse(text: str, target: str | Target = "llvm") -> Task:
    """The task that `text` names.

    Raises WorkloadError, which says what was expected and what came, and UserCodeError if the user's file raises.
    Example: `parse("matmul:1024,1024,1024")`, `parse("softmax:64,64,dim=0")`, `parse("mine.py:blur:512,512")`.
    """
    head, _, rest = text.partition(":")
    if head.endswith(".py"):
        return Task.of(_from_file(Path(head), rest), target, name=text)
    found = operators()
    if head not in found:
        raise WorkloadError(
            f"workload: expected operator:shape with an operator of {', '.join(sorted(found))}, or file.py:function; "
            f"got {text!r}"
        )
    arguments = _arguments(rest, text)
    try:
        return Task.of(_call(found[head], arguments, text), target, name=text)
    except ExprError as error:
        raise WorkloadError(f"workload: {head} refuses {text!r}: {error}") from None


def source(workload: str) -> tuple[str, str]:
    """Python that defines what a workload names, as (statements that import it, the call)."""
    head, _, rest = workload.partition(":")
    if head.endswith(".py"):
        name, _, rest = rest.partition(":")
        path = Path(head).resolve()
        imports = f"import runpy\nimport sys\n\nsys.path.insert(0, {str(path.parent)!r})\n"
        imports += f"{name} = runpy.run_path({str(path)!r})[{name!r}]"
    else:
        name = head
        imports = f"from {operators()[head].__module__} import {name}"
    integers, options = _arguments(rest, workload)
    arguments = [*map(repr, integers), *(f"{option}={value!r}" for option, value in options.items())]
    return imports, f"{name}({', '.join(arguments)})"


def check_target(text: str) -> None:
    """Raise WorkloadError unless `text` names a kind of target."""
    try:
        Target(text)
    except BuildError as error:
        raise WorkloadError(f"expected a target, got {text!r}: {error}") from None


def operators() -> dict[str, Callable[..., Any]]:
    """The operators of topi by name: those that a file of it has a NumPy reference for."""
    found: dict[str, Callable[..., Any]] = {}
    for file in pkgutil.iter_modules(topi.__path__):
        module = importlib.import_module(f"{topi.__name__}.{file.name}")
        found.update({name: getattr(module, name) for name in getattr(module, "NUMPY", {})})
    return found


def families() -> dict[str, dict[str, str]]:
    """For each file of topi, what its operators take and what they compute, by name."""
    found: dict[str, dict[str, str]] = {}
    for name, function in sorted(operators().items()):
        summary = (inspect.getdoc(function) or "").partition("\n\n")[0].replace("\n", " ")
        family = function.__module__.rpartition(".")[2]
        found.setdefault(family, {})[f"{name}({_parameters(function)})"] = summary
    return found


Arguments = tuple[list[int], dict[str, "int | float | str"]]


def _arguments(text: str, workload: str) -> Arguments:
    """Integers, then options: `8,8,dim=0` is ([8, 8], {"dim": 0})."""
    integers: list[int] = []
    options: dict[str, int | float | str] = {}
    for part in text.split(",") if text else []:
        name, equals, value = part.partition("=")
        if equals:
            if name in options:
                raise WorkloadError(f"workload: the option {name!r} is given twice in {workload!r}")
            options[name] = _number(value)
        elif options or not re.fullmatch(r"-?\d+", part):
            raise WorkloadError(
                f"workload: expected integers with commas after the colon, then options as name=value, got {workload!r}"
            )
        else:
            integers.append(int(part))
    return integers, options


def _number(text: str) -> int | float | str:
    """`text` as the number that it is, or itself."""
    for kind in (int, float):
        with contextlib.suppress(ValueError):
            return kind(text)
    return text


def _call(function: Callable[..., Any], arguments: Arguments, workload: str) -> Any:
    integers, options = arguments
    try:
        inspect.signature(function).bind(*integers, **options)
    except TypeError as error:
        raise WorkloadError(
            f"workload: {function.__name__} takes ({_parameters(function)}), got {len(integers)} values in "
            f"{workload!r}: {error}"
        ) from None
    return function(*integers, **options)


def _parameters(function: Callable[..., Any]) -> str:
    """The parameters of a function with their defaults, without types."""
    parameters = inspect.signature(function).parameters.values()
    plain = (str(p.replace(annotation=inspect.Parameter.empty)).replace("'", "") for p in parameters)
    return ", ".join(plain)


def _from_file(path: Path, rest: str) -> Any:
    name, _, shape = rest.partition(":")
    if not path.is_file():
        raise WorkloadError(f"workload: there is no file {str(path)!r}")
    if not name:
        raise WorkloadError(f"workload: expected file.py:function, got {str(path)!r} without a function")
    spec = importlib.util.spec_from_file_location(path.stem, path.resolve())
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    folder = str(path.resolve().parent)
    if folder not in sys.path:  # the file finds its neighbours, as it does when Python runs it
        sys.path.insert(0, folder)
    args = _arguments(shape, f"{path}:{rest}")
    try:
        spec.loader.exec_module(module)
        function = getattr(module, name, None)
        if not callable(function):
            names = [n for n, v in vars(module).items() if inspect.isfunction(v) and v.__module__ == path.stem]
            raise WorkloadError(f"workload: {path} has no function {name!r}; it has {', '.join(names) or 'none'}")
        return _call(function, args, f"{path}:{rest}")
    except WorkloadError:
        raise
    except Exception as error:  # whatever the user's own code raises is shown as the user's own traceback
        raise UserCodeError(str(path.resolve())) from error
