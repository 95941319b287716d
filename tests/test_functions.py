"""functions.py and the operators of expressions: dtypes of the results, and what is refused."""

import numpy as np
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
        refused("needs floats, got int32", getattr(tl, name), AT[0])


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


def test_numpy_dtypes_name_casts():
    a = tl.placeholder((4,), "int32", name="A")
    assert a[0].astype(np.float32) is a[0].astype("float32")
    assert a[0].astype(np.dtype("int8")).dtype == "int8"
    refused("unknown dtype", a[0].astype, np.complex64)


def test_powers_with_whole_exponents():
    a = tl.placeholder((4,), "int32", name="A")
    x = tl.placeholder((4,), "float32", name="X")
    assert (a[0] ** 0).dtype == "int32" and repr(a[0] ** 0) == "1"
    assert repr(x[0] ** np.int64(2)) == "X[0] * X[0]"
    refused("needs a whole exponent from 0 to 16, got -1", lambda: a[0] ** -1)


def test_what_to_write_instead():
    a = tl.placeholder((4,), "int32", name="A")
    x = tl.placeholder((4,), "float16", name="X")
    refused("write a - floor", lambda: x[0] % 2)
    refused("& needs integers, got float16", lambda: x[0] & x[1])
    refused("exp needs floats, got int32: cast first", lambda: tl.exp(a[0]))
    refused("must be a sequence of ints, got 4", lambda: tl.knob("t", 4))


@pytest.mark.filterwarnings("error")
def test_numbers_beyond_the_largest_are_infinite():
    x = tl.placeholder((4,), "float16", name="X")
    assert repr(x[0] + 1e9) == "X[0] + inf"
