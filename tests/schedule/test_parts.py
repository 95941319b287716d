"""Blocks that cut, partition and the like have made: the parts of one computation count as one producer or consumer."""

from collections.abc import Callable

import pytest

from tensorlang.schedule.schedule import Schedule
from tests.fuzz.check import check
from tests.fuzz.intrinsics import INTRINSICS
from tests.schedule.programs import biased_matmul, chain, check_kernel, refused

Step = Callable[[Schedule], object]


@pytest.mark.parametrize(
    "steps",
    [
        # parts side by side, around them a loop that takes the consumer
        [lambda s: s.split("C.j", [None, 5], tail="cut"), lambda s: s.reverse_compute_at("E", "C.i")],
        [
            lambda s: s.reorder("C.j", "C.i"),
            lambda s: s.split("C.i", [None, 4], tail="cut"),
            lambda s: s.reverse_compute_at("E", "C.j"),
        ],
        # parts of a reduction add to the same elements
        [lambda s: s.split("C.k", [None, 4], tail="cut"), lambda s: s.reverse_compute_at("E", "C.j")],
        [
            lambda s: s.split("C.k", [None, 4], tail="cut"),
            lambda s: s.decompose_reduction("C", "C.k.0"),
            lambda s: s.split("C.j", [None, 5], tail="cut"),
            lambda s: s.reverse_compute_at("E", "C.i"),
        ],
        # a buffer in between takes the writes of all parts
        [lambda s: s.split("C.j", [None, 5], tail="cut"), lambda s: s.cache_write("C.tail", "local")],
        [
            lambda s: s.loop_partition("C.j", [3, 5]),
            lambda s: s.cache_write("C", "local"),
            lambda s: s.reverse_compute_at("C.write", "C.i"),
            lambda s: s.parallel("C.i"),
        ],
    ],
)
def test_parts_of_a_producer(steps: list[Step]):
    s = Schedule(biased_matmul(10, 12, 7))
    before = s.func
    for step in steps:
        step(s)
    check_kernel(before, s)


@pytest.mark.parametrize(
    "steps",
    [
        [lambda s: s.loop_partition("C.j", [3]), lambda s: s.compute_at("P", "C.i")],
        [lambda s: s.loop_partition("C.j", [3]), lambda s: s.compute_inline("P")],
        [
            lambda s: s.loop_partition("C.i", [3]),
            lambda s: s.cache_read("C.part1", "P", "local"),
            lambda s: s.compute_at("P.local", "C.i.part1"),
        ],
        [
            lambda s: s.loop_partition("P.j", [3, 5]),
            lambda s: s.cache_read("C", "P", "local"),
            lambda s: s.reverse_compute_at("P.local", "P.i"),
        ],
        [lambda s: s.loop_partition("P.j", [3]), lambda s: s.transform_layout("P", lambda i, j: (j // 4, i, j % 4), 1)],
    ],
)
def test_parts_of_a_consumer(steps: list[Step]):
    s = Schedule(chain(10, 12))
    before = s.func
    for step in steps:
        step(s)
    check_kernel(before, s)


def test_a_consumer_does_not_go_to_one_part_of_its_producer():
    s = Schedule(biased_matmul(10, 12, 7))
    s.split("C.i", [None, 4], tail="cut")
    error = refused(s, "producer_in_parts", lambda: s.reverse_compute_at("E", "C.i.tail"))
    assert "C and C.tail each write a part of C" in error.message
    refused(s, "producer_not_before", lambda: s.reverse_compute_at("E", "C.i.0"))


def test_parts_with_other_parts_between_them_form_no_box():
    """An iteration of C.x makes two columns that are not side by side."""
    s = Schedule(biased_matmul(10, 12, 7))
    s.split("C.j", [2, 6])
    s.reorder("C.j.1", "C.j.0")
    s.split("C.j.0", [None, 1], tail="guard")
    s.loop_partition("C.j.0.0", [1])
    refused(s, "not_gapless", lambda: s.reverse_compute_at("E", "C.j.1"))


def test_a_producer_does_not_go_to_one_part_of_its_consumers():
    s = Schedule(chain(10, 12))
    s.loop_partition("C.i", [3])
    error = refused(s, "consumer_outside_loop", lambda: s.compute_at("P", "C.i.part0"))
    assert "C.part1" in error.message


def test_a_part_of_a_sum_does_not_move_alone():
    s = Schedule(biased_matmul(10, 12, 6))
    s.loop_partition("C.k", [3])
    refused(s, "several_writers", lambda: s.compute_at("C", "E.i"))


def test_one_part_of_a_producer_moves():
    """It then computes all that is needed there, whatever part it was; the others compute the same."""
    s = Schedule(chain(10, 12))
    before = s.func
    s.loop_partition("P.j", [3])
    refused(s, "several_writers", lambda: s.compute_inline("P.part1"))
    s.compute_at("P", "C.i")
    check_kernel(before, s)


@pytest.mark.parametrize("moved", ["A.global", "A.global.tail"])
def test_what_an_intrinsic_copies_and_the_rest_are_parts(moved):
    out = biased_matmul(10, 12, 7)
    s = Schedule(out, intrinsics=tuple(INTRINSICS.values()))
    s.cache_read("C", "A", "global")
    _, lanes, _ = s.split("A.global.k", [None, 4], tail="cut")
    s.tensorize(lanes, "copy4_float32")
    s.compute_at(moved, "C.i")
    s.fission("C.i", moved)
    check(s, [out], {}, seed=1)


def test_blocks_that_store_other_values_are_no_parts():
    s = Schedule(biased_matmul(10, 12, 7))
    s.pad_einsum("C", [None, None, 4])
    s.decompose_padding("A.pad", s.loops("A.pad")[1])
    for block in ("A.pad", "A.pad.pad"):
        refused(s, "several_writers", lambda block=block: s.compute_at(block, "C.i"))
