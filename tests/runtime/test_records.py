"""Calls with arrays that were checked once: which ones need no other check, and what they do natively."""

import contextlib
import gc
import inspect
import sys
import threading

import numpy as np
import pytest

import tensorlang as tl
from tensorlang.errors import ArgumentError
from tensorlang.ir.nodes import Buffer, const
from tensorlang.runtime.kernel import Kernel
from tests.runtime.native import Native

# Waits until a[0] is not 0, and copies it to the workspace and to c[0].
WAIT = """
define void @wait__repeat(i64 %times, ptr %arguments) {
entry:
  %at1 = getelementptr i64, ptr %arguments, i64 1
  %at2 = getelementptr i64, ptr %arguments, i64 2
  %a = load ptr, ptr %arguments
  %c = load ptr, ptr %at1
  %workspace = load ptr, ptr %at2
  br label %look
look:
  %value = load atomic i8, ptr %a monotonic, align 1
  %zero = icmp eq i8 %value, 0
  br i1 %zero, label %look, label %seen
seen:
  store i8 %value, ptr %workspace
  store i8 %value, ptr %c
  ret void
}
"""
NATIVE = Native(WAIT)


def plus_one():
    x = tl.placeholder((3, 4), name="x")
    return tl.build(tl.compute((3, 4), lambda i, j: x[i, j] + 1.0, name="y"))


def waiting():
    a, c = (Buffer(name, (const(1),), "int8") for name in "AC")
    return Kernel(
        name="wait", params=[a, c], outputs=[c], sizes=[], repeat=NATIVE.address("wait__repeat"),
        workspace=lambda: 16, source=lambda: WAIT, asm=lambda: "", keepalive=NATIVE,
    )  # fmt: skip


def repeated(kernel, *arrays):
    """`kernel` after two calls with `arrays`, and the calls that are checked from now on."""
    for _ in range(2):
        kernel(*arrays)
    checked = []
    general = kernel._checked_call
    kernel._checked_call = lambda *args, **named: checked.append(args) or general(*args, **named)
    return checked


def test_the_same_arrays_are_not_checked_again_whatever_their_contents():
    kernel, a, out = plus_one(), np.zeros((3, 4), "f"), np.empty((3, 4), "f")
    checked = repeated(kernel, a[:], out)
    a += 7
    a, same = a[:], a[:]  # arrays on the same memory
    for call in (lambda: kernel(a, out), lambda: kernel(a, out=out), lambda: kernel(same, out=out)):
        out.fill(np.nan)
        assert call() is out and (out == 8).all()
    assert not checked
    assert kernel(x=a, y=out) is out and kernel(a, out=(out,)) is out and (kernel(a) == 8).all() and len(checked) == 3


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
        lambda a: None,
    ],
)
def test_anything_else_is(other):
    kernel, a, out = plus_one(), np.zeros((3, 4), "f"), np.empty((3, 4), "f")
    checked = repeated(kernel, a, out)
    for args in ((other(a), out), (out, other(a)), (other(a),), (a, out, other(a)), ()):
        with contextlib.suppress(ArgumentError):
            kernel(*args)
    assert len(checked) == 5


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a, out: out.setflags(write=False), "argument y: .* read-only"),
        (lambda a, out: a.resize((30, 40), refcheck=False), r"argument x: expected float32\[3, 4\], got .*\[30, 40\]"),
        (lambda a, out: a.resize((2, 4), refcheck=False), r"argument x: expected float32\[3, 4\], got .*\[2, 4\]"),
    ],
)
def test_an_array_changed_in_place_is(change, message):
    kernel, a, out = plus_one(), np.zeros((3, 4), "f"), np.empty((3, 4), "f")
    repeated(kernel, a, out)
    change(a, out)
    with pytest.raises(ArgumentError, match=message):
        kernel(a, out=out)
    other = np.ones((3, 4), "f")
    assert (kernel(other) == 2).all() and (kernel(other, np.empty((3, 4), "f")) == 2).all()


def test_a_native_call_keeps_and_leaks_nothing():
    kernel, a, out = plus_one(), np.zeros((3, 4), "f"), np.empty((3, 4), "f")
    kernel(a, kernel(a, out))
    objects = (a, out, kernel, kernel._record)
    before = [sys.getrefcount(x) for x in objects]
    for _ in range(100):
        kernel(a, out=out)
        with pytest.raises(ArgumentError):
            kernel(out, out)
    gc.collect()
    assert [sys.getrefcount(x) for x in objects] == before
    assert str(inspect.signature(kernel)) == "(*args, out=None, **named)"


def test_other_threads_run_meanwhile_and_call_the_same_kernel():
    kernel, a, out = waiting(), np.ones(1, "i1"), np.zeros(1, "i1")
    checked = repeated(kernel, a, out)
    a[0] = 0
    results = []
    threads = [threading.Thread(target=lambda: results.append(kernel(a, out=out)[0])) for _ in range(3)]
    for thread in threads:
        thread.start()
    while len(checked) < 2:  # one of the three uses the record's scratch memory, so the others need their own
        pass
    a[0] = 5
    for thread in threads:
        thread.join()
    assert results == [5, 5, 5] and len(checked) == 2
    kernel._record = None  # nobody needs the record any more
    assert kernel(a, out=out)[0] == 5


def test_scratch_memory_of_the_record():
    a = tl.placeholder((37, 9000), name="A")
    p = tl.compute((37, 9000), lambda i, j: a[i, j] * 2.0, name="P")
    c = tl.compute((37, 9000), lambda i, j: p[i, 8999 - j] + 1.0, name="C")
    kernel = tl.build(c)
    x, out = np.random.default_rng(0).standard_normal((37, 9000)).astype("f"), np.empty((37, 9000), "f")
    checked = repeated(kernel, x, out)
    assert kernel._workspace_bytes > 0
    out.fill(0)
    np.testing.assert_array_equal(kernel(x, out=out), x[:, ::-1] * 2 + 1)
    assert not checked


def test_several_outputs_come_as_the_tuple_that_was_given():
    x = tl.placeholder((3,), name="x")
    kernel = tl.build([tl.compute((3,), lambda i, k=k: x[i] + k, name=f"y{k:.0f}") for k in (1.0, 2.0)])
    a, outs = np.zeros(3, "f"), (np.empty(3, "f"), np.empty(3, "f"))
    kernel(a, out=outs)
    kernel(a, out=outs)
    checked = []
    general = kernel._checked_call
    kernel._checked_call = lambda *args, **named: checked.append(args) or general(*args, **named)
    before = sys.getrefcount(outs)
    for out in (outs, (*outs,)):
        outs[0][:], outs[1][:] = 0, 0
        assert kernel(a, out=out) is out and outs[0].tolist() == [1] * 3 and outs[1].tolist() == [2] * 3
    assert not checked and sys.getrefcount(outs) == before
    assert kernel(a, *outs)[1] is outs[1] and kernel(a, out=(None, outs[1]))[1] is outs[1] and kernel(a, out=list(outs))
    for wrong in (outs[::-1] + outs, outs[:1], outs[0], 7):
        with pytest.raises(ArgumentError):
            kernel(a, out=wrong)
    assert len(checked) == 7
