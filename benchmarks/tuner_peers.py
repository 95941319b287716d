"""What benchmarks.tuner compares with, for interpreters that have torch or TVM; nothing of this project is imported.

Images are channels last, as in the workloads: torch gets tensors of that memory format.
"""

from __future__ import annotations

import json
import os
import select
import signal
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

_CONVOLUTIONS = {
    "conv1d": 1,
    "conv2d": 2,
    "conv3d": 3,
    "depthwise_conv2d": 2,
    "conv_transpose2d": 2,
    "conv2d_bn_relu": 2,
}
_TVM = {  # our names of operators -> those of MetaSchedule's workloads, which have the same sizes in the same order
    "batch_matmul": "GMM",
    "conv1d": "C1D",
    "conv2d": "C2D",
    "conv3d": "C3D",
    "depthwise_conv2d": "DEP",
    "softmax": "SFM",
    "matrix_norm": "NRM",
    "conv_transpose2d": "T2D",
    "conv2d_bn_relu": "CBR",
    "transpose_batch_matmul": "TBG",
}
_TVM_TUNING = "seconds.json"
_TVM_SECONDS = 30 + 10  # to build and to run a candidate: as MetaSchedule's LocalBuilder and LocalRunner have it


def parsed(workload: str) -> tuple[str, list[int]]:
    """The operator and its integers."""
    name, _, rest = workload.partition(":")
    return name, [int(part) for part in rest.split(",") if "=" not in part]


# -------------------------------------------------------------------------------------------------------- torch
def torch_operator(workload: str, compiled: bool) -> Callable[[], None]:
    """The operator in torch, eager or by torch.compile, which finds its best kernels first."""
    import torch

    torch.manual_seed(0)
    name, numbers = parsed(workload)
    function, operands = _torch_convolution(name, numbers) if name in _CONVOLUTIONS else _torch_plain(name, numbers)
    if compiled:
        function = torch.compile(function, mode="max-autotune-no-cudagraphs")

    def run() -> None:
        with torch.no_grad():
            function(*operands)

    return run


def _torch_plain(name: str, numbers: list[int]) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    import torch

    if name == "batch_matmul":
        b, m, n, k = numbers
        return torch.bmm, (torch.rand(b, m, k), torch.rand(b, k, n))
    if name == "softmax":
        return (lambda x: torch.softmax(x, -1)), (torch.rand(*numbers),)
    if name == "matrix_norm":
        return (lambda x: torch.sqrt((x * x).sum((1, 2)))), (torch.rand(*numbers),)
    if name == "transpose_batch_matmul":
        b, s, h, d = numbers
        operands = torch.rand(b, s, h, d), torch.rand(b, s, h, d)
        return (lambda q, k: torch.matmul(q.permute(0, 2, 1, 3), k.permute(0, 2, 3, 1))), operands
    raise ValueError(f"no operator of torch is known for {name}")


