"""Each pass on a program made for it, as text; and all passes in a row against the interpreter."""

from collections.abc import Callable

import numpy as np
import pytest

import tensorlang as tl
from tensorlang.ir import interp, walk
from tensorlang.ir.nodes import Alloc, Block, Buffer, Expr, For, Func, If, Load, Size, Store, Var, const, seq
from tensorlang.ir.ops import make
from tensorlang.ir.verify import verify
from tensorlang.passes.allocs import memory_of, workspace_layout
from tensorlang.passes.flatten import flatten
from tensorlang.passes.promote import promote
from tensorlang.passes.serpentine import serpentine
from tensorlang.passes.vectorize import vectorize
from tests.ir.small_funcs import nest
from tests.passes.programs import NARROW, check_all_passes, lowered, matmul, results

Golden = Callable[[str, str], None]
STEPS = ["lower_init", "lower_blocks", "tighten", "partition", "tidy", "vectorize", "promote", "flatten"]


@pytest.mark.parametrize("step", STEPS)
def test_text(step: str, golden: Golden) -> None:
    """A matmul of 10 x 20 x 3 in tiles of 4 x 16 after each pass."""
    golden(f"passes/{step}", str(lowered(matmul(10, 20, 3), step)))


@pytest.mark.parametrize("shape", [(4, 16, 2), (10, 20, 3), (3, 5, 1), (9, 33, 4), (1, 1, 1)])
def test_no_pass_changes_a_number(shape: tuple[int, int, int]) -> None:
    check_all_passes(matmul(*shape))


@pytest.mark.parametrize("shape", [(10, 20), (13, 7)])
def test_parallel_and_fused_loops(shape: tuple[int, int]) -> None:
    """The tile loops fused into one parallel loop: both kinds of tails are branches inside a single launch."""
    s = matmul(*shape, 3)
    loops = s.loops("C")
    s.parallel(s.fuse(loops[0], loops[1]))
    check_all_passes(s)
    func = lowered(s, "promote")
    assert len([n for n in walk.find(func, For) if n.kind == "parallel"]) == 1


