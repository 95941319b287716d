"""From tensor expressions to a Func at the loop level: one Block for each compute, in topological order.

Here, and only here, multiplications and additions of floats become fused multiply-adds.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from tensorlang.errors import ExprError
from tensorlang.ir import dtypes, ops, walk
from tensorlang.ir.nodes import (
    SERIAL,
    TRUE,
    Alloc,
    Block,
    Buffer,
    Expr,
    For,
    Func,
    Iter,
    LetStmt,
    Load,
    Op,
    Reducer,
    Size,
    Stmt,
    Store,
    Var,
    seq,
)
from tensorlang.te import Compute, Tensor

Tensors = Tensor | Sequence[Tensor]


def create_func(outputs: Tensors, args: Sequence[Tensor] | None = None, name: str | None = None) -> Func:
    """The Func that computes `outputs`.

    Parameters are the placeholders by first use, then the outputs, or `args` in their order, which must hold all of
    them. Tensors and blocks keep their names; a name that is taken gets a number. name: that of the Func, by default
    the name of the first output. Raises ExprError if `args` does not fit, or an output is a placeholder or repeated.

    >>> tl.create_func(tl.compute((8,), lambda i: A[i, i], name="diagonal"))
    func diagonal(A: f32[8, 8]) -> diagonal: f32[8]
      for diagonal.i in 8:
        block diagonal(i = diagonal.i):
          diagonal[i] = A[i, i]
    """
    results = _results(outputs)
    computes, inputs = _topological(results)
    params = _params(inputs, results, args)
    made = [t for c in computes for t in c.tensors if t not in set(params)]
    tensor_names = Names()
    buffers: dict[Buffer, Buffer] = {t: Buffer(tensor_names.take(t.name), t.shape, t.dtype) for t in (*params, *made)}
    block_names = Names()
    body = seq(*(_nest(c, block_names.take(c.name), buffers) for c in computes))
    for tensor in reversed(made):
        body = Alloc(buffers[tensor], body)
    func = Func(name or results[0].name, tuple(buffers[t] for t in params), tuple(buffers[t] for t in results), body)
    _check_sizes(func)
    return func


class Names:
    """Gives out each name once: the second `A` becomes `A_1`."""

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def take(self, base: str) -> str:
        name, n = base, 0
        while name in self._taken:
            n += 1
            name = f"{base}_{n}"
        self._taken.add(name)
        return name


def fuse_multiply_add(expr: Expr) -> Expr:
    """`expr` with float products that are added or subtracted made into fma; of two products the left one is fused."""
    return walk.transform(expr, _fuse)


def _fuse(node: Expr) -> Expr:
    if not isinstance(node, Op) or node.op not in ("add", "sub") or not dtypes.is_float(node.dtype):
        return node
    a, b = node.args
    if isinstance(a, Op) and a.op == "mul":  # x * y + b,  x * y - b
        return ops.make("fma", *a.args, b if node.op == "add" else -b)
    if isinstance(b, Op) and b.op == "mul":  # a + x * y,  a - x * y
        x, y = b.args
        return ops.make("fma", x if node.op == "add" else -x, y, a)
    return node


def _results(outputs: Tensors) -> tuple[Tensor, ...]:
    if not isinstance(outputs, Tensor | list | tuple):
        raise ExprError(f"outputs must be Tensors, got {type(outputs).__name__}")
    results = (outputs,) if isinstance(outputs, Tensor) else tuple(outputs)
    if not results:
        raise ExprError("there is no output to compute")
    for tensor in results:
        if not isinstance(tensor, Tensor):
            raise ExprError(f"an output must be a Tensor, got {type(tensor).__name__}")
        if tensor.producer is None:
            raise ExprError(f"the output {tensor.name} is a placeholder: there is nothing to compute")
    if len(set(results)) != len(results):
        raise ExprError(f"an output is given twice in ({', '.join(t.name for t in results)})")
    return results


def _topological(results: tuple[Tensor, ...]) -> tuple[list[Compute], list[Tensor]]:
    """The computes behind `results`, producers first, and the placeholders in order of first use."""
    computes: dict[Compute, None] = {}
    inputs: dict[Tensor, None] = {}

    def go(tensor: Tensor) -> None:
        producer = tensor.producer
        if producer is None:
            inputs[tensor] = None
        elif producer not in computes:
            for read in producer.reads:
                go(read)
            computes[producer] = None

    for tensor in results:
        go(tensor)
    return list(computes), list(inputs)


def _params(inputs: list[Tensor], results: tuple[Tensor, ...], args: Sequence[Tensor] | None) -> tuple[Tensor, ...]:
    if args is None:
        return (*inputs, *results)
    params = tuple(args)
    if len(set(params)) != len(params):
        raise ExprError(f"args has a tensor twice: {', '.join(t.name for t in params)}")
    missing = [t.name for t in (*inputs, *results) if t not in params]
    if missing:
        raise ExprError(f"args lacks {', '.join(missing)}: it must hold every placeholder in use and every output")
    for tensor in params:
        if not isinstance(tensor, Tensor) or (tensor.producer is not None and tensor not in results):
            raise ExprError(f"args may hold placeholders and outputs only, got {tensor!r}")
    return params


def _check_sizes(func: Func) -> None:
    """Each size has a name of its own, and is the extent of some dimension of a parameter, where calls read it off."""
    sizes = sorted((v for v in walk.free_vars(func) if isinstance(v, Size)), key=lambda v: v.name)
    for one, other in pairwise(sizes):
        if one.name == other.name:
            raise ExprError(f"there are two sizes named {one.name}: call var once and use its result")
    known = {dim for param in func.params for dim in param.shape}
    for size in sizes:
        if size not in known:
            raise ExprError(f"the size {size.name} is not the extent of any dimension of a placeholder or output")


def _nest(rule: Compute, name: str, buffers: dict[Buffer, Buffer]) -> Stmt:
    """The loops `name.axis` around the one block that stores all tensors of `rule`."""
    reduction = rule.reduction
    axes = rule.axes + (reduction.axes if reduction is not None else ())
    names = Names()
    iters = tuple(Iter(Var(names.take(a.var.name)), a.extent, a.kind) for a in axes)
    loops = tuple(Var(f"{name}.{it.var.name}") for it in iters)
    renamed = {axis.var: it.var for axis, it in zip(axes, iters, strict=True)}
    targets = [buffers[t] for t in rule.tensors]
    point = tuple(renamed[axis.var] for axis in rule.axes)

    def localized(expr: Expr) -> Expr:
        return walk.substitute(expr, renamed, buffers)

    if reduction is None:
        init = None
        body = seq(*(_store(b, point, localized(e)) for b, e in zip(targets, rule.bodies, strict=True)))
    else:
        init = seq(*(Store(b, point, e) for b, e in zip(targets, reduction.reducer.identity, strict=True)))
        stored = [Load(b, point) for b in targets]
        body = update(stored, reduction.reducer, tuple(map(localized, reduction.sources)))
    reducer = reduction.reducer if reduction is not None else None
    stmt: Stmt = Block(name, iters, loops, TRUE, reducer, init, body)
    for loop, it in zip(reversed(loops), reversed(iters), strict=True):
        stmt = For(loop, it.extent, SERIAL, stmt)
    return stmt


def _store(buffer: Buffer, point: tuple[Expr, ...], value: Expr) -> Stmt:
    return Store(buffer, point, fuse_multiply_add(value))


def update(stored: Sequence[Load], reducer: Reducer, sources: Sequence[Expr]) -> Stmt:
    """Combine what is `stored` with `sources`; all components are computed before the first is stored."""
    values = dict(zip((*reducer.left, *reducer.right), (*stored, *sources), strict=True))
    combined = [walk.substitute(e, values) for e in reducer.combine]
    if len(stored) == 1:
        return _store(stored[0].buffer, stored[0].indices, combined[0])
    fresh = [Var(f"{place.buffer.name}.next", place.dtype) for place in stored]
    stmt = seq(*(Store(place.buffer, place.indices, v) for place, v in zip(stored, fresh, strict=True)))
    for variable, value in zip(reversed(fresh), reversed(combined), strict=True):
        stmt = LetStmt(variable, fuse_multiply_add(value), stmt)
    return stmt
