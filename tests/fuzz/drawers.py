"""How the arguments of each primitive are drawn: one entry of DRAWERS for each, which writes a step as source text.

A drawer looks at the schedule as it is and mostly asks for what may well be legal; Draw's choices stray now and then.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import Any

import tensorlang as tl
from tensorlang.arith.stages import parts_of
from tensorlang.ir import walk
from tensorlang.ir.nodes import SPATIAL, Alloc, Block, Buffer, Const, For, Op, Store
from tensorlang.schedule import dataflow as flow
from tensorlang.schedule.checks import driven

UNROLLED = 12  # the most copies of a block that unrolling makes here
SCOPES = ("local", "global")
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


class Source(str):
    """Text that stands for itself in a step."""

    def __repr__(self) -> str:
        return str(self)


class Draw:
    """Random choices from a schedule."""

    def __init__(self, s: tl.Schedule, rng: random.Random):
        self.s, self.rng = s, rng

    def step(self, op: str, *args: Any, **named: Any) -> str:
        """A step as text."""
        return f"{op}({', '.join([*map(repr, args), *(f'{k}={v!r}' for k, v in named.items())])})"

    def chance(self, probability: float) -> bool:
        return self.rng.random() < probability

    def pick(self, options: Any) -> Any:
        return self.rng.choice(list(options))

    # ------------------------------------------------------------------------------------------- blocks and loops
    def nodes(self) -> list[Block]:
        return [self.s.block_node(b.name) for b in self.s.blocks()]

    def block(self, wanted: Callable[[Block], bool] = lambda block: True) -> str:
        """A block, one that is `wanted` if there is one; or, once in a while, any, or none that exists."""
        if self.chance(0.01):
            return "nowhere"
        nodes = self.nodes()
        return self.pick([b for b in nodes if wanted(b)] or nodes if self.chance(0.9) else nodes).name

    def loops(self, block: str) -> list[str]:
        return [loop.name for loop in self.s.loops(block)] if self.s.has_block(block) else []

    def loop(self, wanted: Callable[[For], bool] = lambda loop: True) -> str:
        """A loop, one that is `wanted` if there is one; or, once in a while, any, or none that exists."""
        if self.chance(0.01):
            return "nowhere.i"
        nodes = list(dict.fromkeys(self.s.loop_node(n) for b in self.s.blocks() for n in self.loops(b.name)))
        if not nodes:
            return "nowhere.i"
        return self.pick([n for n in nodes if wanted(n)] or nodes if self.chance(0.9) else nodes).var.name

    def serial(self, loop: For) -> bool:
        return loop.kind == "serial" and not loop.annotations

    def nest(self) -> list[str]:
        """The loops of a block, outermost first, perhaps none."""
        return self.loops(self.block(lambda b: len(self.loops(b.name)) > 1))

    def run(self, low: int, high: int) -> list[str]:
        """Between low and high neighbours of a nest."""
        loops = self.nest()
        count = min(self.rng.randint(low, high), len(loops))
        first = self.rng.randint(0, len(loops) - count)
        return loops[first : first + count]

    # ------------------------------------------------------------------------------------------- producers, consumers
    def relatives(self, block: str, down: bool) -> list[Block]:
        """The blocks that read what `block` writes, or (not `down`) write what it reads."""
        if not self.s.has_block(block):
            return []
        node, root = self.s.block_node(block), self.s.func.body
        buffers = flow.stored(node) if down else flow.loaded(node)
        return [n for b in buffers for n in (flow.readers if down else flow.writers)(root, b)]

    def loop_of(self, blocks: list[Block]) -> str:
        """A loop around one of `blocks`."""
        loops = [loop for b in blocks for loop in self.loops(b.name)]
        return self.pick(loops) if loops and self.chance(0.9) else self.loop()

    def buffer(self, wanted: Callable[[Buffer], bool] = lambda buffer: True) -> str:
        if self.chance(0.01):
            return "nowhere"
        buffers = self.s.buffers()
        return self.pick([n for n, b in buffers.items() if wanted(b)] or buffers if self.chance(0.9) else buffers)

    def private(self, buffer: Buffer) -> bool:
        return flow.is_private(self.s.func.body, buffer)

    # ------------------------------------------------------------------------------------------- numbers
    def factor(self) -> Any:
        return self.pick([1, 2, 2, 3, 3, 4, 5, 7, 8]) if self.chance(0.97) else self.pick([0, -2, 1.5, "4", True])

    def factors(self, loop: str) -> list[Any]:
        """Factors of a split: with one to infer, or such that they cover the loop, or not."""
        given = [self.factor() for _ in range(self.rng.randint(1, 2))]
        if self.chance(0.2):
            extent = self.extent(loop) or 12
            return [given[0], max(1, -(-extent // (given[0] if isinstance(given[0], int) and given[0] > 0 else 1)))]
        if self.chance(0.95):
            given.insert(self.rng.randint(0, len(given)), None)
        return given

    def extent(self, loop: str) -> int | None:
        extent = self.s.loop_node(loop).extent if self.s.has_loop(loop) else None
        return int(extent.value) if isinstance(extent, Const) else None

    def unrolled(self, name: str) -> int:
        """How many copies of its body there are if that loop is unrolled."""
        if not self.s.has_loop(name):
            return 1
        node = self.s.loop_node(name)
        around = [n for n in (*self.s.path(node), *walk.find(node.body, For)) if isinstance(n, For)]
        around = [n for n in around if n.kind == "unroll"]
        return math.prod(n.extent.value if isinstance(n.extent, Const) else 99 for n in [*around, node])


def _unroll(d: Draw) -> str:
    name = d.loop(lambda n: d.serial(n) and d.unrolled(n.var.name) <= UNROLLED)
    return d.step("unroll", name) if d.unrolled(name) <= UNROLLED else _annotate(d)


def _annotate(d: Draw) -> str:
    return d.step("annotate", d.pick([d.block(), d.loop()]), "note", d.pick([1, True, "x", 0.5, None]))


def _split(d: Draw) -> str:
    loop = d.loop(d.serial)
    tail = {"tail": d.pick(["cut", "cut", "cut", "guard", "mask"])} if d.chance(0.3) else {}
    return d.step("split", loop, d.factors(loop), **tail)


def _tile(d: Draw) -> str:
    loops = d.run(1, 3)
    return d.step("tile", loops, [d.factor() for _ in loops] if d.chance(0.97) else [2])


def _fuse(d: Draw) -> str:
    return d.step("fuse", *d.run(2, 3))


def _reorder(d: Draw) -> str:
    loops = d.nest()
    return d.step("reorder", *d.rng.sample(loops, min(len(loops), d.rng.randint(2, 4))))


def _vectorize(d: Draw) -> str:
    def short(n: For) -> bool:
        return d.serial(n) and isinstance(n.extent, Const) and not any(True for _ in walk.find(n.body, For))

    return d.step("vectorize", d.loop(short))


def _decompose_reduction(d: Draw) -> str:
    block = d.block(lambda b: b.init is not None)
    return d.step("decompose_reduction", block, d.pick(d.loops(block) or [d.loop()]))


def _cache_read(d: Draw) -> str:
    block = d.block(lambda b: bool(flow.loaded(b)))
    read = [b.name for b in flow.loaded(d.s.block_node(block))] if d.s.has_block(block) else []
    return d.step("cache_read", block, d.pick(read) if read and d.chance(0.95) else d.buffer(), d.pick(SCOPES))


def _cache_write(d: Draw) -> str:
    block = d.block()
    written = [b.name for b in flow.stored(d.s.block_node(block))] if d.s.has_block(block) else []
    named = {"tensor": d.pick(written)} if len(written) > 1 and d.chance(0.8) else {}
    return d.step("cache_write", block, d.pick(SCOPES), **named)


def _compute_at(d: Draw) -> str:
    block = d.block(lambda b: bool(d.relatives(b.name, True)) and any(map(d.private, flow.stored(b))))
    return d.step("compute_at", block, d.loop_of(d.relatives(block, True)))


def _reverse_compute_at(d: Draw) -> str:
    block = d.block(lambda b: bool(d.relatives(b.name, False)))
    return d.step("reverse_compute_at", block, d.loop_of(d.relatives(block, False)))


def _compute_inline(d: Draw) -> str:
    return d.step("compute_inline", d.block(lambda b: b.init is None and all(map(d.private, flow.stored(b)))))


def _reverse_compute_inline(d: Draw) -> str:
    return d.step("reverse_compute_inline", d.block(lambda b: b.init is None and len(d.relatives(b.name, False)) == 1))


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
    points = sorted(d.pick(range(6)) for _ in range(d.rng.randint(1, 2)))
    extent = d.extent(loop)
    if extent is not None and d.chance(0.5):
        points[-1] = max(points[0], extent - d.pick([0, 1, 2]))
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


def _store_at(d: Draw) -> str:
    name = d.buffer(d.private)
    users = flow.users(d.s.func.body, d.s.buffers()[name]) if name in d.s.buffers() else []
    return d.step("store_at", name, *([d.loop_of(users)] if d.chance(0.8) else []))


def _rolling_buffer(d: Draw) -> str:
    """Mostly of a buffer that is allocated in loops, in a loop around all that use it."""

    def inside(b: Buffer) -> bool:
        alloc = next(walk.find(d.s.func.body, Alloc, lambda a: a.buffer is b), None)
        return alloc is not None and bool(flow.loops_above(d.s.func.body, alloc))

    name = d.buffer(inside)
    users = flow.users(d.s.func.body, d.s.buffers()[name]) if name in d.s.buffers() else []
    shared = [n for n in d.loops(users[0].name) if all(n in d.loops(u.name) for u in users)] if users else []
    return d.step("rolling_buffer", name, d.pick(shared) if shared and d.chance(0.9) else d.loop_of(users))


def _decompose_padding(d: Draw) -> str:
    def pads(b: Block) -> bool:
        value = b.body.value if isinstance(b.body, Store) else None
        return isinstance(value, Op) and value.op == "if_then_else"

    block = d.block(pads)
    return d.step("decompose_padding", block, d.pick(d.loops(block) or [d.loop()]))


def _software_pipeline(d: Draw) -> str:
    """Stages that mostly ascend with the statements of a loop's body, of which there mostly are several."""
    name = d.loop(lambda n: d.serial(n) and len(parts_of(n)[1]) > 1)
    parts = parts_of(d.s.loop_node(name))[1] if d.s.has_loop(name) else ()
    stages: dict[str, int] = {}
    stage = 0
    for part in parts:
        stages[flow.blocks(part)[0].name] = stage if d.chance(0.9) else d.rng.randint(-1, 3)
        stage += d.pick([0, 1, 1, 2])
    named = {"order": d.rng.sample(list(stages), len(stages))} if d.chance(0.3) else {}
    return d.step("software_pipeline", name, stages if d.chance(0.97) else [0, 1], **named)


