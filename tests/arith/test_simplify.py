"""Simplification keeps values, and reaches the forms that the rest of the house counts on."""

from __future__ import annotations

import random

import pytest
from index_fuzz import Undefined, World, evaluate

from tensorlang.arith.context import Context
from tensorlang.arith.simplify import simplify


@pytest.mark.parametrize("seed", range(60))
def test_values_are_kept(seed: int) -> None:
    world = World(random.Random(seed))
    points = world.sample(40)
    for n in range(12):
        expr = world.index(3) if n % 2 else world.condition(3)
        fresh, bare = simplify(expr, world.ctx), simplify(expr)
        for at in points:
            try:
                expected = evaluate(expr, at)
            except Undefined:
                continue
            got = evaluate(fresh, at), evaluate(bare, at)
            assert got == (expected, expected), ([str(f) for f in world.facts], expr, fresh, bare, at, expected)
