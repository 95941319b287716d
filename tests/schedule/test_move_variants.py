"""compute_at and reverse_compute_at among the variants of a specialize: what they know, and where they may go."""

import tensorlang as tl
from tensorlang.ir.nodes import TRUE, For
from tensorlang.ir.walk import find
from tensorlang.schedule.schedule import Schedule
from tests.passes.programs import lowered
from tests.schedule.programs import blur, chain, check_kernel, refused


def with_variants():
    """P and C of n rows as stated, and their schedule with a variant for multiples of four."""
    n = tl.var("n")
    s = Schedule(chain(n, 6))
    before = s.func
    s.specialize(n % 4 == 0)
    return before, s


def test_compute_at_uses_the_facts_of_a_specialize():
    """No guard where the size is known to divide, in the program and in what it is lowered to."""
    before, s = with_variants()
    s.split("C.i", [None, 4])
    s.compute_at("P", "C.i.0")
    s.compute_at("P.general", "C.general.i")
    assert s.block_node("P").predicate is TRUE
    check_kernel(before, s, {"n": 8}, {"n": 7}, {"n": 0})


def test_reverse_compute_at_uses_the_facts_of_a_specialize():
    before, s = with_variants()
    s.split("P.i", [None, 4])
    s.reverse_compute_at("C", "P.i.0")
    assert s.block_node("C").predicate is TRUE
    check_kernel(before, s, {"n": 8}, {"n": 7})


def test_what_follows_both_variants_moves_into_none():
    n = tl.var("n")
    s = Schedule(chain(n, 6))
    s.cache_write("C", "local")
    s.specialize(n >= 4, "C.i")
    refused(s, "other_branch", lambda: s.reverse_compute_at("C.write", "C.i"))


def test_variants_of_several_outputs_move_apart():
    """What the other variant writes is no concern of a consumer in this one."""
    n = tl.var("n")
    c = chain(n, 6)
    s = Schedule([c, tl.compute((n, 6), lambda i, j: c[i, j] - 3.0, name="D")])
    before = s.func
    s.specialize(n >= 4)
    s.reverse_compute_at("D", "C.i")
    s.compute_at("P", "C.j")
    s.reverse_compute_at("D.general", "C.general.j")
    check_kernel(before, s, {"n": 3}, {"n": 6})


def test_cache_read_uses_the_facts_of_a_specialize():
    before, s = with_variants()
    s.split("C.i", [None, 4])
    s.compute_at("P", "C.i.0")
    s.cache_read("C", "P", "local")
    assert s.block_node("P.local").predicate is TRUE
    check_kernel(before, s, {"n": 8}, {"n": 7})


def test_parts_of_a_loop_know_where_they_are():
    """The inner part of a padded stencil reads without conditions."""
    n = tl.var("n")
    s = Schedule(blur(n, 11))
    before = s.func
    s.compute_inline("P")
    s.compute_at("H", "C.i")
    s.specialize(n >= 3)
    s.loop_partition("C.i", [1, n - 1])
    s.loop_partition("H.part1.j_1", [1, 10])
    middle = next(find(lowered(s, "tidy"), For, lambda loop: loop.var.name == "H.part1.j_1.part1"))
    assert "if" not in str(middle)
    check_kernel(before, s, {"n": 2}, {"n": 3}, {"n": 9})
