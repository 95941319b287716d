"""Linear algebra operators. `NUMPY` has the same operators on arrays, as the reference and for comparison of speed."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from tensorlang import reducers, te
from tensorlang.te import Dim, Tensor


def matmul(m: Dim, n: Dim, k: Dim, dtype: str = "float32", out_dtype: str | None = None) -> Tensor:
    """C[m, n] = A[m, k] @ B[k, n], accumulated in `out_dtype` (by default `dtype`).

    Example: `C = matmul(1024, 1024, 1024)`; its placeholders are named A and B.
    """
    out = out_dtype or dtype
    a = te.placeholder((m, k), dtype, name="A")
    b = te.placeholder((k, n), dtype, name="B")
    axis = te.reduce_axis(k, name="k")
    return te.compute(
        (m, n), lambda i, j: reducers.sum(a[i, axis].astype(out) * b[axis, j].astype(out), axis=axis), name="C"
    )


def batch_matmul(batch: Dim, m: Dim, n: Dim, k: Dim, dtype: str = "float32", out_dtype: str | None = None) -> Tensor:
    """C[batch, m, n] = A[batch, m, k] @ B[batch, k, n], accumulated in `out_dtype` (by default `dtype`)."""
    out = out_dtype or dtype
    a = te.placeholder((batch, m, k), dtype, name="A")
    b = te.placeholder((batch, k, n), dtype, name="B")
    axis = te.reduce_axis(k, name="k")
    return te.compute(
        (batch, m, n),
        lambda p, i, j: reducers.sum(a[p, i, axis].astype(out) * b[p, axis, j].astype(out), axis=axis),
        name="C",
    )


def matvec(m: Dim, k: Dim, dtype: str = "float32", out_dtype: str | None = None) -> Tensor:
    """C[m] = A[m, k] @ B[k], accumulated in `out_dtype` (by default `dtype`)."""
    out = out_dtype or dtype
    a = te.placeholder((m, k), dtype, name="A")
    b = te.placeholder((k,), dtype, name="B")
    axis = te.reduce_axis(k, name="k")
    return te.compute((m,), lambda i: reducers.sum(a[i, axis].astype(out) * b[axis].astype(out), axis=axis), name="C")


NUMPY: Mapping[str, Callable[..., np.ndarray]] = {"matmul": np.matmul, "batch_matmul": np.matmul, "matvec": np.matmul}
