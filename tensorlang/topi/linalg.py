"""Linear algebra operators. `NUMPY` has the same operators on arrays, as the reference and for comparison of speed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from tensorlang import reducers, te
from tensorlang.errors import ExprError
from tensorlang.ir.nodes import Expr
from tensorlang.te import Dim, Tensor
from tensorlang.topi import elementwise


def matmul(
    m: Dim,
    n: Dim,
    k: Dim,
    dtype: str = "float32",
    out_dtype: str | None = None,
    transpose_a: bool = False,
    transpose_b: bool = False,
) -> Tensor:
    """C[m, n] = A[m, k] @ B[k, n], accumulated in `out_dtype` (by default `dtype`).

    transpose_a: A is stored as A[k, m]; transpose_b: B is stored as B[n, k].

    >>> print(tl.build(matmul(4, 5, 6)).signature)
    C(A: float32[4, 6], B: float32[6, 5]) -> C: float32[4, 5]
    """
    out = out_dtype or dtype
    a = te.placeholder((k, m) if transpose_a else (m, k), dtype, name="A")
    b = te.placeholder((n, k) if transpose_b else (k, n), dtype, name="B")
    axis = te.reduce_axis(k, name="k")

    def element(i: Expr, j: Expr) -> Expr:
        left = a[axis, i] if transpose_a else a[i, axis]
        right = b[j, axis] if transpose_b else b[axis, j]
        return reducers.sum(left.astype(out) * right.astype(out), axis=axis)

    return te.compute((m, n), element, name="C")


def batch_matmul(
    batch: Dim,
    m: Dim,
    n: Dim,
    k: Dim,
    dtype: str = "float32",
    out_dtype: str | None = None,
    transpose_a: bool = False,
    transpose_b: bool = False,
) -> Tensor:
    """C[batch, m, n] = A[batch, m, k] @ B[batch, k, n], accumulated in `out_dtype` (by default `dtype`).

    transpose_a: A is stored as A[batch, k, m]; transpose_b: B is stored as B[batch, n, k].

    >>> print(tl.build(batch_matmul(2, 3, 4, 5)).signature)
    C(A: float32[2, 3, 5], B: float32[2, 5, 4]) -> C: float32[2, 3, 4]
    """
    out = out_dtype or dtype
    a = te.placeholder((batch, k, m) if transpose_a else (batch, m, k), dtype, name="A")
    b = te.placeholder((batch, n, k) if transpose_b else (batch, k, n), dtype, name="B")
    axis = te.reduce_axis(k, name="k")

    def element(p: Expr, i: Expr, j: Expr) -> Expr:
        left = a[p, axis, i] if transpose_a else a[p, i, axis]
        right = b[p, j, axis] if transpose_b else b[p, axis, j]
        return reducers.sum(left.astype(out) * right.astype(out), axis=axis)

    return te.compute((batch, m, n), element, name="C")


def matvec(m: Dim, k: Dim, dtype: str = "float32", out_dtype: str | None = None) -> Tensor:
    """C[m] = A[m, k] @ B[k], accumulated in `out_dtype` (by default `dtype`).

    >>> print(tl.build(matvec(4, 5)).signature)
    C(A: float32[4, 5], B: float32[5]) -> C: float32[4]
    """
    out = out_dtype or dtype
    a = te.placeholder((m, k), dtype, name="A")
    b = te.placeholder((k,), dtype, name="B")
    axis = te.reduce_axis(k, name="k")
    return te.compute((m,), lambda i: reducers.sum(a[i, axis].astype(out) * b[axis].astype(out), axis=axis), name="C")


def transpose_batch_matmul(batch: Dim, sequence: Dim, heads: Dim, dim: Dim, dtype: str = "float32") -> Tensor:
    """The scores of attention: C[b, h, i, j] is the sum over d of Q[b, i, h, d] * K[b, j, h, d].

    Q and K are as projections leave them, [batch, sequence, heads, dim].

    >>> print(tl.build(transpose_batch_matmul(2, 5, 3, 4)).signature)
    C(Q: float32[2, 5, 3, 4], K: float32[2, 5, 3, 4]) -> C: float32[2, 3, 5, 5]
    """
    q, key = (te.placeholder((batch, sequence, heads, dim), dtype, name=name) for name in ("Q", "K"))
    d = te.reduce_axis(dim, name="d")
    return te.compute(
        (batch, heads, sequence, sequence),
        lambda b, h, i, j: reducers.sum(q[b, i, h, d] * key[b, j, h, d], axis=d),
        "C",
    )


def dense(
    batch: Dim,
    in_features: Dim,
    out_features: Dim,
    bias: bool = True,
    activation: str = "none",
    dtype: str = "float32",
) -> Tensor:
    """y[batch, out] = activation(x[batch, in] @ w[out, in].T + bias[out]).

    activation: none, relu, gelu, silu, sigmoid or tanh. Without both it is the product alone.

    >>> print(tl.build(dense(3, 5, 4)).signature)
    dense(x: float32[3, 5], w: float32[4, 5], bias: float32[4]) -> dense: float32[3, 4]
    """
    if activation not in elementwise.ACTIVATIONS:
        raise ExprError(f"activation: expected one of {', '.join(elementwise.ACTIVATIONS)}, got {activation!r}")
    x = te.placeholder((batch, in_features), dtype, name="x")
    w = te.placeholder((out_features, in_features), dtype, name="w")
    k = te.reduce_axis(in_features, name="k")
    product = te.compute((batch, out_features), lambda i, j: reducers.sum(x[i, k] * w[j, k], axis=k), name="product")
    if not bias and activation == "none":
        return product
    function, b = elementwise.ACTIVATIONS[activation], te.placeholder((out_features,), dtype, name="bias")
    return te.compute(
        (batch, out_features), lambda i, j: function(product[i, j] + b[j] if bias else product[i, j]), name="dense"
    )


# ----------------------------------------------------------------------------------------------------- references
def _matmul_numpy(a: np.ndarray, b: np.ndarray, transpose_a: bool = False, transpose_b: bool = False) -> np.ndarray:
    return np.matmul(np.swapaxes(a, -1, -2) if transpose_a else a, np.swapaxes(b, -1, -2) if transpose_b else b)


def _dense_numpy(x: np.ndarray, w: np.ndarray, bias: Any = 0, activation: str = "none") -> np.ndarray:
    y = x @ w.T + bias
    return y if activation == "none" else elementwise.NUMPY[activation](y)


NUMPY: Mapping[str, Callable[..., np.ndarray]] = {
    "matmul": _matmul_numpy,
    "batch_matmul": _matmul_numpy,
    "matvec": np.matmul,
    "transpose_batch_matmul": lambda q, k: np.einsum("bihd,bjhd->bhij", q, k),
    "dense": _dense_numpy,
}
