"""Random schedules for GPUs, lowered to launch nests, which run in the interpreter: right, and without races?

    python -m tests.fuzz.gpu --minutes N --seed S --cases N [--native]

No GPU is needed; with --native, the kernels are also compiled and run on one. What lowering refuses (BuildError) is
counted by what it says. Exit status 1 if anything failed.
"""

from __future__ import annotations

import argparse
import itertools
import random
import re
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any

import numpy as np

import tensorlang as tl
from tensorlang.backend import cuda
from tensorlang.errors import BuildError, ExecutionError
from tensorlang.ir import interp_launch
from tensorlang.ir.interp_launch import Settings
from tensorlang.ir.verify import verify
from tensorlang.te_eval import evaluate
from tests.fuzz.case import Case
from tests.fuzz.check import (
    GUARD,
    POISON,
    Arrays,
    Failure,
    attempt,
    compare,
    guard,
    guarded,
    interpreted,
    random_inputs,
    shape_of,
)
from tests.fuzz.gpu_steps import Plan
from tests.fuzz.random_te import random_expression
from tests.fuzz.shrink import shrink

TARGET = tl.Target("cuda", arch="sm_90a")
COMPILED = 8  # every so many seeds, NVRTC compiles the kernels
# Copies of whole boxes may read elements that nobody wrote or needs: who does need one gets poison, so wrong numbers.
ORDERS = (Settings(strict=False), Settings("descending", lanes=64, strict=False))
SCRIPT = """import tensorlang as tl
from tests.fuzz.gpu import TARGET, check

{lines}

outputs = [{outputs}]
s = tl.Schedule(outputs, target=TARGET)
{steps}
print(s, tl.lower(s, TARGET), sep="\\n")
check(s, outputs, {{{sizes}}}, seed={seed})
"""


class GpuCase(Case):
    """A case whose schedule is for a GPU."""

    def script(self) -> str:
        e = self.expression
        sizes = ", ".join(f"{name}: {value}" for name, value in e.sizes.items())
        steps = "\n".join(f"s.{step}" for step in self.steps)
        outputs = ", ".join(e.outputs)
        return SCRIPT.format(lines="\n".join(e.lines), outputs=outputs, steps=steps, sizes=sizes, seed=self.seed)

    def run(self, native: bool = False) -> None:
        """Raises Failure if something is wrong, BuildError if the program cannot be lowered."""
        names = self.expression.define()
        outputs = [names[o] for o in self.expression.outputs]
        sizes = {names[n]: value for n, value in self.expression.sizes.items()}
        s = tl.Schedule(outputs, target=TARGET)
        for step in self.steps:
            attempt(s, step, names)
        check(s, outputs, sizes, self.seed, native)


def draw(seed: int, tried: list[str]) -> GpuCase:
    """The case of that seed, without the steps that are refused; the last of `tried` is the one that raises Failure."""
    expression = random_expression(seed)
    names = expression.define()
    s = tl.Schedule([names[o] for o in expression.outputs], target=TARGET)
    accepted = []
    for step in Plan(s, random.Random(f"gpu {seed}")).steps():
        tried.append(step)
        if attempt(s, step, names) is None:
            accepted.append(step)
    return GpuCase(expression, tuple(accepted), seed)


def check(
    s: tl.Schedule, outputs: Sequence[tl.Tensor], sizes: Mapping[Any, int], seed: int, native: bool = False
) -> None:
    """The schedule, and its launch nests in any order of threads, compute what the te evaluator does.

    Of every COMPILED-th seed, the kernels are compiled; if `native`, all run on this machine's GPU. Raises Failure, or
    BuildError where lowering refuses.
    """
    inputs = random_inputs(outputs, sizes, seed)
    expected = guard("te_eval", lambda: evaluate(outputs, inputs, sizes))
    by_name = {t.name: a for t, a in inputs.items()}
    want = {t.name: a for t, a in zip(outputs, expected, strict=True)}
    module = guard("lower", lambda: _or_error(BuildError, lambda: tl.lower(s, TARGET)))
    if isinstance(module, BuildError):
        raise module
    text = guard("emit", lambda: _or_error(BuildError, lambda: cuda.emit(module.func, module.sizes, TARGET)))
    if isinstance(text, BuildError):
        raise text
    if seed % COMPILED == 0 and find_spec("cupy_backends"):  # through which NVRTC is reached
        guard("compile", lambda: tl.build(module))
    guard("verify", lambda: verify(module.func, "flat"))

    def right(what: str, got: Arrays) -> None:
        try:
            compare(what, want, got)
        except Failure:  # of the schedule, or of its lowering?
            compare("interpreter", want, interpreted("interpreter", s.func, s.func, by_name, sizes))
            raise

    for settings in ORDERS:
        arrays, _ = guarded(s.func, by_name, sizes)
        error = guard(
            "threads",
            lambda arrays=arrays, settings=settings: _or_error(
                ExecutionError, lambda: interp_launch.run(module.func, arrays, sizes, settings)
            ),
        )
        if error is not None:
            raise Failure(f"threads: {error.code}", str(error))
        right("threads", {p.name: a for p, a in zip(s.func.params, arrays, strict=True) if p in s.func.outputs})
    if native and not any(p.dtype == "bfloat16" for p in s.func.params):  # which CuPy does not have
        right("GPU", guard("GPU", lambda: on_gpu(module, by_name, sizes)))


