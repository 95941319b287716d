"""Tuned and zero-trial kernels beside torch, torch.compile and TVM: GMM, C2D, DEP, SFM, NRM, T2D, CBR at batch 1.

    make peers
    python -m benchmarks.tuner                           # all rows; tunes 64 trials each, then compares
    python -m benchmarks.tuner --rows SFM NRM --no-tune  # only what the log knows, and the zero-trial schedules

Each contender runs in a process of its own, taking turns; medians count. torch and torch.compile (max-autotune) run in
.venv-peers, TVM's MetaSchedule in the interpreter that --tvm names, where it tunes as many trials first. The table says
how many times as fast as the better of torch's two the tuned and the zero-trial kernels are, and TVM's; JSON lines go
to benchmarks/results/tuner.jsonl, with the seconds that tuning took and when it had first beaten TVM's best.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from benchmarks.harness import BenchmarkError, Contender, Row, arguments, compare, record, show, speed
from benchmarks.machine import ROOT, cores
from benchmarks.tuner_peers import tvm_tuning_seconds

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
@dataclass(frozen=True)
class Tuning:
    """When it began, and the seconds that it took."""

    begin: datetime
    seconds: float


def tune(workloads: Sequence[str], trials: int, log: Path, seed: int) -> dict[str, Tuning]:
    """Tune what the log does not know."""
    import autotune
    from autotune.progress import choose
    from autotune.workload import parse

    done = {}
    for workload in workloads:
        begin, start = datetime.now(timezone.utc), time.perf_counter()
        autotune.tune(parse(workload), trials=trials, log=log, seed=seed, show=choose())
        done[workload] = Tuning(begin, time.perf_counter() - start)
    return done


def until(workload: str, log: Path, mark: float, tuning: Tuning) -> float | None:
    """Seconds from the beginning of the tuning, rounded up, until its log had a candidate as fast as `mark`; None if it
    never had, or had it from an earlier one."""
    from autotune.database import Database
    from autotune.workload import parse

    for trial in Database(log).records(parse(workload).key):
        if trial.ok and trial.seconds is not None and trial.seconds <= mark:
            after = (datetime.fromisoformat(trial.when) - tuning.begin).total_seconds()
            return after + 1 if after > -1 else None  # a log has whole seconds
    return None


def beside_tvm(workload: str, rows: Sequence[Row], tuning: Tuning | None, options: Any) -> dict[str, Any]:
    """What TVM's tuning took, and when ours had first beaten what it found, in seconds; nothing if one did not tune."""
    tvm = next((row for row in rows if row.name == "TVM"), None)
    if tvm is None or tuning is None:
        return {}
    took = tvm_tuning_seconds(workload, options.trials, _tvm_records(options))
    ours = until(workload, options.log, tvm.median, tuning)
    print(
        f"  TVM tuned for {took:.0f} s; ours was faster than its best " + (f"after {ours:.1f} s" if ours else "never")
    )
    return {"tvm_tuning_seconds": took, "seconds_until_faster_than_tvm": ours}


def _tvm_records(options: Any) -> str:
    return str(options.log.with_suffix(".tvm"))


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
        arguments = {"workload": workload, "trials": options.trials, "folder": _tvm_records(options)}
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
    tunings = {} if options.no_tune else tune(list(chosen.values()), options.trials, options.log, options.seed)
    every_ratio: dict[str, list[float]] = {}
    for name, workload in chosen.items():
        rows = compare(contenders(workload, options), options.turns, options.min_seconds)
        show(f"{name}  ({workload})", rows)
        found = ratios(rows)
        more: dict[str, Any] = {"row": name, "workload": workload, "trials": options.trials, "ratios": found}
        tuning = tunings.get(workload)
        more["tuning_seconds"] = tuning and tuning.seconds
        more |= beside_tvm(workload, rows, tuning, options)
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
