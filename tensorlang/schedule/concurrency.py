"""Which kinds loops may have: the checks that hold after every step of a schedule.

A parallel, vectorize or bound loop runs its iterations at the same time, so they must be independent; what else GPUs
ask for is in threads.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from tensorlang.arith.disjoint import disjoint
from tensorlang.arith.stages import STAGES
from tensorlang.ir.launch import ATOMIC, LOCAL
from tensorlang.ir.nodes import (
    GRID,
    ORDERED,
    PARALLEL,
    REDUCE,
    SERIAL,
    SERPENTINE,
    SPATIAL,
    THREAD_AXES,
    THREADS,
    UNROLL,
    VECTORIZE,
    VIRTUAL,
    Alloc,
    Block,
    Do,
    For,
    Seq,
    Stmt,
    Var,
    unit_of,
)
from tensorlang.ir.walk import find, free_vars, parts
from tensorlang.schedule import threads
from tensorlang.schedule.checks import blocks_below, driven
from tensorlang.schedule.dependence import (
    allocated,
    never_runs,
    runs_once,
    separates,
    shared_regions,
    written,
)

if TYPE_CHECKING:
    from tensorlang.schedule.schedule import Schedule


HOW = {PARALLEL: "in parallel", VECTORIZE: "as vectors"}
_UNITS = {GRID: "as blocks of a grid", THREADS: "as threads", VIRTUAL: "as virtual threads"}
HOW |= {axis: _UNITS[unit_of(axis)] for axis in THREAD_AXES}


def kinds_hold(s: Schedule, proved: Mapping[Var, frozenset]) -> dict[Var, frozenset]:
    """Every parallel, vectorize or bound loop of the program has independent iterations, and may stand where it does.

    Returns, for each of these loops, what the proof rests on; `proved` is what an earlier call has returned: a proof
    is repeated only if that has changed.
    Every serpentine loop may run in any order, and the loop that it turns by is around it.
    Reasons: nested_kind, loop_reduces, loop_repeats, loop_carries, atomic_vectors, loop_kind, pipelined, no_outer_loop,
    ordered_iterators, and those of threads.hold.
    """
    grounds: dict[Var, frozenset] = {}
    for loop in find(s.func.body, For):
        turning = bool(loop.annotations) and SERPENTINE in dict(loop.annotations)
        if turning:
            outer = turns_by_an_outer_loop(s, loop)
            grounds[loop.var] = _grounds(loop) | {(outer.var, outer.extent)}
            if proved.get(loop.var) != grounds[loop.var] and not runs_once(s, outer):
                may_run_backwards(s, loop)
        if loop.kind in HOW:
            not_nested(s, loop)
            grounds[loop.var] = _grounds(loop)
            if proved.get(loop.var) != grounds[loop.var] or threads.may_reduce(loop):
                independent(s, loop)
    threads.hold(s)
    return grounds


def _grounds(loop: For) -> frozenset:
    """What is below a loop, whatever the order and the kinds of the loops there; remembered at the loop."""
    if "grounds" not in loop.memo:
        loop.memo["grounds"] = frozenset((loop.extent, *_ground(loop.body)))
    return loop.memo["grounds"]


def _ground(stmt: Stmt) -> Iterator[Any]:
    if isinstance(stmt, For):
        yield stmt.var, stmt.extent
    elif not isinstance(stmt, Seq):
        yield stmt.buffer if isinstance(stmt, Alloc) else stmt
    if not isinstance(stmt, Block):
        for part in parts(stmt):
            yield from _ground(part)


def turns_by_an_outer_loop(s: Schedule, loop: For) -> For:
    """A serpentine loop runs one iteration after the other. Returns the loop that it turns by.

    Reasons: loop_kind, pipelined, no_outer_loop.
    """
    notes = dict(loop.annotations)
    outer = next((n for n in s.path(loop) if isinstance(n, For) and n.var.name == notes[SERPENTINE]), None)
    if loop.kind not in (SERIAL, UNROLL):
        message = f"loop {loop.var.name} cannot run {HOW[loop.kind]}: it is serpentine, and so has an order"
        s.refuse("loop_kind", message, at=[loop], hint="this step without serpentine")
    if STAGES in notes:
        message = f"loop {loop.var.name} is pipelined and serpentine: later iterations begin before earlier ones end"
        s.refuse("pipelined", message, at=[loop], hint="a loop inside it")
    if outer is None:
        around = ", ".join(n.var.name for n in s.path(loop) if isinstance(n, For))
        message = f"loop {loop.var.name} turns by loop {notes[SERPENTINE]}, which is not around it"
        s.refuse("no_outer_loop", message, at=[loop], hint=around or "a loop with others around it")
    return outer


def not_nested(s: Schedule, loop: For) -> None:
    """Nothing inside vectors; of threads, those of a CPU or those of a GPU, not both. Reason: nested_kind."""
    for outer in s.path(loop):
        if not isinstance(outer, For):
            continue
        mixed = PARALLEL in (outer.kind, loop.kind) and {outer.kind, loop.kind} <= {PARALLEL, *THREAD_AXES}
        if outer.kind == VECTORIZE or mixed:
            s.refuse(
                "nested_kind",
                f"loop {loop.var.name} cannot run {HOW[loop.kind]} inside loop {outer.var.name}, which runs "
                f"{HOW[outer.kind]}",
                at=[outer, loop],
                hint=f"one of the two, or both as one loop: fuse them before, or reorder {loop.var.name} outwards",
            )


def independent(s: Schedule, loop: For) -> None:
    """The iterations of `loop` may run at the same time.

    Reasons: loop_reduces, loop_repeats, loop_carries, atomic_vectors.
    """
    if runs_once(s, loop) or never_runs(s, loop):
        return
    private = allocated(loop.body)
    for block in blocks_below(loop):
        if threads.reduces_across(s, loop, block) or _in_any_order(s, loop, block):
            continue
        for it, binding in zip(block.iters, block.bindings, strict=True):
            if it.kind != SPATIAL and loop.var in free_vars(binding):
                s.refuse(
                    "loop_reduces",
                    f"loop {loop.var.name} cannot run {HOW[loop.kind]}: it drives the {it.kind} iterator "
                    f"{it.var.name} of block {block.name}, so its iterations update the same elements",
                    at=[loop, block],
                    hint=f"a loop that drives spatial iterators only: {_spatial_loops(s, block) or 'there is none'}"
                    + (f"; or rfactor({loop.var.name}) first" if it.kind == REDUCE else ""),
                )
        if not written(block) <= private and not separates(s, loop, block):
            s.refuse(
                "loop_repeats",
                f"loop {loop.var.name} cannot run {HOW[loop.kind]}: it is not proved that its iterations run different "
                f"instances of block {block.name}",
                at=[loop, block],
                hint=f"a loop of {block.name} that drives its spatial iterators: {_spatial_loops(s, block) or 'none'}",
            )
    _parts_apart(s, loop, HOW[loop.kind])


def may_run_backwards(s: Schedule, loop: For) -> None:
    """The iterations of `loop` may run one after the other in any order. Reasons: ordered_iterators, loop_carries."""
    if runs_once(s, loop) or never_runs(s, loop):
        return
    for block in blocks_below(loop):
        if ORDERED in driven(loop, block):
            s.refuse(
                "ordered_iterators",
                f"loop {loop.var.name} cannot run backwards: block {block.name} combines in a fixed order",
                at=[loop, block],
                hint="declare the reducer commutative if it is",
            )
    _parts_apart(s, loop, "backwards")


def _parts_apart(s: Schedule, loop: For, how: str) -> None:
    """Iterations touch different parts of what several blocks use. Reason: loop_carries."""
    for buffer, region in shared_regions(loop.body, s.context(loop, inside=True)).items():
        if not disjoint(region, [loop], s.context(loop)):
            s.refuse(
                "loop_carries",
                f"loop {loop.var.name} cannot run {how}: it is not proved that its iterations touch "
                f"different parts of {buffer.name}, which several blocks below use",
                at=[loop],
                hint=f"store_at({buffer.name}, {loop.var.name}), if no iteration needs what another one wrote",
            )


def _in_any_order(s: Schedule, loop: For, block: Block) -> bool:
    """Whether the block only updates memory that threads have in common, in any order. Reason: atomic_vectors."""
    if not isinstance(block.body, Do) or block.body.what != ATOMIC:
        return False
    if loop.kind == VECTORIZE:
        s.refuse(
            "atomic_vectors",
            f"loop {loop.var.name} cannot run as vectors: block {block.name} updates one element at a time",
            at=[loop, block],
            hint=f"rfactor before the step atomic({block.name}), and vectorize the loops of the partial results",
        )
    return all(b.scope != LOCAL for b in written(block))


def _spatial_loops(s: Schedule, block: Block) -> str:
    reduces = [b for it, b in zip(block.iters, block.bindings, strict=True) if it.kind != SPATIAL]
    loops = [n for n in s.path(block) if isinstance(n, For)]
    return ", ".join(n.var.name for n in loops if not any(n.var in free_vars(b) for b in reduces))
