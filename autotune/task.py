"""Tasks: what is tuned for what. The only module here that imports tensorlang; the others take its names from here."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import math
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np

import tensorlang as tl
from tensorlang import (
    BuildError,
    DeviceArray,
    Expr,
    ExprError,
    Func,
    GpuKernel,
    Kernel,
    Schedule,
    ScheduleError,
    Target,
    analysis,
    knob,
    num_threads,
    peaks,
    topi,
)
from tensorlang.analysis import (
    LANE,
    Access,
    Footprint,
    Knob,
    LoopInfo,
    Nest,
    Pattern,
    collection_put_off,
    free_vars,
    nests,
    numpy_function,
    patterns,
    to_numpy,
)
from tensorlang.display import View
from tensorlang.display import nest as view_of_nest
from tensorlang.display.page import fragment
from tensorlang.schedule import gpu_library

__all__ = [
    "LANE",
    "Access",
    "Array",
    "BuildError",
    "DeviceArray",
    "Expr",
    "ExprError",
    "Footprint",
    "Func",
    "GpuKernel",
    "Kernel",
    "Knob",
    "LoopInfo",
    "Nest",
    "Pattern",
    "Schedule",
    "ScheduleError",
    "Target",
    "Task",
    "View",
    "WorkloadError",
    "collection_put_off",
    "describe",
    "fragment",
    "free_vars",
    "gpu_library",
    "knob",
    "nest_html",
    "nests",
    "num_threads",
    "numpy_function",
    "patterns",
    "peaks",
    "primitives",
    "program_json",
    "to_numpy",
    "topi",
    "trace_json",
]

KEY_LENGTH = 16
_PLAIN_THREADS = 256


class WorkloadError(ValueError):
    """A task's name on the command line that names nothing, or not something that can be tuned.

    >>> autotune.Task.of("matmul")
    Traceback (most recent call last):
    ...
    autotune.task.WorkloadError: task: expected a Tensor, a list of output Tensors or a Func, got 'matmul'
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
        """The same task, timed with nothing in the caches: its times go by a key of their own.

        >>> task = autotune.Task.of(C)
        >>> task.with_cold_caches().key == task.key
        False
        """
        task = Task(self.func, self.target, self.name)
        task.cold = True
        return task

    @classmethod
    def of(cls, computed: Any, target: str | Target | None = None, name: str = "") -> Task:
        """A task from a Tensor, a list of output Tensors, a Func or a Task, which is returned as it is if it is for
        that target. target: None is that of a Task, and "llvm" for all else.

        Raises WorkloadError if `computed` is none of them.

        >>> autotune.Task.of([D]).name
        'D(A: float32[8, 8], B: float32[8, 8], D: float32[8, 8])'
        """
        if isinstance(target, str):
            target = Target(target)
        if isinstance(computed, Task):
            if target is None or target == computed.target:
                return computed
            other = cls(computed.func, target, name or computed.name)
            return other.with_cold_caches() if computed.cold else other
        parts = computed if isinstance(computed, tuple | list) else [computed]
        if not isinstance(computed, tl.Func) and not all(isinstance(part, tl.Tensor) for part in parts):
            raise WorkloadError(
                f"{name or 'task'}: expected a Tensor, a list of output Tensors or a Func, got {computed!r}"
            )
        func = computed if isinstance(computed, tl.Func) else tl.create_func(computed)
        return cls(func, target or Target("llvm"), name)

    @cached_property
    def key(self) -> str:
        """A hash of the Func, whatever its names, of the target's facts, and of how it is timed."""
        facts = [analysis.structural_hash(self.func), self.target_facts, *["cold"] * self.cold]
        text = json.dumps(facts, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:KEY_LENGTH]

    @cached_property
    def is_empty(self) -> bool:
        """Whether some loop never runs, so that there is nothing to tune."""
        return any(int(repr(loop.extent)) == 0 for nest in self.nests for loop in nest.loops)

    @cached_property
    def nests(self) -> list[Nest]:
        """The blocks of the program as stated, with the loops around them."""
        return nests(self.func)

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
        """A JSON value from which another process makes the same task.

        >>> sorted(autotune.Task.of(C).to_json())
        ['cold', 'func', 'name', 'target']
        """
        func = analysis.to_json(self.func)
        return {"func": func, "target": self.target_facts, "name": self.name, "cold": self.cold}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Task:
        """The task that `to_json` has described.

        >>> task = autotune.Task.of(C)
        >>> autotune.Task.from_json(task.to_json()).key == task.key
        True
        """
        task = cls(analysis.from_json(value["func"]), Target(**value["target"]), value["name"])
        return task.with_cold_caches() if value["cold"] else task

    def schedule(self) -> Schedule:
        """A fresh schedule, with nothing done yet.

        >>> autotune.Task.of(C).schedule()
        <Schedule of C, 0 steps>
        """
        return Schedule(self.func, target=self.target)

    def plain(self) -> Schedule:
        """The reference: the program as stated, but with reductions outside the innermost spatial loop for locality.

        That leaves the order in which each element is reduced as it is. On a GPU, a thread computes an element.

        >>> autotune.Task.of(C).plain().loops()
        [Loop('C.i'), Loop('C.k'), Loop('C.j')]
        """
        schedule = self.schedule()
        if self.target.simt:
            _a_thread_for_each_element(schedule)
            return schedule
        for nest in self.nests:
            spatial = [loop.name for loop in nest.loops if not loop.reduce]
            reduce = [loop.name for loop in nest.loops if loop.reduce]
            if spatial and reduce:
                with contextlib.suppress(ScheduleError):  # an ordered reduction stays where it is
                    schedule.reorder(*spatial[:-1], *reduce, spatial[-1])
        return schedule

    def unscheduled(self) -> Schedule:
        """The program as stated, that is, on a GPU, which runs nothing that is not bound, the plain one.

        >>> autotune.Task.of(C).unscheduled()
        <Schedule of C, 0 steps>
        """
        return self.plain() if self.target.simt else self.schedule()

    @cached_property
    def reduction_length(self) -> int:
        """The most values that are reduced into one element."""
        lengths = (math.prod(int(repr(p.extent)) for p in n.loops if p.reduce) for n in self.nests)
        return max(lengths, default=1)

    def arrays(self) -> tuple[list[Array], list[Array]]:
        """(inputs, outputs) as a kernel of this task takes them.

        >>> [array.name for array in autotune.Task.of(C).arrays()[0]]
        ['A', 'B']
        """
        outputs = set(self.func.outputs)
        specs = [
            (b, Array(b.name, tuple(int(repr(d)) for d in b.shape), b.dtype, to_numpy(b.dtype)))
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

        >>> s.parallel("C.i")
        >>> autotune.Task.of(C).replay(json.loads(s.trace.to_json()))
        <Schedule of C, 1 steps>
        """
        func = self.func if names is None or names == self.names else analysis.renamed(self.func, names)
        return tl.Trace.from_json(json.dumps(trace)).apply(func, target=self.target)

    def scheduled(self, job: dict[str, Any]) -> Schedule:
        """The schedule that a job asks for: its `program` with numbers for `knobs`, else what its `trace` makes, whose
        steps go by `names`; for some numbers only that. Raises ScheduleError if it is not legal.

        >>> s.parallel("C.i")
        >>> task = autotune.Task.of(C)
        >>> task.scheduled({"trace": json.loads(s.trace.to_json()), "names": task.names})
        <Schedule of C, 1 steps>
        """
        if "program" in job:
            with contextlib.suppress(ScheduleError):
                return _opened(job["program"], self.target).instantiate(job["knobs"])
        return self.replay(job["trace"], job["names"])

    def build(self, schedule: Schedule) -> Any:
        """The kernel of a schedule of this task, a Kernel or a GpuKernel; its parameters have the task's own names.

        >>> autotune.Task.of(C).build(s)(a, b).shape
        (8, 8)
        """
        func = schedule.func
        own = [p.name for p in self.func.params]
        if [p.name for p in func.params] != own:
            func = analysis.renamed(func, [*own, *analysis.names(func)[len(own) :]])
        return tl.build(func, target=self.target)

    def unpack(self, value: dict[str, Any]) -> GpuKernel:
        """The kernel that another process has built for this task, and told of by `GpuKernel.packed`.

        >>> task = autotune.Task.of(C, tl.Target("cuda", arch="sm_90a"))
        >>> task.unpack(task.build(task.plain()).packed()).signature
        'C(A: float32[8, 8], B: float32[8, 8]) -> C: float32[8, 8]'
        """
        return GpuKernel.unpacked(value, self.func.params, self.func.outputs)


def _a_thread_for_each_element(schedule: Schedule) -> None:
    """Every block as a kernel of its own; where it has one element, threads share the reduction of it."""
    for nest in nests(schedule.func):
        loops = [loop.name for loop in nest.loops if not loop.reduce] or [nest.loops[-1].name]
        whole = schedule.fuse(*loops) if len(loops) > 1 else loops[0]
        outer, thread = schedule.split(whole, [None, _PLAIN_THREADS])
        if not nest.loops[-1].reduce or len(nest.loops) > len(loops):
            schedule.bind(outer, "blockIdx.x")
        schedule.bind(thread, "threadIdx.x")


def nest_html(schedule: Schedule) -> str:
    """The loops of a schedule with what they touch, as an HTML fragment."""
    return view_of_nest(schedule)._repr_html_()


def program_json(schedule: Schedule) -> str:
    """The program of a schedule, open knobs included, for Task.scheduled in another process."""
    return analysis.to_json(schedule.func)


@lru_cache(maxsize=16)
def _opened(program: str, target: Target) -> Schedule:
    """A schedule with open knobs from what `program_json` wrote; builders meet few of them, each many times."""
    return Schedule(analysis.from_json(program), target=target)


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
