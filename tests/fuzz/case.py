"""A case: an expression and a schedule, as source text."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

import tensorlang as tl
from tests.fuzz.check import Failure, attempt, check, guard
from tests.fuzz.drawers import draw_step
from tests.fuzz.random_te import Expression, random_expression
from tests.fuzz.refusals import NO_CLAIM, verdict

SCRIPT = """import tensorlang as tl
from tests.fuzz.check import check

{lines}

outputs = [{outputs}]
s = tl.Schedule(outputs)
{steps}
print(s)
check(s, outputs, {{{sizes}}}, seed={seed})
"""


@dataclass(frozen=True)
class Case:
    """`steps` are tried in order on the schedule of `expression`; `seed` draws the numbers that it runs on."""

    expression: Expression
    steps: tuple[str, ...]
    seed: int

    def script(self) -> str:
        """A script that does the same, where no step is refused."""
        e = self.expression
        sizes = ", ".join(f"{name}: {value}" for name, value in e.sizes.items())
        steps = "\n".join(f"s.{step}" for step in self.steps)
        return SCRIPT.format(
            lines="\n".join(e.lines), outputs=", ".join(e.outputs), steps=steps, sizes=sizes, seed=self.seed
        )

    def run(self, native: bool = True) -> None:
        """Raises Failure if something is wrong, ExprError if the expression has no meaning."""
        outputs, sizes, s, names = start(self.expression)
        for step in self.steps:
            attempt(s, step, names)
        check(s, outputs, sizes, self.seed, native)


def start(expression: Expression) -> tuple[list[tl.Tensor], dict[Any, int], tl.Schedule, dict[str, Any]]:
    """Outputs, sizes, a fresh schedule, and the names that steps may use."""
    names = expression.define()
    outputs = [names[o] for o in expression.outputs]
    sizes = {names[n]: value for n, value in expression.sizes.items()}
    return outputs, sizes, guard("Schedule", lambda: tl.Schedule(outputs)), names


@dataclass(frozen=True)
class Tried:
    """A step that was tried: why it was refused ("" if it was not), what would have been legal instead, and, for
    some, what it does unchecked."""

    step: str
    reason: str = ""
    hint: str = ""
    unchecked: str = ""

    @property
    def op(self) -> str:
        return self.step.split("(")[0]


def draw_case(seed: int, length: int = 12, sampled: float = 0.25) -> tuple[Case, list[Tried]]:
    """The case of that seed, which is drawn step by step, as each depends on what those before have made.

    Of the steps that are refused as harmful, a share `sampled` is tried unchecked.
    Raises CaseFailure if one of the steps fails.
    """
    rng = random.Random(f"steps {seed}")
    expression = random_expression(seed)
    outputs, sizes, s, names = start(expression)
    tried: list[Tried] = []
    count = rng.randint(0, length)
    for number in range(count):
        step = draw_step(s, rng, number / count)
        case = Case(expression, (*(t.step for t in tried), step), seed)
        try:
            refusal = attempt(s, step, names)
        except Failure as failure:
            raise CaseFailure(case, failure) from failure
        if refusal is None:
            tried.append(Tried(step))
            continue
        judged = refusal.reason not in NO_CLAIM and rng.random() < sampled
        unchecked = verdict(s, step, names, outputs, sizes) if judged else ""
        tried.append(Tried(step, refusal.reason, refusal.hint, unchecked))
    return Case(expression, tuple(t.step for t in tried), seed), tried


class CaseFailure(Exception):
    """The last step of `case` failed."""

    def __init__(self, case: Case, failure: Failure):
        self.case, self.failure = case, failure
        super().__init__(failure.kind)
