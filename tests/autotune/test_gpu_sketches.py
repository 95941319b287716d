"""What the rules make for GPUs, without one: right numbers, machine code, open knobs that say what known ones do."""

import dataclasses
from functools import partial

import numpy as np
import pytest

import tensorlang as tl
from autotune.gpu_model import NAMES, GpuFeatures
from autotune.search import sample
from autotune.sketches import sketches_for
from autotune.space import Space
from autotune.task import Task
from autotune.zero_trial import open_spaces, suggest
from tensorlang.topi import convolution, elementwise, linalg, normalization, reduction
from tests.gpu.checking import in_threads, inputs, several
from tests.gpu.programs import H100

pytest.importorskip("cupy_backends", reason="NVRTC is reached through cupy")


def scaled(m, n):
    """Elementwise in three steps."""
    x = tl.placeholder((m, n), name="x")
    a = tl.compute((m, n), lambda i, j: x[i, j] * 2.0, name="A")
    b = tl.compute((m, n), lambda i, j: a[i, j] + 1.0, name="B")
    return tl.compute((m, n), lambda i, j: b[i, j] * b[i, j], name="C")


def total(m, n):
    x = tl.placeholder((m, n), name="x")
    i, k = tl.reduce_axis(m, name="i"), tl.reduce_axis(n, name="k")
    return tl.compute((1,), lambda z: tl.sum(x[i, k] * x[i, k], axis=[i, k]), name="total")


def windows(m, n):
    x = tl.placeholder((m, n), name="x")
    i, k = tl.reduce_axis(3, name="i"), tl.reduce_axis(3, name="k")
    return tl.compute((m - 2, n - 2), lambda a, b: tl.max(x[a + i, b + k], axis=[i, k]), name="windows")


_STAGES = ["two stages", "two stages, columns in turn", "one stage"]


def halves(m, n, k, steps=1):
    """A product of float16, accumulated in float32, of which other blocks make float16."""
    c = linalg.matmul(m, n, k, dtype="float16", out_dtype="float32")
    for step in range(steps):
        c = tl.compute((m, n), lambda i, j, c=c: tl.maximum(c[i, j], 0.0), name=f"D{step}")
    return tl.compute((m, n), lambda i, j: c[i, j].astype("float16"), name="E")


TASKS = {  # how it is made, at a size that no tile divides and at one that all do; sketches
    "elementwise": (elementwise.add, (24, 40), (512, 4096), ["elements"]),
    "softmax": (normalization.softmax, (12, 160), (512, 8192), ["rows"]),
    "softmax of columns": (
        partial(normalization.softmax, dim=0),
        (40, 24),
        (4096, 512),
        ["elements, column sums, elements, column sums"],
    ),
    "layer norm": (partial(normalization.layer_norm, dtype="bfloat16"), (12, 160), (512, 8192), ["rows"]),
    "row sum": (reduction.sum, (12, 200), (512, 8192), ["row sums"]),
    "column sum": (partial(reduction.sum, dim=0), (100, 40), (4096, 4096), ["column sums"]),
    "transpose": (elementwise.transpose, (40, 72), (512, 512), ["transpose"]),
    "elementwise in steps": (scaled, (24, 40), (512, 4096), ["elements"]),
    "sum of all": (total, (24, 100), (512, 4096), ["parts"]),
    "windows": (windows, (24, 40), (514, 514), ["elements"]),
    "matmul": (linalg.matmul, (40, 76, 24), (512, 512, 512), _STAGES),
    "matmul on tensor cores": (halves, (64, 64, 32), (64, 64, 32), ["tensor cores, 64x64x32 tiles"]),
    "conv2d": (
        convolution.conv2d,
        (1, 8, 8, 3, 32, 3, 1, 1),
        (8, 56, 56, 64, 64, 3, 1, 1),
        ["patches, 1 stages", "patches, 2 stages", "patches, 3 stages"],
    ),
    "depthwise": (convolution.depthwise_conv2d, (1, 16, 16, 2, 3, 1, 1), (8, 56, 56, 64, 3, 1, 1), ["depthwise"]),
}


def task_of(name, large=False):
    make, small_size, large_size, _ = TASKS[name]
    return Task.of(make(*(large_size if large else small_size)), H100)


def spaces(task):
    return [Space(task, sketch) for sketch in sketches_for(task)]


@pytest.mark.parametrize("name", TASKS)
def test_candidates_compute_the_right_thing(name):
    task = task_of(name)
    opened = spaces(task)
    assert [space.sketch.name for space in opened] == TASKS[name][-1]
    arrays = inputs(task.schedule())
    wanted = several(tl.interpret(task.schedule(), *arrays))
    tolerance = {"layer norm": 1e-2}.get(name, 1e-5 if "softmax" in name else 0)
    for space in opened:
        for row in sample(space, 1, np.random.default_rng(1)):
            schedule = space.instantiate(space.named(row))
            for want, got in zip(wanted, in_threads(schedule, arrays), strict=True):
                np.testing.assert_allclose(got.astype("d"), want.astype("d"), rtol=tolerance, atol=tolerance)


# Of windows in fused loops, numbers tell more; tensor cores leave no knob open.
EXACT = [name for name in TASKS if name not in ("windows", "conv2d", "matmul on tensor cores")]


