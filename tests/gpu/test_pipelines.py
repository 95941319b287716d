"""Pipelined loops of kernels: copies ahead of the arithmetic, asynchronous or not, in threads and as machine code."""

import numpy as np
import pytest

import tensorlang as tl
from tensorlang.backend import nvrtc
from tensorlang.errors import RaceError, UninitializedError
from tensorlang.ir import interp_launch, walk
from tensorlang.ir.launch import ASYNC_COMMIT, ASYNC_COPY, ASYNC_WAIT, BARRIER
from tensorlang.ir.nodes import NOTHING, Do, Func
from tests.gpu.checking import barriers_of, in_threads, inputs, lowered
from tests.gpu.programs import H100, PROGRAMS, matmul


def pipelined(s: tl.Schedule, ahead: int, asynchronous: bool) -> tl.Schedule:
    """`s`, a product with tiles in shared memory, with the copies of `ahead` steps before their use."""
    (block,) = (b.name for b in s.blocks() if b.is_reduction)
    copies = [b.name for b in s.blocks() if b.writes[0].scope == "shared"]
    for copy in copies if asynchronous else ():
        s.async_copy(copy)
    step = next(loop for loop in s.loops(copies[0]) if loop.kind == "serial")
    s.software_pipeline(step, {**dict.fromkeys(copies, 0), block: ahead})
    return s


def product(s: tl.Schedule) -> np.ndarray:
    a, b = inputs(s)
    return a @ b


@pytest.mark.parametrize("asynchronous", [False, True], ids=["", "asynchronous"])
@pytest.mark.parametrize("ahead", [1, 2, 3])
@pytest.mark.parametrize("sizes", [(32, 16, 64), (20, 17, 43), (16, 16, 8)], ids=str)
def test_threads_compute_products(sizes, ahead, asynchronous):
    s = pipelined(matmul(*sizes), ahead, asynchronous)
    (got,) = in_threads(s, inputs(s))
    np.testing.assert_array_equal(got, product(s))


@pytest.mark.parametrize("asynchronous", [False, True], ids=["", "asynchronous"])
def test_one_barrier_a_step(asynchronous):
    """It parts the copies from the last use of their memory, and the use from the copies; the epilogue has its own."""
    func = lowered(pipelined(matmul(32, 16, 64), 2, asynchronous))
    assert barriers_of(func) == 2


def test_text_and_machine_code(golden):
    s = pipelined(matmul(32, 16, 64), 2, True)
    kernel = tl.build(s, H100)
    source = kernel.source()
    assert "async_copy<4>(" in source and "async_wait<1>();" in source and "async_commit();" in source
    golden("gpu/pipelined", f"{lowered(s)}\n\n{source[source.index('extern') :]}")
    for usage in kernel.usage.values():
        assert (usage.stack, usage.spills) == (0, 0)


def test_versions_of_one_element():
    """A pointer plus a subscript, which is an expression of its own: `versions + (step & 3)`."""
    n = 21
    a, b = tl.placeholder((n,), "float32", name="A"), tl.placeholder((1,), "float32", name="B")
    k = tl.reduce_axis(n, "k")
    s = tl.Schedule(tl.compute((n,), lambda i: tl.sum(a[k] * b[0], axis=k), name="C"), target=H100)
    s.bind("C.i", "blockIdx.x")
    s.split("C.k", [None, 3])
    s.cache_read("C", "B", "shared")
    s.compute_at("B.shared", "C.k.0")
    s.async_copy("B.shared")
    s.software_pipeline("C.k.0", {"B.shared": 0, "C": 3})
    assert "async_copy<1>(B_shared_versions + (" in tl.build(s, H100).source()


@pytest.mark.parametrize(("ahead", "hidden"), [(1, 0), (2, 1)])
def test_the_compiler_does_not_know_how_often_versions_turn(ahead, hidden):
    """Else it extends parts of (step + 2) % 3 * 3200 that are negative without sign; of 2 versions, it takes a bit."""
    a = tl.placeholder((40, 900), "float32", name="A")
    k = tl.reduce_axis(900, "k")
    s = tl.Schedule(tl.compute((40,), lambda i: tl.sum(a[i, k], axis=k), name="C"), target=H100)
    i0, i1 = s.split("C.i", [None, 32])
    s.bind(i0, "blockIdx.x")
    s.bind(i1, "threadIdx.x")
    step, _ = s.split("C.k", [None, 100])
    s.cache_read("C", "A", "shared")
    s.compute_at("A.shared", step)
    s.bind(s.split(s.loops("A.shared")[-2], [None, 32])[1], "threadIdx.x")
    s.software_pipeline(step, {"A.shared": 0, "C": ahead})
    kernel = tl.build(s, H100)
    assert kernel.source().count("< hidden((index)") == hidden
    ptx = nvrtc.compile(kernel.source(), "C", H100.arch).ptx
    assert "sub.s16" not in ptx  # what it did the sum in
    np.testing.assert_array_equal(in_threads(s, inputs(s))[0], tl.interpret(s, *inputs(s)))


