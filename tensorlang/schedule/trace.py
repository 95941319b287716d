"""The trace of a schedule: the steps that made it, as plain data that can be stored and replayed.

A step records its arguments in full and, in order, the names of all loops, blocks and buffers that it made. Replay
gives out the same names again, so a stored trace does not depend on how names are chosen.

In JSON, an expression is `{"expr": ...}` and an index map `{"indices": [names], "map": [...]}`, both in the form of
ir.serial over the knobs and sizes that are listed first; a dict is `{"entries": [[key, value], ...]}`; all else stands
for itself. Loading a trace evaluates nothing.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from tensorlang.errors import ScheduleError
from tensorlang.intrin.intrin import Intrinsic
from tensorlang.ir.nodes import Expr, Knob, Size, Var, const
from tensorlang.ir.serial import expr_from_json, expr_to_json
from tensorlang.ir.walk import free_vars, substitute
from tensorlang.schedule.index_map import IndexMap

if TYPE_CHECKING:
    from tensorlang.schedule.schedule import Schedule

VERSION = 1


@dataclass(frozen=True)
class Step:
    """One primitive call: `args` by parameter name (names for handles), `out` the names it made, in order."""

    op: str
    args: dict[str, Any]
    out: tuple[str, ...]

    def __str__(self) -> str:
        made = f" -> {', '.join(self.out)}" if self.out else ""
        return f"{self.op}({call_text(self.args)}){made}"


@dataclass(frozen=True)
class Trace:
    """The steps of a schedule, in order.

    >>> Trace.from_json(s.trace.to_json()).apply(C)
    """

    steps: tuple[Step, ...]

    def to_json(self) -> str:
        """One line of JSON: version, knobs with their choices, sizes if any, steps as {"op", "args", "out"}.

        >>> s.parallel("C.i")
        >>> tl.Trace.from_json(s.trace.to_json()) == s.trace
        True
        """
        knobs = {name: list(knob.choices) for name, knob in self.knobs.items()}
        sizes = {"sizes": list(self.sizes)} if self.sizes else {}
        steps = [{"op": t.op, "args": _encode_args(t.args), "out": list(t.out)} for t in self.steps]
        return json.dumps({"version": VERSION, "knobs": knobs, **sizes, "steps": steps})

    @classmethod
    def from_json(cls, text: str) -> Trace:
        """The trace that `to_json` wrote, over knobs of its own.

        Raises ScheduleError (bad_trace) for anything else.

        >>> tl.Trace.from_json("{}")
        Traceback (most recent call last):
        ...
        tensorlang.errors.ScheduleError: the trace must be a JSON object with an entry 'version', got {} [bad_trace]
        """
        try:
            data = json.loads(text)
        except (ValueError, TypeError) as error:
            raise ScheduleError("bad_trace", f"this is not JSON: {error}") from error
        version = _entry(data, "version", int, "the trace")
        if version != VERSION:
            raise ScheduleError("bad_trace", f"trace version {version}, this is version {VERSION}")
        choices = _entry(data, "knobs", dict, "the trace").items()
        symbols: dict[str, Var] = {name: Knob(name, tuple(_numbers(name, values))) for name, values in choices}
        symbols.update((str(name), Size(str(name))) for name in data.get("sizes", ()))
        steps = enumerate(_entry(data, "steps", list, "the trace"), 1)
        return cls(tuple(_step(step, f"step {number}", symbols) for number, step in steps))

    def apply(
        self, computed: Any, args: Any = None, target: Any = None, intrinsics: Sequence[Intrinsic] = ()
    ) -> Schedule:
        """A new Schedule of `computed` (see Schedule) with all steps done, every name as recorded.

        Raises ScheduleError for the first step that is not legal there; its message gives the number of the step.

        >>> s.parallel("C.i")
        >>> s.trace.apply(tl.Schedule(C).func).loop("C.i").kind
        'parallel'
        """
        from tensorlang.schedule.schedule import Schedule  # a Schedule has a trace: the modules need each other

        return Schedule(computed, args, target, intrinsics).apply(self)

    @property
    def knobs(self) -> dict[str, Knob]:
        """The open knobs by name, in order of first use."""
        return {name: v for name, v in self._symbols.items() if isinstance(v, Knob)}

    @property
    def sizes(self) -> tuple[str, ...]:
        """The names of the shape variables in arguments; replay takes them for those of the program."""
        return tuple(name for name, v in self._symbols.items() if isinstance(v, Size))

    @cached_property
    def _symbols(self) -> dict[str, Var]:
        exprs = [e for t in self.steps for e in _exprs(t.args)]
        found = (v for e in exprs for v in sorted(free_vars(e), key=lambda v: v.name))
        return {v.name: v for v in found if isinstance(v, Knob | Size)}

    def instantiate(self, values: Mapping[str, int]) -> Trace:
        """The trace with the knobs in `values` replaced by numbers; factors that become constant turn into ints.

        >>> n = tl.knob("n", [2, 4])
        >>> _ = s.split("C.i", [None, n])
        >>> print(s.trace.instantiate({"n": 4}))
        1. split(C.i, [None, 4], guard) -> C.i.0, C.i.1
        """
        by_knob: dict[Var, Expr] = {knob: const(values[name]) for name, knob in self.knobs.items() if name in values}
        if not by_knob:
            return self

        def close(value: Any) -> Any:
            if isinstance(value, Expr):
                expr = substitute(value, by_knob)
                return getattr(expr, "value", expr)
            if isinstance(value, IndexMap):
                return IndexMap(value.vars, [substitute(e, by_knob) for e in value.exprs])
            return value

        return Trace(tuple(Step(t.op, _map(t.args, close), t.out) for t in self.steps))

    def as_python(self, name: str = "s") -> str:
        """The steps as Python source that does the same to the schedule `name`, with the names they made as comments.

        Knobs and shape variables are declared first: `t = tl.knob("t", (1, 2, 4))`.

        >>> _ = s.split("C.i", [None, 4])
        >>> print(s.trace.as_python())
        s.split('C.i', [None, 4])  # C.i.0, C.i.1
        """
        from tensorlang.schedule.schedule import Schedule  # see apply

        lines = [f"{_identifier(k.name)} = tl.knob({k.name!r}, {k.choices!r})" for k in self.knobs.values()]
        lines += [f"{_identifier(n)} = tl.var({n!r})" for n in self.sizes]
        for t in self.steps:
            made = f"  # {', '.join(t.out)}" if t.out else ""
            signature = getattr(getattr(Schedule, t.op, None), "signature", None)
            if signature is None:
                raise ScheduleError("unknown_primitive", f"there is no primitive {t.op!r}")
            lines.append(f"{name}.{t.op}({_python_args(t, signature)}){made}")
        return "".join(line + "\n" for line in lines)

    def __str__(self) -> str:
        return "\n".join(f"{n}. {step}" for n, step in enumerate(self.steps, 1))


def call_text(args: Mapping[str, Any]) -> str:
    """Arguments as a reader would write them, names without quotes: `C.i, [None, 32]`."""
    return ", ".join(_argument(v) for v in args.values())


def _argument(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_argument, value))}]"
    return value if isinstance(value, str) else repr(value)


def _python_args(step: Step, signature: inspect.Signature) -> str:
    """Arguments in Python: those of `*loops` spread, defaults left out, what differs from its default by name."""
    written: list[str] = []
    for name, value in step.args.items():
        parameter = signature.parameters[name]
        if parameter.kind is parameter.VAR_POSITIONAL:
            written += map(_python, value)
        elif parameter.default is parameter.empty:
            written.append(_python(value))
        elif isinstance(value, Expr | IndexMap) or value != parameter.default:
            written.append(f"{name}={_python(value)}")
    return ", ".join(written)


def _python(value: Any) -> str:
    if isinstance(value, Expr):
        return repr(substitute(value, {v: Var(_identifier(v.name)) for v in free_vars(value)}))
    if isinstance(value, IndexMap):
        return f"lambda {', '.join(v.name for v in value.vars)}: ({', '.join(map(repr, value.exprs))},)"
    if isinstance(value, list):
        return f"[{', '.join(map(_python, value))}]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{k!r}: {_python(v)}" for k, v in value.items()) + "}"
    return repr(value.name if isinstance(value, Intrinsic) else value)


def _identifier(name: str) -> str:
    """A knob's name as a Python identifier."""
    plain = "".join(c if c.isalnum() else "_" for c in name)
    return plain if plain.isidentifier() else f"knob_{plain}"


