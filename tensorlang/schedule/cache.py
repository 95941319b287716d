"""Primitives that put a copy between a block and a buffer, cache_read and cache_write; and cache_hint, for caches that
choose by themselves what to keep."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from tensorlang.arith.footprint import bind_all, read_box
from tensorlang.ir.launch import CACHE_HINT, CACHE_HINTS
from tensorlang.ir.nodes import SPATIAL, TRUE, Alloc, Block, Buffer, Iter, Load, Seq, Stmt, Store, Var
from tensorlang.ir.walk import substitute
from tensorlang.schedule import dataflow as flow
from tensorlang.schedule.handles import BlockLike, BlockRef
from tensorlang.schedule.move import regenerate
from tensorlang.schedule.primitive import primitive
from tensorlang.schedule.tiles import needed_ranges

if TYPE_CHECKING:
    from tensorlang.schedule.schedule import Schedule


@primitive
def cache_read(s: Schedule, block: BlockLike, buffer: Buffer | str, scope: str) -> BlockRef:
    """Make `block` read `buffer` through a copy in memory `scope`; returns the block that copies.

    Block and copy are named `<buffer>.<scope>`. The whole buffer is copied, before everything that leads to `block`
    (inside the loops that produce the buffer, if `block` is there too, and then what `block` reads there); compute_at
    moves the copy to where it is needed, on the part that is needed there.

    >>> s.cache_read("C", "A", "local")
    Block('A.local')

    requires:
      1. `block` reads `buffer`
      2. `block` does not write `buffer`
      3. every block that writes `buffer` stands before `block`
      4. `scope` is the name of a memory

    rewrite:
      for i in 64:                       for A.local.i in 64:
        block C(i = i): C[i] = A[i]  ->    block A.local(i = A.local.i): A.local[i] = A[i]
                                         for i in 64:
                                           block C(i = i): C[i] = A.local[i]
    """
    node, source = s.block_node(block), s.buffer(buffer)
    _is_memory(s, scope)
    if source in flow.stored(node):
        hint = f"cache_write({node.name}, scope)"
        s.refuse("writes_buffer", f"{node.name} writes {source.name}", at=[node], hint=hint)
    if source not in flow.loaded(node):
        read = ", ".join(b.name for b in flow.loaded(node)) or "no buffer"
        s.refuse("not_read", f"{node.name} does not read {source.name}", at=[node], hint=read)
    target = Buffer(s.fresh(f"{source.name}.{scope}", "buffer"), source.shape, source.dtype, scope)
    fresh = node.replace(body=substitute(node.body, {}, {source: target}))
    indices = [load.indices for load in flow.loads(node, source)]
    copy = _copy(s, source, target, target.name, _axis_names(node, indices[0]))
    copy_before(s, node, source, target, fresh, copy)
    return BlockRef(s, copy.name)


def copy_before(s: Schedule, node: Block, source: Buffer, target: Buffer, fresh: Block, copy: Block) -> None:
    """Put `fresh`, which reads `target`, in place of `node`, which reads `source`, and `copy` before it.

    copy: a block without loops that makes `target` of `source`. Reason: producer_not_before.
    """
    root = s.func.body
    made = flow.writers(root, source)
    late = [w for w in made if not flow.precedes(root, w, node)]
    if late:
        s.refuse(
            "producer_not_before",
            f"{late[0].name} writes {source.name} later",
            at=[late[0], node],
            hint=f"a block that reads {source.name} after {late[0].name}",
        )
    shared = [flow.common(root, [w, node]) for w in made]
    innermost = max(shared, key=lambda stmt: len(flow.path(root, stmt)), default=None)
    anchor = _outermost(root, node) if innermost is None else flow.child_towards(root, innermost, node)
    body = flow.splice(root, node, fresh)
    anchor = fresh if anchor is node else _same_place(body, root, anchor)
    outer = flow.loops_above(body, anchor)
    ctx = flow.knowing(body, anchor, s.context(s.func.body))
    box = read_box(anchor, target, outer, ctx)
    ranges = needed_ranges(copy, {target: box} if box and outer else {}, bind_all(ctx, outer))
    body = flow.splice(body, anchor, regenerate(s, copy, ranges, outer, ctx), anchor)
    s.replace(root, flow.place_alloc(body, target))


@primitive
def cache_write(s: Schedule, block: BlockLike, scope: str, tensor: Buffer | str | None = None) -> BlockRef:
    """Make `block` write a buffer in memory `scope`, which another block then copies; returns the block that copies.

    The new buffer is named `<buffer>.<scope>`; `block` keeps its name, the block that copies is `<buffer>.write`.
    The whole buffer is copied, after everything around `block`; reverse_compute_at moves the copy to where a part is
    complete. tensor: which of the buffers that `block` writes, if there are several.

    >>> s.cache_write("C", "local")
    Block('C.write')

    requires:
      1. `block` writes one buffer, or `tensor` is one of those that it writes
      2. no block reads the buffer inside the outermost loop around `block`, or before
      3. `scope` is the name of a memory

    rewrite:
      for i in 64: for k in 8:                    for i in 64: for k in 8:
        block C(i = i, k: reduce = k):              block C(i = i, k: reduce = k):
          C[i] = C[i] + A[i, k]              ->       C.local[i] = C.local[i] + A[i, k]
                                                  for C.write.i in 64:
                                                    block C.write(i = C.write.i): C[i] = C.local[i]
    """
    node = s.block_node(block)
    _is_memory(s, scope)
    target = _written(s, node, tensor)
    local = Buffer(s.fresh(f"{target.name}.{scope}", "buffer"), target.shape, target.dtype, scope)
    fresh: dict[Block, Block] = {}
    for writer in flow.writers(s.func.body, target):
        init = None if writer.init is None else substitute(writer.init, {}, {target: local})
        fresh[writer] = writer.replace(init=init, body=substitute(writer.body, {}, {target: local}))
    store = next(flow.stores(node, target))
    copy = _copy(s, local, target, f"{target.name}.write", _axis_names(node, store.indices))
    copy_after(s, target, local, fresh, copy)
    return BlockRef(s, copy.name)


def copy_after(s: Schedule, target: Buffer, local: Buffer, fresh: Mapping[Block, Block], copy: Block) -> None:
    """Put the values of `fresh`, which write `local`, in place of its keys, all blocks that write `target`, and `copy`
    after them.

    copy: a block without loops that makes `target` of `local`. Reason: consumer_inside.
    """
    root = s.func.body
    made = list(fresh)
    anchor = _outermost(root, made[-1])
    inside = set(flow.blocks(anchor))
    early = [r for r in flow.readers(root, target) if r in inside or flow.precedes(root, r, anchor)]
    if early or not all(w in inside or flow.precedes(root, w, anchor) for w in made):
        s.refuse(
            "consumer_inside",
            f"{target.name} is read before it is written in full",
            at=[*early, *made],
            hint="cache_write first, then the step that moved its consumer",
        )
    body = root
    for writer, replacement in fresh.items():
        body = flow.splice(body, writer, replacement)
    anchor = _same_place(body, root, anchor)
    ctx = s.context(s.func.body)
    body = flow.splice(body, anchor, anchor, regenerate(s, copy, needed_ranges(copy, {}, ctx), (), ctx))
    if flow.is_private(root, target):
        body = flow.place_alloc(body, target)
    s.replace(root, flow.place_alloc(body, local))


@primitive
def cache_hint(s: Schedule, block: BlockLike, hint: str) -> None:
    """Say how long the caches of a GPU are to keep what a block loads from global memory.

    hint: "evict_first" for what nobody reads again, "evict_last" for what is read again before long, "no_allocate" for
    what the first level of cache need not hold. cache_read and this step for the copy speak of one buffer of several.
    What is read twice under different hints is read twice, and not kept in registers. On other targets than GPUs, and
    for buffers that the kernel writes, the hint says nothing. A later step of this kind replaces this one.

    What is kept is kept from the kernels behind this one, too, for a while: on an H100, the second pass over 24 MB that
    they keep reading took 16.4 us instead of 12.5 behind such a kernel, and the third as long as ever.

    Source: PTX ISA, "Cache Eviction Priority Hints".

    >>> s.cache_hint("C", "evict_last")
    >>> s.block("C").annotations
    {'cache_hint': 'evict_last'}

    requires:
      1. `hint` is one of these
      2. the block does one store
      3. it reads a buffer in global memory

    rewrite (by lowering):
      block C(x = i): C[x] = A[x]    ->    evict_last C[i] = A[i]
    """
    node = s.block_node(block)
    if not isinstance(hint, str) or hint not in CACHE_HINTS:
        s.refuse("bad_cache_hint", f"caches do not know {hint!r}", hint=", ".join(map(repr, CACHE_HINTS)))
    if not isinstance(node.body, Store):
        s.refuse(
            "several_stores",
            f"{node.name} does not do one store, at which a hint could stand",
            at=[node],
            hint="a block that cache_read has made",
        )
    if all(buffer.scope != "global" for buffer in flow.loaded(node)):
        read = ", ".join(f"{b.name} in {b.scope} memory" for b in flow.loaded(node)) or "no buffer"
        message = f"{node.name} reads nothing in global memory, but {read}"
        s.refuse("scope", message, at=[node], hint="a block that reads a parameter")
    others = tuple(pair for pair in node.annotations if pair[0] != CACHE_HINT)
    s.replace(node, node.replace(annotations=(*others, (CACHE_HINT, hint))))


# ------------------------------------------------------------------------------------------------ requirements
def _is_memory(s: Schedule, scope: str) -> None:
    """Reason: bad_scope."""
    if not isinstance(scope, str) or not scope.isidentifier():
        s.refuse("bad_scope", f"{scope!r} does not name a memory", hint='"local", "global"')


def _written(s: Schedule, node: Block, tensor: Buffer | str | None) -> Buffer:
    """The buffer that is meant. Reasons: several_outputs, not_written."""
    own = flow.stored(node)
    names = ", ".join(b.name for b in own)
    if tensor is None:
        if len(own) > 1:
            hint = f"tensor={own[0].name}"
            s.refuse("several_outputs", f"{node.name} writes {names}: say which", at=[node], hint=hint)
        return own[0]
    target = s.buffer(tensor)
    if target not in own:
        s.refuse("not_written", f"{node.name} does not write {target.name}", at=[node], hint=names)
    return target


# ----------------------------------------------------------------------------------------------------- rewrite
def _copy(s: Schedule, source: Buffer, target: Buffer, name: str, axes: list[str]) -> Block:
    """A block, as yet without loops, that copies all of `source` to `target`."""
    iters = tuple(Iter(Var(axis), dim, SPATIAL) for axis, dim in zip(axes, source.shape, strict=True))
    point = tuple(it.var for it in iters)
    return Block(s.fresh(name, "block"), iters, point, TRUE, None, None, Store(target, point, Load(source, point)))


def _axis_names(node: Block, indices: tuple) -> list[str]:
    """Names for the dimensions of a buffer: those of the iterators that `node` indexes it with, else ax0, ax1 ..."""
    own = {it.var for it in node.iters}
    names: list[str] = []
    for dim, index in enumerate(indices):
        plain = isinstance(index, Var) and index in own and index.name not in names
        names.append(index.name if plain else f"ax{dim}")
    return names


def _outermost(root: Stmt, node: Block) -> Stmt:
    """The part of the program's outermost sequence that contains `node`."""
    return next(n for n in flow.path(root, node) if not isinstance(n, Alloc) and not isinstance(n, Seq))  # type: ignore[return-value]


def _same_place(body: Stmt, root: Stmt, anchor: Stmt) -> Stmt:
    """The statement that stands in `body` where `anchor` stands in `root`: the one around the same first block."""
    name = flow.blocks(anchor)[0].name
    depth = len(flow.path(root, anchor))
    block = next(b for b in flow.blocks(body) if b.name == name)
    return flow.path(body, block)[depth - 1]  # type: ignore[return-value]
