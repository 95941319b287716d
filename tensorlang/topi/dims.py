"""What reductions and normalizations share: dimensions named as in torch, and reductions over some of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from tensorlang import te
from tensorlang.errors import ExprError
from tensorlang.ir import dtypes
from tensorlang.ir.nodes import Const, Expr
from tensorlang.te import Tensor

Dims = int | Sequence[int]


def positions(ndim: int, dim: Dims) -> tuple[int, ...]:
    """`dim`, which may count from the end, as positions in ascending order.

    Raises ExprError for one that a tensor of `ndim` dimensions does not have, for repetitions, and for none at all.
    """
    given = (dim,) if isinstance(dim, int) else tuple(dim)
    for d in given:
        if isinstance(d, bool) or not isinstance(d, int) or not -ndim <= d < ndim:
            raise ExprError(f"dim: expected ints in {-ndim} .. {ndim - 1}, got {d!r}")
    found = sorted({d % ndim for d in given})
    if len(found) != len(given) or not found:
        raise ExprError(f"dim: expected one or more different dimensions, got {dim!r}")
    return tuple(found)


def without(values: Sequence[Any], gone: Sequence[int]) -> tuple[Any, ...]:
    """`values` but for those at the positions `gone`."""
    return tuple(value for n, value in enumerate(values) if n not in gone)


def reduced(
    x: Tensor, dim: Dims, reduce: Callable[..., Any], source: Callable[..., Any], name: Any, keepdim: bool = False
) -> Any:
    """The tensor that reduces `x` over `dim`.

    reduce(value, axis=axes) is the reduction of what `source(element, index)` gives, with the element of x and its
    index; name: as for compute; keepdim: keep the reduced dimensions, with extent 1.
    """
    gone = positions(x.ndim, dim)
    names = ("k",) if len(gone) == 1 else tuple(f"k{n}" for n in range(len(gone)))
    axes = {n: te.reduce_axis(x.shape[n], name) for n, name in zip(gone, names, strict=True)}
    shape = [1 if n in axes else extent for n, extent in enumerate(x.shape)] if keepdim else without(x.shape, gone)

    def element(*i: Expr) -> Any:
        kept = iter(without(i, gone) if keepdim else i)
        index = tuple(axes[n] if n in axes else next(kept) for n in range(x.ndim))
        return reduce(source(x[index], index), axis=tuple(axes.values()))

    return te.compute(shape, element, name=name)


def count(x: Tensor, dim: Dims) -> int:
    """How many elements `dim` has, for known extents. Raises ExprError for others."""
    extents = [x.shape[n] for n in positions(x.ndim, dim)]
    open_extent = next((extent for extent in extents if not isinstance(extent, Const)), None)
    if open_extent is not None:
        raise ExprError(f"dim: expected dimensions of known extents, got the extent {open_extent!r}")
    return math.prod(int(extent.value) for extent in extents if isinstance(extent, Const))


def wide(dtype: str) -> str:
    """The dtype in which to sum up values of `dtype`: float32 for narrow floats."""
    return "float32" if dtype in dtypes.NARROW else dtype
