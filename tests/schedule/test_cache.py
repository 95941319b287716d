"""cache_read, cache_write, cache_hint."""

import pytest

import tensorlang as tl
from tensorlang.ir import serial
from tensorlang.ir.walk import same
from tensorlang.schedule.schedule import Schedule
from tests.schedule.programs import (
    before_and_after,
    blur,
    chain,
    check_numbers,
    matmul,
    normalised,
    refused,
    row_sum,
    running,
)


def test_cache_read(golden):
    s = Schedule(matmul(10, 12, 7))
    before = s.func
    copy = s.cache_read("C", "A", "local")
    assert copy.name == "A.local"
    assert [loop.name for loop in s.loops(copy)] == ["A.local.i", "A.local.k"]
    assert s.buffers()["A.local"].scope == "local"
    golden("schedule/cache_read", before_and_after(before, s))
    check_numbers(before, s)


def test_cache_read_of_an_intermediate():
    s = Schedule(blur())
    before = s.func
    s.cache_read("C", "H", "local")
    s.cache_read("H", "P", "global")
    check_numbers(before, s)
    assert [b.name for b in s.blocks()] == ["P", "P.global", "H", "H.local", "C"]


def test_only_the_named_block_reads_the_copy():
    s = Schedule(normalised())
    before = s.func
    s.cache_read("C", "E", "local")
    s.cache_read("total", "E", "local")
    assert {"E.local", "E.local_1"} <= set(s.buffers())
    check_numbers(before, s)


def test_cache_read_inside_the_loop_that_produces():
    s = Schedule(running())
    before = s.func
    s.cache_read("C", "T", "local")
    assert [loop.name for loop in s.loops("T.local")][:2] == ["C.t", "C.x"]
    check_numbers(before, s)


def test_cache_read_stands_behind_the_last_update():
    s = Schedule(row_sum(6, 7))
    before = s.func
    s.cache_write("C", "local")
    s.decompose_reduction("C", "C.i")
    s.reverse_compute_at("C.write", "C.i")
    s.cache_read("C.write", "C.local", "local")
    assert [b.name for b in s.blocks()] == ["C.init", "C", "C.local.local", "C.write"]
    check_numbers(before, s)


def test_cache_write(golden):
    s = Schedule(matmul(10, 12, 7))
    before = s.func
    copy = s.cache_write("C", "local")
    assert copy.name == "C.write"
    assert s.blocks()[0].name == "C"
    golden("schedule/cache_write", before_and_after(before, s))
    check_numbers(before, s)


def test_cache_write_of_an_intermediate_and_a_decomposed_reduction():
    s = Schedule(normalised())
    before = s.func
    s.decompose_reduction("total", s.loops("total")[1])
    s.cache_write("total", "local")
    s.cache_write("E", "local")
    check_numbers(before, s)


def test_cache_write_of_one_of_several():
    a = tl.placeholder((6, 5), name="A")
    p, q = tl.compute((6, 5), lambda i, j: (a[i, j] + 1.0, a[i, j] * 2.0), name="P")
    s = Schedule([p, q])
    before = s.func
    error = refused(s, "several_outputs", lambda: s.cache_write("P", "local"))
    s.cache_write("P", "local", tensor=error.hint.removeprefix("tensor="))
    check_numbers(before, s)


def test_cache_read_needs_a_buffer_that_the_block_reads():
    s = Schedule(chain())
    error = refused(s, "not_read", lambda: s.cache_read("C", "A", "local"))
    assert error.hint == "P"


def test_cache_read_needs_a_buffer_that_the_block_does_not_write():
    s = Schedule(matmul())
    error = refused(s, "writes_buffer", lambda: s.cache_read("C", "C", "local"))
    assert error.hint == "cache_write(C, scope)"


def test_caches_need_a_memory():
    s = Schedule(matmul())
    for scope in ("", "my memory", 3):
        refused(s, "bad_scope", lambda scope=scope: s.cache_read("C", "A", scope))
        refused(s, "bad_scope", lambda scope=scope: s.cache_write("C", scope))


def test_cache_write_needs_a_buffer_that_the_block_writes():
    s = Schedule(matmul())
    assert refused(s, "not_written", lambda: s.cache_write("C", "local", tensor="A")).hint == "C"


def test_cache_write_comes_before_consumers_move_in():
    s = Schedule(chain())
    s.reverse_compute_at("C", "P.i")
    error = refused(s, "consumer_inside", lambda: s.cache_write("P", "local"))
    assert error.hint.startswith("cache_write first")


@pytest.mark.parametrize("sizes", [{"n": 1}, {"n": 7}, {"n": 0}])
def test_caches_of_symbolic_size(sizes):
    n = tl.var("n")
    s = Schedule(matmul(n, 5, n))
    before = s.func
    s.cache_read("C", "A", "global")
    s.cache_write("C", "global")
    check_numbers(before, s, sizes)


# ------------------------------------------------------------------------------------------------------ cache_hint
def test_cache_hint(golden):
    s = Schedule(matmul(10, 12, 7))
    before = s.func
    s.cache_hint(s.cache_read("C", "A", "local"), "no_allocate")
    s.cache_hint("A.local", "evict_first")
    s.cache_hint("C", "evict_last")
    s.compute_at("A.local", "C.j")
    golden("schedule/cache_hint", before_and_after(before, s))
    check_numbers(before, s)
    assert same(serial.from_json(serial.to_json(s.func)), s.func)


@pytest.mark.parametrize("hint", ["evict", "", None, 1])
def test_hints_that_caches_do_not_know(hint):
    s = Schedule(matmul())
    assert "'evict_first'" in refused(s, "bad_cache_hint", lambda: s.cache_hint("C", hint)).hint


def test_hints_stand_at_one_load_from_global_memory():
    s = Schedule(matmul())
    write = s.cache_write("C", "local")
    assert "C.local in local memory" in str(refused(s, "scope", lambda: s.cache_hint(write, "evict_last")))
    a = tl.placeholder((6,), name="A")
    s = Schedule(tl.compute((6,), lambda i: (a[i] + 1.0, a[i] * 2.0), name="P"))
    refused(s, "several_stores", lambda: s.cache_hint("P", "evict_last"))
    s = Schedule(tl.compute((6,), lambda i: i * 2, name="P"))
    assert "no buffer" in str(refused(s, "scope", lambda: s.cache_hint("P", "evict_last")))
