"""The primitive that takes padding out of a block: decompose_padding."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from tensorlang.arith.affine import linear
from tensorlang.arith.simplify import simplify
from tensorlang.ir import ops
from tensorlang.ir.nodes import ONE, SPATIAL, TRUE, ZERO, Block, Expr, For, Iter, Load, Op, Stmt, Store, Var, seq
from tensorlang.ir.walk import find, free_vars, substitute
from tensorlang.schedule import checks
from tensorlang.schedule import dataflow as flow
from tensorlang.schedule.handles import BlockLike, BlockRef, LoopLike
from tensorlang.schedule.lasting import overwrites_nothing
from tensorlang.schedule.loops import open_extent, rebind, relative
from tensorlang.schedule.primitive import primitive
from tensorlang.schedule.tiles import shifted

if TYPE_CHECKING:
    from tensorlang.schedule.schedule import Schedule

Box = dict[Var, tuple[Expr | None, Expr | None]]  # from the first up to, without, the second; None: no bound


@primitive
def decompose_padding(s: Schedule, block: BlockLike, loop: LoopLike) -> BlockRef:
    """Make two of a block that stores a value inside a box and padding around it; returns the one that pads.

    Right before `loop`, a block `<block>.pad` stores the padding everywhere, in copies of the loops from `loop`
    inwards; the block itself then runs on the box only, without a condition in its body. Iterators whose loop counts
    them one by one get shorter loops; for others the box becomes part of the predicate.

    >>> x = tl.placeholder((8,), name="x")
    >>> P = tl.compute((10,), lambda i: tl.if_then_else(i < 8, x[i], 0.0), name="P")
    >>> tl.Schedule(P).decompose_padding("P", "P.i")
    Block('P.pad')

    requires:
      1. the block stores if_then_else(condition, value, padding); it reduces nothing, padding loads nothing, and
         value does not read what the block writes
      2. the condition is a conjunction of bounds of single iterators: a box
      3. `loop` is around the block, with only loops between them
      4. the loops from `loop` inwards are serial and have no annotations
      5. the block writes each element at one point only

    rewrite:
      for i in 12:                                       for P.pad.i in 12:
        block P(i = i):                                    block P.pad(i = P.pad.i): P[i] = 0
          P[i] = if_then_else(1 <= i < 11,         ->    for i in 10:
                              A[i - 1], 0)                 block P(i = i + 1): P[i] = A[i - 1]
    """
    node, at = s.block_node(block), s.loop_node(loop)
    store, cond, value, padding = _padded_store(s, node)
    box = _box(s, node, cond)
    checks.encloses(s, at, node)
    chain = _chain(s, at, node)
    for own_loop in chain:
        checks.is_serial(s, own_loop)
        checks.has_no_annotations(s, own_loop)
    overwrites_nothing(s, node)
    name, fill = _copied(s, chain, node, store.replace(value=padding))
    rest = _narrowed(s, chain, node, node.replace(body=store.replace(value=value)), box)
    s.replace(at, seq(fill, rest))
    return BlockRef(s, name)


class _Padded(NamedTuple):
    store: Store
    cond: Expr
    value: Expr
    padding: Expr


def _padded_store(s: Schedule, node: Block) -> _Padded:
    """Reason: not_padded."""
    store = node.body
    plain = isinstance(store, Store) and node.init is None and all(it.kind == SPATIAL for it in node.iters)
    value = store.value if isinstance(store, Store) else None
    if not plain or not isinstance(value, Op) or value.op != "if_then_else" or _loads(value.args[2]):
        s.refuse(
            "not_padded",
            f"{node.name} does not store if_then_else(condition, value, padding), with padding that loads nothing",
            at=[node],
            hint="if_then_else(condition, value, 0.0) as the whole right side",
        )
    if any(load.buffer in flow.stored(node) for load in find(value, Load)):
        s.refuse(
            "not_padded",
            f"{node.name} reads what it writes",
            at=[node],
            hint="a block that stores into a buffer of its own",
        )
    return _Padded(store, *value.args)  # type: ignore[arg-type]


def _loads(expr: Expr) -> bool:
    return any(True for _ in find(expr, Load))


def _box(s: Schedule, node: Block, cond: Expr) -> Box:
    """The bounds that `cond` gives the iterators. Reason: not_a_box."""
    box: Box = {}
    own = {it.var for it in node.iters}
    for part in ops.conjuncts(cond) or [cond]:
        bound = _bound(part, own)
        if bound is None:
            message = f"{part!r} does not bound a single iterator of {node.name}"
            s.refuse("not_a_box", message, at=[node, part], hint="conditions such as i >= 1 and i < n + 1")
        var, low, high = bound
        a, b = box.get(var, (None, None))
        box[var] = (_tighter("max", a, low), _tighter("min", b, high))
    return box


def _tighter(op: str, a: Expr | None, b: Expr | None) -> Expr | None:
    return b if a is None else a if b is None else simplify(ops.make(op, a, b))


def _bound(cond: Expr, own: set[Var]) -> tuple[Var, Expr | None, Expr | None] | None:
    """(v, low, high) if `cond` says low <= v < high for one variable of `own`; one of the bounds is None."""
    if not isinstance(cond, Op) or cond.op not in ("lt", "le", "gt", "ge") or cond.args[0].dtype != "index":
        return None
    less, more = cond.args if cond.op in ("lt", "le") else reversed(cond.args)
    gap = simplify(more - less - (ONE if cond.op in ("lt", "gt") else ZERO))  # the condition is gap >= 0
    used = [v for v in free_vars(gap) if v in own]
    form = linear(gap, used) if len(used) == 1 and not _loads(gap) else None
    if form is None:
        return None
    sign = simplify(form[0][used[0]])
    if sign is ONE:
        return used[0], simplify(ZERO - form[1]), None
    return (used[0], None, simplify(form[1] + ONE)) if simplify(ZERO - sign) is ONE else None


def _chain(s: Schedule, at: For, node: Block) -> list[For]:
    """The loops from `at` to `node`, between which nothing else stands. Reason: not_perfectly_nested."""
    chain: list[For] = []
    stmt: Stmt = at
    while isinstance(stmt, For):
        chain.append(stmt)
        stmt = stmt.body
    if stmt is not node:
        own = flow.own_nest(s.func.body, node)
        hint = own.var.name if isinstance(own, For) else "no loop"
        message = f"there is more than block {node.name} inside loop {at.var.name}"
        s.refuse("not_perfectly_nested", message, at=[at, node], hint=hint)
    return chain


def _copied(s: Schedule, chain: Sequence[For], node: Block, store: Store) -> tuple[str, Stmt]:
    """`store` as a block of its own, the name of which comes first, in copies of the loops around `node`."""
    name = s.fresh(f"{node.name}.pad", "block")
    iters: dict[Var, Var] = {it.var: Var(it.var.name) for it in node.iters}
    loops: dict[Var, Var] = {n.var: Var(s.fresh(f"{name}.{relative(n.var.name, node.name)}")) for n in chain}
    body: Stmt = node.replace(
        name=name,
        iters=tuple(Iter(iters[it.var], it.extent, it.kind) for it in node.iters),
        bindings=tuple(substitute(b, loops) for b in node.bindings),
        predicate=substitute(node.predicate, loops),
        body=substitute(store, iters),
        annotations=(),
    )
    for loop in reversed(chain):
        body = For(loops[loop.var], substitute(loop.extent, loops), loop.kind, body)
    return name, body


def _narrowed(s: Schedule, chain: Sequence[For], node: Block, fresh: Block, box: Box) -> Stmt:
    """The loops around `fresh`, which takes the place of `node`, on no more than `box`."""
    variables = {n.var for n in chain}
    extents = {n.var: n.extent for n in chain}
    starts: dict[Var, Expr] = {}
    guard: Expr = TRUE
    ctx = s.context(node)
    for it, binding in zip(node.iters, node.bindings, strict=True):
        low, high = box.get(it.var, (None, None))
        plain = shifted(binding, variables)
        others = [b for b in node.bindings if b is not binding]
        if plain is None or any(plain[0] in free_vars(e) for e in (*others, *extents.values())):
            for bound, holds in ((low, "ge"), (high, "lt")):
                guard = guard if bound is None else guard & ops.make(holds, binding, bound)
            continue
        var, start = plain
        first = start if low is None else ops.make("max", start, low)
        end = start + extents[var] if high is None else ops.make("min", start + extents[var], high)
        starts[var], extents[var] = simplify(first - start, ctx), simplify(end - first, ctx)
    around = s.context(chain[0], rewriting=True)
    for loop in chain:
        around = around.bind(loop.var, open_extent(extents[loop.var], around))
    body = rebind(fresh, {var: var + by for var, by in starts.items()}, around)
    if guard is not TRUE:
        moved = substitute(guard, {var: var + by for var, by in starts.items()})
        body = body.replace(predicate=simplify(ops.make("and", body.predicate, moved), around))  # type: ignore[attr-defined]
    for loop in reversed(chain):
        body = loop.replace(extent=extents[loop.var], body=body)
    return body
