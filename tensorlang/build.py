"""From a scheduled program to a kernel: lower, emit, compile. The straight line, readable top to bottom."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tensorlang import analysis, config
from tensorlang.backend import cuda, llvm
from tensorlang.create_func import create_func
from tensorlang.display.roofline import Peaks
from tensorlang.errors import ArgumentError, BuildError
from tensorlang.ir import dtypes, walk
from tensorlang.ir.base import collection_put_off
from tensorlang.ir.evaluate import numpy_function
from tensorlang.ir.interp import run
from tensorlang.ir.nodes import Alloc, Buffer, Expr, Func, Knob, Size
from tensorlang.ir.printer import text
from tensorlang.ir.verify import verify
from tensorlang.passes.allocs import workspace_layout
from tensorlang.runtime import threads
from tensorlang.runtime.kernel import Kernel
from tensorlang.runtime.shapes import Shapes
from tensorlang.schedule.schedule import Schedule
from tensorlang.target import target as targets
from tensorlang.target.target import Target
from tensorlang.te import Tensor

_PASSES = {"llvm": llvm.PASSES, "cuda": cuda.PASSES}
Program = Schedule | Func | Tensor | Sequence[Tensor]


@dataclass(frozen=True)
class Module:
    """A lowered program: `params` and `outputs` as the user sees them, `func` flat and ready for the backend.

    A call needs workspace bytes for all threads together and, for each thread, thread bytes; both are expressions
    over `sizes`; so are flops, the floating-point operations that the program states.

    >>> module = tl.lower(s)
    >>> module.name, module.flops, module.workspace()()
    ('C', 1024, 0)
    """

    params: tuple[Buffer, ...]
    outputs: tuple[Buffer, ...]
    sizes: tuple[Size, ...]
    func: Func
    target: Target
    flops: Expr

    @property
    def name(self) -> str:
        return self.func.name

    def workspace(self) -> Callable[..., int]:
        """A function from sizes to the bytes that a call needs on this machine's threads.

        >>> tl.lower(s).workspace()()
        0
        """
        layout = workspace_layout(self.func)
        count = threads.count()
        of_sizes = numpy_function([layout.workspace_bytes + layout.thread_bytes * count], list(self.sizes))
        return lambda *sizes: int(of_sizes(*sizes)[0])

    def work(self) -> Callable[..., int]:
        """A function from sizes to the floating-point operations that the program states.

        >>> tl.lower(s).work()()
        1024
        """
        return lambda *sizes: int(numpy_function([self.flops], list(self.sizes))(*sizes)[0])

    def __str__(self) -> str:
        return text(self.func)


def lower(x: Program, target: Target | str = "llvm") -> Module:
    """Run the passes of the target. Raises BuildError if the program cannot be compiled for it.

    >>> print(tl.lower(tl.compute((8, 8), lambda i, j: A[i, j] + 1.0, name="E")))
    func E(A: f32[64]) -> E: f32[64]
      for E.i in 8:
        for E.j in 8:
          E[E.i * 8 + E.j] = A[E.i * 8 + E.j] + 1.0
    """
    func, machine = as_func(x), targets.of(target)
    _check_closed(func)
    lowered = func
    with collection_put_off():
        for number, apply in enumerate(_PASSES[machine.kind]):
            before, start = lowered, time.perf_counter()
            lowered = apply(before, machine)
            _watch(number, apply.__name__, before, lowered, time.perf_counter() - start)
    return Module(func.params, func.outputs, walk.sizes(func), lowered, machine, analysis.work(func))


def build(x: Program | Module, target: Target | str = "llvm", optimize: bool = True) -> Any:
    """Compile a schedule, tensors, a Func, or the Module that they were lowered to, into a kernel: a Kernel for the
    CPU, a GpuKernel for target "cuda". Raises BuildError.

    optimize=False leaves the code as it was emitted: slow to run, but compiled several times as fast.

    >>> f = build(s)
    >>> c = f(a, b)
    """
    module = x if isinstance(x, Module) else lower(x, target)
    if module.target.kind == "cuda":
        kernel = cuda.build(
            module.func,
            module.params,
            module.outputs,
            module.sizes,
            module.target,
            module.work(),
            lambda: _peaks("cuda"),
        )
        _dump(f"{module.name}.cu", kernel.source)
        return kernel
    source = llvm.emit(module.func, module.sizes, module.target)
    _dump(f"{module.name}.ll", lambda: source)
    code = llvm.compile(source, module.name, module.target, optimize)
    return Kernel(
        name=module.name,
        params=module.params,
        outputs=module.outputs,
        sizes=module.sizes,
        repeat=code.repeat,
        workspace=module.workspace(),
        source=lambda: source,
        asm=code.asm,
        work=module.work(),
        peaks=lambda: _peaks("llvm"),
        keepalive=code,
    )


def interpret(x: Program, *args: Any) -> Any:
    """Run a program in the interpreter, the definition of what it means: slow and exact.

    Takes the inputs as NumPy arrays and returns the output, or a tuple of them. Raises BuildError for open knobs and
    ArgumentError for arrays that do not fit.

    >>> np.array_equal(tl.interpret(s, a, b), f(a, b))
    True
    """
    func = as_func(x)
    _check_closed(func)
    inputs = [p for p in func.params if not any(p is o for o in func.outputs)]
    if len(args) != len(inputs):
        raise ArgumentError(f"{func.name} takes {len(inputs)} inputs, got {len(args)}")
    shapes = Shapes(func.params, walk.sizes(func))
    given = {p: np.asarray(a, order="C") for p, a in zip(inputs, args, strict=True)}
    for param, array in given.items():
        if array.ndim != len(param.shape):
            raise ArgumentError(f"{param.name} must have {len(param.shape)} dimensions, got {array.ndim}")
    sizes = shapes.solve([given[p].shape if p in given else None for p in func.params])
    for param, shape in zip(func.params, shapes.of(sizes), strict=True):
        if param not in given:
            given[param] = np.empty(shape, dtypes.to_numpy(param.dtype))
    run(func, given, dict(zip(walk.sizes(func), sizes, strict=True)))
    results = tuple(given[p] for p in func.outputs)
    return results[0] if len(results) == 1 else results


def as_func(x: Program) -> Func:
    """The Func of a schedule, of tensors, or itself."""
    if isinstance(x, Func):
        return x
    if isinstance(x, Schedule):
        return x.func
    return create_func(x)


def _check_closed(func: Func) -> None:
    knobs = [v.name for v in walk.free_vars(func) if isinstance(v, Knob)]
    if knobs:
        raise BuildError(f"{func.name} still has open knobs: {', '.join(sorted(knobs))}")


def _watch(number: int, name: str, before: Func, after: Func, seconds: float) -> None:
    """What the debug dial asks for after a pass."""
    dial = config.debug()
    if dial >= 1:
        level = _level(after)
        if level is not None:
            verify(after, level)
        print(f"{name:16} {1e3 * seconds:8.2f} ms{' (unchanged)' if after is before else ''}", file=sys.stderr)
    if dial >= 2 and after is not before:
        print(text(after), file=sys.stderr)
    if after is not before:
        _dump(f"{before.name}.{number:02}.{name}.txt", lambda: text(after))


def _level(func: Func) -> str | None:
    """The level that a Func between passes has; None for vectors over buffers that are not flat yet."""
    if not any(isinstance(n, Expr) and n.lanes > 1 for n in walk.visit(func)):
        return "loop"
    buffers = [*func.params, *(a.buffer for a in walk.find(func, Alloc))]
    return "flat" if all(len(b.shape) == 1 for b in buffers) else None


def _peaks(kind: str) -> Peaks:
    from tensorlang.ceilings import peaks  # which builds kernels

    return peaks(kind)


def _dump(file: str, contents: Callable[[], str]) -> None:
    folder = config.dump()
    if folder is not None:
        Path(folder).mkdir(parents=True, exist_ok=True)
        (Path(folder) / file).write_text(contents())
