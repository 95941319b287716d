"""What convolution and pooling share: layouts of images, padding, windows that slide."""

from __future__ import annotations

import functools
import operator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tensorlang import functions as fn
from tensorlang import te
from tensorlang.errors import ExprError
from tensorlang.ir import ops
from tensorlang.ir.nodes import Expr
from tensorlang.te import Dim, Tensor

LAYOUTS = {1: ("NCL", "NLC"), 2: ("NCHW", "NHWC"), 3: ("NCDHW", "NDHWC")}


@dataclass(frozen=True)
class Layout:
    """The order of the dimensions of images: batch, channels first or last, and `space`, the names of the others."""

    space: tuple[str, ...]
    channels_last: bool

    @classmethod
    def of(cls, text: str, rank: int) -> Layout:
        """The layout that `text` names, with `rank` dimensions of space. Raises ExprError if there is none."""
        if text not in LAYOUTS[rank]:
            raise ExprError(f"layout: expected {' or '.join(LAYOUTS[rank])}, got {text!r}")
        return cls(tuple(LAYOUTS[rank][0][2:].lower()), text.endswith("C"))

    def order(self, n: Any, space: Sequence[Any], c: Any) -> tuple[Any, ...]:
        """Batch, space and channel in the order of this layout."""
        return (n, *space, c) if self.channels_last else (n, c, *space)

    def parts(self, values: Sequence[Any]) -> tuple[Any, tuple[Any, ...], Any]:
        """Batch, space and channel out of values in the order of this layout."""
        if self.channels_last:
            return values[0], tuple(values[1:-1]), values[-1]
        return values[0], tuple(values[2:]), values[1]

    def names(self, channel: str = "c") -> tuple[str, ...]:
        """Names of the axes over an image."""
        return self.order("n", self.space, channel)

    def weight(self, kernel: Sequence[Any], i: Any, o: Any) -> tuple[Any, ...]:
        """Weights of a convolution: HWIO with channels last, OIHW with channels first."""
        return (*kernel, i, o) if self.channels_last else (o, i, *kernel)

    def weight_transposed(self, kernel: Sequence[Any], i: Any, o: Any) -> tuple[Any, ...]:
        """Weights of a transposed convolution: HWIO with channels last, IOHW with channels first."""
        return (*kernel, i, o) if self.channels_last else (i, o, *kernel)

    def reduced(self, kernel: Sequence[Any], c: Any) -> tuple[Any, ...]:
        """The axes of a sum over a window and the channels, the one that runs along memory last."""
        return (*kernel, c) if self.channels_last else (c, *kernel)


@dataclass(frozen=True)
class Window:
    """A window that slides along each dimension of space: all in elements, the same in each dimension."""

    kernel: int
    stride: int = 1
    padding: int = 0
    dilation: int = 1

    def __post_init__(self) -> None:
        for name, least in (("kernel", 1), ("stride", 1), ("padding", 0), ("dilation", 1)):
            check_int(name, getattr(self, name), least)

    @property
    def reach(self) -> int:
        """The extent of the window from its first to its last element."""
        return self.dilation * (self.kernel - 1) + 1

    def count(self, extent: Dim) -> Dim:
        """How many places the window has along a dimension. Raises ExprError if it does not fit at all."""
        if isinstance(extent, int) and extent + 2 * self.padding < self.reach:
            raise ExprError(
                f"kernel: a window of {self.reach} does not fit into {extent} + 2 * {self.padding} elements"
            )
        return (extent + (2 * self.padding - self.reach + self.stride)) // self.stride

    def at(self, place: Expr, tap: Expr) -> Expr:
        """The index of element `tap` of the window at `place`, in the padded image."""
        return place * self.stride + tap * self.dilation

    def taps(self, layout: Layout) -> tuple[te.ReduceAxis, ...]:
        """An axis over the window for each dimension of space."""
        return tuple(te.reduce_axis(self.kernel, f"k{name}") for name in layout.space)


def pad(
    x: Tensor, layout: Layout, before: Sequence[int], after: Sequence[int] | None = None, value: float = 0
) -> Tensor:
    """`x` with so many elements `before` and `after` (by default as many) it in each dimension of space.

    x itself if there are none.
    """
    after = before if after is None else after
    if not any(before) and not any(after):
        return x
    n, space, c = layout.parts(x.shape)
    padded = [first + extent + last for first, extent, last in zip(before, space, after, strict=True)]

    def element(*index: Expr) -> Expr:
        batch, places, channel = layout.parts(index)
        inside: list[Expr] = []
        for place, first, extent, last in zip(places, before, space, after, strict=True):
            inside += [place >= first] if first else []
            inside += [place < extent + first] if last else []
        source = layout.order(batch, [place - first for place, first in zip(places, before, strict=True)], channel)
        condition = functools.reduce(operator.and_, inside)
        return fn.if_then_else(condition, x[source], ops.literal(value, x.dtype))

    return te.compute(layout.order(n, padded, c), element, name=f"{x.name}_padded", axes=layout.names())


def check_int(name: str, value: Any, least: int) -> None:
    """Raise ExprError unless `value` is an int of at least `least`."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ExprError(f"{name}: expected an int of at least {least}, got {value!r}")
