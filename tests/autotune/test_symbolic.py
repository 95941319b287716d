"""Symbolic is concrete: a sketch opened once says of every knob vector what its own replay says, and makes its program.

`pytest tests/autotune/test_symbolic.py --knob-vectors 1000` tries that many of each sketch, on all published shapes.
"""

import numpy as np
import pytest

import tensorlang as tl
from autotune.features import NAMES, Features
from autotune.sketches import sketches_for
from autotune.space import Space
from autotune.task import ScheduleError, numpy_function
from autotune.workload import parse
from tensorlang.ir.walk import same
from tensorlang.topi.published import PUBLISHED

FEW = 20  # with more than that, shapes beside the first one of each family are tried too


@pytest.fixture
def vectors(request):
    return request.config.getoption("--knob-vectors")


@pytest.mark.parametrize("workload", [w for family in PUBLISHED.values() for w in family])
def test_features_and_constraints_of_open_knobs_are_those_of_known_ones(workload, vectors):
    if vectors <= FEW and not any(workload == family[0] for family in PUBLISHED.values()):
        pytest.skip("with --knob-vectors only")
    task, rng = parse(workload), np.random.default_rng(0)
    for sketch in sketches_for(task):
        space = Space(task, sketch)
        values = np.stack([rng.choice(c, size=vectors) for c in space.choices], axis=1)
        legal = _legal(space, values)
        features, estimate = space.features(values)
        proposed = space.valid(values)
        for row, fits, known, seconds, compared in zip(values, legal, features, estimate, proposed, strict=True):
            where = (workload, sketch.name, space.named(row))
            try:
                schedule = task.replay(space.trace(space.named(row)))
            except ScheduleError as error:
                assert not fits, (where, error.oneline)
                continue
            assert fits, where
            if not compared:  # the sketch's own conditions keep it from being proposed
                continue
            assert not sketch.exact or same_program(space.instantiate(space.named(row)), schedule, task.target), where
            concrete, again = Features(task, schedule.func, ())(np.zeros((1, 0), np.int64))
            pairs = dict(zip(NAMES, zip(known.tolist(), concrete[0].tolist(), strict=True), strict=True))
            off = {name: pair for name, pair in pairs.items() if not np.isclose(*pair, rtol=1e-4)}
            assert not off, where
            assert seconds == pytest.approx(again[0], rel=1e-4), where


def _legal(space, values):
    """Which rows meet the conditions that the primitives left open."""
    legal = np.ones(len(values), bool)
    for holds in numpy_function(space.schedule.constraints, space.knobs)(*values.T):
        legal &= holds
    return legal


def same_program(a, b, target):
    """Whether two schedules make the same kernel."""
    return same(a.func, b.func) or str(tl.lower(a, target)) == str(tl.lower(b, target))
