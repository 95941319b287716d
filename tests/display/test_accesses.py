import numpy as np
import pytest

import tensorlang as tl
from tensorlang import display
from tensorlang.ir.nodes import TRUE, Alloc, Block, Buffer, For, Func, Iter, Load, Store, Var, const
from tests.schedule.programs import matmul


def tiled():
    s = tl.Schedule(matmul(16, 32, 8))
    i0, j0, i1, j1 = s.tile(["C.i", "C.j"], [4, 16])
    s.reorder(i0, j0, "C.k", i1, j1)
    s.vectorize(j1)
    return s, j0


def test_a_tile_of_a_matmul(golden):
    s, j0 = tiled()
    golden("display/accesses", "\n\n".join(str(display.accesses(s, "C", b, inside=j0)) for b in "ABC"))


def test_order_lanes_and_lines():
    s, j0 = tiled()
    b = display.accesses(s, "C", "B", inside=j0)
    assert b.shape == (8, 32) and b.pitches == (128, 4) and len(b.steps) == 8 * 4 * 16
    assert b.elements[:16].tolist() == [[0, j] for j in range(16)]
    assert b.lanes[:16].tolist() == list(range(16)) and set(b.steps[:16]) == {0}
    assert set(b.cache_lines) == {1} and b.complete and not b.threads
    whole = display.accesses(s, "C", "B")
    assert len(whole.steps) == 16 * 32 * 8 and whole.first.min() == 0


def test_what_is_outside_the_domain_is_not_touched():
    s = tl.Schedule(matmul(10, 12, 7))
    s.split("C.i", [None, 4])
    a = display.accesses(s, "C", "A")
    assert len(a.steps) == 10 * 12 * 7 and (a.first >= 0).all()


def test_buffers_have_the_shape_and_the_pitches_of_lowering():
    s = tl.Schedule(matmul(16, 32, 8))
    copy = s.cache_read("C", "A", "packed")
    s.compute_at(copy, "C.i")
    s.storage_align(copy, 0, 16, 1)
    a = display.accesses(s, "C", "A.packed", inside="C.i")
    assert a.shape == (1, 8) and a.pitches == (4 * 17, 4)


def in_shared_memory(column_first: bool, pitch: int) -> Func:
    """32 x 8 threads read a tile of 32 x 32 words of shared memory, four each."""
    tile = Buffer("tile", (const(32), const(pitch)), "float32", "shared")
    out = Buffer("out", (const(32), const(32)), "float32")
    y, x, n = Var("y"), Var("x"), Var("n")
    i, j = Var("i"), Var("j")
    row, column = (x, y * 4 + n) if column_first else (y * 4 + n, x)
    body = Store(out, (i, j), Load(tile, (row, column)))
    block = Block("copy", (Iter(i, const(32)), Iter(j, const(32))), (y * 4 + n, x), TRUE, None, None, body)
    loops = For(y, const(8), "threadIdx.y", For(x, const(32), "threadIdx.x", For(n, const(4), "serial", block)))
    return Func("f", (out,), (out,), Alloc(tile, loops))


@pytest.mark.parametrize(
    ("column_first", "pitch", "ways"), [(False, 32, 1), (True, 32, 32), (True, 33, 1), (True, 36, 4)]
)
def test_bank_conflicts(column_first, pitch, ways):
    func = in_shared_memory(column_first, pitch)
    a = display.accesses(func, "copy", "tile")
    assert a.threads and a.conflicts == [ways] * 4
    assert a.lanes.tolist() == list(range(256)) * 4
    assert ("no bank conflicts" if ways == 1 else f"up to {ways}-way") in a.summary
    assert a.in_conflict[a.first >= 0].all() == (ways > 1) == ("another thread of the warp" in a._repr_html_())


def test_html_has_a_cell_for_each_element():
    s, j0 = tiled()
    html = display.accesses(s, "C", "A", inside=j0)._repr_html_()
    assert html.count("<title>") == html.count("<g>") == 4 * 8
    assert "A[3, 7]: step 31, lane 0, touched 16 times" in html


def test_refusals():
    s, _ = tiled()
    for arguments, message in (
        (("D", "A"), "no block named 'D'"),
        (("C", "D"), "does not touch a buffer named 'D'"),
        (("C", "A", "C.q"), "no loop 'C.q' around block C"),
    ):
        with pytest.raises(ValueError, match=message):
            display.accesses(s, *arguments)
    x, at = tl.placeholder((9,), name="x"), tl.placeholder((4,), "int32", name="at")
    with pytest.raises(ValueError, match="depends on data"):
        display.accesses(tl.Schedule(tl.compute((4,), lambda i: x[at[i]], name="y")), "y", "x")
    with pytest.raises(ValueError, match="is not known"):
        display.accesses(tl.Schedule(matmul(tl.var("n"), 4, 4)), "C", "C", inside="C.i")


def test_too_many_accesses_are_cut_off():
    a = display.accesses(tl.Schedule(matmul(64, 64, 64)), "C", "A")
    assert not a.complete and "accesses only" in a.summary and np.unique(a.steps).size == len(a.steps)
