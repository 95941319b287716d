"""Primitives that say how and where a buffer is stored: set_scope, storage_align, swizzle, store_at.

What they say stands in the annotations of the Alloc, so that no other step needs to know:
`align` = ((axis, factor, offset), ...): passes/flatten.py pads pitches; `swizzle` = bytes, for the GPU's code to heed;
`store_at` = the loop at which store_at has put the Alloc, where further steps leave it; `fold` = the axis that
rolling_buffer lets passes/fold.py store circularly.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tensorlang.ir.launch import SWIZZLE
from tensorlang.ir.nodes import SPATIAL, Alloc, Buffer, For, Stmt
from tensorlang.ir.walk import find, free_vars, replace_node, substitute
from tensorlang.schedule import dataflow as flow
from tensorlang.schedule.handles import BlockRef, LoopLike
from tensorlang.schedule.lasting import finds_what_it_reads
from tensorlang.schedule.primitive import primitive

if TYPE_CHECKING:
    from tensorlang.schedule.schedule import Schedule

BufferLike = Buffer | BlockRef | str
SWIZZLES = (32, 64, 128)
REGISTER = "register"  # what lowering calls the memory of accumulators


@primitive
def set_scope(s: Schedule, buffer: BufferLike, scope: str) -> None:
    """Keep a buffer in memory `scope`. buffer: its name, or the block that writes it.

    >>> t.set_scope("C", "local")
    >>> t.buffers()["C"].scope
    'local'

    requires:
      1. the buffer is not a parameter
      2. `scope` is the name of a memory

    rewrite:
      alloc P: f32[10]    ->    alloc P: f32[10] @ local
    """
    alloc = own_alloc(s, buffer)
    is_memory(s, scope)
    old = alloc.buffer
    new = Buffer(old.name, old.shape, old.dtype, scope)
    s.replace(alloc, substitute(alloc, {}, {old: new}))


@primitive
def storage_align(s: Schedule, buffer: BufferLike, axis: int, factor: int, offset: int = 0) -> None:
    """Make the distance in memory between neighbours along `axis` a multiple of `factor`, plus `offset`, elements.

    The shape stays; lowering pads the pitch. So rows can start at vector boundaries, or be spread over banks and
    cache sets. buffer: its name, or the block that writes it. A later step for the same axis replaces this one.

    >>> t.storage_align("C", axis=0, factor=16)
    >>> print(str(t).splitlines()[1])
      alloc C: f32[8, 8]  # align = ((0, 16, 0),)

    requires:
      1. the buffer is not a parameter
      2. `axis` is one of its dimensions, not the last one, whose neighbours are adjacent; -2 is the last but one
      3. `factor` is a whole number >= 1, and 0 <= `offset` < `factor`

    rewrite, for axis=0, factor=8, offset=1:
      alloc P: f32[10, 12]    ->    alloc P: f32[10, 12]  # align = ((0, 8, 1),)     (a row takes 17 elements)
    """
    alloc = own_alloc(s, buffer)
    rank = len(alloc.buffer.shape)
    numbers = all(isinstance(v, int) and not isinstance(v, bool) for v in (axis, factor, offset))
    if not numbers or not -rank <= axis < rank or axis % rank == rank - 1:
        s.refuse(
            "bad_axis",
            f"axis {axis!r} is not a dimension of {alloc.buffer.name} whose neighbours may lie further apart",
            at=[alloc],
            hint=", ".join(map(str, range(rank - 1))) or f"none: {alloc.buffer.name} has one dimension",
        )
    if factor < 1 or not 0 <= offset < factor:
        message = f"takes a factor >= 1 and an offset from 0 to factor - 1, got {factor} and {offset}"
        s.refuse("bad_factor", message, hint="factor=16, offset=0")
    kept = dict(alloc.annotations)
    rows = {row[0]: row for row in kept.get(flow.ALIGN, ())} | {axis % rank: (axis % rank, factor, offset)}
    kept[flow.ALIGN] = tuple(rows[a] for a in sorted(rows))
    s.replace(alloc, alloc.replace(annotations=tuple(kept.items())))


@primitive
def swizzle(s: Schedule, buffer: BufferLike, bytes: int) -> None:
    """Permute the words of 16 bytes within each `bytes` bytes of shared memory, so that the same word of 8 rows, of so
    many bytes each, lies in different banks.

    The word at address `a` is stored at `a ^ (a >> 3 & bytes - 16)`, counted from the start of the buffer. Padding
    spreads rows, too, but this takes no space, and leaves 32 bytes that were together together: an asynchronous copy
    asks for them once. Elsewhere than in shared memory of a GPU it changes nothing. buffer: its name, or the block that
    writes it. A later step of this kind replaces this one.

    Source: PTX ISA, "Tensor swizzle modes": the layout that the copy engine and the tensor cores of Hopper know.

    >>> t.swizzle("C", 128)
    >>> print(str(t).splitlines()[1])
      alloc C: f32[8, 8]  # swizzle = 128

    requires:
      1. the buffer is not a parameter
      2. `bytes` is 32, 64 or 128

    rewrite, for bytes=64:
      alloc P: f32[10, 16]    ->    alloc P: f32[10, 16]  # swizzle = 64
    """
    alloc = own_alloc(s, buffer)
    if type(bytes) is not int or bytes not in SWIZZLES:
        s.refuse("bad_swizzle", f"permutes words among 32, 64 or 128 bytes, got {bytes!r}", hint="the bytes of a row")
    s.replace(alloc, alloc.replace(annotations=tuple((dict(alloc.annotations) | {SWIZZLE: bytes}).items())))


@primitive
def store_at(s: Schedule, buffer: BufferLike, loop: LoopLike | None = None) -> None:
    """Allocate a buffer once in each iteration of `loop`, or once for the whole program if `loop` is None.

    Further out than where it is computed, it keeps what earlier iterations computed: see rolling_buffer. Later steps
    leave the allocation in `loop` as long as all that use it are in there. Threads that share a buffer must touch
    different parts of it. buffer: its name, or the block that writes it.

    >>> t.compute_at("C", "D.j")
    >>> t.store_at("C", "D.i")
    >>> print(str(t).splitlines()[2])
        alloc C: f32[8, 8]  # store_at = 'D.i'

    requires:
      1. the buffer is not a parameter
      2. all blocks that use the buffer are inside `loop`
      3. further in than it was: in each iteration of `loop`, all that is read of it is written before, and no
         reduction goes on from one iteration to the next
      4. parallel loops that are now inside touch different parts of it in different iterations (reasons
         loop_repeats, loop_carries)

    rewrite, for store_at("P", "C.i"):
      for C.i in 8:                              for C.i in 8:
        for C.j in 8:                              alloc P: f32[10, 10]
          alloc P: f32[10, 10]           ->        for C.j in 8:
          for P.i in 3: block P: ...                 for P.i in 3: block P: ...
          block C: ...                               block C: ...
    """
    alloc = own_alloc(s, buffer)
    place = None if loop is None else s.loop_node(loop)
    stored = alloc.buffer
    if place is not None:
        _all_users_inside(s, stored, place)
        if any(n is alloc for n in s.path(place)):
            _starts_anew(s, alloc, place)
    name = "" if place is None else place.var.name
    notes = tuple((key, value) for key, value in alloc.annotations if key != flow.STORE_AT)
    body = put_alloc(
        flow.drop_alloc(s.func.body, stored), place, Alloc(stored, alloc.body, (*notes, ("store_at", name)))
    )
    s.replace(s.func.body, body)


# ------------------------------------------------------------------------------------------------ requirements
def _all_users_inside(s: Schedule, stored: Buffer, place: For) -> None:
    """Reason: uses_outside_loop."""
    users = flow.users(s.func.body, stored)
    outside = [u for u in users if u not in flow.blocks(place)]
    if outside:
        around = flow.loops_above(s.func.body, flow.common(s.func.body, users))
        s.refuse(
            "uses_outside_loop",
            f"block {outside[0].name} uses buffer {stored.name} outside loop {place.var.name}",
            at=[place, outside[0]],
            hint=", ".join(n.var.name for n in around) or "None, which allocates it once",
        )


def own_alloc(s: Schedule, name: Any) -> Alloc:
    """The Alloc of the buffer of that name, else of the one that the block of that name writes.

    Reasons: several_outputs, parameter_storage.
    """
    buffer = buffer_of(s, name)
    alloc = next(find(s.func.body, Alloc, lambda a: a.buffer is buffer), None)
    if alloc is None:
        s.refuse(
            "parameter_storage",
            f"{buffer.name} is a parameter, which the caller stores",
            hint=f"cache_read or cache_write {buffer.name}, then this step for the copy",
        )
    return alloc


def buffer_of(s: Schedule, name: Any) -> Buffer:
    """The buffer of that name, else the one that the block of that name writes. Reason: several_outputs."""
    if not isinstance(name, str) or name in s.buffers():
        return s.buffer(name)
    own = flow.stored(s.block_node(name))
    if len(own) > 1:
        s.refuse("several_outputs", f"{name} writes several buffers", hint=", ".join(b.name for b in own))
    return own[0]


def is_memory(s: Schedule, scope: Any) -> None:
    """Reason: bad_scope."""
    if not isinstance(scope, str) or not scope.replace(".", "_").isidentifier() or scope == REGISTER:
        s.refuse("bad_scope", f"{scope!r} does not name a memory", hint='"local", "global"')


def _starts_anew(s: Schedule, alloc: Alloc, place: For) -> None:
    """Nothing stored in `alloc` is needed by a later iteration of `place`. Reasons: iterations_share, and those of
    finds_what_it_reads."""
    buffer, path = alloc.buffer, s.path(place)
    crossed = {n.var for n in (*path[path.index(alloc) :], place) if isinstance(n, For)}
    if any(key == flow.FOLD for key, _ in alloc.annotations):
        message = f"the iterations of loop {place.var.name} share {buffer.name}, which rolling_buffer made them do"
        s.refuse("iterations_share", message, at=[alloc, place], hint="this step before rolling_buffer")
    for writer in flow.writers(place, buffer):
        reduced = [b for it, b in zip(writer.iters, writer.bindings, strict=True) if it.kind != SPATIAL]
        updates = any(True for _ in flow.loads(writer.body, buffer))
        if updates and (writer.init is None or any(free_vars(b) & crossed for b in reduced)):
            s.refuse(
                "iterations_share",
                f"{writer.name} goes on with what another iteration of loop {place.var.name} has left in {buffer.name}",
                at=[alloc, writer],
                hint="a loop outside the reduction, or this step before decompose_reduction",
            )
    ctx = s.context(s.func.body)
    for reader in flow.readers(place, buffer):
        finds_what_it_reads(s, s.func.body, reader, buffer, ctx, "a loop further out")


# ----------------------------------------------------------------------------------------------------- rewrite
def put_alloc(root: Stmt, place: For | None, alloc: Alloc) -> Stmt:
    """`root` with `alloc`, whose body is of no account, around the body of the loop `place`, or around all of it."""
    if place is None:
        return alloc.replace(body=root)
    here = next(find(root, For, lambda n: n.var is place.var))
    return replace_node(root, here, here.replace(body=alloc.replace(body=here.body)))
