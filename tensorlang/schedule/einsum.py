"""The primitive that pads a contraction to whole tiles: pad_einsum."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from tensorlang.arith.simplify import simplify
from tensorlang.ir import dtypes, ops
from tensorlang.ir.nodes import (
    FALSE,
    ONE,
    REDUCE,
    SPATIAL,
    TRUE,
    Block,
    Buffer,
    Const,
    Expr,
    For,
    Iter,
    Load,
    Op,
    Stmt,
    Store,
    Var,
)
from tensorlang.ir.walk import find, substitute, transform
from tensorlang.schedule import checks
from tensorlang.schedule import dataflow as flow
from tensorlang.schedule.handles import BlockLike, BlockRef
from tensorlang.schedule.loops import nest
from tensorlang.schedule.primitive import primitive

if TYPE_CHECKING:
    from tensorlang.schedule.schedule import Schedule

Extents = dict[Expr, Expr]


@primitive
def pad_einsum(s: Schedule, block: BlockLike, padding: Sequence[int | Expr | None]) -> list[BlockRef]:
    """Pad the extents of a contraction to multiples of `padding`, one for each iterator; None leaves it alone.

    Operands are copied into padded buffers `<operand>.pad`, filled up with zeros; the block computes into a padded
    buffer `<buffer>.pad`, of which `<buffer>.write` copies back what counts. Its loops then divide without guards.
    Returns the blocks that copy operands, then the one that copies back, as far as they are needed. Numbers stay to
    the last bit: the first floating-point operand is filled with -0.0, so that sums get -0.0 added, which changes
    nothing.

    >>> s.pad_einsum("C", [None, 3, None])
    [Block('B.pad'), Block('C.write')]

    requires:
      1. `padding` has a factor for each iterator: ints >= 1, index expressions over knobs, or None
      2. the block adds a product of different operands to its element: C[i, j] = C[i, j] + A[i, k] * B[k, j], all
         subscripts different iterators, with an init that loads nothing
      3. no other block writes its element, and it computes each element: the subscripts are all spatial iterators
      4. every operand has each reduction iterator that grows (of integers: some operand)
      5. its loops are as they were born: each drives one iterator, they are serial, without annotations, and in no
         other loop

    rewrite, for padding [4, None]:
      for i in 10: for k in 7:                         for ...: block A.pad: A.pad[i, k] = A[i, k] if i < 10 else -0.0
        block C(i = i, k: reduce = k):                 for i in 12: for k in 7:
          C[i] = C[i] + A[i, k] * B[k]           ->      block C(i = i, k: reduce = k):
                                                           C.pad[i] = C.pad[i] + A.pad[i, k] * B[k]
                                                       for C.write.i in 10:
                                                         block C.write(i = C.write.i): C[i] = C.pad[i]
    """
    node = s.block_node(block)
    if not isinstance(padding, list) or len(padding) != len(node.iters):
        names = ", ".join(it.var.name for it in node.iters)
        s.refuse(
            "bad_padding",
            f"takes {len(node.iters)} factors, for {names}, got {padding!r}",
            at=[node],
            hint=f"[{', '.join(['None'] * len(node.iters))}], with factors in place of None",
        )
    factors = [None if p is None else checks.as_factor(s, p) for p in padding]
    store, operands = _contraction(s, node)
    whole = _own_loops(s, node)
    ctx = s.context(s.func.body)
    grown: Extents = {}
    for it, factor in zip(node.iters, factors, strict=True):
        if factor is not None:  # also where it divides, so that the program has one structure whatever knobs become
            grown[it.var] = simplify((it.extent + factor - ONE) // factor * factor, ctx)
    _zeros_vanish(s, node, operands, grown)
    made: list[str] = []
    before: list[Stmt] = []
    loads: dict[Expr, Expr] = {}
    fresh: list[Buffer] = []
    for load, zero in _zeros(operands).items():
        if any(v in grown for v in load.indices):
            target, name, copy = _padded_operand(s, node, load, zero, grown)
            loads[load] = Load(target, load.indices)
            fresh.append(target)
            made.append(name)
            before.append(copy)
    after: list[Stmt] = []
    own = store.buffer
    if any(v in grown for v in store.indices):
        own = _padded_buffer(s, store.buffer, store.indices, node, grown)
        fresh.append(own)
        name, back = _write_back(s, node, own, store)
        made.append(name)
        after.append(back)
    padded = _grown(whole, node, grown, loads, store.buffer, own)
    body = flow.splice(s.func.body, whole, *before, padded, *after)
    for buffer in fresh:
        body = flow.place_alloc(body, buffer)
    if own is not store.buffer and flow.is_private(body, store.buffer):
        body = flow.place_alloc(body, store.buffer)
    s.replace(s.func.body, body)
    return [BlockRef(s, name) for name in made]


# ------------------------------------------------------------------------------------------------ requirements
def _contraction(s: Schedule, node: Block) -> tuple[Store, list[Load]]:
    """The store and the factors of the product. Reasons: not_a_contraction, several_writers."""
    store = node.body
    if isinstance(store, Store) and node.init is not None and not any(True for _ in find(node.init, Load)):
        sum_of = _addend(store)
        factors = [] if sum_of is None else _factors(sum_of)
        spatial = {it.var for it in node.iters if it.kind == SPATIAL}
        reduced = {it.var for it in node.iters if it.kind == REDUCE}
        plain = [load for load in factors if isinstance(load, Load) and _different(load.indices, spatial | reduced)]
        whole = _different(store.indices, spatial) and set(store.indices) == spatial
        init = node.init
        same_place = isinstance(init, Store) and all(a is b for a, b in zip(init.indices, store.indices, strict=True))
        own = any(isinstance(f, Load) and f.buffer is store.buffer for f in factors)
        if factors and len(set(plain)) == len(factors) and whole and same_place and not own:
            if flow.writers(s.func.body, store.buffer) != [node]:
                s.refuse(
                    "several_writers",
                    f"another block writes {store.buffer.name}",
                    at=[node],
                    hint="this step before cuts, partitions and decompose_reduction",
                )
            return store, plain
    s.refuse(
        "not_a_contraction",
        f"{node.name} does not add a product of different elements, subscripted by iterators, to an element of its own",
        at=[node],
        hint="C[i, j] = C[i, j] + A[i, k] * B[k, j], before decompose_reduction",
    )


def _addend(store: Store) -> Expr | None:
    """What is added to the stored element, as a product; None if that is not what happens."""
    value, own = store.value, Load(store.buffer, store.indices)
    if not isinstance(value, Op) or own not in set(value.args):
        return None
    if value.op == "fma" and value.args[2] is own:
        return value.args[0] * value.args[1]
    if value.op == "add":
        return next((a for a in value.args if a is not own), None)
    return None


def _factors(expr: Expr) -> list[Expr]:
    """The factors of a product, without conversions."""
    if isinstance(expr, Op) and expr.op == "mul":
        return [f for a in expr.args for f in _factors(a)]
    return _factors(expr.args[0]) if isinstance(expr, Op) and expr.op == "cast" else [expr]


def _zeros(operands: Sequence[Load]) -> dict[Load, Expr]:
    """What each operand is padded with. Of floats, the first has -0.0: what is then added changes no zero's sign."""
    zeros: dict[Load, Expr] = {}
    floats = 0
    for load in dict.fromkeys(operands):
        dtype = load.buffer.dtype
        if dtypes.is_float(dtype):
            zeros[load] = Const(0.0 if floats else -0.0, dtype)
            floats += 1
        else:
            zeros[load] = FALSE if dtype == "bool" else ops.literal(0, dtype)
    return zeros


