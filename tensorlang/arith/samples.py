"""A few points of a context. A polynomial that is negative at one of them cannot be proved >= 0.

This ends most hopeless proofs at once. It cannot make a wrong one: points only ever refute.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from tensorlang.arith.context import MOST_REMEMBERED, Context
from tensorlang.arith.poly import Poly, poly
from tensorlang.ir.nodes import Const, Expr, Knob, Op, Size, Var

POINTS = 8  # kept per context
TRIES = 40  # made to find them
SIZES = (1, 2, 5, 7, 12, 16, 31, 48, 64, 100, 1000, 1024)
OPERATIONS: dict[str, Callable[[int, int], int | None]] = {
    "floordiv": lambda a, b: a // b if b > 0 else None,
    "mod": lambda a, b: a % b if b > 0 else None,
    "min": min,
    "max": max,
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
}


class Point:
    """Values of atoms; None for what is not known or has no value. Variables that nothing is known of get any."""

    def __init__(self, seed: int):
        self.rng = random.Random(seed)
        self.values: dict[Expr, int | None] = {}

    def value(self, p: Poly) -> int | None:
        total = 0
        for m, c in p.items():
            for x in m:
                value = self.values[x] if x in self.values else self._atom(x)
                if value is None:
                    return None
                c *= value
            total += c
        return total

    def _atom(self, x: Expr) -> int | None:
        self.values[x] = out = self._evaluated(x)
        return out

    def _evaluated(self, x: Expr) -> int | None:
        if isinstance(x, Const):
            return int(x.value)
        if isinstance(x, Knob):
            return self.rng.choice(x.choices) if x.choices else self.rng.choice(SIZES)
        if isinstance(x, Size):
            return self.rng.choice(SIZES)
        if isinstance(x, Var):
            return self.rng.randint(-20, 60)
        if isinstance(x, Op) and x.op in OPERATIONS:
            a, b = (self.value(poly(y)) for y in x.args)
            return None if a is None or b is None else OPERATIONS[x.op](a, b)
        return self.rng.randint(0, 1) if not isinstance(x, Op) or x.op == "cast" else None  # loaded data

    def place(self, var: Var, lo: Poly | None, hi: Poly | None, corner: int) -> bool:
        """Give `var` a value in its range: the lower end, the upper end, or any. False if the range is empty."""
        low, high = (None if end is None else self.value(end) for end in (lo, hi))
        if (lo is not None and low is None) or (hi is not None and high is None):
            return False
        if low is None:
            low = (high or 0) - 20
        if high is None:
            high = low + 40
        if low > high:
            return False
        self.values[var] = low if corner == 0 else high if corner == 1 else self.rng.randint(low, high)
        return True


def points(ctx: Context) -> list[Point]:
    """Points that fulfil all facts of the context; there may be none."""
    found = ctx.memo.get("points")
    if found is None or (found and len(found[0].values) > MOST_REMEMBERED):
        found = ctx.memo["points"] = []
        for seed in range(TRIES):
            point = Point(seed)
            corners = ((seed + n * (seed % 3)) % 4 for n in range(len(ctx.bound)))
            ranges = zip(ctx.bound.items(), corners, strict=True)
            inside = all(point.place(var, lo, hi, corner) for (var, (lo, hi)), corner in ranges)
            if inside and all((value := point.value(f)) is not None and value >= 0 for f in ctx.facts):
                found.append(point)
            if len(found) == POINTS:
                break
    return found


def refuted(p: Poly, ctx: Context) -> bool:
    """True only if p < 0 somewhere in the context (as far as its ranges and inequalities describe it)."""
    return any((point.value(p) or 0) < 0 for point in points(ctx))
