"""bind: loops on the blocks and threads of a GPU."""

import tensorlang as tl
from tensorlang.schedule.schedule import Schedule
from tests.schedule.programs import (
    add,
    before_and_after,
    chain,
    check_numbers,
    check_replay,
    last_positive,
    matmul,
    refused,
    row_sum,
    running,
)

H100 = tl.Target("cuda", arch="sm_90a")


def tiled(target: tl.Target | None = None) -> Schedule:
    """A matmul whose threads are bound, and whose accumulators are their own."""
    s = Schedule(matmul(20, 24, 14), target=target)
    write = s.cache_write("C", "local")
    i, j, k = s.loops("C")
    i0, i1, i2 = s.split(i, [None, 4, 2])
    j0, j1, j2 = s.split(j, [None, 4, 2])
    k0, k1 = s.split(k, [None, 7])
    s.reorder(i0, j0, i1, j1, k0, k1, i2, j2)
    for loop, axis in ((i0, "blockIdx.y"), (j0, "blockIdx.x"), (i1, "threadIdx.y"), (j1, "threadIdx.x")):
        s.bind(loop, axis)
    s.reverse_compute_at(write, j1)
    return s


def test_bind(golden):
    s = tiled(H100)
    before = s.func
    copy = s.cache_read("C", "A", "shared")
    s.compute_at(copy, "C.k.0")
    rows, columns = s.loops(copy)[-2:]
    s.bind(rows, "threadIdx.y")
    s.bind(s.split(columns, [None, 4])[1], "threadIdx.x")
    golden("schedule/bind", before_and_after(before, s))
    check_numbers(Schedule(matmul(20, 24, 14)).func, s)


def test_shared_memory_holds_what_all_threads_need():
    """The same copy: of one thread, 2 rows; of its block, 8."""
    extents = {}
    for scope in ("local", "shared"):
        s = tiled()
        copy = s.cache_read("C", "A", scope)
        s.compute_at(copy, "C.k.0")
        extents[scope] = [loop.known_extent for loop in s.loops(copy)[-2:]]
        check_numbers(Schedule(matmul(20, 24, 14)).func, s)
    assert extents == {"local": [2, 7], "shared": [8, 7]}


def test_a_reduction_across_threads():
    s = Schedule(row_sum(10, 24))
    before = s.func
    _, inner = s.split("C.k", [None, 8])
    s.bind("C.i", "blockIdx.x")
    s.bind(inner, "threadIdx.x")
    check_numbers(before, s)
    refused(s, "loop_reduces", lambda: s.decompose_reduction("C", "C.k.0"))  # the parts of a reduction belong together


def test_virtual_threads_are_independent_too():
    s = Schedule(add(8, 12))
    s.bind("C.i", "vthread.x")
    check_replay(Schedule(add(8, 12)).func, s)
    s = Schedule(matmul())
    refused(s, "loop_reduces", lambda: s.bind("C.k", "vthread.x"))
    refused(s, "loop_reduces", lambda: s.bind("C.k", "blockIdx.x"))


def test_what_is_no_axis():
    s = Schedule(add())
    error = refused(s, "unknown_axis", lambda: s.bind("C.i", "threadIdx.w"))
    assert "threadIdx.x" in error.hint
    refused(s, "unknown_axis", lambda: s.bind("C.i", "serial"))
    s.bind("C.i", "blockIdx.x")
    refused(s, "loop_kind", lambda: s.bind("C.i", "blockIdx.y"))


def test_open_extents():
    n = tl.var("n")
    s = Schedule(add(n, n))
    s.bind("C.i", "blockIdx.x")
    refused(s, "extent_not_fixed", lambda: s.bind("C.j", "threadIdx.x"))


def test_iterations_must_be_independent():
    s = Schedule(last_positive())
    refused(s, "loop_reduces", lambda: s.bind("C.j", "threadIdx.x"))  # its order counts
    s = Schedule(running())
    refused(s, "loop_carries", lambda: s.bind("C.x", "threadIdx.x"))


