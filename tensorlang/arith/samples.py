"""A few points of a context. A polynomial that is negative at one of them cannot be proved >= 0.

This ends most hopeless proofs at once. It cannot make a wrong one: points only ever refute.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tensorlang.arith.context import MOST_REMEMBERED, Context
from tensorlang.arith.poly import Poly, poly
from tensorlang.ir.nodes import Const, Expr, Knob, Op, Size, Var
from tensorlang.ir.walk import free_vars

POINTS = 8  # kept per context
TRIES = 40  # made to find them
AIMED = 24  # points made for one polynomial
LOW, HIGH, ANY = 0, 1, 2  # corners of ranges: their ends; ANY and above stand for any value
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
        self.state, self.values = seed, dict[Expr, int | None]()
        self.below(1)

    def below(self, n: int) -> int:
        """Any of 0 .. n - 1: a linear congruential generator, which is quick to make and to copy."""
        self.state = (self.state * 6364136223846793005 + 1442695040888963407) % (1 << 64)
        return (self.state >> 32) % n

    def copy(self) -> Point:
        """The same values."""
        out = object.__new__(Point)
        out.state, out.values = self.state, self.values.copy()
        return out

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
        if isinstance(x, Knob | Size):
            values = x.choices if isinstance(x, Knob) and x.choices else SIZES
            return values[self.below(len(values))]
        if isinstance(x, Var):
            return self.below(81) - 20
        if isinstance(x, Op) and x.op in OPERATIONS:
            a, b = (self.value(poly(y)) for y in x.args)
            return None if a is None or b is None else OPERATIONS[x.op](a, b)
        return self.below(2) if not isinstance(x, Op) or x.op == "cast" else None  # loaded data

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
        if var in self.values:  # what was made of its value goes
            self.values = {x: v for x, v in self.values.items() if isinstance(x, Var)}
        self.values[var] = low if corner == LOW else high if corner == HIGH else low + self.below(high - low + 1)
        return True


def points(ctx: Context) -> list[Point]:
    """Points that fulfil all facts of the context; there may be none."""
    found = ctx.memo.get("points")
    if found is None or (found and len(found[0].values) > MOST_REMEMBERED):
        found = ctx.memo["points"] = _extended(ctx) or _tried(ctx)
    return found


def _extended(ctx: Context) -> list[Point]:
    """Those of the context outside, with a value for the variable bound last."""
    if ctx.outer is None:
        return []
    var, outside = ctx.outer
    found = [point.copy() for point in points(outside)]
    return [point for n, point in enumerate(found) if point.place(var, *ctx.bound[var], _corner(n, len(ctx.bound)))]


def _tried(ctx: Context) -> list[Point]:
    found: list[Point] = []
    for seed in range(TRIES):
        point = _placed(ctx, seed, [_corner(seed, n) for n in range(len(ctx.bound))])
        if point is not None:
            found.append(point)
        if len(found) == POINTS:
            break
    return found


def _corner(seed: int, number: int) -> int:
    """Where point number `seed` is in the range of variable `number`."""
    return (seed + number * (seed % 3)) % 4


def _placed(ctx: Context, seed: int, corners: Sequence[int]) -> Point | None:
    """The point with these corners of the ranges of all bound variables, if it fulfils the facts."""
    point = Point(seed)
    for (var, (lo, hi)), corner in zip(ctx.bound.items(), corners, strict=True):
        if not point.place(var, lo, hi, corner):
            return None
    if all((value := point.value(f)) is not None and value >= 0 for f in ctx.facts):
        return point
    return None


def refuted(p: Poly, ctx: Context) -> bool:
    """True only if p < 0 somewhere in the context (as far as its ranges and inequalities describe it)."""
    return any((point.value(p) or 0) < 0 for point in points(ctx))


def refuted_at_worst(p: Poly, ctx: Context) -> bool:
    """The same, of points made for p: each variable is at the end of its range where p is likely the least, and every
    other time variables that p says nothing about are at the low end, where guards hold."""
    weights = dict[Expr, int]()
    for m, c in p.items():
        for x in {var for atom in m for var in free_vars(atom)}:
            weights[x] = weights.get(x, 0) + (1 if c > 0 else -1)
    for seed in range(AIMED):
        rest = LOW if seed % 2 else ANY
        signs = (weights.get(var, 0) for var in ctx.bound)
        point = _placed(ctx, seed, [rest if sign == 0 else LOW if sign > 0 else HIGH for sign in signs])
        if point is not None and (point.value(p) or 0) < 0:
            return True
    return False
