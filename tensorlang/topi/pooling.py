"""Pooling. Kernels, strides and paddings are the same along each dimension of space.

The stride is by default the kernel. Padding is a stage of its own, which a schedule may inline: -inf or the smallest
integer for the maximum, 0 for the average, which divides by the size of the whole window, padding included, as torch
does by default.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from tensorlang import reducers, te
from tensorlang.errors import ExprError
from tensorlang.ir.nodes import Expr
from tensorlang.te import Dim, Tensor
from tensorlang.topi.dims import wide
from tensorlang.topi.windows import Layout, Window, pad


def max_pool1d(
    batch: Dim,
    length: Dim,
    channels: Dim,
    kernel: int,
    stride: int | None = None,
    padding: int = 0,
    dilation: int = 1,
    layout: str = "NCL",
    dtype: str = "float32",
) -> Tensor:
    """The largest value of each window along one dimension, layout NCL or NLC.

    >>> print(tl.build(max_pool1d(2, 7, 3, 3, 2, 1)).signature)
    max_pool1d(x: float32[2, 3, 7]) -> max_pool1d: float32[2, 3, 4]
    """
    window = _window(kernel, stride, padding, dilation)
    return _max_pool((length,), batch, channels, window, Layout.of(layout, 1), dtype)


def max_pool2d(
    batch: Dim,
    height: Dim,
    width: Dim,
    channels: Dim,
    kernel: int,
    stride: int | None = None,
    padding: int = 0,
    dilation: int = 1,
    layout: str = "NCHW",
    dtype: str = "float32",
) -> Tensor:
    """The largest value of each window of an image.

    >>> print(tl.build(max_pool2d(1, 7, 6, 3, 3, 2, 1)).signature)
    max_pool2d(x: float32[1, 3, 7, 6]) -> max_pool2d: float32[1, 3, 4, 3]
    """
    window = _window(kernel, stride, padding, dilation)
    return _max_pool((height, width), batch, channels, window, Layout.of(layout, 2), dtype)


def max_pool3d(
    batch: Dim,
    depth: Dim,
    height: Dim,
    width: Dim,
    channels: Dim,
    kernel: int,
    stride: int | None = None,
    padding: int = 0,
    dilation: int = 1,
    layout: str = "NCDHW",
    dtype: str = "float32",
) -> Tensor:
    """The largest value of each window of a volume, layout NCDHW or NDHWC.

    >>> print(tl.build(max_pool3d(1, 4, 5, 3, 2, 2, 1, 1)).signature)
    max_pool3d(x: float32[1, 2, 4, 5, 3]) -> max_pool3d: float32[1, 2, 5, 6, 4]
    """
    window = _window(kernel, stride, padding, dilation)
    return _max_pool((depth, height, width), batch, channels, window, Layout.of(layout, 3), dtype)


def avg_pool1d(
    batch: Dim,
    length: Dim,
    channels: Dim,
    kernel: int,
    stride: int | None = None,
    padding: int = 0,
    layout: str = "NCL",
    dtype: str = "float32",
) -> Tensor:
    """The average of each window along one dimension, layout NCL or NLC.

    >>> print(tl.build(avg_pool1d(2, 7, 3, 4, 2, 1)).signature)
    avg_pool1d(x: float32[2, 3, 7]) -> avg_pool1d: float32[2, 3, 3]
    """
    return _avg_pool((length,), batch, channels, _window(kernel, stride, padding), Layout.of(layout, 1), dtype)


def avg_pool2d(
    batch: Dim,
    height: Dim,
    width: Dim,
    channels: Dim,
    kernel: int,
    stride: int | None = None,
    padding: int = 0,
    layout: str = "NCHW",
    dtype: str = "float32",
) -> Tensor:
    """The average of each window of an image.

    >>> print(tl.build(avg_pool2d(1, 7, 6, 3, 2, 1, 1)).signature)
    avg_pool2d(x: float32[1, 3, 7, 6]) -> avg_pool2d: float32[1, 3, 8, 7]
    """
    return _avg_pool((height, width), batch, channels, _window(kernel, stride, padding), Layout.of(layout, 2), dtype)


def avg_pool3d(
    batch: Dim,
    depth: Dim,
    height: Dim,
    width: Dim,
    channels: Dim,
    kernel: int,
    stride: int | None = None,
    padding: int = 0,
    layout: str = "NCDHW",
    dtype: str = "float32",
) -> Tensor:
    """The average of each window of a volume, layout NCDHW or NDHWC.

    >>> print(tl.build(avg_pool3d(1, 4, 5, 3, 2, 2)).signature)
    avg_pool3d(x: float32[1, 2, 4, 5, 3]) -> avg_pool3d: float32[1, 2, 2, 2, 1]
    """
    space, window = (depth, height, width), _window(kernel, stride, padding)
    return _avg_pool(space, batch, channels, window, Layout.of(layout, 3), dtype)


def _window(kernel: int, stride: int | None, padding: int, dilation: int = 1) -> Window:
    window = Window(kernel, kernel if stride is None else stride, padding, dilation)
    if padding > kernel // 2:
        raise ExprError(f"padding: expected at most half of the kernel {kernel}, got {padding}")
    return window


def _max_pool(space: Sequence[Dim], batch: Dim, channels: Dim, window: Window, layout: Layout, dtype: str) -> Tensor:
    x = te.placeholder(layout.order(batch, space, channels), dtype, name="x")
    padded = pad(x, layout, [window.padding] * len(space), value=reducers.min_value(dtype))
    return _pool(padded, space, window, layout, reducers.max, f"max_pool{len(space)}d")


def _avg_pool(space: Sequence[Dim], batch: Dim, channels: Dim, window: Window, layout: Layout, dtype: str) -> Tensor:
    x, rank = te.placeholder(layout.order(batch, space, channels), dtype, name="x"), len(space)
    padded = pad(x, layout, [window.padding] * rank)
    total = _pool(padded, space, window, layout, reducers.sum, "total", wide(dtype))
    size = window.kernel**rank
    return te.compute(
        total.shape, lambda *i: (total[i] / size).astype(dtype), name=f"avg_pool{rank}d", axes=layout.names()
    )


def _pool(
    padded: Tensor,
    space: Sequence[Dim],
    window: Window,
    layout: Layout,
    reduce: Callable[..., Any],
    name: str,
    dtype: str | None = None,
) -> Tensor:
    """The reduction of each window, its values converted to `dtype`."""
    taps = window.taps(layout)
    batch, _, channels = layout.parts(padded.shape)

    def element(*index: Expr) -> Expr:
        n, places, c = layout.parts(index)
        source = [window.at(place, tap) for place, tap in zip(places, taps, strict=True)]
        return reduce(padded[layout.order(n, source, c)].astype(dtype or padded.dtype), axis=taps)

    shape = layout.order(batch, [window.count(extent) for extent in space], channels)
    return te.compute(shape, element, name=name, axes=layout.names())


# ----------------------------------------------------------------------------------------------------- references
def _pool_numpy(
    reduce: Callable[..., np.ndarray],
    value: float,
    x: np.ndarray,
    kernel: int,
    stride: int | None,
    padding: int,
    dilation: int,
    layout: str,
) -> np.ndarray:
    """All windows of the padded image, reduced."""
    rank = x.ndim - 2
    space = tuple(range(1, 1 + rank) if layout.endswith("C") else range(2, 2 + rank))
    around = [(padding, padding) if n in space else (0, 0) for n in range(x.ndim)]
    reach = dilation * (kernel - 1) + 1
    padded = np.pad(x, around, constant_values=value)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (reach,) * rank, axis=space)
    places = tuple(slice(None, None, stride or kernel) if n in space else slice(None) for n in range(x.ndim))
    windows = windows[places + (slice(None, None, dilation),) * rank]
    return reduce(windows, axis=tuple(range(x.ndim, x.ndim + rank)))


def _max_numpy(
    x: np.ndarray, kernel: int, stride: int | None = None, padding: int = 0, dilation: int = 1, layout: str = "NC..."
) -> np.ndarray:
    return _pool_numpy(np.max, reducers.min_value(str(x.dtype)), x, kernel, stride, padding, dilation, layout)


def _avg_numpy(
    x: np.ndarray, kernel: int, stride: int | None = None, padding: int = 0, layout: str = "NC..."
) -> np.ndarray:
    return _pool_numpy(np.mean, 0, x, kernel, stride, padding, 1, layout)


NUMPY: Mapping[str, Callable[..., np.ndarray]] = {
    "max_pool1d": _max_numpy,
    "max_pool2d": _max_numpy,
    "max_pool3d": _max_numpy,
    "avg_pool1d": _avg_numpy,
    "avg_pool2d": _avg_numpy,
    "avg_pool3d": _avg_numpy,
}
