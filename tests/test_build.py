"""From programs to kernels and interpreters: what does not fit is refused in one line."""

from __future__ import annotations

import gc
import re
import weakref

import numpy as np
import pytest

import tensorlang as tl
from tensorlang.ir.base import collection_put_off


def sums() -> tl.Schedule:
    n = tl.var("n")
    a = tl.placeholder((n, 5), "float32", name="A")
    k = tl.reduce_axis(5, name="k")
    return tl.Schedule(tl.compute((n,), lambda i: tl.sum(a[i, k], axis=k), name="C"))


def test_open_knobs_are_refused_everywhere() -> None:
    s = sums()
    s.split("C.i", [None, tl.knob("t", [2, 4])])
    for function in (tl.build, tl.lower, lambda p: tl.interpret(p, np.zeros((3, 5), np.float32))):
        with pytest.raises(tl.BuildError, match="C still has open knobs: t"):
            function(s)


@pytest.mark.parametrize("collecting", [True, False])
def test_lowering_leaves_garbage_collection_as_it_was(collecting: bool) -> None:
    enabled = gc.isenabled()
    try:
        (gc.enable if collecting else gc.disable)()
        tl.lower(sums())
        assert gc.isenabled() == collecting
        with pytest.raises(tl.BuildError, match="bind"):
            tl.lower(sums(), tl.Target("cuda", arch="sm_90a"))
        assert gc.isenabled() == collecting
    finally:
        (gc.enable if enabled else gc.disable)()


def test_what_is_made_while_collection_is_put_off_is_collected_in_the_end() -> None:
    class Knot:
        def __init__(self) -> None:
            self.itself = self

    def made() -> weakref.ref[Knot]:
        with collection_put_off():
            return weakref.ref(Knot())

    gone = made()
    assert gone() is not None
    gc.collect()
    assert gone() is None
    gc.freeze()
    try:
        made()
        assert gc.get_freeze_count() > 0
    finally:
        gc.unfreeze()


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ((), "C takes 1 inputs, got 0"),
        ((np.zeros((3, 4), np.float32),), "A must have 5 elements on axis 1, got 4"),
        ((np.zeros((3, 5)),), "A must be float32, got float64"),
        ((np.zeros(3, np.float32),), "A must have 2 dimensions, got 1"),
        ((1.0,), "A must have 2 dimensions, got 0"),
    ],
)
def test_interpret_refuses_what_does_not_fit(arguments: tuple[object, ...], text: str) -> None:
    with pytest.raises(tl.ArgumentError, match=re.escape(text)):
        tl.interpret(sums(), *arguments)
