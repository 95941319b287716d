"""Arrays that were checked once: which ones need no other check."""

import numpy as np
import pytest

import tensorlang as tl
from tensorlang.errors import ArgumentError
from tensorlang.runtime.records import MOST, Record

FLOAT = np.dtype("float32")


def pair():
    return np.zeros((3, 4), "f"), np.ones(5, "f")


def test_the_same_state_holds_whatever_the_contents():
    a, b = pair()
    record = Record.of([a[:], b], [FLOAT, FLOAT])
    a += 7
    assert record.holds([a[:], b])  # another array on the same memory


@pytest.mark.parametrize(
    "other",
    [
        lambda a: a.copy(),
        lambda a: a[:2],
        lambda a: a.reshape(4, 3),
        lambda a: a.reshape(12),
        lambda a: a.view("i4"),
        lambda a: np.asfortranarray(a),
        lambda a: a.tolist(),
        lambda a: a.view(np.recarray),
        lambda a: np.float32(1),
    ],
)
def test_anything_else_does_not(other):
    a, b = pair()
    record = Record.of([a, b], [FLOAT, FLOAT])
    assert not record.holds([other(a), b])
    assert not record.holds([b, a])


def test_an_array_changed_in_place_does_not():
    a, b = pair()
    record = Record.of([a, b], [FLOAT, FLOAT])
    a.flags.writeable = False
    assert not record.holds([a, b])


def test_only_few_arrays_of_numpy_are_recorded():
    a, b = pair()
    assert Record.of([a, [1.0]], [FLOAT, FLOAT]) is None
    assert Record.of([a, b], [FLOAT, np.dtype(">f4")]) is None
    assert Record.of([a] * (MOST + 1), [FLOAT] * (MOST + 1)) is None
    assert Record.of([a] * MOST, [FLOAT] * MOST).holds([a] * MOST)


def test_a_kernel_checks_what_changes_between_calls():
    x = tl.placeholder((6,), name="x")
    kernel = tl.build(tl.compute((6,), lambda i: x[i] + 1.0, name="y"))
    a, out = np.arange(6, dtype="f"), np.empty(6, "f")
    for _ in range(3):
        out.fill(np.nan)
        assert kernel(a, out=out) is out
        np.testing.assert_array_equal(out, a + 1)
    other = a * 3
    np.testing.assert_array_equal(kernel(other, out=out), other + 1)
    out.flags.writeable = False
    with pytest.raises(ArgumentError, match="read-only"):
        kernel(other, out=out)
    with pytest.raises(ArgumentError, match="argument x: expected"):
        kernel(a.astype("d"), out=np.empty(6, "f"))
    with pytest.raises(ArgumentError, match="overlaps"):
        kernel(a, out=a)
