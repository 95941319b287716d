"""Was a refusal called for? The step is done without its checks, and the interpreter says whether it does harm."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

import tensorlang as tl
from tensorlang.ir import interp
from tensorlang.ir.evaluate import numpy_function
from tensorlang.ir.nodes import (
    ONE,
    TRUE,
    ZERO,
    Alloc,
    Block,
    Buffer,
    Expr,
    For,
    Func,
    Iter,
    Load,
    Node,
    Op,
    Stmt,
    Store,
    Var,
    seq,
)
from tensorlang.ir.ops import literal, make
from tensorlang.ir.walk import accesses_to, children, find, transform
from tests.fuzz.check import POISON, bits, equal, guarded, random_inputs, run_backwards, shape_of
from tests.fuzz.ways import exposed, forgiving, hides_results, lasting, overlapped, simultaneous, turned

POISONS = (POISON, 0x4D)  # of floats, one is far below and one far above what is computed
OTHERS = (0, 5, 16, 48, 131)  # values of a single size that are tried, if the program does not become too large
Change: TypeAlias = Callable[[np.ndarray, int], np.ndarray]  # of an input, under a seed
ONE_WAY, FEW, ALL = "one way", "few", "all"  # ways of running a program
MOST_INSTANCES = 100_000  # of blocks, that are run with other sizes
MOST_STORES = 1_000_000  # of a way of running a program, else it is left out
ALL_STORES = 2_000_000  # of all runs of two programs; those with their own sizes come first
HARMLESS, HARMFUL, IMPOSSIBLE = "harmless", "harmful", "impossible"
# Refusals that claim no harm to numbers: the arguments mean nothing, nothing would be done, or what an earlier step
# said about a loop or a buffer would be lost. Whether they are called for is no matter of numbers.
MEANINGLESS = {
    "bad_annotation",
    "bad_argument",
    "bad_axis",
    "bad_cache_hint",
    "bad_factor",
    "bad_factor_axis",
    "bad_point",
    "bad_scope",
    "bad_swizzle",
}
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
    "no_outer_loop",
}
# No launch of a kernel has such loops, no vector such updates.
LAUNCH = {"axis_taken", "not_a_grid", "too_many_threads", "threads_differ", "atomic_vectors"}
MOVING = {"compute_at", "reverse_compute_at", "compute_inline", "reverse_compute_inline", "rolling_buffer", "store_at"}
MOVING |= {"transform_layout"}  # after these, a buffer need not hold all that it held
NO_CLAIM = MEANINGLESS | IDLE | LOST | LAUNCH
# The same of single primitives: which tensor of several is meant is not said; what storage_align has said of axes would
# be lost.
NAMED = ("cache_write", "double_buffer", "set_scope", "storage_align", "store_at", "swizzle", "transform_layout")
NO_CLAIM_OF = {*((op, "several_outputs") for op in NAMED), ("transform_layout", "storage_fixed")}
NO_CLAIM_OF |= {("async_copy", "not_a_copy"), ("async_copy", "scope")}  # no instruction of the hardware does that
NO_CLAIM_OF |= {("cache_hint", "several_stores"), ("cache_hint", "scope")}  # there is no load that a hint is for
# That a copy under way misses what its kernel writes is nothing that loops, one iteration after the other, could show.
NO_CLAIM_OF.add(("async_copy", "source_written"))
# Nor do they show that updates come at the same time, or that no instruction does them.
NO_CLAIM_OF |= {("atomic", reason) for reason in ("has_init", "not_commutative", "not_atomic")}
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
    """What the refused `step` does unchecked: right numbers in all trials, wrong ones, or no program; "" where no
    numbers are computed at all, or some that nobody could see.

    The trials differ in inputs, in sizes and in the order of iterations that are independent by declaration. Checks
    look at who touches what, not at the values: a step that is right only as two places happen to hold the same ones
    does harm to the varied expression.
    """
    if any(0 in shape_of(output, sizes) for output in outputs) or hides_results(s.func):
        return ""
    op, moves = step.split("(")[0], ""
    if op in MOVING:
        moves = _first_name(step)
    if op == "transform_layout":
        s = copied_at_last(s, moves)
    after = unchecked(s, step, names)
    if after is None:
        return IMPOSSIBLE
    programs = [(s.func, after)]
    twin = varied(s, outputs)
    if twin is not None and op == "transform_layout":
        twin = copied_at_last(twin, moves)
    if twin is not None and (after := unchecked(twin, step, names)) is not None:
        programs.append((twin.func, after))
    return HARMFUL if any(differ(*pair, moves, outputs, sizes) for pair in programs) else HARMLESS


def copied_at_last(s: tl.Schedule, name: str) -> tl.Schedule:
    """The schedule of a program that in the end copies the buffer of that name, if it lasts and is read by no other
    block than the one that writes it: that two of its elements share a place does harm, which nobody would see."""
    for buffer in (b for b in lasting(s.func) if b.name == name and _is_result(s.func, b, "")):
        copy = Buffer(f"{name}.copy", buffer.shape, buffer.dtype)
        at = tuple(Iter(Var(f"i{n}"), dim) for n, dim in enumerate(buffer.shape))
        point, loops = tuple(it.var for it in at), tuple(Var(f"{name}.copy.{n}") for n in range(len(at)))
        stmt: Stmt = Block(f"{name}.copy", at, loops, TRUE, None, None, Store(copy, point, Load(buffer, point)))
        for var, dim in reversed(list(zip(loops, buffer.shape, strict=True))):
            stmt = For(var, dim, "serial", stmt)

        def append(node: Node, buffer: Buffer = buffer, stmt: Stmt = stmt) -> Node:
            inside = isinstance(node, Alloc) and node.buffer is buffer
            return node.replace(body=seq(node.body, stmt)) if inside else node

        s = s.copy()
        body = transform(s.func.body, append)
        s.func = Func(s.func.name, (*s.func.params, copy), (*s.func.outputs, copy), body)
    return s


def unchecked(s: tl.Schedule, step: str, names: Mapping[str, Any]) -> Func | None:
    """The program that `step` makes without its checks, if it makes one."""
    free = Unchecked(s)
    try:
        eval(f"s.{step}", {**names, "s": free})
    except Exception:  # what follows a check relies on it, in any way
        return None
    return free.func


def differ(before: Func, after: Func, moves: str, outputs: Sequence[tl.Tensor], sizes: Mapping[Any, int]) -> bool:
    """Does `after` compute something else than `before` in one of the trials?

    Loops whose iterations are independent by declaration are also run all at once, with the sizes that are, in both
    directions, too, serpentine ones backwards, and pipelined ones with their stages overlapping: in these ways, other
    sizes come last, for they take much longer. moves: the step moves
    the block of that name or what writes that buffer, and may leave out what no other block reads.
    """
    seen = lasting(before) & lasting(after)
    seen -= {b for b in seen if moves and (b.name == moves or not _is_result(after, b, moves))}
    reference, shown = exposed(before, seen), exposed(after, seen)
    backwards = run_backwards(shown)
    few = dict.fromkeys((shown, turned(shown), simultaneous(shown), overlapped(shown)))
    ways = {ONE_WAY: [shown], FEW: few, ALL: few | dict.fromkeys((after, backwards, simultaneous(backwards)))}
    left = ALL_STORES
    for seed, (values, change, which) in enumerate(trials(sizes)):
        if values is not sizes and instances(after, values) > MOST_INSTANCES:
            continue
        inputs = {t.name: change(a, seed) for t, a in random_inputs(outputs, values, seed).items()}
        poison = POISONS[seed % len(POISONS)]
        left -= stores(reference.body, values)
        if left < 0 and seed:
            return False
        want, read = _run(reference, inputs, values, poison), unchanged
        if want is None and not moves:  # the expression has no meaning for these sizes, but parts of it may have
            want, read = _run(forgiving(reference), inputs, values, poison), forgiving
        if want is None:
            continue
        for way in ways[which]:
            try:
                count = stores(way.body, values)
            except ZeroDivisionError:  # loops without meaning
                return True
            if count > min(MOST_STORES, left):
                continue
            left -= count
            got = _run(read(way), inputs, values, poison)
            if got is None or not all(_agree(want[b], got[b], poison) for b in got):
                return True
    return False


def _run(
    func: Func, inputs: Mapping[str, np.ndarray], sizes: Mapping[Any, int], poison: int
) -> dict[Buffer, np.ndarray] | None:
    """The values of all parameters, or None if the program cannot run: out of bounds, out of scope, ..."""
    try:
        arrays, _ = guarded(func, dict(inputs), sizes)
        for param, array in zip(func.params, arrays, strict=True):
            if param.name not in inputs:
                array[...] = _poisoned(array.dtype, poison)
        interp.run(func, arrays, sizes)
    except Exception:
        return None
    return dict(zip(func.params, arrays, strict=True))


def _agree(want: np.ndarray, got: np.ndarray, poison: int) -> bool:
    """Are the arrays equal wherever something was stored into the first one?"""
    untouched = bits(want) == bits(_poisoned(want.dtype, poison))
    return equal(want, np.where(untouched, want, got))


def _poisoned(dtype: np.dtype, poison: int) -> np.ndarray:
    return np.full(dtype.itemsize, poison, np.uint8).view(dtype).reshape(())


def unchanged(func: Func) -> Func:
    return func


def _first_name(step: str) -> str:
    """The name in quotes with which the arguments begin."""
    return step.split("'")[1] if "'" in step else step


def _is_result(func: Func, buffer: Buffer, besides: str) -> bool:
    """Is the buffer written and not read, by other blocks than `besides`?"""
    users = [b for b in find(func.body, Block) if any(True for _ in accesses_to(buffer, b))]
    return all(b.name != besides and any(n.buffer is buffer for n in find(b, Store)) for b in users)


def varied(s: tl.Schedule, outputs: Sequence[tl.Tensor]) -> tl.Schedule | None:
    """The schedule of an expression of other values: what is cut off at 4 and -4 is taken modulo 8 instead, where that
    is exact, so that no term is without effect; something is added and the sign changes, depending on the point; of
    what `any` and `all` combine, little is true or false, and little is not zero of that of which the last counts. None
    if that cannot be scheduled so."""

    def vary(node: Node) -> Node:
        if not isinstance(node, Block):
            return node
        point = sum(((2 * n + 3) * it.var for n, it in enumerate(node.iters)), start=ZERO)

        def other(e: Node) -> Node:
            if isinstance(e, Store):
                return e.replace(value=_seldom(e.value, point))
            if not isinstance(e, Op) or e.dtype == "bool" or e.op not in ("min", "max"):
                return e
            signed = e.dtype not in tl.dtypes.UNSIGNED
            if e.op == "min" and e.args[1] is literal(4, e.dtype):
                more = _wrapped(e.args[0] + (point % 9 - 4 if signed else point % 4).astype(e.dtype))
                return make("min", more, e.args[1])
            if e.op == "max" and signed and e.args[1] is literal(-4, e.dtype):
                return e * (point // 3 % 3 - 1).astype(e.dtype)
            return e

        return node.replace(body=transform(node.body, other))

    func = tl.Schedule(outputs).func
    twin = func.with_body(transform(func.body, vary))
    try:
        return None if twin is func else s.trace.apply(twin, intrinsics=s.intrinsics)
    except tl.ScheduleError:
        return None


def _wrapped(e: Expr) -> Expr:
    """`e` modulo 8, or `e` where sums are soon inexact."""
    if not tl.dtypes.is_float(e.dtype):
        return e % literal(8, e.dtype) - literal(0 if e.dtype in tl.dtypes.UNSIGNED else 4, e.dtype)
    if e.dtype not in ("float32", "float64"):
        return e
    return e - make("floor", e * literal(0.125, e.dtype)) * literal(8, e.dtype) - literal(4, e.dtype)


def _seldom(value: Expr, point: Expr) -> Expr:
    """An update `C or e`, `C and e`, or the last that is not zero, whose `e` seldom has an effect, depending on the
    point."""
    if isinstance(value, Op) and value.op == "select" and isinstance(value.args[1], Load):
        _, total, term = value.args
        if value.args[0] is make("eq", term, literal(0, term.dtype)):
            term = term * (point % 11 == 4).astype(term.dtype)
            return make("select", make("eq", term, literal(0, term.dtype)), total, term)
    if (
        not isinstance(value, Op)
        or value.dtype != "bool"
        or len(value.args) != 2
        or not isinstance(value.args[0], Load)
    ):
        return value
    total, term = value.args
    if value.op in ("or", "max"):
        return make(value.op, total, term & (point % 11 == 5))
    return make(value.op, total, term | (point % 11 != 5)) if value.op in ("and", "min") else value


def trials(sizes: Mapping[Any, int]) -> list[tuple[Mapping[Any, int], Change, str]]:
    """(sizes, what is done to random inputs, which ways of running are tried): the sizes that are, for several inputs,
    and smaller and larger ones, all of them changed or a single one, and none of one beside larger ones."""
    own, more = [plain, thinned, thinned], [thinned, thinned, negative, negative]
    changes = (lambda n: n + 1, lambda n: n + 23 // len(sizes), lambda n: 1, lambda n: 5)
    others = [{v: change(n) for v, n in sizes.items()} for change in changes if sizes]
    others += [{**sizes, v: n} for v in sizes for n in OTHERS]
    others += [{**others[1], v: 0} for v in sizes if len(sizes) > 1]
    return [
        *[(sizes, plain, ALL)] * 2,
        *((n, plain, ONE_WAY) for n in others),
        *((sizes, c, ALL) for c in own),
        *((sizes, c, FEW) for c in more),
        *((n, plain, FEW) for n in others),
    ]


def instances(func: Func, sizes: Mapping[Any, int]) -> int:
    """How many points the iterators of all blocks have; none, where extents have no meaning."""

    def points(block: Block) -> int:
        extent = math.prod((it.extent for it in block.iters), start=ONE)
        try:
            return int(numpy_function([extent], list(sizes))(*sizes.values())[0])
        except ZeroDivisionError:
            return 0

    return sum(map(points, find(func.body, Block)))


def stores(stmt: Stmt, known: Mapping[Any, int]) -> int:
    """How many there are at most, where extents grow with the loops around."""
    if isinstance(stmt, Store):
        return 1
    times = 1
    if isinstance(stmt, For):
        times = int(numpy_function([stmt.extent], list(known))(*known.values())[0])
        known = {**known, stmt.var: times - 1}
    if times <= 0:  # what is below may have no meaning
        return 0
    return times * sum(stores(child, known) for child in children(stmt) if isinstance(child, Stmt))


def plain(array: np.ndarray, seed: int) -> np.ndarray:
    return array


def thinned(array: np.ndarray, seed: int) -> np.ndarray:
    """`array` with zeros in place of most elements: what takes the greatest of all does not find it everywhere."""
    return np.where(np.random.default_rng(seed).random(array.shape) < 0.15, array, np.zeros_like(array))


def negative(array: np.ndarray, seed: int) -> np.ndarray:
    """`array` with no element above zero, so that sums and least elements do not stay where they are mostly."""
    return array if array.dtype.kind in "bu" else -abs(array)
