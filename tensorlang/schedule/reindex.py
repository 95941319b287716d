"""The primitive that gives a block a copy of a buffer in the order of its own iterators: reindex."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from tensorlang.arith.context import Context
from tensorlang.arith.prove import proves
from tensorlang.arith.simplify import simplify
from tensorlang.ir import ops
from tensorlang.ir.nodes import FALSE, SPATIAL, TRUE, ZERO, Block, Buffer, Expr, For, Iter, Load, Store, Var
from tensorlang.ir.walk import find, free_vars, substitute, transform
from tensorlang.schedule import dataflow as flow
from tensorlang.schedule.cache import copy_after, copy_before
from tensorlang.schedule.handles import BlockLike, BlockRef
from tensorlang.schedule.lasting import overwrites_nothing
from tensorlang.schedule.primitive import primitive

if TYPE_CHECKING:
    from tensorlang.schedule.schedule import Schedule


@primitive
def reindex(s: Schedule, block: BlockLike, buffer: Buffer | str) -> BlockRef:
    """Make `block` access a buffer through a copy that its own iterators index, one dimension each; returns the block
    that copies.

    The dimensions of `<buffer>.reindex` are the iterators in the subscripts, in the order of the block. What the block
    reads is copied before it, what it writes after it (by a block `<buffer>.reindex`, too); elements that the
    subscripts give outside the buffer, which only a guarded access has, are copied as zero.

    >>> x = tl.placeholder((10,), name="x")
    >>> r = tl.reduce_axis(3, name="r")
    >>> u = tl.Schedule(tl.compute((8,), lambda i: tl.sum(x[i + r], axis=r), name="y"))
    >>> u.reindex("y", "x")
    Block('x.reindex')

    requires:
      1. the block reads or writes the buffer
      2. it accesses the buffer with one list of subscripts, which load nothing and depend on no loop inside the block
      3. of a buffer that it reads: every block that writes it stands before
      4. of a buffer that it writes: no other block reads it inside the outermost loop around the block or before, the
         block writes each element at one spatial point, and others that write it have the same spatial iterators and
         subscripts (inits, parts): they write to the copy, too

    rewrite:
      for i in 8: for r in 3:                         for v.i in 8: for v.r in 3:
        block C(i = i, r: reduce = r):                  block A.reindex(i, r): A.reindex[i, r] = A[i * 2 + r]
          C[i] = C[i] + A[i * 2 + r]           ->     for i in 8: for r in 3:
                                                        block C(i = i, r: reduce = r): C[i] = C[i] + A.reindex[i, r]
    """
    node, old = s.block_node(block), s.buffer(buffer)
    writes = old in flow.stored(node)
    if not writes and old not in flow.loaded(node):
        used = ", ".join(b.name for b in (*flow.loaded(node), *flow.stored(node)))
        s.refuse("not_accessed", f"{node.name} neither reads nor writes {old.name}", at=[node], hint=used)
    indices = _subscripts(s, node, old)
    if writes:
        overwrites_nothing(s, node)
    used_vars = frozenset[Var]().union(*map(free_vars, indices)) if indices else frozenset()
    own = [it for it in node.iters if it.var in used_vars or (writes and it.kind == SPATIAL)]
    name = s.fresh(f"{old.name}.reindex", "buffer")
    new = Buffer(name, tuple(it.extent for it in own), old.dtype, old.scope)
    iters = [Iter(Var(it.var.name), it.extent) for it in own]
    point = tuple(it.var for it in iters)
    place = tuple(substitute(i, dict(zip((it.var for it in own), point, strict=True))) for i in indices)
    store = Store(old, place, Load(new, point)) if writes else Store(new, point, _guarded(s, old, place, iters))
    copy = Block(s.fresh(name, "block"), tuple(iters), point, TRUE, None, None, store)
    if writes:
        points = {w: _alike(s, w, node, old, own, indices) for w in flow.writers(s.func.body, old)}
        copy_after(s, old, new, {w: _through(w, old, new, at) for w, at in points.items()}, copy)
    else:
        copy_before(s, node, old, new, _through(node, old, new, tuple(it.var for it in own)), copy)
    return BlockRef(s, copy.name)


def _alike(
    s: Schedule, writer: Block, node: Block, buffer: Buffer, own: Sequence[Iter], indices: Sequence[Expr]
) -> tuple[Var, ...]:
    """The iterators of `writer` that stand for those of `node`, `own`, with which it subscripts `buffer` in the same
    way. Reason: several_writers.
    """
    if writer is node:
        return tuple(it.var for it in own)
    theirs = [it for it in writer.iters if it.kind == SPATIAL]
    extents = [it.extent for it in theirs], [it.extent for it in own if it.kind == SPATIAL]
    if len(theirs) == len(own) and _same(*extents):
        values: dict[Var, Expr] = {mine.var: it.var for mine, it in zip(own, theirs, strict=True)}
        meant = [substitute(i, values) for i in indices]
        if all(_same(found, meant) for found in _accesses(writer, buffer)):
            return tuple(it.var for it in theirs)
    s.refuse(
        "several_writers",
        f"block {writer.name} writes buffer {buffer.name} too, with other subscripts than {node.name}",
        at=[node, writer],
        hint=f"this step before the one that made {writer.name}",
    )


def _same(a: Sequence[Expr], b: Sequence[Expr]) -> bool:
    return len(a) == len(b) and all(x is y for x, y in zip(a, b, strict=True))


def _accesses(node: Block, buffer: Buffer) -> list[tuple[Expr, ...]]:
    """The different lists of subscripts, those of stores first."""
    loads = [load.indices for load in flow.loads(node.body, buffer)]
    stores = [n.indices for root in (node.body, node.init) if root is not None for n in flow.stores(root, buffer)]
    return list(dict.fromkeys([*stores, *loads]))


def _subscripts(s: Schedule, node: Block, buffer: Buffer) -> tuple[Expr, ...]:
    """Those of all accesses. Reasons: several_accesses, loops_inside."""
    found = _accesses(node, buffer)
    if len(found) > 1:
        ctx = _knowing(s, node.iters)
        found = list(dict.fromkeys(tuple(simplify(i, ctx) for i in indices) for indices in found))
    if len(found) > 1:
        shown = " and ".join(f"{buffer.name}[{', '.join(map(repr, i))}]" for i in found)
        s.refuse("several_accesses", f"{node.name} accesses {shown}", at=[node], hint="one access to each buffer")
    if any(True for i in found[0] for _ in find(i, Load)):
        s.refuse(
            "several_accesses",
            f"the subscripts of {buffer.name} in {node.name} are loaded",
            at=[node],
            hint="an access whose subscripts are computed from iterators",
        )
    within = [n for n in find(node.body, For) if any(n.var in free_vars(i) for i in found[0])]
    if within:
        message = f"the subscripts of {buffer.name} depend on loop {within[0].var.name} inside block {node.name}"
        s.refuse("loops_inside", message, at=[node], hint=f"reindex({node.name}, {buffer.name}) before blockize")
    return found[0]


def _through(node: Block, old: Buffer, new: Buffer, point: tuple[Var, ...]) -> Block:
    """`node` with its accesses to `old` going to `new[point]`."""

    def rewrite(n: object) -> object:
        if isinstance(n, Load) and n.buffer is old:
            return Load(new, point, n.mask)
        return n.replace(buffer=new, indices=point) if isinstance(n, Store) and n.buffer is old else n

    init = None if node.init is None else transform(node.init, rewrite)
    return node.replace(init=init, body=transform(node.body, rewrite))


def _guarded(s: Schedule, buffer: Buffer, indices: Sequence[Expr], iters: Sequence[Iter]) -> Expr:
    """`buffer[indices]`, or zero where that is outside."""
    ctx = _knowing(s, iters)
    inside = [
        cond
        for index, dim in zip(indices, buffer.shape, strict=True)
        for cond in (index >= ZERO, index < dim)
        if not proves(cond, ctx)
    ]
    value = Load(buffer, tuple(indices))
    zero = FALSE if buffer.dtype == "bool" else ops.literal(0, buffer.dtype)
    return ops.make("if_then_else", ops.all_of(inside), value, zero) if inside else value


def _knowing(s: Schedule, iters: Sequence[Iter]) -> Context:
    """What is known inside a block of these iterators."""
    ctx = s.context(s.func.body)
    for it in iters:
        ctx = ctx.bind(it.var, it.extent)
    return ctx
