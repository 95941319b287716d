"""A case: an expression and a schedule, as source text."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from typing import Any

import tensorlang as tl
from tests.fuzz.check import Failure, attempt, check, guard
from tests.fuzz.drawers import draw_steps, some_primitives
from tests.fuzz.intrinsics import INTRINSICS
from tests.fuzz.random_te import Expression, random_expression
from tests.fuzz.refusals import claims, stores, verdict

THOROUGH = 8  # every so many seeds, LLVM optimises the kernel as for users, and the trace is replayed

# Primitives that are refused as harmful often. There would be few refusals to judge the others by, were not all judged.
OFTEN_REFUSED = {"compute_at", "compute_inline", "pad_einsum", "parallel", "reindex", "reorder", "reverse_compute_at"}
OFTEN_REFUSED |= {"reverse_compute_inline", "rfactor", "rolling_buffer", "store_at", "tensorize", "transform_layout"}
OFTEN_REFUSED |= {"vectorize"}

MOST_STORES = 50_000  # of a program that is to get one more step

SCRIPT = """import tensorlang as tl
from tests.fuzz.check import check
from tests.fuzz.intrinsics import INTRINSICS

{lines}

outputs = [{outputs}]
s = tl.Schedule(outputs, intrinsics=tuple(INTRINSICS.values()))
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
        trial = Trial(self)
        for step in self.steps:
            attempt(trial.s, step, trial.names)
        trial.check(native)


class Trial:
    """A case being run: `outputs`, `sizes`, the schedule `s`, and the `names` that steps may use."""

    def __init__(self, case: Case):
        self.case = case
        self.names = case.expression.define()
        self.outputs: list[tl.Tensor] = [self.names[o] for o in case.expression.outputs]
        self.sizes: dict[Any, int] = {self.names[n]: value for n, value in case.expression.sizes.items()}
        self.s: tl.Schedule = guard(
            "Schedule", lambda: tl.Schedule(self.outputs, intrinsics=tuple(INTRINSICS.values()))
        )
        self.tried: list[Tried] = []

    def attempt(self, step: str, judged: bool = False) -> None:
        """Try one more step; if it is refused as harmful and `judged`, also try it unchecked.

        Raises CaseFailure if the step fails.
        """
        self.case = replace(self.case, steps=(*self.case.steps, step))
        try:
            refusal = attempt(self.s, step, self.names)
        except Failure as failure:
            raise CaseFailure(self.case, failure) from failure
        if refusal is None:
            self.tried.append(Tried(step))
            return
        unchecked = ""
        if judged and claims(refusal):
            unchecked = verdict(self.s, step, self.names, self.outputs, self.sizes)
        self.tried.append(Tried(step, refusal.reason, refusal.hint, unchecked))

    def check(self, native: bool = True) -> None:
        """Raises Failure if the schedule as it is computes something else than the expression."""
        seed = self.case.seed
        check(self.s, self.outputs, self.sizes, seed, native, thorough=seed % THOROUGH == 0)


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


def draw_case(seed: int, length: int = 12, sampled: float = 0.1) -> Trial:
    """The case of that seed, which is drawn step by step, as each depends on what those before have made.

    No step comes after the program has become a long one, as tiles of tiles do it, most of whose iterations are guarded
    out. Of the steps that are refused as harmful, a share `sampled` is tried unchecked, ten times that of those that
    seldom are.
    Raises CaseFailure if one of the steps fails.
    """
    rng = random.Random(f"steps {seed}")
    trial = Trial(Case(random_expression(seed), (), seed))
    count, among = rng.randint(0, length), some_primitives(rng)
    while len(trial.tried) < count and stores(trial.s.func.body, trial.sizes) < MOST_STORES:
        for step in draw_steps(trial.s, rng, len(trial.tried) / count, among):
            often = step.split("(")[0] in OFTEN_REFUSED
            trial.attempt(step, rng.random() < (sampled if often else 10 * sampled))
    return trial


class CaseFailure(Exception):
    """The last step of `case` failed."""

    def __init__(self, case: Case, failure: Failure):
        self.case, self.failure = case, failure
        super().__init__(failure.kind)