@pytest.mark.parametrize("name", EXACT)
def test_features_of_open_knobs_are_those_of_known_ones(name):
    task = task_of(name, large=True)
    for number, space in enumerate(spaces(task)):
        values = sample(space, 1 if number else 2, np.random.default_rng(2))
        features, estimates = space.features(values)
        for at, (row, known, seconds) in enumerate(zip(values, features, estimates, strict=True)):
            replayed, made = task.replay(space.trace(space.named(row))), space.instantiate(space.named(row))
            if at == number == 0:  # lowering takes its time
                assert str(tl.lower(made, H100)) == str(tl.lower(replayed, H100)), space.named(row)
            concrete, again = GpuFeatures(task, replayed.func, ())(np.zeros((1, 0), np.int64))
            pairs = zip(NAMES, known.tolist(), concrete[0].tolist(), strict=True)
            assert not [pair for pair in pairs if not np.isclose(*pair[1:], rtol=1e-4)], space.named(row)
            assert seconds == pytest.approx(again[0], rel=1e-4)


@pytest.mark.filterwarnings("error:sketch .* does not fit")
@pytest.mark.parametrize("columns, fewest", [(1024, 32), (8192, 256), (50_000, 1024)])
def test_threads_are_enough_to_hold_a_row(columns, fewest):
    (space,) = spaces(Task.of(normalization.softmax(64, columns), H100))
    assert dict(zip(space.names, space.choices, strict=True))["threads"].min() == fewest


def test_patches_fit_strided_convolutions():
    task = Task.of(convolution.conv2d(1, 28, 28, 4, 16, 5, 2, 2), H100)
    assert len(open_spaces(task, sketches_for(task)[:1])) == 1


def test_convolutions_that_no_tile_divides():
    """Every thread then has an element of its own."""
    computed = convolution.conv2d(1, 9, 13, 5, 12, 3, 2, 1)
    assert [sketch.name for sketch in sketches_for(Task.of(computed, H100))] == ["elements"]
    schedule = suggest(computed, H100)
    arrays = inputs(schedule)
    np.testing.assert_array_equal(in_threads(schedule, arrays)[0], tl.interpret(computed, *arrays))


@pytest.mark.filterwarnings("ignore:sketch .* does not fit")
def test_what_no_sketch_fits_is_bound_nevertheless():
    schedule = suggest(linalg.matmul(7, 9, 5), H100)
    a, b = inputs(schedule)
    np.testing.assert_array_equal(in_threads(schedule, [a, b])[0], a @ b)


def transposed_halves(n):
    a, b = (tl.placeholder((n, n), "float16", name=name) for name in "AB")
    c = tl.compute((n, n), lambda i, j: product(a, b, i, j, n), name="C")
    return tl.compute((n, n), lambda i, j: c[j, i].astype("float16"), name="D")


def squared_halves(n):
    a = tl.placeholder((n, n), "float16", name="A")
    return tl.compute((n, n), lambda i, j: product(a, a, i, j, n), name="C")


def product(a, b, i, j, n):
    k = tl.reduce_axis(n, name="k")
    return tl.sum(a[i, k].astype("float32") * b[k, j].astype("float32"), axis=k)


@pytest.mark.parametrize(
    ("computed", "fits"),
    [
        (linalg.matmul(256, 128, 64, dtype="bfloat16", out_dtype="float32"), True),
        (halves(64, 64, 32, steps=0), True),
        (halves(64, 64, 48), False),  # no tile divides
        (linalg.matmul(64, 64, 64, dtype="float16"), False),  # accumulated in float16
        (linalg.matmul(64, 64, 64, dtype="float16", out_dtype="float32", transpose_b=True), False),
        (transposed_halves(64), False),
        (squared_halves(64), False),
    ],
)
def test_tensor_cores_are_for_products_that_fit(computed, fits):
    names = [sketch.name for sketch in sketches_for(Task.of(computed, H100))]
    assert any("tensor cores" in name for name in names) == fits, names


@pytest.mark.parametrize("name", [name for name in TASKS if name != "conv2d"])  # whose text takes long to compile
def test_machine_code_travels(name):
    """What the model picks is compiled without a GPU, without spills, and is the same in another process."""
    task = task_of(name)
    kernel = task.build(suggest(task))
    assert all(usage.spills == 0 for usage in kernel.usage.values())
    again = task.unpack(kernel.packed())
    assert (again.cubin, again.signature, again.usage) == (kernel.cubin, kernel.signature, kernel.usage)
    plans = [[dataclasses.replace(plan, grid=plan.grid()) for plan in k.launches] for k in (kernel, again)]
    assert plans[0] == plans[1]


def test_the_plain_schedule_computes_the_right_thing():
    for make in (lambda: linalg.matmul(7, 9, 5), lambda: reduction.sum(6, 10), lambda: normalization.softmax(5, 12)):
        task = Task.of(make(), H100)
        arrays = inputs(task.schedule())
        wanted = several(tl.interpret(task.schedule(), *arrays))
        for want, got in zip(wanted, in_threads(task.plain(), arrays), strict=True):
            np.testing.assert_allclose(got, want, rtol=1e-6)