def _entry(data: Any, key: str, kind: type, what: str) -> Any:
    """`data[key]`, if `data` is a JSON object that has one of that kind. Reason: bad_trace."""
    if not isinstance(data, dict) or key not in data:
        raise ScheduleError("bad_trace", f"{what} must be a JSON object with an entry {key!r}, got {_cut(data)}")
    value = data[key]
    if not isinstance(value, kind) or isinstance(value, bool):
        kinds = {int: "a whole number", str: "a string", dict: "an object", list: "a list"}
        raise ScheduleError("bad_trace", f"{key!r} of {what} must be {kinds[kind]}, got {_cut(value)}")
    return value


def _numbers(name: str, choices: Any) -> list[int]:
    """The choices of a knob. Reason: bad_trace."""
    if not isinstance(choices, list) or not choices or not all(type(n) is int and n >= 1 for n in choices):
        raise ScheduleError("bad_trace", f"knob {name!r} must have whole numbers >= 1 as choices, got {_cut(choices)}")
    return choices


def _step(data: Any, what: str, symbols: Mapping[str, Var]) -> Step:
    """One step of a stored trace. Reason: bad_trace."""
    op = _entry(data, "op", str, what)
    args, out = _entry(data, "args", dict, f"{what} ({op})"), _entry(data, "out", list, f"{what} ({op})")
    if not all(isinstance(name, str) for name in out):
        raise ScheduleError("bad_trace", f"'out' of {what} ({op}) must be a list of names, got {_cut(out)}")
    try:
        return Step(op, {key: _decode(value, symbols) for key, value in args.items()}, tuple(out))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ScheduleError("bad_trace", f"'args' of {what} ({op}) hold no expression: {_cut(args)}") from error


