"""Reductions: sum, max, min, prod, any, all, and reducers that users make, over tuples too."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tensorlang.errors import ExprError
from tensorlang.ir import dtypes, ops, walk
from tensorlang.ir.nodes import ORDERED, REDUCE, Const, Expr, Load, Reduce, Reducer, Var
from tensorlang.te import Axis, ReduceAxis, as_data

Axes = ReduceAxis | Sequence[ReduceAxis]


class Reduction:
    """A reducer for any dtypes: called with sources and axes, it makes the reduction. Made by `reducer`."""

    def __init__(self, name: str, combine: Callable[..., Any], identity: Any, commutative: bool):
        self.name, self.combine, self.identity, self.commutative = name, combine, identity, commutative
        self._made: dict[tuple[str, ...], Reducer] = {}  # so that equal reductions have the identical Reducer

    def __call__(self, source: Any, axis: Axes) -> Any:
        """The reduction of `source` (a tuple for a reducer over tuples, which gives a tuple back) over `axis`."""
        several = isinstance(source, tuple | list)
        sources = tuple(as_data(s) for s in (source if several else (source,)))
        for inner in (r for s in sources for r in walk.find(s, Reduce)):
            raise ExprError(
                f"{self.name}: {inner!r} is a reduction inside a reduction: put the inner one into a compute of its "
                "own and use that tensor here"
            )
        made = self.for_dtypes(tuple(s.dtype for s in sources), several)
        iters = tuple(a.iters[REDUCE if self.commutative else ORDERED] for a in _axes(self.name, axis))
        results = tuple(Reduce(made, sources, iters, n) for n in range(len(sources)))
        return results if several else results[0]

    def for_dtypes(self, kinds: tuple[str, ...], several: bool) -> Reducer:
        """The Reducer for sources of these dtypes."""
        if kinds not in self._made:
            self._made[kinds] = self._make(kinds, several)
        return self._made[kinds]

    def _make(self, kinds: tuple[str, ...], several: bool) -> Reducer:
        left = tuple(Var(f"left{n}", kind) for n, kind in enumerate(kinds))
        right = tuple(Var(f"right{n}", kind) for n, kind in enumerate(kinds))
        combined = self.combine(left, right) if several else self.combine(left[0], right[0])
        neutral = self.identity(*kinds) if callable(self.identity) else self.identity
        results = self._components("combine", combined, kinds)
        for value in results:
            if walk.free_vars(value) - {*left, *right} or next(walk.find(value, Load), None) is not None:
                raise ExprError(f"{self.name}: combine may use its two arguments only, got {value!r}")
        identity = self._components("identity", neutral, kinds)
        for value in identity:
            if not isinstance(value, Const):
                raise ExprError(f"{self.name}: the identity must be made of numbers, got {value!r}")
        return Reducer(self.name, left, right, results, identity, self.commutative)

    def _components(self, what: str, values: Any, kinds: tuple[str, ...]) -> tuple[Expr, ...]:
        """`values` as one expression for each source, of its dtype."""
        values = tuple(values) if isinstance(values, tuple | list) else (values,)
        if len(values) != len(kinds):
            raise ExprError(f"{self.name}: {what} gives {len(values)} values for {len(kinds)} sources")
        result = tuple(
            v if isinstance(v, Expr) else ops.literal(v, kind) for v, kind in zip(values, kinds, strict=True)
        )
        for value, kind in zip(result, kinds, strict=True):
            if value.dtype != kind:
                raise ExprError(
                    f'{self.name}: {what} gives {value.dtype} where the source is {kind}: write .astype("{kind}")'
                )
        return result


def reducer(
    combine: Callable[..., Any], identity: Any, commutative: bool = True, name: str = "reducer"
) -> Callable[..., Any]:
    """A reducer to call as `r(source, axis=k)`, or, over tuples, as `r((a, b), axis=k)`, which returns a tuple.

    combine(x, y): the combination of two values (two tuples); it must be associative. identity: its neutral value
    (tuple of values), or a function from the dtypes of the sources to it. commutative: whether the order of the
    elements is free; if not, they are combined in ascending order, the first axis outermost.
    Raises ExprError, when called, if combine or identity do not fit the dtypes of the sources.

    >>> argmax = tl.reducer(
    ...     lambda x, y: (tl.select(x[1] >= y[1], x[0], y[0]), tl.select(x[1] >= y[1], x[1], y[1])),
    ...     lambda index, value: (-1, tl.min_value(value)),
    ... )
    >>> tl.compute((8,), lambda i: argmax((k, A[i, k]), axis=k), name=("position", "largest"))
    (Tensor(position: int64[8]), Tensor(largest: float32[8]))
    """
    return Reduction(name, combine, identity, commutative)


def min_value(dtype: str) -> int | float | bool:
    """The smallest value of `dtype`: -inf, the smallest integer, False.

    >>> tl.min_value("int8"), tl.min_value("float32")
    (-128, -inf)
    """
    return -math.inf if dtypes.is_float(dtype) else int(np.iinfo(dtype).min) if dtype != "bool" else False


def max_value(dtype: str) -> int | float | bool:
    """The largest value of `dtype`: inf, the largest integer, True.

    >>> tl.max_value("int8"), tl.max_value("float32")
    (127, inf)
    """
    return math.inf if dtypes.is_float(dtype) else int(np.iinfo(dtype).max) if dtype != "bool" else True


_SUM = Reduction("sum", lambda x, y: x + y, lambda dtype: 0, True)
_PROD = Reduction("prod", lambda x, y: x * y, lambda dtype: 1, True)
_MAX = Reduction("max", lambda x, y: ops.make("max", x, y), min_value, True)
_MIN = Reduction("min", lambda x, y: ops.make("min", x, y), max_value, True)
_ANY = Reduction("any", lambda x, y: x | y, lambda dtype: False, True)
_ALL = Reduction("all", lambda x, y: x & y, lambda dtype: True, True)


def sum(source: Any, axis: Axes) -> Expr:
    """The sum of `source` over `axis`, in the dtype of `source`; 0 for an empty axis.

    >>> tl.compute((8,), lambda i: tl.sum(A[i, k], axis=k), name="total")
    Tensor(total: float32[8])
    """
    return _SUM(_scalar("sum", source, number=True), axis)


def prod(source: Any, axis: Axes) -> Expr:
    """The product of `source` over `axis`, in the dtype of `source`; 1 for an empty axis.

    >>> tl.compute((8,), lambda i: tl.prod(A[i, k], axis=k), name="product")
    Tensor(product: float32[8])
    """
    return _PROD(_scalar("prod", source, number=True), axis)


def max(source: Any, axis: Axes) -> Expr:
    """The largest `source` over `axis`, NaN if there is one; -inf or the smallest integer for an empty axis.

    >>> tl.compute((8,), lambda i: tl.max(A[i, k], axis=k), name="largest")
    Tensor(largest: float32[8])
    """
    return _MAX(_scalar("max", source), axis)


def min(source: Any, axis: Axes) -> Expr:
    """The smallest `source` over `axis`, NaN if there is one; inf or the largest integer for an empty axis.

    >>> tl.compute((8,), lambda i: tl.min(A[i, k], axis=k), name="smallest")
    Tensor(smallest: float32[8])
    """
    return _MIN(_scalar("min", source), axis)


def any(source: Any, axis: Axes) -> Expr:
    """Whether the bool `source` holds anywhere along `axis`; False for an empty axis.

    >>> tl.compute((8,), lambda i: tl.any(A[i, k] > 1.0, axis=k), name="found")
    Tensor(found: bool[8])
    """
    return _ANY(_scalar("any", source, truth=True), axis)


def all(source: Any, axis: Axes) -> Expr:
    """Whether the bool `source` holds everywhere along `axis`; True for an empty axis.

    >>> tl.compute((8,), lambda i: tl.all(A[i, k] > 1.0, axis=k), name="found")
    Tensor(found: bool[8])
    """
    return _ALL(_scalar("all", source, truth=True), axis)


def _scalar(name: str, source: Any, number: bool = False, truth: bool = False) -> Expr:
    """`source` as one expression of data; refused if it is bool and a number is needed, or the other way round."""
    if isinstance(source, tuple | list):
        raise ExprError(f"{name} reduces one expression, got a tuple: use tl.reducer for tuples")
    value = as_data(source)
    if number and value.dtype == "bool":
        raise ExprError(f'{name} needs numbers, got bool: write {value!r}.astype("int32"), or use any or all')
    if truth and value.dtype != "bool":
        raise ExprError(f"{name} needs bool, got {value.dtype}: write the comparison, as in x != 0")
    return value


def _axes(name: str, axis: Any) -> tuple[ReduceAxis, ...]:
    given = tuple(axis) if isinstance(axis, tuple | list) else (axis,)
    if not given:
        raise ExprError(f"{name}: axis is empty: give at least one reduce_axis")
    for a in given:
        if isinstance(a, Axis):
            raise ExprError(f"{name}: {a.name} is an axis of the compute: reduce over a reduce_axis")
        if not isinstance(a, ReduceAxis):
            raise ExprError(f"{name}: axis takes what reduce_axis returns, got {a!r}")
    if len(set(given)) != len(given):
        raise ExprError(f"{name}: an axis is given twice in ({', '.join(a.name for a in given)})")
    return given
