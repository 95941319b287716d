import numpy as np
import pytest

import tensorlang as tl
from autotune.measure.candidate import Reference
from autotune.search import sample
from autotune.sketches import RULES, sketches_for
from autotune.sketches.parts import Part
from autotune.sketches.program import Program
from autotune.sketches.tiles import find_tiling
from autotune.space import Sketch, Space
from autotune.task import Task
from autotune.workload import parse


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
    factor = tl.compute((19,), lambda i: 1.0 / total[i], name="factor")
    return tl.compute((19, 33), lambda i, j: e[i, j] * factor[i], name="y")


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


def stages(computed):
    task = Task.of(computed)
    return Program(task.schedule(), task.target)


def test_the_roles_of_loops_are_found():
    def roles(computed, block):
        program = stages(computed)
        t = find_tiling(program, program[block])
        names = t and ([x.name for x in t.batch], [x.name for x in t.rows], t.column.name)
        return names and (*names, t.row_operand and t.row_operand.buffer, t.must_pack)

    assert roles(dense_relu(), "y") == ([], ["y.i"], "y.j", "x", False)
    assert roles(batched(True), "y") == (["y.b"], ["y.i"], "y.j", "x", True)
    assert roles(row_scaled(), "total") is None  # along memory: for lanes, not for columns
    assert roles(norm(), "y") is None
    conv = parse("conv2d:1,9,9,16,24,3,1,1,layout=NHWC").func
    assert roles(conv, "conv2d") == (["conv2d.n"], ["conv2d.h", "conv2d.w"], "conv2d.o", None, False)


def test_the_sketches_of_a_product_and_what_follows_it():
    packed = ["tile, pack columns", "tile, pack rows and columns", "tile, pack rows once and columns"]
    names = [s.name for s in sketches_for(parse("dense:64,256,256,activation=relu"))]
    assert names == [*packed, "tile, pack columns by tile"]  # its weights have no runs along the columns
    names = [s.name for s in sketches_for(parse("matmul:64,256,256"))]
    assert names == [*packed, "tile, pack columns by tile", "tile"]
    assert [s.name for s in sketches_for(Task.of(dense_relu()))] == ["tile"]  # all of it stays in the first cache


def test_groups_and_phases_get_loops_of_their_own():
    for text, loop in (
        ("conv2d:1,9,9,16,32,3,1,1,1,2,layout=NHWC", "conv2d.o.1"),
        ("conv_transpose2d:1,4,4,16,24,4,2,1,layout=NHWC", "conv_transpose2d.h.1"),
    ):
        task = parse(text)
        space = Space(task, sketches_for(task)[0])
        assert any(step.args.get("loop") == loop.rpartition(".")[0] for step in space.schedule.trace.steps)


def scalar_rows(program, stage):
    """A rule of a user: threads over the outermost loop, and nothing else."""
    if stage.reduction:
        return []

    def write(s, knob):
        s.parallel(s.loops(stage.block)[0])

    return [Part("rows on threads", frozenset({stage.block}), write)]


def test_a_rule_of_a_user_comes_first():
    task = Task.of(scale())
    (sketch,) = sketches_for(task, rules=(scalar_rows, *RULES))
    assert sketch.name == "rows on threads"
    assert [loop.kind for loop in Space(task, sketch).schedule.loops("y")] == ["parallel", "serial", "serial"]


def test_what_is_pinned_stays_and_the_rest_is_searched():
    def pin(s, knob):
        i = s.loops("z")[0]
        i0, _ = s.split(i, [None, knob("mine", [2, 4])])
        s.parallel(i0)

    task = Task.of(dense_relu())
    for sketch in sketches_for(task, pin=pin):
        space = Space(task, sketch)
        assert space.names[0] == "mine"
        assert [loop.name for loop in space.schedule.loops("z")] == ["z.i.0", "z.i.1", "z.j"]
        assert space.schedule.loops("y")[-1].kind == "vectorize"


def test_a_sketch_may_be_written_by_hand(tmp_path):
    def write(s, knob):
        _, lane = s.split("y.k", [None, knob("lanes", [4, 8])])
        s.vectorize(lane)

    task = Task.of(scale())
    space = Space(task, Sketch("mine", write))
    kernel = task.build(space.instantiate({"lanes": 4}))
    assert Reference(task, 0, tmp_path).measure(kernel, 0, best=1e-9)["seconds"] > 0
