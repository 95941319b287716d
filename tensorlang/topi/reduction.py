"""Reductions and norms over dimensions: `*shape`, then `dim` (one or several, by default the last) and `keepdim`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from tensorlang import functions as fn
from tensorlang import reducers, te
from tensorlang.ir import dtypes, ops
from tensorlang.ir.nodes import Expr
from tensorlang.te import Dim, Tensor
from tensorlang.topi.dims import Dims, count, positions, reduced, wide


def sum(*shape: Dim, dim: Dims = -1, keepdim: bool = False, dtype: str = "float32") -> Tensor:
    """The sum over `dim`.

    >>> print(tl.build(sum(5, 7)).signature)
    sum(x: float32[5, 7]) -> sum: float32[5]
    """
    return _reduction(shape, dim, keepdim, dtype, "sum", reducers.sum)


def prod(*shape: Dim, dim: Dims = -1, keepdim: bool = False, dtype: str = "float32") -> Tensor:
    """The product over `dim`.

    >>> print(tl.build(prod(5, 7)).signature)
    prod(x: float32[5, 7]) -> prod: float32[5]
    """
    return _reduction(shape, dim, keepdim, dtype, "prod", reducers.prod)


def amax(*shape: Dim, dim: Dims = -1, keepdim: bool = False, dtype: str = "float32") -> Tensor:
    """The largest value over `dim`, NaN if there is one.

    >>> print(tl.build(amax(5, 7)).signature)
    amax(x: float32[5, 7]) -> amax: float32[5]
    """
    return _reduction(shape, dim, keepdim, dtype, "amax", reducers.max)


def amin(*shape: Dim, dim: Dims = -1, keepdim: bool = False, dtype: str = "float32") -> Tensor:
    """The smallest value over `dim`, NaN if there is one.

    >>> print(tl.build(amin(5, 7)).signature)
    amin(x: float32[5, 7]) -> amin: float32[5]
    """
    return _reduction(shape, dim, keepdim, dtype, "amin", reducers.min)


def argmax(*shape: Dim, dim: int = -1, keepdim: bool = False, dtype: str = "float32") -> Tensor:
    """The index (int64) of the first largest value along `dim`; a NaN counts as larger than all else.

    >>> print(tl.build(argmax(5, 7)).signature)
    argmax(x: float32[5, 7]) -> argmax: int64[5]
    """
    return _position(shape, dim, keepdim, dtype, "argmax", lambda x, y: x > y, reducers.min_value)


def argmin(*shape: Dim, dim: int = -1, keepdim: bool = False, dtype: str = "float32") -> Tensor:
    """The index (int64) of the first smallest value along `dim`; a NaN counts as smaller than all else.

    >>> print(tl.build(argmin(5, 7)).signature)
    argmin(x: float32[5, 7]) -> argmin: int64[5]
    """
    return _position(shape, dim, keepdim, dtype, "argmin", lambda x, y: x < y, reducers.max_value)


def mean(*shape: Dim, dim: Dims = -1, keepdim: bool = False, dtype: str = "float32") -> Tensor:
    """The mean over `dim`, which must have known extents.

    >>> print(tl.build(mean(5, 7)).signature)
    mean(x: float32[5, 7]) -> mean: float32[5]
    """
    x = te.placeholder(shape, dtype, name="x")
    total = reduced(x, dim, reducers.sum, lambda value, _: value.astype(wide(dtype)), "total", keepdim)
    return _map(total, lambda value: (value / count(x, dim)).astype(dtype), "mean")


def var(*shape: Dim, dim: Dims = -1, correction: int = 1, keepdim: bool = False, dtype: str = "float32") -> Tensor:
    """The variance over `dim`, which must have known extents: squares of deviations over their number - correction.

    >>> print(tl.build(var(5, 7)).signature)
    var(x: float32[5, 7]) -> var: float32[5]
    """
    x, gone = te.placeholder(shape, dtype, name="x"), positions(len(shape), dim)
    total = reduced(x, dim, reducers.sum, lambda value, _: value.astype(wide(dtype)), "total", keepdim=True)
    average = _map(total, lambda value: value / count(x, dim), "average")

    def square(value: Expr, index: tuple[Expr, ...]) -> Expr:
        deviation = value.astype(wide(dtype)) - average[tuple(0 if n in gone else i for n, i in enumerate(index))]
        return deviation * deviation

    squares = reduced(x, dim, reducers.sum, square, "squares", keepdim)
    freedom = max(count(x, dim) - correction, 0)
    return _map(squares, lambda value: (value / ops.literal(freedom, wide(dtype))).astype(dtype), "var")


def vector_norm(*shape: Dim, dim: Dims = -1, keepdim: bool = False, dtype: str = "float32") -> Tensor:
    """The Euclidean norm over `dim`.

    >>> print(tl.build(vector_norm(5, 7)).signature)
    norm(x: float32[5, 7]) -> norm: float32[5]
    """
    x = te.placeholder(shape, dtype, name="x")

    def square(value: Expr, _: Any) -> Expr:
        return value.astype(wide(dtype)) * value.astype(wide(dtype))

    squares = reduced(x, dim, reducers.sum, square, "squares", keepdim)
    return _map(squares, lambda value: fn.sqrt(value).astype(dtype), "norm")


def matrix_norm(*shape: Dim, keepdim: bool = False, dtype: str = "float32") -> Tensor:
    """The Frobenius norm of each matrix in the last two dimensions.

    >>> print(tl.build(matrix_norm(5, 7)).signature)
    norm(x: float32[5, 7]) -> norm: float32[]
    """
    return vector_norm(*shape, dim=(-2, -1), keepdim=keepdim, dtype=dtype)


def _reduction(
    shape: tuple[Dim, ...], dim: Dims, keepdim: bool, dtype: str, name: str, reduce: Callable[..., Any]
) -> Tensor:
    x = te.placeholder(shape, dtype, name="x")
    return reduced(x, dim, reduce, lambda value, _: value, name, keepdim)


def _position(
    shape: tuple[Dim, ...],
    dim: int,
    keepdim: bool,
    dtype: str,
    name: str,
    better: Callable[[Expr, Expr], Expr],
    worst: Callable[[str], Any],
) -> Tensor:
    """The first index along `dim` of the value that is `better` than all others."""
    x = te.placeholder(shape, dtype, name="x")
    (along,) = positions(len(shape), dim)

    def is_nan(value: Expr) -> Expr:
        return fn.isnan(value) if dtypes.is_float(dtype) else ops.literal(False, "bool")

    def ahead(a: tuple[Expr, Expr], b: tuple[Expr, Expr]) -> Expr:
        """Whether the pair (index, value) `a` is to be preferred to `b`."""
        tie = (a[1] == b[1]) | (is_nan(a[1]) & is_nan(b[1]))
        return better(a[1], b[1]) | (is_nan(a[1]) & ~is_nan(b[1])) | (tie & (a[0] < b[0]))

    first = reducers.reducer(
        lambda a, b: tuple(fn.select(ahead(b, a), y, x) for x, y in zip(a, b, strict=True)),
        lambda index, value: (reducers.max_value(index), worst(value)),
        name=name,
    )
    index, _ = reduced(x, dim, first, lambda value, i: (i[along], value), (name, "value"), keepdim)
    return index


def _map(x: Tensor, function: Callable[[Expr], Expr], name: str) -> Tensor:
    return te.compute(x.shape, lambda *i: function(x[i]), name=name)


# ----------------------------------------------------------------------------------------------------- references
def _numpy(function: Callable[..., Any]) -> Callable[..., np.ndarray]:
    def reference(x: np.ndarray, dim: Dims = -1, keepdim: bool = False) -> np.ndarray:
        axis = dim if isinstance(dim, int) else tuple(dim)
        return np.asarray(function(x, axis=axis, keepdims=bool(keepdim)))

    return reference


def _var_numpy(x: np.ndarray, dim: Dims = -1, correction: int = 1, keepdim: bool = False) -> np.ndarray:
    axis = dim if isinstance(dim, int) else tuple(dim)
    return np.var(x, axis=axis, ddof=correction, keepdims=bool(keepdim))


def _norm_numpy(x: np.ndarray, axis: Any, keepdims: bool) -> np.ndarray:
    return np.sqrt(np.sum(x * x, axis=axis, keepdims=keepdims))


NUMPY: Mapping[str, Callable[..., np.ndarray]] = {
    "sum": _numpy(lambda x, axis, keepdims: np.sum(x, axis=axis, keepdims=keepdims, dtype=x.dtype)),
    "prod": _numpy(lambda x, axis, keepdims: np.prod(x, axis=axis, keepdims=keepdims, dtype=x.dtype)),
    "amax": _numpy(np.amax),
    "amin": _numpy(np.amin),
    "argmax": _numpy(np.argmax),
    "argmin": _numpy(np.argmin),
    "mean": _numpy(np.mean),
    "var": _var_numpy,
    "vector_norm": _numpy(_norm_numpy),
    "matrix_norm": lambda x, keepdim=False: _norm_numpy(x, (-2, -1), bool(keepdim)),
}
