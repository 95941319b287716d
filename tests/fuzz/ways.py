"""Programs that show what a schedule did: with its loops in other ways than in order, and with what is hidden shown."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from unittest import mock

import tensorlang as tl
from tensorlang.arith import stages
from tensorlang.arith.stages import STAGES
from tensorlang.ir.nodes import ONE, Alloc, Buffer, For, Func, If, Load, Node, Stmt, Store, Var, seq
from tensorlang.ir.ops import all_of, literal, make
from tensorlang.ir.walk import find, substitute, transform
from tensorlang.passes.lower_init import lower_init
from tensorlang.passes.pipeline import pipeline
from tests.fuzz.check import INDEPENDENT, run_backwards

NOBODY = -1


def forgiving(func: Func) -> Func:
    """`func`, in which loads from buffers without elements give zero, or false."""

    def load(node: Node) -> Node:
        if not isinstance(node, Load) or node.mask is not None:
            return node
        some = all_of([dim >= ONE for dim in node.buffer.shape])
        return make("if_then_else", some, node, literal(False if node.dtype == "bool" else 0, node.dtype))

    return func.with_body(transform(func.body, load))


def turned(func: Func) -> Func:
    """`func`, whose serpentine loops run backwards in every iteration of the loops around."""
    return run_backwards(func, kinds=())


def overlapped(func: Func) -> Func:
    """`func` with the stages of its pipelined loops overlapping, whether they may or not."""
    if not any(STAGES in dict(loop.annotations) for loop in find(func.body, For)):
        return func
    target = tl.Target("llvm")
    with mock.patch.object(stages, "_keep_apart", lambda *_: True):
        return pipeline(lower_init(func, target), target)


def simultaneous(func: Func) -> Func:
    """`func`, in which iterations of parallel and vectorised loops do not see what the others have stored, and fail
    where another one has stored, too: whose value stays, no program could rely on.

    Each iteration works on copies of the buffers as they were before the loop; what it has changed is copied back.
    """

    def apart(node: Node) -> Node:
        if not isinstance(node, For) or node.kind not in INDEPENDENT:
            return node
        inside = {a.buffer for a in find(node.body, Alloc)}
        shared = dict.fromkeys(n.buffer for n in find(node.body, Store) if n.buffer not in inside)
        before = {b: Buffer(f"{b.name}.before", b.shape, b.dtype) for b in shared}
        own = {b: Buffer(f"{b.name}.own", b.shape, b.dtype) for b in shared}
        owner = {b: Buffer(f"{b.name}.owner", b.shape, "int64") for b in shared}
        begin = [_copied(before[b], own[b]) for b in shared]
        end = [_copied(own[b], b, before[b]) for b in shared]
        body: Stmt = seq(*begin, _claiming(substitute(node.body, {}, own), node.var, own, owner), *end)
        for b in own.values():
            body = Alloc(b, body)
        first = [step for b in shared for step in (_copied(b, before[b]), _filled(owner[b], NOBODY))]
        loop = seq(*first, For(node.var, node.extent, "serial", body))
        for b in (*before.values(), *owner.values()):
            loop = Alloc(b, loop)
        return loop

    if not any(n.kind in INDEPENDENT for n in find(func.body, For)):
        return func
    explicit = lower_init(func, tl.Target("llvm"))  # an init has its place in an iteration, or before the loop
    return explicit.with_body(transform(explicit.body, apart))


def _claiming(body: Stmt, iteration: Var, own: Mapping[Buffer, Buffer], owner: Mapping[Buffer, Buffer]) -> Stmt:
    """`body`, whose stores note the iteration as the owner of an element, which must not have another one."""
    owner_of = {own[b]: owner[b] for b in own}

    def claim(node: Node) -> Node:
        if not isinstance(node, Store) or node.buffer not in owner_of:
            return node
        mark = owner_of[node.buffer]
        mine = iteration.astype("int64")
        before = Load(mark, node.indices)
        free = (before == NOBODY) | (before == mine)
        trap = Buffer("trap", (ONE,), "int64")
        fail = If(~free, Alloc(trap, Store(trap, (ONE,), mine)))  # out of bounds
        return seq(node, fail, Store(mark, node.indices, mine))

    return transform(body, claim)


def _filled(buffer: Buffer, value: int) -> Stmt:
    """Store `value` in all elements."""
    point = tuple(Var(f"i{n}") for n in range(len(buffer.shape)))
    body: Stmt = Store(buffer, point, literal(value, buffer.dtype))
    for var, extent in reversed(list(zip(point, buffer.shape, strict=True))):
        body = For(var, extent, "serial", body)
    return body


def _copied(source: Buffer, target: Buffer, unless: Buffer | None = None) -> Stmt:
    """Copy all elements; `unless` is given: those that differ from its elements."""
    point = tuple(Var(f"i{n}") for n in range(len(source.shape)))
    value = Load(source, point)
    body: Stmt = Store(target, point, value)
    if unless is not None:
        old = Load(unless, point)
        same = value == old
        if tl.dtypes.is_float(source.dtype):
            same = same | ((value != value) & (old != old))
        body = If(~same, body)
    for var, extent in reversed(list(zip(point, source.shape, strict=True))):
        body = For(var, extent, "serial", body)
    return body


def lasting(func: Func) -> set[Buffer]:
    """The buffers that are allocated once, outside of all loops."""
    repeated = {a.buffer for loop in find(func.body, For) for a in find(loop, Alloc)}
    return {a.buffer for a in find(func.body, Alloc)} - repeated


def exposed(func: Func, seen: Collection[Buffer]) -> Func:
    """`func` with the buffers `seen`, which are allocated in it, as parameters."""
    body = transform(func.body, lambda n: n.body if isinstance(n, Alloc) and n.buffer in seen else n)
    return Func(func.name, (*func.params, *sorted(seen, key=lambda b: b.name)), func.outputs, body)


def hides_results(func: Func) -> bool:
    """Is there a buffer that is allocated in a loop, so that nothing `exposed` shows it, and that no block reads?"""
    read = {n.buffer for n in find(func.body, Load)}
    return not {a.buffer for loop in find(func.body, For) for a in find(loop, Alloc)} <= read
