"""functions.py and the operators of expressions: dtypes of the results, and what is refused."""

import pytest

import tensorlang as tl
from tensorlang.ir.nodes import Op
from tensorlang.ir.ops import MATH

A = tl.placeholder((8, 5), "float32", name="A")
AT = tl.placeholder((8,), "int32", name="AT")
P = tl.placeholder((8,), "bool", name="P")


def refused(text, function, *args, **named):
    with pytest.raises(tl.ExprError, match=text):
        function(*args, **named)


@pytest.mark.parametrize("name", [*MATH, "sqrt", "floor", "ceil", "trunc", "round", "isnan", "isinf", "isfinite"])
def test_every_function_of_the_table_is_there(name):
    args = (A[0, 0], A[0, 1]) if name == "pow" else (A[0, 0],)
    node = getattr(tl, "power" if name == "pow" else name)(*args)
    assert isinstance(node, Op) and node.op == name
    if name != "pow":
        refused("needs float operands, got int32", getattr(tl, name), AT[0])


def test_operators_take_python_scalars_on_both_sides():
    x = AT[0]
    for e in (
        x + 1,
        1 + x,
        x - 1,
        1 - x,
        x * 2,
        2 * x,
        x // 2,
        7 // x,
        x % 3,
        7 % x,
        x & 1,
        1 | x,
        x ^ 3,
        x << 1,
        ~x,
        -x,
    ):
        assert e.dtype == "int32"
    for e in (A[0, 0] / 2, 1 / A[0, 0], A[0, 0] ** 2, abs(A[0, 0]), tl.maximum(0, A[0, 0]), tl.minimum(A[0, 0], 1.5)):
        assert e.dtype == "float32"
    for e in (x == 1, x != 1, x < 1, x >= 1, x > 1, x <= 1, P[0] & (x > 0), P[0] ^ True, ~P[0]):
        assert e.dtype == "bool"


def test_mixed_dtypes_are_refused_with_the_cast_to_write():
    refused(r'\+ mixes float32 and int32: write AT\[0\].astype\("float32"\)', lambda: A[0, 0] + AT[0])
    refused(r"\* mixes float32 and index", tl.compute, (8,), lambda i: A[i, 0] * i)
    refused("/ needs floats, got int32: write //", lambda: AT[0] / 2)
    refused("needs integers, got float32", lambda: A[0, 0] // 2)
    refused("300 does not fit in int8", lambda: tl.placeholder((1,), "int8")[0] + 300)
    refused("is not a int32 value", lambda: AT[0] + 0.5)
    refused("the condition of select must be bool", tl.select, AT[0], 1, 2)


def test_conditions_have_no_truth():
    with pytest.raises(TypeError, match="use select, if_then_else"):
        tl.compute((8,), lambda i: A[i, 0] if AT[i] > 0 else 0.0)


def test_casts():
    assert tl.cast(A[0, 0], "int8").dtype == "int8" and tl.cast(1.5, "float64").dtype == "float64"
    assert A[0, 0].astype("float32") is A[0, 0]
    assert tl.reinterpret(A[0, 0], "uint32").dtype == "uint32"
    refused("sizes differ", tl.reinterpret, A[0, 0], "uint8")
    refused("unknown dtype", tl.cast, A[0, 0], "float")
