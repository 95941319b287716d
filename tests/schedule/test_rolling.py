"""rolling_buffer, and the circular storage that lowering makes of it."""

import random

import pytest

import tensorlang as tl
from tensorlang.ir import serial
from tensorlang.ir.nodes import TRUE as ALWAYS
from tensorlang.ir.nodes import Alloc, Block, Buffer, For, Func, Iter, Load, Store, Var, const, seq
from tensorlang.ir.walk import find, same
from tensorlang.schedule.schedule import Schedule
from tests.schedule.programs import before_and_after, blur, chain, matmul, normalised, refused, shapes
from tests.schedule.test_storage import built


def rolled(m=10, n=11, loop="C.i"):
    s = Schedule(blur(m, n))
    before = s.func
    s.compute_at("H", loop)
    s.compute_at("P", loop)
    s.rolling_buffer("H", loop)
    s.rolling_buffer("P", loop)
    return before, s


def test_rolling_buffer(golden):
    s = Schedule(blur(6, 7))
    before = s.func
    s.compute_at("H", "C.i")
    s.rolling_buffer("H", "C.i")
    golden("schedule/rolling_buffer", before_and_after(before, s))
    built(before, s)
    assert shapes(s)["H"] == "[3, 7]"


@pytest.mark.parametrize("sizes", [(10, 11), (2, 5), (3, 1), (13, 4)])
def test_chains_of_stencils(sizes):
    before, s = rolled(*sizes)
    built(before, s)
    if sizes == (10, 11):
        assert shapes(s) == {"H": "[3, 11]", "P": "[3, 13]"}
    assert same(serial.from_json(serial.to_json(s.func)), s.func)


def test_symbolic_sizes():
    m, n = tl.var("m"), tl.var("n")
    before, s = rolled(m, n)
    for sizes in ({"m": 5, "n": 4}, {"m": 1, "n": 3}, {"m": 0, "n": 2}, {"m": 9, "n": 1}):
        built(before, s, sizes)


def strided(step, width, count=7, n=5):
    """C[i] sums rows step * i .. + width - 1 of P."""
    a = tl.placeholder((step * (count - 1) + width, n), name="A")
    p = tl.compute(a.shape, lambda i, j: a[i, j] * 2.0, name="P")
    r = tl.reduce_axis(width, name="r")
    return tl.compute((count, n), lambda i, j: tl.sum(p[i * step + r, j], axis=r), name="C")


@pytest.mark.parametrize(("step", "width"), [(1, 2), (1, 5), (2, 3), (2, 7), (3, 4)])
def test_strided_windows(step, width):
    s = Schedule(strided(step, width))
    before = s.func
    s.compute_at("P", "C.i")
    s.rolling_buffer("P", "C.i")
    built(before, s)
    assert shapes(s)["P"] == f"[{width}, 5]"


@pytest.mark.parametrize("factor", [2, 3, 4])
def test_windows_of_tiles(factor):
    """Strips of rows; in a strip, tiles of columns; P rolls down the rows of a tile."""
    s = Schedule(blur(10, 11))
    before = s.func
    i0, j0, _i1, _j1 = s.tile(["C.i", "C.j"], [factor, 4])
    s.reorder(j0, i0)
    s.compute_at("H", i0)
    s.rolling_buffer("H", i0)
    s.compute_at("P", i0)
    s.rolling_buffer("P", i0)
    s.parallel(j0)
    built(before, s)
    assert shapes(s) == {"H": f"[{factor + 2}, 4]", "P": f"[{factor + 2}, 6]"}


def test_windows_along_the_inner_loop_start_anew_in_each_outer_one():
    s = Schedule(blur(10, 11))
    before = s.func
    s.split("C.i", [None, 4])
    s.compute_at("H", "C.i.1")
    s.rolling_buffer("H", "C.i.1")
    s.parallel("C.i.0")
    built(before, s)
    assert shapes(s)["H"] == "[3, 11]"


def test_columns_roll_too():
    s = Schedule(blur(6, 9))
    before = s.func
    s.compute_at("P", s.loops("H")[1])
    s.rolling_buffer("P", s.loops("H")[1])
    built(before, s)
    assert shapes(s)["P"] == "[1, 3]"


def test_reductions_roll():
    c = matmul(9, 5, 6)
    s = Schedule(tl.compute((7, 5), lambda i, j: c[i, j] + c[i + 1, j] + c[i + 2, j], name="D"))
    before = s.func
    s.compute_at("C", "D.i")
    s.rolling_buffer("C", "D.i")
    built(before, s)


def test_further_steps():
    """Splitting, unrolling, partition and moving on keep the numbers; a parallel loop is refused."""
    before, s = rolled()
    refused(s, "loop_repeats", lambda: s.parallel("C.i"))
    s.split("C.i", [None, 4])
    s.vectorize(s.loops("H")[-1])
    s.vectorize("C.j")
    built(before, s)
    before, s = rolled()
    s.unroll("C.i")
    built(before, s)
    before, s = rolled()
    s.compute_at("P", s.loops("H")[1])
    built(before, s)
    s.compute_inline("P")
    built(before, s)


