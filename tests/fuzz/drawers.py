"""How the arguments of each primitive are drawn: one entry of DRAWERS for each, which writes a step as source text.

A drawer looks at the schedule as it is and mostly asks for what may well be legal; Draw's choices stray now and then.
A primitive that needs others before it is drawn as several steps, each after the one before was tried.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Iterator

import tensorlang as tl
from tensorlang.arith.stages import parts_of
from tensorlang.ir import walk
from tensorlang.ir.launch import CACHE_HINTS
from tensorlang.ir.nodes import SPATIAL, Alloc, Block, Buffer, Const, For, Op, Store
from tensorlang.schedule import dataflow as flow
from tensorlang.schedule.checks import driven
from tests.fuzz.draw import SCOPES, Draw, Source
from tests.fuzz.tensorize import cache_read, cache_write, multiplies, tensorize

UNROLLED = 12  # the most copies of a block that unrolling makes here
LAYOUTS = {
    0: ("lambda: (0,)",),
    1: ("lambda i: (i // 3, i % 3)", "lambda i: (i % 4, i // 4)", "lambda i: (i + 2,)", "lambda i: (i // 2,)"),
    2: (
        "lambda i, j: (j, i)",
        "lambda i, j: (j // 4, i, j % 4)",
        "lambda i, j: (i // 2, j // 3, i % 2, j % 3)",
        "lambda i, j: (i * 40 + j,)",
        "lambda i, j: (i + j, j)",
        "lambda i, j: (j, j)",
    ),
    3: ("lambda i, j, k: (k, i, j)", "lambda i, j, k: (i, j // 3, k, j % 3)", "lambda i, j, k: (k // 2, j, i, k % 2)"),
    4: ("lambda i, j, k, m: (i, k, j, m)",),
}


def _unroll(d: Draw) -> str:
    name = d.loop(lambda n: d.serial(n) and d.unrolled(n.var.name) <= UNROLLED)
    return d.step("unroll", name) if d.unrolled(name) <= UNROLLED else _annotate(d)


def _serpentine(d: Draw) -> str:
    loops = d.nest()
    if len(loops) < 2 or d.chance(0.05):
        return d.step("serpentine", d.loop(), d.loop())
    at = d.rng.randrange(1, len(loops))
    return d.step("serpentine", loops[at], loops[d.rng.randrange(at)])


def _annotate(d: Draw) -> str:
    return d.step("annotate", d.pick([d.block(), d.loop()]), "note", d.pick([1, True, "x", 0.5, None]))


def _split(d: Draw) -> str:
    loop = d.loop(d.serial)
    if d.chance(0.7):
        return d.step("split", loop, d.factors(loop))
    return d.step("split", loop, d.uneven_factors(loop), tail=d.pick(["cut", "cut", "cut", "guard", "mask"]))


def _tile(d: Draw) -> str:
    loops = d.run(1, 3)
    return d.step("tile", loops, [d.factor() for _ in loops] if d.chance(0.97) else [2])


def _fuse(d: Draw) -> Iterator[str]:
    """Every other time of loops over points with loops that reduce, perhaps in another order."""
    if d.chance(0.5):
        yield d.step("fuse", *d.run(2, 3))
        return
    block = d.block(lambda b: b.init is not None and len(d.loops(b.name)) > 1)
    if d.chance(0.4) and len(d.loops(block)) > 1:
        yield d.step("reorder", *d.rng.sample(d.loops(block), 2))
    loops = d.loops(block)
    if len(loops) < 2:
        return
    kinds = [driven(d.s.loop_node(n), d.s.block_node(block)) for n in loops]
    mixed = [n for n in range(1, len(loops)) if kinds[n - 1] != kinds[n]]
    at = d.pick(mixed) if mixed else 1
    yield d.step("fuse", *loops[max(0, at - d.pick([1, 1, 2])) : at + d.pick([1, 1, 2])])


def _reorder(d: Draw) -> str:
    loops = d.nest()
    return d.step("reorder", *d.rng.sample(loops, min(len(loops), d.rng.randint(2, 4))))


def _vectorize(d: Draw) -> str:
    def short(n: For) -> bool:
        return d.serial(n) and isinstance(n.extent, Const) and not any(True for _ in walk.find(n.body, For))

    return d.step("vectorize", d.loop(short))


def _bind(d: Draw) -> str:
    axes = [f"{unit}.{axis}" for unit in ("threadIdx", "threadIdx", "blockIdx", "vthread") for axis in "xy"]
    return d.step("bind", d.loop(d.serial), d.pick(axes) if d.chance(0.98) else "threadIdx.w")


def _decompose_reduction(d: Draw) -> str:
    block = d.block(lambda b: b.init is not None)
    return d.step("decompose_reduction", block, d.pick(d.loops(block) or [d.loop()]))


def _atomic(d: Draw) -> Iterator[str]:
    block = d.block(lambda b: b.reducer is not None)
    if d.chance(0.9) and d.loops(block):
        yield d.step("decompose_reduction", block, d.loops(block)[0])
    yield d.step("atomic", block)
    if d.loops(block):
        yield d.step("parallel", d.pick(d.loops(block)))


def _compute_at(d: Draw) -> str:
    return d.step("compute_at", *_producer_and_loop(d))


def _reverse_compute_at(d: Draw) -> str:
    block = d.block(lambda b: bool(d.relatives(b.name, False)))
    return d.step("reverse_compute_at", block, d.loop_of(d.relatives(block, False)))


def _compute_inline(d: Draw) -> str:
    return d.step("compute_inline", d.block(lambda b: b.init is None and all(map(d.private, flow.stored(b)))))


def _reverse_compute_inline(d: Draw) -> str:
    def one_plain_producer(b: Block) -> bool:
        return b.init is None and [p.init for p in d.relatives(b.name, False)] == [None]

    return d.step("reverse_compute_inline", d.block(one_plain_producer))


def _transform_layout(d: Draw) -> str:
    name = d.buffer(d.private)
    rank = len(d.s.buffers()[name].shape) if name in d.s.buffers() else 2
    layouts = LAYOUTS.get(rank if d.chance(0.98) else rank + 1) or LAYOUTS[2]
    return d.step("transform_layout", name, Source(d.pick(layouts)), **d.pick([{}, {}, {"pad_value": 5}]))


def _rfactor(d: Draw) -> str:
    def reduces(n: For) -> bool:
        return d.serial(n) and any(driven(n, b) - {SPATIAL} for b in flow.blocks(n))

    return d.step("rfactor", d.loop(reduces), *d.pick([(), (0,), (-1,), (1,), (9,)]))


def _loop_partition(d: Draw) -> str:
    loop = d.loop(d.serial)
    extent = d.extent(loop) or 9
    points = sorted({d.pick(range(1, max(extent, 2))) for _ in range(d.rng.randint(1, 2))})
    if d.chance(0.1):  # parts that are empty, or would be less than that
        points = [d.pick(range(5)), d.pick([0, 1, extent, extent + 1])]
    return d.step("loop_partition", loop, points if d.chance(0.97) else [])


def _fission(d: Draw) -> str:
    loop = d.loop(lambda n: len(flow.blocks(n)) > 1)
    inside = [b.name for b in flow.blocks(d.s.loop_node(loop))] if d.s.has_loop(loop) else []
    return d.step("fission", loop, d.pick(inside[:-1] or inside) if inside and d.chance(0.9) else d.block())


def _specialize(d: Draw) -> str:
    sizes = [size.name for size in walk.sizes(d.s.func)]
    size, number = d.pick(sizes) if sizes else "m", d.pick([2, 3, 4, 8])
    condition = Source(d.pick([f"{size} % {number} == 0", f"{size} >= {number}", f"{size} < {number}"]))
    return d.step("specialize", condition, *([d.loop()] if d.chance(0.4) else []))


def _storage_align(d: Draw) -> str:
    name = d.buffer(lambda b: d.private(b) and len(b.shape) > 1)
    factor = d.pick([1, 2, 4, 8, 16, 3])
    return d.step("storage_align", name, d.pick([0, 0, -2, 1]), factor, d.pick([0, 0, 1, factor - 1]))


def _swizzle(d: Draw) -> str:
    return d.step("swizzle", d.buffer(d.private), d.pick([32, 64, 128, 128, 16]))


def _cache_hint(d: Draw) -> str:
    return d.step("cache_hint", d.block(), d.pick([*CACHE_HINTS, "evict"]))


def _store_at(d: Draw) -> str:
    name = d.buffer(d.private)
    users = flow.users(d.s.func.body, d.s.buffers()[name]) if name in d.s.buffers() else []
    return d.step("store_at", name, *([d.loop_of(users)] if d.chance(0.8) else []))


def _rolling_buffer(d: Draw) -> Iterator[str]:
    """Mostly of a block put right before into a loop along which its consumer reads windows of it."""
    windows = d.windows()
    if windows and d.chance(0.8):
        block, loop = d.pick(windows)
        yield d.step("compute_at", block, loop)
        if d.done():
            yield d.step("rolling_buffer", block, loop)
        return

    def inside(b: Buffer) -> bool:
        alloc = next(walk.find(d.s.func.body, Alloc, lambda a: a.buffer is b), None)
        return alloc is not None and bool(flow.loops_above(d.s.func.body, alloc))

    name = d.buffer(inside)
    users = flow.users(d.s.func.body, d.s.buffers()[name]) if name in d.s.buffers() else []
    shared = [n for n in d.loops(users[0].name) if all(n in d.loops(u.name) for u in users)] if users else []
    yield d.step("rolling_buffer", name, d.pick(shared) if shared and d.chance(0.9) else d.loop_of(users))


def _decompose_padding(d: Draw) -> str:
    def pads(b: Block) -> bool:
        value = b.body.value if isinstance(b.body, Store) else None
        return isinstance(value, Op) and value.op == "if_then_else"

    block = d.block(pads)
    return d.step("decompose_padding", block, d.pick(d.loops(block) or [d.loop()]))


def _software_pipeline(d: Draw) -> Iterator[str]:
    """Stages that mostly ascend with the statements of a loop's body, of which there mostly are several: they are made
    right before, if need be."""
    way = d.pick(["producer", "producer", "init", "as it is"])
    if way == "producer":
        block, name = _producer_and_loop(d)
        yield d.step("compute_at", block, name)
        if d.done() and d.chance(0.4):
            yield d.pick([d.step("rolling_buffer", block, name), d.step("store_at", block)])
    elif way == "init":
        block = d.block(lambda b: b.init is not None and len(d.loops(b.name)) > 1)
        yield d.step("decompose_reduction", block, d.pick(d.loops(block)[1:] or [d.loop()]))

    def several_parts(n: For) -> bool:
        return d.serial(n) and len(parts_of(n)[1]) > 1

    if way != "producer" or not d.s.has_loop(name) or not several_parts(d.s.loop_node(name)):
        name = d.loop(several_parts)
    if d.s.has_loop(name) and not several_parts(d.s.loop_node(name)) and d.chance(0.9):
        return
    parts = parts_of(d.s.loop_node(name))[1] if d.s.has_loop(name) else ()
    stages: dict[str, int] = {}
    stage = 0
    for part in parts:
        stages[flow.blocks(part)[0].name] = stage if d.chance(0.8) else d.rng.randint(-1 if d.chance(0.1) else 0, 3)
        stage += d.pick([0, 1, 1, 2])
    named = {"order": d.rng.sample(list(stages), len(stages))} if d.chance(0.3) else {}
    yield d.step("software_pipeline", name, stages if d.chance(0.97) else [0, 1], **named)


def _async_copy(d: Draw) -> Iterator[str]:
    if d.chance(0.6):
        yield cache_read(d, "shared")
        if d.done():
            yield d.step("async_copy", d.made_block())
        return
    yield d.step("async_copy", d.block(lambda b: any(x.scope == "shared" for x in flow.stored(b))))


def _double_buffer(d: Draw) -> Iterator[str]:
    def inside(b: Buffer) -> bool:
        alloc = next(walk.find(d.s.func.body, Alloc, lambda a: a.buffer is b), None)
        return alloc is not None and bool(flow.loops_above(d.s.func.body, alloc))

    if d.chance(0.5):
        block, loop = _producer_and_loop(d)
        yield d.step("compute_at", block, loop)
        if d.done():
            yield d.step("double_buffer", block)
        return
    yield d.step("double_buffer", d.buffer(inside))


def _producer_and_loop(d: Draw) -> tuple[str, str]:
    """A block, and a loop around one of its consumers."""
    block = d.block(lambda b: d.is_read(b) and any(map(d.private, flow.stored(b))))
    return block, d.loop_of(d.relatives(block, True))


def _blockize(d: Draw) -> str:
    def around_one_block(n: For) -> bool:
        return d.serial(n) and isinstance(d.body(n), Block)

    return d.step("blockize", d.loop(around_one_block))


def _reindex(d: Draw) -> str:
    block = d.block()
    used = [*flow.loaded(d.s.block_node(block)), *flow.stored(d.s.block_node(block))] if d.s.has_block(block) else []
    return d.step("reindex", block, d.pick(used).name if used and d.chance(0.95) else d.buffer())


def _pad_einsum(d: Draw) -> str:
    block = d.block(multiplies)
    count = len(d.s.block_node(block).iters) if d.s.has_block(block) else 2
    padding = [d.factor() if d.chance(0.6) else None for _ in range(count)]
    return d.step("pad_einsum", block, padding if d.chance(0.98) else padding[1:])


DRAWERS: dict[str, Callable[[Draw], str | Iterator[str]]] = {
    "split": _split,
    "tile": _tile,
    "fuse": _fuse,
    "reorder": _reorder,
    "parallel": lambda d: d.step("parallel", d.loop(d.serial)),
    "vectorize": _vectorize,
    "unroll": _unroll,
    "serpentine": _serpentine,
    "bind": _bind,
    "annotate": _annotate,
    "decompose_reduction": _decompose_reduction,
    "atomic": _atomic,
    "add_unit_loop": lambda d: d.step("add_unit_loop", d.pick([d.block(), d.loop()])),
    "loop_partition": _loop_partition,
    "fission": _fission,
    "specialize": _specialize,
    "rfactor": _rfactor,
    "set_scope": lambda d: d.step("set_scope", d.buffer(d.private), d.pick([*SCOPES, "no place"])),
    "storage_align": _storage_align,
    "swizzle": _swizzle,
    "store_at": _store_at,
    "rolling_buffer": _rolling_buffer,
    "cache_read": cache_read,
    "cache_write": cache_write,
    "cache_hint": _cache_hint,
    "compute_at": _compute_at,
    "reverse_compute_at": _reverse_compute_at,
    "compute_inline": _compute_inline,
    "reverse_compute_inline": _reverse_compute_inline,
    "decompose_padding": _decompose_padding,
    "transform_layout": _transform_layout,
    "software_pipeline": _software_pipeline,
    "async_copy": _async_copy,
    "double_buffer": _double_buffer,
    "blockize": _blockize,
    "tensorize": tensorize,
    "reindex": _reindex,
    "pad_einsum": _pad_einsum,
}
# How often a primitive is drawn, if not once as often as any: these are refused more often, or seldom as harmful.
WEIGHTS = {"fission": 2, "pad_einsum": 2, "reverse_compute_inline": 2, "rolling_buffer": 2, "tensorize": 2}
WEIGHTS |= {"fuse": 3, "software_pipeline": 4}
KINDS = ("parallel", "vectorize", "unroll", "serpentine", "bind", "annotate")  # after them, loops may not be remade


def some_primitives(rng: random.Random) -> tuple[str, ...]:
    """What a case draws from: in half of them all primitives, in the others a few, which then meet more often, as
    "Swarm Testing" (Groce et al., ISSTA 2012) found to bring more faults to light."""
    return tuple(DRAWERS) if rng.random() < 0.5 else tuple(rng.sample(list(DRAWERS), rng.randint(3, 8)))


def draw_steps(s: tl.Schedule, rng: random.Random, progress: float, among: Collection[str] = ()) -> Iterator[str]:
    """A random step, or several, each to be tried before the next is drawn; the nearer `progress` to 1, the rather one
    that says how a loop runs. among: the primitives to draw from, if not all."""
    late = rng.random() < 0.05 + 0.5 * progress**2
    known = [n for n in among or DRAWERS if hasattr(s, n)]
    names = [n for n in known if (n in KINDS) == late] or known or list(DRAWERS)
    name = rng.choices(names, [WEIGHTS.get(n, 1) for n in names])[0]
    drawn = DRAWERS[name](Draw(s, rng))
    yield from [drawn] if isinstance(drawn, str) else drawn
