"""Sketches from rules: each rule knows one way to schedule some of a program's blocks.

The blocks are visited from the last to the first, so that a consumer may take its producers along. The first rule that
has anything to say about a block decides; each of its *parts* is an alternative, and a sketch is one part for each
block. Structure is a choice of parts; numbers are knobs that the parts ask for.

    def reverse_columns(program, stage):                      # a rule: (program, stage) -> parts
        if stage.reduction:
            return []
        def write(s, knob):
            s.unroll(s.loops(stage.block)[-1])
        return [Part("unrolled", frozenset({stage.block}), write)]

    autotune.tune(C, sketches=autotune.sketches_for(C, rules=[reverse_columns, *autotune.RULES]))
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from autotune.sketches.elementwise import elementwise
from autotune.sketches.gpu import GPU_RULES
from autotune.sketches.lanes import split_reduction
from autotune.sketches.parts import Part
from autotune.sketches.program import Program, Stage
from autotune.sketches.rows import fuse_rows
from autotune.sketches.tiles import tile
from autotune.space import AskKnob, Sketch, Write
from autotune.task import Schedule, Task

Rule = Callable[[Program, Stage], Sequence[Part]]

RULES: tuple[Rule, ...] = (tile, split_reduction, fuse_rows, elementwise)


def sketches_for(computed: Any, rules: Sequence[Rule] | None = None, pin: Write | None = None) -> list[Sketch]:
    """The sketches that `rules` make for a Tensor, a list of outputs, a Func or a Task, the most promising one first.

    pin: writes part of the schedule by hand, with knobs if it likes; the rules leave alone what it touches.

    >>> autotune.tune(C, sketches=autotune.sketches_for(C, pin=lambda s, knob: s.parallel("C.i")))
    """
    task = Task.of(computed)
    if rules is None:
        rules = GPU_RULES if task.target.simt else RULES
    s, touched = task.schedule(), frozenset[str]()
    if pin is not None:
        pin(s, lambda _, choices: choices[0])
        touched = _touched(task, s)
    program = Program(s, task.target, touched)
    splits = _splits_at_divisors(program)
    if splits:
        for loop, divisor in splits:
            s.split(loop, [None, divisor])
        program = Program(s, task.target, touched)
    return [_sketch(parts, splits, pin) for parts in _plans(program, frozenset(program), rules)]


@dataclass(frozen=True)
class _Numbered:
    """Asks for knobs under names that no part has taken before: width, width_2, width_3 ..."""

    ask: AskKnob
    taken: dict[str, int]

    def __call__(self, name: str, choices: Sequence[int]) -> Any:
        self.taken[name] = number = self.taken.get(name, 0) + 1
        return self.ask(name if number == 1 else f"{name}_{number}", choices)


def _sketch(parts: Sequence[Part], splits: Sequence[tuple[str, int]], pin: Write | None) -> Sketch:
    def write(s: Schedule, knob: AskKnob) -> Iterable[Any]:
        ask, conditions = _Numbered(knob, {}), []
        if pin is not None:
            conditions += list(pin(s, ask) or ())
        for loop, divisor in splits:
            s.split(loop, [None, divisor])
        for part in parts:
            conditions += list(part.write(s, ask) or ())
        return conditions

    exact = pin is None and all(part.exact for part in parts)
    return Sketch(", ".join(part.name for part in parts if part.name) or "plain", write, exact)


def _plans(program: Program, left: frozenset[str], rules: Sequence[Rule]) -> list[tuple[Part, ...]]:
    """All ways to cover the blocks that are `left` with parts."""
    last = next((program[b] for b in reversed(list(program)) if b in left), None)
    if last is None:
        return [()]
    parts: Sequence[Part] = next(filter(None, (rule(program, last) for rule in rules)), ())
    parts = [p for p in parts if p.blocks <= left] or [Part("", frozenset({last.block}), lambda s, knob: None, True)]
    return [(part, *rest) for part in parts for rest in _plans(program, left - part.blocks - {last.block}, rules)]


def _touched(task: Task, s: Schedule) -> frozenset[str]:
    """The blocks whose loops are not those of the task, and those that the task does not have."""
    before = task.schedule()
    loops = {b.name: [(loop.name, loop.kind) for loop in b.loops] for b in before.blocks()}
    now = {b.name: [(loop.name, loop.kind) for loop in b.loops] for b in s.blocks()}
    return frozenset(name for name in now if now[name] != loops.get(name))


def _splits_at_divisors(program: Program) -> list[tuple[str, int]]:
    """(loop, divisor) of the loops to split so that no subscript divides them any more.

    The groups of a convolution and the phases of a transposed one then have loops of their own.
    """
    pairs = [(loop, stage.divisors.get(loop.name, 0)) for stage in program.values() for loop in stage.loops]
    return [(loop.name, divisor) for loop, divisor in pairs if 1 < divisor < loop.extent]
