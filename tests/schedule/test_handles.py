"""Handles: what a schedule library asks about a program, and finding loops and blocks."""

import pytest

import tensorlang as tl
from tensorlang.schedule.schedule import Schedule
from tests.schedule.programs import biased_matmul, blur, chain, last_positive, matmul, normalised


def names(handles):
    return [handle.name for handle in handles]


def test_handles_of_the_same_thing_are_equal():
    s, other = Schedule(chain()), Schedule(chain())
    assert s.loop("P.i") == s.loops("P")[0] and len({s.loop("P.i"), s.loops("P")[0]}) == 1
    assert s.loop("P.i") != other.loop("P.i") and s.loop("P.i") != s.loop("C.i") and s.loop("P.i") != "P.i"
    assert s.block("P") in s.blocks() and s.block("P") != s.loop("P.i")


def test_loops_of_all_blocks():
    s = Schedule(chain())
    assert names(s.loops()) == ["P.i", "P.j", "C.i", "C.j"]


def test_around_and_inside_a_loop():
    s = Schedule(chain())
    s.compute_at("P", "C.i")
    i, j = s.loops("C")
    assert i.parent is None and j.parent == i
    assert names(i.children) == [s.loops("P")[1].name, "C.j"]
    assert j.children == [s.block("C")]
    assert i.blocks == [s.block("P"), s.block("C")] and j.blocks == [s.block("C")]


def test_what_a_loop_drives():
    s = Schedule(matmul())
    assert [loop.is_reduction for loop in s.loops("C")] == [False, False, True]
    s.split("C.k", [None, 2])
    s.annotate("C.k.1", "note", 3)
    assert [loop.name for loop in s.loops("C") if loop.is_reduction] == ["C.k.0", "C.k.1"]
    assert s.loop("C.k.1").annotations == {"note": 3} and s.block("C").annotations == {}
    assert [loop.is_reduction for loop in Schedule(last_positive()).loops("C")] == [False, True, True]


def test_what_a_block_is():
    s = Schedule(matmul(10, 12, 7))
    s.split("C.i", [None, 4])
    c = s.block("C")
    assert [(a.name, a.extent.value, a.kind, names(a.loops)) for a in c.iters] == [
        ("i", 10, "spatial", ["C.i.0", "C.i.1"]),
        ("j", 12, "spatial", ["C.j"]),
        ("k", 7, "reduce", ["C.k"]),
    ]
    assert c.loops == s.loops("C")
    assert c.is_reduction and c.is_commutative and not Schedule(last_positive()).block("C").is_commutative
    assert not Schedule(chain()).block("C").is_reduction


def test_what_a_block_reads_and_writes():
    s = Schedule(biased_matmul())
    c, e = s.blocks()
    assert (names(c.reads), names(c.writes)) == (["A", "B"], ["C"])
    assert (names(e.reads), names(e.writes)) == (["C", "bias"], ["E"])


def test_producers_and_consumers():
    s = Schedule(normalised())
    assert {b.name: (names(b.producers), names(b.consumers)) for b in s.blocks()} == {
        "top": ([], ["E"]),
        "E": (["top"], ["total", "C"]),
        "total": (["E"], ["C"]),
        "C": (["E", "total"], []),
    }


def test_find_by_name():
    s = Schedule(matmul())
    s.split("C.i", [None, 4])
    s.cache_write("C", "local")
    assert names(s.find("C.i.*")) == ["C.i.0", "C.i.1"]
    assert names(s.find("C.?")) == ["C.j", "C.k"]
    assert names(s.find("*.write")) == ["C.write"]
    assert names(s.find("C")) == ["C"] and s.find("D*") == []
    assert (
        names(s.find("C*"))
        == names(s.find())
        == [
            *("C.i.0", "C.i.1", "C.j", "C.k", "C"),
            *("C.write.i", "C.write.j", "C.write"),
        ]
    )


def test_find_by_facts():
    s = Schedule(matmul())
    i, j, _ = s.loops("C")
    s.parallel(i)
    assert s.find(kind="parallel") == [i]
    assert names(s.find(kind="serial", is_reduction=True)) == ["C.k"]
    assert s.find(extent=12) == [j] == s.find(extent=j.extent)
    assert s.find("C.*", writes=[s.buffers()["C"]]) == []
    assert names(s.find(writes=[s.buffers()["C"]])) == ["C"]


def test_find_by_a_function():
    s = Schedule(blur())
    assert names(s.find(lambda block: block.consumers == [], is_reduction=False, producers=[s.block("H")])) == ["C"]
    assert names(s.find(lambda handle: handle.name.startswith("H."))) == ["H.i", "H.j"]


def test_consumed_handles_say_so():
    s = Schedule(matmul())
    i = s.loop("C.i")
    s.split(i, [None, 4])
    for look in ("extent", "kind", "parent", "children", "is_reduction", "blocks", "annotations"):
        with pytest.raises(tl.ScheduleError, match="consumed_loop"):
            getattr(i, look)
