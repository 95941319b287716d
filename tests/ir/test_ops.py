"""The table of ops: dtypes that fit or not, and folding of constants."""

import numpy as np
import pytest

from tensorlang.errors import ExprError
from tensorlang.ir import ops
from tensorlang.ir.nodes import FALSE, TRUE, Buffer, Const, Load, Var, const
from tensorlang.ir.walk import substitute
from tests.ir.small_funcs import extents, literal

i, j = Var("i"), Var("j")
x, y = Var("x", "float32"), Var("y", "float64")
n, m = Var("n", "int32"), Var("m", "uint8")
p = Var("p", "bool")
A = Buffer("A", extents(4), "float32")


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: x + y, r'\+ mixes float32 and float64: write x.astype\("float64"\)'),
        (lambda: Load(A, (i,)) * n, r'\* mixes float32 and int32: write n.astype\("float32"\)'),
        (lambda: i + n, r'\+ mixes index and int32: write i.astype\("int32"\)'),
        (lambda: x < i, r'< mixes float32 and index: write i.astype\("float32"\)'),
        (lambda: ops.make("max", x, y), "max mixes float32 and float64"),
        (lambda: n / n, "/ needs floats, got int32: write // for integers"),
        (lambda: i / 2, "/ needs floats, got index"),
        (lambda: x // x, r"// needs integers, got float32: write floor\(a / b\)"),
        (lambda: p + p, r'\+ needs numbers, got bool: cast first, as in x.astype\("int32"\)'),
        (lambda: x & x, "& needs integers, got float32"),
        (lambda: n + 0.5, "0.5 is not a int32 value"),
        (lambda: m + 256, r"256 does not fit in uint8, which holds 0 \.\. 255"),
        (lambda: n + "1", "'1' is not a int32 value"),
        (lambda: n + None, "None is not a int32 value"),
        (lambda: n + True, "expected a int32 literal, got True: write 1"),
        (lambda: n + {}, "expected an expression or a Python number, got dict"),
        (lambda: ops.make("select", n, x, x), "the condition of select must be bool, got int32"),
        (lambda: ops.make("fma", x, x), "fma takes 3 operands, got 2"),
        (lambda: ops.make("exp", n), "exp needs floats, got int32"),
        (lambda: n**0.5, r"\*\* on int32 needs a whole exponent"),
        (lambda: x.astype("float31"), "unknown dtype 'float31'"),
        (lambda: ops.reinterpret(x, "int64"), "sizes differ"),
    ],
)
def test_operands_that_do_not_fit(build, message):
    with pytest.raises(ExprError, match=message):
        build()


def test_python_and_numpy_numbers_take_the_dtype_of_the_other_operand():
    assert (x + 1).args[1] is Const(1.0, "float32")
    assert (y * 0.1).args[1] is Const(0.1, "float64")
    assert (x * 0.1).args[1].value == float(np.float32(0.1))
    assert (n + np.int64(3)).args[1] is Const(3, "int32")


@pytest.mark.parametrize(
    ("folded", "expected"),
    [
        (lambda: const(7) // 2 + const(-7) % 4, const(4)),
        (lambda: const(-7) // 2, const(-4)),
        (lambda: i + 0, i),
        (lambda: 0 + i, i),
        (lambda: i - 0, i),
        (lambda: i * 1, i),
        (lambda: 1 * i, i),
        (lambda: i * 0, const(0)),
        (lambda: i // 1, i),
        (lambda: i % 1, const(0)),
        (lambda: ops.make("min", i, i), i),
        (lambda: const(2) < 3, TRUE),
        (lambda: p & TRUE, p),
        (lambda: p & FALSE, FALSE),
        (lambda: p | FALSE, p),
        (lambda: TRUE | p, TRUE),
        (lambda: ~TRUE, FALSE),
        (lambda: ops.make("select", TRUE, i, j), i),
        (lambda: ops.make("if_then_else", FALSE, i, j), j),
        (lambda: const(3).astype("float32"), literal(3.0)),
        (lambda: x.astype("float32"), x),
        (lambda: ops.all_of([p, TRUE, p]), p),
        (lambda: ops.all_of([]), TRUE),
    ],
)
def test_index_and_bool_arithmetic_folds(folded, expected):
    assert folded() is expected


def test_numbers_that_arise_wrap_where_written_ones_are_refused():
    with pytest.raises(ExprError, match="-2 does not fit in uint32"):
        ops.cast(const(-2), "uint32")
    assert substitute(ops.cast(i, "uint32"), {i: const(-2)}) is Const(2**32 - 2, "uint32")


def test_floats_and_sized_integers_do_not_fold():
    assert (literal(1.0) + literal(2.0)).op == "add"
    assert (x * 0.0).op == "mul" and (x + 0.0).op == "add" and (n * 0).op == "mul"


def test_small_whole_powers_are_products():
    assert x**1 is x
    assert x**2 is x * x
    assert x**5 is x * ((x * x) * (x * x))
    assert (x**0.5).op == (x**-1).op == (x**17).op == "pow"


def test_every_row_is_consistent():
    for name, row in ops.OPS.items():
        assert row.arity in (1, 2, 3), name
        assert not row.commutative or row.arity == 2, name
    assert {"exp", "tanh", "erf", "pow"} <= set(ops.MATH) and "fma" not in ops.MATH
