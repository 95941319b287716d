"""Operators on a GPU, from plain expressions: schedules by hand, without any trial and tuned, beside torch and a copy.

    python -m benchmarks.gpu [--only softmax matmul] [--trials 200] [--log gpu_tuned.jsonl] [--compile]

Contenders take turns in one process (A B A B ...) on random data, each launch timed by events after the second-level
cache was emptied, also of what loads have asked it to keep; medians count. Each call has its result in fresh memory,
which the next one gets again: where arrays lie makes a difference of 2 % to the same kernel. Results are compared with
float64. Tuning resumes from the log, so that a second run measures what the first one found. --compile adds
torch.compile. Writes benchmarks/results/gpu.jsonl.
"""

from __future__ import annotations

import argparse
import datetime
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import autotune
import tensorlang as tl
from benchmarks.gpu_rows import Row, every_row
from benchmarks.harness import RESULTS
from tensorlang.runtime.gpu_kernel import release_cache

FLUSH_BYTES = 1 << 30  # which takes longer than to call any kernel, so that the GPU never waits for the CPU
Work = Callable[[], Any]


class Bench:
    """Measures on the current device. trials: of the tuner for each row, none for no tuning; compiled: torch.compile
    takes part."""

    def __init__(self, rounds: int, trials: int, log: Path, compiled: bool):
        import torch

        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
        torch.backends.cudnn.benchmark = True  # the fastest of its algorithms
        self.torch, self.rounds, self.trials, self.log, self.compiled = torch, rounds, trials, log, compiled
        self.flush = torch.empty(FLUSH_BYTES, dtype=torch.uint8, device="cuda")

    def once(self, work: Work) -> float:
        """Microseconds of one launch, with a cold cache."""
        begin, end = (self.torch.cuda.Event(enable_timing=True) for _ in range(2))
        release_cache()
        self.flush.zero_()
        begin.record()
        work()
        end.record()
        end.synchronize()
        return 1e3 * begin.elapsed_time(end)

    def turns(self, contenders: dict[str, Work]) -> dict[str, list[float]]:
        """The times of each, taken in turns."""
        for work in contenders.values():
            work()
        times: dict[str, list[float]] = {name: [] for name in contenders}
        for number in range(self.rounds):
            names = list(contenders) if number % 2 == 0 else list(reversed(contenders))
            for name in names:
                times[name].append(self.once(contenders[name]))
        return times

    def kernels(self, row: Row) -> tuple[dict[str, Any], dict[str, Any]]:
        """Ours, by name, and what tuning took."""
        by_hand = tl.Schedule(row.computed(), target=tl.Target("cuda"))
        row.by_hand(by_hand)
        found = {
            "by hand": tl.build(by_hand, "cuda"),
            "zero-trial": tl.build(autotune.suggest(row.computed(), "cuda"), "cuda"),
        }
        if not self.trials:
            return found, {}
        begin = time.perf_counter()
        tuned = autotune.tune(row.computed(), "cuda", trials=self.trials, log=self.log)
        seconds = round(time.perf_counter() - begin, 1)
        if tuned.best is None:
            return found, {}
        found["tuned"] = tuned.kernel
        fresh = [r for r in tuned.history if r.run == 0]
        facts = {"sketch": tuned.best.sketch, "knobs": tuned.best.knobs, "trials": len(fresh), "seconds": seconds}
        return found, facts

    def row(self, row: Row) -> list[dict[str, Any]]:
        torch = self.torch
        kernels, tuning = self.kernels(row)
        torch.manual_seed(0)
        inputs = {name: make(torch) for name, make in row.inputs.items()}
        expected = row.reference(torch, **inputs)
        shape, dtype = expected.shape, next(iter(inputs.values())).dtype

        def fresh() -> Any:
            return torch.empty(shape, dtype=dtype, device="cuda")

        contenders: dict[str, Work] = {}
        facts: dict[str, dict[str, Any]] = {"tuned": tuning}
        for name, kernel in kernels.items():
            out = fresh().fill_(float("nan"))
            kernel(out=out, **inputs)
            error = _error(out, expected)
            if not error <= row.tolerance:
                print(f"  {row.name}: {name} is wrong, relative error {error:.2e}", file=sys.stderr)
                continue
            usage = {part: (u.registers, u.spills) for part, u in kernel.usage.items()}
            facts[name] = {"error": error, "usage": usage, **facts.get(name, {})}
            contenders[name] = lambda k=kernel: k(out=fresh(), **inputs)  # type: ignore[misc]
            del out
        del expected
        torch.cuda.empty_cache()
        contenders |= self.peers(row, inputs, fresh)
        times = self.turns(contenders)
        medians = {name: statistics.median(t) for name, t in times.items()}
        return [
            {
                "row": row.name,
                "contender": name,
                "us": round(medians[name], 2),
                "spread": round(_spread(times[name]) / medians[name], 4),
                "GB/s": round(row.bytes / medians[name] / 1e3, 1),
                **({"TFLOP/s": round(row.flops / medians[name] / 1e6, 2)} if row.flops else {}),
                "speed vs torch": round(medians["torch"] / medians[name], 3),
                "speed vs copy": round(medians["copy"] / medians[name], 3),
                **facts.get(name, {}),
            }
            for name in contenders
        ]

    def peers(self, row: Row, inputs: dict[str, Any], fresh: Work) -> dict[str, Work]:
        """torch, and a copy of as many bytes."""
        torch = self.torch
        source = torch.empty(row.bytes // 2 // 16 * 16, dtype=torch.uint8, device="cuda").random_(0, 255)
        found: dict[str, Work] = {"torch": lambda: row.peer(torch, fresh(), **inputs)}
        if self.compiled:
            torch.compiler.reset()  # it keeps a few variants of a function only, and each row is one
            compiled = torch.compile(
                lambda **given: row.peer(torch, None, **given), mode="max-autotune-no-cudagraphs", dynamic=False
            )
            found["torch.compile"] = lambda: compiled(**inputs)
        return {**found, "copy": lambda: torch.empty_like(source).copy_(source)}


def _error(got: Any, expected: Any) -> float:
    """Of the whole result, in the Euclidean norm."""
    return float((got.double() - expected).norm() / expected.norm())


def _spread(times: list[float]) -> float:
    low, _, high = statistics.quantiles(times, n=4, method="inclusive")
    return high - low


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", default=[], help="rows whose names contain one of these words")
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--trials", type=int, default=200, help="of the tuner, for each row (default: 200; 0 for none)")
    parser.add_argument("--log", type=Path, default=Path("gpu_tuned.jsonl"), help="of the tuner")
    parser.add_argument("--compile", action="store_true", help="torch.compile takes part")
    options = parser.parse_args()
    bench = Bench(options.rounds, options.trials, options.log, options.compile)
    RESULTS.mkdir(exist_ok=True)
    when = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
    device = bench.torch.cuda.get_device_name()
    versions = {"torch": bench.torch.__version__, "cuda": bench.torch.version.cuda}
    with (RESULTS / "gpu.jsonl").open("a", encoding="utf-8") as file:
        for row in every_row():
            if options.only and not any(word in row.name for word in options.only):
                continue
            found = bench.row(row)
            print(f"\n{row.name}  ({device})")
            for entry in found:
                rate = f"{entry['TFLOP/s']:8.2f} TFLOP/s" if row.flops else f"{entry['GB/s']:8.0f} GB/s"
                print(
                    f"  {entry['contender']:14} {entry['us']:10.1f} us {rate}  "
                    f"{entry['speed vs torch']:6.3f} of torch  {entry['speed vs copy']:6.3f} of copy"
                    f"  {entry.get('knobs', '')} {entry.get('seconds', '')}"
                )
                file.write(json.dumps({"benchmark": "gpu", "when": when, "gpu": device, **entry, **versions}) + "\n")
            file.flush()
            bench.torch.cuda.empty_cache()


if __name__ == "__main__":
    main()
