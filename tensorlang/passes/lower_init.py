"""lower_init: the init of a reduction becomes a block of its own, before the outermost loop that reduces.

    for i: for k: for j:                        for i: for j': block C.init(i, j'): C[i, j'] = 0
      block C(i, j, k: reduce):          ->            for k: for j: block C(i, j, k: reduce):
        init: C[i, j] = 0                                C[i, j] = C[i, j] + ...
        C[i, j] = C[i, j] + ...
"""

from __future__ import annotations

from tensorlang.ir import ops, walk
from tensorlang.ir.nodes import PARALLEL, SERIAL, SPATIAL, Block, Expr, For, Func, Iter, Stmt, Var, seq
from tensorlang.passes.tools import conjuncts
from tensorlang.target.target import Target


def lower_init(func: Func, target: Target) -> Func:
    """Every Block of the result has `init` None."""
    before: dict[Stmt, list[Stmt]] = {}  # loop or block -> the init nests that run right before it

    def go(stmt: Stmt, loops: tuple[For, ...]) -> Stmt:
        if isinstance(stmt, Block):
            fresh: Stmt = stmt
            if stmt.init is not None:
                place, inner = _place(stmt, loops)
                before.setdefault(place or stmt, []).append(_nest(stmt, stmt.init, inner))
                fresh = stmt.replace(init=None)
        else:
            inside = (*loops, stmt) if isinstance(stmt, For) else loops
            fresh = walk.map_children(stmt, lambda n: go(n, inside) if isinstance(n, Stmt) else n)
        return seq(*before.pop(stmt, ()), fresh)

    return func.with_body(go(func.body, ()))


def _place(block: Block, loops: tuple[For, ...]) -> tuple[For | None, tuple[For, ...]]:
    """The outermost loop that drives a reduction iterator of `block`, and the loops from there inwards."""
    driving = frozenset[Var]().union(
        *(walk.free_vars(b) for it, b in zip(block.iters, block.bindings, strict=True) if it.kind != SPATIAL)
    )
    for n, loop in enumerate(loops):
        if loop.var in driving:
            return loop, loops[n:]
    return None, ()


def _nest(block: Block, init: Stmt, inner: tuple[For, ...]) -> Stmt:
    """`init`, that of `block`, in copies of those `inner` loops that drive its spatial iterators."""
    spatial = [(it, b) for it, b in zip(block.iters, block.bindings, strict=True) if it.kind == SPATIAL]
    driving = frozenset[Var]().union(*(walk.free_vars(b) for _, b in spatial))
    copied = [loop for loop in inner if loop.var in driving]
    hidden = {loop.var for loop in inner} - {loop.var for loop in copied}
    renamed: dict[Var, Expr] = {loop.var: Var(f"{loop.var.name}.init") for loop in copied}
    iters = {it.var: Var(it.var.name) for it, _ in spatial}
    body: Stmt = Block(
        f"{block.name}.init",
        tuple(Iter(iters[it.var], it.extent, SPATIAL) for it, _ in spatial),
        tuple(walk.substitute(b, renamed) for _, b in spatial),
        walk.substitute(ops.all_of(c for c in conjuncts(block.predicate) if not walk.free_vars(c) & hidden), renamed),
        None,
        None,
        walk.substitute(init, iters),
    )
    for loop in reversed(copied):
        kind = SERIAL if loop.kind == PARALLEL else loop.kind  # it runs inside the region that launches nothing new
        extent = walk.substitute(loop.extent, renamed)
        body = For(renamed[loop.var], extent, kind, body, loop.annotations)
    return body
