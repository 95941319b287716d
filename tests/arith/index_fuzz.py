"""Random index expressions, contexts and points in them, and the value of an expression at a point."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator

from tensorlang.arith.context import Context
from tensorlang.ir import ops
from tensorlang.ir.nodes import Const, Expr, Knob, Op, Size, Var, const

Point = dict[Var, int]


class Undefined(Exception):
    """A divisor is not positive here."""


def evaluate(expr: Expr, at: Point) -> int | bool:
    if isinstance(expr, Const):
        return expr.value
    if isinstance(expr, Var):
        return at[expr]
    assert isinstance(expr, Op)
    if expr.op in ("select", "if_then_else"):
        return evaluate(expr.args[1] if evaluate(expr.args[0], at) else expr.args[2], at)
    args = [evaluate(a, at) for a in expr.args]
    if expr.op in ("floordiv", "mod") and args[1] <= 0:
        raise Undefined
    return ops._PYTHON[expr.op](*args)


class World:
    """Two sizes, two knobs, loops whose extents use them, a free variable; perhaps facts."""

    def __init__(self, rng: random.Random):
        self.rng = rng
        self.n, self.m = Size("n"), Size("m")
        self.T, self.U = Knob("T", (1, 2, 4)), Knob("U", (2, 3))
        self.i0, self.i1, self.i2, self.free = Var("i0"), Var("i1"), Var("i2"), Var("x")
        n, m, T, U = self.n, self.m, self.T, self.U
        outer = rng.choice([const(3), n, n // T, (n + T - 1) // T, (n + 3) // 4, n * m, T * U, n // (T * U)])
        middle = rng.choice([const(4), T, m, ops.make("min", T, n - self.i0 * T), U * T, n - self.i0])
        last = rng.choice([const(2), U, const(5), T])
        self.loops = [(self.i0, outer), (self.i1, middle), (self.i2, last)]
        self.facts = []
        if rng.random() < 0.5:
            d = rng.choice([const(2), const(4), T, U, T * U])
            i0, i1 = self.i0, self.i1
            choice = [ops.make("eq", n % d, 0), i0 * T + i1 < n, n <= m, n >= 2, i0 * 4 + i1 < m, i1 * 2 <= i0 + 1]
            self.facts.append(rng.choice(choice))
        self.ctx = Context()
        for var, extent in self.loops:
            self.ctx = self.ctx.bind(var, extent)
        self.ctx = self.ctx.bind_range(self.free, -7, 9)
        for fact in self.facts:
            self.ctx = self.ctx.assume(fact)
        self.variables = [self.i0, self.i1, self.i2, self.free, n, m, T, U]

    def points(self) -> Iterator[Point]:
        """All points with small sizes, in random order."""
        outer = list(itertools.product(range(7), range(5), self.T.choices, self.U.choices))
        self.rng.shuffle(outer)
        for n, m, T, U in outer:
            at = {self.n: n, self.m: m, self.T: T, self.U: U}
            yield from self._inside(self.loops, at)

    def _inside(self, loops: list, at: Point) -> Iterator[Point]:
        if not loops:
            at = {**at, self.free: self.rng.randint(-7, 9)}
            if all(holds(f, at) for f in self.facts):
                yield at
            return
        (var, extent), *rest = loops
        for value in range(evaluate(extent, at)):
            yield from self._inside(rest, {**at, var: value})

    def sample(self, count: int) -> list[Point]:
        """Up to `count` points, spread over the sizes."""
        points = list(itertools.islice(self.points(), 40 * count))
        return self.rng.sample(points, min(count, len(points)))

    def index(self, depth: int) -> Expr:
        rng = self.rng
        if depth == 0 or rng.random() < 0.1:
            return rng.choice([*self.variables, *self.variables, const(rng.randint(-9, 40)), const(rng.choice([4, 8]))])
        kind = rng.choice(["tile", "add", "add", "sub", "mul", "div", "mod", "min", "max", "select", "neg"])
        a = self.index(depth - 1)
        if kind == "tile":
            return a * self.divisor() + rng.choice([self.i1, self.i2, self.i0])
        if kind == "add":
            return a + self.index(depth - 1)
        if kind == "sub":
            return a - self.index(depth - 1)
        if kind == "mul":
            return a * rng.choice([const(rng.randint(-4, 8)), self.T, self.U, self.n])
        if kind == "div":
            return a // self.divisor()
        if kind == "mod":
            return a % self.divisor()
        if kind == "neg":
            return -a
        if kind == "select":
            return ops.make(rng.choice(["select", "if_then_else"]), self.condition(1), a, self.index(depth - 1))
        return ops.make(kind, a, self.index(depth - 1))

    def divisor(self) -> Expr:
        T, U = self.T, self.U
        choices = [const(2), const(3), const(4), const(8), T, U, T * U, T * 2, T * T, self.m, self.n * T, T + 1]
        return self.rng.choice(choices)

    def condition(self, depth: int) -> Expr:
        rng = self.rng
        if depth > 1 and rng.random() < 0.4:
            a, b = self.condition(depth - 1), self.condition(depth - 1)
            return rng.choice([lambda: a & b, lambda: a | b, lambda: ~a])()
        a, b = self.index(2), rng.choice([self.index(1), self.n, const(rng.randint(-4, 33))])
        return ops.make(rng.choice(["lt", "le", "gt", "ge", "eq", "ne"]), a, b)


def holds(cond: Expr, at: Point) -> bool:
    try:
        return bool(evaluate(cond, at))
    except Undefined:
        return False
