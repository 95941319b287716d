"""The primitive that lays out a buffer in another way: transform_layout."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tensorlang.arith.affine import injective
from tensorlang.arith.bounds import bounds
from tensorlang.arith.context import Context
from tensorlang.arith.footprint import bind_all, read_box
from tensorlang.arith.prove import proves
from tensorlang.arith.simplify import simplify
from tensorlang.errors import ExprError
from tensorlang.ir import ops
from tensorlang.ir.nodes import (
    ONE,
    SPATIAL,
    TRUE,
    ZERO,
    Alloc,
    Block,
    Buffer,
    Expr,
    Iter,
    Load,
    Op,
    Stmt,
    Store,
    Var,
    seq,
)
from tensorlang.ir.walk import find, map_children, replace_node, substitute, touched
from tensorlang.schedule import dataflow as flow
from tensorlang.schedule.handles import BlockRef
from tensorlang.schedule.index_map import IndexMap
from tensorlang.schedule.move import is_remakeable, regenerate
from tensorlang.schedule.primitive import primitive
from tensorlang.schedule.storage import buffer_of
from tensorlang.schedule.tiles import needed_ranges

if TYPE_CHECKING:
    from tensorlang.schedule.schedule import Schedule


@primitive
def transform_layout(
    s: Schedule,
    buffer: Buffer | BlockRef | str,
    index_map: IndexMap | Callable[..., Any],
    pad_value: int | float | None = None,
) -> None:
    """Store element `indices` of a buffer at `index_map(*indices)`; the new shape is the box that holds all of them.

    buffer: its name, or the block that writes it. index_map: a function from the old indices to the new ones, as in
    `lambda k, j: (j // 16, k, j % 16)`, which packs panels of 16 columns; x % c gives a dimension of c elements.
    Elements of the new box that hold no old element are padding: never read, and unspecified unless `pad_value` is
    given. With it, a block that computes each element on its own runs over the new dimensions and writes padding too;
    for others, a block `<buffer>.pad` fills the buffer first.

    >>> copy = s.cache_read("C", "B", "packed")
    >>> s.transform_layout(copy, lambda k, j: (j // 4, k, j % 4))
    >>> s.buffers()["B.packed"]
    B.packed: f32[2, 8, 4] in packed

    requires:
      1. the buffer is not a parameter
      2. the map takes one index for each dimension, and gives at least one
      3. no two elements get the same place, and no new index is negative
      4. neither storage_align nor rolling_buffer has spoken of its axes
      5. `pad_value` fits the dtype

    rewrite, for (j) -> (j // 4, j % 4):
      alloc P: f32[10]                       alloc P: f32[3, 4]
      for j in 10:                           for j in 10:
        block P(j = j): P[j] = ...     ->      block P(j = j): P[j // 4, j % 4] = ...
    """
    old = buffer_of(s, buffer)
    root = s.func.body
    if not flow.is_private(root, old):
        s.refuse(
            "parameter_layout",
            f"{old.name} is a parameter, whose layout callers see",
            hint=f"cache_read or cache_write {old.name}, then transform_layout of the copy",
        )
    _axes_are_free(s, old)
    layout = _checked_map(s, old, index_map)
    new = Buffer(old.name, _shape(s, old, layout), old.dtype, old.scope)
    body = _relaid(root, old, new, layout)
    if pad_value is not None:
        body = _padded(s, body, old, new, layout, _literal(s, pad_value, old.dtype))
    s.replace(root, body)


# ------------------------------------------------------------------------------------------------ requirements
def _axes_are_free(s: Schedule, buffer: Buffer) -> None:
    """Reason: storage_fixed."""
    alloc = next(find(s.func.body, Alloc, lambda a: a.buffer is buffer))
    said = [key for key, _ in alloc.annotations if key in (flow.ALIGN, flow.FOLD)]
    if said:
        message = f"the storage of {buffer.name} is fixed axis by axis already: {', '.join(said)}"
        s.refuse("storage_fixed", message, at=[alloc], hint="transform_layout before storage_align, rolling_buffer")


def _checked_map(s: Schedule, buffer: Buffer, index_map: Any) -> IndexMap:
    """The map, whose results are simplified. Reasons: index_map, not_injective."""
    if not isinstance(index_map, IndexMap):
        s.refuse("index_map", f"{index_map!r} is not a function of indices", hint="lambda i, j: (j // 16, i, j % 16)")
    rank = len(buffer.shape)
    if len(index_map.vars) != rank or not index_map.exprs:
        s.refuse(
            "index_map",
            f"{buffer.name} has {rank} dimensions, {index_map!r} takes {len(index_map.vars)}",
            hint=f"a function of {rank} indices that returns at least one",
        )
    ctx = s.context(s.func.body)
    pairs = list(zip(index_map.vars, buffer.shape, strict=True))
    inner = _bound(ctx, pairs)
    layout = IndexMap(index_map.vars, [simplify(e, inner) for e in index_map.exprs])
    if not injective(layout.exprs, pairs, ctx):
        message = f"{layout!r} is not known to give each element of {buffer.name} a place of its own"
        s.refuse("not_injective", message, hint="a map that loses nothing: i // 4 and i % 4 together, or i itself")
    return layout


def _shape(s: Schedule, buffer: Buffer, layout: IndexMap) -> tuple[Expr, ...]:
    """The extents that hold all results of `layout`. Reason: index_map."""
    outside = s.context(s.func.body)
    ctx = _bound(outside, list(zip(layout.vars, buffer.shape, strict=True)))
    shape: list[Expr] = []
    for expr in layout.exprs:
        low, high = bounds(expr, ctx)
        if low is None or high is None:
            s.refuse(
                "index_map",
                f"{expr!r} has no known bounds",
                hint="sums, products with constants, // and % of the indices",
            )
        s.require(low >= ZERO, ctx, "index_map", f"{expr!r} may be negative", hint="indices that start at 0")
        extent = expr.args[1] if isinstance(expr, Op) and expr.op == "mod" else simplify(high + ONE)
        # the last place of a buffer without elements is not the last of anything
        shape.append(extent if proves(extent >= ZERO, outside) else simplify(ops.make("max", extent, ZERO), outside))
    return tuple(shape)


def _literal(s: Schedule, value: int | float, dtype: str) -> Expr:
    """Reason: bad_pad_value."""
    try:
        return ops.literal(value, dtype)
    except ExprError as error:
        s.refuse("bad_pad_value", str(error), hint=f"a {dtype} number")


# ----------------------------------------------------------------------------------------------------- rewrite
def _bound(ctx: Context, pairs: Sequence[tuple[Var, Expr]]) -> Context:
    for var, extent in pairs:
        ctx = ctx.bind(var, extent)
    return ctx


def _relaid(root: Stmt, old: Buffer, new: Buffer, layout: IndexMap) -> Stmt:
    """`root` with `new` in place of `old`."""

    def go(node: Any, ctx: Context) -> Any:
        if not isinstance(node, Alloc) and old not in touched(node):
            return node
        if isinstance(node, Block):
            ctx = _bound(ctx, [(it.var, it.extent) for it in node.iters])
        node = map_children(node, lambda child: go(child, ctx))
        if not isinstance(node, Load | Store | Alloc) or node.buffer is not old:
            return node
        if isinstance(node, Alloc):
            return node.replace(buffer=new)
        indices = tuple(simplify(i, ctx) for i in layout(*node.indices))
        return Load(new, indices, node.mask) if isinstance(node, Load) else node.replace(buffer=new, indices=indices)

    return go(root, Context())


def _padded(s: Schedule, body: Stmt, old: Buffer, new: Buffer, layout: IndexMap, pad: Expr) -> Stmt:
    """`body`, in which `new` is laid out already, with its padding written."""
    writer = flow.writers(body, new)[-1]
    fresh = _over_new_dimensions(writer, old, new, layout, pad)
    whole = flow.own_nest(body, writer)
    outer = flow.loops_above(body, whole)
    ctx = s.context(s.func.body)
    inside = not outer or all(r in flow.blocks(outer[-1]) for r in flow.readers(body, new))
    if fresh is not None and inside and len(flow.writers(body, new)) == 1:
        is_remakeable(s, s.block_node(writer.name))
        box = read_box(flow.drop_alloc(outer[-1].body, new), new, outer, ctx) if outer else None
        ranges = needed_ranges(fresh, {new: box} if box else {}, bind_all(ctx, outer))
        return replace_node(body, whole, regenerate(s, fresh, ranges, outer, ctx))
    alloc = next(find(body, Alloc, lambda a: a.buffer is new))
    outer = flow.loops_above(body, alloc)
    box = read_box(alloc.body, new, outer, ctx) if outer else None
    fill = _fill(s, new, pad)
    ranges = needed_ranges(fill, {new: box} if box else {}, bind_all(ctx, outer))
    return replace_node(body, alloc, alloc.replace(body=seq(regenerate(s, fill, ranges, outer, ctx), alloc.body)))


def _over_new_dimensions(writer: Block, old: Buffer, new: Buffer, layout: IndexMap, pad: Expr) -> Block | None:
    """`writer` with the indices of `new` as iterators, and `pad` where they hold no element of `old`; None if it
    does more than to compute one element from its indices, or if the layout has no known inverse."""
    store = writer.body
    if not isinstance(store, Store) or writer.init is not None or any(it.kind != SPATIAL for it in writer.iters):
        return None
    own = {it.var for it in writer.iters}
    points = [next((v for v in own if simplify(e) is v), None) for e in _old_indices(store, layout)]
    if len(points) != len(own) or set(points) != own:
        return None
    names = _names(layout)
    iters = tuple(Iter(Var(name), dim) for name, dim in zip(names, new.shape, strict=True))
    values = inverse(layout, [it.var for it in iters])
    if values is None:
        return None
    replaced = {v: values[index] for v, index in zip(points, layout.vars, strict=True) if v is not None}
    domain = _bound(Context(), [(it.var, it.extent) for it in iters])
    holds = [simplify(values[v] < dim, domain) for v, dim in zip(layout.vars, old.shape, strict=True)]
    value = ops.make("if_then_else", ops.all_of(holds), substitute(store.value, replaced), pad)
    body = Store(new, tuple(it.var for it in iters), value)
    return writer.replace(iters=iters, bindings=tuple(it.var for it in iters), predicate=TRUE, body=body)


def _old_indices(store: Store, layout: IndexMap) -> list[Expr]:
    """What `layout` was applied to, to give the indices of `store`; empty if that cannot be read off."""
    values = inverse(layout, store.indices)
    return [] if values is None else [simplify(values[v]) for v in layout.vars]


def inverse(layout: IndexMap, results: Sequence[Expr]) -> Mapping[Var, Expr] | None:
    """The index variables of `layout` in terms of its `results`; None if that is not known.

    Known: an index that is a result, and x = (x // c) * c + x % c. Example: (k, j) -> (j // 4, k, j % 4) has the
    inverse k = results[1], j = results[0] * 4 + results[2].
    """
    given = dict(zip(layout.exprs, results, strict=True))
    found: dict[Var, Expr] = {}
    for var in layout.vars:
        value = _recover(var, given, set())
        if value is None:
            return None
        found[var] = value
    return found


def _recover(expr: Expr, given: Mapping[Expr, Expr], tried: set[Expr]) -> Expr | None:
    """The value of `expr` from the values that `given` has for others."""
    if expr in given:
        return given[expr]
    divisors = [e.args[1] for e in given if isinstance(e, Op) and e.op == "mod" and e.args[0] is expr]
    for divisor in divisors:
        quotient = simplify(expr // divisor)
        if quotient in tried:
            continue
        high = _recover(quotient, given, tried | {quotient})
        if high is not None:
            return high * divisor + given[simplify(expr % divisor)]
    return None


def _names(layout: IndexMap) -> list[str]:
    """Names for the new dimensions: j for j, j.0 and j.1 for what else depends on j alone, else ax0, ax1 ..."""
    names: list[str] = []
    for dim, expr in enumerate(layout.exprs):
        own = [v for v in layout.vars if any(n is v for n in find(expr, Var))]
        if len(own) != 1:
            names.append(f"ax{dim}")
        elif expr is own[0]:
            names.append(own[0].name)
        else:
            names.append(f"{own[0].name}.{sum(n.startswith(own[0].name + '.') for n in names)}")
    return names


def _fill(s: Schedule, buffer: Buffer, value: Expr) -> Block:
    """A block, as yet without loops, that stores `value` everywhere in `buffer`."""
    name = s.fresh(f"{buffer.name}.pad", "block")
    iters = tuple(Iter(Var(f"ax{n}"), dim) for n, dim in enumerate(buffer.shape))
    point = tuple(it.var for it in iters)
    return Block(name, iters, point, TRUE, None, None, Store(buffer, point, value))
