"""Tasks: what is tuned for what. The only module here that imports tensorlang; the others take its names from here.

A task is named on the command line as `operator:arguments` (an operator of tensorlang.topi) or as `file.py:function`,
with `:arguments` after it if the function takes any: integers in their order, then options as `name=value`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import importlib
import importlib.util
import inspect
import json
import math
import pkgutil
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np

import tensorlang as tl
from tensorlang import Expr, Func, Kernel, Schedule, ScheduleError, Target, analysis, knob, num_threads, peaks, topi
from tensorlang.analysis import Access, Footprint, Knob, Nest, nests, numpy_function, patterns
from tensorlang.display import nest as view_of_nest

__all__ = [
    "Access",
    "Array",
    "Expr",
    "Footprint",
    "Func",
    "Kernel",
    "Knob",
    "Nest",
    "Schedule",
    "ScheduleError",
    "Target",
    "Task",
    "UserCodeError",
    "WorkloadError",
    "check_target",
    "describe",
    "families",
    "knob",
    "nest_html",
    "nests",
    "num_threads",
    "numpy_function",
    "operators",
    "parse",
    "patterns",
    "peaks",
    "primitives",
    "trace_json",
]

KEY_LENGTH = 16


class WorkloadError(ValueError):
    """A task's name on the command line that names nothing, or not something that can be tuned.

    >>> autotune.Task.of("matmul")
    Traceback (most recent call last):
    ...
    autotune.task.WorkloadError: task: expected a Tensor, a list of output Tensors or a Func, got 'matmul'
    """


class UserCodeError(Exception):
    """The user's own file raised; the error is the cause.

    >>> raise autotune.UserCodeError("mine.py") from ZeroDivisionError("division by zero")
    Traceback (most recent call last):
    ...
    autotune.task.UserCodeError: mine.py
    """


@dataclass(frozen=True)
class Array:
    """A parameter: `numpy` is the NumPy dtype of `dtype`."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    numpy: np.dtype


