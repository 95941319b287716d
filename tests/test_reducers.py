"""reducers.py: reductions, reducers over tuples, and what is refused."""

import numpy as np
import pytest

import tensorlang as tl
from tensorlang.ir.nodes import ORDERED, REDUCE

A = tl.placeholder((8, 5), "float32", name="A")
AT = tl.placeholder((8,), "int32", name="AT")
P = tl.placeholder((8,), "bool", name="P")


def refused(text, function, *args, **named):
    with pytest.raises(tl.ExprError, match=text):
        function(*args, **named)


def test_reductions_keep_the_dtype():
    k = tl.reduce_axis(5, "k")
    for reduce in (tl.sum, tl.prod, tl.max, tl.min):
        c = tl.compute((8,), lambda i, reduce=reduce: reduce(A[i, k].astype("float16"), axis=k))
        assert c.dtype == "float16" and c.producer.reduction.axes[0].kind == REDUCE
    for reduce in (tl.any, tl.all):
        assert tl.compute((), lambda reduce=reduce: reduce(P[k], axis=k)).dtype == "bool"


def test_equal_reductions_are_identical():
    k = tl.reduce_axis(5, "k")
    assert tl.sum(AT[k], axis=k) is tl.sum(AT[k], axis=(k,))


@pytest.mark.parametrize(
    ("dtype", "low", "high"),
    [("float32", -np.inf, np.inf), ("int8", -128, 127), ("uint16", 0, 65535), ("bool", False, True)],
)
def test_identities_of_max_and_min(dtype, low, high):
    t, k = tl.placeholder((5,), dtype), tl.reduce_axis(5)
    assert tl.max(t[k], axis=k).reducer.identity[0].value == low
    assert tl.min(t[k], axis=k).reducer.identity[0].value == high


def test_reductions_of_the_wrong_kind_are_refused():
    k = tl.reduce_axis(5, "k")
    refused("sum needs numbers, got bool", tl.sum, P[k], axis=k)
    refused("any needs bool, got int32", tl.any, AT[k], axis=k)
    refused("use tl.reducer for tuples", tl.max, (AT[k], AT[k]), axis=k)
    refused("an axis is given twice", tl.sum, AT[k], axis=(k, k))
    refused("axis is empty", tl.sum, AT[k], axis=())
    refused("axis takes what reduce_axis returns", tl.sum, AT[k], axis=0)
    refused("is an axis of the compute", tl.compute, (8,), lambda i: tl.sum(AT[i], axis=i))
    refused("inside a reduction", tl.sum, tl.sum(AT[k], axis=k), axis=k)
    refused("may depend on sizes only", tl.compute, (8,), lambda i: tl.sum(AT[i], axis=tl.reduce_axis(i)))


def argmax(commutative=True):
    return tl.reducer(
        lambda x, y: (tl.select(x[1] >= y[1], x[0], y[0]), tl.select(x[1] >= y[1], x[1], y[1])),
        lambda position, value: (-1, tl.min_value(value)),
        commutative=commutative,
        name="argmax",
    )


def test_reducers_over_tuples():
    k = tl.reduce_axis(5, "k")
    where, largest = tl.compute((8,), lambda i: argmax()((k, A[i, k]), axis=k), name="top")
    assert (where.dtype, largest.dtype) == ("int64", "float32")
    assert [v.value for v in where.producer.reduction.reducer.identity] == [-1, -np.inf]
    refused("all 2 results of one argmax", tl.compute, (8,), lambda i: argmax()((k, A[i, k]), axis=k)[0])


def test_non_commutative_reducers_are_ordered():
    k = tl.reduce_axis(5, "k")
    c, _ = tl.compute((8,), lambda i: argmax(commutative=False)((k, A[i, k]), axis=k))
    assert c.producer.reduction.axes[0].kind == ORDERED


def test_bad_reducers_are_refused_when_used():
    k = tl.reduce_axis(5, "k")
    refused(r'write .astype\("int32"\)', tl.reducer(lambda x, y: x.astype("int64"), 0), AT[k], axis=k)
    refused("combine gives 2 values for 1", tl.reducer(lambda x, y: (x, y), 0), AT[k], axis=k)
    refused("identity gives 1 values for 2", tl.reducer(lambda x, y: x, 0), (AT[k], AT[k]), axis=k)
    refused("its two arguments only", tl.reducer(lambda x, y: x + y + AT[0], 0), AT[k], axis=k)
    refused("must be made of numbers", tl.reducer(lambda x, y: x + y, lambda d: AT[0]), AT[k], axis=k)
