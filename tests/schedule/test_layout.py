"""transform_layout."""

import random

import pytest

import tensorlang as tl
from tensorlang.arith.simplify import simplify
from tensorlang.ir.nodes import Alloc, const, seq
from tensorlang.ir.walk import find, substitute
from tensorlang.schedule.schedule import Schedule
from tests.schedule.programs import (
    before_and_after,
    biased_matmul,
    chain,
    check_compact,
    check_numbers,
    compact_form,
    convolution,
    matmul,
    refused,
    row_sum,
    running,
    shapes,
)


def test_transform_layout(golden):
    s = Schedule(chain(4, 10))
    before = s.func
    s.transform_layout("P", lambda i, j: (j // 4, i, j % 4))
    golden("schedule/transform_layout", before_and_after(before, s))
    check_numbers(before, s)


def test_transform_layout_with_padding(golden):
    s = Schedule(chain(4, 10))
    before = s.func
    s.transform_layout("P", lambda i, j: (j // 4, i, j % 4), pad_value=0.0)
    golden("schedule/transform_layout_pad", before_and_after(before, s))
    check_numbers(before, s)


@pytest.mark.parametrize(
    "layout",
    [
        lambda i, j: (j, i),
        lambda i, j: (i // 4, j // 3, i % 4, j % 3),
        lambda i, j: i * 12 + j,
        lambda i, j: (j // 8, i, j // 2 % 4, j % 2),
        lambda i, j: (11 - j, i + 2),
    ],
)
@pytest.mark.parametrize("pad", [None, 1.0])
def test_layouts(layout, pad):
    s = Schedule(convolution(8, 10))
    before = s.func
    s.transform_layout("P", layout, pad_value=pad)
    check_compact(before, s)


def test_layout_of_a_reduction():
    s = Schedule(biased_matmul())
    before = s.func
    s.transform_layout("C", lambda i, j: (j // 5, i, j % 5), pad_value=0.0)
    assert [b.name for b in s.blocks()] == ["C.pad", "C", "E"]
    check_numbers(before, s)


def packed_matmul(m, n, k, order="layout first", pad=0.0, mr=4, nr=4, mp=2, np=3, kc=8):
    """A matmul as BLIS does it: panels of B under k0, panels of A under i0, a tile of C written back under j0."""
    s = Schedule(matmul(m, n, k))
    before = s.func
    a, b, back = s.cache_read("C", "A", "global"), s.cache_read("C", "B", "global"), s.cache_write("C", "local")
    i, j, kk = s.loops("C")
    i0, i1, i2 = s.split(i, [None, mp, mr])
    j0, j1, j2 = s.split(j, [None, np, nr])
    k0, k1 = s.split(kk, [None, kc])
    s.reorder(j0, k0, i0, j1, i1, k1, i2, j2)
    pack_a = lambda i, k: (i // mr, k, i % mr)  # noqa: E731
    pack_b = lambda k, j: (j // nr, k, j % nr)  # noqa: E731
    if order == "move first":
        s.compute_at(b, k0)
        s.compute_at(a, i0)
    s.transform_layout("A.global", pack_a, pad_value=pad)
    s.transform_layout("B.global", pack_b, pad_value=pad)
    if order == "layout first":
        s.compute_at(b, k0)
        s.compute_at(a, i0)
    s.reverse_compute_at(back, j0)
    return before, s


@pytest.mark.parametrize("order", ["layout first", "move first"])
@pytest.mark.parametrize("pad", [None, 0.0])
@pytest.mark.parametrize("sizes", [(21, 37, 29), (3, 2, 5), (16, 24, 16)])
def test_packed_matmul(order, pad, sizes):
    before, s = packed_matmul(*sizes, order=order, pad=pad)
    check_compact(before, s)
    if sizes == (21, 37, 29):
        assert shapes(s) == {"A.global": "[2, 8, 4]", "B.global": "[3, 8, 4]", "C.local": "[21, 12]"}


def test_packed_matmul_goes_on():
    """The loops of the packing blocks and of the block itself take further steps."""
    before, s = packed_matmul(21, 37, 29, "layout first", 0.0)
    *_, panel_row, panel_column = s.loops("B.global")
    s.vectorize(panel_column)
    s.unroll(panel_row)
    *_, i2, j2 = s.loops("C")
    s.unroll(i2)
    s.vectorize(j2)
    s.parallel(s.loops("C")[0])
    check_compact(before, s)


def knobbed_matmul(order, pad):
    choices = {"mr": (2, 4, 6), "nr": (4, 8), "mp": (1, 2, 5), "np": (1, 3), "kc": (1, 4, 8)}
    knobs = {name: tl.knob(name, values) for name, values in choices.items()}
    return choices, packed_matmul(21, 37, 29, order, pad, **knobs)


@pytest.mark.parametrize("order", ["layout first", "move first"])
@pytest.mark.parametrize("pad", [None, 0.0])
def test_packed_matmul_with_knobs(order, pad):
    """Boxes are expressions over open knobs; any choice makes the program that literal factors make."""
    choices, (before, s) = knobbed_matmul(order, pad)
    assert s.constraints == ()
    boxes = {alloc.buffer.name: alloc.buffer.shape for alloc in find(compact_form(s), Alloc)}
    assert repr(boxes["B.global"]) == "(np, kc, nr)"
    rng = random.Random(0)
    for _ in range(4):
        values = {name: rng.choice(options) for name, options in choices.items()}
        literal = s.trace.instantiate(values).apply(before)
        check_compact(before, literal)
        by_knob = {knob: const(values[knob.name]) for knob in s.trace.knobs.values()}
        closed = {name: repr([simplify(substitute(d, by_knob)) for d in shape]) for name, shape in boxes.items()}
        assert closed == shapes(literal)


@pytest.mark.parametrize("n", [0, 1, 8, 11])
def test_symbolic_sizes(n):
    size = tl.var("n")
    before, s = packed_matmul(size, 13, size, "layout first", 0.0)
    check_compact(before, s, {"n": n})


def test_a_parameter_keeps_its_layout():
    s = Schedule(matmul())
    for name in ("A", "C"):
        error = refused(s, "parameter_layout", lambda name=name: s.transform_layout(name, lambda i, j: (j, i)))
        assert "cache_read" in error.hint


def test_the_map_fits_the_buffer():
    s = Schedule(chain())
    refused(s, "index_map", lambda: s.transform_layout("P", lambda i: (i,)))
    refused(s, "index_map", lambda: s.transform_layout("P", "rows"))
    refused(s, "index_map", lambda: s.transform_layout("P", lambda i, j: (i - 1, j)))


def test_elements_keep_apart():
    s = Schedule(chain())
    refused(s, "not_injective", lambda: s.transform_layout("P", lambda i, j: (i, j % 4)))
    refused(s, "not_injective", lambda: s.transform_layout("P", lambda i, j: i + j))


def test_padding_that_does_not_fit():
    s = Schedule(chain())
    refused(s, "bad_pad_value", lambda: s.transform_layout("P", lambda i, j: (j, i), pad_value="zero"))


def test_padding_in_loops():
    """A reduction inside loops: its tile is filled in each iteration, and the matmul adds to it."""
    s = Schedule(biased_matmul())
    before = s.func
    s.split("E.j", [None, 5])
    s.compute_at("C", "E.j.0")
    s.transform_layout("C", lambda i, j: (j // 5, i, j % 5), 0.0)
    assert [b.name for b in s.blocks()] == ["C.pad", "C", "E"]
    check_compact(before, s)
    assert shapes(s) == {"C": "[1, 1, 5]"}


@pytest.mark.parametrize(
    "layout", [lambda i, j: (j // 4, i, j % 4), lambda i, j: (i // 4, j // 6, j // 2 % 3, i % 4, j % 2)]
)
@pytest.mark.parametrize("tile", [(4, 6), (3, 5)])
def test_a_consumer_follows_a_relaid_producer(layout, tile):
    """reverse_compute_at sees through x // c and x % c."""
    s = Schedule(matmul(10, 12, 7))
    before = s.func
    back = s.cache_write("C", "local")
    i0, j0, *_ = s.tile(["C.i", "C.j"], tile)
    s.transform_layout("C.local", layout)
    s.reverse_compute_at(back, j0)
    check_compact(before, s)
    s.parallel(i0)
    check_compact(before, s)


def test_layout_of_what_several_iterations_share():
    s = Schedule(running())
    before = s.func
    s.transform_layout("T", lambda x: (x // 3, x % 3), pad_value=0.0)
    check_numbers(before, s)


def aslant(i, j):
    """Different iterations of i use the same elements: (1, 1) is (0, 1) as it was, in a box with (1, 0)."""
    return i + j, j


def test_padding_of_several_iterations_is_not_read_after_them():
    """Each iteration fills its box anew, in which are elements that iterations before have made."""
    total = row_sum(10, 3)
    s = Schedule(tl.compute((10,), lambda i: total[9 - i] + 1.0, name="D"))
    before = s.func
    s.rfactor("C.k", 1)
    s.transform_layout("C.rf", aslant, pad_value=2.0)
    check_numbers(before, s)
    error = refused(s, "overwritten_before", lambda: s.compute_at("C", "D.i"))
    assert "C.rf.pad may store other values over those of C.rf" in error.message and "for C.i" in error.excerpt
    s = Schedule(tl.compute((10,), lambda i: total[9 - i] + 1.0, name="D"))
    s.rfactor("C.k", 1)
    s.transform_layout("C.rf", lambda i, k: (k, i), pad_value=2.0)
    s.compute_at("C", "D.i")  # here each iteration has a box of its own
    check_numbers(before, s)


def two_producers() -> tl.Tensor:
    a = tl.placeholder((8, 6), name="A")
    p = tl.compute((8, 6), lambda i, j: a[i, j] + 1.0, name="P")
    r = tl.compute((8, 6), lambda i, j: a[i, j] - 1.0, name="R")
    q = tl.compute((8, 6), lambda i, j: p[i, j] * r[i, j], name="Q")
    return tl.compute((8, 6), lambda i, j: q[7 - i, j] * 2.0, name="E")


def test_who_reads_padding_stays_in_its_loop():
    s = Schedule(two_producers())
    before = s.func
    s.compute_at("P", "Q.i")
    s.transform_layout("P", aslant, pad_value=2.0)
    s.store_at("P", None)
    refused(s, "overwritten_before", lambda: s.compute_inline("Q"))
    refused(s, "overwritten_before", lambda: s.compute_at("Q", "E.i"))
    check_numbers(before, s)


def test_what_is_laid_out_aslant_fills_no_box():
    s = Schedule(two_producers())
    before = s.func
    s.transform_layout("R", aslant)
    refused(s, "not_gapless", lambda: s.reverse_compute_at("Q", "R.i"))
    s.compute_at("R", "Q.i")  # all of it, as it is not known which part
    s.store_at("R", None)
    s.store_at("R", "Q.i")
    check_numbers(before, s)


def test_an_element_aslant_may_be_of_another_iteration():
    """Iteration i makes P(i, 0) and P(i, 1), in places (i, 0) and (i + 1, 1), and reads (i, 1)."""
    a = tl.placeholder((8, 2), name="A")
    p = tl.compute((8, 2), lambda i, j: a[i, j] + 1.0, name="P")
    s = Schedule(tl.compute((8,), lambda i: p[i, 0] + tl.if_then_else(i >= 1, p[i - 1, 1], 0.0), name="Q"))
    s.transform_layout("P", aslant)
    place = next(find(s.func, Alloc))
    p_nest, q_nest = place.body.stmts
    together = p_nest.replace(body=seq(p_nest.body, substitute(q_nest.body, {q_nest.var: p_nest.var})))
    s = Schedule(s.func.with_body(place.replace(body=together)))
    refused(s, "not_produced_there", lambda: s.store_at("P", "P.i"))
