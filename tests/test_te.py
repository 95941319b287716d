"""te.py: the tensors that expressions make, and what is refused with which words."""

import ml_dtypes
import numpy as np
import pytest

import tensorlang as tl
from tensorlang.ir.nodes import Knob, Load, Size

A = tl.placeholder((8, 5), "float32", name="A")
AT = tl.placeholder((8,), "int32", name="AT")
P = tl.placeholder((8,), "bool", name="P")


def refused(text, function, *args, **named):
    with pytest.raises(tl.ExprError, match=text):
        function(*args, **named)


def test_a_placeholder_knows_its_shape_and_dtype():
    n = tl.var("n")
    t = tl.placeholder((4, n, n * 2 + 1), "float16", name="T")
    assert (t.name, t.dtype, t.ndim, t.scope) == ("T", "float16", 3, "global")
    assert t.shape[1] is n and t.shape[0].value == 4
    assert tl.placeholder((), "int8").shape == ()
    assert tl.placeholder(7).shape[0].value == 7


@pytest.mark.parametrize("dtype", tl.dtypes.DATA)
def test_every_dtype_can_be_named_by_string_and_numpy_dtype(dtype):
    assert tl.placeholder((1,), dtype).dtype == dtype
    assert tl.placeholder((1,), tl.dtypes.to_numpy(dtype)).dtype == dtype


def test_numpy_scalar_types_name_dtypes():
    assert tl.placeholder((1,), np.float64).dtype == "float64"
    assert tl.placeholder((1,), ml_dtypes.bfloat16).dtype == "bfloat16"


@pytest.mark.parametrize("dtype", ["float", "index", "complex64", np.dtype("complex64"), None])
def test_unknown_dtypes_are_refused(dtype):
    refused("unknown dtype", tl.placeholder, (1,), dtype)


@pytest.mark.parametrize(
    ("shape", "text"),
    [
        ((-1,), "at least 0"),
        ((2.0,), "an extent must be"),
        ((True,), "an extent must be"),
        (("n",), "an extent must be"),
    ],
)
def test_bad_shapes_are_refused(shape, text):
    refused(text, tl.placeholder, shape)


@pytest.mark.parametrize("name", ["", "1a", "a.b", "a b", None])
def test_bad_names_are_refused(name):
    refused("is not a name", tl.placeholder, (1,), "float32", name)


def test_var_and_knob():
    assert isinstance(tl.var("n"), Size)
    t = tl.knob("t", [1, 2, 4])
    assert isinstance(t, Knob) and t.choices == (1, 2, 4)
    refused("choices of knob", tl.knob, "t", [])
    refused("choices of knob", tl.knob, "t", [0, 1])


def test_axes_are_named_after_the_arguments():
    c = tl.compute((8, 5), lambda row, col: A[row, col], name="C")
    assert [axis.var.name for axis in c.producer.axes] == ["row", "col"]
    assert c.producer.tensors == (c,) and c.producer.reads == (A,)


def test_star_arguments_take_all_axes():
    c = tl.compute((8, 5), lambda *i: A[i])
    assert [axis.var.name for axis in c.producer.axes] == ["i0", "i1"]
    d = tl.compute((8, 5), lambda b, *i: A[(b, *i)])
    assert [axis.var.name for axis in d.producer.axes] == ["b", "i"]
    assert tl.compute((), lambda *i: 1.0).shape == ()


def test_the_number_of_axes_must_fit():
    refused("takes 1 axes", tl.compute, (8, 5), lambda i: 0.0)
    refused("takes 2 axes", tl.compute, (8,), lambda i, j: 0.0)


@pytest.mark.parametrize(
    ("value", "dtype"), [(0.5, "float32"), (3, "int64"), (True, "bool"), (np.float64(2), "float32")]
)
def test_python_numbers_as_elements(value, dtype):
    assert tl.compute((3,), lambda i: value).dtype == dtype


def test_an_index_becomes_int64_data():
    c = tl.compute((3,), lambda i: i * 2)
    assert c.dtype == "int64"
    k = tl.reduce_axis(4)
    assert tl.compute((3,), lambda i: tl.sum(i + k, axis=k)).dtype == "int64"


def test_bodies_that_are_no_expressions_are_refused():
    refused("returns None", tl.compute, (3,), lambda i: None)
    refused("name one of its elements", tl.compute, (8,), lambda i: AT)
    refused("empty tuple", tl.compute, (8,), lambda i: ())


def test_wrong_subscripts_are_refused():
    refused("A has 2 dimensions, got 1 indices", tl.compute, (8,), lambda i: A[i])
    refused("AT has 1 dimensions, got 2", tl.compute, (8,), lambda i: AT[i, i])
    refused("must be an integer, got slice", tl.compute, (8,), lambda i: A[i, :])
    refused("must be an integer, got 1.0", tl.compute, (8,), lambda i: A[i, 1.0])
    refused(r'float32 .*astype\("int64"\)', tl.compute, (8,), lambda i: AT[A[i, 0]])
    with pytest.raises(TypeError, match="cannot be iterated"):
        list(A)


@pytest.mark.parametrize("dtype", tl.dtypes.INTEGERS)
def test_an_index_that_depends_on_data_is_clamped(dtype):
    at = tl.placeholder((3,), dtype, name="at")
    c = tl.compute((3,), lambda i: A[at[i], 0])
    index = c.producer.bodies[0].indices[0]
    assert index.dtype == "index"
    assert repr(index).startswith("max(min(") and repr(index).endswith("7), 0)")


def test_several_outputs():
    c, d = tl.compute((8,), lambda i: (A[i, 0] + 1.0, AT[i]), name="C")
    assert (c.name, c.dtype, d.name, d.dtype) == ("C_0", "float32", "C_1", "int32")
    assert c.producer is d.producer and c.producer.name == "C"
    e, f = tl.compute((8,), lambda i: (A[i, 0], AT[i]), name=("value", "position"))
    assert (e.name, f.name, e.producer.name) == ("value", "position", "value")
    refused("got 2 names for 3", tl.compute, (8,), lambda i: (1, 2, 3), name=("a", "b"))


def test_a_reduction_is_the_whole_body():
    k = tl.reduce_axis(5, "k")
    refused("must be the whole body", tl.compute, (8,), lambda i: tl.sum(A[i, k], axis=k) + 1.0)
    both = lambda i: (tl.sum(A[i, k], axis=k), tl.max(A[i, k], axis=k))  # noqa: E731
    refused("must return all 1 results of one sum", tl.compute, (8,), both)
    refused("must be the whole body", tl.compute, (8,), lambda i: (tl.sum(A[i, k], axis=k), 1.0))


def test_axes_that_do_not_belong_here_are_refused():
    k = tl.reduce_axis(5, "k")
    refused("k is used outside a reduction", tl.compute, (8,), lambda i: A[i, k])
    other = tl.compute((8,), lambda i: AT[i]).producer.axes[0].var
    refused("i is an axis of another compute", tl.compute, (8,), lambda j: AT[other])


def test_loads_are_expressions_of_their_tensor():
    assert isinstance(A[1, 2], Load) and A[1, 2] is A[1, 2] and A[1, 2].buffer is A


def test_axes_may_be_named_apart_from_the_body():
    b = tl.compute((8, 5), lambda *i: A[i], name="B", axes=("row", "column"))
    assert [axis.var.name for axis in b.producer.axes] == ["row", "column"]
    refused("axes names 1 axes, but the shape has 2", tl.compute, (8, 5), lambda *i: A[i], axes=("row",))
