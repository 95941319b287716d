"""The primitive that makes the iterations of a loop share what they compute: rolling_buffer."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, NoReturn

from tensorlang.arith.affine import linear
from tensorlang.arith.prove import proves
from tensorlang.arith.simplify import negation, simplify
from tensorlang.ir import ops
from tensorlang.ir.nodes import ONE, SPATIAL, ZERO, Alloc, Block, Buffer, Expr, For, If, Store, Var
from tensorlang.ir.walk import find, free_vars, substitute
from tensorlang.schedule import checks
from tensorlang.schedule import dataflow as flow
from tensorlang.schedule.handles import LoopLike
from tensorlang.schedule.lasting import finds_what_it_reads, overwrites_nothing
from tensorlang.schedule.primitive import primitive
from tensorlang.schedule.storage import BufferLike, own_alloc
from tensorlang.schedule.tiles import shifted

if TYPE_CHECKING:
    from tensorlang.schedule.schedule import Schedule


class Window(NamedTuple):
    """Iteration i of a loop computes elements low + i * step .. + extent - 1 along `axis`, with `var` counting them."""

    axis: int
    var: Var
    step: Expr
    extent: Expr


@primitive
def rolling_buffer(s: Schedule, buffer: BufferLike, loop: LoopLike) -> None:
    """Compute each element of a sliding window once: an iteration of `loop` keeps what earlier ones have computed.

    The block that writes the buffer was put into `loop` by compute_at, and computes there a window that moves with
    the loop. From the second iteration on, it computes only what is new. The buffer is allocated around `loop`, and
    lowering stores it circularly: along the axis of the window, it is no larger than the window.
    buffer: its name, or the block that writes it.

    >>> x = tl.placeholder((10,), name="x")
    >>> w = tl.compute((10,), lambda i: x[i] * x[i], name="w")
    >>> u = tl.Schedule(tl.compute((8,), lambda i: w[i] + w[i + 2], name="y"))
    >>> u.compute_at("w", "y.i")
    >>> u.rolling_buffer("w", "y.i")
    >>> print(str(u).splitlines()[1])
      alloc w: f32[10]  # store_at = '', fold = 0

    requires:
      1. the buffer is not a parameter, and one block writes it and nothing else
      2. all blocks that use the buffer are inside `loop`, which is serial
      3. that block's place along one axis is step * `loop` + one of its own loops + what depends on neither, with
         1 <= step < the extent of that loop; nothing else about it depends on `loop`
      4. a guard that holds in one iteration held for the same element in the one before
      5. what it reads is the same in all iterations: blocks inside `loop` that write it write each element at one
         spatial point, in full, before
      6. readers of the buffer find all they read in the same iteration

    rewrite:
      for i in 6:                                   alloc H: f32[8]  # fold = 0
        alloc H: f32[8]                             for i in 6:
        for r in 3:                           ->      for r in 3:
          block H(x = i + r)                            block H(x = i + r) where i == 0 or r >= 2
        block C(x = i)     # reads H[x .. x + 2]      block C(x = i)
    """
    alloc, at = own_alloc(s, buffer), s.loop_node(loop)
    stored = alloc.buffer
    writer = _sole_writer(s, stored)
    outside = [u for u in flow.users(s.func.body, stored) if u not in flow.blocks(at)]
    if outside:
        message = f"{outside[0].name} uses {stored.name} outside loop {at.var.name}"
        s.refuse(
            "uses_outside_loop",
            message,
            at=[at, outside[0]],
            hint=f"compute_at({outside[0].name}, {at.var.name}) first, or a loop further out",
        )
    checks.is_serial(s, at)
    window = _window(s, writer, stored, at)
    _guards_hold_before(s, writer, at, window)
    overwrites_nothing(s, writer)
    _inputs_stay(s, writer, at)
    ctx = s.context(s.func.body)
    for reader in flow.readers(s.func.body, stored):
        finds_what_it_reads(s, s.func.body, reader, stored, ctx, "a loop further out")
    fresh = ops.make("or", ops.make("eq", at.var, ZERO), window.var >= simplify(window.extent - window.step))
    body = flow.drop_alloc(s.func.body, stored)
    body = flow.splice(body, writer, writer.replace(predicate=ops.make("and", writer.predicate, fresh)))
    at = next(find(body, For, lambda n: n.var is at.var))
    around = flow.loops_above(body, at)
    notes = {**dict(alloc.annotations), flow.STORE_AT: around[-1].var.name if around else "", flow.FOLD: window.axis}
    s.replace(s.func.body, flow.splice(body, at, Alloc(stored, at, tuple(notes.items()))))


# ------------------------------------------------------------------------------------------------ requirements
def _sole_writer(s: Schedule, buffer: Buffer) -> Block:
    """Reasons: several_writers, several_outputs."""
    writers = flow.writers(s.func.body, buffer)
    if len(writers) != 1:
        hint = "do this step before decompose_reduction"
        s.refuse("several_writers", f"several blocks write {buffer.name}", at=writers, hint=hint)
    others = [b.name for b in flow.stored(writers[0]) if b is not buffer]
    if others:
        s.refuse(
            "several_outputs",
            f"{writers[0].name} writes {', '.join(others)} too",
            at=writers,
            hint="a buffer whose block writes nothing else",
        )
    return writers[0]


def _window(s: Schedule, writer: Block, buffer: Buffer, at: For) -> Window:
    """Reasons: not_a_window, no_overlap."""

    def refuse(why: str) -> NoReturn:
        hint = f"compute_at({writer.name}, {at.var.name}) just before this step"
        s.refuse("not_a_window", f"{writer.name} {why}", at=[writer, at], hint=hint)

    inner = {n.var: n for n in flow.loops_above(at.body, writer)}
    moving = [(it, b) for it, b in zip(writer.iters, writer.bindings, strict=True) if at.var in free_vars(b)]
    if len(moving) != 1 or moving[0][0].kind != SPATIAL:
        refuse(f"does not move along one axis as loop {at.var.name} runs")
    it, binding = moving[0]
    form = linear(binding, [at.var, *inner])
    digits = [] if form is None else [v for v in inner if simplify(form[0].get(v, ZERO)) is not ZERO]
    if form is None or len(digits) != 1 or simplify(form[0][digits[0]]) is not ONE:
        refuse(f"does not count the elements of its window by one loop: {it.var.name} = {binding!r}")
    var, step = digits[0], simplify(form[0][at.var])
    shared = any(var in free_vars(b) for b in writer.bindings if b is not binding)
    if shared or any({at.var, var} & free_vars(n.extent) for n in inner.values()):
        refuse(f"depends on loops {at.var.name} and {var.name} in other ways too")
    store = next(find(writer.body, Store))
    axes = [n for n, index in enumerate(store.indices) if it.var in free_vars(index)]
    if len(axes) != 1 or shifted(store.indices[axes[0]], {it.var}) is None:
        refuse(f"does not store along one axis of {buffer.name} as {it.var.name} moves")
    ctx = s.context(at)
    if not proves(step >= ONE, ctx):
        refuse(f"is not known to move up as loop {at.var.name} runs")
    extent = inner[var].extent
    message = f"the windows of {buffer.name}, {extent!r} elements each {step!r} further on, share nothing"
    s.require(extent > step, ctx, "no_overlap", message, at=[writer, at], hint="no step is needed")
    return Window(axes[0], var, step, extent)


def _guards_hold_before(s: Schedule, writer: Block, at: For, window: Window) -> None:
    """An element of the window that was in the window before was computed then. Reason: guard_differs."""
    path = (*s.path(writer), writer)
    guards = [writer.predicate]
    for outer, inner in zip(path[path.index(at) :], path[path.index(at) + 1 :], strict=False):
        if isinstance(outer, If):
            guards.append(outer.cond if inner is outer.then else negation(outer.cond))
    ctx = s.context(writer, inside=True).assume(at.var >= ONE).assume(window.var < window.extent - window.step)
    before = {at.var: at.var - ONE, window.var: window.var + window.step}
    for guard in guards:
        if not proves(simplify(substitute(guard, before), ctx), ctx):
            s.refuse(
                "guard_differs",
                f"{writer.name} runs where {guard!r}, which is not known to have held for the same element in the "
                f"iteration of {at.var.name} before",
                at=[writer, at],
                hint="this step before the one that added the guard, or factors that divide the extent",
            )


def _inputs_stay(s: Schedule, writer: Block, at: For) -> None:
    """What `writer` reads has one value in all iterations of `at`. Reason: input_changes."""
    ctx = s.context(s.func.body)
    waiting, seen = [writer], {writer}
    while waiting:
        reader = waiting.pop()
        for buffer in flow.loaded(reader):
            made = flow.writers(at, buffer)
            shared = {n.var for n in flow.loops_above(s.func.body, reader)}
            for block in made:
                reduced = [b for it, b in zip(block.iters, block.bindings, strict=True) if it.kind != SPATIAL]
                in_place = block.init is None and any(True for _ in flow.loads(block.body, buffer))
                if len(made) > 1 or in_place or any(free_vars(b) & shared for b in reduced):
                    message = f"{reader.name} reads {buffer.name}, which {block.name} changes as {at.var.name} runs"
                    s.refuse("input_changes", message, at=[block, at], hint="this step before decompose_reduction")
                overwrites_nothing(s, block)
                waiting += [block] if block not in seen else []
                seen.add(block)
            if made:
                finds_what_it_reads(s, s.func.body, reader, buffer, ctx, "a loop further out")