def on_gpu(module: tl.Module, inputs: Arrays, sizes: Mapping[Any, int]) -> Arrays:
    """The outputs of the compiled kernels, poisoned before; nothing around them is written."""
    import cupy

    kernel, arrays, memories = tl.build(module, TARGET), [], []
    for param in module.params:
        shape, dtype = shape_of(param, sizes), tl.dtypes.to_numpy(param.dtype)
        size = int(np.prod(shape)) * dtype.itemsize
        memory = cupy.full(size + 3 * GUARD, POISON, np.uint8)
        begin = GUARD + -memory.data.ptr % GUARD
        array = memory[begin : begin + size].view(dtype).reshape(shape)
        if param.name in inputs:
            array[...] = cupy.asarray(inputs[param.name])
        arrays.append(array)
        memories.append((param.name, memory, begin, begin + size))
    kernel(*arrays)
    for name, memory, begin, end in memories:
        if (memory[:begin] != POISON).any() or (memory[end:] != POISON).any():
            raise Failure("GPU: wrote outside a buffer", f"around {name}")
    return {p.name: a.get() for p, a in zip(module.params, arrays, strict=True) if p in module.outputs}


def _or_error(kind: type[Exception], action: Callable[[], Any]) -> Any:
    """What `action` returns, or the exception of that kind that it raises."""
    try:
        return action()
    except kind as error:
        return error


@dataclass
class Report:
    """What became of the cases, by kind, with the first of each."""

    native: bool = False
    cases: int = 0
    failures: dict[str, tuple[GpuCase | None, str, int]] = field(default_factory=dict)
    kinds: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    accepted: Counter[str] = field(default_factory=Counter)

    def run(self, seed: int) -> str:
        """Draw and check the case of a seed; the kind of its failure, "" if there is none."""
        self.cases += 1
        tried: list[str] = []
        case, kind, details = None, "", ""
        try:
            case = draw(seed, tried)
            case.run(self.native)
        except BuildError as error:
            self.refused[re.sub(r"\b\S*[._\d]\S*", "_", str(error))[:70]] += 1
            return ""
        except Failure as failure:
            kind, details = failure.kind, failure.details
            case = case or GpuCase(random_expression(seed), tuple(tried), seed)
        if kind:
            self.kinds[kind] += 1
            self.failures.setdefault(kind, (case, details, seed))
        elif case is not None:
            self.accepted.update(step.split("(")[0] for step in case.steps)
        return kind


def kind_of(case: GpuCase, native: bool = False) -> str:
    try:
        case.run(native)
    except Failure as failure:
        return failure.kind
    except Exception:
        return "no meaning"
    return ""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.gpu", description=__doc__)
    parser.add_argument("--minutes", type=float, default=1.0, help="no case begins later")
    parser.add_argument("--seed", type=int, default=0, help="the seed of the first case")
    parser.add_argument("--cases", type=int, default=10**9, help="how many cases at most")
    parser.add_argument("--native", action="store_true", help="run the kernels on this machine's GPU, too")
    parser.add_argument("--script", type=int, metavar="SEED", help="print the case of that seed")
    options = parser.parse_args()
    if options.script is not None:
        print(draw(options.script, []).script())
        return 0
    report, begin = Report(options.native), time.monotonic()
    for seed in itertools.islice(itertools.count(options.seed), options.cases):
        if time.monotonic() > begin + 60 * options.minutes:
            break
        known = set(report.failures)
        kind = report.run(seed)
        if kind and kind not in known:
            case, details, _ = report.failures[kind]
            print("-" * 80, f"seed {seed}: {kind}", details, sep="\n", flush=True)
            if case is not None and kind_of(case, options.native) == kind:

                def fails(c: Any, kind: str = kind) -> bool:
                    return kind_of(c, options.native) == kind

                print(shrink(case, fails).script(), flush=True)
    seconds = time.monotonic() - begin
    print(
        f"{report.cases} cases, {sum(report.kinds.values())} failed, {sum(report.refused.values())} refused by "
        f"lowering, {1e3 * seconds / max(1, report.cases):.0f} ms a case"
    )
    for counts in (report.accepted, report.refused, report.kinds):
        print("\n".join(f"{count:6} {what}" for what, count in counts.most_common()))
    return 1 if report.kinds else 0


if __name__ == "__main__":
    sys.exit(main())
