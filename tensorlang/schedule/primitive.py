"""`@primitive`: a schedule step is written once, as a function that checks and rewrites `s.func`.

The decorator does the rest: handles become names, a refused step leaves the schedule as it was, the result is
verified, and the step goes into the trace with the names it made.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from contextlib import suppress
from functools import wraps
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

import numpy as np

from tensorlang.errors import ScheduleError
from tensorlang.intrin.intrin import Intrinsic
from tensorlang.ir.nodes import Buffer, Expr, Size
from tensorlang.ir.walk import free_vars, sizes, substitute
from tensorlang.schedule.handles import BlockRef, Loop
from tensorlang.schedule.index_map import IndexMap
from tensorlang.schedule.trace import Step, call_text

if TYPE_CHECKING:
    from tensorlang.schedule.schedule import Schedule

P = ParamSpec("P")
R = TypeVar("R")


def primitive(function: Callable[Concatenate[Schedule, P], R]) -> Callable[Concatenate[Schedule, P], R]:
    """A schedule step. `function(s, ...)` reads and changes `s` through its services and returns handles.

    It sees handles as names, callables as IndexMaps, sequences as lists. It refuses through `s.refuse` and
    `s.require`; the step's name and arguments are filled in here.
    """
    signature = inspect.signature(function)
    op = function.__name__

    @wraps(function)
    def method(s: Schedule, *args: P.args, **named: P.kwargs) -> R:
        bound = signature.bind(s, *args, **named)
        bound.apply_defaults()
        values = {k: v for k, v in bound.arguments.items() if k != "s"}
        try:
            values = {k: plain(s, v) for k, v in values.items()}
            bound.arguments.update(values)
            with s.transaction():
                result = function(*bound.args, **bound.kwargs)
                s.finish(op, values)
        except ScheduleError as error:
            raise _located(error, op, values) from None
        return result

    method.signature = signature  # type: ignore[attr-defined]
    return method


def composition(function: Callable[Concatenate[Schedule, P], R]) -> Callable[Concatenate[Schedule, P], R]:
    """A step made of other steps: those go into the trace; if one is refused, all of them are undone."""

    @wraps(function)
    def method(s: Schedule, *args: P.args, **named: P.kwargs) -> R:
        with suppress(ScheduleError), s.transaction(), s.together():
            return function(s, *args, **named)
        try:
            with s.transaction():  # step by step, which tells the one that is refused
                return function(s, *args, **named)
        except ScheduleError as error:
            raise error.but(primitive=error.primitive or function.__name__) from None

    return method


def perform(s: Schedule, step: Step) -> Any:
    """Run a recorded step on `s`; what it makes gets the recorded names."""
    method = getattr(type(s), step.op, None)
    signature = getattr(method, "signature", None)
    if method is None or signature is None:
        raise ScheduleError("unknown_primitive", "no such primitive", primitive=step.op)
    known = set(signature.parameters) - {"s"}
    if known != set(step.args):
        takes = ", ".join(p for p in signature.parameters if p != "s")
        raise ScheduleError("trace_mismatch", f"takes {takes}, got {', '.join(step.args)}", primitive=step.op)
    bound = inspect.BoundArguments(signature, dict(s=s, **step.args))  # type: ignore[arg-type]
    with s.naming(step.out):
        return method(*bound.args, **bound.kwargs)


def plain(s: Schedule, value: Any) -> Any:
    """An argument as it is recorded: names for handles, lists for sequences, IndexMaps for callables."""
    if isinstance(value, Loop | BlockRef):
        if value.schedule is not s:
            raise ScheduleError("foreign_handle", f"{value.name} belongs to another schedule: pass its name instead")
        return value.name
    if isinstance(value, Buffer):
        return value.name
    if isinstance(value, np.integer):
        return int(value)
    if isinstance(value, list | tuple):
        return [plain(s, v) for v in value]
    if isinstance(value, dict):
        return {str(plain(s, k)): plain(s, v) for k, v in value.items()}
    if isinstance(value, Expr):
        return _over_own_sizes(s, value)
    if value is None or isinstance(value, bool | int | float | str | IndexMap | Intrinsic):
        return value
    if callable(value):
        return IndexMap.of(value)
    raise ScheduleError("bad_argument", f"{value!r} is not something a schedule step takes")


def _over_own_sizes(s: Schedule, expr: Expr) -> Expr:
    """`expr` over the shape variables of the program, which are meant by name, as in a stored trace."""
    own = {v.name: v for v in sizes(s.func)}
    return substitute(expr, {v: own[v.name] for v in free_vars(expr) if isinstance(v, Size) and v.name in own})


def _located(error: ScheduleError, op: str, values: dict[str, Any]) -> ScheduleError:
    """The error with the primitive and its arguments, unless an inner step has filled them in."""
    return error.but(primitive=error.primitive or op, argument=error.argument or call_text(values))
