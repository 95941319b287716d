"""Linear algebra operators."""

from __future__ import annotations

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
