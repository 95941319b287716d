"""Operators on each element by itself, and transposition: `*shape`, the shape of each argument, then options."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from tensorlang import functions as fn
from tensorlang import te
from tensorlang.ir import ops
from tensorlang.ir.nodes import Expr
from tensorlang.te import Dim, Tensor
from tensorlang.topi.dims import positions

Shape = tuple[Dim, ...]
ACTIVATIONS: Mapping[str, Callable[[Expr], Expr]] = {
    "none": lambda x: x,
    "relu": lambda x: fn.maximum(x, ops.literal(0, x.dtype)),
    "gelu": lambda x: x * 0.5 * (fn.erf(x * math.sqrt(0.5)) + 1),
    "silu": lambda x: x * fn.sigmoid(x),
    "sigmoid": fn.sigmoid,
    "tanh": fn.tanh,
}


def relu(*shape: Dim, dtype: str = "float32") -> Tensor:
    """max(x, 0).

    >>> print(tl.build(relu(3, 5)).signature)
    relu(x: float32[3, 5]) -> relu: float32[3, 5]
    """
    return _unary(shape, dtype, "relu", ACTIVATIONS["relu"])


def leaky_relu(*shape: Dim, negative_slope: float = 0.01, dtype: str = "float32") -> Tensor:
    """x where x > 0, x * negative_slope elsewhere.

    >>> print(tl.build(leaky_relu(3, 5)).signature)
    leaky_relu(x: float32[3, 5]) -> leaky_relu: float32[3, 5]
    """
    return _unary(shape, dtype, "leaky_relu", lambda x: fn.select(x > 0, x, x * ops.literal(negative_slope, dtype)))


def gelu(*shape: Dim, dtype: str = "float32") -> Tensor:
    """x * (1 + erf(x / sqrt(2))) / 2.

    >>> print(tl.build(gelu(3, 5)).signature)
    gelu(x: float32[3, 5]) -> gelu: float32[3, 5]
    """
    return _unary(shape, dtype, "gelu", ACTIVATIONS["gelu"])


def gelu_tanh(*shape: Dim, dtype: str = "float32") -> Tensor:
    """The approximation of gelu by tanh: x * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 * x^3))) / 2.

    >>> print(tl.build(gelu_tanh(3, 5)).signature)
    gelu_tanh(x: float32[3, 5]) -> gelu_tanh: float32[3, 5]
    """
    return _unary(
        shape,
        dtype,
        "gelu_tanh",
        lambda x: x * 0.5 * (fn.tanh((x + x * x * x * 0.044715) * math.sqrt(2 / math.pi)) + 1),
    )


def silu(*shape: Dim, dtype: str = "float32") -> Tensor:
    """x * sigmoid(x).

    >>> print(tl.build(silu(3, 5)).signature)
    silu(x: float32[3, 5]) -> silu: float32[3, 5]
    """
    return _unary(shape, dtype, "silu", ACTIVATIONS["silu"])


def sigmoid(*shape: Dim, dtype: str = "float32") -> Tensor:
    """1 / (1 + exp(-x)).

    >>> print(tl.build(sigmoid(3, 5)).signature)
    sigmoid(x: float32[3, 5]) -> sigmoid: float32[3, 5]
    """
    return _unary(shape, dtype, "sigmoid", fn.sigmoid)


def tanh(*shape: Dim, dtype: str = "float32") -> Tensor:
    """The hyperbolic tangent.

    >>> print(tl.build(tanh(3, 5)).signature)
    tanh(x: float32[3, 5]) -> tanh: float32[3, 5]
    """
    return _unary(shape, dtype, "tanh", fn.tanh)


def exp(*shape: Dim, dtype: str = "float32") -> Tensor:
    """e ** x.

    >>> print(tl.build(exp(3, 5)).signature)
    exp(x: float32[3, 5]) -> exp: float32[3, 5]
    """
    return _unary(shape, dtype, "exp", fn.exp)


def log(*shape: Dim, dtype: str = "float32") -> Tensor:
    """The natural logarithm.

    >>> print(tl.build(log(3, 5)).signature)
    log(x: float32[3, 5]) -> log: float32[3, 5]
    """
    return _unary(shape, dtype, "log", fn.log)


def sqrt(*shape: Dim, dtype: str = "float32") -> Tensor:
    """The square root.

    >>> print(tl.build(sqrt(3, 5)).signature)
    sqrt(x: float32[3, 5]) -> sqrt: float32[3, 5]
    """
    return _unary(shape, dtype, "sqrt", fn.sqrt)


def abs(*shape: Dim, dtype: str = "float32") -> Tensor:
    """The absolute value.

    >>> print(tl.build(abs(3, 5)).signature)
    abs(x: float32[3, 5]) -> abs: float32[3, 5]
    """
    return _unary(shape, dtype, "abs", fn.abs)


def neg(*shape: Dim, dtype: str = "float32") -> Tensor:
    """-x.

    >>> print(tl.build(neg(3, 5)).signature)
    neg(x: float32[3, 5]) -> neg: float32[3, 5]
    """
    return _unary(shape, dtype, "neg", lambda x: -x)


def add(*shape: Dim, dtype: str = "float32") -> Tensor:
    """x + y.

    >>> print(tl.build(add(3, 5)).signature)
    add(x: float32[3, 5], y: float32[3, 5]) -> add: float32[3, 5]
    """
    return _binary(shape, dtype, "add", lambda x, y: x + y)


def sub(*shape: Dim, dtype: str = "float32") -> Tensor:
    """x - y.

    >>> print(tl.build(sub(3, 5)).signature)
    sub(x: float32[3, 5], y: float32[3, 5]) -> sub: float32[3, 5]
    """
    return _binary(shape, dtype, "sub", lambda x, y: x - y)


def mul(*shape: Dim, dtype: str = "float32") -> Tensor:
    """x * y.

    >>> print(tl.build(mul(3, 5)).signature)
    mul(x: float32[3, 5], y: float32[3, 5]) -> mul: float32[3, 5]
    """
    return _binary(shape, dtype, "mul", lambda x, y: x * y)


def div(*shape: Dim, dtype: str = "float32") -> Tensor:
    """x / y.

    >>> print(tl.build(div(3, 5)).signature)
    div(x: float32[3, 5], y: float32[3, 5]) -> div: float32[3, 5]
    """
    return _binary(shape, dtype, "div", lambda x, y: x / y)


def maximum(*shape: Dim, dtype: str = "float32") -> Tensor:
    """The larger one, NaN if either is NaN.

    >>> print(tl.build(maximum(3, 5)).signature)
    maximum(x: float32[3, 5], y: float32[3, 5]) -> maximum: float32[3, 5]
    """
    return _binary(shape, dtype, "maximum", fn.maximum)


def minimum(*shape: Dim, dtype: str = "float32") -> Tensor:
    """The smaller one, NaN if either is NaN.

    >>> print(tl.build(minimum(3, 5)).signature)
    minimum(x: float32[3, 5], y: float32[3, 5]) -> minimum: float32[3, 5]
    """
    return _binary(shape, dtype, "minimum", fn.minimum)


def bias_add(*shape: Dim, dtype: str = "float32") -> Tensor:
    """x + bias, with one value of bias[n] for each index of the last dimension.

    >>> print(tl.build(bias_add(3, 5)).signature)
    bias_add(x: float32[3, 5], bias: float32[5]) -> bias_add: float32[3, 5]
    """
    x, bias = te.placeholder(shape, dtype, name="x"), te.placeholder(shape[-1:], dtype, name="bias")
    return te.compute(shape, lambda *i: x[i] + bias[i[-1]], name="bias_add")


def transpose(*shape: Dim, dim0: int = -2, dim1: int = -1, dtype: str = "float32") -> Tensor:
    """x with the dimensions dim0 and dim1 swapped; `shape` is that of x.

    >>> print(tl.build(transpose(3, 5)).signature)
    transpose(x: float32[3, 5]) -> transpose: float32[5, 3]
    """
    x = te.placeholder(shape, dtype, name="x")
    one, other = positions(len(shape), (dim0, dim1))

    def swapped(values: Any) -> tuple[Any, ...]:
        values = list(values)
        values[one], values[other] = values[other], values[one]
        return tuple(values)

    return te.compute(swapped(shape), lambda *i: x[swapped(i)], name="transpose")


def _unary(shape: Shape, dtype: str, name: str, function: Callable[[Expr], Expr]) -> Tensor:
    x = te.placeholder(shape, dtype, name="x")
    return te.compute(shape, lambda *i: function(x[i]), name=name)


def _binary(shape: Shape, dtype: str, name: str, function: Callable[[Expr, Expr], Expr]) -> Tensor:
    x, y = te.placeholder(shape, dtype, name="x"), te.placeholder(shape, dtype, name="y")
    return te.compute(shape, lambda *i: function(x[i], y[i]), name=name)


# ----------------------------------------------------------------------------------------------------- references
def _sigmoid_numpy(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


NUMPY: Mapping[str, Callable[..., np.ndarray]] = {
    "relu": lambda x: np.maximum(x, 0),
    "leaky_relu": lambda x, negative_slope=0.01: np.where(x > 0, x, x * negative_slope),
    "gelu": lambda x: x * 0.5 * (np.vectorize(math.erf, otypes=[x.dtype])(x * math.sqrt(0.5)) + 1),
    "gelu_tanh": lambda x: x * 0.5 * (np.tanh((x + x**3 * 0.044715) * math.sqrt(2 / math.pi)) + 1),
    "silu": lambda x: x * _sigmoid_numpy(x),
    "sigmoid": _sigmoid_numpy,
    "tanh": np.tanh,
    "exp": np.exp,
    "log": np.log,
    "sqrt": np.sqrt,
    "abs": np.abs,
    "neg": np.negative,
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "div": np.divide,
    "maximum": np.maximum,
    "minimum": np.minimum,
    "bias_add": np.add,
    "transpose": lambda x, dim0=-2, dim1=-1: np.swapaxes(x, dim0, dim1),
}
