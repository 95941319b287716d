import numpy as np
import pytest

import tensorlang as tl
from autotune.measure.candidate import Reference
from autotune.search import sample
from autotune.sketches import cpu, sketches_for
from autotune.space import Space
from autotune.task import Task, nests, parse


def dense_relu():
    x = tl.placeholder((20, 33), "float32", name="x")
    w = tl.placeholder((33, 40), "float32", name="w")
    k = tl.reduce_axis(33, name="k")
    y = tl.compute((20, 40), lambda i, j: tl.sum(x[i, k] * w[k, j], axis=k), name="y")
    return tl.compute((20, 40), lambda i, j: tl.maximum(y[i, j], 0.0), name="z")


def batched(transposed):
    x = tl.placeholder((3, 20, 12), "float32", name="x")
    w = tl.placeholder((3, 25, 12) if transposed else (3, 12, 25), "float32", name="w")
    k = tl.reduce_axis(12, name="k")
    return tl.compute(
        (3, 20, 25),
        lambda b, i, j: tl.sum(x[b, i, k] * (w[b, j, k] if transposed else w[b, k, j]), axis=k),
        name="y",
    )


def row_scaled():
    x = tl.placeholder((19, 33), "float32", name="x")
    k, n = tl.reduce_axis(33, name="k"), tl.reduce_axis(33, name="n")
    top = tl.compute((19,), lambda i: tl.max(x[i, k], axis=k), name="top")
    e = tl.compute((19, 33), lambda i, j: 2.0 + x[i, j] - top[i], name="e")
    total = tl.compute((19,), lambda i: tl.sum(e[i, n], axis=n), name="total")
    return tl.compute((19, 33), lambda i, j: e[i, j] / total[i], name="y")


def norm():
    x = tl.placeholder((9, 33), "float32", name="x")
    i, j = tl.reduce_axis(9, name="i"), tl.reduce_axis(33, name="j")
    return tl.compute((), lambda: tl.sum(x[i, j] * x[i, j], axis=(i, j)), name="y")


def scale():
    x = tl.placeholder((7, 11, 13), "int32", name="x")
    return tl.compute((7, 11, 13), lambda i, j, k: x[i, j, k] * 3, name="y")


CASES = {
    "matmul": lambda: parse("matmul:17,35,29").func,
    "dense_relu": dense_relu,
    "batched": lambda: batched(False),
    "batched_transposed": lambda: batched(True),
    "row_scaled": row_scaled,
    "norm": norm,
    "scale": scale,
}


@pytest.mark.parametrize("case", CASES)
def test_candidates_of_every_sketch_compute_the_right_thing(case, tmp_path):
    task = Task.of(CASES[case]())
    reference = Reference(task, 0, tmp_path)
    rng = np.random.default_rng(0)
    for sketch in sketches_for(task):
        space = Space(task, sketch)
        for row in sample(space, 1, rng):
            kernel = task.build(space.instantiate(space.named(row)))
            assert reference.measure(kernel, 0, best=1e-9)["seconds"] > 0


def test_contractions_are_found():
    def roles(computed):
        found = cpu.find_contraction(nests(Task.of(computed).func))
        return found and (found.batch, found.row, found.column, found.row_operand, found.column_operand)

    assert roles(dense_relu()) == ((), "y.i", "y.j", ("x", 0), ("w", 1))
    assert roles(batched(True)) == (("y.b",), "y.i", "y.j", ("x", 1), ("w", 1))
    assert roles(row_scaled()) is None
    assert roles(norm()) is None
    assert [s.name for s in sketches_for(Task.of(dense_relu()))] == [
        "tile_pack_rows_pack_columns",
        "tile_pack_rows_once_pack_columns",
        "tile_pack_columns",
        "tile",
    ]
