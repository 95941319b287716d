"""The te evaluator: tensor expressions computed with NumPy on whole index grids.

It shares nothing with create_func, schedules and lowering but the expressions and the NumPy column of the table of
ops, so it is the reference that all of them are tested against. Differences to the exact definition: products and
sums of floats are rounded one by one (no fma), and the math functions are NumPy's, in float64 and then rounded.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from tensorlang.errors import ArgumentError, ExprError
from tensorlang.ir import dtypes, walk
from tensorlang.ir.nodes import Buffer, Const, Expr, Load, Op, Reduce, Reducer, Var
from tensorlang.ir.ops import MATH, OPS
from tensorlang.te import Compute, Tensor

CHUNK = 1 << 20  # elements of a grid that are evaluated at once in a reduction

_UFUNCS = {
    "add": np.add,
    "mul": np.multiply,
    "max": np.maximum,
    "min": np.minimum,
    "or": np.logical_or,
    "and": np.logical_and,
}
_MATH: dict[str, Callable[..., Any]] = {
    "rsqrt": lambda x: 1.0 / np.sqrt(x),
    "sigmoid": lambda x: np.exp(np.minimum(x, 0)) / (1.0 + np.exp(-np.abs(x))),
    "erf": np.vectorize(math.erf, otypes=["float64"]),
    "atan": np.arctan,
    **{name: getattr(np, name) for name in MATH if hasattr(np, name)},
}


def evaluate(
    outputs: Tensor | Sequence[Tensor], inputs: Mapping[Tensor, np.ndarray], sizes: Mapping[Var, int] = {}
) -> list[np.ndarray]:
    """The values of `outputs`.

    inputs: an array for each placeholder in use, of its shape and dtype. sizes: the values of shape variables; those
    that are a dimension of a placeholder may be left out. Raises ArgumentError for arrays that are missing or do not
    fit, and ExprError for an access out of bounds. Example: `[c] = evaluate(C, {A: a, B: b})`.
    """
    known = dict(sizes)
    for tensor, array in inputs.items():
        _learn_sizes(tensor, array, known)
    for tensor, array in inputs.items():
        _check_shape(tensor, array, known)
    values: dict[Buffer, np.ndarray] = {tensor: np.asarray(array) for tensor, array in inputs.items()}
    results = [outputs] if isinstance(outputs, Tensor) else list(outputs)
    with np.errstate(all="ignore"):
        for tensor in results:
            _evaluate_tensor(tensor, values, known)
    return [values[tensor] for tensor in results]


def _learn_sizes(tensor: Tensor, array: np.ndarray, known: dict[Var, int]) -> None:
    """Add the shape variables that stand alone as an extent of `tensor` to `known`."""
    kind, shape = np.asarray(array).dtype, np.shape(array)
    if kind != dtypes.to_numpy(tensor.dtype) or len(shape) != tensor.ndim:
        raise ArgumentError(f"{tensor.name} is {tensor.dtype} of {tensor.ndim} dimensions, got {kind} of shape {shape}")
    for dim, extent in zip(tensor.shape, shape, strict=True):
        if isinstance(dim, Var):
            known.setdefault(dim, extent)


def _check_shape(tensor: Tensor, array: np.ndarray, known: Mapping[Var, int]) -> None:
    expected = tuple(_extent(dim, known) for dim in tensor.shape)
    if np.shape(array) != expected:
        raise ArgumentError(f"{tensor.name} has shape {expected}, got {np.shape(array)}")


def _evaluate_tensor(tensor: Tensor, values: dict[Buffer, np.ndarray], sizes: Mapping[Var, int]) -> None:
    if tensor in values:
        return
    if tensor.producer is None:
        raise ArgumentError(f"there is no array for the placeholder {tensor.name}")
    for read in tensor.producer.reads:
        _evaluate_tensor(read, values, sizes)
    arrays = _evaluate_compute(tensor.producer, values, sizes)
    values.update(zip(tensor.producer.tensors, arrays, strict=True))


def _evaluate_compute(
    rule: Compute, values: Mapping[Buffer, np.ndarray], sizes: Mapping[Var, int]
) -> tuple[np.ndarray, ...]:
    shape = tuple(_extent(axis.extent, sizes) for axis in rule.axes)
    grid = _grid([axis.var for axis in rule.axes], shape)
    if rule.reduction is not None:
        return _reduce(rule.reduction, shape, grid, values, sizes)
    point = _Point({**sizes, **grid}, values)
    return tuple(
        np.array(np.broadcast_to(point.value(body), shape), dtypes.to_numpy(body.dtype)) for body in rule.bodies
    )


def _grid(axes: Sequence[Var], shape: Sequence[int]) -> dict[Var, np.ndarray]:
    """For each axis its coordinate, as an array that broadcasts over the whole grid of that shape."""
    ndim = len(shape)
    return {
        axis: np.arange(extent).reshape([extent if d == n else 1 for d in range(ndim)])
        for n, (axis, extent) in enumerate(zip(axes, shape, strict=True))
    }


def _reduce(
    node: Reduce,
    shape: tuple[int, ...],
    grid: Mapping[Var, np.ndarray],
    values: Mapping[Buffer, np.ndarray],
    sizes: Mapping[Var, int],
) -> tuple[np.ndarray, ...]:
    """Fold the sources over the reduced axes in ascending order, the first axis outermost, a chunk at a time."""
    extents = tuple(_extent(axis.extent, sizes) for axis in node.axes)
    kinds = [dtypes.to_numpy(e.dtype) for e in node.reducer.identity]
    state = tuple(
        np.full(shape, _Point({}, {}).value(e), kind) for e, kind in zip(node.reducer.identity, kinds, strict=True)
    )
    total = math.prod(extents)
    step = max(1, CHUNK // max(1, math.prod(shape)))
    for start in range(0, total, step):
        points = np.arange(start, min(start + step, total))
        coordinates = np.unravel_index(points, extents)
        column = (len(points),) + (1,) * len(shape)
        reduced = {axis.var: c.reshape(column) for axis, c in zip(node.axes, coordinates, strict=True)}
        point = _Point({**sizes, **grid, **reduced}, values)
        sources = tuple(
            np.broadcast_to(point.value(s), (len(points), *shape)).astype(kind)
            for s, kind in zip(node.sources, kinds, strict=True)
        )
        state = _fold(node.reducer, state, sources)
    return state


def _fold(reducer: Reducer, state: tuple[np.ndarray, ...], sources: tuple[np.ndarray, ...]) -> tuple[np.ndarray, ...]:
    """`state` combined with the rows of `sources`, one after the other."""
    combine, operands = reducer.combine[0], (*reducer.left, *reducer.right)
    ufunc = _UFUNCS.get(combine.op) if isinstance(combine, Op) and len(state) == 1 else None
    if (
        isinstance(combine, Op)
        and ufunc is not None
        and all(a is b for a, b in zip(walk.children(combine), operands, strict=True))
    ):
        rows = np.concatenate([state[0][None], sources[0]])
        folded = ufunc.accumulate(rows, axis=0)[-1].astype(state[0].dtype)
        if combine.op in ("max", "min") and dtypes.is_float(combine.dtype):
            folded = np.where(folded == 0, _extreme_zero(combine.op, rows), folded)
        return (folded,)
    for row in range(len(sources[0])):
        pair = dict(zip(reducer.left, state, strict=True)) | {
            v: s[row] for v, s in zip(reducer.right, sources, strict=True)
        }
        point = _Point(pair, {})
        state = tuple(
            np.broadcast_to(point.value(e), s.shape).astype(s.dtype)
            for e, s in zip(reducer.combine, state, strict=True)
        )
    return state


def _extreme_zero(op: str, rows: np.ndarray) -> np.ndarray:
    """The largest or the smallest of the zeros on axis 0, with -0.0 below 0.0, which NumPy leaves open."""
    wanted = np.signbit(rows) if op == "min" else ~np.signbit(rows)
    some = np.any((rows == 0) & wanted, axis=0)
    return np.where(some == (op == "min"), -np.zeros(some.shape, rows.dtype), np.zeros(some.shape, rows.dtype))


def _extent(extent: Expr, sizes: Mapping[Var, int]) -> int:
    missing = [v for v in walk.free_vars(extent) if v not in sizes]
    if missing:
        raise ArgumentError(f"the size {missing[0].name} is not known: pass it in sizes")
    return int(_Point(sizes, {}).value(extent))


class _Point:
    """Values of expressions on a grid, given those of the variables and tensors.

    `where` says at which points the expression is wanted at all (None: everywhere): elsewhere an access may be out of
    bounds, because an if_then_else does not take that branch there.
    """

    def __init__(self, variables: Mapping[Var, Any], tensors: Mapping[Buffer, np.ndarray], where: Any = None):
        self.variables, self.tensors, self.where = variables, tensors, where
        self.known: dict[Expr, Any] = {}

    def value(self, expr: Expr) -> Any:
        if expr not in self.known:
            self.known[expr] = self._value(expr)
        return self.known[expr]

    def _value(self, expr: Expr) -> Any:
        if isinstance(expr, Var):
            return self.variables[expr]
        if isinstance(expr, Const):
            return dtypes.to_numpy(expr.dtype).type(expr.value)
        if isinstance(expr, Load):
            return self._load(expr)
        if not isinstance(expr, Op):
            raise ExprError(f"{type(expr).__name__} has no place in a tensor expression")
        if expr.op == "if_then_else":
            return self._branch(*expr.args)
        args = [self.value(a) for a in expr.args]
        if expr.op == "cast":
            return _cast(args[0], dtypes.to_numpy(expr.dtype))
        kind = dtypes.to_numpy(expr.dtype)
        if expr.op == "reinterpret":
            return np.ascontiguousarray(args[0]).view(kind).reshape(np.shape(args[0]))
        function = OPS[expr.op].numpy
        if function is not None:
            result = function(*args)
            if expr.op in ("max", "min") and dtypes.is_float(expr.dtype):
                rows = np.stack(np.broadcast_arrays(*args))
                result = np.where((rows == 0).all(axis=0), _extreme_zero(expr.op, rows), result)
            return result
        wide = [np.asarray(a, "float64") for a in args]
        return _MATH[expr.op](*wide).astype(kind)

    def _branch(self, condition: Expr, value: Expr, otherwise: Expr) -> Any:
        holds = self.value(condition)
        results = []
        for branch, taken in ((value, holds), (otherwise, np.logical_not(holds))):
            wanted = taken if self.where is None else np.logical_and(self.where, taken)
            results.append(_Point(self.variables, self.tensors, wanted).value(branch))
        return np.where(holds, *results)

    def _load(self, load: Load) -> Any:
        array = self.tensors[load.buffer]
        indices = []
        for position, (index, extent) in enumerate(zip(load.indices, array.shape, strict=True)):
            at = np.asarray(self.value(index))
            outside = (at < 0) | (at >= extent)
            wrong = outside if self.where is None else outside & self.where
            if np.any(wrong):
                bad = np.broadcast_to(at, wrong.shape)[wrong][0]
                raise ExprError(f"{load!r}: index {position} is {bad}, outside 0 .. {extent - 1}")
            indices.append(np.where(outside, 0, at))
        if array.size == 0:
            return np.zeros(np.broadcast_shapes(*(i.shape for i in indices)), array.dtype)
        return array[tuple(indices)]


def _cast(value: Any, kind: np.dtype) -> Any:
    """Conversion as nodes.py defines it: from float to integer truncating and saturating, with NaN to 0."""
    value = np.asarray(value)
    if kind.kind not in "iu" or value.dtype.kind in "iub":
        return value.astype(kind)
    info = np.iinfo(kind)
    wide = np.trunc(value.astype("float64"))
    result = np.where((wide > info.min) & (wide < info.max), wide, 0).astype(kind)
    result = np.where(wide >= float(info.max), kind.type(info.max), result)
    return np.where(wide <= float(info.min), kind.type(info.min), result)
