"""Tuned and zero-trial kernels beside torch, torch.compile and TVM: GMM, C2D, DEP, SFM, NRM, T2D, CBR at batch 1.

    make peers
    python -m benchmarks.tuner                           # all rows; tunes 64 trials each, then compares
    python -m benchmarks.tuner --rows SFM NRM --no-tune  # only what the log knows, and the zero-trial schedules

Each contender runs in a process of its own, taking turns; medians count. torch and torch.compile (max-autotune) run in
.venv-peers, TVM's MetaSchedule in the interpreter that --tvm names, where it tunes as many trials first. The table says
how many times as fast as the better of torch's two the tuned and the zero-trial kernels are, and TVM's; JSON lines go
to benchmarks/results/tuner.jsonl, with the seconds that tuning took and when the log's best first beat TVM's best.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.harness import BenchmarkError, Contender, Row, arguments, compare, record, show, speed
from benchmarks.machine import ROOT, cores

SETUP, PEERS = "benchmarks.tuner:", "benchmarks.tuner_peers:"
TORCH = ("torch", "torch.compile")
ROWS = {
    "GMM 512": "batch_matmul:1,512,512,512",
    "GMM 1024": "batch_matmul:1,1024,1024,1024",
    "C2D 14x14x256 r3": "conv2d:1,14,14,256,256,3,1,1,layout=NHWC",
    "DEP 14x14x512": "depthwise_conv2d:1,14,14,512,3,2,1,layout=NHWC",
    "SFM 1024": "softmax:1024,1024",
    "NRM 1024": "matrix_norm:1,1024,1024",
    "T2D 16x16x128": "conv_transpose2d:1,16,16,128,64,4,2,1,layout=NHWC",
    "CBR 224": "conv2d_bn_relu:1,224,224,3,64,7,2,3,layout=NHWC",
}
MORE_ROWS = {
    "GMM 128": "batch_matmul:1,128,128,128",
    "GMM 512x32x512": "batch_matmul:1,512,32,512",
    "C1D 64x256 r5": "conv1d:1,64,256,256,5,1,2,layout=NLC",
    "C2D 224x224x3 r7": "conv2d:1,224,224,3,64,7,2,3,layout=NHWC",
    "C2D 56x56x64 r1": "conv2d:1,56,56,64,64,1,1,0,layout=NHWC",
    "C2D 7x7x512 r3": "conv2d:1,7,7,512,512,3,1,1,layout=NHWC",
    "C3D 16x14x14x256 r3": "conv3d:1,16,14,14,256,256,3,1,1,layout=NDHWC",
    "GRP 14x14x256 r3 g4": "conv2d:1,14,14,256,256,3,1,1,1,4,layout=NHWC",
    "DIL 14x14x256 r3 d2": "conv2d:1,14,14,256,256,3,1,1,2,layout=NHWC",
    "DEP 112x112x32": "depthwise_conv2d:1,112,112,32,3,1,1,layout=NHWC",
    "T2D 4x4x512": "conv_transpose2d:1,4,4,512,256,4,2,1,layout=NHWC",
    "SFM 2048": "softmax:2048,2048",
    "CBR 14x14x256": "conv2d_bn_relu:1,14,14,256,256,3,1,1,layout=NHWC",
    "TBG 128x12x64": "transpose_batch_matmul:1,128,12,64",
}


# ---------------------------------------------------------------------------------------------- our contenders
def tuned(workload: str, log: str) -> Callable[[], None]:
    """The best kernel of the log."""
    import autotune
    from autotune.workload import parse

    return _calls(parse(workload), autotune.compile(parse(workload), log=log))


def zero_trial(workload: str) -> Callable[[], None]:
    """The kernel that the analytical model picks."""
    import autotune
    from autotune.workload import parse

    return _calls(parse(workload), autotune.compile(parse(workload)))


def _calls(task: Any, kernel: Any) -> Callable[[], None]:
    from autotune.measure import check

    inputs, outputs = task.arrays()
    arrays, out = check.inputs(inputs, (0,)), check.Output(outputs[0]).array

    def run() -> None:
        kernel(*arrays, out=out)

    return run


# ---------------------------------------------------------------------------------------------------- the table
def tune(workloads: Sequence[str], trials: int, log: Path, seed: int) -> dict[str, float]:
    """Tune what the log does not know; the seconds that each took."""
    import autotune
    from autotune.progress import choose
    from autotune.workload import parse

    seconds = {}
    for workload in workloads:
        start = time.perf_counter()
        autotune.tune(parse(workload), trials=trials, log=log, seed=seed, show=choose())
        seconds[workload] = time.perf_counter() - start
    return seconds


def until(workload: str, log: Path, mark: float) -> float | None:
    """Seconds of building and measuring until the log's best so far was as fast as `mark`; None if it never was."""
    from autotune.database import Database
    from autotune.workload import parse

    spent = 0.0
    for trial in Database(log).records(parse(workload).key):
        spent += trial.wall_seconds
        if trial.ok and trial.seconds is not None and trial.seconds <= mark:
            return spent
    return None