class Task:
    """A Func to make fast on a target.

    func: loop-level, with known sizes; target: a Target; name: for people.
    Raises WorkloadError if a size is open.

    >>> task = autotune.Task.of(C, "llvm")
    >>> task.name, task.flops
    ('C(A: float32[8, 8], B: float32[8, 8], C: float32[8, 8])', 1024)
    """

    def __init__(self, func: tl.Func, target: Target, name: str = ""):
        try:
            self.flops = analysis.flops(func)
        except ValueError as error:
            raise WorkloadError(f"{func.name} cannot be tuned with open sizes: {error}") from None
        self.func, self.target, self.name = func, target, name or describe(func)
        self.cold = False

    def with_cold_caches(self) -> Task:
        """The same task, timed with nothing in the caches: its times go by a key of their own."""
        task = Task(self.func, self.target, self.name)
        task.cold = True
        return task

    @classmethod
    def of(cls, computed: Any, target: str | Target = "llvm", name: str = "") -> Task:
        """A task from a Tensor, a list of output Tensors, a Func or a Task, which is returned as it is.

        Raises WorkloadError if `computed` is none of them.
        """
        if isinstance(computed, Task):
            return computed
        parts = computed if isinstance(computed, tuple | list) else [computed]
        if not isinstance(computed, tl.Func) and not all(isinstance(part, tl.Tensor) for part in parts):
            raise WorkloadError(
                f"{name or 'task'}: expected a Tensor, a list of output Tensors or a Func, got {computed!r}"
            )
        func = computed if isinstance(computed, tl.Func) else tl.create_func(computed)
        return cls(func, Target(target) if isinstance(target, str) else target, name)

    @cached_property
    def key(self) -> str:
        """A hash of the Func, whatever its names, of the target's facts, and of how it is timed."""
        facts = [analysis.structural_hash(self.func), self.target_facts, *["cold"] * self.cold]
        text = json.dumps(facts, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:KEY_LENGTH]

    @cached_property
    def is_empty(self) -> bool:
        """Whether some loop never runs, so that there is nothing to tune."""
        return any(int(repr(loop.extent)) == 0 for nest in nests(self.func) for loop in nest.loops)

    @property
    def target_facts(self) -> dict[str, Any]:
        """The target as a JSON value, without the facts that targets of its kind do not have.

        So keys stay what they are when other kinds of targets get facts of their own.
        """
        return {name: value for name, value in dataclasses.asdict(self.target).items() if value not in ("", 0)}

    @property
    def cache_bytes(self) -> int:
        """Bytes of all caches of the target, those of each core included."""
        return self.target.l3 + self.target.cores * (self.target.l1 + self.target.l2)

    def to_json(self) -> dict[str, Any]:
        """A JSON value from which another process makes the same task."""
        func = analysis.to_json(self.func)
        return {"func": func, "target": self.target_facts, "name": self.name, "cold": self.cold}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Task:
        task = cls(analysis.from_json(value["func"]), Target(**value["target"]), value["name"])
        return task.with_cold_caches() if value["cold"] else task

    def schedule(self) -> Schedule:
        """A fresh schedule, with nothing done yet."""
        return Schedule(self.func, target=self.target)

    def plain(self) -> Schedule:
        """The reference: the program as stated, but with reductions outside the innermost spatial loop for locality.

        That leaves the order in which each element is reduced as it is.
        """
        schedule = self.schedule()
        for nest in nests(self.func):
            spatial = [loop.name for loop in nest.loops if not loop.reduce]
            reduce = [loop.name for loop in nest.loops if loop.reduce]
            if spatial and reduce:
                with contextlib.suppress(ScheduleError):  # an ordered reduction stays where it is
                    schedule.reorder(*spatial[:-1], *reduce, spatial[-1])
        return schedule

    @cached_property
    def reduction_length(self) -> int:
        """The most values that are reduced into one element."""
        lengths = (math.prod(int(repr(p.extent)) for p in n.loops if p.reduce) for n in nests(self.func))
        return max(lengths, default=1)

    def arrays(self) -> tuple[list[Array], list[Array]]:
        """(inputs, outputs) as a kernel of this task takes them."""
        outputs = set(self.func.outputs)
        specs = [
            (b, Array(b.name, tuple(int(repr(d)) for d in b.shape), b.dtype, analysis.to_numpy(b.dtype)))
            for b in self.func.params
        ]
        made = dict(specs)
        return [a for b, a in specs if b not in outputs], [made[b] for b in self.func.outputs]

    @cached_property
    def names(self) -> list[str]:
        """What traces call the parameters, loops, blocks and buffers of the task."""
        return analysis.names(self.func)

    def replay(self, trace: dict[str, Any], names: list[str] | None = None) -> Schedule:
        """The schedule that logged steps make; `names` are those of the task that they were logged for.

        Raises ScheduleError if a step is not legal here.
        """
        func = self.func if names is None or names == self.names else analysis.renamed(self.func, names)
        return tl.Trace.from_json(json.dumps(trace)).apply(func, target=self.target)

    def build(self, schedule: Schedule) -> Kernel:
        """The kernel of a schedule of this task; its parameters have the task's own names."""
        func = schedule.func
        own = [p.name for p in self.func.params]
        if [p.name for p in func.params] != own:
            func = analysis.renamed(func, [*own, *analysis.names(func)[len(own) :]])
        return tl.build(func, target=self.target)


def nest_html(schedule: Schedule) -> str:
    """The loops of a schedule with what they touch, as an HTML fragment."""
    return view_of_nest(schedule)._repr_html_()


def trace_json(trace: tl.Trace) -> dict[str, Any]:
    """A trace as a JSON value."""
    return json.loads(trace.to_json())


@lru_cache
def primitives() -> frozenset[str]:
    """The names that steps of a trace may have."""
    return frozenset(name for name, value in vars(Schedule).items() if hasattr(value, "signature"))


def describe(func: tl.Func) -> str:
    """Name and shapes of a Func in one line: C(A: float32[8, 4], B: float32[4, 2])."""
    params = (f"{p.name}: {p.dtype}[{', '.join(map(repr, p.shape))}]" for p in func.params)
    return f"{func.name}({', '.join(params)})"


# ------------------------------------------------------------------------------------ names on the command line
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
    except tl.ExprError as error:
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
    except tl.BuildError as error:
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
