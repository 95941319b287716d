"""Random schedules for GPUs, as steps: each nest of loops is bound to blocks and threads, in one of many ways.

A plan is a generator that yields steps as source text, and is resumed when the step has been tried, so that it sees
what has become of the schedule. Steps may be refused.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import tensorlang as tl
from tensorlang.ir.launch import CACHE_HINTS
from tensorlang.ir.nodes import REDUCE, SERIAL, SPATIAL, Alloc, Const, For
from tensorlang.ir.walk import find
from tensorlang.schedule import dataflow as flow
from tensorlang.schedule.checks import driven

Steps = Iterator[str]
AXES = ("x", "y", "z")
FACTORS = (2, 3, 4, 5, 8, 16)
MOST_THREADS = 256


class Plan:
    """Draws a schedule for the blocks and threads of a GPU."""

    def __init__(self, s: tl.Schedule, rng: random.Random):
        self.s, self.rng = s, rng

    def steps(self) -> Steps:
        yield from self.structure()
        for block in [b.name for b in self.s.blocks()]:
            if self.s.has_block(block) and not self.bound(block):
                yield from self.kernel(block)
                yield from self.staging(block)
        for block in [b.name for b in self.s.blocks()]:
            if self.s.has_block(block) and not self.bound(block):
                yield from self.last_resort(block)
        yield from self.kinds()

    # ------------------------------------------------------------------------------------------- look around
    def chance(self, probability: float) -> bool:
        return self.rng.random() < probability

    def pick(self, options: Any) -> Any:
        return self.rng.choice(list(options))

    def loops(self, block: str) -> list[For]:
        return [self.s.loop_node(loop.name) for loop in self.s.loops(block)] if self.s.has_block(block) else []

    def bound(self, block: str) -> bool:
        return any("." in loop.kind for loop in self.loops(block))

    def free(self, block: str, kind: str = SPATIAL) -> list[str]:
        """The serial loops around a block, and around no other, that drive iterators of this kind only."""
        node = self.s.block_node(block)
        found = [n for n in self.loops(block) if n.kind == SERIAL and flow.blocks(n) == [node]]
        return [n.var.name for n in found if driven(n, node) == {kind}]

    def neighbours(self, block: str, down: bool) -> list[str]:
        """The blocks that read what `block` writes; not `down`: that write what it reads."""
        node, root = self.s.block_node(block), self.s.func.body
        buffers = flow.stored(node) if down else flow.loaded(node)
        return list(dict.fromkeys(n.name for b in buffers for n in (flow.readers if down else flow.writers)(root, b)))

    def new_loops(self, before: set[str], block: str) -> list[str]:
        return [n.var.name for n in self.loops(block) if n.var.name not in before]

    # ------------------------------------------------------------------------------------------- steps
    def structure(self) -> Steps:
        """Inline, factor and cache a little, before anything is bound."""
        for _ in range(self.rng.randint(0, 3)):
            block = self.pick(self.s.blocks()).name
            reduction = self.free(block, REDUCE)
            choice = self.rng.randint(0, 4)
            if choice == 0:
                yield f"compute_inline({block!r})"
            elif choice == 1 and reduction:
                yield f"rfactor({self.pick(reduction)!r})"
            elif choice == 2 and reduction:
                yield f"split({self.pick(reduction)!r}, [None, {self.pick(FACTORS)}])"
            elif choice == 3:
                yield f"reverse_compute_inline({block!r})"
            elif reduction:
                yield f"decompose_reduction({block!r}, {self.loops(block)[0].var.name!r})"
                yield f"atomic({block!r})"

    def kernel(self, block: str) -> Steps:
        """Split some loops of a block, and bind their parts to blocks, virtual threads and threads."""
        loops = self.free(block)
        if len(loops) > 1 and self.chance(0.3):
            yield f"fuse({', '.join(map(repr, loops[:2]))})"
            loops = self.free(block)
        grid: list[str] = []
        virtual: list[str] = []
        threads: list[str] = []
        room = MOST_THREADS
        for loop in loops[: self.rng.randint(1, 3)]:
            factor, copies = min(room, self.pick(FACTORS)), self.pick((2, 2, 3))
            parts = self.pick(["grid", "threads", "both", "both", "both", "all"])
            if parts in ("both", "all"):
                before = {n.var.name for n in self.loops(block)}
                yield f"split({loop!r}, {[None, copies, factor] if parts == 'all' else [None, factor]})"
                made = self.new_loops(before, block)
                if len(made) < 2:
                    continue
                grid.append(made[0])
                virtual += made[1:-1]
                threads.append(made[-1])
            else:
                (grid if parts == "grid" else threads).append(loop)
            extent = self.s.loop_node(threads[-1]).extent if threads else None
            room = max(1, room // (max(1, int(extent.value)) if isinstance(extent, Const) else 1))
        if len(grid + virtual + threads) > 1:
            yield f"reorder({', '.join(map(repr, grid + virtual + threads))})"
        for unit, names in (("blockIdx", grid), ("vthread", virtual), ("threadIdx", threads)):
            axes = AXES[: len(names)][::-1] if self.chance(0.8) else self.rng.sample(AXES, len(names))
            for name, axis in zip(names, axes, strict=True):
                yield f'bind({name!r}, "{unit}.{axis}")'
        yield from self.cross_thread(block)

    def cross_thread(self, block: str) -> Steps:
        """Sometimes reduce across threads."""
        reduction = self.free(block, REDUCE)
        if reduction and self.chance(0.3):
            if self.chance(0.7):
                before = {n.var.name for n in self.loops(block)}
                factors = [None, self.pick((4, 8, 32, 64))]
                yield f"split({reduction[0]!r}, {factors if self.chance(0.7) else factors[::-1]})"
                reduction = self.new_loops(before, block) or reduction
            yield f'bind({self.pick(reduction)!r}, "threadIdx.{self.pick(("x", "x", "y"))}")'

    def tiles(self, block: str) -> Steps:
        """Copies of the inputs of a reduction along its loop, some steps ahead, as fast kernels have them."""
        reduction = self.free(block, REDUCE)
        if not reduction:
            return
        before = {n.var.name for n in self.loops(block)}
        yield f"split({reduction[0]!r}, [None, {self.pick(FACTORS)}])"
        outer = (self.new_loops(before, block) or reduction)[0]
        copies: list[str] = []
        for buffer in [b.name for b in flow.loaded(self.s.block_node(block))]:
            known = {b.name for b in self.s.blocks()}
            yield f"cache_read({block!r}, {buffer!r}, 'shared')"
            made = [b.name for b in self.s.blocks() if b.name not in known]
            for copy in made:
                yield f"compute_at({copy!r}, {outer!r})"
                yield from self.shared_work(copy)
                if self.chance(0.6):
                    yield f"async_copy({copy!r})"
            copies += made
        ahead = self.pick((1, 1, 2, 3))
        if self.s.has_block(block) and copies and self.chance(0.8):
            yield f"software_pipeline({outer!r}, { {**dict.fromkeys(copies, 0), block: ahead} })"

    def staging(self, block: str) -> Steps:
        """Copies in shared and local memory, producers and consumers at the loops of the kernel."""
        if self.chance(0.4):
            yield from self.tiles(block)
        for _ in range(self.rng.randint(0, 3)):
            if not self.s.has_block(block):
                return
            choice = self.rng.randint(0, 4)
            if choice <= 1:
                yield from self.cached_input(block)
            elif choice == 2:
                yield from self.cached_output(block)
            elif choice == 3:
                yield from self.producer(block)
            else:
                for consumer in self.neighbours(block, True)[:1]:
                    yield f"reverse_compute_at({consumer!r}, {self.site(block)!r})"
                    yield from self.shared_work(consumer)
        if self.chance(0.4):
            yield from self.pipeline(block)

    def site(self, block: str) -> str:
        """A loop around a block, not always the best one."""
        loops = self.loops(block)
        return self.pick(loops).var.name if loops else "nowhere"

    def cached_input(self, block: str) -> Steps:
        read = [b.name for b in flow.loaded(self.s.block_node(block))]
        if not read:
            return
        before = {b.name for b in self.s.blocks()}
        scope = self.pick(("shared", "shared", "local"))
        reduction = self.free(block, REDUCE)
        if reduction and self.chance(0.5):
            yield f"split({reduction[0]!r}, [None, {self.pick(FACTORS)}])"
        yield f"cache_read({block!r}, {self.pick(read)!r}, {scope!r})"
        for copy in [b.name for b in self.s.blocks() if b.name not in before]:
            if self.chance(0.3):
                yield f"cache_hint({copy!r}, {self.pick(CACHE_HINTS)!r})"
            yield f"compute_at({copy!r}, {self.site(block)!r})"
            if scope == "shared":
                yield from self.shared_work(copy)

    def cached_output(self, block: str) -> Steps:
        before = {b.name for b in self.s.blocks()}
        yield f"cache_write({block!r}, {self.pick(('local', 'local', 'shared'))!r})"
        for copy in [b.name for b in self.s.blocks() if b.name not in before]:
            yield f"reverse_compute_at({copy!r}, {self.site(block)!r})"
            yield from self.shared_work(copy)

    def producer(self, block: str) -> Steps:
        for name in self.neighbours(block, False)[:1]:
            yield f"compute_at({name!r}, {self.site(block)!r})"
            for buffer in flow.stored(self.s.block_node(name)):
                if flow.is_private(self.s.func.body, buffer):
                    yield f"set_scope({buffer.name!r}, {self.pick(('shared', 'shared', 'local'))!r})"
            yield from self.shared_work(name)

    def shared_work(self, block: str) -> Steps:
        """The loops of a copy, or of another block in a kernel, for the threads of the block to share."""
        loops = self.free(block)
        if not loops or self.chance(0.15):
            return
        if len(loops) > 1 and self.chance(0.6):
            yield f"fuse({', '.join(map(repr, loops))})"
            loops = self.free(block)
        used = {n.kind: n.extent for n in find(self.s.func.body, For) if n.kind.startswith("threadIdx")}
        axes = [a for a in used if isinstance(used[a], Const)] or ["threadIdx.x"]
        for loop, axis in zip(loops[::-1], sorted(axes), strict=False):
            extent = used.get(axis)
            count = int(extent.value) if isinstance(extent, Const) and self.chance(0.9) else self.pick(FACTORS)
            before = {n.var.name for n in self.loops(block)}
            vector = [self.pick((2, 4))] if self.chance(0.2) else []
            yield f"split({loop!r}, {[None, count, *vector]})"
            made = self.new_loops(before, block)
            if len(made) == 2 + len(vector):
                yield f'bind({made[1]!r}, "{axis}")'
                if vector:
                    yield f"vectorize({made[2]!r})"
            if self.chance(0.5):
                return

    def pipeline(self, block: str) -> Steps:
        """Overlap iterations of a serial loop, if the schedule can."""
        for loop in self.loops(block):
            inside = [b.name for b in flow.blocks(loop)]
            if loop.kind == SERIAL and len(inside) > 1:
                ahead = self.pick((1, 1, 2, 3))
                stages = {name: ahead if name == block else 0 for name in inside}
                yield f"software_pipeline({loop.var.name!r}, {stages})"
                break
        buffers = [a.buffer.name for a in find(self.s.func.body, Alloc) if a.buffer.scope == "shared"]
        if buffers and self.chance(0.5):
            yield f"double_buffer({self.pick(buffers)!r})"

    def last_resort(self, block: str) -> Steps:
        """Whatever is bound nowhere still has to be: otherwise lowering refuses the program."""
        loops = self.free(block)
        if not loops:
            yield f"add_unit_loop({block!r})"
            loops = self.free(block)
        for loop in loops[:1]:
            yield f'bind({loop!r}, "{self.pick(("blockIdx.x", "threadIdx.x"))}")'
        if not self.bound(block):
            outermost = self.loops(block)[:1]
            yield from (f'bind({n.var.name!r}, "blockIdx.x")' for n in outermost)

    def kinds(self) -> Steps:
        """Unroll or vectorize a few short loops."""
        short = [
            n.var.name
            for n in find(self.s.func.body, For)
            if n.kind == SERIAL and isinstance(n.extent, Const) and n.extent.value <= 8
        ]
        for loop in self.rng.sample(short, min(len(short), self.rng.randint(0, 2))):
            yield f"{self.pick(('unroll', 'vectorize'))}({loop!r})"
        for loop in self.rng.sample(short, min(len(short), self.rng.randint(0, 2))):
            around = [n.var.name for n in self.s.path(self.s.loop_node(loop)) if isinstance(n, For)]
            if around:
                yield f"serpentine({loop!r}, {self.pick(around)!r})"