def _torch_convolution(name: str, numbers: list[int]) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    import torch
    import torch.nn.functional as fn

    rank = _CONVOLUTIONS[name]
    batch, *space = numbers[: 1 + rank]
    if name == "depthwise_conv2d":
        channels, kernel, stride, padding = numbers[3:7]
        x, w = torch.rand(batch, channels, *space), torch.rand(channels, 1, kernel, kernel)
        return (lambda a, b: fn.conv2d(a, b, stride=stride, padding=padding, groups=channels)), _channels_last(x, w)
    into, out, kernel, stride, padding, dilation, groups = [*numbers[1 + rank :], *(1, 1)][:7]
    x = torch.rand(batch, into, *space)
    if name == "conv_transpose2d":
        w = torch.rand(into, out, kernel, kernel)
        return (lambda a, b: fn.conv_transpose2d(a, b, stride=stride, padding=padding)), (*_channels_last(x), w)
    w = torch.rand(out, into // groups, *[kernel] * rank)
    convolve = {1: fn.conv1d, 2: fn.conv2d, 3: fn.conv3d}[rank]

    def plain(a: Any, b: Any) -> Any:
        return convolve(a, b, stride=stride, padding=padding, dilation=dilation, groups=groups)

    if name != "conv2d_bn_relu":
        return plain, _channels_last(x, w)
    bias, scale, shift = (torch.rand(1, out, 1, 1) for _ in range(3))
    return (lambda a, b: fn.relu((plain(a, b) + bias) * scale + shift)), _channels_last(x, w)


def _channels_last(*tensors: Any) -> tuple[Any, ...]:
    import torch

    formats = {4: torch.channels_last, 5: torch.channels_last_3d}
    return tuple(t.to(memory_format=formats[t.ndim]) if t.ndim in formats else t for t in tensors)


# ---------------------------------------------------------------------------------------------------------- TVM
def tvm_folder(workload: str, trials: int, folder: str) -> Path:
    """Where TVM's records of a workload are."""
    operator, numbers = parsed(workload)
    return Path(folder).resolve() / "-".join(map(str, (operator, *numbers, trials)))


def tvm_tuning_seconds(workload: str, trials: int, folder: str) -> float:
    """How long TVM has tuned it."""
    return float(json.loads((tvm_folder(workload, trials, folder) / _TVM_TUNING).read_text()))


def tvm_operator(workload: str, trials: int, folder: str) -> Callable[[], None]:
    """TVM's kernel after `trials` of MetaSchedule; what it found is kept in `folder`, with the seconds that it took.

    TVM 0.27: apache-tvm, apache-tvm-ffi 0.1.14, psutil, cloudpickle, xgboost-cpu.
    """
    import numpy as np
    import tvm
    from tvm.s_tir import meta_schedule as ms
    from tvm.s_tir.meta_schedule.testing.te_workload import CONFIGS, create_te_workload

    operator, numbers = parsed(workload)
    name = _TVM[operator]
    index = CONFIGS[name][1].index(tuple(numbers))
    home = tvm_folder(workload, trials, folder)
    home.mkdir(parents=True, exist_ok=True)
    module = create_te_workload(name, index)
    cpu = tvm.target.codegen.llvm_get_system_cpu()
    target = tvm.target.Target({"kind": "llvm", "mcpu": cpu, "num-cores": os.cpu_count()})
    database = ms.database.JSONDatabase(work_dir=str(home))
    if not database.get_all_tuning_records():
        builder, runner = _tvm_by_forks()
        start = time.perf_counter()
        with tempfile.TemporaryDirectory() as scratch:
            ms.tune_tir(
                mod=module,
                target=target,
                work_dir=scratch,
                database=database,
                max_trials_global=trials,
                num_trials_per_iter=min(32, trials),
                builder=builder,
                runner=runner,
            )
        (home / _TVM_TUNING).write_text(json.dumps(time.perf_counter() - start))
    schedule = ms.tir_integration.compile_tir(database, module, target)
    built = tvm.compile(schedule.mod, target=target)
    rng = np.random.default_rng(0)
    shapes = database.get_all_tuning_records()[0].args_info
    operands = [tvm.runtime.tensor(rng.random([int(x) for x in a.shape]).astype(str(a.dtype))) for a in shapes]
    call = getattr(built, "mod", built)["main"]

    def run() -> None:
        call(*operands)

    return run


def _tvm_by_forks() -> tuple[Any, Any]:
    """A builder and a runner for MetaSchedule: each candidate is built and run in a fork of this process.

    TVM's own workers take half a minute to start where this is used; the time that a candidate may take is theirs.
    """
    from tvm.ir.utils import derived_object
    from tvm.s_tir.meta_schedule.builder import BuilderResult, PyBuilder
    from tvm.s_tir.meta_schedule.runner import PyRunner, PyRunnerFuture, RunnerResult

    waiting: dict[str, Any] = {}

    @derived_object
    class Builder(PyBuilder):
        def build(self, inputs: Any) -> Any:
            keys = [f"{tempfile.mkdtemp(prefix='candidate')}/kernel" for _ in inputs]  # whose folder TVM removes
            waiting.update(zip(keys, inputs, strict=True))
            return [BuilderResult(key, None) for key in keys]

    @derived_object
    class Done(PyRunnerFuture):
        def __init__(self, value: Any):
            super().__init__()
            self.value = value

        def done(self) -> bool:
            return True

        def result(self) -> Any:
            return self.value

    @derived_object
    class Runner(PyRunner):
        def run(self, inputs: Any) -> Any:
            results = []
            for each in inputs:
                shapes = [([int(x) for x in a.shape], str(a.dtype)) for a in each.args_info]
                times = _in_fork(_tvm_times, waiting[each.artifact_path], shapes)
                results.append(Done(RunnerResult(times, None if times else "it failed, or took too long")))
            return results

    return Builder(), Runner()


def _in_fork(work: Callable[..., list[float]], *arguments: Any) -> list[float] | None:
    """What `work` returns in a fork of this process; None if it fails or takes longer than a candidate may."""
    readable, writable = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(writable, json.dumps(work(*arguments)).encode())
        finally:
            os._exit(0)  # nothing of the parent is to be ended here
    os.close(writable)
    text = os.read(readable, 1 << 16) if select.select([readable], [], [], _TVM_SECONDS)[0] else b""
    os.close(readable)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return json.loads(text) if text else None


def _tvm_times(build: Any, shapes: list[tuple[list[int], str]]) -> list[float]:
    """Build a candidate and time it three times, in seconds."""
    import numpy as np
    import tvm
    from tvm.s_tir.transform import RemoveWeightLayoutRewriteBlock

    module = tvm.compile(RemoveWeightLayoutRewriteBlock(skip_tensor_rewrite=True)(build.mod), target=build.target)
    rng = np.random.default_rng(0)
    operands = [tvm.runtime.tensor(rng.random(shape).astype(dtype)) for shape, dtype in shapes]
    evaluate = getattr(module, "mod", module).time_evaluator("main", tvm.cpu(), number=1, repeat=3, min_repeat_ms=20)
    return [float(x) for x in evaluate(*operands).results]
