import numpy as np
import pytest

import tensorlang as tl
from tensorlang import analysis
from tensorlang.schedule import gpu_library
from tensorlang.topi import linalg


def matmul(m=8, n=12, k=16):
    a = tl.placeholder((m, k), "float32", name="A")
    b = tl.placeholder((k, n), "float32", name="B")
    axis = tl.reduce_axis(k, name="k")
    return tl.compute((m, n), lambda i, j: tl.sum(a[i, axis] * b[axis, j], axis=axis), name="C")


def values(exprs, knobs=(), at=()):
    return analysis.numpy_function(tuple(exprs), tuple(knobs))(*at)


def test_flops():
    assert analysis.flops(tl.create_func(matmul())) == 2 * 8 * 12 * 16
    x = tl.placeholder((10,), "float32", name="x")
    assert analysis.flops(tl.create_func(tl.compute((10,), lambda i: x[i] / 2.0 + x[i], name="y"))) == 20
    n = tl.var("n")
    open_sized = tl.placeholder((n,), "float32", name="z")
    with pytest.raises(ValueError, match="is not known"):
        analysis.flops(tl.create_func(tl.compute((n,), lambda i: open_sized[i] + 1.0, name="y")))


def test_nests_tell_loops_axes_and_footprints():
    (nest,) = analysis.nests(tl.create_func(matmul()))
    assert [(loop.name, loop.reduce) for loop in nest.loops] == [("C.i", False), ("C.j", False), ("C.k", True)]
    assert (nest.block, nest.flops, nest.reduces) == ("C", 2, True)
    by_name = {(f.buffer, f.written): f for f in nest.footprints}
    assert [values(shape) for shape in by_name["B", False].extents] == [[16, 12], [16, 12], [16, 1], [1, 1]]


def test_footprints_of_open_tiles_are_expressions():
    t = tl.knob("t", (2, 3, 4))
    s = tl.Schedule(matmul())
    i, j, k = s.loops("C")
    i0, i1 = s.split(i, [None, t])
    s.reorder(i0, j, k, i1)
    (nest,) = analysis.nests(s.func)
    a = next(f for f in nest.footprints if f.buffer == "A")
    sizes = np.array([2, 3, 4])
    assert [list(np.broadcast_to(v, 3)) for v in values(a.extents[1], [t], [sizes])] == [[2, 3, 4], [16, 16, 16]]
    assert values([analysis.extents(s.func)["C.i.0"]], [t], [sizes])[0].tolist() == [4, 3, 2]


def test_a_loop_over_all_there_is_runs_no_more_often_than_that_takes():
    """A tile of D that is wider than D: its loop counts columns by four."""
    c, t = matmul(), tl.knob("t", (1, 2, 4))
    s = tl.Schedule(tl.compute((8, 12), lambda i, j: c[i, j] + 1.0, name="D"))
    j0, _ = s.split("C.j", [None, t * 4])
    s.reorder("C.i", j0, "C.j.1", "C.k")
    s.reverse_compute_at("D", j0)
    s.split(s.loops("D")[-1], [None, 4])
    (nest,) = (nest for nest in analysis.nests(s.func) if nest.block == "D")
    assert values([nest.loops[-2].extent], [t], [np.array([1, 2, 4])])[0].tolist() == [1, 2, 3]


def test_names_can_be_changed_and_changed_back():
    func = tl.create_func(matmul())
    assert analysis.names(func) == ["A", "B", "C", "C.i", "C.j", "C.k", "C"]
    other = analysis.renamed(func, ["X", "Y", "Z", "Z.p", "Z.q", "Z.r", "Z"])
    assert analysis.names(other) == ["X", "Y", "Z", "Z.p", "Z.q", "Z.r", "Z"]
    assert analysis.structural_hash(other) == analysis.structural_hash(func)
    s = tl.Schedule(other)
    s.reorder("Z.p", "Z.r", "Z.q")
    a, b = (np.random.default_rng(0).random(shape, dtype=np.float32) for shape in ((8, 16), (16, 12)))
    np.testing.assert_allclose(tl.build(s)(X=a, Y=b), a @ b, rtol=1e-5)
    with pytest.raises(ValueError, match="has 7 names, got 1"):
        analysis.renamed(func, ["A"])


def test_names_of_intermediate_buffers_are_among_them():
    x = tl.placeholder((6,), "float32", name="x")
    y = tl.compute((6,), lambda i: x[i] + 1.0, name="y")
    func = tl.create_func(tl.compute((6,), lambda i: y[i] * 2.0, name="z"))
    fresh = [f"n{number}" for number in range(len(analysis.names(func)))]
    assert analysis.names(analysis.renamed(func, fresh)) == fresh


def test_patterns_tell_steps_and_divisors():
    x = tl.placeholder((20, 9), "float32", name="x")
    k = tl.reduce_axis(3, name="k")
    y = tl.compute((6, 4), lambda i, j: tl.sum(x[2 * i + k, (j + 1) // 2], axis=k), name="y")
    pattern = analysis.patterns(tl.create_func(y))["y"]
    reads = next(a for a in pattern.accesses if a.buffer == "x")
    assert reads.steps == ({"y.i": 2, "y.k": 1}, {"y.j": None})
    assert reads.loops == {"y.i", "y.k", "y.j"}
    assert pattern.divisors == {"y.j": 2}


def test_footprints_of_windows_add_up_and_stay_in_the_buffer():
    x = tl.placeholder((20,), "float32", name="x")
    y = tl.compute((8,), lambda i: x[2 * i] + x[2 * i + 3], name="y")
    (nest,) = analysis.nests(tl.create_func(y))
    assert [values(shape) for shape in next(f for f in nest.footprints if f.buffer == "x").extents] == [[18], [4]]


def test_footprints_of_fused_loops_are_those_of_the_loops_that_they_were():
    plain, fused = (tl.Schedule(matmul()) for _ in range(2))
    for s in (plain, fused):
        i0, j0, i1, j1 = s.tile(s.loops("C")[:2], [4, 6])
    for pair in ((i0, j0), (i1, j1)):
        fused.fuse(*pair)
    by_name = [{f.buffer: f for f in analysis.nests(s.func)[0].footprints} for s in (plain, fused)]
    for buffer in "ABC":
        shapes, of_fused = ([values(shape) for shape in found[buffer].extents] for found in by_name)
        assert of_fused == [shapes[0], shapes[2], shapes[4], shapes[5]], buffer


def test_what_pipelines_keep_and_intrinsics_do_is_told():
    h100 = tl.Target("cuda", arch="sm_90a")
    s = tl.Schedule(linalg.matmul(64, 64, 64, dtype="float16", out_dtype="float32"), target=h100)
    gpu_library.tensor_core_matmul(s, "C", (64, 64, 32), (32, 32), stages=2, group=1)
    found = {nest.block: nest for nest in analysis.nests(s.func)}
    (copy,) = (f for f in found["A.shared"].footprints if f.written)
    assert (copy.buffer, copy.versions, values(copy.shape)) == ("A.shared", 2, [1, 64, 32])
    product = found["C"]
    assert [loop.kind for loop in product.loops[-product.tensorized :]] == [
        "threadIdx.y",
        "threadIdx.x",
        *["unroll"] * 5,
    ]
    assert analysis.flops(s.func) == 2 * 64**3
