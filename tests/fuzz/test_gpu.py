"""Random schedules for GPUs: right, and without races; and what the checks would find."""

import pytest

import tensorlang as tl
from tensorlang.backend import cuda
from tensorlang.errors import BuildError
from tensorlang.passes.barriers import barriers
from tests.fuzz.check import Failure
from tests.fuzz.gpu import TARGET, GpuCase, Report, check
from tests.fuzz.random_te import REDUCERS, Expression

SHIFTED = Expression(
    [
        'A = tl.placeholder((40,), "float32", name="A")',
        'B = tl.compute((40,), lambda i: A[i] * 2.0, name="B")',
        'C = tl.compute((33,), lambda i: B[i] + B[i + 7], name="C")',
    ],
    ["C"],
)
STEPS = (
    'split("C.i", [None, 16])',
    'bind("C.i.0", "blockIdx.x")',
    'bind("C.i.1", "threadIdx.x")',
    'compute_at("B", "C.i.0")',
    'set_scope("B", "shared")',
    'split("B.i_1", [None, 16])',
    'bind("B.i_1.1", "threadIdx.x")',
)


SUM = Expression(
    [
        'A = tl.placeholder((1, 1), "float32", name="A")',
        'k = tl.reduce_axis(1, "k")',
        'C = tl.compute((1,), lambda i: tl.sum(A[i, k], axis=k), name="C")',
    ],
    ["C"],
)
FOUND = {
    "threads beyond the end of a result have partial results too": GpuCase(
        SUM,
        (
            'split("C.i", [None, 2])',
            'bind("C.i.0", "blockIdx.x")',
            'bind("C.i.1", "threadIdx.x")',
            'bind("C.k", "threadIdx.y")',
        ),
        seed=0,
    ),
    "one thread reduces what was decomposed": GpuCase(
        SUM,
        (
            'decompose_reduction("C", "C.k")',
            'split("C.k", [64, None])',
            'bind("C.k.1", "threadIdx.x")',
            'bind("C.i", "blockIdx.x")',
        ),
        seed=0,
    ),
    "threads do not combine what a block between them and the end of the loop uses": GpuCase(
        SUM,
        (
            'bind("C.i", "blockIdx.x")',
            'split("C.k", [None, 1])',
            'bind("C.k.0", "threadIdx.y")',
            'cache_write("C", "shared")',
            'reverse_compute_at("C.write", "C.k.0")',
        ),
        seed=0,
    ),
    "of several threads along the axis, one reduces": GpuCase(
        SUM,
        (
            'split("C.k", [None, 1])',
            'split("C.i", [None, 1])',
            'bind("C.i.0", "blockIdx.x")',
            'bind("C.k.0", "threadIdx.x")',
            'cache_write("C", "local")',
            'reverse_compute_at("C.write", "C.k.0")',
        ),
        seed=0,
    ),
    "threads that store nothing do not read what is being stored": GpuCase(
        Expression(
            [
                'n = tl.var("n")',
                'A = tl.placeholder((4,), "float32", name="A")',
                'B = tl.placeholder((n,), "float32", name="B")',
                'k = tl.reduce_axis(n, "k")',
                REDUCERS["first_argmax"],
                'C_0, C_1 = tl.compute((2,), lambda i: first_argmax((k, A[i] + A[i + 2] + B[k]), axis=k), name="C")',
            ],
            ["C_0"],
            {"n": 1},
        ),
        (
            'bind("C.i", "blockIdx.x")',
            'cache_read("C", "A", "shared")',
            'compute_at("A.shared", "C.k")',
            'bind("A.shared.i_1", "threadIdx.x")',
            'software_pipeline("C.k", {"A.shared": 0, "C": 1})',
        ),
        seed=0,
    ),
    "a loop of threads without an iteration does nothing": GpuCase(
        Expression(['C = tl.compute((1, 0), lambda i, j: i + j, name="C")'], ["C"]),
        ('bind("C.i", "threadIdx.x")', 'bind("C.j", "threadIdx.y")'),
        seed=0,
    ),
}
ALIEN = GpuCase(
    Expression(
        [
            'A = tl.placeholder((2,), "float32", name="A")',
            'C = tl.compute((1, 2), lambda i, j: A[j] * 2.0, name="C")',
        ],
        ["C"],
    ),
    (
        'split("C.i", [None, 1])',
        'bind("C.i.0", "blockIdx.x")',
        'bind("C.i.1", "threadIdx.x")',
        'cache_write("C", "local")',
        'reverse_compute_at("C.write", "C.i.0")',
        'split("C.write.j_1", [None, 2])',
        'bind("C.write.j_1.1", "threadIdx.x")',
    ),
    seed=0,
)
ADDED_BY_ONE = GpuCase(
    Expression(
        [
            'k = tl.reduce_axis(1, "k")',
            'C = tl.compute((1, 2), lambda i, j: tl.sum(i + j + k, axis=k), name="C")',
        ],
        ["C"],
    ),
    (
        'decompose_reduction("C", "C.k")',
        'cache_write("C.init", "local")',
        'reverse_compute_at("C.write", "C.i")',
        'bind("C.write.j_1", "threadIdx.x")',
        'bind("C.k", "threadIdx.x")',
        'bind("C.i", "blockIdx.x")',
    ),
    seed=0,
)


@pytest.mark.parametrize("what", FOUND)
def test_found(what):
    FOUND[what].run()


@pytest.mark.parametrize("case", [ALIEN, ADDED_BY_ONE])
def test_registers_of_another_thread(case):
    """One thread has written, or written last, what two would read."""
    with pytest.raises(BuildError, match=r"C\.local is in local memory.* what another one has written"):
        case.run()


def test_random_cases():
    report = Report()
    for seed in range(16):
        report.run(seed)
    assert not report.failures, "\n".join(f"{k}\n{case}\n{text}" for k, (case, text, _) in report.failures.items())
    assert report.accepted["bind"] > 10 and sum(report.refused.values()) < report.cases


def test_scripts_run(capsys):
    exec(GpuCase(SHIFTED, STEPS, 0).script(), {})
    assert "barrier()" in capsys.readouterr().out


def test_a_missing_barrier_is_found():
    names, passes = SHIFTED.define(), list(cuda.PASSES)
    s = tl.Schedule(names["C"], target=TARGET)
    for step in STEPS:
        eval(f"s.{step}", {"s": s})
    check(s, [names["C"]], {}, 0)
    cuda.PASSES.remove(barriers)
    try:
        with pytest.raises(Failure, match="threads: race"):
            check(s, [names["C"]], {}, 0)
    finally:
        cuda.PASSES[:] = passes
