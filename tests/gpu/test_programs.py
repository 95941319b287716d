"""Programs for GPUs, without one: launch nests against the loop level, threads checked for races; machine code."""

import re

import numpy as np
import pytest

import tensorlang as tl
from tensorlang.backend import nvrtc
from tensorlang.backend.cuda_expr import Values
from tensorlang.backend.cuda_text import Names
from tensorlang.errors import ExecutionError
from tensorlang.ir import interp_launch, walk
from tensorlang.ir.launch import UPDATES
from tensorlang.ir.nodes import Do, For, Var
from tensorlang.schedule import gpu_library
from tensorlang.topi import elementwise, linalg
from tests.gpu.checking import barriers_of, in_threads, inputs, lowered, several
from tests.gpu.programs import H100, PROGRAMS, add, convolution, depthwise_convolution, handed_on, hinted

pytest.importorskip("cupy_backends", reason="NVRTC is reached through cupy")


@pytest.mark.parametrize("name", PROGRAMS)
def test_threads_compute_what_loops_do(name: str) -> None:
    """Sums of small integers are exact in any order; of exponentials they are not."""
    s = PROGRAMS[name]()
    arrays = inputs(s)
    rough = 1e-2 if "bfloat16" in name else 1e-5
    tolerance = rough if "softmax" in name or "norm" in name else 0
    for want, got in zip(several(tl.interpret(s, *arrays)), in_threads(s, arrays), strict=True):
        np.testing.assert_allclose(got.astype("d"), want.astype("d"), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", PROGRAMS)
def test_machine_code(name: str) -> None:
    """NVRTC takes the text; nothing is spilled, and no array of a thread is in memory."""
    kernel = tl.build(PROGRAMS[name](), H100)
    for usage in kernel.usage.values():
        assert (usage.stack, usage.spills) == (0, 0)


@pytest.mark.parametrize(
    "make",
    [
        lambda: convolution(1, 9, 13, 5, 12, 3, 2, 1, tile=(8, 3, 8, 2), each=(4, 1, 2)),
        lambda: convolution(2, 5, 7, 3, 5, 1, tile=(8, 2, 8, 2), each=(4, 1, 4), stages=3),
        lambda: depthwise_convolution(11),
    ],
    ids=["stride", "points", "depthwise"],
)
def test_convolutions_with_tails(make) -> None:
    s = make()
    arrays = inputs(s)
    np.testing.assert_array_equal(in_threads(s, arrays)[0], tl.interpret(s, *arrays))


def test_loop_level_runs_on_a_cpu() -> None:
    """Bound loops are loops: the same schedule is a CPU kernel, too."""
    s = PROGRAMS["matmul with tails"]()
    a, b = inputs(s)
    np.testing.assert_array_equal(tl.build(s, "llvm")(a, b), a @ b)


@pytest.mark.parametrize("name", ["least, unsigned", "least, bytes", "any", "largest, compared"])
def test_all_threads_exchange_values(name: str) -> None:
    """Once in each of five steps, whatever operand the code evaluates: who waits for the others waits for all."""
    source = tl.build(PROGRAMS[name](), H100).source()
    exchanges = [line for line in source[source.index("extern") :].splitlines() if "shuffle_xor(" in line]
    assert len(exchanges) == 5
    assert all(line.count("shuffle_xor(") == 1 and not re.search(r"[?|&]", line) for line in exchanges)


def test_barriers_are_few() -> None:
    """One before the tiles are overwritten, one before they are read; none where threads share nothing."""
    expected = {"matmul": 2, "transpose": 1, "softmax": 2, "row sum": 1, "rows side by side in warps": 1}
    expected |= {"atomic in shared memory": 2}
    expected |= dict.fromkeys(("add", "fused", "row sum of one warp", "column sum", "rows across blocks"), 0)
    assert {name: barriers_of(lowered(PROGRAMS[name]())) for name in expected} == expected
    loop = lowered(PROGRAMS["library: matmul with two stages"]())
    (steady,) = (n for n in walk.find(loop, For) if n.var.name == "C.k.0")
    assert barriers_of(steady) == 1  # what is stored and what is read are two versions


@pytest.mark.parametrize("name", ["matmul", "softmax", "transpose with tails", "two kernels"])
def test_text(name: str, golden) -> None:
    """The flat program and its CUDA C++."""
    s = PROGRAMS[name]()
    source = tl.build(s, H100).source()
    golden(f"gpu/{name.replace(' ', '_')}", f"{tl.lower(s, H100)}\n\n{source[source.index('extern') :]}")


@pytest.mark.parametrize("name", [name for name in PROGRAMS if name.startswith("library: ")])
def test_kernels_of_library_schedules(name: str, golden) -> None:
    source = tl.build(PROGRAMS[name](), H100).source()
    golden(f"gpu/{re.sub('[^a-z0-9]+', '_', name)}", source[source.index("extern") :])


def test_nothing_is_read_before_the_barrier() -> None:
    """`__restrict__` would tell the compiler that what a thread reads behind a barrier was there before it, too."""
    kernel = tl.build(handed_on(), H100)
    assert "float* P, const float* __restrict__ A, float* __restrict__ C" in kernel.source()
    before, barrier, _ = nvrtc.compile(kernel.source(), "C", H100.arch).ptx.partition("bar.sync")
    assert barrier and re.findall(r"ld\.global\S*", before) == ["ld.global.nc.f32"]  # A


WORDS = {(1, "float8_e4m3fn"): "u8", (1, "float16"): "u16", (1, "float32"): "u32", (4, "float16"): "v2.u32"}
WORDS[4, "float32"] = "v4.u32"


@pytest.mark.parametrize(
    "hint, vector, dtype",
    [("evict_first", 4, "float32"), ("no_allocate", 4, "float32"), *(("evict_last", *word) for word in WORDS)],
)
def test_hints_are_in_the_machine_code(hint: str, vector: int, dtype: str) -> None:
    kernel = tl.build(hinted(hint, vector, dtype), H100)
    loads = re.findall(r"ld\.global\S*", nvrtc.compile(kernel.source(), "add", H100.arch).ptx)
    assert loads == [f"ld.global.nc.L1::{hint}.L2::cache_hint.{WORDS[vector, dtype]}"] * 2  # x and y


def test_hints_are_for_what_the_kernel_only_reads() -> None:
    s = handed_on()
    s.cache_hint("C", "evict_last")
    assert "evict_last" not in tl.build(s, H100).source()


def test_elementwise_operators_stream_what_they_read() -> None:
    s = PROGRAMS["library: elementwise"]()
    assert s.block("add").annotations == {"cache_hint": "evict_last"}


def test_vectors_that_do_not_stay_together_are_loaded_and_spread() -> None:
    """Neighbours in global memory are two elements apart in the registers they go to."""
    x = tl.placeholder((8, 16), name="x")
    s = tl.Schedule(tl.compute((8, 16), lambda i, j: x[i, j] + 1.0, name="C"), target=H100)
    rows, _ = s.split("C.i", [None, 2])
    copy = s.cache_read("C", "x", "local")
    s.compute_at(copy, rows)
    s.transform_layout("x.local", lambda i, j: (j, i))
    s.vectorize(s.split(s.loops(copy)[-1], [None, 4])[1])
    s.bind(rows, "threadIdx.x")
    text = tl.build(s, H100).source()
    assert "load_vector<4>(x_v," in text and "x_local[i_1 + j_1_0 * 8 + v * 2] = x_v[v];" in text


def test_hints_say_nothing_where_loads_cannot_have_them() -> None:
    s = hinted("evict_last")
    assert "evict_last" not in tl.build(s, tl.Target("cuda", arch="sm_75")).source()
    x, y = inputs(s)
    np.testing.assert_array_equal(tl.build(s, "llvm")(x, y), x + y)


def narrow_grid() -> tl.Schedule:
    """Groups of 16 rows, so that terms of the place in memory are larger than their sum, which 28 bits hold."""
    s = tl.Schedule(elementwise.transpose(1 << 14, 1 << 14), target=H100)
    i, j = s.loops("transpose")
    i0, i1 = s.split(i, [None, 16])
    s.reorder(i0, j, i1)
    grid, thread = s.split(s.fuse(i0, j, i1), [None, 256])
    s.bind(grid, "blockIdx.x")
    s.bind(thread, "threadIdx.x")
    return s


def test_an_order_that_threads_do_not_know() -> None:
    s = tl.Schedule(linalg.matmul(32, 64, 16), target=H100)
    with pytest.raises(tl.ScheduleError, match="order is one of 'squares', 'rows', 'columns', got 'diagonals'"):
        gpu_library.tiled_matmul(s, "C", order="diagonals")
    assert not s.trace.steps


def looked_up(dtype: str) -> tl.Schedule:
    table, place = tl.placeholder((8,), name="table"), tl.placeholder((32,), dtype, name="place")
    s = tl.Schedule(tl.compute((32,), lambda i: table[place[i]], name="C"), target=H100)
    s.bind("C.i", "threadIdx.x")
    return s


def test_parts_of_subscripts_may_need_64_bits() -> None:
    programs = {"groups": narrow_grid(), "int64": looked_up("int64"), "int32": looked_up("int32"), "add": add(64, 64)}
    wide = {name: "long long index;" in tl.build(s, H100).source() for name, s in programs.items()}
    assert wide == {"groups": True, "int64": True, "int32": False, "add": False}


def test_atomic_updates_of_each_type() -> None:
    k = tl.reduce_axis(40, "k")
    reducers = {"add": tl.sum, "min": tl.min, "max": tl.max}
    kinds = [(op, dtype) for op, dtypes in UPDATES.items() for dtype in dtypes]
    sources = {dtype: tl.placeholder((40,), dtype, name=f"A_{dtype}") for _, dtype in kinds}
    results = [
        tl.compute(
            (1,), lambda i, f=reducers[op], d=dtype: f(sources[d][k] + i.astype(d), axis=k), name=f"{op}_{dtype}"
        )
        for op, dtype in kinds
    ]
    s = tl.Schedule(results, target=H100)
    for result in results:
        init = s.decompose_reduction(result.name, f"{result.name}.i")
        s.atomic(result.name)
        s.bind(s.loops(init)[0], "threadIdx.x")
        s.bind(f"{result.name}.i", "blockIdx.x")
        s.bind(f"{result.name}.k", "threadIdx.x")
    arrays = inputs(s)
    for want, got in zip(tl.interpret(s, *arrays), in_threads(s, arrays), strict=True):
        np.testing.assert_array_equal(got, want)
    assert len(re.findall(r"  atomic\w+\(", tl.build(s, H100).source())) == len(kinds)


@pytest.mark.parametrize("name", ["rows across blocks", "atomic in shared memory"])
def test_updates_that_are_not_atomic_race(name: str) -> None:
    func = lowered(PROGRAMS[name]())
    plain = func.with_body(walk.transform(func.body, lambda n: n.body if isinstance(n, Do) and n.body else n))
    arrays = [np.zeros([int(d.value) for d in p.shape], "float32") for p in func.params]
    with pytest.raises(ExecutionError) as caught:
        interp_launch.run(plain, arrays)
    assert caught.value.code == "race"


def test_numbers_below_0_are_not_shifted() -> None:
    """-t // 2 is a quotient of what is not negative, and means the same."""
    t = Var("t")
    values = Values(Names())
    values.of[t] = "t"
    assert values.text(-t // 2 + 21) == "-((t + 1) >> 1) + 21"
    assert values.text((1 - t) // 5) == "-((t + 3) / 5)"
    assert all(-n // 2 == -((n + 1) >> 1) and (1 - n) // 5 == -((n + 3) // 5) for n in range(100))
