"""lower_init: the init of a reduction becomes a block of its own, before the outermost loop that reduces.

for i: for k: for j:                        for i: for j': block C.init(i, j'): C[i, j'] = 0
  block C(i, j, k: reduce):          ->            for k: for j: block C(i, j, k: reduce):
    init: C[i, j] = 0                                C[i, j] = C[i, j] + ...
    C[i, j] = C[i, j] + ...
"""

from __future__ import annotations

from collections.abc import Sequence

from tensorlang.arith.simplify import simplify
from tensorlang.arith.stages import INIT
from tensorlang.ir import ops, walk
from tensorlang.ir.nodes import PARALLEL, SERIAL, SPATIAL, TRUE, Block, Expr, For, Func, If, Iter, Stmt, Var, seq
from tensorlang.target.target import Target

Around = tuple[For | Expr, ...]  # the loops around a statement and the conditions of the Ifs, outermost first


def lower_init(func: Func, target: Target) -> Func:
    """Every Block of the result has `init` None."""
    before: dict[Stmt, list[Stmt]] = {}  # loop or block -> the init nests that run right before it

    def go(stmt: Stmt, around: Around) -> Stmt:
        if isinstance(stmt, Block):
            fresh: Stmt = stmt
            if stmt.init is not None:
                place, inner = _place(stmt, around)
                before.setdefault(place or stmt, []).append(_nest(stmt, stmt.init, inner))
                fresh = stmt.replace(init=None)
        elif isinstance(stmt, If):
            orelse = None if stmt.orelse is None else go(stmt.orelse, (*around, ops.make("not", stmt.cond)))
            fresh = stmt.replace(then=go(stmt.then, (*around, stmt.cond)), orelse=orelse)
        else:
            inside = (*around, stmt) if isinstance(stmt, For) else around
            fresh = walk.map_children(stmt, lambda n: go(n, inside) if isinstance(n, Stmt) else n)
        return seq(*before.pop(stmt, ()), fresh)

    return func.with_body(go(func.body, ()))


def _place(block: Block, around: Around) -> tuple[For | None, Around]:
    """The outermost loop that drives a reduction iterator of `block`, and what is around it from there inwards."""
    driving = frozenset[Var]().union(*map(walk.free_vars, _reduced(block)))
    for n, outer in enumerate(around):
        if isinstance(outer, For) and outer.var in driving:
            return outer, around[n:]
    return None, ()


def _reduced(block: Block) -> list[Expr]:
    """The values of the iterators that reduce."""
    return [b for it, b in zip(block.iters, block.bindings, strict=True) if it.kind != SPATIAL]


def _nest(block: Block, init: Stmt, around: Around) -> Stmt:
    """`init`, that of `block`, in copies of those loops `around` it that have a say in where and whether it runs."""
    spatial = [(it, b) for it, b in zip(block.iters, block.bindings, strict=True) if it.kind == SPATIAL]
    hidden = _hidden(block, around)
    conds = (*(a for a in around if isinstance(a, Expr)), block.predicate)
    guards = [c for cond in conds for c in ops.conjuncts(cond) if not walk.free_vars(c) & hidden]
    copied = _copied(around, hidden, (*(b for _, b in spatial), *guards))
    renamed: dict[Var, Expr] = {loop.var: Var(f"{loop.var.name}.init") for loop in copied}
    iters = {it.var: Var(it.var.name) for it, _ in spatial}
    body: Stmt = Block(
        f"{block.name}.init",
        tuple(Iter(iters[it.var], it.extent, SPATIAL) for it, _ in spatial),
        tuple(walk.substitute(b, renamed) for _, b in spatial),
        walk.substitute(ops.all_of(guards), renamed),
        None,
        None,
        walk.substitute(init, iters),
        ((INIT, True),),
    )
    for loop in reversed(copied):
        kind = SERIAL if loop.kind == PARALLEL else loop.kind  # it runs inside the region that launches nothing new
        extent = walk.substitute(loop.extent, renamed)
        body = For(renamed[loop.var], extent, kind, body, loop.annotations)
    return body


def _hidden(block: Block, around: Around) -> set[Var]:
    """The variables of the reduction loops `around` the block, over which its init does not run."""
    reducing = frozenset[Var]().union(*map(walk.free_vars, _reduced(block)))
    spatial = set[Var]()
    for it, binding in zip(block.iters, block.bindings, strict=True):
        spatial |= walk.free_vars(binding) if it.kind == SPATIAL else frozenset()
    loops = [n for n in around if isinstance(n, For)]
    for loop in reversed(loops):
        if loop.var not in reducing or loop.var in spatial:
            spatial |= walk.free_vars(loop.extent)
    return {loop.var for loop in loops} & reducing - spatial


def _copied(around: Around, hidden: set[Var], init: Sequence[Expr]) -> list[For]:
    """The loops that `init` depends on, directly or through extents, and those that may run nothing."""
    copied: list[For] = []
    needed = set[Var]().union(*map(walk.free_vars, init))
    for loop in reversed([n for n in around if isinstance(n, For) and n.var not in hidden]):
        if loop.var in needed or simplify(loop.extent >= 1) is not TRUE:
            copied.append(loop)
            needed |= walk.free_vars(loop.extent)
    return copied[::-1]
