"""Primitives that put one computation into another: compute_inline, reverse_compute_inline."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tensorlang.arith.prove import proves
from tensorlang.arith.simplify import simplify
from tensorlang.ir import ops
from tensorlang.ir.nodes import SPATIAL, Alloc, Block, Buffer, Expr, Load, Stmt, Store, Var
from tensorlang.ir.walk import find, free_vars, map_children, substitute
from tensorlang.schedule import dataflow as flow
from tensorlang.schedule.handles import BlockLike
from tensorlang.schedule.lasting import outlasts
from tensorlang.schedule.primitive import primitive
from tensorlang.schedule.tiles import runs_everywhere

if TYPE_CHECKING:
    from tensorlang.schedule.schedule import Schedule


@primitive
def compute_inline(s: Schedule, block: BlockLike) -> None:
    """Compute `block` where its result is read, instead of storing it.

    >>> E = tl.compute((8, 8), lambda i, j: D[i, j] + 1.0, name="E")
    >>> u = tl.Schedule(E)
    >>> u.compute_inline("D")
    >>> u.blocks()
    [Block('C'), Block('E')]

    requires:
      1. the block stores one element of one buffer, and does not reduce
      2. the buffer is not a parameter, and no other block writes it
      3. the store's indices are the block's iterators, each once
      4. some block reads the buffer
      5. what the block reads exists where its consumers stand, and nothing has been stored over it there

    rewrite:
      for i in 64:
        block P(i = i): P[i] = A[i] + 1.0     ->     for i in 64:
      for i in 64:                                     block C(i = i): C[i] = (A[i] + 1.0) * 2.0
        block C(i = i): C[i] = P[i] * 2.0
    """
    node = s.block_node(block)
    store = _elementwise(s, node)
    target, root = store.buffer, s.func.body
    _is_intermediate(s, node, target)
    points = _plain_indices(s, node, store)
    consumers = flow.readers(root, target)
    if not consumers:
        s.refuse(
            "no_consumer", f"no block reads {target.name}", at=[node], hint="a block whose result another block reads"
        )
    for source in flow.loaded(node):
        alloc = next(find(root, Alloc, lambda a, b=source: a.buffer is b), None)  # type: ignore[misc]
        gone = [c for c in consumers if alloc is not None and not any(n is alloc for n in flow.path(root, c))]
        if gone:
            s.refuse(
                "out_of_scope",
                f"{source.name}, which {node.name} reads, does not exist any more where {gone[0].name} stands",
                at=[node, gone[0]],
                hint=f"compute_inline({node.name}) before what it reads is moved",
            )

    before = set(flow.blocks(root))
    body = flow.splice(root, flow.own_nest(root, node))
    for consumer in flow.readers(body, target):
        body = flow.splice(body, consumer, _inlined(consumer, target, points, store.value))
    body = flow.drop_alloc(body, target)
    for source in flow.loaded(node):
        if flow.is_private(root, source):
            body = flow.place_alloc(body, source)
    for consumer in (b for b in flow.blocks(body) if b not in before):
        for source in flow.loaded(node):
            outlasts(s, body, node, consumer, source, f"compute_inline({node.name}) before {source.name} is re-laid")
    s.replace(root, body)


@primitive
def reverse_compute_inline(s: Schedule, block: BlockLike) -> None:
    """Compute `block` right where the value that it reads is produced: its producer stores the results instead.

    >>> E = tl.compute((8, 8), lambda i, j: D[i, j] + 1.0, name="E")
    >>> u = tl.Schedule(E)
    >>> u.reverse_compute_inline("E")
    >>> u.blocks()
    [Block('C'), Block('D')]

    requires:
      1. `block` stores one element of one buffer, and does not reduce
      2. exactly one buffer that it reads is written by another block: its producer, which stores one element and
         does not reduce
      3. nothing else reads that buffer, it is not a parameter, and no other block writes it
      4. the block reads it at its iterators (plus constants), each used once: one instance for one element
      5. both run over the same elements

    rewrite:
      for i in 64:
        block C(i = i): C[i] = A[i] + 1.0     ->     for i in 64:
      for i in 64:                                     block C(i = i): E[i] = (A[i] + 1.0) * 2.0
        block E(i = i): E[i] = C[i] * 2.0
    """
    node = s.block_node(block)
    store = _elementwise(s, node)
    root = s.func.body
    producer, middle = _only_producer(s, node)
    if producer.init is not None or any(it.kind != SPATIAL for it in producer.iters):
        s.refuse(
            "producer_reduces",
            f"{producer.name} reduces: {middle.name} has its value only after the last update",
            at=[producer, node],
            hint=f"reverse_compute_at({node.name}, a loop of {producer.name} outside its reductions)",
        )
    made = _elementwise(s, producer)
    _is_intermediate(s, producer, middle)
    other = [r for r in flow.readers(root, middle) if r is not node]
    if other:
        s.refuse(
            "several_consumers",
            f"{other[0].name} reads {middle.name} too",
            at=[other[0], node],
            hint=f"compute_inline of another block, or reverse_compute_at({node.name}, loop)",
        )
    values = _inverse(s, node, middle, made)
    if not runs_everywhere(s, producer):
        s.refuse(
            "other_domain",
            f"{producer.name} is not known to compute all of {middle.name}, so {node.name} might not run everywhere",
            at=[producer, node],
            hint=f"reverse_compute_inline before compute_at({producer.name}, loop)",
        )
    sole = [w for w in flow.writers(root, store.buffer) if w is not node]
    if sole:
        s.refuse(
            "several_writers",
            f"{sole[0].name} writes {store.buffer.name} too",
            at=[sole[0], node],
            hint="a block that alone writes its buffer",
        )

    value = substitute(_with_value(store.value, middle, made.value), values)
    fused = Store(store.buffer, tuple(simplify(substitute(i, values)) for i in store.indices), value)
    body = flow.splice(root, flow.own_nest(root, node))
    body = flow.splice(body, producer, producer.replace(body=fused))
    body = flow.drop_alloc(body, middle)
    for touched in (store.buffer, *flow.loaded(node)):
        if touched is not middle and flow.is_private(root, touched):
            body = flow.place_alloc(body, touched)
    s.replace(root, body)


# ------------------------------------------------------------------------------------------------ requirements
def _elementwise(s: Schedule, node: Block) -> Store:
    """The one store of the block. Reasons: reduces, several_stores."""
    if node.init is not None or any(it.kind != SPATIAL for it in node.iters):
        s.refuse("reduces", f"{node.name} reduces", at=[node], hint=f"compute_at({node.name}, loop)")
    if not isinstance(node.body, Store):
        s.refuse(
            "several_stores",
            f"{node.name} stores more than one element",
            at=[node],
            hint="compute_at or reverse_compute_at, which move whole blocks",
        )
    return node.body


def _is_intermediate(s: Schedule, node: Block, buffer: Buffer) -> None:
    """Reasons: writes_parameter, several_writers."""
    if not flow.is_private(s.func.body, buffer):
        s.refuse(
            "writes_parameter",
            f"{buffer.name} is a parameter, which must be written",
            at=[node],
            hint="the block that computes an intermediate",
        )
    others = [w for w in flow.writers(s.func.body, buffer) if w is not node]
    if others:
        s.refuse(
            "several_writers",
            f"{others[0].name} writes {buffer.name} too",
            at=[node, *others],
            hint="this step before cuts, partitions and decompose_reduction",
        )


def _plain_indices(s: Schedule, node: Block, store: Store) -> list[Var]:
    """The iterators that index the store. Reason: not_plain."""
    own = {it.var for it in node.iters}
    points = [i for i in store.indices if isinstance(i, Var) and i in own]
    if len(set(points)) != len(store.indices) or set(points) != own:
        s.refuse(
            "not_plain",
            f"{node.name} stores {store.buffer.name} at other indices than its iterators, each once",
            at=[store],
            hint="compute_inline before transform_layout",
        )
    return points


def _only_producer(s: Schedule, node: Block) -> tuple[Block, Buffer]:
    """The one block that writes what `node` reads, and the buffer. Reasons: no_producer, several_producers."""
    made = [(w, b) for b in flow.loaded(node) for w in flow.writers(s.func.body, b)]
    if not made:
        s.refuse(
            "no_producer",
            f"no block writes what {node.name} reads",
            at=[node],
            hint=f"a consumer of what another block makes; {node.name} reads parameters only",
        )
    if len(made) > 1:
        names = ", ".join(dict.fromkeys(w.name for w, _ in made))
        s.refuse(
            "several_producers",
            f"{node.name} reads what {names} write",
            at=[node, *(w for w, _ in made)],
            hint="compute_inline of the other producers first",
        )
    return made[0]


def _inverse(s: Schedule, node: Block, middle: Buffer, made: Store) -> Mapping[Var, Expr]:
    """The iterators of `node` at which it reads the element that `made` stores.

    Reasons: not_elementwise, other_domain.
    """
    loads = set(flow.loads(node.body, middle))
    own = {it.var: it for it in node.iters}
    first = next(iter(loads))
    values: dict[Var, Expr] = {}
    for index, stored in zip(first.indices, made.indices, strict=True):
        used = [v for v in own if v in free_vars(index)]
        if len(used) != 1 or used[0] in values:
            break
        values[used[0]] = stored
    if len(loads) > 1 or len(values) != len(middle.shape) or values.keys() != own.keys():
        s.refuse(
            "not_elementwise",
            f"{node.name} does not read {middle.name} at its iterators, each once",
            at=[node],
            hint=f"compute_inline of the producer of {middle.name}, or reverse_compute_at",
        )
    ctx = s.context(s.func.body)
    for index, dim in zip(first.indices, middle.shape, strict=True):
        var = next(v for v in own if v in free_vars(index))
        same = proves(ops.make("eq", own[var].extent, dim), ctx) and simplify(index) is var
        if not same:
            s.refuse(
                "other_domain",
                f"{node.name} runs over {own[var].extent!r} of the {dim!r} elements that its producer computes",
                at=[node],
                hint=f"compute_inline of the producer of {middle.name}, or reverse_compute_at",
            )
    return values


# ----------------------------------------------------------------------------------------------------- rewrite
def _inlined(consumer: Block, target: Buffer, points: list[Var], value: Expr) -> Stmt:
    """`consumer` with `value`, a function of `points`, in place of its loads of `target`."""

    def go(node: Any) -> Any:
        node = map_children(node, go)
        if isinstance(node, Load) and node.buffer is target:
            return substitute(value, dict(zip(points, node.indices, strict=True)))
        return node

    init = None if consumer.init is None else go(consumer.init)
    return consumer.replace(init=init, body=go(consumer.body))


def _with_value(expr: Expr, buffer: Buffer, value: Expr) -> Expr:
    """`expr` with `value` in place of its loads of `buffer`."""

    def go(node: Any) -> Any:
        node = map_children(node, go)
        return value if isinstance(node, Load) and node.buffer is buffer else node

    return go(expr)