def _double_buffer(d: Draw) -> str:
    def inside(b: Buffer) -> bool:
        alloc = next(walk.find(d.s.func.body, Alloc, lambda a: a.buffer is b), None)
        return alloc is not None and bool(flow.loops_above(d.s.func.body, alloc))

    return d.step("double_buffer", d.buffer(inside))


DRAWERS: dict[str, Callable[[Draw], str]] = {
    "split": _split,
    "tile": _tile,
    "fuse": _fuse,
    "reorder": _reorder,
    "parallel": lambda d: d.step("parallel", d.loop(d.serial)),
    "vectorize": _vectorize,
    "unroll": _unroll,
    "annotate": _annotate,
    "decompose_reduction": _decompose_reduction,
    "add_unit_loop": lambda d: d.step("add_unit_loop", d.pick([d.block(), d.loop()])),
    "loop_partition": _loop_partition,
    "fission": _fission,
    "specialize": _specialize,
    "rfactor": _rfactor,
    "set_scope": lambda d: d.step("set_scope", d.buffer(d.private), d.pick([*SCOPES, "no place"])),
    "storage_align": _storage_align,
    "store_at": _store_at,
    "rolling_buffer": _rolling_buffer,
    "cache_read": _cache_read,
    "cache_write": _cache_write,
    "compute_at": _compute_at,
    "reverse_compute_at": _reverse_compute_at,
    "compute_inline": _compute_inline,
    "reverse_compute_inline": _reverse_compute_inline,
    "decompose_padding": _decompose_padding,
    "transform_layout": _transform_layout,
    "software_pipeline": _software_pipeline,
    "double_buffer": _double_buffer,
}
KINDS = ("parallel", "vectorize", "unroll", "annotate")  # after them, loops may not be remade


def draw_step(s: tl.Schedule, rng: random.Random, progress: float) -> str:
    """A random step; the nearer `progress` to 1, the rather one that says how a loop runs."""
    late = rng.random() < 0.05 + 0.5 * progress**2
    names = [n for n in DRAWERS if (n in KINDS) == late and hasattr(s, n)]
    return DRAWERS[rng.choice(names)](Draw(s, rng))
