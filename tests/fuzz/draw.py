"""Random choices from a schedule as it is, for the drawers."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import Any

import tensorlang as tl
from tensorlang.ir import walk
from tensorlang.ir.nodes import SPATIAL, ZERO, Block, Buffer, Const, For, Node, Var
from tensorlang.schedule import dataflow as flow

SCOPES = ("local", "global", "shared")


class Source(str):
    """Text that stands for itself in a step."""

    def __repr__(self) -> str:
        return str(self)


class Draw:
    """Random choices from a schedule."""

    def __init__(self, s: tl.Schedule, rng: random.Random):
        self.s, self.rng = s, rng
        self._before = s.trace

    def step(self, op: str, *args: Any, **named: Any) -> str:
        """A step as text."""
        self._before = self.s.trace
        return f"{op}({', '.join([*map(repr, args), *(f'{k}={v!r}' for k, v in named.items())])})"

    def done(self) -> bool:
        """Was the step that was drawn last accepted?"""
        return self.s.trace is not self._before

    def made_block(self) -> str:
        """The block that the last accepted step has made."""
        return next(name for name in self.s.trace.steps[-1].out if self.s.has_block(name))

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
        if self.chance(0.95):  # what never runs shows little
            nodes = [n for n in nodes if n.extent is not ZERO] or nodes
        return self.pick([n for n in nodes if wanted(n)] or nodes if self.chance(0.9) else nodes).var.name

    def innermost(self, block: str) -> str:
        """The loop directly around a block, if there is one."""
        return self.loops(block)[-1] if self.loops(block) else self.loop()

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

    def is_read(self, block: Block) -> bool:
        """Does another block read what `block` writes?"""
        return bool(self.relatives(block.name, True))

    def body(self, loop: For) -> Node:
        """What is inside the perfect nest of `loop`."""
        node: Node = loop
        while isinstance(node, For):
            node = node.body
        return node

    def windows(self) -> list[tuple[str, str]]:
        """(block, loop) for each loop along which a consumer of the block reads more than one element of what it writes
        in an iteration, at places that move with the loop."""
        found: dict[tuple[str, str], None] = {}
        for consumer in self.nodes():
            spatial = {it.var: b for it, b in zip(consumer.iters, consumer.bindings, strict=True) if it.kind == SPATIAL}
            every = {it.var for it in consumer.iters}
            loops = [self.s.loop_node(name) for name in self.loops(consumer.name)]
            for buffer in filter(self.private, flow.loaded(consumer)):
                for along in zip(*{load.indices for load in flow.loads(consumer.body, buffer)}, strict=True):
                    used = frozenset[Var]().union(*map(walk.free_vars, along)) & every
                    if len(set(along)) < 2 and len(used) < 2:
                        continue
                    driving = [n for v in spatial if v in used for n in loops if n.var in walk.free_vars(spatial[v])]
                    writers = flow.writers(self.s.func.body, buffer)
                    found.update(((w.name, n.var.name), None) for w in writers for n in driving)
        return list(found)

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

    def uneven_factors(self, loop: str) -> list[Any]:
        """As factors; most of them leave a remainder."""
        for _ in range(5):
            factors = self.factors(loop)
            size = math.prod(f for f in factors if isinstance(f, int) and f > 0)
            if (self.extent(loop) or 1) % size:
                break
        return factors

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
