"""rfactor: a reduction loop becomes an axis of partial results, which a second block combines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from tensorlang.arith.context import Context
from tensorlang.create_func import Names, update
from tensorlang.ir.nodes import (
    ORDERED,
    REDUCE,
    SPATIAL,
    Block,
    Buffer,
    Expr,
    For,
    If,
    Iter,
    Load,
    Node,
    Reducer,
    Seq,
    Stmt,
    Store,
    Var,
    seq,
)
from tensorlang.ir.ops import all_of, conjuncts
from tensorlang.ir.walk import find, free_vars, substitute, transform
from tensorlang.schedule import checks, dependence
from tensorlang.schedule import dataflow as flow
from tensorlang.schedule.handles import BlockRef, LoopLike
from tensorlang.schedule.loops import rebind, relative
from tensorlang.schedule.primitive import primitive

if TYPE_CHECKING:
    from tensorlang.schedule.schedule import Schedule


@primitive
def rfactor(s: Schedule, loop: LoopLike, factor_axis: int = 0) -> BlockRef:
    """Keep the partial results of each iteration of a reduction loop apart, and combine them afterwards.

    Returns the new block, `C.rf`, in which the loop is spatial; it stands where the block `C` was, inside the same
    loops, and writes the buffer `C.rf`, which has an axis more: number `factor_axis`, of the loop's extent. `C` itself
    now reduces over that axis, right after the reduction loops, in copies of the loops that it needs. With several
    results (argmax), there is a buffer for each. Changes the order of the reduction: floats may round differently, and
    a reducer that is not quite commutative as declared (an argmax whose ties go to the left) may choose differently.

    >>> outer, inner = s.split("C.k", [None, 4])
    >>> s.rfactor(inner)
    Block('C.rf')

    requires:
      1. one block below the loop reduces over it, and has its init
      2. its reducer is commutative, or the loop is the outermost reduction loop
      3. init and body access each result at one place, the init stores the reducer's identity there
      4. `factor_axis` counts an axis of the new buffer; negative numbers count from the end
      5. the extent of the loop, and of the reduction loops tied to it by a binding or a guard, depends on no loop;
         the extent of the loop is not negative
      6. the loops from the outermost reduction loop inwards visit no spatial point of the block twice, and no
         condition stands between them
      7. guards that concern the loop concern reduction loops only
      8. no other block inside the outermost reduction loop uses the results

    rewrite:
      for k0 in 3:                                     alloc C.rf[4]
        for k1 in 4:                                   for k0 in 3:
          block C(k: reduce = k0 * 4 + k1)               for k1 in 4:
            where k0 * 4 + k1 < 10:               ->       block C.rf(k1 = k1, k0: reduce = k0):
            init: C[] = 0                                    init: C.rf[k1] = 0
            C[] = C[] + A[k]                                 if k0 * 4 + k1 < 10: C.rf[k1] = C.rf[k1] + A[k0 * 4 + k1]
                                                       for k1' in 4:
                                                         block C(k1: reduce = k1'):
                                                           init: C[] = 0
                                                           C[] = C[] + C.rf[k1]
    """
    at = s.loop_node(loop)
    node = _reducing_block(s, at)
    init = checks.has_init(s, node)
    around = [n for n in s.path(node) if isinstance(n, For)]
    reducing = [n for n in around if checks.driven(n, node) - {SPATIAL}]
    reducer = _reducer(s, node, at, reducing)
    results = update_places(s, node, init, reducer)
    axes = [_axis(s, place, factor_axis) for place in results]
    top = reducing[0]
    inner = around[around.index(top) :]
    _unconditional(s, top, node)
    used_by_one_block(s, top, node, results)
    split = _Factored(s, node, at, reducing)
    checks.extents_free_of(s, split.loops, around)
    checks.extents_not_negative(s, [at])
    kept = [c for c in split.kept if not free_vars(c) & {n.var for n in reducing}]
    dependence.visits_once(s, node, top, [n for n in inner if n not in reducing], reducing, kept)

    partial = [_partial_buffer(s, place, axis, at.extent) for place, axis in zip(results, axes, strict=True)]
    combining = _combining_block(node, init, at, reducer, results, partial, axes, kept)
    copied = _needed(combining, inner)
    checks.extents_free_of(s, copied, reducing)
    s.replace(node, split.block(s.fresh(f"{node.name}.rf", "block"), results, partial, axes))
    top = s.loop_node(top.var.name)
    s.replace(top, seq(top, _in_copies(s, combining, copied)))
    body = s.func.body
    for buffer in partial:
        body = flow.place_alloc(body, buffer)
    s.replace(s.func.body, body)
    return BlockRef(s, flow.writers(s.func.body, partial[0])[0].name)


# ------------------------------------------------------------------------------------------------ requirements
def _reducing_block(s: Schedule, loop: For) -> Block:
    """The block that reduces over the loop. Reasons: not_reducing, several_blocks."""
    found = [b for b in checks.blocks_below(loop) if checks.driven(loop, b) - {SPATIAL}]
    if not found:
        every = [n for n in find(s.func.body, For) if any(checks.driven(n, b) - {SPATIAL} for b in flow.blocks(n))]
        s.refuse(
            "not_reducing",
            f"no block reduces over loop {loop.var.name}",
            at=[loop],
            hint=", ".join(n.var.name for n in every) or "no loop is a reduction loop",
        )
    if len(found) > 1:
        names = " and ".join(b.name for b in found)
        s.refuse(
            "several_blocks",
            f"blocks {names} reduce over loop {loop.var.name}",
            at=[loop, *found],
            hint="fission first, so that each has a loop of its own",
        )
    return found[0]


def commutative(s: Schedule, node: Block) -> Reducer:
    """The reducer, which may combine in any order. Reason: not_commutative."""
    if node.reducer is None or not node.reducer.commutative:
        hint = "declare the reducer commutative if it is"
        s.refuse("not_commutative", f"block {node.name} combines in a fixed order", at=[node], hint=hint)
    return node.reducer


def _reducer(s: Schedule, node: Block, at: For, reducing: Sequence[For]) -> Reducer:
    """The reducer, which may combine first in each iteration of `at`, and then the results. Reason: not_commutative."""
    reducer = node.reducer
    before = [n for n in reducing[: reducing.index(at)] if not dependence.runs_once(s, n)]
    if reducer is None or (before and not reducer.commutative):
        s.refuse(
            "not_commutative",
            f"block {node.name} combines in a fixed order",
            at=[node],
            hint=f"{reducing[0].var.name}, the outermost reduction loop; or declare the reducer commutative if it is",
        )
    return reducer


def update_places(s: Schedule, node: Block, init: Stmt, reducer: Reducer) -> list[Load]:
    """Where each component of the reducer is stored. Reason: not_an_update."""
    stores = init.stmts if isinstance(init, Seq) else (init,)
    places = [Load(n.buffer, n.indices) for n in stores if isinstance(n, Store)]
    identities = [n.value for n in stores if isinstance(n, Store)]
    plain = len(stores) == len(places) == len(reducer.identity) == len({p.buffer for p in places})
    plain = plain and all(v is e for v, e in zip(identities, reducer.identity, strict=True))
    by_buffer = {p.buffer: p for p in places}
    accesses: list[Load | Store] = [*find(node.body, Store), *find(node.body, Load)]
    for access in accesses:
        place = by_buffer.get(access.buffer)
        here = place is not None and all(a is b for a, b in zip(access.indices, place.indices, strict=True))
        plain = plain and (here if place is not None else isinstance(access, Load))
    if not plain:
        s.refuse(
            "not_an_update",
            f"block {node.name} does more than to combine values by {reducer.name} into one element of each result",
            at=[node],
            hint="a block as compute makes it from a reducer, with its init",
        )
    return places


def _axis(s: Schedule, place: Load, factor_axis: int) -> int:
    """The position of the new axis, counted from the front. Reason: bad_factor_axis."""
    rank = len(place.indices)
    if not isinstance(factor_axis, int) or not -rank - 1 <= factor_axis <= rank:
        s.refuse(
            "bad_factor_axis",
            f"{place.buffer.name} has {rank} axes, so the new axis cannot be number {factor_axis!r}",
            hint=f"0 to {rank}, or -1 to {-rank - 1}",
        )
    return factor_axis % (rank + 1)


def _unconditional(s: Schedule, top: For, node: Block) -> None:
    """No condition or variable from the outermost reduction loop to the block. Reason: conditional."""
    path = s.path(node)
    between = [n for n in path[path.index(top) :] if not isinstance(n, For | Seq) and not hasattr(n, "buffer")]
    if between:
        message = f"block {node.name} stands under a condition inside its reduction loop {top.var.name}"
        s.refuse("conditional", message, at=[top, *between], hint="rfactor before the step that made the condition")


def used_by_one_block(s: Schedule, top: For, node: Block, results: Sequence[Load]) -> None:
    """The results, which are complete only after `top`, are not used inside it. Reason: used_inside."""
    own = {place.buffer for place in results}
    for other in checks.blocks_below(top):
        if other is not node and own & {*flow.stored(other), *flow.loaded(other)}:
            s.refuse(
                "used_inside",
                f"block {other.name} uses the result of {node.name} inside loop {top.var.name}, over which "
                f"{node.name} reduces",
                at=[top, other, node],
                hint=f"rfactor before {other.name} was moved into {top.var.name}",
            )


# ----------------------------------------------------------------------------------------------------- rewrite
class _Factored:
    """A reduction block in which one loop has become spatial.

    The reduction iterators that the loop drives are replaced by one iterator for each of the loops they are bound to;
    the parts of the predicate that concern these go into the body, so that the block may run for all their values.
    """

    def __init__(self, s: Schedule, node: Block, at: For, reducing: Sequence[For]):
        self.node, self.at = node, at
        conditions = conjuncts(node.predicate)
        reductions = [b for it, b in zip(node.iters, node.bindings, strict=True) if it.kind != SPATIAL]
        tied = {at.var}
        while True:  # what shares a binding or a condition with a replaced loop is replaced, too
            linked = [free_vars(e) for e in (*reductions, *conditions) if free_vars(e) & tied]
            more = tied.union(*(vs & {n.var for n in reducing} for vs in linked))
            if more == tied:
                break
            tied = more
        self.loops = [n for n in reducing if n.var in tied]
        self.kept = [c for c in conditions if not free_vars(c) & tied]
        self.moved = [c for c in conditions if free_vars(c) & tied]
        self._no_strangers(s, tied, reductions)

    def _no_strangers(self, s: Schedule, tied: set[Var], reductions: Sequence[Expr]) -> None:
        """What moves into the body speaks of replaced loops only. Reason: mixed_guard."""
        others = {n.var for n in s.path(self.node) if isinstance(n, For)} - tied
        for expr in (*self.moved, *(b for b in reductions if free_vars(b) & tied)):
            strangers = sorted(v.name for v in free_vars(expr) & others)
            if strangers:
                s.refuse(
                    "mixed_guard",
                    f"{expr!r} ties loop {self.at.var.name} to {', '.join(strangers)}, which block {self.node.name} "
                    "does not reduce over",
                    at=[self.at, self.node],
                    hint="factors that divide the extent, so that no guard is needed",
                )

    def block(self, name: str, results: Sequence[Load], partial: Sequence[Buffer], axes: Sequence[int]) -> Block:
        """The block `name`, which computes the partial results."""
        node, names = self.node, Names()
        replaced = [free_vars(b) & {n.var for n in self.loops} for b in node.bindings]
        old = [(it, b) for it, b, gone in zip(node.iters, node.bindings, replaced, strict=True) if not gone]
        for it, _ in old:
            names.take(it.var.name)
        fresh = {n.var: Var(names.take(_axis_name(n, node))) for n in self.loops}
        loops = sorted(self.loops, key=lambda n: n is not self.at)
        kind = REDUCE if node.reducer is not None and node.reducer.commutative else ORDERED
        made = [(Iter(fresh[n.var], n.extent, SPATIAL if n is self.at else kind), n.var) for n in loops]
        pairs = [made[0], *old, *made[1:]]
        bound = zip(node.iters, node.bindings, replaced, strict=True)
        values = {it.var: substitute(b, fresh) for it, b, gone in bound if gone}
        places = {p.buffer: (b, axis) for p, b, axis in zip(results, partial, axes, strict=True)}
        factor = fresh[self.at.var]

        def go(n: Node) -> Node:
            if not isinstance(n, Load | Store) or n.buffer not in places:
                return n
            buffer, axis = places[n.buffer]
            indices = (*n.indices[:axis], factor, *n.indices[axis:])
            return Load(buffer, indices) if isinstance(n, Load) else n.replace(buffer=buffer, indices=indices)

        body: Stmt = transform(substitute(node.body, values), go)
        if self.moved:
            body = If(substitute(all_of(self.moved), fresh), body)
        return Block(
            name,
            tuple(it for it, _ in pairs),
            tuple(b for _, b in pairs),
            all_of(self.kept),
            node.reducer,
            transform(node.init, go) if node.init is not None else None,
            body,
            node.annotations,
        )


def _axis_name(loop: For, node: Block) -> str:
    return _short(loop, node.name).replace(".", "_")


def _short(loop: For, block: str) -> str:
    """The name of a loop without that of the block it was made for: this one, or the one before an rfactor."""
    name = loop.var.name
    short = relative(name, block)
    return relative(name, name.split(".")[0]) if short == name else short


def _partial_buffer(s: Schedule, place: Load, axis: int, extent: Expr) -> Buffer:
    old = place.buffer
    shape = (*old.shape[:axis], extent, *old.shape[axis:])
    return Buffer(s.fresh(f"{old.name}.rf", "buffer"), shape, old.dtype, old.scope)


def _combining_block(
    node: Block,
    init: Stmt,
    at: For,
    reducer: Reducer,
    results: Sequence[Load],
    partial: Sequence[Buffer],
    axes: Sequence[int],
    conditions: Sequence[Expr],
) -> Block:
    """The block that reduces over the factor axis, still bound to the loops of the first one."""
    names = Names()
    spatial = [(it, b) for it, b in zip(node.iters, node.bindings, strict=True) if it.kind == SPATIAL]
    fresh = {it.var: Iter(Var(names.take(it.var.name)), it.extent) for it, _ in spatial}
    values = {old: it.var for old, it in fresh.items()}
    factor = Iter(Var(names.take(_axis_name(at, node))), at.extent, REDUCE if reducer.commutative else ORDERED)
    stored = [substitute(place, values) for place in results]
    sources = [
        Load(b, (*p.indices[:axis], factor.var, *p.indices[axis:]))
        for p, b, axis in zip(stored, partial, axes, strict=True)
    ]
    return node.replace(
        iters=(*fresh.values(), factor),
        bindings=(*(b for _, b in spatial), at.var),
        predicate=all_of(conditions),
        init=substitute(init, values),
        body=update(stored, reducer, sources),
    )


def _needed(block: Block, loops: Sequence[For]) -> list[For]:
    """Those of the loops (outermost first) that the block depends on, directly or through extents."""
    needed: list[For] = []
    used = set(free_vars(block))
    for loop in reversed(loops):
        if loop.var in used:
            needed.append(loop)
            used |= free_vars(loop.extent)
    return needed[::-1]


def _in_copies(s: Schedule, block: Block, loops: Sequence[For]) -> Stmt:
    """`block` in copies of `loops`, with their kinds."""
    fresh = {n.var: Var(s.fresh(f"{block.name}.{_short(n, block.name)}")) for n in loops}
    body: Stmt = rebind(block, fresh, Context())
    for n in reversed(loops):
        body = For(fresh[n.var], substitute(n.extent, fresh), n.kind, body)
    return body
