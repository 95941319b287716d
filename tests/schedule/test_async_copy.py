"""async_copy: which blocks may, and what pipelines make of them in kernels."""

import numpy as np
import pytest

from tensorlang.ir import interp
from tensorlang.ir.launch import ASYNC_COMMIT, ASYNC_COPY, ASYNC_WAIT
from tensorlang.ir.nodes import Do, For, Func
from tensorlang.ir.walk import find, transform
from tensorlang.passes.lower_init import lower_init
from tensorlang.passes.pipeline import pipeline
from tensorlang.schedule.schedule import Schedule
from tensorlang.target.target import Target
from tests.schedule.programs import chain, matmul, refused

H100 = Target("cuda", arch="sm_90a")


def staged(m=6, n=8, k=14, last=1, order=None) -> Schedule:
    """A matrix product, a row at a time, whose operands are copied along k to shared memory."""
    s = Schedule(matmul(m, n, k))
    k0, k1 = s.split("C.k", [None, 4])
    s.reorder("C.i", k0, "C.j", k1)
    for operand in "AB":
        s.compute_at(s.cache_read("C", operand, "shared"), k0)
        s.async_copy(f"{operand}.shared")
    s.software_pipeline(k0, {"A.shared": 0, "B.shared": 0, "C": last}, order)
    return s


def in_kernel(s: Schedule, target: Target = H100) -> Func:
    """The program after `pipeline`, its loops C.i those of a grid."""

    def bound(node):
        return node.replace(kind="blockIdx.x") if isinstance(node, For) and node.var.name == "C.i" else node

    func = s.func.with_body(transform(s.func.body, bound))
    return pipeline(lower_init(func, target), target)


def effects(func: Func) -> list[str]:
    return [n.what for n in find(func.body, Do)]


def test_async_copy(golden):
    s = staged(last=2)
    golden("schedule/async_copy", f"{s}\n-->\n\n{in_kernel(s)}")


def test_said_twice_is_said_once():
    s = staged()
    s.async_copy("A.shared")
    assert str(s).count("block A.shared(") == str(s).count("async_copy = True") / 2 == 1  # and one of B.shared


@pytest.mark.parametrize("last", [1, 2, 3])
@pytest.mark.parametrize("k", [4, 7, 14])
def test_numbers(last, k):
    s = staged(6, 8, k, last)
    rng = np.random.default_rng(0)
    a, b = (rng.integers(-4, 5, shape).astype(np.float32) for shape in ((6, k), (k, 8)))
    c = np.full((6, 8), np.nan, np.float32)
    interp.run(in_kernel(s), [a, b, c])
    np.testing.assert_array_equal(c, a @ b)


@pytest.mark.parametrize("last", [1, 2, 3])
def test_as_many_groups_are_left_as_iterations_lie_between(last):
    waits = [n.args[0].value for n in find(in_kernel(staged(k=24, last=last)).body, Do) if n.what == ASYNC_WAIT]
    assert set(waits) == {last - 1}


def test_copies_are_ordinary_outside_of_kernels_and_of_pipelines():
    assert not effects(pipeline(lower_init(staged().func, H100), H100))
    s = Schedule(matmul(6, 8, 14))
    s.compute_at(s.cache_read("C", "A", "shared"), "C.i")
    s.async_copy("A.shared")
    assert not effects(in_kernel(s))


def test_copies_are_ordinary_where_the_target_has_no_others():
    assert effects(in_kernel(staged())) and not effects(in_kernel(staged(), Target("cuda", arch="sm_75")))


def test_copies_used_in_their_own_stage_are_ordinary():
    s = Schedule(chain(12, 8))
    s.compute_at("P", "C.i")
    s.compute_at(s.cache_read("P", "A", "shared"), "C.i")
    s.async_copy("A.shared")
    s.split("C.i", [3, 4])
    s.software_pipeline("C.i.1", {"A.shared": 0, "P": 0, "C": 1})
    kernel = s.func.with_body(s.func.body.replace(kind="blockIdx.x"))
    assert not effects(pipeline(lower_init(kernel, H100), H100))


def test_every_store_of_a_marked_part_is_asynchronous():
    found = effects(in_kernel(staged(last=1)))
    assert found.count(ASYNC_COPY) == 4 and ASYNC_COMMIT in found  # two before the loop, two in it


def test_refusals():
    s = staged()
    refused(s, "not_a_copy", lambda: s.async_copy("C"))
    s = Schedule(matmul(6, 8, 14))
    s.cache_read("C", "A", "local")
    refused(s, "scope", lambda: s.async_copy("A.local"))
    s.set_scope("A.local", "shared")
    s.async_copy("A.local")
    s = Schedule(chain(12, 8))
    s.compute_at("P", "C.i")
    s.compute_at(s.cache_read("C", "P", "shared"), "C.i")
    refused(s, "source_written", lambda: s.async_copy("P.shared"))
