"""Tuning on a GPU, by `make test-gpu`."""

import numpy as np
import pytest

import autotune
from autotune.measure.gpu_runner import GpuRunner
from autotune.measure.outcome import Limits
from tensorlang.topi import linalg, normalization, reduction

pytestmark = pytest.mark.gpu
cupy = pytest.importorskip("cupy")


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_softmax(dtype, tmp_path):
    log = tmp_path / "log.jsonl"
    computed = normalization.softmax(300, 1000, dtype=dtype)
    result = autotune.tune(computed, "cuda", trials=6, log=log)
    assert len({r.candidate for r in result.history}) == 6 and result.failures == []
    assert "gpu" in result.best.machine
    assert autotune.tune(computed, "cuda", trials=6, log=log).history == result.history
    assert autotune.compile(computed, "cuda", log=log).cubin == result.kernel.cubin


def test_matmul():
    kernel = autotune.tune(linalg.matmul(200, 300, 100), "cuda", trials=8).kernel
    a, b = cupy.random.rand(200, 100, dtype="f"), cupy.random.rand(100, 300, dtype="f")
    np.testing.assert_allclose(kernel(a, b).get(), a.get() @ b.get(), rtol=1e-5)


def test_what_ruins_the_gpu_for_a_process_costs_only_itself():
    task = autotune.Task.of(reduction.sum(64, 64), "cuda")
    jobs = [{"number": n, "best": None, "bad": bad} for n, bad in enumerate(["address", "", "hang", "wrong", ""])]
    limits = Limits(run_seconds=3)
    setup = {"task": task.to_json(), "seed": 0}
    with GpuRunner(setup, limits, 1, build="tests.gpu.bad_kernels:build") as runner:
        ends = dict(runner.measure(jobs))
    assert [ends[n].status.value for n in range(5)] == ["CRASH", "OK", "RUN_TIMEOUT", "WRONG_ANSWER", "OK"]
    assert "illegal" in ends[0].reason.lower()