def rows_in_turns() -> tl.Schedule:
    """Each step of C.j multiplies two rows of a window of A, which begins at row 0 or 1."""
    a = tl.placeholder((5, 9), "float32", name="A")
    c = tl.compute((9, 10), lambda i, j: a[(j * 3 + 1) // 2 % 5, i] * a[1, i], name="C")
    s = tl.Schedule(c, target=H100)
    i0, i1 = s.split("C.i", [None, 5])
    s.bind(i0, "blockIdx.x")
    s.bind(i1, "threadIdx.x")
    s.cache_read("C", "A", "shared")
    s.compute_at("A.shared", "C.j")
    loop = s.fuse(*s.loops("A.shared")[-2:])
    s.bind(s.split(loop, [None, 5])[1], "threadIdx.x")
    return s


def test_the_assembler_does_not_unroll_remainders():
    """Else it makes 0 of max(j * 3 // 2 % 5 - 1, 0) where that is 3."""
    s = rows_in_turns()
    kernel = tl.build(s, H100)
    ptx = nvrtc.compile(kernel.source(), "C", H100.arch).ptx
    assert ptx.count('.pragma "nounroll"') == 1 and "max.s32" in ptx
    np.testing.assert_array_equal(in_threads(s, inputs(s))[0], tl.interpret(s, *inputs(s)))


@pytest.mark.gpu
def test_remainders_on_a_gpu():
    cupy = pytest.importorskip("cupy")
    s = rows_in_turns()
    arrays = inputs(s)
    got = tl.build(s, H100)(*map(cupy.asarray, arrays)).get()
    np.testing.assert_array_equal(got, tl.interpret(s, *arrays))


@pytest.mark.gpu
@pytest.mark.parametrize("asynchronous", [False, True], ids=["", "asynchronous"])
@pytest.mark.parametrize("sizes", [(32, 16, 64), (20, 17, 43), (128, 128, 256)], ids=str)
def test_on_a_gpu(sizes, asynchronous):
    cupy = pytest.importorskip("cupy")
    for ahead in (1, 2, 3):
        s = pipelined(matmul(*sizes), ahead, asynchronous)
        got = tl.build(s, "cuda")(*map(cupy.asarray, inputs(s)))
        np.testing.assert_array_equal(got.get(), product(s))


def test_narrow_elements_are_copied_at_once():
    """cp.async takes 4 bytes at least: halves without neighbours are stored when the copy begins."""
    s = pipelined(matmul(20, 17, 43, dtype="float16"), 1, True)
    source = tl.build(s, H100).source()
    assert "async_copy<" not in source and "async_wait<0>();" in source


# ------------------------------------------------------------------------------- faults in lowered programs
def effects(func: Func) -> list[Do]:
    return [n for n in walk.find(func.body, Do) if n.what in (BARRIER, ASYNC_WAIT, ASYNC_COMMIT)]


def races(func: Func, arrays: list[np.ndarray], results: list[np.ndarray]) -> bool:
    """Whether threads of `func` race, or read what nothing has written."""
    try:
        interp_launch.run(func, [a.reshape(-1) for a in (*arrays, *results)])
    except (RaceError, UninitializedError):
        return True
    return False


SYNCHRONISED = {
    **{name: make for name, make in PROGRAMS.items() if name in ("matmul", "softmax", "transpose", "row sum")},
    "pipelined": lambda: pipelined(matmul(32, 16, 64), 2, False),
    "pipelined, asynchronous": lambda: pipelined(matmul(32, 16, 64), 2, True),
    "pipelined, asynchronous, with tails": lambda: pipelined(matmul(20, 17, 43), 3, True),
}


@pytest.mark.parametrize("name", SYNCHRONISED)
def test_no_barrier_wait_or_commit_is_there_in_vain(name):
    """Without any one of them the interpreter finds a race: none is missing, and none is more than needed."""
    s = SYNCHRONISED[name]()
    func, arrays = lowered(s), inputs(s)
    results = [np.zeros([int(d.value) for d in p.shape], np.float32) for p in s.func.outputs]
    assert not races(func, arrays, results)
    places = [n for n, do in enumerate(_all(func)) if do.what in (BARRIER, ASYNC_WAIT, ASYNC_COMMIT)]
    assert places
    for place in places:
        without = _without(func, place)
        assert races(without, arrays, results), f"without {_all(func)[place]!r}, number {place}:\n{func!r}"


def _all(func: Func) -> list[Do]:
    return [n for n in walk.find(func.body, Do) if n.what != ASYNC_COPY]


def _without(func: Func, place: int) -> Func:
    """`func` without one of its effects, which may be one node in several places."""
    count = iter(range(len(_all(func))))

    def go(node):
        if isinstance(node, Do) and node.what != ASYNC_COPY:
            return NOTHING if next(count) == place else node
        return walk.map_children(node, lambda n: go(n) if isinstance(n, walk.Stmt) else n)

    return func.with_body(go(func.body))
