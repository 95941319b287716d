"""Transposed convolutions: what a convolution does to gradients. Kernels, strides and paddings as in convolution.py.

Weights are IOHW with channels first, as in torch, and HWIO with channels last; the same without H, and with D.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from tensorlang import functions as fn
from tensorlang import reducers, te
from tensorlang.errors import ExprError
from tensorlang.ir import ops
from tensorlang.ir.nodes import Expr
from tensorlang.te import Dim, Tensor
from tensorlang.topi.windows import Layout, Window, check_int, pad


def conv_transpose1d(
    batch: Dim,
    length: Dim,
    in_channels: Dim,
    out_channels: Dim,
    kernel: int,
    stride: int = 1,
    padding: int = 0,
    output_padding: int = 0,
    layout: str = "NCL",
    dtype: str = "float32",
    out_dtype: str | None = None,
) -> Tensor:
    """Transposed convolution along one dimension; weights IOL, or LIO for layout NLC.

    >>> print(tl.build(conv_transpose1d(2, 5, 3, 2, 4, 2, 1)).signature)
    conv_transpose1d(x: float32[2, 3, 5], w: float32[3, 2, 4]) -> conv_transpose1d: float32[2, 2, 10]
    """
    window, order = Window(kernel, stride, padding), Layout.of(layout, 1)
    return _conv_transpose((length,), batch, in_channels, out_channels, window, output_padding, order, dtype, out_dtype)


def conv_transpose2d(
    batch: Dim,
    height: Dim,
    width: Dim,
    in_channels: Dim,
    out_channels: Dim,
    kernel: int,
    stride: int = 1,
    padding: int = 0,
    output_padding: int = 0,
    layout: str = "NCHW",
    dtype: str = "float32",
    out_dtype: str | None = None,
) -> Tensor:
    """Transposed convolution of images; weights IOHW, or HWIO for layout NHWC.

    >>> print(tl.build(conv_transpose2d(1, 4, 5, 3, 2, 4, 2, 1)).signature)
    conv_transpose2d(x: float32[1, 3, 4, 5], w: float32[3, 2, 4, 4]) -> conv_transpose2d: float32[1, 2, 8, 10]
    """
    window, order, space = Window(kernel, stride, padding), Layout.of(layout, 2), (height, width)
    return _conv_transpose(space, batch, in_channels, out_channels, window, output_padding, order, dtype, out_dtype)


def conv_transpose3d(
    batch: Dim,
    depth: Dim,
    height: Dim,
    width: Dim,
    in_channels: Dim,
    out_channels: Dim,
    kernel: int,
    stride: int = 1,
    padding: int = 0,
    output_padding: int = 0,
    layout: str = "NCDHW",
    dtype: str = "float32",
    out_dtype: str | None = None,
) -> Tensor:
    """Transposed convolution of volumes; weights IODHW, or DHWIO for layout NDHWC.

    >>> print(tl.build(conv_transpose3d(1, 2, 3, 2, 3, 2, 3, 2, 1)).signature)
    conv_transpose3d(x: float32[1, 3, 2, 3, 2], w: float32[3, 2, 3, 3, 3]) -> conv_transpose3d: float32[1, 2, 3, 5, 3]
    """
    window, order, space = Window(kernel, stride, padding), Layout.of(layout, 3), (depth, height, width)
    return _conv_transpose(space, batch, in_channels, out_channels, window, output_padding, order, dtype, out_dtype)


def _conv_transpose(
    space: Sequence[Dim],
    batch: Dim,
    in_channels: Dim,
    out_channels: Dim,
    window: Window,
    output_padding: int,
    layout: Layout,
    dtype: str,
    out_dtype: str | None,
) -> Tensor:
    """A transposed convolution, accumulated in `out_dtype`, of which no product has a factor that is always zero.

    Output element i is the sum over all inputs p and taps t with p * stride + t == i + padding. Of the taps, those
    with t % stride == (i + padding) % stride count, so they are t = (i + padding) % stride + stride * step, and they
    meet p = (i + padding) // stride - step. Where stride does not divide the kernel, the last step meets a zero.
    """
    out, rank, stride, padding = out_dtype or dtype, len(space), window.stride, window.padding
    check_int("output_padding", output_padding, 0)
    if output_padding >= max(stride, 2):
        raise ExprError(f"output_padding: expected less than the stride {stride}, got {output_padding}")
    x = te.placeholder(layout.order(batch, space, in_channels), dtype, name="x")
    w = te.placeholder(layout.weight_transposed([window.kernel] * rank, in_channels, out_channels), dtype, name="w")
    steps = -(-window.kernel // stride)
    extents = [extent * stride + (window.kernel + output_padding - 2 * padding - stride) for extent in space]
    for extent in extents:
        if isinstance(extent, int) and extent < 1:
            raise ExprError(f"padding: {padding} on either side leaves nothing of the output")
    behind = (window.kernel + output_padding - padding - 1) // stride
    padded = pad(x, layout, [steps - 1] * rank, [max(behind, 0)] * rank)
    weight = w if window.kernel % stride == 0 else _pad_weight(w, layout, rank, steps * stride)
    axes, c = [te.reduce_axis(steps, f"k{name}") for name in layout.space], te.reduce_axis(in_channels, "c")

    def element(*index: Expr) -> Expr:
        n, places, o = layout.parts(index)
        shifted = [place + padding for place in places]
        source = [place // stride + (steps - 1) - step for place, step in zip(shifted, axes, strict=True)]
        taps = [place % stride + stride * step for place, step in zip(shifted, axes, strict=True)]
        value, factor = padded[layout.order(n, source, c)], weight[layout.weight_transposed(taps, c, o)]
        return reducers.sum(value.astype(out) * factor.astype(out), axis=layout.reduced(axes, c))

    shape = layout.order(batch, extents, out_channels)
    return te.compute(shape, element, name=f"conv_transpose{rank}d", axes=layout.names("o"))


def _pad_weight(w: Tensor, layout: Layout, rank: int, kernel: int) -> Tensor:
    """Weights of a transposed convolution with zeros behind, up to `kernel` in each dimension of space."""
    first = 0 if layout.channels_last else 2
    shape = [kernel if first <= n < first + rank else extent for n, extent in enumerate(w.shape)]

    def element(*index: Expr) -> Expr:
        inside = functools.reduce(operator.and_, [index[n] < w.shape[n] for n in range(first, first + rank)])
        return fn.if_then_else(inside, w[index], ops.literal(0, w.dtype))

    names = layout.weight_transposed([f"k{name}" for name in layout.space], "c", "o")
    return te.compute(shape, element, name="w_padded", axes=names)


# ----------------------------------------------------------------------------------------------------- references
def _conv_transpose_numpy(
    x: np.ndarray,
    w: np.ndarray,
    stride: int = 1,
    padding: int = 0,
    output_padding: int = 0,
    layout: str = "NC...",
) -> np.ndarray:
    """Each input element adds the weights times itself to a window of the output, then the padding is cut off."""
    if layout.endswith("C"):
        x, w = np.moveaxis(x, -1, 1), np.moveaxis(w, (-2, -1), (0, 1))
    every = (slice(None),) * 2
    extents = [(n - 1) * stride + k + output_padding for n, k in zip(x.shape[2:], w.shape[2:], strict=True)]
    y = np.zeros((x.shape[0], w.shape[1], *extents), x.dtype)
    for tap in np.ndindex(*w.shape[2:]):
        places = tuple(slice(t, t + (n - 1) * stride + 1, stride) for t, n in zip(tap, x.shape[2:], strict=True))
        y[every + places] += np.einsum("nc...,co->no...", x, w[every + tap])
    y = y[every + tuple(slice(padding, extent - padding) for extent in extents)]
    return np.moveaxis(y, 1, -1) if layout.endswith("C") else y


NUMPY: Mapping[str, Callable[..., np.ndarray]] = {
    "conv_transpose1d": _conv_transpose_numpy,
    "conv_transpose2d": _conv_transpose_numpy,
    "conv_transpose3d": _conv_transpose_numpy,
}
