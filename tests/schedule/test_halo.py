"""compute_at and its reverse with halo: windows that overlap, and reach over the edges."""

import random

import pytest

import tensorlang as tl
from tensorlang.schedule.schedule import Schedule
from tests.schedule.programs import blur, matmul, refused, running, shapes
from tests.schedule.test_storage import built


def pooling(m=9, n=10, stride=1, width=3, pad=1):
    """C: the greatest of the 3 x 3 elements around each one of P, without those outside; P is A doubled."""
    a = tl.placeholder((m, n), name="A")
    p = tl.compute((m, n), lambda i, j: a[i, j] * 2.0, name="P")
    y, x = tl.reduce_axis(width, name="y"), tl.reduce_axis(width, name="x")

    def inside(i, j):
        return (i >= 0) & (i < m) & (j >= 0) & (j < n)

    def element(i, j):
        return tl.if_then_else(inside(i, j), p[i, j], -100.0)

    def size(extent):
        return (extent + 2 * pad - width) // stride + 1

    shape = (size(m), size(n))
    read = lambda i, j: element(i * stride + y - pad, j * stride + x - pad)  # noqa: E731
    return tl.compute(shape, lambda i, j: tl.max(read(i, j), axis=(y, x)), name="C")


def smooth(n=23, steps=3):
    """A chain of stencils that reach over both edges: B1, B2, ... each sums neighbours of the one before."""
    level = tl.placeholder((n,), name="A")
    for step in range(steps):
        below = level
        near = lambda i, b=below: tl.if_then_else((i >= 0) & (i < n), b[i], 0.0)  # noqa: E731
        level = tl.compute((n,), lambda i, near=near: near(i - 1) + near(i) + near(i + 1), name=f"B{step + 1}")
    return level


@pytest.mark.parametrize(("stride", "width", "pad"), [(1, 3, 1), (2, 3, 1), (2, 2, 0), (1, 5, 2), (3, 2, 0)])
def test_pooling_at_every_loop(stride, width, pad):
    for depth in range(4):
        s = Schedule(pooling(9, 10, stride, width, pad))
        before = s.func
        s.compute_at("P", s.loops("C")[depth])
        built(before, s)


def test_pooling_in_tiles():
    s = Schedule(pooling(9, 10))
    before = s.func
    i0, j0, *_ = s.tile(["C.i", "C.j"], [4, 4])
    s.compute_at("P", j0)
    assert shapes(s)["P"] == "[6, 6]"
    built(before, s)
    s.parallel(i0)
    s.vectorize(s.loops("P")[-1])
    built(before, s)


def test_pooling_rolls():
    s = Schedule(pooling(9, 10))
    before = s.func
    s.compute_at("P", "C.i")
    s.rolling_buffer("P", "C.i")
    built(before, s)
    assert shapes(s)["P"] == "[3, 10]"


@pytest.mark.parametrize("factor", [1, 4, 7, 30])
def test_chains_over_the_edges(factor):
    s = Schedule(smooth())
    before = s.func
    i0, _ = s.split("B3.i", [None, factor])
    s.compute_at("B2", i0)
    s.compute_at("B1", i0)
    built(before, s)
    if factor == 4:
        assert shapes(s) == {"B2": "[6]", "B1": "[8]"}


def test_chains_roll_over_the_edges():
    s = Schedule(smooth())
    before = s.func
    i0, _ = s.split("B3.i", [None, 4])
    for name in ("B2", "B1"):
        s.compute_at(name, i0)
        s.rolling_buffer(name, i0)
    built(before, s)
    assert shapes(s) == {"B2": "[6]", "B1": "[8]"}


@pytest.mark.parametrize("n", [0, 1, 3, 11])
def test_symbolic_sizes(n):
    size = tl.var("n")
    s = Schedule(smooth(size))
    before = s.func
    i0, _ = s.split("B3.i", [None, 4])
    s.compute_at("B2", i0)
    s.compute_at("B1", i0)
    built(before, s, {"n": n})


def test_random_chains():
    rng = random.Random(3)
    for _ in range(8):
        s = Schedule(smooth(rng.randint(1, 20), 4))
        before = s.func
        loop, _ = s.split("B4.i", [None, rng.randint(1, 6)])
        for name in ("B3", "B2", "B1"):
            s.compute_at(name, loop)
            if rng.random() < 0.5 and repr(loop.extent) != "1":
                try:
                    s.rolling_buffer(name, loop)
                except tl.ScheduleError as error:
                    assert error.reason in ("no_overlap", "not_a_window")
        built(before, s)


def test_consumers_of_neighbours_stay_out():
    s = Schedule(smooth())
    refused(s, "conditional_read", lambda: s.reverse_compute_at("B2", "B1.i"))
    s = Schedule(blur())
    refused(s, "not_elementwise", lambda: s.reverse_compute_at("C", "H.i"))


# ------------------------------------------------------------------------------------------------------ refusals
def test_producers_stand_before():
    s = Schedule(blur())
    s.compute_at("H", "C.j")
    s.compute_at("P", s.loops("H")[2])
    assert refused(s, "producer_not_before", lambda: s.compute_at("H", "C.i")).hint == "C.j"


def test_a_consumer_has_all_its_producers_before():
    a = tl.placeholder((8,), name="A")
    p, q = (tl.compute((8,), lambda i, c=c: a[i] + c, name=name) for name, c in (("P", 1.0), ("Q", 2.0)))
    s = Schedule(tl.compute((8,), lambda i: p[i] * q[i], name="C"))
    before = s.func
    refused(s, "producer_not_before", lambda: s.reverse_compute_at("C", "P.i"))
    s.reverse_compute_at("C", "Q.i")
    built(before, s)


def test_a_reversed_block_is_a_sole_writer():
    c, r = matmul(10, 12), tl.reduce_axis(12, name="r")
    s = Schedule(tl.compute((10,), lambda i: tl.sum(c[i, r], axis=r), name="T"))
    s.decompose_reduction("T", "T.r")
    refused(s, "several_writers", lambda: s.reverse_compute_at("T", "C.i"))


def test_shared_elements_do_not_move():
    s = Schedule(running())
    refused(s, "overwrites", lambda: s.reverse_compute_at("C", "C.t"))
