"""Printed IR."""

import pytest

from tensorlang.ir import ops
from tensorlang.ir.nodes import (
    NOTHING,
    PARALLEL,
    REDUCE,
    SERIAL,
    Alloc,
    Buffer,
    Const,
    Do,
    For,
    Func,
    If,
    Iter,
    Let,
    LetStmt,
    Load,
    Ramp,
    Reduce,
    Reducer,
    Splat,
    Store,
    Var,
    const,
    seq,
)
from tensorlang.ir.printer import text
from tests.ir.small_funcs import extents, literal, matmul, nest

i, j, k = Var("i"), Var("j"), Var("k")
p = Var("p", "bool")
x = Var("x", "float32")
A = Buffer("A", extents(4, 8), "float32")


@pytest.mark.parametrize(
    ("expr", "expected"),
    [
        (i * 4 + 1, "i * 4 + 1"),
        ((i + 1) * 4, "(i + 1) * 4"),
        (i - (j - k), "i - (j - k)"),
        (i - j - k, "i - j - k"),
        (i + (j + k), "i + (j + k)"),
        (i // 4 % 2, "i // 4 % 2"),
        (i // (j % 2), "i // (j % 2)"),
        (-i, "-i"),
        (-(i + j), "-(i + j)"),
        (ops.make("neg", -i), "-(-i)"),
        (ops.make("neg", const(-3) * i), "-(-3 * i)"),
        ((i < j) & ~(j < k), "i < j and not j < k"),
        (~((i < j) & p), "not (i < j and p)"),
        (((i < j) | p) & p, "(i < j or p) and p"),
        ((i < j) == (j < k), "(i < j) == (j < k)"),
        (ops.make("min", i, 3), "min(i, 3)"),
        (ops.make("fma", x, x, x), "fma(x, x, x)"),
        (ops.make("if_then_else", i < 4, Load(A, (i, j)), literal(0.0)), "if_then_else(i < 4, A[i, j], 0.0)"),
        (x.astype("bfloat16"), "bf16(x)"),
        (i.astype("int64"), "i64(i)"),
        (ops.reinterpret(x, "int32"), "reinterpret_i32(x)"),
        (literal(0.1), "0.1"),
        (literal(0.1, "float64"), "0.1"),
        (Const(float("-inf"), "float32"), "-inf"),
        (Const(True, "bool"), "True"),
        (Ramp(i, const(1), 8), "ramp(i, 1, 8)"),
        (Splat(x, 8), "x8(x)"),
        (Load(A, (Ramp(i, const(1), 2),), Splat(p, 2)), "A[ramp(i, 1, 2), mask=x2(p)]"),
        (Let(x, Load(A, (i, j)), x * x), "let x = A[i, j] in x * x"),
    ],
)
def test_expressions(expr, expected):
    assert text(expr) == expected == repr(expr)


def test_reductions():
    y = Var("y", "float32")
    total = Reducer("sum", (x,), (y,), (x + y,), (literal(0.0),), True)
    axes = (Iter(k, const(8), REDUCE),)
    assert text(Reduce(total, (Load(A, (i, k)),), axes, 0)) == "sum(A[i, k], axis=k)"
    assert text(total) == "reducer sum((x), (y)) -> (x + y) from (0.0)"
    n, m = Var("n", "int64"), Var("m", "int64")
    first = Reducer("first", (x, n), (y, m), (x, n), (literal(0.0), literal(0, "int64")), False)
    both = (Iter(j, const(8), REDUCE), *axes)
    shown = text(Reduce(first, (Load(A, (j, k)), k.astype("int64")), both, 1))
    assert shown == "first((A[j, k], i64(k)), axis=(j, k))[1]"


def test_a_func():
    assert text(matmul(4, 5, 6)) == (
        "func matmul(A: f32[4, 6], B: f32[6, 5]) -> C: f32[4, 5]\n"
        "  for C.i in 4:\n"
        "    for C.j in 5:\n"
        "      for C.k in 6:\n"
        "        block C(i = C.i, j = C.j, k: reduce = C.k):\n"
        "          init: C[i, j] = 0.0\n"
        "          C[i, j] = fma(A[i, k], B[k, j], C[i, j])"
    )


def test_outputs_that_do_not_come_last_are_named_after_the_arrow():
    func = matmul(4, 5, 6)
    a, b, c = func.params
    first = text(Func("f", (c, a, b), (c,), func.body)).splitlines()[0]
    assert first == "func f(C: f32[4, 5], A: f32[4, 6], B: f32[6, 5]) -> C"


def test_statements():
    local = Buffer("P", extents(4), "float32", "local")
    body = seq(
        LetStmt(x, literal(1.0), Store(local, (i,), x)),
        If(i < 2, Store(local, (i,), literal(2.0)), NOTHING),
        Do("barrier", ()),
        Alloc(local, NOTHING),
    )
    loop = For(i, const(4), PARALLEL, body, (("pragma", 3),))
    assert text(Alloc(local, loop)) == (
        "alloc P: f32[4] in local\n"
        "parallel i in 4:  # pragma = 3\n"
        "  x = 1.0:\n"
        "    P[i] = x\n"
        "  if i < 2:\n"
        "    P[i] = 2.0\n"
        "  else:\n"
        "    pass\n"
        "  barrier()\n"
        "  alloc P: f32[4] in local\n"
        "  pass"
    )


def test_marked_nodes_are_underlined():
    store = Store(A, (i, j), literal(0.0))
    index = i * 4
    loop = nest([(i, 2), (j, index)], store)
    assert text(loop, [store]).splitlines()[-2:] == ["    A[i, j] = 0.0", "    ^^^^^^^^^^^^^"]
    assert text(loop, {index}) == ("for i in 2:\n  for j in i * 4:\n           ^^^^^\n    A[i, j] = 0.0")
    block = matmul(4, 5, 6).body
    assert text(block, [block]).splitlines()[:2] == ["for C.i in 4:", "^^^^^^^^^^^^^"]


def test_huge_expressions_are_cut_short():
    value = x
    for _ in range(60):
        value = value * value
    shown = text(value)
    assert len(shown) < 2000 and "..." in shown
    assert text(For(i, const(4), SERIAL, Store(A, (i, i), value))).startswith("for i in 4:")
