"""What benchmarks.tuner compares with, for interpreters that have torch or TVM; nothing of this project is imported.

Images are channels last, as in the workloads: torch gets tensors of that memory format.
"""

from __future__ import annotations

import json
import os
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
_TVM = {  # workload -> (name, index) among the workloads of TVM's MetaSchedule
    "batch_matmul:1,128,128,128": ("GMM", 0),
    "batch_matmul:1,512,512,512": ("GMM", 2),
    "batch_matmul:1,1024,1024,1024": ("GMM", 3),
    "conv1d:1,64,256,256,5,1,2,layout=NLC": ("C1D", 2),
    "conv2d:1,56,56,64,64,1,1,0,layout=NHWC": ("C2D", 1),
    "conv2d:1,14,14,256,256,3,1,1,layout=NHWC": ("C2D", 2),
    "depthwise_conv2d:1,14,14,512,3,2,1,layout=NHWC": ("DEP", 2),
    "softmax:1024,1024": ("SFM", 1),
    "matrix_norm:1,1024,1024": ("NRM", 0),
    "conv_transpose2d:1,16,16,128,64,4,2,1,layout=NHWC": ("T2D", 1),
    "conv2d_bn_relu:1,224,224,3,64,7,2,3,layout=NHWC": ("CBR", 0),
    "transpose_batch_matmul:1,128,12,64": ("TBG", 0),
}


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
def tvm_operator(workload: str, trials: int, folder: str) -> Callable[[], float]:
    """TVM's kernel after `trials` of MetaSchedule; what it found is kept in `folder`, with the seconds that it took.

    Builds and runs in this process. TVM 0.27: apache-tvm, apache-tvm-ffi 0.1.14, psutil, cloudpickle, xgboost-cpu.
    """
    import numpy as np
    import tvm
    from tvm.s_tir import meta_schedule as ms
    from tvm.s_tir.meta_schedule.testing.te_workload import create_te_workload

    name, index = _TVM[workload]
    home = Path(folder).resolve() / f"{name}-{index}-{trials}"
    home.mkdir(parents=True, exist_ok=True)
    module = create_te_workload(name, index)
    cpu = tvm.target.codegen.llvm_get_system_cpu()
    target = tvm.target.Target({"kind": "llvm", "mcpu": cpu, "num-cores": os.cpu_count()})
    database = ms.database.JSONDatabase(work_dir=str(home))
    if not database.get_all_tuning_records():
        builder, runner = _tvm_in_process()
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
        (home / "seconds.json").write_text(json.dumps(time.perf_counter() - start))
    schedule = ms.tir_integration.compile_tir(database, module, target)
    built = tvm.compile(schedule.mod, target=target)
    rng = np.random.default_rng(0)
    shapes = database.get_all_tuning_records()[0].args_info
    operands = [tvm.runtime.tensor(rng.random([int(x) for x in a.shape]).astype(str(a.dtype))) for a in shapes]
    evaluate = getattr(built, "mod", built).time_evaluator("main", tvm.cpu(), number=1, repeat=1, min_repeat_ms=10)

    def run() -> float:
        return float(evaluate(*operands).mean)

    return run


def _tvm_in_process() -> tuple[Any, Any]:
    """A builder and a runner for MetaSchedule that need no worker processes."""
    import numpy as np
    import tvm
    from tvm.ir.utils import derived_object
    from tvm.s_tir.meta_schedule.builder import BuilderResult, PyBuilder
    from tvm.s_tir.meta_schedule.runner import PyRunner, PyRunnerFuture, RunnerResult
    from tvm.s_tir.transform import RemoveWeightLayoutRewriteBlock

    built: dict[str, Any] = {}

    @derived_object
    class Builder(PyBuilder):
        def build(self, inputs: Any) -> Any:
            results = []
            for each in inputs:
                try:
                    module = RemoveWeightLayoutRewriteBlock(skip_tensor_rewrite=True)(each.mod)
                    key = f"{tempfile.gettempdir()}/{len(built)}"
                    built[key] = tvm.compile(module, target=each.target)
                    results.append(BuilderResult(key, None))
                except Exception as error:  # a candidate that TVM cannot build counts as failed
                    results.append(BuilderResult(None, str(error)))
            return results

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
            rng = np.random.default_rng(0)
            for each in inputs:
                module = built.pop(each.artifact_path)
                shapes = [([int(x) for x in a.shape], str(a.dtype)) for a in each.args_info]
                operands = [tvm.runtime.tensor(rng.random(shape).astype(dtype)) for shape, dtype in shapes]
                try:
                    evaluate = getattr(module, "mod", module).time_evaluator(
                        "main", tvm.cpu(), number=1, repeat=3, min_repeat_ms=20
                    )
                    times = [float(x) for x in evaluate(*operands).results]
                    results.append(Done(RunnerResult(times, None)))
                except Exception as error:  # one that it cannot run, too
                    results.append(Done(RunnerResult(None, str(error))))
            return results

    return Builder(), Runner()
