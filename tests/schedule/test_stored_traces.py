"""Traces that were stored once stay readable: tests/golden/traces/*.json, replayed.

A .json file is what `trace.to_json()` wrote when its schedule was added here. It is never written anew: if a test
here fails, users' logs can no longer be read. Beside it, .txt holds the program that it makes; that text may follow
the printer (--update-golden). A schedule added to `SCHEDULES` is stored by --update-golden.
"""

from collections.abc import Callable

import pytest

import tensorlang as tl
from tensorlang.schedule import library
from tensorlang.schedule.schedule import Schedule
from tensorlang.schedule.trace import Trace
from tests.conftest import GOLDEN
from tests.schedule.programs import biased_matmul, blur, chain, matmul, outputs, row_sum

TRACES = GOLDEN / "traces"


def loops_and_kinds(s: Schedule) -> None:
    i0, j0, i1, j1 = s.tile(["C.i", "C.j"], [4, 6])
    k0, k1 = s.split("C.k", [None, 4])
    s.reorder(k0, i1, k1, j1)
    s.decompose_reduction("C", k0)
    s.parallel(s.fuse(i0, j0))
    s.vectorize(j1)
    s.unroll(k1)
    s.annotate("C", "note", "x")


def cut(s: Schedule) -> None:
    s.split("C.i", [None, 4], tail="cut")
    s.loop_partition("C.j", [1, 11])
    s.add_unit_loop("C")


def open_knobs(s: Schedule) -> None:
    t, u = tl.knob("t", (1, 2, 4)), tl.knob("u", (2, 3))
    s.split("C.i", [None, t * 2])
    s.split("C.j", [None, u, t])


def goto(s: Schedule) -> None:
    library.matmul(s, "C", lanes=4, rows=3, vectors=2, blocks=2)


def lanes(s: Schedule) -> None:
    library.reduce_in_lanes(s, "C", lanes=4, vectors=2)


def stencil(s: Schedule) -> None:
    s.compute_inline("P")
    i0, _ = s.split("C.i", [None, 4])
    s.compute_at("H", i0)
    s.set_scope("H", "local")
    s.storage_align("H", axis=0, factor=8)
    s.store_at("H", None)


def epilogue(s: Schedule) -> None:
    s.reverse_compute_at("E", "C.j")
    s.cache_read("C", "B", "local")
    s.transform_layout("B.local", lambda k, j: (j // 8, k, j % 8), pad_value=0.0)


def inlined(s: Schedule) -> None:
    s.reverse_compute_inline("C")


def apart(s: Schedule) -> None:
    s.compute_at("P", "C.i")
    s.fission("C.i", "P")


def variants(s: Schedule) -> None:
    n = s.buffers()["B"].shape[1]
    s.specialize(n % 4 == 0)
    s.split("C.j", [None, 4])


def overlapped(s: Schedule) -> None:
    k0, k1 = s.split("C.k", [None, 4])
    s.reorder(k0, "C.i", "C.j", k1)
    for operand in "AB":
        s.compute_at(s.cache_read("C", operand, "local"), k0)
    s.double_buffer("A.local")
    s.software_pipeline(k0, {"A.local": 0, "B.local": 1, "C": 2}, order=["C", "A.local", "B.local"])


SCHEDULES: dict[str, tuple[Callable[[], tl.Tensor], Callable[[Schedule], None]]] = {
    "loops_and_kinds": (matmul, loops_and_kinds),
    "cut": (matmul, cut),
    "open_knobs": (matmul, open_knobs),
    "goto": (lambda: matmul(13, 21, 7), goto),
    "lanes": (lambda: row_sum(3, 21), lanes),
    "stencil": (blur, stencil),
    "epilogue": (biased_matmul, epilogue),
    "inlined": (chain, inlined),
    "apart": (chain, apart),
    "overlapped": (matmul, overlapped),
    "variants": (lambda: matmul(10, tl.var("n"), 7), variants),
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_stored_trace_makes_the_same_program(name, golden, request):
    expression, schedule = SCHEDULES[name]
    path = TRACES / f"{name}.json"
    if not path.exists() and request.config.getoption("--update-golden"):
        s = Schedule(expression())
        schedule(s)
        TRACES.mkdir(exist_ok=True)
        path.write_text(s.trace.to_json().replace('{"op"', '\n{"op"') + "\n")
    before = Schedule(expression())
    s = Trace.from_json(path.read_text()).apply(before.func)
    golden(f"traces/{name}", f"{s}\n\n{s.trace.as_python()}")
    if not s.trace.knobs:
        sizes = {"n": 12} if "variants" in name else {}
        for expected, got in zip(outputs(before.func, sizes), outputs(s.func, sizes), strict=True):
            assert (expected == got).all()


def test_every_file_is_replayed():
    assert {path.stem for path in TRACES.glob("*.json")} == set(SCHEDULES)
