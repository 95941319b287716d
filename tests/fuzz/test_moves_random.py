"""Random sequences of steps that copy, move, inline and lay out: refused cleanly, or the numbers stay."""

import random

import numpy as np
import pytest

import tensorlang as tl
from tensorlang.passes.compact import compacted
from tensorlang.passes.lower_blocks import lower_blocks
from tensorlang.passes.lower_init import lower_init
from tensorlang.schedule.schedule import Schedule
from tensorlang.schedule.trace import Trace
from tensorlang.target.target import Target
from tests.schedule import programs

HOST = Target("llvm")
PROGRAMS = (
    programs.matmul,
    programs.chain,
    programs.blur,
    programs.convolution,
    programs.normalised,
    programs.biased_matmul,
    programs.row_sum,
)
LAYOUTS = {
    1: (lambda i: (i // 3, i % 3), lambda i: (i % 4, i // 4)),
    2: (
        lambda i, j: (j, i),
        lambda i, j: (j // 4, i, j % 4),
        lambda i, j: (i // 2, j // 3, i % 2, j % 3),
    ),
    3: (lambda i, j, k: (k, i, j),),
    4: (lambda i, j, k, m: (i, k, j, m),),
}


def random_step(s: Schedule, rng: random.Random) -> None:
    """One step that may be refused."""
    blocks = [b.name for b in s.blocks()]
    block = rng.choice(blocks)
    loops = [loop for b in blocks for loop in s.loops(b)]
    loop = rng.choice(loops).name
    buffers = list(s.buffers())
    match rng.randrange(17):
        case 0:
            s.cache_read(block, rng.choice(buffers), "local")
        case 1:
            s.cache_write(block, "local")
        case 2 | 3 | 4:
            s.compute_at(block, loop)
        case 5 | 6:
            s.reverse_compute_at(block, loop)
        case 7:
            s.compute_inline(block)
        case 8:
            s.reverse_compute_inline(block)
        case 9:
            name = rng.choice(buffers)
            layouts = LAYOUTS.get(len(s.buffers()[name].shape))
            if layouts:
                s.transform_layout(name, rng.choice(layouts), pad_value=rng.choice([None, 5]))
        case 10 | 11:
            s.split(loop, [None, rng.randrange(1, 6)])
        case 13:
            s.decompose_reduction(block, loop)
        case 14:
            s.parallel(loop)
        case 15:
            s.vectorize(loop)
        case 16:
            s.fuse(*s.loops(block)[:2])
        case 12:
            own = s.loops(block)
            n = rng.randrange(len(own))
            pair = own[n : n + 2]
            if len(pair) == 2:
                s.reorder(pair[1], pair[0])


def check(before: tl.Schedule, s: Schedule, seed: int) -> None:
    expected = programs.outputs(before, seed=seed)
    for func in (s.func, compacted(lower_blocks(lower_init(s.func, HOST), HOST))):
        for a, b in zip(expected, programs.outputs(func, seed=seed), strict=True):
            np.testing.assert_array_equal(a, b, err_msg=str(s.trace))
    again = Trace.from_json(s.trace.to_json()).apply(before)
    assert str(again) == str(s)


def run(seed: int, steps: int = 10) -> tuple[int, int]:
    rng = random.Random(seed)
    program = rng.choice(PROGRAMS)
    sizes = [rng.randrange(2, 9) for _ in range(2)]
    s = Schedule(program(*sizes))
    before, done, refused = s.func, 0, 0
    for _ in range(steps):
        state = s.func
        try:
            random_step(s, rng)
            done += 1
        except tl.ScheduleError:
            refused += 1
            assert s.func is state
    check(before, s, seed)
    return done, refused


@pytest.mark.parametrize("seed", range(40))
def test_random_moves(seed):
    run(seed)
