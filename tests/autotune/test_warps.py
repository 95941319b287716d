"""How many cycles accesses of a warp take: banks of shared memory, lines elsewhere, wide accesses."""

import numpy as np
import pytest

import tensorlang as tl
from autotune.tables import Rows
from autotune.task import knob, nests
from autotune.warps import table
from tensorlang.topi import elementwise
from tests.gpu.programs import H100


def transposed(pad=0, tile=32):
    """By a warp, rows of x to shared memory, then from its columns."""
    s = tl.Schedule(elementwise.transpose(64, 64), target=H100)
    copy = s.cache_read("transpose", "x", "shared")
    i0, j0, _, j1 = s.tile(s.loops("transpose"), [tile, tile])
    s.compute_at(copy, j0)
    s.bind(i0, "blockIdx.y")
    s.bind(j0, "blockIdx.x")
    for loop in (j1, s.loops(copy)[-1]):
        s.bind(loop, "threadIdx.x")
    if pad:
        s.storage_align(copy, 0, 32, pad)
    return s


def accesses(s, block, buffer, knobs=(), values=((),)):
    """Of what the block touches of a buffer: (elements, cycles) of each knob vector."""
    (nest,) = (nest for nest in nests(s.func) if nest.block == block)
    (footprint,) = (f for f in nest.footprints if f.buffer == buffer)
    found = table(footprint, knobs)(Rows(knobs, np.array(values, np.int64).reshape(len(values), len(knobs))))
    return [np.broadcast_to(each, len(values)).tolist() for each in found]


@pytest.mark.parametrize(("pad", "cycles"), [(0, 32), (1, 1), (2, 2), (4, 4)])
def test_a_column_of_shared_memory_takes_as_many_cycles_as_its_rows_share_banks(pad, cycles):
    s = transposed(pad)
    assert accesses(s, "transpose", "x.shared") == [[1], [cycles]]
    assert accesses(s, "x.shared", "x.shared") == [[1], [1]]
    assert accesses(s, "x.shared", "x") == [[1], [1]]


def test_open_counts_give_what_each_of_them_does():
    tile = knob("tile", (8, 16, 32))
    s = transposed(tile=tile)
    assert accesses(s, "transpose", "x.shared", (tile,), [[8], [32], [16]]) == [[1, 1, 1], [2, 32, 8]]


@pytest.mark.parametrize(
    ("each", "width", "cycles"), [(1, 1, 1), (2, 2, 2), (3, 1, 3), (4, 4, 4), (6, 2, 6), (8, 4, 8)]
)
def test_an_access_is_as_wide_as_its_place_allows_and_16_bytes_at_most(each, width, cycles):
    """Threads side by side have so many elements each."""
    x = tl.placeholder((64 * each,), name="x")
    s = tl.Schedule(tl.compute((64 * each,), lambda i: x[i] + 1.0, name="y"), target=H100)
    outer, thread, lanes = s.split("y.i", [None, 32, each])
    s.bind(outer, "blockIdx.x")
    s.bind(thread, "threadIdx.x")
    s.vectorize(lanes)
    assert accesses(s, "y", "x") == [[width], [cycles]]
