"""double_buffer."""

import tensorlang as tl
from tensorlang.schedule.schedule import Schedule
from tests.passes.programs import check_all_passes, lowered
from tests.schedule.pipelines import STAGES, staged, versions
from tests.schedule.programs import (
    before_and_after,
    chain,
    check_kernel,
    matmul,
    refused,
)


def test_double_buffer(golden):
    s = staged()
    before = Schedule(s.func)
    s.double_buffer("A.shared")
    golden("schedule/double_buffer", f"{before_and_after(before, s)}\n-->\n\n{lowered(s, 'pipeline')}")
    check_all_passes(s)
    check_kernel(Schedule(matmul(10, 12, 14)).func, s)


def test_double_buffer_is_a_least_number_of_versions():
    s = staged()
    s.double_buffer("A.shared")
    s.double_buffer("A.shared")
    s.software_pipeline("C.k.0", STAGES, order=["C", "A.shared", "B.shared"])
    assert versions(s) == {"A.shared.versions": 2, "B.shared.versions": 1}
    three = staged()
    three.double_buffer("A.shared")
    three.software_pipeline("C.k.0", {**STAGES, "C": 2})
    assert versions(three) == {"A.shared.versions": 3, "B.shared.versions": 3}
    for each in (s, three):
        check_all_passes(each)


def test_double_buffer_by_size():
    n = tl.var("n")
    s = Schedule(chain(n, 9))
    s.compute_at("P", "C.i")
    s.double_buffer("P")
    s.vectorize("C.j")
    assert versions(s) == {"P.versions": 2}
    check_kernel(Schedule(chain(n, 9)).func, s, {"n": 0}, {"n": 1}, {"n": 6})


def test_double_buffer_refuses():
    s = Schedule(chain())
    refused(s, "parameter_storage", lambda: s.double_buffer("A"))
    assert "compute_at" in refused(s, "not_in_a_loop", lambda: s.double_buffer("P")).hint
    s.compute_at("P", "C.i")
    s.double_buffer("P")
    refused(s, "not_in_a_loop", lambda: s.parallel("C.i"))
    refused(s, "not_in_a_loop", lambda: s.store_at("P"))
    a = tl.placeholder((4,), name="A")
    p, q = tl.compute((4,), lambda i: (a[i], a[i] * 2.0), name="P")
    both = Schedule(tl.compute((4,), lambda i: p[i] + q[i], name="C"))
    refused(both, "several_outputs", lambda: both.double_buffer("P"))
