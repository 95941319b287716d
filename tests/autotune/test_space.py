import numpy as np
import pytest

import tensorlang as tl
from autotune.features import FEW, NAMES, Features
from autotune.search import sample
from autotune.sketches import sketches_for
from autotune.space import Sketch, Space
from autotune.task import ScheduleError, Task
from autotune.workload import parse


@pytest.fixture(scope="module", params=["matmul:30,150,75", "matmul:64,128,128"])
def spaces(request):
    task = parse(request.param)
    return [Space(task, sketch) for sketch in sketches_for(task)]


def test_symbolic_features_equal_the_concrete_ones(spaces):
    for space in spaces:
        values = sample(space, 12, np.random.default_rng(0))
        features, estimate = space.features(values)
        for row, known, seconds in zip(values, features, estimate, strict=True):
            schedule = space.task.replay(space.trace(space.named(row)))
            concrete, again = Features(space.task, schedule.func, ())(np.zeros((1, 0), np.int64))
            named = dict(zip(NAMES, zip(known.tolist(), concrete[0].tolist(), strict=True), strict=True))
            off = {name: pair for name, pair in named.items() if not np.isclose(*pair, rtol=1e-5)}
            assert not off, (space.sketch.name, space.named(row))
            assert seconds == pytest.approx(again[0])


def test_conditions_are_those_of_the_sketch(spaces):
    space = spaces[0]
    target, m, n = space.task.target, *(int(repr(d)) for d in space.task.func.outputs[0].shape)
    values = np.stack([np.random.default_rng(0).choice(c, 500) for c in space.choices], axis=1)
    rows, row_blocks, vectors, column_blocks, _ = values.T
    wanted = (rows * vectors + vectors + 1 <= target.registers) & ((row_blocks - 1) * rows < m)
    assert (space.valid(values) == wanted & ((column_blocks - 1) * vectors * (target.vector_bytes // 4) < n)).all()


def test_the_valid_knob_vectors_are_listed(spaces):
    for space in spaces:
        every = np.stack([c.ravel() for c in np.meshgrid(*space.choices, indexing="ij")], axis=1)
        assert space.rows.tolist() == every[space.valid(every)].tolist()


def test_features_are_finite_and_many_are_evaluated_at_once(spaces):
    for space in spaces:
        values = sample(space, 3000, np.random.default_rng(1))
        features, estimate = space.features(values)
        assert features.shape == (len(values), len(NAMES))
        assert features.dtype == np.float32
        assert np.isfinite(features).all()
        assert (estimate > 0).all()


def test_what_is_looked_up_is_what_is_computed(spaces):
    for space in spaces:
        many = np.tile(space.rows, (1 + FEW // len(space.rows), 1))
        at = np.random.default_rng(2).integers(len(many), size=300)
        for looked_up, computed in zip(space.features(many), space.features(many[at]), strict=True):
            np.testing.assert_allclose(looked_up[at], computed, rtol=1e-5)


def test_register_pressure_and_idle_threads_cost(spaces):
    space = spaces[-1]
    base = {name: int(c[0]) for name, c in zip(space.names, space.choices, strict=True)}
    tall = {**base, "rows": int(space.choices[0][5]), "depth": int(space.choices[4][-1])}
    estimates = [space.features(np.array([list(v.values())]))[1][0] for v in (base, tall)]
    assert estimates[1] < estimates[0]


def test_a_literal_trace_has_no_knobs(spaces):
    space = spaces[0]
    row = sample(space, 1, np.random.default_rng(2))[0]
    schedule = space.instantiate(space.named(row))
    assert schedule.trace.knobs == {}
    assert schedule.constraints == ()


def test_a_sketch_that_does_not_fit_or_asks_twice():
    task = parse("matmul:8,8,8")
    with pytest.raises(ScheduleError, match="nothing"):
        Space(task, Sketch("bad", lambda s, knob: s.parallel("nothing")))
    with pytest.raises(ValueError, match="asks twice for knob t"):
        Space(task, Sketch("twice", lambda s, knob: [knob("t", [1]), knob("t", [1])]))


def test_a_sketch_without_knobs_is_a_space_of_one_point():
    space = Space(parse("matmul:8,8,8"), Sketch("fixed", lambda s, knob: s.reorder("C.i", "C.k", "C.j")))
    assert sample(space, 5, np.random.default_rng(0)).shape == (1, 0)
    assert space.features(np.zeros((1, 0), np.int64))[0].shape == (1, len(NAMES))
    assert isinstance(space.task, Task)
    assert isinstance(space.instantiate({}), tl.Schedule)
