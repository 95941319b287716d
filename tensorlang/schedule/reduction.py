"""Primitives for reductions: decompose_reduction and atomic."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from tensorlang.arith.context import Context
from tensorlang.arith.simplify import simplify
from tensorlang.ir.launch import ATOMIC, update_of
from tensorlang.ir.nodes import SPATIAL, Block, Do, Expr, For, Iter, Stmt, Store, Var, seq
from tensorlang.ir.ops import all_of, make
from tensorlang.ir.walk import free_vars, substitute
from tensorlang.schedule import checks, dependence, lasting, rfactor
from tensorlang.schedule.handles import BlockLike, BlockRef, LoopLike
from tensorlang.schedule.loops import rebind, relative
from tensorlang.schedule.primitive import primitive

if TYPE_CHECKING:
    from tensorlang.schedule.schedule import Schedule


@primitive
def decompose_reduction(s: Schedule, block: BlockLike, loop: LoopLike) -> BlockRef:
    """Turn the init of a reduction into a block of its own, right before `loop`; returns that block.

    The loops from `loop` inwards that the init needs are copied, with their kinds. Where reduction loops remain
    outside, the init runs in their first iteration.

    >>> s.decompose_reduction("C", "C.k")
    Block('C.init')

    requires:
      1. the block has an init
      2. `loop` is around the block
      3. the reduction loops outside `loop` run at least once
      4. the other loops from `loop` inwards visit no spatial point of the block twice
      5. the extents of the copied loops do not depend on reduction loops
      6. the buffers that the init writes are not allocated inside `loop`
      7. other blocks that write them, inside `loop` or the outermost loop that reduces, store into other elements, or
         after both places of the init, each iteration that comes between the two into elements of its own

    rewrite:
      for i in n:                                for i in n:
        for k in m:                                block C.init(x = i):
          block C(x = i, k: reduce = k):     ->      C[x] = 0
            init: C[x] = 0                         for k in m:
            C[x] = C[x] + A[x, k]                    block C(x = i, k: reduce = k):
                                                       C[x] = C[x] + A[x, k]
    """
    node, at = s.block_node(block), s.loop_node(loop)
    init_body = checks.has_init(s, node)
    checks.encloses(s, at, node)
    checks.not_allocated_inside(s, at, node)
    around = [n for n in s.path(node) if isinstance(n, For)]
    reducing = [n for n in around if checks.driven(n, node) - {SPATIAL}]
    depth = around.index(at)
    outer = [n for n in reducing if n in around[:depth]]
    checks.runs_at_least_once(s, outer, node)
    inner = [n for n in around[depth:] if n not in reducing]
    idle = [simplify(n.extent >= 1, s.context(n)) for n in inner if not checks.driven(n, node)]
    kept = [*dependence.conditions_of_init(s, node, at, reducing), *idle]
    dependence.visits_once(s, node, at, inner, reducing, kept)
    lasting.init_alone(s, node, init_body, at)
    init = _init_block(s, node, init_body, [*(make("eq", n.var, 0) for n in outer), *kept])
    nest = _copied_loops(init, inner)
    checks.extents_free_of(s, inner, reducing)
    fresh = {n.var: Var(s.fresh(f"{init.name}.{relative(n.var.name, node.name)}")) for n in nest}
    body: Stmt = rebind(init, fresh, Context())
    for n in reversed(nest):
        body = For(fresh[n.var], substitute(n.extent, fresh), n.kind, body)
    s.replace(node, node.replace(init=None))
    at = s.loop_node(loop)
    s.replace(at, seq(body, at))
    return BlockRef(s, init.name)


@primitive
def atomic(s: Schedule, block: BlockLike) -> None:
    """Let memory itself do the updates of a reduction, one at a time, in any order: then loops over which it reduces
    may be parallel, or bound to the blocks and threads of a GPU, and nothing combines partial results.

    Sums of floats depend on the order in which threads come, so they may round differently from one run to the next.
    Products are added as fused multiply-adds, which memory does not do: rfactor makes partial sums, which it adds.
    Of memory of scope local, each thread has its own: there, loops that reduce are refused as without this step.

    >>> k0, _ = s.split("C.k", [None, 4])
    >>> s.reorder(k0, "C.i", "C.j")
    >>> partial = s.rfactor(k0)
    >>> k0 = s.loops("C")[0]
    >>> init = s.decompose_reduction("C", k0)
    >>> s.atomic("C")
    >>> s.parallel(k0)

    requires (4 for as long as the block lives: every later step is held to it):
      1. the block has no init: it is a block of its own, which runs before
      2. its reducer is commutative
      3. it does one store, C[x] = C[x] + e, or min or max in place of +; e reads no C, elements of C are of 32 or 64
         bits, and for min and max integers
      4. no vectorize loop is around it

    rewrite:
      for k in m:                                for k in m:
        block C(x = i, k: reduce = k):     ->      block C(x = i, k: reduce = k):
          C[x] = C[x] + A[x, k]                      atomic C[x] = C[x] + A[x, k]
    """
    node = s.block_node(block)
    if node.init is not None:
        loops = [n.name for n in s.loops(node.name)]
        hint = f'decompose_reduction("{node.name}", "{loops[0]}")' if loops else "a block with a loop"
        s.refuse("has_init", f"the init of block {node.name} would run among its updates", at=[node], hint=hint)
    rfactor.commutative(s, node)
    store = node.body
    if not isinstance(store, Store) or update_of(store) is None:
        s.refuse(
            "not_atomic",
            f"block {node.name} does not update one element in a way that memory can: {node.body!r}",
            at=[node],
            hint="C[x] + e of 32 or 64 bits, or min or max of integers; rfactor first, to add partial sums of products",
        )
    s.replace(node, node.replace(body=Do(ATOMIC, (), store)))


def _init_block(s: Schedule, node: Block, init: Stmt, conditions: Sequence[Expr]) -> Block:
    """The init as a block over the spatial iterators, still bound to the loops of the reduction itself."""
    pairs = [(it, b) for it, b in zip(node.iters, node.bindings, strict=True) if it.kind == SPATIAL]
    iters = {it.var: Iter(Var(it.var.name), it.extent) for it, _ in pairs}
    body = substitute(init, {old: it.var for old, it in iters.items()})
    bindings = tuple(b for _, b in pairs)
    name = s.fresh(f"{node.name}.init", "block")
    return Block(name, tuple(iters.values()), bindings, all_of(conditions), None, None, body)


def _copied_loops(init: Block, inner: Sequence[For]) -> list[For]:
    """The loops of `inner` (outermost first) that the init depends on, directly or through extents."""
    needed: list[For] = []
    used = set(free_vars(init))
    for loop in reversed(inner):
        if loop.var in used:
            needed.append(loop)
            used |= free_vars(loop.extent)
    return needed[::-1]
