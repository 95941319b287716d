"""A schedule to pipeline, and what has become of its buffers."""

from tensorlang.ir.nodes import Alloc
from tensorlang.ir.walk import find
from tensorlang.schedule.schedule import Schedule
from tests.passes.programs import lowered
from tests.schedule.programs import matmul


def staged(m=10, n=12, k=14, factor=4):
    """A matrix product whose operands are copied tile by tile along k."""
    s = Schedule(matmul(m, n, k))
    k0, k1 = s.split("C.k", [None, factor])
    s.reorder(k0, "C.i", "C.j", k1)
    for operand in "AB":
        s.compute_at(s.cache_read("C", operand, "shared"), k0)
    return s


STAGES = {"A.shared": 0, "B.shared": 0, "C": 1}


def versions(s):
    """The leading extents of the buffers that the pass gives versions."""
    func = lowered(s, "pipeline")
    return {a.buffer.name: a.buffer.shape[0].value for a in find(func, Alloc) if "versions" in a.buffer.name}
