"""Funcs and expressions as JSON, and the structural hash."""

import json
import subprocess
import sys

import numpy as np
import pytest

from tensorlang.errors import ExprError
from tensorlang.ir import interp, ops, walk
from tensorlang.ir.nodes import (
    NOTHING,
    ORDERED,
    PARALLEL,
    TRUE,
    Alloc,
    Block,
    Buffer,
    Const,
    Do,
    For,
    Func,
    If,
    Iter,
    Knob,
    Let,
    LetStmt,
    Load,
    Ramp,
    Reduce,
    Reducer,
    Size,
    Splat,
    Store,
    Var,
    const,
    seq,
)
from tensorlang.ir.printer import text
from tensorlang.ir.serial import expr_from_json, expr_to_json, from_json, structural_hash, to_json
from tensorlang.ir.verify import verify
from tests.ir.small_funcs import extents, literal, matmul, nest, row_sum


def everything() -> Func:
    """A Func with every node that has a JSON form (it is not meant to run)."""
    n, t = Size("n"), Knob("t", (2, 4))
    a, out = Buffer("A", (n, const(4)), "bfloat16"), Buffer("out", (n, const(4)), "float32")
    temp = Buffer("A", extents(8), "float32", "local")  # a second buffer of this name
    i, j, i2 = Var("i"), Var("j"), Var("i")
    x, y = Var("x", "float32"), Var("y", "float32")
    left, right = Var("l", "float32"), Var("r", "float32")
    reducer = Reducer("prod", (left,), (right,), (left * right,), (literal(float("inf")),), False)
    wide = Load(a, (i2, j)).astype("float32")
    block = Block(
        "out",
        (Iter(i2, n), Iter(j, const(4), ORDERED)),
        (i * t + j, j % 2),
        (i * t + j < n) & (j < 4),
        reducer,
        Store(out, (i2, j), Const(float("nan"), "float32")),
        Store(out, (i2, j), Let(y, wide * wide, y + ops.make("if_then_else", wide > y, y, literal(-0.0)))),
        (("tag", ("a", (1, 2))),),
    )
    at = Ramp(i * 4, const(1), 4)
    mask = ops.make("lt", at, Splat(n, 4))
    vectors = Store(temp, (at,), Load(temp, (at,), mask), mask)
    body = seq(
        For(i, ops.make("min", n, t), PARALLEL, For(j, const(4), "unroll", block, (("depth", 2),))),
        Alloc(temp, nest([(i, 2)], If(i < 1, vectors, LetStmt(x, literal(0.1), Do("barrier", (x,)))))),
        If(TRUE, NOTHING),
    )
    return Func("everything", (a, out), (out,), body)


@pytest.mark.parametrize("func", [matmul(2, 3, 4), everything()], ids=lambda f: f.name)
def test_round_trip(func):
    written = to_json(func)
    knobs = {v.name: v for v in walk.free_vars(func) if isinstance(v, Knob)}
    again = from_json(written, knobs)
    assert walk.same(func, again) and walk.same(again, func)
    assert text(again) == text(func)
    assert to_json(again) == written


def test_a_restored_func_runs():
    func = from_json(to_json(matmul(2, 3, 4)))
    verify(func, "loop")
    a, b, c = np.ones((2, 4), "f"), np.ones((4, 3), "f"), np.zeros((2, 3), "f")
    interp.run(func, [a, b, c])
    assert (c == 4).all()


def test_the_text_is_plain_json_that_shares_what_repeats():
    func = everything()
    assert "NaN" not in to_json(func)
    value = Load(func.params[0], (const(0), const(0)))
    for _ in range(60):
        value = value * value
    big = Func("big", func.params, (), Store(func.params[0], (const(0), const(0)), value))
    assert len(to_json(big)) < 5000
    assert len(from_json(to_json(big)).body.value.args) == 2


def test_knobs_and_choices_survive_without_being_given():
    again = from_json(to_json(everything()))
    [knob] = [v for v in walk.free_vars(again) if isinstance(v, Knob)]
    assert (knob.name, knob.choices) == ("t", (2, 4))


@pytest.mark.parametrize("bad", ["{}", "[]", '{"version": 99}', "not json"])
def test_other_text_is_refused(bad):
    with pytest.raises(ValueError):
        from_json(bad)


def test_expressions_round_trip_by_name():
    i, t = Var("i"), Knob("t", (1, 2))
    a = Buffer("A", extents(4), "float32")
    assert expr_to_json(i * 4 + 1) == ["add", ["mul", "i", 4], 1]
    plain = [i * t // 4 % 2, (i < t) & ~(i < 2), i.astype("int64"), TRUE, const(3), i]
    for expr in (*plain, Load(a, (i,)) + literal(0.5)):
        value = json.loads(json.dumps(expr_to_json(expr)))
        assert expr_from_json(value, {"i": i, "t": t}, {"A": a}) is expr


def test_expressions_that_cannot_be_read_or_written():
    for value, message in ((["add", "i", 1], "variable 'i'"), (["boom", 1], "boom"), (None, "None"), (["add", 1], "2")):
        with pytest.raises(ValueError, match=message):
            expr_from_json(value, {})
    reducer = Reducer("sum", (), (), (), (literal(0.0),), True)
    with pytest.raises(ExprError, match="Reduce has no JSON form"):
        expr_to_json(Reduce(reducer, (literal(0.0),), (), 0))


def test_the_hash_ignores_names_and_nothing_else():
    func = matmul(2, 3, 4)
    renamed = from_json(to_json(func).replace('"C', '"Sum').replace('"i"', '"row"').replace("matmul", "product"))
    assert text(renamed) != text(func)
    assert structural_hash(renamed) == structural_hash(func)
    others = [matmul(2, 3, 5), matmul(3, 2, 4), func.with_body(NOTHING)]
    others.append(from_json(to_json(func).replace('"C.j",3,"serial"', '"C.j",3,"parallel"')))
    others.append(from_json(to_json(func).replace('"float32"', '"float64"')))
    assert len({structural_hash(f) for f in (func, *others)}) == 1 + len(others)


def test_the_hash_tells_which_variable_is_used_where():
    i, k = Var("B.i"), Var("B.k")
    straight = row_sum(4, 4, lambda block: nest([(i, 4), (k, 4)], block(i, k)))
    crossed = row_sum(4, 4, lambda block: nest([(i, 4), (k, 4)], block(k, i)))
    assert structural_hash(straight) != structural_hash(crossed)


def test_the_hash_is_the_same_in_another_process():
    code = "from tensorlang.ir.serial import *; import sys; print(structural_hash(from_json(sys.stdin.read())))"
    func = matmul(2, 3, 4)
    other = subprocess.check_output([sys.executable, "-c", code], input=to_json(func), text=True)
    assert other.strip() == structural_hash(func)
