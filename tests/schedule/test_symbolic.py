"""A sketch replayed once with open knobs says the same, for every knob vector, as a replay with the numbers.

Extents of loops, parts of buffers touched under each loop, and constraints are expressions over knobs; here they are
evaluated for random vectors and held against concrete replays.
"""

import random
from collections.abc import Callable

import pytest

import tensorlang as tl
from tensorlang.arith.regions import accesses
from tensorlang.ir.evaluate import numpy_function
from tensorlang.ir.nodes import Expr, For, Knob, Var
from tensorlang.ir.ops import all_of
from tensorlang.ir.walk import find, free_vars
from tensorlang.schedule.schedule import Schedule
from tests.schedule.programs import matmul

M, N, K = 100, 72, 60
Sketch = Callable[[Schedule], None]


def knob(name: str, *choices: int) -> Knob:
    return tl.knob(name, choices)


def tiled(s: Schedule) -> None:
    """Cache and register tiles, a parallel outer loop, an init of its own; nothing has to divide."""
    mc, mr = knob("mc", 1, 2, 5, 8), knob("mr", 1, 2, 4, 6)
    nc, nr = knob("nc", 1, 2, 3), knob("nr", 4, 8, 16)
    kc = knob("kc", 1, 7, 16, 60, 64)
    i0, i1, i2 = s.split("C.i", [None, mc, mr])
    j0, j1, j2 = s.split("C.j", [None, nc, nr])
    k0, k1 = s.split("C.k", [None, kc])
    s.reorder(i0, j0, k0, j1, i1, k1, i2, j2)
    s.decompose_reduction("C", k1)
    s.parallel(s.fuse(i0, j0))
    s.vectorize(j2)
    s.unroll(i2)


def covered(s: Schedule) -> None:
    """Every factor is open: some vectors do not cover their loop, so there are constraints."""
    a, b, c = knob("a", 1, 3, 9, 20), knob("b", 1, 4, 10), knob("c", 1, 2, 8)
    p, q = knob("p", 2, 6, 30), knob("q", 2, 10)
    i0, i1, i2 = s.split("C.i", [a, b, c])
    k0, k1 = s.split("C.k", [p, q])
    s.reorder(k0, i0, "C.j", i1, k1, i2)
    s.parallel(s.fuse(i0, "C.j"))
    s.decompose_reduction("C", i1)
    s.unroll(i2)


def twice(s: Schedule) -> None:
    """A tile that is tiled again by a factor that need not divide it."""
    t, u = knob("t", 3, 8, 50), knob("u", 1, 2, 4, 5)
    i0, i1 = s.split("C.i", [None, t])
    s.split(i1, [None, u])
    s.split("C.j", [t, None])
    s.parallel(i0)


def cached(s: Schedule) -> None:
    """Accumulators and a packed copy of B in local memory, made where they are used."""
    mr, nr, kc = knob("mr", 1, 2, 4, 6), knob("nr", 4, 8, 16), knob("kc", 1, 7, 16, 60)
    i0, i1 = s.split("C.i", [None, mr])
    j0, j1 = s.split("C.j", [None, nr])
    k0, k1 = s.split("C.k", [None, kc])
    s.reorder(j0, i0, k0, k1, i1, j1)
    copy = s.cache_write("C", "local")
    s.reverse_compute_at(copy, i0)
    panel = s.cache_read("C", "B", "local")
    s.compute_at(panel, j0)
    s.decompose_reduction("C", k0)
    s.parallel(j0)
    s.vectorize(j1)


def vectors(s: Schedule, count: int) -> list[dict[str, int]]:
    rng = random.Random(1)
    return [{name: rng.choice(k.choices) for name, k in s.trace.knobs.items()} for _ in range(count)]


def facts(s: Schedule) -> dict[str, Expr]:
    """Extents of all loops and footprints of every fourth, by name, over knobs and the variables of outer loops."""
    loops = list(find(s.func.body, For))
    found: dict[str, Expr] = {f"extent of {loop.var.name}": loop.extent for loop in loops}
    for loop in loops[::4]:
        touched = accesses(loop.body, s.context(loop, inside=True), clip=True)
        for how, regions in zip(("read", "write"), touched, strict=True):
            for buffer, region in regions.items():
                for d, (low, extent) in enumerate(zip(region.mins, region.extents, strict=True)):
                    found[f"{how} of {buffer.name} in {loop.var.name}, start {d}"] = low
                    found[f"{how} of {buffer.name} in {loop.var.name}, extent {d}"] = extent
    return found


def evaluator(found: dict[str, Expr]) -> Callable[[dict[str, int]], dict[str, int]]:
    """From the values of variables, by name, to those of the expressions."""
    exprs = list(found.values())
    variables = sorted(frozenset[Var]().union(*map(free_vars, exprs)), key=lambda v: v.name)
    function = numpy_function(exprs, variables)
    return lambda known: dict(zip(found, map(int, function(*(known[v.name] for v in variables))), strict=True))


@pytest.mark.parametrize("sketch", [tiled, covered, twice, cached])
def test_symbolic_replay_equals_concrete_replays(sketch: Sketch):
    s = Schedule(matmul(M, N, K))
    start = s.func
    sketch(s)
    symbolic = evaluator(facts(s))
    accept = numpy_function([all_of(s.constraints)], list(s.trace.knobs.values()))
    accepted = 0
    for vector in vectors(s, 100):
        try:
            concrete = s.trace.instantiate(vector).apply(start)
        except tl.ScheduleError as error:
            assert not accept(*vector.values())[0], (vector, error)
            continue
        assert accept(*vector.values())[0], vector
        accepted += 1
        expected = evaluator(facts(concrete))
        for point in points(concrete):
            assert symbolic(vector | point) == expected(point), vector
    assert accepted > 10


def points(s: Schedule) -> list[dict[str, int]]:
    """The first and the last iteration of all loops."""
    loops = list(find(s.func.body, For))
    return [{n.var.name: 0 for n in loops}, {n.var.name: n.extent.value - 1 for n in loops}]
