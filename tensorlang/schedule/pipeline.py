"""Primitives that let iterations of a loop overlap: software_pipeline, double_buffer, async_copy.

They mark a loop, an Alloc, a block; passes/pipeline.py makes what the marks say, and the interpreter runs the loop one
iteration after the other, which comes to the same. Every later step is held to what they require: see `marks_hold`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tensorlang.arith import stages as pipelines
from tensorlang.ir.launch import SHARED
from tensorlang.ir.nodes import SERIAL, UNROLL, Alloc, Block, For
from tensorlang.ir.walk import find
from tensorlang.schedule import dataflow as flow
from tensorlang.schedule.checks import how_it_runs
from tensorlang.schedule.handles import BlockLike, LoopLike
from tensorlang.schedule.primitive import primitive
from tensorlang.schedule.storage import BufferLike, own_alloc

if TYPE_CHECKING:
    from tensorlang.schedule.schedule import Schedule


@primitive
def software_pipeline(
    s: Schedule, loop: LoopLike, stages: dict[str, int], order: Sequence[BlockLike] | None = None
) -> None:
    """Run the stages of several iterations of a loop at the same time: loads for the next ones beside the arithmetic.

    stages: for each block in the loop by name (for one block of each statement of its body; the others there go with
    it) its stage, a number from 0. At the time when stage 0 of iteration k runs, stage 1 runs iteration k - 1 and so
    on. order: the blocks, one of each statement of the body, in the order in which they run at one time; by default
    that of the program. Lowering makes a prologue, the steady loop and an epilogue, and as many versions of each
    buffer allocated in the loop as iterations use it at the same time. Loops inside may be pipelined too.

    >>> t.compute_at("C", "D.i")
    >>> t.software_pipeline("D.i", stages={"C": 0, "D": 1})
    >>> print(str(t).splitlines()[1])
      for D.i in 8:  # ...

    requires (2 to 5 for as long as the loop lives: every later step is held to them):
      1. `stages` holds whole numbers from 0, at least two different ones, 0 among them, and `order`, if given, a block
         of each statement of the body
      2. the loop is serial or unrolled
      3. every block in the loop has a stage, and those that share a statement of its body have the same
      4. what happens to the same element in one iteration keeps its order: who comes later has a later stage, or the
         same one and a later place
      5. a block that would run before one of an earlier iteration touches no element that the other one touches
         (unless one of them is 0 stages ahead, or the buffer is allocated in the loop), but for one that stores the
         same values in each iteration, before the other one reads them, and for the only one that writes the buffer, if
         an element gets the same value whenever it is written

    Updates of one commutative reduction may come in any order.

    rewrite, for {"P": 0, "C": 1} (by lowering):
      for k in n:                              for k.prologue in 1: block P(x = 0): P[0, ...] = ...
        alloc P: f32[8]                        for k in n - 1:
        block P(x = k): P[...] = ...     ->      block P(x = k + 1): P[(k + 1) % 2, ...] = ...
        block C(x = k): ... = P[...]             block C(x = k): ... = P[k % 2, ...]
                                               for k.epilogue in 1: block C(x = n - 1): ... = P[(n - 1) % 2, ...]
    """
    node = s.loop_node(loop)
    if pipelines.STAGES in dict(node.annotations):
        s.refuse(
            "pipelined",
            f"loop {node.var.name} is pipelined already",
            at=[node],
            hint="another loop, or the stages that it has",
        )
    _, parts = pipelines.parts_of(node)
    blocks = [flow.blocks(part) for part in parts]
    numbers = _numbers(s, node, blocks, stages)
    notes: list[tuple[str, Any]] = [*node.annotations, (pipelines.STAGES, numbers)]
    if order is not None:
        notes.append((pipelines.ORDER, _positions(s, node, blocks, order)))
    s.replace(node, node.replace(annotations=tuple(notes)))


@primitive
def double_buffer(s: Schedule, buffer: BufferLike) -> None:
    """Keep two versions of a buffer, which the iterations of the loop that it is allocated in use in turn.

    So one iteration may fill its version while others still read theirs. buffer: its name, or the block that writes it.

    >>> t.compute_at("C", "D.i")
    >>> t.double_buffer("C")
    >>> print(str(t).splitlines()[2])
        alloc C: f32[8, 8]  # double_buffer = True

    requires (2 for as long as the loop lives: every later step is held to it):
      1. the buffer is not a parameter
      2. it is allocated inside a loop, and the innermost one is serial or unrolled

    rewrite (by lowering):
      for k in n:                              alloc P: f32[2, 8]
        alloc P: f32[8]                 ->     for k in n:
        block P: P[...] = ...                    block P: P[k % 2, ...] = ...
        block C: ... = P[...]                    block C: ... = P[k % 2, ...]
    """
    alloc = own_alloc(s, buffer)
    _in_a_serial_loop(s, alloc, "compute_at of the block that writes it, or store_at, puts it into a serial loop")
    others = tuple(pair for pair in alloc.annotations if pair[0] != pipelines.DOUBLE)
    s.replace(alloc, alloc.replace(annotations=(*others, (pipelines.DOUBLE, True))))


@primitive
def async_copy(s: Schedule, block: BlockLike) -> None:
    """Let the copies of a block run by themselves while the threads of a GPU compute (cp.async).

    In a pipelined loop of a kernel, threads start the copies of later iterations, and wait for those of an iteration
    right before they are used; all who use them must be in later stages of that loop, in which the memory is allocated.
    Anywhere else, the block copies like any other.

    >>> copy = s.cache_read("C", "A", "shared")
    >>> s.async_copy(copy)
    >>> copy.annotations
    {...}

    requires:
      1. the body of the block is one store, of what it loads from a buffer in global memory that is not written in the
         outermost loop around the block, or of a constant where a condition says so
      2. it stores to memory of scope shared

    rewrite, in a loop with the stages {"P": 0, "C": 1} (by lowering):
      for k in n - 1:                            for k in n - 1:
        block P(x = k + 1): P[...] = A[...]  ->    async_wait(0)
        block C(x = k): ... = P[...]               block P(x = k + 1): async_copy P[...] = A[...]
                                                   async_commit()
                                                   block C(x = k): ... = P[...]
    """
    node = s.block_node(block)
    source = pipelines.copied(node)
    if source is None or source.scope != "global":
        message = f"{node.name} does not just copy from global memory"
        s.refuse("not_a_copy", message, at=[node], hint="a block that cache_read has made")
    (stored,) = flow.stored(node)
    if stored.scope != SHARED:
        message = f"{node.name} copies to {stored.name} in {stored.scope} memory, not in shared memory"
        s.refuse("scope", message, at=[node], hint=f"set_scope({stored.name!r}, {SHARED!r})")
    outermost = next((n for n in s.path(node) if isinstance(n, For)), None)
    writers = flow.writers(outermost, source) if outermost is not None else []
    if writers:
        message = f"{node.name} copies from {source.name}, which is written in the same kernel"
        hint = f"{source.name} computed outside loop {outermost.var.name}" if outermost is not None else ""
        s.refuse("source_written", message, at=[node, *writers], hint=hint)
    others = tuple(pair for pair in node.annotations if pair[0] != pipelines.ASYNC)
    s.replace(node, node.replace(annotations=(*others, (pipelines.ASYNC, True))))


# ---------------------------------------------------------------------------------------------- requirements
def _numbers(s: Schedule, node: For, blocks: Sequence[Sequence[Block]], stages: Any) -> tuple[int, ...]:
    """The stage of each block in program order. Reasons: bad_stages, block_outside_loop, stages_missing."""
    whole = isinstance(stages, dict) and all(type(n) is int and n >= 0 for n in stages.values())
    if not whole or len(set(stages.values())) < 2 or 0 not in stages.values():
        example = ", ".join(f'"{part[0].name}": {n}' for n, part in enumerate(blocks) if part)
        s.refuse(
            "bad_stages",
            f"stages are whole numbers for the blocks in {node.var.name}, 0 and later ones, got {stages!r}",
            at=[node],
            hint=f"{{{example}}}"
            if len(blocks) > 1
            else f"the body of {node.var.name} is a single statement: "
            "cache_read and compute_at give it one to load ahead",
        )
    inside = {b.name for part in blocks for b in part}
    for name in stages:
        if s.block_node(name).name not in inside:
            s.refuse(
                "block_outside_loop",
                f"{name} is not in loop {node.var.name}",
                at=[node, s.block_node(name)],
                hint=", ".join(sorted(inside)),
            )
    numbers: list[int] = []
    for part in blocks:
        own = [stages[b.name] for b in part if b.name in stages]
        if not own:
            names = " or ".join(b.name for b in part)
            s.refuse("stages_missing", f"{names} has no stage", at=part, hint=f'"{part[0].name}": a number')
        numbers += [stages.get(b.name, own[0]) for b in part]
    return tuple(numbers)


def _positions(s: Schedule, node: For, blocks: Sequence[Sequence[Block]], order: Any) -> tuple[int, ...]:
    """The order as positions of statements in the body. Reason: bad_order."""
    names = [s.block_node(b).name for b in order] if isinstance(order, list) else []
    found = [n for name in names for n, part in enumerate(blocks) if any(b.name == name for b in part)]
    if sorted(found) != list(range(len(blocks))) or len(names) != len(blocks):
        s.refuse(
            "bad_order",
            f"takes a block of each statement in the body of {node.var.name}, each once, got {order!r}",
            at=[node],
            hint=f"[{', '.join(part[0].name for part in blocks)}] in another order",
        )
    return tuple(found)


def marks_hold(s: Schedule, proved: dict[For, frozenset]) -> dict[For, frozenset]:
    """Every pipelined loop may be, and every double-buffered Alloc is in a loop that uses its versions in turn.

    Returns what was proved for which loop, under which loops; `proved` is what an earlier call has returned.
    Reasons: loop_kind, not_in_a_loop, stages_missing, stages_differ, stage_order, loop_carries.
    """
    grounds: dict[For, frozenset] = {}
    for loop in find(s.func.body, For):
        if loop.annotations and pipelines.STAGES in dict(loop.annotations):
            around = frozenset((n.var, n.extent) for n in s.path(loop) if isinstance(n, For))
            grounds[loop] = around
            if proved.get(loop) != around:
                _may_overlap(s, loop)
    for alloc in find(s.func.body, Alloc):
        if alloc.annotations and dict(alloc.annotations).get(pipelines.DOUBLE):
            _in_a_serial_loop(s, alloc, "this step before double_buffer")
    return grounds


def _may_overlap(s: Schedule, loop: For) -> None:
    """Reasons: loop_kind, stages_missing, stages_differ, stage_order, loop_carries."""
    if loop.kind not in (SERIAL, UNROLL):
        message = f"loop {loop.var.name} is {how_it_runs(loop)}: the iterations of a pipelined loop run in order"
        s.refuse("loop_kind", message, at=[loop], hint="a loop around it")
    try:
        pipelines.plan(loop, s.context(loop), s.func.body)
    except pipelines.Conflict as conflict:
        s.refuse(conflict.reason, conflict.message, at=[loop, *conflict.blocks], hint=conflict.hint)


def _in_a_serial_loop(s: Schedule, alloc: Alloc, hint: str) -> None:
    """Reason: not_in_a_loop."""
    around = [n for n in s.path(alloc) if isinstance(n, For)]
    if not around or around[-1].kind not in (SERIAL, UNROLL):
        what = f"in loop {around[-1].var.name}, which is {how_it_runs(around[-1])}" if around else "outside all loops"
        message = (
            f"a double buffer needs a loop whose iterations use it in turn, {alloc.buffer.name} is allocated {what}"
        )
        s.refuse("not_in_a_loop", message, at=[alloc], hint=hint)