def _cut(value: Any) -> str:
    """`value` as JSON, cut to a line that can be read."""
    text = json.dumps(value, default=repr)
    return text if len(text) <= 60 else f"{text[:60]} ..."


def _encode_args(args: Mapping[str, Any]) -> dict[str, Any]:
    return {key: _encode(value) for key, value in args.items()}


def _encode(value: Any) -> Any:
    """An argument as JSON."""
    if isinstance(value, Intrinsic):
        return value.name
    if isinstance(value, Expr):
        return {"expr": expr_to_json(value)}
    if isinstance(value, IndexMap):
        return {"indices": [v.name for v in value.vars], "map": [expr_to_json(e) for e in value.exprs]}
    if isinstance(value, list):
        return [_encode(v) for v in value]
    return {"entries": [[k, _encode(v)] for k, v in value.items()]} if isinstance(value, dict) else value


def _decode(value: Any, knobs: Mapping[str, Var]) -> Any:
    """The argument that `_encode` wrote."""
    if isinstance(value, list):
        return [_decode(v, knobs) for v in value]
    if not isinstance(value, dict):
        return value
    if value.keys() == {"expr"}:
        return expr_from_json(value["expr"], knobs)
    if value.keys() == {"indices", "map"}:
        indices = {name: Var(name) for name in value["indices"]}
        return IndexMap(list(indices.values()), [expr_from_json(e, {**knobs, **indices}) for e in value["map"]])
    return {k: _decode(v, knobs) for k, v in value["entries"]}


def _map(value: Any, leaf: Callable[[Any], Any]) -> Any:
    if isinstance(value, dict):
        return {k: _map(v, leaf) for k, v in value.items()}
    return [_map(v, leaf) for v in value] if isinstance(value, list) else leaf(value)


def _exprs(value: Any) -> list[Expr]:
    """All expressions in an argument."""
    found: list[Expr] = []

    def leaf(v: Any) -> Any:
        found.extend([v] if isinstance(v, Expr) else v.exprs if isinstance(v, IndexMap) else [])

    _map(value, leaf)
    return found
