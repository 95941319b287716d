"""Compiled programs through the calling convention: parallel loops, shape variables, dtypes, many callers."""

import threading

import numpy as np
import pytest

import tensorlang as tl
from tensorlang.ir import dtypes, interp
from tensorlang.runtime.kernel import Kernel


def row_sums(parallel: bool = True) -> Kernel:
    """C[i] = sum over j of A[i, j], of any size."""
    n, m = tl.var("n"), tl.var("m")
    a = tl.placeholder((n, m), "float32", name="A")
    j = tl.reduce_axis(m, name="j")
    s = tl.Schedule(tl.compute((n,), lambda i: tl.sum(a[i, j], axis=j), name="C"))
    if parallel:
        s.parallel(s.loops("C")[0])
    return tl.build(s)


def whole(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(-9, 9, shape).astype(np.float32)


@pytest.mark.parametrize("shape", [(0, 3), (1, 1), (3, 0), (2, 5), (7, 3), (129, 17)])
def test_parallel_with_shape_variables(shape: tuple[int, int]) -> None:
    a = whole(shape)
    out = np.full(shape[0], np.nan, np.float32)
    assert row_sums()(a, out=out) is out
    assert (out == a.sum(axis=1)).all()


def test_one_kernel_from_several_threads() -> None:
    f, wrong = row_sums(), []

    def work(seed: int) -> None:
        for number in range(50):
            a = whole((number, 11), seed)
            if not (f(a) == a.sum(axis=1)).all():
                wrong.append((seed, number))

    workers = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not wrong


@pytest.mark.parametrize("dtype", dtypes.DATA)
def test_every_dtype_passes_through(dtype: str) -> None:
    a = tl.placeholder((5,), dtype, name="A")
    f = tl.build(tl.compute((5,), lambda i: a[4 - i], name="C"))
    x = np.arange(5).astype(dtypes.to_numpy(dtype))
    y = f(x)
    assert y.dtype == x.dtype and (y == x[::-1]).all()


def test_several_outputs_and_an_intermediate() -> None:
    a = tl.placeholder((6, 4), "float32", name="A")
    b = tl.compute((6, 4), lambda i, j: a[i, j] + 1.0, name="B")
    c = tl.compute((6, 4), lambda i, j: b[i, j] * 2.0, name="C")
    d = tl.compute((6,), lambda i: b[i, 0], name="D")
    f, x = tl.build([c, d]), whole((6, 4))
    y, z = f(x)
    assert (y == (x + 1) * 2).all() and (z == x[:, 0] + 1).all()


def test_source_asm_and_time() -> None:
    f, x = row_sums(), whole((8, 8))
    assert "tl_launch" in f.source() and f.asm().strip()
    assert f.time(x, repeat=2, min_seconds=0.001).median > 0


def test_a_kernel_outlives_what_it_was_made_from() -> None:
    kernels = [row_sums(parallel=False) for _ in range(3)]
    f = kernels.pop()
    del kernels
    assert f(whole((2, 2))).shape == (2,)


def test_sizes_that_lowering_drops_from_a_shape() -> None:
    """A size times zero is no part of the flat buffer's extent, but still one of the kernel's parameters."""
    m, n = tl.var("m"), tl.var("n")
    a = tl.placeholder((m, 0), "float32", name="A")
    b = tl.placeholder((m, n), "float32", name="B")
    k = tl.reduce_axis(0, name="k")
    f = tl.build(tl.compute((n, m), lambda j, i: b[i, j], name="C"))
    g = tl.build(tl.compute((m,), lambda i: tl.sum(a[i, k], axis=k), name="D"))
    x = whole((3, 5))
    assert (f(x) == x.T).all() and (g(np.empty((4, 0), np.float32)) == 0).all()


def test_lanes_beyond_the_end_load_no_subscripts() -> None:
    a = tl.placeholder((4,), "uint64", name="A")
    b = tl.placeholder((3,), "float32", name="B")
    s = tl.Schedule(tl.compute((3,), lambda i: b[a[i + 1]], name="C"))
    s.vectorize("C.i")
    values, index = whole((3,)), np.array([9, 2, 0, 1], np.uint64)
    module = tl.lower(s)
    out = np.full(3, np.nan, np.float32)
    interp.run(module.func, [index, values, out] if module.params[0].name == "A" else [values, index, out])
    f = tl.build(s)
    assert (out == values[[2, 0, 1]]).all() and (f(A=index, B=values) == out).all()


def test_relations_between_sizes() -> None:
    """n, 4 * n and n + m: one kernel for all sizes, in vectors on several threads, and no array that does not fit."""
    n, m = tl.var("n"), tl.var("m")
    a, b, d = (tl.placeholder(shape, name=name) for shape, name in (((n,), "A"), ((4 * n,), "B"), ((n + m,), "D")))
    c = tl.compute((n,), lambda i: a[i] + b[4 * i] + b[4 * i + 3] + d[i], name="C")
    e = tl.compute((m,), lambda i: d[n + i] * 2.0, name="E")
    s = tl.Schedule([c, e])
    outer, lanes = s.split("C.i", [None, 8])
    s.vectorize(lanes)
    s.parallel(outer)
    _, lanes, _ = s.split("E.i", [None, 8], tail="cut")
    s.vectorize(lanes)
    kernel = tl.build(s)
    for rows, more in ((0, 0), (1, 0), (5, 3), (16, 17), (33, 1)):
        arrays = [np.arange(size, dtype="float32") for size in (rows, 4 * rows, rows + more)]
        first, second = kernel(*arrays)
        np.testing.assert_array_equal(first, arrays[0] + arrays[1][::4] + arrays[1][3::4] + arrays[2][:rows])
        np.testing.assert_array_equal(second, arrays[2][rows:] * 2)
    for sizes, says in (((4, 15, 7), r"B: expected float32\[4 \* n\] with n = 4"), ((5, 20, 3), r"D: .*n \+ m")):
        with pytest.raises(tl.ArgumentError, match=says):
            kernel(*(np.zeros(size, "float32") for size in sizes))
