"""Was a refusal called for? The step is done without its checks, and the interpreter says whether it does harm."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any
from unittest import mock

import tensorlang as tl
from tensorlang.arith import stages
from tensorlang.arith.stages import STAGES
from tensorlang.ir import interp
from tensorlang.ir.nodes import For, Func, Node
from tensorlang.ir.walk import find, transform
from tensorlang.passes.lower_init import lower_init
from tensorlang.passes.pipeline import pipeline
from tensorlang.te_eval import evaluate
from tests.fuzz.check import equal, guarded, random_inputs, run_backwards

HARMLESS, HARMFUL, IMPOSSIBLE = "harmless", "harmful", "impossible"
# Refusals that claim no harm to numbers: the arguments mean nothing, nothing would be done, or what an earlier step
# said about a loop or a buffer would be lost. Whether they are called for is no matter of numbers.
MEANINGLESS = {"bad_annotation", "bad_argument", "bad_axis", "bad_factor", "bad_factor_axis", "bad_point", "bad_scope"}
MEANINGLESS |= {"factor_not_positive", "factor_count", "several_inferred", "unknown_tail", "too_few_loops"}
MEANINGLESS |= {"duplicate_loop", "unknown_loop", "unknown_block", "unknown_buffer", "index_map", "unknown_size"}
MEANINGLESS |= {"bad_stages", "bad_order", "block_outside_loop", "stages_missing", "stages_differ", "not_in_a_loop"}
IDLE = {"nothing_after", "condition_decided", "not_padded", "no_init", "no_consumer", "no_producer", "not_read"}
LOST = {
    "loop_kind",
    "loop_annotated",
    "nested_kind",
    "vector_loop",
    "parameter_storage",
    "extent_not_fixed",
    "pipelined",
}
NO_CLAIM = MEANINGLESS | IDLE | LOST


class Unchecked(tl.Schedule):
    """A copy of a schedule whose checks only note what they would have refused."""

    def __init__(self, s: tl.Schedule):
        self.__dict__.update(s.copy().__dict__)
        self.refused: list[str] = []

    def refuse(self, reason: str, message: str, *, at: Collection[Node] = (), hint: str = "") -> None:  # type: ignore[override]
        self.refused.append(reason)


def verdict(
    s: tl.Schedule, step: str, names: Mapping[str, Any], outputs: Sequence[tl.Tensor], sizes: Mapping[Any, int]
) -> str:
    """What the refused `step` does unchecked: right numbers for all sizes and orders tried, wrong ones, or no program.

    Loops whose iterations are independent by declaration are run in both directions.
    """
    unchecked = Unchecked(s)
    try:
        eval(f"s.{step}", {**names, "s": unchecked})
    except Exception:  # what follows a check relies on it, in any way
        return IMPOSSIBLE
    for seed, values in enumerate((sizes, *({v: n + k for v, n in sizes.items()} for k in (1, 2, 5) if sizes))):
        inputs = random_inputs(outputs, values, seed)
        expected = evaluate(outputs, inputs, values)
        by_name = {t.name: a for t, a in inputs.items()}
        want = {t.name: a for t, a in zip(outputs, expected, strict=True)}
        for func in (
            overlapped(unchecked.func),
            unchecked.func.with_body(transform(unchecked.func.body, run_backwards)),
        ):
            arrays, _ = guarded(s.func, by_name, values)
            try:
                interp.run(func, arrays, values)
            except Exception:  # out of bounds, out of scope, ...
                return HARMFUL
            got = {p.name: a for p, a in zip(s.func.params, arrays, strict=True)}
            if not all(equal(a, got[name]) for name, a in want.items()):
                return HARMFUL
    return HARMLESS


def overlapped(func: Func) -> Func:
    """`func` with the stages of its pipelined loops overlapping, whether they may or not."""
    if not any(STAGES in dict(loop.annotations) for loop in find(func.body, For)):
        return func
    target = tl.Target("llvm")
    with mock.patch.object(stages, "_keep_apart", lambda *_: True):
        return pipeline(lower_init(func, target), target)