def contenders(workload: str, options: Any) -> list[Contender]:
    threads = cores()
    ours = [
        Contender("tuned", SETUP + "tuned", {"workload": workload, "log": str(options.log)}, threads),
        Contender("zero-trial", SETUP + "zero_trial", {"workload": workload}, threads),
    ]
    peers = []
    if Path(options.torch).exists():
        for name in options.peers:
            arguments = {"workload": workload, "compiled": name != "torch"}
            peers.append(Contender(name, PEERS + "torch_operator", arguments, threads, options.torch))
    if options.tvm:
        arguments = {"workload": workload, "trials": options.trials, "folder": str(options.log.with_suffix(".tvm"))}
        peers.append(Contender("TVM", PEERS + "tvm_operator", arguments, threads, options.tvm))
    return ours + peers


def ratios(rows: Sequence[Row]) -> dict[str, float]:
    """How many times as fast as the better of torch's two, and as TVM, the tuned and the zero-trial kernel are."""
    found: dict[str, float] = {}
    by_name = {row.name: row for row in rows}
    torch = [by_name[name] for name in TORCH if name in by_name]
    marks = {"torch": min(torch, key=lambda row: row.median)} if torch else {}
    marks |= {"TVM": by_name["TVM"]} if "TVM" in by_name else {}
    for mark, row in marks.items():
        for name in ("tuned", "zero-trial"):
            found[f"{name} vs {mark}"] = speed(by_name[name], row)
    return found


def _named(wanted: str, every: dict[str, str]) -> list[str]:
    """The row of this name, or those whose names begin so."""
    return [wanted] if wanted in every else [name for name in every if name.startswith(wanted)]


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--rows", nargs="+", help="these, or those whose names begin so (default: those above)")
    parser.add_argument("--trials", type=int, default=64)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--log", type=Path, default=Path("benchmarks.tuned.jsonl"))
    parser.add_argument("--no-tune", action="store_true", help="compare with what the log knows")
    parser.add_argument("--peers", nargs="+", choices=TORCH, default=TORCH, help="of torch (default: both)")
    parser.add_argument("--torch", default=str(ROOT / ".venv-peers" / "bin" / "python"), help="interpreter with torch")
    parser.add_argument("--tvm", default="", help="interpreter with TVM (default: none)")
    options = parser.parse_args()
    every = ROWS | MORE_ROWS
    chosen = {name: every[name] for wanted in options.rows or ROWS for name in _named(wanted, every)}
    seconds = {} if options.no_tune else tune(list(chosen.values()), options.trials, options.log, options.seed)
    every_ratio: dict[str, list[float]] = {}
    for name, workload in chosen.items():
        rows = compare(contenders(workload, options), options.turns, options.min_seconds)
        show(f"{name}  ({workload})", rows)
        found = ratios(rows)
        more: dict[str, Any] = {"row": name, "workload": workload, "trials": options.trials, "ratios": found}
        more["tuning_seconds"] = seconds.get(workload)
        tvm = next((row for row in rows if row.name == "TVM"), None)
        if tvm is not None:
            more["seconds_until_faster_than_tvm"] = until(workload, options.log, tvm.median)
        record("tuner", rows, **more)
        for key, ratio in found.items():
            every_ratio.setdefault(key, []).append(ratio)
    for key, each in every_ratio.items():
        mean = math.exp(sum(map(math.log, each)) / len(each))
        print(f"\n{key}: geometric mean {mean:.2f}, least {min(each):.2f}, of {len(each)} rows")


if __name__ == "__main__":
    try:
        main()
    except BenchmarkError as error:
        sys.exit(str(error))
