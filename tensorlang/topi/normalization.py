"""Softmax and normalizations. Floats of 16 bits are summed up in float32."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from tensorlang import functions as fn
from tensorlang import reducers, te
from tensorlang.ir import ops
from tensorlang.ir.nodes import Expr
from tensorlang.te import Dim, Tensor
from tensorlang.topi.dims import count, positions, reduced, wide, without
from tensorlang.topi.windows import Layout

EPS = 1e-5


def softmax(*shape: Dim, dim: int = -1, dtype: str = "float32") -> Tensor:
    """exp(x) over its sum along `dim`, scaled so that it does not overflow.

    >>> print(tl.build(softmax(5, 7)).signature)
    softmax(x: float32[5, 7]) -> softmax: float32[5, 7]
    """
    x, gone = te.placeholder(shape, dtype, name="x"), positions(len(shape), dim)
    largest = reduced(x, dim, reducers.max, lambda value, _: value, "largest")

    def exponential(*i: Expr) -> Expr:
        return fn.exp(x[i].astype(wide(dtype)) - largest[without(i, gone)].astype(wide(dtype)))

    powers = te.compute(shape, exponential, name="powers")
    total = reduced(powers, dim, reducers.sum, lambda value, _: value, "total")
    scale = te.compute(total.shape, lambda *i: ops.literal(1.0, wide(dtype)) / total[i], name="scale")
    return te.compute(shape, lambda *i: (powers[i] * scale[without(i, gone)]).astype(dtype), name="softmax")


def log_softmax(*shape: Dim, dim: int = -1, dtype: str = "float32") -> Tensor:
    """The logarithm of softmax.

    >>> print(tl.build(log_softmax(5, 7)).signature)
    log_softmax(x: float32[5, 7]) -> log_softmax: float32[5, 7]
    """
    x, gone = te.placeholder(shape, dtype, name="x"), positions(len(shape), dim)
    largest = reduced(x, dim, reducers.max, lambda value, _: value, "largest")

    def shifted(value: Expr, i: tuple[Expr, ...]) -> Expr:
        return value.astype(wide(dtype)) - largest[without(i, gone)].astype(wide(dtype))

    total = reduced(x, dim, reducers.sum, lambda value, i: fn.exp(shifted(value, i)), "total")
    return te.compute(
        shape, lambda *i: (shifted(x[i], i) - fn.log(total[without(i, gone)])).astype(dtype), name="log_softmax"
    )


def layer_norm(*shape: Dim, eps: float = EPS, dtype: str = "float32") -> Tensor:
    """(x - mean) / sqrt(variance + eps) * weight + bias over the last dimension, whose extent is known.

    >>> print(tl.build(layer_norm(5, 7)).signature)
    layer_norm(x: float32[5, 7], weight: float32[7], bias: float32[7]) -> layer_norm: float32[5, 7]
    """
    x, kind = te.placeholder(shape, dtype, name="x"), wide(dtype)
    weight, bias = (te.placeholder(shape[-1:], dtype, name=name) for name in ("weight", "bias"))
    n = count(x, -1)
    total = reduced(x, -1, reducers.sum, lambda value, _: value.astype(kind), "total")
    mean = te.compute(shape[:-1], lambda *i: total[i] / n, name="mean")

    def square(value: Expr, i: tuple[Expr, ...]) -> Expr:
        deviation = value.astype(kind) - mean[i[:-1]]
        return deviation * deviation

    squares = reduced(x, -1, reducers.sum, square, "squares")
    scale = te.compute(shape[:-1], lambda *i: fn.rsqrt(squares[i] / n + ops.literal(eps, kind)), name="scale")

    def element(*i: Expr) -> Expr:
        normal = (x[i].astype(kind) - mean[i[:-1]]) * scale[i[:-1]]
        return (normal * weight[i[-1]].astype(kind) + bias[i[-1]].astype(kind)).astype(dtype)

    return te.compute(shape, element, name="layer_norm")


def rms_norm(*shape: Dim, eps: float = EPS, dtype: str = "float32") -> Tensor:
    """x / sqrt(mean of x squared + eps) * weight over the last dimension, whose extent is known.

    >>> print(tl.build(rms_norm(5, 7)).signature)
    rms_norm(x: float32[5, 7], weight: float32[7]) -> rms_norm: float32[5, 7]
    """
    x, kind = te.placeholder(shape, dtype, name="x"), wide(dtype)
    weight, n = te.placeholder(shape[-1:], dtype, name="weight"), count(x, -1)
    squares = reduced(x, -1, reducers.sum, lambda value, _: value.astype(kind) * value.astype(kind), "squares")
    scale = te.compute(shape[:-1], lambda *i: fn.rsqrt(squares[i] / n + ops.literal(eps, kind)), name="scale")

    def element(*i: Expr) -> Expr:
        return (x[i].astype(kind) * scale[i[:-1]] * weight[i[-1]].astype(kind)).astype(dtype)

    return te.compute(shape, element, name="rms_norm")


def batch_norm(
    batch: Dim,
    height: Dim,
    width: Dim,
    channels: Dim,
    eps: float = EPS,
    layout: str = "NCHW",
    dtype: str = "float32",
) -> Tensor:
    """(x - mean) / sqrt(variance + eps) * weight + bias by channel, with the statistics given, as in inference.

    >>> print(tl.build(batch_norm(2, 3, 4, 5)).signature)
    batch_norm(x: float32[2, 5, 3, 4], mean: float32[5], variance: float32[5], weight: float32[5], bias: float32[5])
    -> batch_norm: float32[2, 5, 3, 4]
    """
    order = Layout.of(layout, 2)
    x = te.placeholder(order.order(batch, (height, width), channels), dtype, name="x")
    names = ("mean", "variance", "weight", "bias")
    mean, variance, weight, bias = (te.placeholder((channels,), dtype, name=name) for name in names)

    def element(*i: Expr) -> Expr:
        c = order.parts(i)[2]
        return (x[i] - mean[c]) * fn.rsqrt(variance[c] + ops.literal(eps, dtype)) * weight[c] + bias[c]

    return te.compute(x.shape, element, name="batch_norm", axes=order.names())


# ----------------------------------------------------------------------------------------------------- references
def _softmax_numpy(x: np.ndarray, dim: int = -1) -> np.ndarray:
    powers = np.exp(x - x.max(axis=dim, keepdims=True))
    return powers / powers.sum(axis=dim, keepdims=True)


def _layer_norm_numpy(x: np.ndarray, weight: np.ndarray, bias: np.ndarray, eps: float = EPS) -> np.ndarray:
    mean, variance = x.mean(axis=-1, keepdims=True), x.var(axis=-1, keepdims=True)
    return (x - mean) / np.sqrt(variance + eps) * weight + bias


def _rms_norm_numpy(x: np.ndarray, weight: np.ndarray, eps: float = EPS) -> np.ndarray:
    return x / np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + eps) * weight


def _batch_norm_numpy(
    x: np.ndarray,
    mean: np.ndarray,
    variance: np.ndarray,
    weight: np.ndarray,
    bias: np.ndarray,
    eps: float = EPS,
    layout: str = "NCHW",
) -> np.ndarray:
    by_channel = (-1,) if layout.endswith("C") else (-1, 1, 1)
    mean, variance, weight, bias = (v.reshape(by_channel) for v in (mean, variance, weight, bias))
    return (x - mean) / np.sqrt(variance + eps) * weight + bias


NUMPY: Mapping[str, Callable[..., Any]] = {
    "softmax": _softmax_numpy,
    "log_softmax": lambda x, dim=-1: np.log(_softmax_numpy(x, dim)),
    "layer_norm": _layer_norm_numpy,
    "rms_norm": _rms_norm_numpy,
    "batch_norm": _batch_norm_numpy,
}
