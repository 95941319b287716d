"""Was a refusal called for? The step is done without its checks, and the interpreter says whether it does harm."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any
from unittest import mock

import numpy as np

import tensorlang as tl
from tensorlang.arith import stages
from tensorlang.arith.stages import STAGES
from tensorlang.ir import interp
from tensorlang.ir.evaluate import numpy_function
from tensorlang.ir.nodes import ONE, Alloc, Block, Buffer, For, Func, If, Load, Node, Stmt, Store, Var, seq
from tensorlang.ir.ops import literal
from tensorlang.ir.walk import find, substitute, transform
from tensorlang.passes.lower_init import lower_init
from tensorlang.passes.pipeline import pipeline
from tensorlang.te_eval import evaluate
from tests.fuzz.check import INDEPENDENT, equal, guarded, random_inputs, run_backwards, shape_of

LAST_OF_OWN_SIZES, LAST_IN_ALL_WAYS = 4, 5  # of the inputs below
MOST_INSTANCES = 100_000  # of blocks, that are run with other sizes
NOBODY = -1
HARMLESS, HARMFUL, IMPOSSIBLE = "harmless", "harmful", "impossible"
# Refusals that claim no harm to numbers: the arguments mean nothing, nothing would be done, or what an earlier step
# said about a loop or a buffer would be lost. Whether they are called for is no matter of numbers.
MEANINGLESS = {"bad_annotation", "bad_argument", "bad_axis", "bad_factor", "bad_factor_axis", "bad_point", "bad_scope"}
MEANINGLESS |= {"factor_not_positive", "factor_count", "several_inferred", "unknown_tail", "too_few_loops"}
MEANINGLESS |= {"duplicate_loop", "unknown_loop", "unknown_block", "unknown_buffer", "index_map", "unknown_size"}
MEANINGLESS |= {"points_not_ascending", "not_adjacent"}  # no partition, no nest
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
LAUNCH = {"axis_taken", "not_a_grid", "too_many_threads", "threads_differ"}  # no launch of a kernel has such loops
NO_CLAIM = MEANINGLESS | IDLE | LOST | LAUNCH
# The same of single primitives: which tensor of several is meant is not said; what storage_align has said of axes would
# be lost.
NAMED = ("cache_write", "double_buffer", "set_scope", "storage_align", "store_at", "transform_layout")
NO_CLAIM_OF = {*((op, "several_outputs") for op in NAMED), ("transform_layout", "storage_fixed")}
NO_CLAIM_OF |= {("async_copy", "not_a_copy"), ("async_copy", "scope")}  # no instruction of the hardware does that
# That a copy under way misses what its kernel writes is nothing that loops, one iteration after the other, could show.
NO_CLAIM_OF.add(("async_copy", "source_written"))
# The block is to run where a result is complete, and the loop has no such place. That it would run on each partial
# result, at last on the whole, is not what was asked for.
NO_CLAIM_OF.add(("reverse_compute_at", "producer_incomplete"))


def claims(refusal: tl.ScheduleError) -> bool:
    """Does the refusal say that the step would do harm?"""
    return refusal.reason not in NO_CLAIM and (refusal.primitive, refusal.reason) not in NO_CLAIM_OF


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
    """What the refused `step` does unchecked: right numbers for all sizes and orders tried, wrong ones, or no program;
    "" where no numbers are computed at all.

    Except with the sizes that differ most, loops whose iterations are independent by declaration are run in both
    directions, and all at once, pipelined ones with their stages overlapping.
    """
    if any(0 in shape_of(output, sizes) for output in outputs):
        return ""
    unchecked = Unchecked(s)
    try:
        eval(f"s.{step}", {**names, "s": unchecked})
    except Exception:  # what follows a check relies on it, in any way
        return IMPOSSIBLE
    func = unchecked.func
    backwards = func.with_body(transform(func.body, run_backwards))
    ways = dict.fromkeys((func, backwards, simultaneous(func), simultaneous(backwards), overlapped(func)))
    for seed, (values, sparse) in enumerate(other_inputs(sizes)):
        if seed > LAST_OF_OWN_SIZES and instances(func, values) > MOST_INSTANCES:
            continue
        inputs = random_inputs(outputs, values, seed)
        if sparse:
            inputs = {tensor: thinned(array, seed) for tensor, array in inputs.items()}
        expected = evaluate(outputs, inputs, values)
        by_name = {t.name: a for t, a in inputs.items()}
        want = {t.name: a for t, a in zip(outputs, expected, strict=True)}
        for way in ways if seed <= LAST_IN_ALL_WAYS else (func,):
            arrays, _ = guarded(s.func, by_name, values)
            try:
                interp.run(way, arrays, values)
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


def other_inputs(sizes: Mapping[Any, int]) -> list[tuple[Mapping[Any, int], bool]]:
    """(sizes, whether inputs are sparse): the sizes, for several inputs; then smaller and larger ones."""
    changes = (lambda n: n + 1, lambda n: n + 23 // len(sizes), lambda n: 1)
    others = [{v: change(n) for v, n in sizes.items()} for change in changes if sizes]
    return [*[(sizes, False)] * 3, *[(sizes, True)] * 2, *((values, False) for values in others)]


def instances(func: Func, sizes: Mapping[Any, int]) -> int:
    """How many points the iterators of all blocks have."""
    counts = [math.prod((it.extent for it in block.iters), start=ONE) for block in find(func.body, Block)]
    return sum(int(n) for n in numpy_function(counts, list(sizes))(*sizes.values()))


def thinned(array: np.ndarray, seed: int) -> np.ndarray:
    """`array` with zeros in place of most elements: what takes the greatest of all does not find it everywhere."""
    return np.where(np.random.default_rng(seed).random(array.shape) < 0.15, array, np.zeros_like(array))


def simultaneous(func: Func) -> Func:
    """`func`, in which iterations of parallel and vectorised loops do not see what the others have stored, and fail
    where another one has stored, too: whose value stays, no program could rely on.

    Each iteration works on copies of the buffers as they were before the loop; what it has changed is copied back.
    """

    def apart(node: Node) -> Node:
        if not isinstance(node, For) or node.kind not in INDEPENDENT:
            return node
        inside = {a.buffer for a in find(node.body, Alloc)}
        shared = dict.fromkeys(n.buffer for n in find(node.body, Store) if n.buffer not in inside)
        before = {b: Buffer(f"{b.name}.before", b.shape, b.dtype) for b in shared}
        own = {b: Buffer(f"{b.name}.own", b.shape, b.dtype) for b in shared}
        owner = {b: Buffer(f"{b.name}.owner", b.shape, "int64") for b in shared}
        begin = [_copied(before[b], own[b]) for b in shared]
        end = [_copied(own[b], b, before[b]) for b in shared]
        body: Stmt = seq(*begin, _claiming(substitute(node.body, {}, own), node.var, own, owner), *end)
        for b in own.values():
            body = Alloc(b, body)
        first = [step for b in shared for step in (_copied(b, before[b]), _filled(owner[b], NOBODY))]
        loop = seq(*first, For(node.var, node.extent, "serial", body))
        for b in (*before.values(), *owner.values()):
            loop = Alloc(b, loop)
        return loop

    if not any(n.kind in INDEPENDENT for n in find(func.body, For)):
        return func
    explicit = lower_init(func, tl.Target("llvm"))  # an init has its place in an iteration, or before the loop
    return explicit.with_body(transform(explicit.body, apart))


def _claiming(body: Stmt, iteration: Var, own: Mapping[Buffer, Buffer], owner: Mapping[Buffer, Buffer]) -> Stmt:
    """`body`, whose stores note the iteration as the owner of an element, which must not have another one."""
    owner_of = {own[b]: owner[b] for b in own}

    def claim(node: Node) -> Node:
        if not isinstance(node, Store) or node.buffer not in owner_of:
            return node
        mark = owner_of[node.buffer]
        mine = iteration.astype("int64")
        before = Load(mark, node.indices)
        free = (before == NOBODY) | (before == mine)
        trap = Buffer("trap", (ONE,), "int64")
        fail = If(~free, Alloc(trap, Store(trap, (ONE,), mine)))  # out of bounds
        return seq(node, fail, Store(mark, node.indices, mine))

    return transform(body, claim)


def _filled(buffer: Buffer, value: int) -> Stmt:
    """Store `value` in all elements."""
    point = tuple(Var(f"i{n}") for n in range(len(buffer.shape)))
    body: Stmt = Store(buffer, point, literal(value, buffer.dtype))
    for var, extent in reversed(list(zip(point, buffer.shape, strict=True))):
        body = For(var, extent, "serial", body)
    return body


def _copied(source: Buffer, target: Buffer, unless: Buffer | None = None) -> Stmt:
    """Copy all elements; `unless` is given: those that differ from its elements."""
    point = tuple(Var(f"i{n}") for n in range(len(source.shape)))
    value = Load(source, point)
    body: Stmt = Store(target, point, value)
    if unless is not None:
        old = Load(unless, point)
        same = value == old
        if tl.dtypes.is_float(source.dtype):
            same = same | ((value != value) & (old != old))
        body = If(~same, body)
    for var, extent in reversed(list(zip(point, source.shape, strict=True))):
        body = For(var, extent, "serial", body)
    return body
