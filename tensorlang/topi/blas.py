"""BLAS levels 1 and 2 as tensor expressions. `NUMPY` has the same operators on arrays, by name and in lower case.

A kernel returns its result where the BLAS overwrites an argument: `axpy` computes alpha * x + y. Scalars are tensors
of shape (). Matrices are row-major; band matrices are as in CBLAS row-major storage: row i holds the elements of row
i of the matrix within the band, element (i, j) at [i, j - i + the number of diagonals below]. Elements of a triangle
or a band that do not belong to the matrix take no part in the result, whatever they hold, infinities included.

Triangular solves (trsv, tbsv) are recurrences, which tensor expressions do not have.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from tensorlang import functions as fn
from tensorlang import reducers, te
from tensorlang.ir.nodes import Expr
from tensorlang.te import Dim, Tensor


def _vector(n: Dim, dtype: str, name: str) -> Tensor:
    return te.placeholder((n,), dtype, name=name)


def _scalar(dtype: str, name: str) -> Tensor:
    return te.placeholder((), dtype, name=name)


# ----------------------------------------------------------------------------------------------------- level 1
def copy(n: Dim, dtype: str = "float32") -> Tensor:
    """y[n] = x[n].

    >>> print(tl.build(copy(6)).signature)
    y(x: float32[6]) -> y: float32[6]
    """
    x = _vector(n, dtype, "x")
    return te.compute((n,), lambda i: x[i], name="y")


def scal(n: Dim, dtype: str = "float32") -> Tensor:
    """y[n] = alpha * x[n].

    >>> print(tl.build(scal(6)).signature)
    y(alpha: float32[], x: float32[6]) -> y: float32[6]
    """
    alpha, x = _scalar(dtype, "alpha"), _vector(n, dtype, "x")
    return te.compute((n,), lambda i: alpha[()] * x[i], name="y")


def swap(n: Dim, dtype: str = "float32") -> tuple[Tensor, Tensor]:
    """u[n] = y[n] and v[n] = x[n].

    >>> print(tl.build(swap(6)).signature)
    u(y: float32[6], x: float32[6]) -> u: float32[6], v: float32[6]
    """
    x, y = _vector(n, dtype, "x"), _vector(n, dtype, "y")
    return te.compute((n,), lambda i: (y[i], x[i]), name=("u", "v"))


def axpy(n: Dim, dtype: str = "float32") -> Tensor:
    """z[n] = alpha * x[n] + y[n].

    >>> print(tl.build(axpy(6)).signature)
    z(alpha: float32[], x: float32[6], y: float32[6]) -> z: float32[6]
    """
    alpha, x, y = _scalar(dtype, "alpha"), _vector(n, dtype, "x"), _vector(n, dtype, "y")
    return te.compute((n,), lambda i: alpha[()] * x[i] + y[i], name="z")


def axpby(n: Dim, dtype: str = "float32") -> Tensor:
    """z[n] = alpha * x[n] + beta * y[n].

    >>> print(tl.build(axpby(6)).signature)
    z(alpha: float32[], x: float32[6], beta: float32[], y: float32[6]) -> z: float32[6]
    """
    alpha, x = _scalar(dtype, "alpha"), _vector(n, dtype, "x")
    beta, y = _scalar(dtype, "beta"), _vector(n, dtype, "y")
    return te.compute((n,), lambda i: alpha[()] * x[i] + beta[()] * y[i], name="z")


def rot(n: Dim, dtype: str = "float32") -> tuple[Tensor, Tensor]:
    """A plane rotation: u[n] = c * x[n] + s * y[n] and v[n] = c * y[n] - s * x[n].

    >>> print(tl.build(rot(6)).signature)
    u(c: float32[], x: float32[6], s: float32[], y: float32[6]) -> u: float32[6], v: float32[6]
    """
    x, y = _vector(n, dtype, "x"), _vector(n, dtype, "y")
    c, s = _scalar(dtype, "c"), _scalar(dtype, "s")
    return te.compute((n,), lambda i: (c[()] * x[i] + s[()] * y[i], c[()] * y[i] - s[()] * x[i]), name=("u", "v"))


def rotm(n: Dim, dtype: str = "float32") -> tuple[Tensor, Tensor]:
    """A modified rotation: u, v = h @ (x, y) for h of the form that `h[0]`, the flag of the BLAS, says.

    h[5] is flag, h11, h21, h12, h22. Flag -1: all of h counts; 0: ones on the diagonal; 1: ones (h12) and minus ones
    (h21) off it; -2: h is the identity.

    >>> print(tl.build(rotm(6)).signature)
    u(h: float32[5], x: float32[6], y: float32[6]) -> u: float32[6], v: float32[6]
    """
    x, y, h = _vector(n, dtype, "x"), _vector(n, dtype, "y"), _vector(5, dtype, "h")
    one = h[0] * 0 + 1
    whole, identity = h[0] == -1, h[0] == -2
    h11 = fn.select(whole | (h[0] == 1), h[1], one)
    h22 = fn.select(whole | (h[0] == 1), h[4], one)
    h21 = fn.select(whole | (h[0] == 0), h[2], fn.select(identity, 0 * one, -one))
    h12 = fn.select(whole | (h[0] == 0), h[3], fn.select(identity, 0 * one, one))
    return te.compute((n,), lambda i: (h11 * x[i] + h12 * y[i], h21 * x[i] + h22 * y[i]), name=("u", "v"))


def dot(n: Dim, dtype: str = "float32") -> Tensor:
    """d[] = sum of x[n] * y[n].

    >>> print(tl.build(dot(6)).signature)
    d(x: float32[6], y: float32[6]) -> d: float32[]
    """
    x, y, k = _vector(n, dtype, "x"), _vector(n, dtype, "y"), te.reduce_axis(n, "k")
    return te.compute((), lambda: reducers.sum(x[k] * y[k], axis=k), name="d")


def dsdot(n: Dim) -> Tensor:
    """d[] = sum of x[n] * y[n], float32 in and float64 from there on.

    >>> print(tl.build(dsdot(6)).signature)
    d(x: float32[6], y: float32[6]) -> d: float64[]
    """
    x, y, k = _vector(n, "float32", "x"), _vector(n, "float32", "y"), te.reduce_axis(n, "k")
    return te.compute((), lambda: reducers.sum(x[k].astype("float64") * y[k].astype("float64"), axis=k), name="d")


def asum(n: Dim, dtype: str = "float32") -> Tensor:
    """d[] = sum of the absolute values of x[n].

    >>> print(tl.build(asum(6)).signature)
    d(x: float32[6]) -> d: float32[]
    """
    x, k = _vector(n, dtype, "x"), te.reduce_axis(n, "k")
    return te.compute((), lambda: reducers.sum(fn.abs(x[k]), axis=k), name="d")


def nrm2(n: Dim, dtype: str = "float32") -> Tensor:
    """d[] = the Euclidean norm of x[n]. Squares are not scaled: they overflow where those of NumPy do.

    >>> print(tl.build(nrm2(6)).signature)
    d(x: float32[6]) -> d: float32[]
    """
    x, k = _vector(n, dtype, "x"), te.reduce_axis(n, "k")
    squares = te.compute((), lambda: reducers.sum(x[k] * x[k], axis=k), name="squares")
    return te.compute((), lambda: fn.sqrt(squares[()]), name="d")


def iamax(n: Dim, dtype: str = "float32") -> tuple[Tensor, Tensor]:
    """index[] (int64) of the first element of x[n] with the largest absolute value, and largest[], that value.

    NaNs are passed over.

    >>> print(tl.build(iamax(6)).signature)
    index(x: float32[6]) -> index: int64[], largest: float32[]
    """
    x, k = _vector(n, dtype, "x"), te.reduce_axis(n, "k")
    return te.compute((), lambda: _first_largest((k, fn.abs(x[k])), axis=k), name=("index", "largest"))


def _is_ahead(x: tuple[Expr, Expr], y: tuple[Expr, Expr]) -> Expr:
    return (x[1] > y[1]) | ((x[1] == y[1]) & (x[0] < y[0]))


_first_largest = reducers.reducer(
    lambda x, y: tuple(fn.select(_is_ahead(y, x), b, a) for a, b in zip(x, y, strict=True)),
    lambda index, value: (reducers.max_value(index), -1),
    name="first_largest",
)


# ---------------------------------------------------------------------------------------- level 2: full matrices
def _operands(m: Dim, n: Dim, dtype: str) -> tuple[Tensor, Tensor]:
    return te.placeholder((m, n), dtype, name="A"), _vector(n, dtype, "x")


def gemv(m: Dim, n: Dim, dtype: str = "float32") -> Tensor:
    """z[m] = alpha * (A[m, n] @ x[n]) + beta * y[m].

    >>> print(tl.build(gemv(4, 6)).signature)
    z(alpha: float32[], A: float32[4, 6], x: float32[6], beta: float32[], y: float32[4]) -> z: float32[4]
    """
    (a, x), k = _operands(m, n, dtype), te.reduce_axis(n, "k")
    product = te.compute((m,), lambda i: reducers.sum(a[i, k] * x[k], axis=k), name="product")
    return _scaled(product, dtype)


def gemv_t(m: Dim, n: Dim, dtype: str = "float32") -> Tensor:
    """z[n] = alpha * (A[m, n].T @ x[m]) + beta * y[n].

    >>> print(tl.build(gemv_t(4, 6)).signature)
    z(alpha: float32[], A: float32[4, 6], x: float32[4], beta: float32[], y: float32[6]) -> z: float32[6]
    """
    a, x, k = te.placeholder((m, n), dtype, name="A"), _vector(m, dtype, "x"), te.reduce_axis(m, "k")
    product = te.compute((n,), lambda j: reducers.sum(a[k, j] * x[k], axis=k), name="product")
    return _scaled(product, dtype)


def _scaled(product: Tensor, dtype: str) -> Tensor:
    """alpha * product + beta * y."""
    alpha, beta, y = _scalar(dtype, "alpha"), _scalar(dtype, "beta"), te.placeholder(product.shape, dtype, name="y")
    return te.compute(product.shape, lambda i: alpha[()] * product[i] + beta[()] * y[i], name="z")


def ger(m: Dim, n: Dim, dtype: str = "float32") -> Tensor:
    """C[m, n] = alpha * x[m] y[n] + A[m, n], the product being the outer one.

    >>> print(tl.build(ger(4, 6)).signature)
    C(alpha: float32[], x: float32[4], y: float32[6], A: float32[4, 6]) -> C: float32[4, 6]
    """
    alpha, x, y = _scalar(dtype, "alpha"), _vector(m, dtype, "x"), _vector(n, dtype, "y")
    a = te.placeholder((m, n), dtype, name="A")
    return te.compute((m, n), lambda i, j: alpha[()] * x[i] * y[j] + a[i, j], name="C")


def syr(n: Dim, dtype: str = "float32") -> Tensor:
    """C[n, n] = alpha * x[n] x[n] + A[n, n] on and below the diagonal, A above it.

    >>> print(tl.build(syr(6)).signature)
    C(alpha: float32[], x: float32[6], A: float32[6, 6]) -> C: float32[6, 6]
    """
    alpha, (a, x) = _scalar(dtype, "alpha"), _operands(n, n, dtype)
    return te.compute((n, n), lambda i, j: fn.select(j <= i, alpha[()] * x[i] * x[j] + a[i, j], a[i, j]), name="C")


def syr2(n: Dim, dtype: str = "float32") -> Tensor:
    """C[n, n] = alpha * (x[n] y[n] + y[n] x[n]) + A[n, n] on and below the diagonal, A above it.

    >>> print(tl.build(syr2(6)).signature)
    C(alpha: float32[], x: float32[6], y: float32[6], A: float32[6, 6]) -> C: float32[6, 6]
    """
    alpha, (a, x), y = _scalar(dtype, "alpha"), _operands(n, n, dtype), _vector(n, dtype, "y")

    def element(i: Expr, j: Expr) -> Expr:
        return fn.select(j <= i, alpha[()] * (x[i] * y[j] + y[i] * x[j]) + a[i, j], a[i, j])

    return te.compute((n, n), element, name="C")


def symv(n: Dim, dtype: str = "float32") -> Tensor:
    """z[n] = alpha * (S @ x[n]) + beta * y[n]; S[n, n] is symmetric and A[n, n] on and below the diagonal.

    >>> print(tl.build(symv(6)).signature)
    z(alpha: float32[], A: float32[6, 6], x: float32[6], beta: float32[], y: float32[6]) -> z: float32[6]
    """
    (a, x), k = _operands(n, n, dtype), te.reduce_axis(n, "k")
    product = te.compute(
        (n,), lambda i: reducers.sum(fn.select(k <= i, a[i, k], a[k, i]) * x[k], axis=k), name="product"
    )
    return _scaled(product, dtype)


def trmv_lower(n: Dim, dtype: str = "float32") -> Tensor:
    """y[n] = L @ x[n]; L[n, n] is A[n, n] on and below the diagonal.

    >>> print(tl.build(trmv_lower(6)).signature)
    y(A: float32[6, 6], x: float32[6]) -> y: float32[6]
    """
    (a, x), k = _operands(n, n, dtype), te.reduce_axis(n, "k")
    return te.compute((n,), lambda i: reducers.sum(fn.select(k <= i, a[i, k] * x[k], _zero(dtype)), axis=k), name="y")


def trmv_upper(n: Dim, dtype: str = "float32") -> Tensor:
    """y[n] = U @ x[n]; U[n, n] is A[n, n] on and above the diagonal.

    >>> print(tl.build(trmv_upper(6)).signature)
    y(A: float32[6, 6], x: float32[6]) -> y: float32[6]
    """
    (a, x), k = _operands(n, n, dtype), te.reduce_axis(n, "k")
    return te.compute((n,), lambda i: reducers.sum(fn.select(k >= i, a[i, k] * x[k], _zero(dtype)), axis=k), name="y")


# -------------------------------------------------------------------------------------------- level 2: bands
def gbmv(m: Dim, n: Dim, below: int = 1, above: int = 1, dtype: str = "float32") -> Tensor:
    """z[m] = alpha * (G @ x[n]) + beta * y[m]; G[m, n] has `below` and `above` diagonals beside the main one.

    A[m, below + above + 1] holds the band.

    >>> print(tl.build(gbmv(4, 6)).signature)
    z(alpha: float32[], A: float32[4, 3], x: float32[6], beta: float32[], y: float32[4]) -> z: float32[4]
    """
    width = below + above + 1
    a, x, d = te.placeholder((m, width), dtype, name="A"), _vector(n, dtype, "x"), te.reduce_axis(width, "d")

    def term(i: Expr) -> Expr:
        j = i + d - below
        return fn.if_then_else((j >= 0) & (j < n), a[i, d] * x[j], _zero(dtype))

    return _scaled(te.compute((m,), lambda i: reducers.sum(term(i), axis=d), name="product"), dtype)


def sbmv(n: Dim, below: int = 1, dtype: str = "float32") -> Tensor:
    """z[n] = alpha * (S @ x[n]) + beta * y[n]; S[n, n] is symmetric with `below` diagonals on either side.

    A[n, below + 1] holds the band on and below the diagonal.

    >>> print(tl.build(sbmv(6)).signature)
    z(alpha: float32[], A: float32[6, 2], x: float32[6], beta: float32[], y: float32[6]) -> z: float32[6]
    """
    a, x, d = (
        te.placeholder((n, below + 1), dtype, name="A"),
        _vector(n, dtype, "x"),
        te.reduce_axis(2 * below + 1, "d"),
    )

    def term(i: Expr) -> Expr:
        j = i + d - below
        stored_here = fn.if_then_else((j >= 0) & (d <= below), a[i, d] * x[j], _zero(dtype))
        return fn.if_then_else((j < n) & (d > below), a[j, 2 * below - d] * x[j], stored_here)

    return _scaled(te.compute((n,), lambda i: reducers.sum(term(i), axis=d), name="product"), dtype)


def tbmv(n: Dim, below: int = 1, dtype: str = "float32") -> Tensor:
    """y[n] = L @ x[n]; L[n, n] is lower triangular with `below` diagonals beside the main one, in A[n, below + 1].

    >>> print(tl.build(tbmv(6)).signature)
    y(A: float32[6, 2], x: float32[6]) -> y: float32[6]
    """
    a, x, d = te.placeholder((n, below + 1), dtype, name="A"), _vector(n, dtype, "x"), te.reduce_axis(below + 1, "d")

    def term(i: Expr) -> Expr:
        return fn.if_then_else(i + d >= below, a[i, d] * x[i + d - below], _zero(dtype))

    return te.compute((n,), lambda i: reducers.sum(term(i), axis=d), name="y")


def _zero(dtype: str) -> Expr:
    return te.ops.literal(0, dtype)


# ----------------------------------------------------------------------------------------------------- references
Arrays = tuple[np.ndarray, ...]


def _rotm(x: np.ndarray, y: np.ndarray, h: np.ndarray) -> Arrays:
    flag, h11, h21, h12, h22 = h
    whole = {-1: ((h11, h12), (h21, h22)), 0: ((1, h12), (h21, 1)), 1: ((h11, 1), (-1, h22)), -2: ((1, 0), (0, 1))}
    (p, q), (r, s) = whole[int(flag)]
    return p * x + q * y, r * x + s * y


def _from_band(a: np.ndarray, n: int, below: int) -> np.ndarray:
    """The full matrix of n columns of a band with `below` diagonals below the main one."""
    full = np.zeros((len(a), n), a.dtype)
    for (i, d), value in np.ndenumerate(a):
        if 0 <= i + d - below < n:
            full[i, i + d - below] = value
    return full


def _symmetric(lower: np.ndarray) -> np.ndarray:
    return np.tril(lower) + np.tril(lower, -1).T


def _gbmv(a: np.ndarray, x: np.ndarray, alpha: Any, beta: Any, y: np.ndarray, below: int = 1) -> np.ndarray:
    return alpha * (_from_band(a, len(x), below) @ x) + beta * y


def _sbmv(a: np.ndarray, x: np.ndarray, alpha: Any, beta: Any, y: np.ndarray) -> np.ndarray:
    return alpha * (_symmetric(_from_band(a, len(x), a.shape[1] - 1)) @ x) + beta * y


def _iamax(x: np.ndarray) -> Arrays:
    return np.argmax(np.abs(x)), np.max(np.abs(x))  # type: ignore[return-value]


NUMPY: Mapping[str, Callable[..., Any]] = {
    "copy": lambda x: x.copy(),
    "scal": lambda alpha, x: alpha * x,
    "swap": lambda y, x: (y, x),
    "axpy": lambda alpha, x, y: alpha * x + y,
    "axpby": lambda alpha, x, beta, y: alpha * x + beta * y,
    "rot": lambda c, x, s, y: (c * x + s * y, c * y - s * x),
    "rotm": lambda h, x, y: _rotm(x, y, h),
    "dot": lambda x, y: np.dot(x, y),
    "dsdot": lambda x, y: np.dot(x.astype("float64"), y.astype("float64")),
    "asum": lambda x: np.sum(np.abs(x)),
    "nrm2": lambda x: np.sqrt(np.dot(x, x)),
    "iamax": _iamax,
    "gemv": lambda a, x, alpha, beta, y: alpha * (a @ x) + beta * y,
    "gemv_t": lambda a, x, alpha, beta, y: alpha * (a.T @ x) + beta * y,
    "ger": lambda alpha, x, y, a: alpha * np.outer(x, y) + a,
    "syr": lambda alpha, x, a: np.tril(alpha * np.outer(x, x)) + a,
    "syr2": lambda alpha, x, y, a: np.tril(alpha * (np.outer(x, y) + np.outer(y, x))) + a,
    "symv": lambda a, x, alpha, beta, y: alpha * (_symmetric(a) @ x) + beta * y,
    "trmv_lower": lambda a, x: np.tril(a) @ x,
    "trmv_upper": lambda a, x: np.triu(a) @ x,
    "gbmv": _gbmv,
    "sbmv": _sbmv,
    "tbmv": lambda a, x: _from_band(a, len(x), a.shape[1] - 1) @ x,
}
