"""compact: buffers inside loops shrink, results stay."""

import numpy as np

import tensorlang as tl
from tensorlang.ir import interp
from tensorlang.ir.nodes import Alloc
from tensorlang.ir.walk import find
from tensorlang.passes.compact import compact, compacted
from tensorlang.passes.lower_blocks import lower_blocks
from tensorlang.passes.lower_init import lower_init
from tensorlang.schedule.schedule import Schedule
from tensorlang.target.target import Target

HOST = Target("llvm")


def halo(n, loop):
    """C[i] = P[i] + P[i + 2], with P computed under `loop`."""
    a = tl.placeholder((n + 2,), name="A")
    p = tl.compute((n + 2,), lambda i: a[i] * 3.0, name="P")
    s = Schedule(tl.compute((n,), lambda i: p[i] + p[i + 2], name="C"))
    s.split("C.i", [None, 4])
    if loop:
        s.compute_at("P", loop)
    return s


def lowered(s):
    return lower_blocks(lower_init(s.func, HOST), HOST)


def allocated(func):
    return {alloc.buffer.name: repr(list(alloc.buffer.shape)) for alloc in find(func, Alloc)}


def test_a_buffer_shrinks_to_its_box():
    s = halo(10, "C.i.0")
    before = lowered(s)
    after = compact(before, HOST)
    assert allocated(before) == {"P": "[12]"}
    assert allocated(after) == {"P": "[6]"}
    for func in (before, after):
        a, c = np.arange(12, dtype="float32"), np.full(10, 77, "float32")
        interp.run(func, [a, c])
        np.testing.assert_array_equal(c, 3 * (a[:10] + a[2:]))


def test_a_buffer_outside_loops_stays():
    func = lowered(halo(10, None))
    assert compacted(func) is func


def test_a_box_as_large_as_the_buffer_stays():
    func = lowered(halo(2, "C.i.0"))
    assert allocated(compacted(func)) == {"P": "[4]"}
