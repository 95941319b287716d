"""Copies of a part of the program, with names of their own, for the primitives that run a block in several parts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from tensorlang.arith import poly
from tensorlang.ir.evaluate import numpy_function
from tensorlang.ir.nodes import SERPENTINE, SPATIAL, Alloc, Block, Buffer, Const, Expr, For, Iter, Stmt, Var
from tensorlang.ir.walk import find, free_vars, map_children, replace_node, substitute
from tensorlang.schedule import checks

if TYPE_CHECKING:
    from tensorlang.schedule.schedule import Schedule


def duplicate(s: Schedule, stmt: Stmt, suffix: str) -> Stmt:
    """A copy of `stmt` whose loops, blocks and allocated buffers are new.

    Block `C` becomes `C.<suffix>`, its loop `C.j` becomes `C.<suffix>.j`, buffer `P` becomes `P.<suffix>`.
    """
    renamed = {b.name: s.fresh(f"{b.name}.{suffix}", "block") for b in checks.blocks_below(stmt)}

    def loop_name(name: str) -> str:
        owner = max((b for b in renamed if name.startswith(b + ".")), key=len, default=None)
        return f"{name}.{suffix}" if owner is None else renamed[owner] + name[len(owner) :]

    def go(node: Stmt, values: Mapping[Var, Expr], buffers: Mapping[Buffer, Buffer]) -> Stmt:
        if isinstance(node, For):
            var = Var(s.fresh(loop_name(node.var.name)))
            body = go(node.body, {**values, node.var: var}, buffers)
            return For(var, substitute(node.extent, values), node.kind, body, _turning(node, values))
        if isinstance(node, Alloc):
            old = node.buffer
            shape = tuple(substitute(dim, values) for dim in old.shape)
            fresh = Buffer(s.fresh(f"{old.name}.{suffix}", "buffer"), shape, old.dtype, old.scope)
            return Alloc(fresh, go(node.body, values, {**buffers, old: fresh}), node.annotations)
        if isinstance(node, Block):
            return _block(node, renamed[node.name], values, buffers)
        return map_children(
            node, lambda n: go(n, values, buffers) if isinstance(n, Stmt) else substitute(n, values, buffers)
        )

    return go(stmt, {}, {})


def _turning(loop: For, values: Mapping[Var, Expr]) -> tuple:
    """The annotations of `loop` in a copy: it turns by the copy of the loop that it turned by."""
    names = {old.name: new.name for old, new in values.items() if isinstance(new, Var)}
    return tuple((key, names.get(value, value) if key == SERPENTINE else value) for key, value in loop.annotations)


def _block(block: Block, name: str, values: Mapping[Var, Expr], buffers: Mapping[Buffer, Buffer]) -> Block:
    """`block` under another name, with iterators of its own."""
    own: dict[Var, Expr] = {it.var: Var(it.var.name) for it in block.iters}
    return block.replace(
        name=name,
        iters=tuple(Iter(own[it.var], it.extent, it.kind) for it in block.iters),  # type: ignore[arg-type]
        bindings=tuple(substitute(b, values) for b in block.bindings),
        predicate=substitute(block.predicate, values),
        init=None if block.init is None else substitute(block.init, own, buffers),
        body=substitute(block.body, own, buffers),
    )


def continued(body: Stmt, loop: For) -> Stmt:
    """`body`, that of `loop`, for iterations after the first ones: reductions over `loop` have had their init."""
    going_on = list(find(body, Block, lambda b: b.init is not None and bool(checks.driven(loop, b) - {SPATIAL})))
    for block in going_on:
        body = replace_node(body, block, block.replace(init=None))
    return body


# ------------------------------------------------------------------------------------------------ requirements
def inits_stay_whole(s: Schedule, loop: For, first: Expr) -> None:
    """The init of a reduction over `loop` covers the same elements if the loop has only its `first` iterations left.

    Reasons: mixed_iterators, extent_depends.
    """
    for block in find(loop, Block, lambda b: b.init is not None):
        kinds = checks.driven(loop, block)
        if len(kinds) > 1 and not _visits_all(loop, block, first):
            s.refuse(
                "mixed_iterators",
                f"loop {loop.var.name} drives {' and '.join(sorted(kinds))} iterators of block {block.name}, whose "
                "init cannot be left to one of the parts",
                at=[loop, block],
                hint=f"decompose_reduction({block.name}, {loop.var.name}) first",
            )
        if kinds - {SPATIAL}:
            checks.extents_free_of(s, _loops_of_init(s, loop, block), [loop])


_MOST_VISITS = 1 << 16


def _visits_all(loop: For, block: Block, first: Expr) -> bool:
    """Do the `first` iterations of the loop visit each spatial point of `block` that later ones do? Found out for
    numbers only, by trying them all."""
    if not isinstance(loop.extent, Const) or not isinstance(first, Const) or loop.extent.value > _MOST_VISITS:
        return False
    spatial = [b for it, b in zip(block.iters, block.bindings, strict=True) if it.kind == SPATIAL]
    terms = {atom for b in spatial for atom in poly.atoms(poly.poly(b)) if loop.var in free_vars(atom)}
    if any(len(free_vars(term)) > 1 for term in terms):
        return False
    every = np.arange(int(loop.extent.value))
    values = list(zip(*(v.tolist() for v in numpy_function(tuple(terms), [loop.var])(every)), strict=True))
    return set(values) == set(values[: int(first.value)])


def inits_keep_guard(s: Schedule, loop: For, body: Stmt, guard: Expr) -> None:
    """In `body`, which stands for that of `loop`, inits run under `guard` where it keeps them inside of their domain.

    An init runs under the conditions that are free of reduction loops. Reason: mixed_iterators.
    """
    before, after = checks.blocks_below(loop), checks.blocks_below(body)
    for old, block in zip(before, after, strict=True):
        if block.init is None or len(checks.driven(loop, old)) < 2:
            continue
        reducing, spatial = set[Var](), set[Var]()
        for it, binding in zip(block.iters, block.bindings, strict=True):
            (spatial if it.kind == SPATIAL else reducing).update(free_vars(binding))
        if free_vars(guard) & (reducing - spatial):
            s.refuse(
                "mixed_iterators",
                f"loop {loop.var.name} drives spatial and reduction iterators of block {block.name}, whose init would "
                f"run without the guard {guard!r}",
                at=[loop, block],
                hint=f"factors that divide, or decompose_reduction({block.name}, {loop.var.name}) first",
            )


def _loops_of_init(s: Schedule, loop: For, block: Block) -> list[For]:
    """The loops inside `loop` that decide for which elements the init of `block` runs."""
    path = s.path(block)
    found: list[For] = []
    needed = set[Var]()
    for inner in reversed(path[path.index(loop) + 1 :]):
        if isinstance(inner, For) and (inner.var in needed or not checks.driven(inner, block) - {SPATIAL}):
            found.append(inner)
            needed |= free_vars(inner.extent)
    return found
