"""A re-laid buffer as it was before: dimensions x // c and x % c, wherever it is accessed, are one dimension x."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tensorlang.arith.simplify import simplify
from tensorlang.ir.nodes import Buffer, Expr, Load, Op, Stmt, Store
from tensorlang.ir.walk import accesses_to, touched, transform

Indices = tuple[Expr, ...]


def unlaid(parts: Sequence[Stmt], buffer: Buffer) -> list[Stmt]:
    """`parts`, which are all that access `buffer`, with a buffer of fewer dimensions in its place where that is known.

    What they compute is no question here: only which accesses meet. If nothing is known, `parts` are returned as given.

        P[j // 4, i, j % 4] = ...; ... = P[x // 4, y, x % 4]   ->   P[j, i] = ...; ... = P[x, y]
    """
    found = dict.fromkeys(n.indices for part in parts for n in accesses_to(buffer, part))
    views = {indices: indices for indices in found}
    shape = buffer.shape
    while (pair := _digits(list(views.values()))) is not None:
        high, low, factor = pair
        views = {given: _without(i, high, low, i[low].args[0]) for given, i in views.items()}  # type: ignore[attr-defined]
        shape = _without(shape, high, low, shape[high] * factor)
    if shape is buffer.shape:
        return list(parts)
    view = Buffer(buffer.name, tuple(map(simplify, shape)), buffer.dtype, buffer.scope)

    def rewrite(n: Any) -> Any:
        if isinstance(n, Load) and n.buffer is buffer:
            return Load(view, views[n.indices], n.mask)
        if isinstance(n, Store) and n.buffer is buffer:
            return n.replace(buffer=view, indices=views[n.indices])
        return n

    return [transform(part, rewrite, lambda e: buffer not in touched(e)) for part in parts]


def _digits(accesses: Sequence[Indices]) -> tuple[int, int, Expr] | None:
    """(p, q, c) if dimension p is x // c and dimension q is x % c in each access; None if no two are."""
    rank = len(accesses[0]) if accesses else 0
    for low in range(rank):
        factors = {i[low].args[1] if _is_mod(i[low]) else None for i in accesses}  # type: ignore[attr-defined]
        factor = next(iter(factors))
        if len(factors) != 1 or factor is None:
            continue
        for high in range(rank):
            if high != low and all(simplify(i[low].args[0] // factor) is i[high] for i in accesses):  # type: ignore[attr-defined]
                return high, low, factor
    return None


def _is_mod(expr: Expr) -> bool:
    return isinstance(expr, Op) and expr.op == "mod"


def _without(values: Indices, high: int, low: int, whole: Expr) -> Indices:
    """`values` with `whole` at `high` and nothing at `low`."""
    return tuple(whole if n == high else v for n, v in enumerate(values) if n != low)
