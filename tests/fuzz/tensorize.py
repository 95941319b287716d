"""How tensorize is drawn: a computation is brought into the shape of an intrinsic first, by several steps."""

from __future__ import annotations

from collections.abc import Iterator

from tensorlang.ir.nodes import SPATIAL, Block, Load, Op, Store
from tensorlang.schedule import dataflow as flow
from tensorlang.schedule.checks import driven
from tests.fuzz.draw import SCOPES, Draw, Source
from tests.fuzz.intrinsics import COPIED, COPIES, INTRINSICS, LANES


def cache_read(d: Draw, scope: str | None = None) -> str:
    block = d.block(lambda b: bool(flow.loaded(b)))
    read = [b.name for b in flow.loaded(d.s.block_node(block))] if d.s.has_block(block) else []
    return d.step("cache_read", block, d.pick(read) if read and d.chance(0.95) else d.buffer(), scope or d.pick(SCOPES))


def cache_write(d: Draw, scope: str | None = None) -> str:
    block = d.block()
    written = [b.name for b in flow.stored(d.s.block_node(block))] if d.s.has_block(block) else []
    named = {"tensor": d.pick(written)} if len(written) > 1 and d.chance(0.8) else {}
    return d.step("cache_write", block, scope or d.pick(SCOPES), **named)


def multiplies(b: Block) -> bool:
    """A sum of products."""
    value = b.body.value if isinstance(b.body, Store) and b.init is not None else None
    return isinstance(value, Op) and (
        value.op == "fma" or (value.op == "add" and getattr(value.args[1], "op", "") == "mul")
    )


def tensorize(d: Draw) -> Iterator[str]:
    """Mostly of what was brought into the shape of an intrinsic right before."""
    way = d.pick([_tensorize_copy, _tensorize_copy, _tensorize_rows, _tensorize_dots, None])
    if way is not None:
        yield from way(d)
    else:
        yield d.step("tensorize", d.pick([d.block(), d.loop()]), d.pick([*INTRINSICS, "fma_row4", "nothing"]))


def _tensorize_copy(d: Draw) -> Iterator[str]:
    """A copy, which is mostly made right before."""
    kind = d.pick(COPIES)
    if d.chance(0.7):
        yield (cache_read if d.chance(0.7) else cache_write)(d, COPIES[kind].get("B"))
        if not d.done():
            return
        block = d.made_block()
    else:
        block = d.block(lambda b: isinstance(b.body, Store) and isinstance(b.body.value, Load))
    written = flow.stored(d.s.block_node(block)) if d.s.has_block(block) else []
    dtype = written[0].dtype if written and written[0].dtype in COPIED else "float32"
    loop = d.innermost(block)
    extent = d.extent(loop)
    if extent not in LANES or d.chance(0.2):
        extent = d.pick([n for n in LANES if (extent or 1) % n] or LANES)
        yield d.step("split", loop, [None, extent], tail="cut")
        loop = d.innermost(block)
    yield d.step("tensorize", loop, f"{kind}{extent}_{dtype}")


def _tensorize_rows(d: Draw) -> Iterator[str]:
    """C[j] = fma(A, B[j], C[j]), with the loops of a sum of products in the order that this needs."""
    block = d.block(lambda b: multiplies(b) and flow.stored(b)[0].dtype == "float32")
    lanes = d.pick(LANES)
    yield from _padded(d, block, {SPATIAL: lanes})
    loops = d.loops(block)
    along = [n for n in loops if driven(d.s.loop_node(n), d.s.block_node(block)) == {SPATIAL}][-1:] if loops else []
    if not along:
        return
    yield d.step("split", along[0], [None, lanes])
    if d.done():
        inner = d.s.trace.steps[-1].out[-1]
        rest = [n for n in d.loops(block) if n != inner]
        yield d.step("reorder", *rest, inner)
        yield d.step("decompose_reduction", block, rest[0])
        yield d.step("tensorize", inner, f"fma_row{lanes}")


def _tensorize_dots(d: Draw) -> Iterator[str]:
    """C[j] += A[k] * B[j, k] for four k, with B packed accordingly."""
    block = d.block(lambda b: multiplies(b) and flow.stored(b)[0].dtype == "int32")
    lanes = d.pick(LANES)
    yield from _padded(d, block, {SPATIAL: lanes, "reduce": 4})
    if not d.done():
        return
    node = d.s.block_node(block)
    loops = {
        kind: [n for n in d.loops(block) if driven(d.s.loop_node(n), node) == {kind}] for kind in (SPATIAL, "reduce")
    }
    packed = [b.name for b in flow.loaded(node) if b.dtype == "int8" and len(b.shape) == 2]
    if not packed or not all(loops.values()):
        return
    if not d.private(d.s.buffers()[packed[0]]):
        yield d.step("cache_read", block, packed[0], "global")
        packed = [f"{packed[0]}.global"]
    layout = f"lambda j, k: (j // {lanes}, k // 4, j % {lanes}, k % 4)"
    yield d.step("transform_layout", packed[0], Source(layout))
    inner = []
    for kind, factor in ((SPATIAL, lanes), ("reduce", 4)):
        yield d.step("split", loops[kind][-1], [None, factor])
        if not d.done():
            return
        inner.append(d.s.trace.steps[-1].out[-1])
    rest = [n for n in d.loops(block) if n not in inner]
    yield d.step("reorder", *rest, *inner)
    yield d.step("decompose_reduction", block, rest[0])
    yield d.step("tensorize", inner[0], f"dot4x{lanes}")


def _padded(d: Draw, block: str, factors: dict[str, int]) -> Iterator[str]:
    """Pad the last iterator of each kind to a multiple."""
    if not d.s.has_block(block):
        return
    iters = d.s.block_node(block).iters
    last = {it.kind: n for n, it in enumerate(iters)}
    yield d.step(
        "pad_einsum", block, [factors.get(it.kind) if last[it.kind] == n else None for n, it in enumerate(iters)]
    )