def test_vectors_over_serial_loops_and_gathers() -> None:
    a = tl.placeholder((6, 13), name="A")
    k = tl.reduce_axis(6, name="k")
    column = tl.compute((13,), lambda j: tl.sum(a[k, 12 - j] * a[k, j // 2], axis=k), name="C")
    s = tl.Schedule(column)
    j, k_loop = s.loops("C")
    s.reorder(j, k_loop)
    s.vectorize(j)
    check_all_passes(s)


@pytest.mark.parametrize("tiles", [2, 3])
def test_what_all_lanes_load_is_not_loaded_where_no_lane_is_on(tiles: int) -> None:
    """Of 8 elements in tiles of 8, the second tile has none, and W no second element; it never has a third one."""
    n, i, v = Size("n"), Var("i"), Var("v")
    sizes = {"A": n, "W": (n + 7) // 8 if tiles == 2 else const(2), "C": n}
    a, w, c = (Buffer(name, (size,), "float32") for name, size in sizes.items())
    place = i * 8 + v
    body = Store(c, (place,), Load(a, (place,)) * Load(w, (i,)))
    inner = For(v, make("min", n - i * 8, const(8)), "vectorize", body)
    func = flatten(vectorize(Func("f", (a, w, c), (c,), For(i, const(tiles), "serial", inner)), NARROW), NARROW)
    for size in (8, 9, 16):
        x, y, z = np.arange(size, dtype="f"), np.arange(1, 3, dtype="f"), np.full(size, 77, "f")
        interp.run(func, [x, y[: (size + 7) // 8] if tiles == 2 else y, z], {n: size})
        np.testing.assert_array_equal(z, x * np.repeat(y, 8)[:size])


def test_masks_of_conditions() -> None:
    a = tl.placeholder((6,), name="A")
    padded = tl.compute((21,), lambda i: tl.if_then_else((i >= 5) & (i < 11), a[i - 5], a[3]), name="C")
    s = tl.Schedule(padded)
    s.vectorize(s.loops("C")[0])
    check_all_passes(s)


def test_what_a_condition_guards_is_not_loaded_where_no_lane_needs_it() -> None:
    k = tl.var("k")
    w = tl.placeholder((k,), name="W")
    s = tl.Schedule(tl.compute((8,), lambda i: tl.if_then_else(i < k, w[k - 1], -1.0), name="C"))
    s.vectorize("C.i")
    func = lowered(s, "flatten")
    for size in (0, 3, 8):
        c = np.full(8, 77, "f")
        interp.run(func, [np.arange(size, dtype="f"), c], {k: size})
        assert c.tolist() == [size - 1.0] * size + [-1.0] * (8 - size)


def test_accumulators_stay_in_registers() -> None:
    """In all four variants, the loop over k neither loads nor stores C."""
    func = lowered(matmul(10, 20, 3), "promote")
    inner = [n for n in walk.find(func, For) if n.var.name == "C.k"]
    assert len(inner) == 4
    for loop in inner:
        assert not any(n.buffer.name == "C" for n in walk.visit(loop) if hasattr(n, "buffer"))
    assert not list(walk.find(func, Block)) and not list(walk.find(func, If))


def test_aliasing_accumulators_stay_in_memory() -> None:
    """C[j % 3] may be the same element for two j: no registers for it."""
    a = tl.placeholder((4, 8), name="A")
    k = tl.reduce_axis(8, name="k")
    s = tl.Schedule(tl.compute((4,), lambda i: tl.sum(a[i, k], axis=k), name="C"))
    i, kk = s.loops("C")
    s.reorder(kk, i)
    func = lowered(s, "promote")  # here C is written at a place that changes in the loops: i is inside k
    registers = [n for n in walk.find(func, Alloc) if n.buffer.scope == "register"]
    assert not registers
    check_all_passes(s)


def test_places_that_may_be_one_stay_in_memory() -> None:
    """C[i] and C[j] are the same element where i = j; C[i] and C[i + 3] are not."""
    i, j, k = Var("i"), Var("j"), Var("k")
    a, c = (Buffer(name, (const(6),), "float32") for name in "AC")

    def program(other: Expr) -> Func:
        both = seq(*(Store(c, (at,), Load(c, (at,)) + Load(a, (k,))) for at in (i, other)))
        return Func("f", (a, c), (c,), nest([(i, 3), (j, 3), (k, 4)], both))

    for other, promoted in ((j, False), (i + 3, True)):
        before, after = program(other), promote(program(other), NARROW)
        assert (after is not before and "register" in str(after)) is promoted
        for func in (before, after):
            x, y = np.arange(6, dtype="f"), np.zeros(6, "f")
            interp.run(func, [x, y])
            assert y.tolist() == ([18.0] * 6 if promoted else [36.0] * 3 + [0.0] * 3)


@pytest.mark.parametrize("hidden", [True, False])
def test_places_that_loads_decide_stay_in_memory(hidden: bool) -> None:
    """D[0] counts up; E[D[k]] reads it in a subscript, and D[E[0]] is a place that may be any."""
    k, zero = Var("k"), const(0)
    c, d, e = (Buffer(name, (const(6),), dtype) for name, dtype in (("C", "float32"), ("D", "index"), ("E", "index")))
    if hidden:
        count = Store(d, (zero,), Load(d, (zero,)) + 1)
        body = seq(count, Store(c, (k,), Load(e, (Load(d, (k,)),)).astype("float32")))
    else:
        place = Load(e, (zero,))
        body = seq(Store(d, (place,), Load(d, (place,)) + 1), Store(c, (k,), Load(d, (k,)).astype("float32")))
    before = Func("f", (d, e, c), (d, c), nest([(k, 4)], body))
    found = []
    for func in (before, promote(before, NARROW)):
        x, y, z = np.zeros(6, np.int64), np.arange(6)[::-1].copy() % 3, np.full(6, 77, "f")
        interp.run(func, [x, y, z])
        found.append((x.tolist(), z.tolist()))
    assert found[0] == found[1]


def test_too_much_code_stays_a_loop() -> None:
    a = tl.placeholder((5000,), name="A")
    s = tl.Schedule(tl.compute((5000,), lambda i: a[i] + 1.0, name="C"))
    s.unroll(s.loops("C")[0])
    func = lowered(s, "unroll")
    assert [n.kind for n in walk.find(func, For)] == ["serial"]


def test_small_and_large_allocations() -> None:
    a = tl.placeholder((100, 300), name="A")
    big = tl.compute((100, 300), lambda i, j: a[i, j] * 2.0, name="P")
    s = tl.Schedule(tl.compute((100, 300), lambda i, j: big[i, j] + 1.0, name="C"))
    func = lowered(s, "allocs")
    layout = workspace_layout(func)
    assert (layout.workspace_bytes.value, layout.thread_bytes.value) == (100 * 300 * 4, 0)
    s.compute_at("P", s.loops("C")[0])
    func = lowered(s, "allocs")
    assert [memory_of(n) for n in walk.find(func, Alloc)] == ["stack"]


def test_memory_that_no_threads_share_may_be_named_shared() -> None:
    a = tl.placeholder((16,), name="A")
    double = tl.compute((16,), lambda i: a[i] * 2.0, name="P")
    s = tl.Schedule(tl.compute((16,), lambda i: double[i] + 1.0, name="C"))
    s.set_scope("P", "shared")
    func = lowered(s, "allocs")
    verify(func, "flat")
    assert [(n.buffer.scope, memory_of(n)) for n in walk.find(func, Alloc)] == [("shared", "stack")]


def test_debug_dial(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path) -> None:
    """TENSORLANG_DEBUG prints times, then programs; TENSORLANG_DUMP writes each step."""
    monkeypatch.setenv("TENSORLANG_DEBUG", "2")
    monkeypatch.setenv("TENSORLANG_DUMP", str(tmp_path))
    s = matmul(4, 16, 2)
    x, y = np.ones((4, 2), np.float32), np.ones((2, 16), np.float32)
    np.testing.assert_array_equal(tl.build(s, NARROW)(x, y), x @ y)
    shown = capsys.readouterr().err
    assert "lower_init" in shown and "(unchanged)" in shown and "unroll C.i.1 in 4" in shown
    assert (tmp_path / "C.ll").exists() and len(list(tmp_path.glob("C.*.txt"))) > 5


def test_open_knobs() -> None:
    knob = tl.knob("t", (2, 4))
    a = tl.placeholder((8,), name="A")
    s = tl.Schedule(tl.compute((8,), lambda i: a[i] + 1.0, name="C"))
    s.split(s.loops("C")[0], [None, knob])
    with pytest.raises(tl.BuildError, match="knobs: t"):
        tl.build(s)


def test_empty_reduction() -> None:
    n = tl.var("n")
    a = tl.placeholder((3, n), name="A")
    k = tl.reduce_axis(n, name="k")
    s = tl.Schedule(tl.compute((3,), lambda i: tl.sum(a[i, k], axis=k), name="C"))
    np.testing.assert_array_equal(tl.build(s)(np.zeros((3, 0), np.float32)), np.zeros(3))
    assert results(lowered(matmul(4, 8, 1), "flatten"))


@pytest.mark.parametrize("cpu", ["x86-64-v2", "x86-64-v3", "x86-64-v4"])
@pytest.mark.parametrize("sizes", [(5, 13), (3, 30), (8, 32)])
def test_run_time_sizes(cpu: str, sizes: tuple[int, int]) -> None:
    """Tails of run-time length, with masks and without, touch nothing outside: the interpreter checks each access."""
    target = tl.Target("llvm", cpu=cpu)
    m, n = tl.var("m"), tl.var("n")
    s = matmul(m, n, 3)
    func = tl.lower(s, target).func
    rng = np.random.default_rng(0)
    a, b = (rng.integers(-4, 5, shape).astype(np.float32) for shape in ((sizes[0], 3), (3, sizes[1])))
    c = np.full(sizes, 77, np.float32)
    interp.run(func, [a.reshape(-1), b.reshape(-1), c.reshape(-1)], dict(zip((m, n), sizes, strict=True)))
    np.testing.assert_array_equal(c, a @ b)


def test_serpentine_loops_run_backwards_every_other_time(golden: Golden) -> None:
    a, b = tl.placeholder((3,), name="A"), tl.placeholder((4, 2), name="B")
    s = tl.Schedule(tl.compute((3, 4, 2), lambda i, j, k: a[i] * b[j, k], name="C"))
    s.serpentine("C.j", "C.i")
    s.serpentine("C.k", "C.i")
    before = tl.lower(s, NARROW).func
    after = serpentine(before, NARROW)
    golden("passes/serpentine", str(after))
    verify(after, "flat")
    np.testing.assert_array_equal(results(after), results(before))
    assert serpentine(after, NARROW) is after
