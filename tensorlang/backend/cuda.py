"""The GPU backend: flat Funcs of launch nests to CUDA C++, and that to machine code by NVRTC, with or without a GPU."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from tensorlang.arith.context import EMPTY
from tensorlang.arith.inequality import interval
from tensorlang.arith.simplify import normal
from tensorlang.backend import nvrtc
from tensorlang.backend.cuda_stmt import KernelText, KernelWriter
from tensorlang.backend.cuda_text import PRELUDE, Names, helpers_of
from tensorlang.errors import BuildError
from tensorlang.intrin.intrin import Intrinsic
from tensorlang.ir import dtypes
from tensorlang.ir.evaluate import numpy_function
from tensorlang.ir.launch import Launch
from tensorlang.ir.nodes import Alloc, Buffer, Const, Do, For, Func, Op, Seq, Size, Stmt
from tensorlang.ir.walk import find, visit
from tensorlang.passes.barriers import barriers
from tensorlang.passes.bind_threads import bind_threads
from tensorlang.passes.compact import compact
from tensorlang.passes.cross_thread import cross_thread
from tensorlang.passes.flatten import flatten
from tensorlang.passes.intrinsics import intrinsics
from tensorlang.passes.legalize_narrow import legalize_narrow
from tensorlang.passes.lower_blocks import lower_blocks
from tensorlang.passes.lower_init import lower_init
from tensorlang.passes.pipeline import pipeline
from tensorlang.passes.scopes import scopes
from tensorlang.passes.serpentine import serpentine
from tensorlang.passes.tidy import tidy
from tensorlang.passes.tighten import tighten
from tensorlang.passes.vectorize import vectorize
from tensorlang.runtime.gpu_kernel import GpuKernel, LaunchPlan
from tensorlang.target.target import Target

PASSES = [
    cross_thread,  # reads blocks
    lower_init,
    pipeline,
    lower_blocks,
    scopes,
    compact,  # shared memory as small as what all threads of an iteration use; it needs their loops
    bind_threads,
    compact,  # local memory as small as what one thread uses
    tidy,  # loops of one iteration need no barriers from one to the next
    barriers,  # before tighten, which moves no condition past a barrier
    tighten,
    tidy,
    vectorize,
    tidy,
    legalize_narrow,
    flatten,
    intrinsics,
    serpentine,
]
_WIDE = 2**30  # elements of a buffer from which on subscripts are 64 bits
_WIDEST = 2**31  # what 32 bits do not hold


@dataclass(frozen=True)
class Program:
    """The text of a Func: its kernels in the order in which they run, and the global memory that they need between.

    wide: whether indices have 64 bits, not 32."""

    name: str
    text: str
    kernels: tuple[KernelText, ...]
    workspace: tuple[Buffer, ...]
    sizes: tuple[Size, ...]
    wide: bool


def emit(func: Func, sizes: Sequence[Size], target: Target) -> Program:
    """The CUDA C++ of a flat Func of launch nests. `sizes` are its integer parameters.

    Raises BuildError for what the target cannot do: memory of a block or thread whose size is known at run time only,
    too much shared memory, too many threads.
    """
    names = Names()
    nests = list(_nests(func.body))
    for nest in nests:
        _sizes_are_known(nest)
    base = names.take(func.name)
    kernels: list[KernelText] = []
    for nest in nests:
        name = base if len(nests) == 1 else names.take(f"{func.name}_{len(kernels)}")
        kernels.append(KernelWriter(name, Launch.of(nest), target).kernel())
    wide = _is_wide(func)
    index = "typedef long long index;" if wide else "typedef int index;"
    body = "\n\n".join([*_functions(func, target), *(k.text for k in kernels)])
    head = f"// {func.name} for {target.arch}\n{PRELUDE}{index}"
    text = "\n\n".join(part for part in (head, helpers_of(body), body) if part) + "\n"
    return Program(func.name, text, tuple(kernels), tuple(_workspace(func.body)), tuple(sizes), wide)


def _functions(func: Func, target: Target) -> list[str]:
    """The code of the intrinsics."""
    used = {n.what.name: n.what for n in find(func.body, Do) if isinstance(n.what, Intrinsic)}
    return [text for each in used.values() if (text := each.code(target)) is not None]


def _sizes_are_known(nest: Stmt) -> None:
    for alloc in find(nest, Alloc):
        buffer = alloc.buffer
        if not all(isinstance(extent, Const) for extent in buffer.shape):
            raise BuildError(
                f"{buffer.name} is in {buffer.scope} memory, and needs {buffer.shape[0]!r} elements, a number that is "
                "known at run time only: compute it in smaller tiles, or leave it in global memory"
            )


def _nests(stmt: Stmt) -> Iterator[Stmt]:
    """The launch nests, in order."""
    if Launch.starts(stmt):
        yield stmt
    elif isinstance(stmt, Seq):
        for part in stmt.stmts:
            yield from _nests(part)
    elif isinstance(stmt, Alloc):
        yield from _nests(stmt.body)
    else:
        raise BuildError(f"this statement is outside of all kernels: {stmt!r}")


def _workspace(stmt: Stmt) -> Iterator[Buffer]:
    """The buffers between kernels."""
    if isinstance(stmt, Alloc) and not Launch.starts(stmt):
        yield stmt.buffer
        yield from _workspace(stmt.body)
    elif isinstance(stmt, Seq):
        for part in stmt.stmts:
            yield from _workspace(part)


def _is_wide(func: Func) -> bool:
    """Whether subscripts, or parts of them, may need 64 bits."""
    shapes = [b.shape for b in (*func.params, *_workspace(func.body))]
    if any(not isinstance(n, Const) or n.value >= _WIDE for shape in shapes for n in shape):
        return True
    return any(map(_has_wide_parts, _nests(func.body)))


def _has_wide_parts(nest: Stmt) -> bool:
    """Whether an index is made of numbers of 64 bits: terms may be larger than their sum, data than what they are
    clamped to."""
    ctx = EMPTY
    for loop in find(nest, For):
        ctx = ctx.bind(loop.var, loop.extent)
    for part in {n for n in visit(nest) if isinstance(n, Op) and n.dtype == "index"}:
        if part.op == "cast" and part.args[0].dtype in ("uint32", "int64", "uint64"):
            return True
        low, high = interval(normal(part, ctx), ctx)
        if not -_WIDEST <= low <= high < _WIDEST and math.inf not in (-low, high):
            return True
    return False


def build(
    func: Func,
    params: Sequence[Buffer],
    outputs: Sequence[Buffer],
    sizes: Sequence[Size],
    target: Target,
    work: Callable[..., int],
    peaks: Callable[[], Any],
) -> GpuKernel:
    """Compile a lowered Func. params and outputs: as the user sees them; work and peaks: for its roofline.

    Raises BuildError for what the target cannot do, and if NVRTC refuses the text.
    """
    program = emit(func, sizes, target)
    binary = nvrtc.compile(program.text, program.name, target.arch)
    places: dict[Buffer | Size, int] = {}
    every: tuple[Buffer | Size, ...] = (*func.params, *program.workspace, *sizes)
    for n, item in enumerate(every):
        places[item] = n
    bytes_ = [b.shape[0] * dtypes.bytes_of(b.dtype) for b in program.workspace]
    aligned = {places[b] for k in program.kernels for b in k.aligned}
    return GpuKernel(
        name=program.name,
        params=params,
        outputs=outputs,
        sizes=sizes,
        launches=[
            LaunchPlan(
                kernel.name,
                (*(places[b] for b in kernel.buffers), *(places[s] for s in kernel.sizes)),
                numpy_function(list(kernel.grid), list(sizes)),
                kernel.block,
                kernel.dynamic_shared,
            )
            for kernel in program.kernels
        ],
        workspaces=numpy_function(bytes_, list(sizes)),
        aligned=[n for n in aligned if n < len(params)],
        cubin=binary.cubin,
        arch=target.arch,
        wide=program.wide,
        usage=binary.usage,
        source=lambda: program.text,
        asm=lambda: nvrtc.disassemble(binary),
        work=work,
        peaks=peaks,
    )
