"""A few knob vectors of the first workload of each family; symbolic.py compares many, of all."""

import numpy as np
import pytest

from autotune.sketches import sketches_for
from autotune.space import Space
from autotune.workload import parse
from tensorlang.topi.published import PUBLISHED
from tests.autotune.symbolic import compare, draw


@pytest.mark.parametrize("workload", [family[0] for family in PUBLISHED.values()])
def test_features_and_constraints_of_open_knobs_are_those_of_known_ones(workload):
    task, rng = parse(workload), np.random.default_rng(0)
    for sketch in sketches_for(task):
        space = Space(task, sketch)
        differences = [each.difference for each in compare(space, draw(space, 3, rng))]
        assert not any(differences), (sketch.name, differences)