def _different(indices: Sequence[Expr], variables: Collection[Expr]) -> bool:
    return len(set(indices)) == len(indices) and all(i in variables for i in set(indices))


def _own_loops(s: Schedule, node: Block) -> Stmt:
    """The loops of the block, which nothing has been done to. Reasons: loops_remade, loop_kind, loop_annotated."""
    whole = flow.own_nest(s.func.body, node)
    loops = flow.loops_above(whole, node)
    extents: dict[Expr, Expr] = {n.var: n.extent for n in loops}
    fits = all(extents.get(b) is it.extent for it, b in zip(node.iters, node.bindings, strict=True))
    born = fits and len(set(node.bindings)) == len(node.iters) == len(loops) and node.predicate is TRUE
    if not born or len(flow.loops_above(s.func.body, node)) != len(loops):
        message = f"the loops of {node.name} are not one for each iterator any more"
        s.refuse("loops_remade", message, at=[node], hint="pad_einsum first, then split, compute_at ...")
    for loop in loops:
        checks.is_serial(s, loop)
        checks.has_no_annotations(s, loop)
    return whole


def _zeros_vanish(s: Schedule, node: Block, operands: Sequence[Load], grown: Extents) -> None:
    """What padding adds to a sum is a zero that changes nothing. Reason: operand_without."""
    float_sum = dtypes.is_float(next(find(node.body, Store)).buffer.dtype)
    for it in node.iters:
        if it.kind == SPATIAL or it.var not in grown:
            continue
        without = [load for load in operands if it.var not in set(load.indices)]
        if len(without) == len(operands) or (float_sum and without):
            s.refuse(
                "operand_without",
                f"{without[0]!r} does not depend on {it.var.name}: zero times it may be NaN or another zero",
                at=[node],
                hint=f"padding None for {it.var.name}",
            )
        if float_sum and not any(dtypes.is_float(load.buffer.dtype) for load in operands):
            message = f"{node.name} sums integers as floats, which has no product that adds nothing"
            s.refuse("operand_without", message, at=[node], hint=f"padding None for {it.var.name}")


