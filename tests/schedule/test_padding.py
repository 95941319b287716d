"""decompose_padding."""

import pytest

import tensorlang as tl
from tensorlang.ir.nodes import TRUE, Block, Buffer, Const, For, Func, Iter, Load, Op, Store, Var, const
from tensorlang.ir.ops import make
from tensorlang.ir.walk import find
from tensorlang.schedule.schedule import Schedule
from tests.schedule.programs import before_and_after, blur, chain, matmul, refused
from tests.schedule.test_storage import built


def conditions(s, block):
    return list(find(s.block_node(block).body, Op, lambda e: e.op == "if_then_else"))


def padded(cond, m=9, n=8, value=None, pad=0.0):
    """P pads A where `cond` fails; C reads P."""
    a = tl.placeholder((m, n), name="A")
    read = value or (lambda i, j: a[i, j])
    p = tl.compute((m, n), lambda i, j: tl.if_then_else(cond(i, j), read(i, j) * 2.0, pad), name="P")
    return tl.compute((m, n), lambda i, j: p[i, j] + 1.0, name="C")


def test_decompose_padding(golden):
    s = Schedule(blur(6, 7))
    before = s.func
    assert s.decompose_padding("P", "P.i").name == "P.pad"
    golden("schedule/decompose_padding", before_and_after(before, s))
    assert not conditions(s, "P")
    built(before, s)


def test_inner_loops_only():
    s = Schedule(blur(6, 7))
    before = s.func
    s.decompose_padding("P", "P.j")
    built(before, s)


def test_under_another_loop():
    s = Schedule(blur(10, 11))
    before = s.func
    i0, j0, _, _ = s.tile(["C.i", "C.j"], [4, 3])
    s.compute_at("H", j0)
    s.compute_at("P", j0)
    s.decompose_padding("P", s.loops("P")[2])
    assert not conditions(s, "P")
    built(before, s)
    s.compute_inline("H")
    s.parallel(i0)
    built(before, s)


def test_split_loops_keep_the_box_as_a_guard():
    s = Schedule(blur(10, 11))
    before = s.func
    i0, _ = s.split("P.i", [None, 4])
    s.decompose_padding("P", i0)
    assert not conditions(s, "P")
    built(before, s)


@pytest.mark.parametrize(
    "cond",
    [
        lambda i, j: i >= 2,
        lambda i, j: (i + 1 < 8) & (j > 2),
        lambda i, j: (i >= 3) & (i <= 5) & (2 * 4 - j > 0) & (i > 1),
        lambda i, j: (i > 6) & (i < 3),
        lambda i, j: 4 - j >= i * 0,
    ],
)
def test_boxes(cond):
    s = Schedule(padded(cond))
    before = s.func
    s.decompose_padding("P", "P.i")
    built(before, s)


@pytest.mark.parametrize("sizes", [(0, 3), (1, 1), (5, 4)])
def test_symbolic_sizes(sizes):
    m, n = tl.var("m"), tl.var("n")
    s = Schedule(blur(m, n))
    before = s.func
    s.decompose_padding("P", "P.i")
    built(before, s, {"m": sizes[0], "n": sizes[1]})


def test_needs_padding():
    s = Schedule(chain())
    refused(s, "not_padded", lambda: s.decompose_padding("P", "P.i"))
    s = Schedule(matmul())
    refused(s, "not_padded", lambda: s.decompose_padding("C", "C.i"))


def test_needs_a_box():
    for cond in (lambda i, j: i < j, lambda i, j: i % 2 < 1, lambda i, j: (i < 3) | (j < 2), lambda i, j: 2 * i < 7):
        s = Schedule(padded(cond))
        assert refused(s, "not_a_box", lambda s=s: s.decompose_padding("P", "P.i")).hint


def test_needs_a_nest_of_its_own():
    s = Schedule(blur())
    refused(s, "not_around", lambda: s.decompose_padding("P", "C.i"))
    s.compute_at("P", s.loops("H")[1])
    error = refused(s, "not_perfectly_nested", lambda: s.decompose_padding("P", "H.i"))
    assert error.hint == "P.i_1"


def test_needs_plain_loops():
    s = Schedule(blur())
    s.parallel("P.i")
    refused(s, "loop_kind", lambda: s.decompose_padding("P", "P.i"))
    s = Schedule(blur())
    s.annotate("P.j", "note", 1)
    refused(s, "loop_annotated", lambda: s.decompose_padding("P", "P.i"))


def test_needs_one_point_for_each_element():
    """P[i // 2] = A[i] if i >= 3 else 0: of two points that share an element, the later one counts."""
    a, c = Buffer("A", (const(6),), "float32"), Buffer("C", (const(3),), "float32")
    it, loop = Iter(Var("i"), const(6)), Var("C.i")
    value = make("if_then_else", it.var >= 3, Load(a, (it.var,)), Const(0.0, "float32"))
    block = Block("C", (it,), (loop,), TRUE, None, None, Store(c, (it.var // 2,), value))
    s = Schedule(Func("shared", (a, c), (c,), For(loop, const(6), "serial", block)))
    refused(s, "overwrites", lambda: s.decompose_padding("C", "C.i"))
