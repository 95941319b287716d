"""schedule/library.py: routines made of primitives compute the same, and each does what it says."""

import pytest

import tensorlang as tl
from tensorlang.schedule import library
from tensorlang.schedule.schedule import Schedule
from tests.schedule.programs import add, check_kernel, check_numbers, last_positive, matmul, row_sum


def started(tensor):
    s = Schedule(tensor)
    return s.func, s


def test_vectorize_or_guard(golden):
    before, s = started(add(5, 11))
    vectors, lane = library.vectorize_or_guard(s, "C.j", 4)
    assert (vectors.known_extent, lane.known_extent, lane.kind) == (3, 4, "vectorize")
    check_numbers(before, s)
    golden("schedule/vectorize_or_guard", str(s))


def test_parallel_outer_passes_over_reductions():
    before, s = started(matmul())
    s.reorder("C.k", "C.i", "C.j")
    assert library.parallel_outer(s, "C") == s.loop("C.i") and s.loop("C.i").kind == "parallel"
    check_numbers(before, s)


def test_parallel_outer_finds_none():
    _, s = started(row_sum(3, 4))
    s.vectorize("C.i")
    assert library.parallel_outer(s, "C") is None and len(s.trace.steps) == 1


def test_unroll_small_stays_below_its_limit():
    before, s = started(matmul(10, 12, 7))
    s.split("C.k", [None, 2])
    s.split("C.j", [None, 4])
    s.reorder("C.k.0", "C.j.1", "C.k.1")
    assert [loop.name for loop in library.unroll_small(s, "C", 16)] == ["C.k.1", "C.j.1"]
    assert [loop.name for loop in s.find(kind="unroll")] == ["C.j.1", "C.k.1"]
    check_numbers(before, s)


def test_tile_for_cache_fits_the_capacity():
    before, s = started(matmul(10, 12, 7))
    outer, inner = library.tile_for_cache(s, "C", 3 * 4 * 4 * 4)  # three tiles of 4 x 4 float32
    assert [loop.known_extent for loop in inner] == [4, 4, 4]
    assert [loop.name for loop in s.loops("C")] == [loop.name for loop in (*outer, *inner)]
    check_numbers(before, s)


def test_accumulate_in_registers():
    before, s = started(matmul(10, 12, 7))
    i0, j0, i1, j1 = s.tile(["C.i", "C.j"], [2, 4])
    s.reorder("C.k", i1, j1)
    copy = library.accumulate_in_registers(s, "C", j0, 4)
    assert [b.writes[0].scope for b in s.blocks()] == ["local", "global"]
    assert [loop.name for loop in copy.loops[:2]] == [i0.name, j0.name]
    assert [loop.kind for loop in copy.loops[2:]] == ["unroll", "unroll", "vectorize"]
    check_numbers(before, s)


@pytest.mark.parametrize(("operand", "dimension", "shape"), [("A", 0, (3, 7, 4)), ("B", 1, (3, 7, 4))])
@pytest.mark.parametrize("inside", [False, True])
def test_pack_operand(operand, dimension, shape, inside):
    before, s = started(matmul(10, 12, 7))
    copy = library.pack_operand(s, "C", operand, dimension, 4, at="C.i" if inside else None)
    assert [d.value for d in copy.writes[0].shape] == list(shape)
    assert copy.consumers == [s.block("C")]
    assert (copy.loops[0].kind == "parallel") is not inside
    check_numbers(before, s)


@pytest.mark.parametrize("shape", [(13, 21, 7), (24, 32, 16), (3, 8, 1)])
def test_matmul(shape):
    before, s = started(matmul(*shape))
    library.matmul(s, "C", lanes=4, rows=3, vectors=2, blocks=2)
    check_numbers(before, s)


def test_reduce_in_lanes(golden):
    before, s = started(row_sum(3, 21))
    library.reduce_in_lanes(s, "C", lanes=4, vectors=2)
    check_numbers(before, s)
    golden("schedule/reduce_in_lanes", str(s))


def test_reduce_in_columns():
    before, s = started(matmul(3, 21, 5))
    library.reduce_in_columns(s, "C", lanes=4, vectors=2)
    assert [loop.name for loop in s.loops("C")] == ["C.i", "C.j.0", "C.k", "C.j.1", "C.j.2"]
    check_numbers(before, s)


def test_load_ahead():
    s = Schedule(matmul(10, 12, 14))
    before = s.func
    k0, k1 = s.split("C.k", [None, 4])
    s.reorder(k0, "C.i", "C.j", k1)
    for operand in "AB":
        s.compute_at(s.cache_read("C", operand, "local"), k0)
    assert [b.name for b in library.load_ahead(s, k0, 2)] == ["A.local", "B.local"]
    assert s.trace.steps[-1].args["stages"] == {"A.local": 0, "B.local": 0, "C": 2}
    check_kernel(before, s)


def test_a_refused_routine_changes_nothing():
    before, s = started(last_positive())
    with pytest.raises(tl.ScheduleError, match="not_commutative"):
        library.reduce_in_lanes(s, "C", lanes=4)
    assert s.func is before and s.trace.steps == ()