def test_storage_follows_where_it_can():
    """Stored further out, the window is that of the outer loop."""
    s = Schedule(blur(10, 11))
    before = s.func
    s.split("C.i", [None, 4])
    s.compute_at("H", "C.i.1")
    s.rolling_buffer("H", "C.i.1")
    s.store_at("H", None)
    assert shapes(s)["H"] == "[6, 11]"
    built(before, s)
    refused(s, "iterations_share", lambda: s.store_at("H", "C.i.1"))


def test_random_windows():
    rng = random.Random(1)
    for _ in range(6):
        before, s = rolled(rng.randint(2, 12), rng.randint(1, 9))
        i = s.loops("C")[0]
        s.split(i, [None, rng.randint(1, 5)])
        built(before, s)


# ------------------------------------------------------------------------------------------------------ refusals
def test_rolls_intermediates():
    s = Schedule(matmul())
    refused(s, "parameter_storage", lambda: s.rolling_buffer("A", "C.i"))


def test_rolls_what_one_block_writes():
    s = Schedule(normalised())
    s.decompose_reduction("total", s.loops("total")[1])
    refused(s, "several_writers", lambda: s.rolling_buffer("total", "C.i"))
    a = tl.placeholder((8,), name="A")
    p, q = tl.compute((8,), lambda i: (a[i] + 1.0, a[i] * 2.0), name="P")
    s = Schedule(tl.compute((7,), lambda i: p[i] + p[i + 1] + q[i], name="C"))
    s.compute_at("P", "C.i")
    name = next(b for b in s.buffers() if b not in ("A", "C"))
    refused(s, "several_outputs", lambda: s.rolling_buffer(name, "C.i"))


def test_rolls_under_one_loop():
    s = Schedule(blur())
    refused(s, "uses_outside_loop", lambda: s.rolling_buffer("H", "C.i"))
    s.compute_at("H", "C.i")
    s.unroll("C.i")
    refused(s, "loop_kind", lambda: s.rolling_buffer("H", "C.i"))


def test_windows_have_one_loop():
    s = Schedule(blur())
    s.compute_at("H", "C.i")
    s.split(s.loops("H")[1], [None, 2])
    assert "compute_at" in refused(s, "not_a_window", lambda: s.rolling_buffer("H", "C.i")).hint
    s = Schedule(chain())
    s.compute_at("P", "C.i")
    refused(s, "not_a_window", lambda: s.rolling_buffer("P", "C.i"))


def test_windows_overlap():
    s = Schedule(strided(3, 2))
    s.compute_at("P", "C.i")
    refused(s, "no_overlap", lambda: s.rolling_buffer("P", "C.i"))


def test_a_window_rolls_once():
    s = Schedule(blur())
    s.compute_at("H", "C.i")
    s.rolling_buffer("H", "C.i")
    refused(s, "guard_differs", lambda: s.rolling_buffer("H", "C.i"))


def carrying():
    """For each i: T = A[i]; P[i .. i + 1] = T; C[i] = P[i] + P[i + 1]. T differs from iteration to iteration."""
    a, c = Buffer("A", (const(4),), "float32"), Buffer("C", (const(4),), "float32")
    held, p, i, r = Buffer("T", (const(1),), "float32"), Buffer("P", (const(5),), "float32"), Var("C.i"), Var("P.r")

    def block(name, extent, value, store):
        it = Iter(Var("x"), const(extent))
        return Block(name, (it,), (value,), ALWAYS, None, None, store(it.var))

    take = block("T", 4, i, lambda x: Store(held, (x - x,), Load(a, (x,))))
    fill = block("P", 5, i + r, lambda x: Store(p, (x,), Load(held, (const(0),))))
    use = block("C", 4, i, lambda x: Store(c, (x,), Load(p, (x,)) + Load(p, (x + 1,))))
    nest = For(i, const(4), "serial", seq(take, For(r, const(2), "serial", fill), use))
    return Func("carrying", (a, c), (c,), Alloc(held, Alloc(p, nest)))


def test_inputs_stay_the_same():
    s = Schedule(carrying())
    refused(s, "overwrites", lambda: s.rolling_buffer("P", "C.i"))


def test_layouts_come_before():
    _, s = rolled()
    refused(s, "storage_fixed", lambda: s.transform_layout("H", lambda i, j: (j, i)))
    s = Schedule(chain())
    s.storage_align("P", 0, 8)
    refused(s, "storage_fixed", lambda: s.transform_layout("P", lambda i, j: (j, i)))


def test_windows_are_marked():
    _, s = rolled()
    assert all(("fold", 0) in alloc.annotations for alloc in find(s.func.body, Alloc))
