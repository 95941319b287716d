"""lower_init: the init of a reduction becomes a block of its own, before the outermost loop that reduces.

for i: for k: for j:                        for i: for j': block C.init(i, j'): C[i, j'] = 0
  block C(i, j, k: reduce):          ->            for k: for j: block C(i, j, k: reduce):
    init: C[i, j] = 0                                C[i, j] = C[i, j] + ...
    C[i, j] = C[i, j] + ...
"""

from __future__ import annotations

from tensorlang.arith.simplify import simplify
from tensorlang.arith.stages import INIT
from tensorlang.ir import ops, walk
from tensorlang.ir.nodes import PARALLEL, SERIAL, SPATIAL, Block, Expr, For, Func, If, Iter, Stmt, Var, seq
from tensorlang.passes.tools import conjuncts
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
    """`init`, that of `block`, in copies of those loops `around` it that drive its spatial iterators, and its Ifs.

    Loops that drive no iterator need no copy, but have to run at all.
    """
    inner = [outer for outer in around if isinstance(outer, For)]
    guards = [c for cond in (*(a for a in around if isinstance(a, Expr)), block.predicate) for c in conjuncts(cond)]
    spatial = [(it, b) for it, b in zip(block.iters, block.bindings, strict=True) if it.kind == SPATIAL]
    driving = frozenset[Var]().union(*(walk.free_vars(b) for _, b in spatial))
    reducing = frozenset[Var]().union(*map(walk.free_vars, _reduced(block)))
    copied = [loop for loop in inner if loop.var in driving]
    hidden = {loop.var for loop in inner} - {loop.var for loop in copied}
    guards += [simplify(loop.extent >= 1) for loop in inner if loop.var not in driving | reducing]
    renamed: dict[Var, Expr] = {loop.var: Var(f"{loop.var.name}.init") for loop in copied}
    iters = {it.var: Var(it.var.name) for it, _ in spatial}
    body: Stmt = Block(
        f"{block.name}.init",
        tuple(Iter(iters[it.var], it.extent, SPATIAL) for it, _ in spatial),
        tuple(walk.substitute(b, renamed) for _, b in spatial),
        walk.substitute(ops.all_of(c for c in guards if not walk.free_vars(c) & hidden), renamed),
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
