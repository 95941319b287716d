"""Random steps on random small programs: what is not refused changes no number, replays, and may run backwards where
its iterations are independent."""

import random

import numpy as np
import pytest

import tensorlang as tl
from tensorlang.ir.nodes import For, Node
from tensorlang.ir.walk import substitute, transform
from tensorlang.schedule.schedule import Schedule
from tests.schedule.programs import chain, check_numbers, last_positive, matmul, outputs, row_sum


def random_step(s: Schedule, rng: random.Random) -> None:
    block = rng.choice(s.blocks())
    loops = s.loops(block)
    step = rng.choice(["split", "split", "fuse", "reorder", "reorder", "decompose", "parallel", "vectorize", "unroll"])
    if step == "split":
        factors = rng.choice([[None, 2], [None, 3], [3, None], [None, 1], [1, None], [2, None, 2], [None, 5, 1]])
        s.split(rng.choice(loops), factors)
    elif step == "fuse":
        first = rng.randrange(len(loops))
        s.fuse(*loops[first : first + rng.choice([2, 3])])
    elif step == "reorder":
        s.reorder(*rng.sample(loops, min(len(loops), rng.choice([2, 3, 4]))))
    elif step == "decompose":
        s.decompose_reduction(block, rng.choice(loops))
    else:
        getattr(s, step)(rng.choice(loops))


@pytest.mark.parametrize("seed", range(40))
def test_random_steps(seed):
    rng = random.Random(seed)
    sizes = [rng.choice([1, 2, 3, 5, 6, 7]) for _ in range(3)]
    s = Schedule(
        rng.choice(
            [lambda: matmul(*sizes), lambda: last_positive(*sizes), lambda: chain(*sizes[:2]), lambda: row_sum()]
        )()
    )
    before = s.func
    done = 0
    for _ in range(12):
        try:
            random_step(s, rng)
            done += 1
        except tl.ScheduleError:
            continue
    assert done
    check_numbers(before, s)
    backwards = transform(s.func, run_backwards)
    for expected, got in zip(outputs(before), outputs(backwards), strict=True):
        np.testing.assert_array_equal(expected, got)


def run_backwards(node: Node) -> Node:
    """Independent iterations may come in any order, the last one first too."""
    if isinstance(node, For) and node.kind in ("parallel", "vectorize"):
        return node.replace(body=substitute(node.body, {node.var: node.extent - 1 - node.var}))
    return node