# ----------------------------------------------------------------------------------------------------- rewrite
def _padded_buffer(s: Schedule, old: Buffer, indices: Sequence[Expr], node: Block, grown: Extents) -> Buffer:
    extents: Extents = {it.var: it.extent for it in node.iters}
    shape = tuple(grown.get(v, extents[v]) for v in indices)
    return Buffer(s.fresh(f"{old.name}.pad", "buffer"), shape, old.dtype, old.scope)


def _padded_operand(s: Schedule, node: Block, load: Load, zero: Expr, grown: Extents) -> tuple[Buffer, str, Stmt]:
    """The padded copy of what `load` reads, the name of the block that makes it, and its loops."""
    target = _padded_buffer(s, load.buffer, load.indices, node, grown)
    extents: Extents = {it.var: it.extent for it in node.iters}
    iters = [Iter(Var(v.name), dim) for v, dim in zip(load.indices, target.shape, strict=True)]  # type: ignore[attr-defined]
    point = tuple(it.var for it in iters)
    inside = ops.all_of(it.var < extents[v] for it, v in zip(iters, load.indices, strict=True) if v in grown)
    value = ops.make("if_then_else", inside, Load(load.buffer, point), zero)
    return target, *_looped(s, f"{load.buffer.name}.pad", iters, Store(target, point, value))


def _write_back(s: Schedule, node: Block, source: Buffer, store: Store) -> tuple[str, Stmt]:
    extents: Extents = {it.var: it.extent for it in node.iters}
    iters = [Iter(Var(v.name), extents[v]) for v in store.indices]  # type: ignore[attr-defined]
    point = tuple(it.var for it in iters)
    return _looped(s, f"{store.buffer.name}.write", iters, Store(store.buffer, point, Load(source, point)))


def _looped(s: Schedule, base: str, iters: Sequence[Iter], store: Store) -> tuple[str, Stmt]:
    """The name of a block that runs `store`, and the block in loops over its iterators."""
    name = s.fresh(base, "block")
    loops = [Var(s.fresh(f"{name}.{it.var.name}")) for it in iters]
    block = Block(name, tuple(iters), tuple(loops), TRUE, None, None, store)
    return name, nest(loops, [it.extent for it in iters], block)


def _grown(whole: Stmt, node: Block, grown: Extents, loads: dict[Expr, Expr], old: Buffer, new: Buffer) -> Stmt:
    """The nest `whole` of `node` over the grown extents, with padded buffers."""
    by_loop = {b: grown[it.var] for it, b in zip(node.iters, node.bindings, strict=True) if it.var in grown}

    def rewrite(n: object) -> object:
        if isinstance(n, Load):
            return loads.get(n, n)
        if isinstance(n, Iter):
            return Iter(n.var, grown.get(n.var, n.extent), n.kind)
        return n.replace(extent=by_loop[n.var]) if isinstance(n, For) and n.var in by_loop else n

    return substitute(transform(whole, rewrite), {}, {old: new})
