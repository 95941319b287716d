"""Index expressions as functions on ints and arrays."""

import random

import numpy as np
import pytest

from tensorlang.errors import ExprError
from tensorlang.ir import ops
from tensorlang.ir.evaluate import numpy_function
from tensorlang.ir.nodes import Buffer, Const, Expr, Knob, Load, Size, Var, const

n, m, t = Var("n"), Size("m"), Knob("t", (1, 2, 4))


def random_index(rng: random.Random, depth: int) -> Expr:
    if depth == 0:
        return rng.choice([n, m, t, const(rng.randint(-9, 9))])
    a, b = random_index(rng, depth - 1), random_index(rng, depth - 1)
    op = rng.choice(["add", "sub", "mul", "min", "max", "floordiv", "mod", "neg", "abs", "select"])
    if op in ("floordiv", "mod"):
        return ops.make(op, a, ops.make("max", b, 1))
    if op == "select":
        return ops.make(rng.choice(["select", "if_then_else"]), random_bool(rng, depth - 1), a, b)
    return ops.make(op, a) if op in ("neg", "abs") else ops.make(op, a, b)


def random_bool(rng: random.Random, depth: int) -> Expr:
    a, b = random_index(rng, depth), random_index(rng, depth)
    compare = ops.make(rng.choice(["lt", "le", "gt", "ge", "eq", "ne"]), a, b)
    if depth == 0:
        return compare
    other = random_bool(rng, depth - 1)
    return rng.choice([compare & other, compare | other, ~compare])


def value_of(expr: Expr, values: dict[Expr, int]) -> int | bool:
    """The value by the book, node by node."""
    if isinstance(expr, Var):
        return values[expr]
    if isinstance(expr, Const):
        return expr.value
    args = [value_of(a, values) for a in expr.args]
    if expr.op in ("select", "if_then_else"):
        return args[1] if args[0] else args[2]
    return ops._PYTHON[expr.op](*args)


def test_ints_arrays_and_floats_agree_with_the_definition():
    rng = random.Random(0)
    points = [(rng.randint(-20, 20), rng.randint(0, 20), rng.choice([1, 2, 4])) for _ in range(30)]
    columns = [np.array(c) for c in zip(*points, strict=True)]
    for _ in range(60):
        exprs = [random_index(rng, 3), random_bool(rng, 2)]
        function = numpy_function(exprs, [n, m, t])
        expected = [[value_of(e, dict(zip((n, m, t), p, strict=True))) for p in points] for e in exprs]
        on_ints = [function(*p) for p in points]
        assert [[r[0] for r in on_ints], [r[1] for r in on_ints]] == expected
        for kind in (np.int64, np.float64):
            for result, column in zip(function(*(c.astype(kind) for c in columns)), expected, strict=True):
                assert np.broadcast_to(result, len(points)).tolist() == column


def test_ints_are_exact():
    assert numpy_function([n * n], [n])(10**20) == [10**40]


def test_shared_parts_are_computed_once():
    value = n
    for _ in range(200):
        value = value + value
    assert numpy_function([value, n], [n])(1) == [2**200, 1]


def test_constants_and_variables_alone():
    assert numpy_function([const(3), n, Const(True, "bool")], [n])(5) == [3, 5, True]
    assert numpy_function([], [n])(5) == []


def test_what_has_no_meaning_is_refused():
    with pytest.raises(ExprError, match="value of m is not given"):
        numpy_function([n + m], [n])
    with pytest.raises(ExprError, match="not an index expression"):
        numpy_function([Load(Buffer("A", (n,), "int64"), (n,))], [n])
    x = Var("x", "float32")
    with pytest.raises(ExprError, match="sqrt has no meaning"):
        numpy_function([ops.make("sqrt", x)], [x])
