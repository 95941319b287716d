"""Primitives that make units of work out of loops: blockize, and tensorize, which gives them to an intrinsic."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from tensorlang.arith.affine import linear
from tensorlang.arith.footprint import written_box
from tensorlang.arith.simplify import simplify
from tensorlang.intrin.intrin import Intrinsic
from tensorlang.intrin.listed import listed
from tensorlang.intrin.match import Match, Mismatch, match
from tensorlang.ir.nodes import (
    ONE,
    SPATIAL,
    THREAD_AXES,
    UNROLL,
    ZERO,
    Alloc,
    Block,
    Buffer,
    Do,
    Expr,
    For,
    Iter,
    Seq,
    Size,
    Stmt,
    Var,
    seq,
)
from tensorlang.ir.ops import conjuncts, make
from tensorlang.ir.walk import free_vars, substitute
from tensorlang.schedule import checks, dependence
from tensorlang.schedule.handles import BlockLike, BlockRef, LoopLike
from tensorlang.schedule.primitive import primitive
from tensorlang.target import target as targets

if TYPE_CHECKING:
    from tensorlang.schedule.schedule import Schedule


@primitive
def blockize(s: Schedule, loop: LoopLike) -> BlockRef:
    """Make one instance of a block of all iterations of a loop; returns the block, which keeps its name.

    The loops from `loop` inwards go into the body of the block. An iterator that loops outside drive as well counts
    tiles from now on; one that none of them drives vanishes. The init goes before the loops: into the body if all
    reduction loops do, else it stays the block's init.

    >>> s.tile(["C.i", "C.j"], [4, 4])
    (Loop('C.i.0'), Loop('C.j.0'), Loop('C.i.1'), Loop('C.j.1'))
    >>> s.blockize("C.i.1")
    Block('C')

    requires:
      1. below the loop is a chain of perfectly nested loops, with one block inside
      2. these loops are serial or unrolled, and their extents depend on no loop
      3. they drive the block's iterators by sums of multiples; those that loops outside drive as well in whole tiles,
         which are not empty
      4. no guard of the block concerns them
      5. if the block has an init, each of them drives an iterator, and those that drive no reduction tell spatial
         points apart

    rewrite:
      for i0 in 8:                                 for i0 in 8:
        for i1 in 4:                           ->    block C(i = i0):
          block C(i = i0 * 4 + i1): C[i] = A[i]        for i1 in 4: C[i * 4 + i1] = A[i * 4 + i1]
    """
    return BlockRef(s, _blockize(s, s.loop_node(loop)).name)


@primitive
def tensorize(s: Schedule, loop_or_block: LoopLike | BlockLike, intrinsic: Intrinsic | str) -> BlockRef:
    """Let an intrinsic do the work of a loop or of a block's body; returns the block.

    A loop is blockized first. If the body is a sequence (an init, then an update), the part that the intrinsic does is
    replaced. intrinsic: a value, or the name of one that the target lists (tensorlang.intrin.listed) or that the
    Schedule was given.

    >>> s.reorder("C.k", "C.j")
    >>> init = s.decompose_reduction("C", "C.k")
    >>> groups, lanes = s.split("C.j", [None, 4])
    >>> s.tensorize(lanes, "fma_row4")
    Block('C')

    requires:
      1. what blockize requires, for a loop, but that it and those inside may be loops over threads
      2. `intrinsic` is an Intrinsic or the name of a known one, and the schedule's target has it
      3. body and semantics are the same statements, up to names, order of operands that commute, and where in its
         buffer each region begins; no region that is written is also another one
      4. the elements of each region lie as far apart in memory as the intrinsic needs (in a buffer that is allocated in
         loops, as lowering makes it: no larger than what an iteration uses), in memory that it can use

    rewrite:
      for i in 8:                                               for i in 8:
        for k in 4:                                        ->     block C(i = i):
          block C(i = i, k: reduce = k): C[i] = ...                 dot4(C[i], A[0], B[i, 0])
    """
    value = _known(s, intrinsic)
    found = checks.loop_or_block(s, loop_or_block)
    node = _blockize(s, found, (UNROLL, *THREAD_AXES)) if isinstance(found, For) else found
    parts = node.body.stmts if isinstance(node.body, Seq) else (node.body,)
    candidates = [node.body, *parts] if len(parts) > 1 else [node.body]
    shapes = _shapes_in_memory(s, node)
    for candidate in candidates[:-1]:
        try:
            fit = match(value, candidate, shapes)
        except Mismatch:
            continue
        return _done(s, node, candidate, value, fit)
    try:
        fit = match(value, candidates[-1], shapes)
    except Mismatch as error:
        s.refuse(
            error.reason,
            f"block {node.name} is not {value.name}: {error.message}",
            at=[node],
            hint=f"a body such as {_shown(value)}",
        )
    return _done(s, node, candidates[-1], value, fit)


def _done(s: Schedule, node: Block, part: Stmt, value: Intrinsic, fit: Match) -> BlockRef:
    fresh = Do(value, fit.args, part)
    parts = node.body.stmts if isinstance(node.body, Seq) and part is not node.body else (part,)
    s.replace(node, node.replace(body=seq(*(fresh if p is part else p for p in parts))))
    return BlockRef(s, node.name)


def _shapes_in_memory(s: Schedule, node: Block) -> dict[Buffer, tuple[Expr, ...]]:
    """The shapes of the buffers that `node` uses and that lowering makes smaller: see passes/compact.py."""
    shapes: dict[Buffer, tuple[Expr, ...]] = {}
    for alloc in (n for n in s.path(node) if isinstance(n, Alloc)):
        outer = [n for n in s.path(alloc) if isinstance(n, For)]
        box = written_box(alloc.body, alloc.buffer, outer, s.context(s.func.body)) if outer else None
        if box is not None:
            shapes[alloc.buffer] = box.extents
    return shapes


def _shown(value: Intrinsic) -> str:
    return "; ".join(line.strip() for line in repr(value.semantics.body).splitlines())


def _known(s: Schedule, intrinsic: Intrinsic | str) -> Intrinsic:
    """Reasons: unknown_intrinsic, target_lacks."""
    target = None if s.target is None else targets.of(s.target)
    known = {each.name: each for each in (*listed(), *s.intrinsics)}
    value = known.get(intrinsic) if isinstance(intrinsic, str) else intrinsic
    legal = ", ".join(name for name, each in known.items() if target is None or each.requires(target))
    if not isinstance(value, Intrinsic):
        s.refuse("unknown_intrinsic", f"there is no intrinsic {intrinsic!r}", hint=legal)
    if target is not None and not value.requires(target):
        s.refuse("target_lacks", f"the target {target.cpu} has no {value.name}", hint=legal)
    return value


# ----------------------------------------------------------------------------------------------------- blockize
def _blockize(s: Schedule, loop: For, kinds: Collection[str] = (UNROLL,)) -> Block:
    """Put the loops from `loop` inwards, serial or of one of `kinds`, into their block; returns the new block."""
    loops, node = _chain(s, loop, kinds)
    around = [n for n in s.path(node) if isinstance(n, For)]
    own, outside = ({n.var for n in around if (n in loops) is inside} for inside in (True, False))
    checks.extents_free_of(s, loops, around)
    _not_guarded(s, node, loops)
    _init_as_before(s, node, loops)
    iters: list[Iter] = []
    bindings: list[Expr] = []
    values: dict[Var, Expr] = {}
    for it, binding in zip(node.iters, node.bindings, strict=True):
        if free_vars(binding) & own and not free_vars(binding) & outside:
            values[it.var] = binding
            continue
        tile, size, rest = _tile(s, node, it, binding, loops)
        outer = Iter(Var(it.var.name), it.extent, it.kind)
        if size is not None:
            _not_empty(s, [n for n in loops if n.var in free_vars(binding)])
            _whole_tiles(s, node, it, rest, size)
            outer = Iter(outer.var, simplify(it.extent // size, s.context(loop)), it.kind)
            rest = simplify(rest // size, s.context(loop, rewriting=True))
        values[it.var] = outer.var if size is None else outer.var * size + tile
        iters.append(outer)
        bindings.append(rest)
    body = substitute(node.body, values)
    for n in reversed(loops):
        body = n.replace(body=body)
    init = None if node.init is None else _init(substitute(node.init, values), loops)
    reduces = any(it.kind != SPATIAL for it in iters)
    if init is not None and not reduces:
        body, init = seq(init, body), None
    fresh = node.replace(
        iters=tuple(iters),
        bindings=tuple(bindings),
        init=init,
        body=body,
        reducer=node.reducer if reduces else None,
    )
    s.replace(loop, fresh)
    return fresh


def _chain(s: Schedule, loop: For, kinds: Collection[str]) -> tuple[list[For], Block]:
    """The loops from `loop` inwards and the block. Reasons: not_perfectly_nested, loop_kind."""
    loops: list[For] = []
    current: Stmt = loop
    while isinstance(current, For):
        loops.append(current)
        current = current.body
    if not isinstance(current, Block):
        s.refuse(
            "not_perfectly_nested",
            f"inside loop {loops[-1].var.name} is not a single block",
            at=[loop, current],
            hint="fission first, or a loop further in",
        )
    for n in loops:
        if n.kind not in kinds:
            checks.is_serial(s, n)
    return loops, current


def _not_guarded(s: Schedule, node: Block, loops: Sequence[For]) -> None:
    """Reason: guard_inside."""
    own = {n.var for n in loops}
    for cond in conjuncts(node.predicate):
        if free_vars(cond) & own:
            s.refuse(
                "guard_inside",
                f"block {node.name} runs only where {cond!r}, so that some of its tiles are partial",
                at=[node],
                hint='factors that divide the extent, or split(..., tail="cut")',
            )


def _init_as_before(s: Schedule, node: Block, loops: Sequence[For]) -> None:
    """The init may run before all the loops. Reasons: loop_repeats, tile_may_be_empty, visits_twice."""
    if node.init is None:
        return
    for n in loops:
        if not checks.driven(n, node) and not dependence.runs_once(s, n):
            s.refuse(
                "loop_repeats",
                f"loop {n.var.name} drives no iterator of block {node.name}, whose init runs in each of its iterations",
                at=[n, node],
                hint=f"decompose_reduction({node.name}, {n.var.name}) first",
            )
        if not checks.driven(n, node):
            _not_empty(s, [n])
    reducing = [n for n in loops if checks.driven(n, node) - {SPATIAL}]
    dependence.points_apart(s, node, loops[0], [n for n in loops if n not in reducing], reducing)


def _not_empty(s: Schedule, loops: Sequence[For]) -> None:
    """Reason: tile_may_be_empty."""
    for n in loops:
        message = f"the extent of loop {n.var.name}, {n.extent!r}, may be 0"
        sized = any(isinstance(v, Size) for v in free_vars(n.extent))
        hint = f"specialize({n.extent >= 1!r}) first" if sized else ""
        s.require(n.extent >= 1, s.context(n), "tile_may_be_empty", message, at=[n], hint=hint)


def _tile(s: Schedule, node: Block, it: Iter, binding: Expr, loops: Sequence[For]) -> tuple[Expr, Expr | None, Expr]:
    """(tile, size, rest): binding = rest + tile, where the loops drive tile from 0 to size - 1; size is None if not.

    Reason: not_affine.
    """
    driving = [n for n in loops if n.var in free_vars(binding)]
    if not driving:
        return ZERO, None, binding
    ctx = s.context(node)
    form = linear(simplify(binding, ctx), [n.var for n in driving])
    strangers = {n.var for n in s.path(node) if isinstance(n, For)}
    if form is None or any(free_vars(c) & strangers for c in form[0].values()):
        s.refuse(
            "not_affine",
            f"iterator {it.var.name} of block {node.name} is not a sum of multiples of the loops inside: {binding!r}",
            at=[node],
            hint="blockize before the step that fused these loops",
        )
    coefficients, rest = form
    tile: Expr = ZERO
    last: Expr = ZERO
    for n in driving:
        factor = coefficients.get(n.var, ZERO)
        s.require(
            factor >= 0,
            ctx,
            "not_affine",
            f"{it.var.name} may count down in loop {n.var.name}",
            at=[n, node],
            hint="iterators that count upwards",
        )
        tile, last = tile + n.var * factor, last + (n.extent - 1) * factor
    size = simplify(last + ONE, ctx)
    return tile, size, simplify(rest, ctx)


def _whole_tiles(s: Schedule, node: Block, it: Iter, rest: Expr, size: Expr) -> None:
    """Reason: not_whole_tiles."""
    for whole in (make("eq", rest % size, 0), rest + size <= it.extent):
        s.require(
            whole,
            s.context(node),
            "not_whole_tiles",
            f"iterator {it.var.name} of block {node.name}, {it.extent!r} in extent, is not known to be cut into whole "
            f"tiles of {size!r}: one begins at {rest!r}",
            at=[node],
            hint="factors that divide the extent",
        )


def _init(init: Stmt, loops: Sequence[For]) -> Stmt:
    """`init` in copies of those loops that it needs."""
    for n in reversed(loops):
        if n.var in free_vars(init):
            var = Var(f"{n.var.name}.init")
            init = For(var, n.extent, n.kind, substitute(init, {n.var: var}))
    return init
