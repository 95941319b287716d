from types import SimpleNamespace

import pytest

import tensorlang as tl
from tensorlang import display
from tensorlang.display import units
from tests.schedule.programs import matmul

TARGET = tl.Target("llvm", cpu="x86-64-v3", registers=16, vector_bytes=32, l1=32 << 10, l2=1 << 20, l3=32 << 20)


def tiled():
    s = tl.Schedule(matmul(100, 64, 48), target=TARGET)
    i0, j0, i1, j1 = s.tile(["C.i", "C.j"], [4, 16])
    s.reorder(i0, j0, "C.k", i1, j1)
    s.parallel(i0)
    s.vectorize(j1)
    copy = s.cache_write("C", "local")
    s.reverse_compute_at(copy, j0)
    return s


def test_text(golden):
    golden("display/nest", str(display.nest(tiled())))


def test_ipython_shows_the_text_where_there_is_no_html():
    s, shown = tiled(), []
    for view in (s, display.nest(s), s.diff()):
        view._repr_pretty_(SimpleNamespace(text=shown.append), cycle=False)
    assert shown == [str(s), str(display.nest(s)), str(s.diff())]


def test_program_lines_are_those_of_print():
    s = tiled()
    shown = str(display.nest(s)).splitlines()[:-1]
    assert [line.split(" | ")[0].rstrip() for line in shown] == str(s).splitlines()


def test_html_says_the_same():
    s = tiled()
    view = display.nest(s)
    html = view._repr_html_()
    assert html == s._repr_html_()
    for row in view.rows:
        assert row.sizes_text in html
    assert html.count("<details") == html.count("</details>") == 10
    assert '<span class="tag c-registers">registers</span>' in html
    assert "fma(A[i, k], B[k, j], C.local[i, j])" in html


def test_names_are_escaped():
    x = tl.placeholder((8,), name="x")
    y = tl.compute((8,), lambda i: tl.select(x[i] < 1.0, x[i], 0.0), name="y")
    assert "x[i] &lt; 1.0" in tl.Schedule(y)._repr_html_()


def test_open_sizes_stay_expressions():
    n = tl.var("n")
    s = tl.Schedule(matmul(n, 16, 8))
    s.split("C.i", [None, tl.knob("t", (2, 4))])
    shown = str(display.nest(s, TARGET))
    assert "for C.j in 16:" in shown and "n * 64 B" in shown.replace("n * 16 * 4 B", "n * 64 B")


@pytest.mark.parametrize(
    ("needed", "scope", "home"),
    [(512, "local", "registers"), (513, "local", "L1"), (40_000, "global", "L2"), (2 << 20, "global", "L3"),
     (1 << 30, "global", "memory"), (1 << 10, "shared", "shared"), (None, "global", "")],
)  # fmt: skip
def test_home(needed, scope, home):
    assert units.home(needed, scope, TARGET) == home
