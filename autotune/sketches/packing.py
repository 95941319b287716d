"""Copies of operands in the order in which a register tile reads them."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from autotune.task import Schedule

# When an operand is packed: once for all threads, or for each tile and block of the reduction.
ONCE, PER_TILE = "once", "per tile"


@dataclass(frozen=True)
class Operand:
    """A buffer to pack along a dimension; run: the width of a panel if that is fixed."""

    buffer: str
    dimension: int
    rank: int
    run: int | None = None


def pack(s: Schedule, block: str, operand: Operand, width: Any, vector: bool, at: Any = None) -> None:
    """Copy an operand of `block` to panels of `width` along its dimension, each in the order in which it is read.

    vector: the panel's width runs in vectors, else it is unrolled; at: the loop inside which what is needed is copied,
    None for all of it, on all threads.
    """
    width, dimension = operand.run or width, operand.dimension
    copy = s.cache_read(block, operand.buffer, "packed")
    if at is not None:
        s.compute_at(copy, at)
    loops = s.loops(copy)[-operand.rank :]

    def panels(*index: Any) -> tuple[Any, ...]:
        rest = index[:dimension] + index[dimension + 1 :]
        return (index[dimension] // width, *rest, index[dimension] % width)

    s.transform_layout(copy.name, _of_rank(operand.rank, panels))
    panel, lane = s.split(loops[dimension], [None, width])
    others = [loop for n, loop in enumerate(loops) if n != dimension]
    s.reorder(panel, *others, lane)
    if at is None:
        s.parallel(s.fuse(panel, *others[:-1]) if len(others) > 1 else panel)
    if vector:
        s.vectorize(lane)
    else:
        s.unroll(lane)


def _of_rank(rank: int, function: Callable[..., Any]) -> Callable[..., Any]:
    """`function` as one of so many named parameters, as index maps are."""
    names = [inspect.Parameter(f"i{n}", inspect.Parameter.POSITIONAL_OR_KEYWORD) for n in range(rank)]
    function.__signature__ = inspect.Signature(names)  # type: ignore[attr-defined]
    return function