def test_not_with_threads_of_a_cpu_or_in_vectors():
    s = Schedule(add())
    s.parallel("C.i")
    refused(s, "nested_kind", lambda: s.bind("C.j", "threadIdx.x"))
    s = Schedule(add())
    s.bind("C.i", "threadIdx.x")
    refused(s, "nested_kind", lambda: s.parallel("C.j"))


def test_a_grid_is_outermost():
    s = Schedule(add())
    error = refused(s, "not_a_grid", lambda: s.bind("C.j", "blockIdx.x"))
    assert error.hint == "bind C.i to blockIdx first, or reorder"
    s.bind("C.i", "blockIdx.x")
    refused(s, "axis_taken", lambda: s.bind("C.j", "blockIdx.x"))
    s = Schedule(chain())
    s.compute_at("P", "C.i")
    s.bind("C.i", "blockIdx.y")
    refused(s, "not_a_grid", lambda: s.bind("C.j", "blockIdx.x"))  # P is beside it


def test_limits_of_the_target():
    s = Schedule(add(64, 2048), target=H100)
    error = refused(s, "too_many_threads", lambda: s.bind("C.j", "threadIdx.x"))
    assert "2048 threads along threadIdx.x, the target 1024" in error.message
    refused(s, "too_many_threads", lambda: Schedule.bind(s, "C.j", "threadIdx.z"))
    inner = s.split("C.j", [None, 512])[1]
    s.bind(inner, "threadIdx.x")
    error = refused(s, "too_many_threads", lambda: s.bind("C.i", "threadIdx.y"))
    assert "32768 threads in a block, the target at most 1024" in error.message
    Schedule(add(64, 2048)).bind("C.j", "threadIdx.x")  # no target, no limit


def test_knobs_under_limits():
    threads = tl.knob("threads", (32, 256, 2048))
    s = Schedule(add(64, 2048), target=H100)
    s.bind(s.split("C.j", [None, threads])[1], "threadIdx.x")
    assert [repr(c) for c in s.constraints] == ["threads < 1025"]


def test_cooperation_is_for_what_threads_have_in_common():
    s = tiled()
    copy = s.cache_read("C", "A", "local")
    s.compute_at(copy, "C.k.0")
    error = refused(s, "threads_differ", lambda: s.bind(s.loops(copy)[-1], "threadIdx.x"))
    assert "not shared memory" in error.message
    s.set_scope("A.local", "shared")  # it is still what one thread needs
    error = refused(s, "threads_differ", lambda: s.bind(s.loops(copy)[-1], "threadIdx.x"))
    assert "depends on the thread, through loop C.i.1" in error.message


def test_what_is_shared_is_the_same_for_all_threads():
    """Two threads that need the same element, each by itself, cannot both write it."""
    a = tl.placeholder((4,), name="A")
    p = tl.compute((4,), lambda i: a[i] * 3.0, name="P")
    s = Schedule(tl.compute((8,), lambda i: p[i // 2], name="C"))
    before = s.func
    s.compute_at("P", "C.i")
    s.bind("C.i", "threadIdx.x")
    error = refused(s, "threads_differ", lambda: s.set_scope("P", "shared"))
    assert "may write the same elements of P" in error.message
    s = Schedule(before)
    s.set_scope("P", "shared")
    s.bind("C.i", "threadIdx.x")
    s.compute_at("P", "C.i")  # all of it, for all threads
    assert s.loops("P")[-1].known_extent == 4
    check_numbers(before, s)


def test_registers_between_a_load_and_shared_memory():
    """Threads fill a buffer of their own together, if each reads its own part again."""
    s = tiled(H100)
    before = Schedule(matmul(20, 24, 14)).func
    shared = s.cache_read("C", "B", "shared")
    s.compute_at(shared, "C.k.0")
    held = s.cache_read(shared, "B", "local")
    s.compute_at(held, "C.k.0")
    s.bind(s.loops(shared)[-1], "threadIdx.x")
    error = refused(s, "threads_differ", lambda: s.bind(s.loops(held)[-2], "threadIdx.x"))
    assert "writes B.local, which is not shared memory" in error.message
    s.bind(s.loops(held)[-1], "threadIdx.x")
    check_numbers(before, s)
