"""The CPU backend: flat Funcs to LLVM IR text, and that to machine code in this process.

A kernel is `void NAME(ptr param..., i64 size..., ptr workspace)`; `void NAME__repeat(i64 times, same...)` calls it
again and again, for timing without Python in between.
"""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from dataclasses import dataclass

import llvmlite.binding as llvm

from tensorlang.backend.llvm_stmt import Module
from tensorlang.errors import BuildError
from tensorlang.ir.nodes import Func, Size
from tensorlang.passes.allocs import allocs
from tensorlang.passes.compact import compact
from tensorlang.passes.flatten import flatten
from tensorlang.passes.intrinsics import intrinsics
from tensorlang.passes.legalize_half import legalize_half
from tensorlang.passes.lower_blocks import lower_blocks
from tensorlang.passes.lower_init import lower_init
from tensorlang.passes.partition import partition
from tensorlang.passes.pipeline import pipeline
from tensorlang.passes.promote import promote
from tensorlang.passes.tidy import tidy
from tensorlang.passes.tighten import tighten
from tensorlang.passes.unroll import unroll
from tensorlang.passes.vectorize import vectorize
from tensorlang.runtime import threads
from tensorlang.target.target import Target

PASSES = [
    lower_init,
    pipeline,
    lower_blocks,
    compact,
    tighten,
    tidy,
    partition,
    tidy,
    unroll,
    vectorize,
    promote,
    legalize_half,
    flatten,
    intrinsics,
    allocs,
]

_REPEAT = """define void @{name}__repeat(i64 %times{params}) {attributes} {{
entry:
  %some = icmp sgt i64 %times, 0
  br i1 %some, label %again, label %done
again:
  %n = phi i64 [ 0, %entry ], [ %next, %again ]
  call void @{name}({args})
  %next = add i64 %n, 1
  %more = icmp slt i64 %next, %times
  br i1 %more, label %again, label %done
done:
  ret void
}}"""


def emit(func: Func, sizes: Sequence[Size], target: Target) -> str:
    """The LLVM IR of a flat Func. `sizes` are its integer parameters, those in no shape any more included."""
    module = Module(func, sizes, target)
    module.write()
    types = [*["ptr"] * len(func.params), *["i64"] * len(module.sizes), "ptr"]
    args = ", ".join(f"{kind} %a{n}" for n, kind in enumerate(types))
    repeat = _REPEAT.format(name=func.name, params=f", {args}", args=args, attributes=module.attributes)
    parts = [f"; {func.name} for {target.cpu}", *sorted(module.declared), *module.functions, repeat]
    return "\n\n".join(parts) + '\n\n!0 = distinct !{!0, !1}\n!1 = !{!"llvm.loop.unroll.disable"}\n'


@dataclass(frozen=True)
class Code:
    """Machine code in this process; it lives as long as this object. Addresses are of the functions above."""

    entry: int
    repeat: int
    engine: llvm.ExecutionEngine
    bitcode: bytes
    target: Target

    def asm(self) -> str:
        """The machine code as assembly text."""
        return _machine(self.target).emit_assembly(llvm.parse_bitcode(self.bitcode, llvm.create_context()))


def compile(text: str, name: str, target: Target, optimize: bool = True) -> Code:
    """Optimise and compile LLVM IR text; `name` is the Func's. Raises BuildError if LLVM refuses the text."""
    machine, context = _machine(target, optimize), llvm.create_context()
    try:
        module = llvm.parse_assembly(text, context)
        module.verify()
    except RuntimeError as error:
        raise BuildError(f"LLVM refuses the code of {name}: {error}") from error
    if optimize:
        _optimize(module, machine)
    if "@tl_launch" in text:
        llvm.add_symbol("tl_launch", threads.launch_address())
    bitcode = module.as_bitcode()
    engine = llvm.create_mcjit_compiler(module, machine)
    engine.finalize_object()
    entry, repeat = engine.get_function_address(name), engine.get_function_address(f"{name}__repeat")
    code = Code(entry, repeat, engine, bitcode, target)
    # The engine goes before the context that its code lives in. Left to the garbage collector, which frees the objects
    # of a reference cycle in any order, the context may go first.
    weakref.finalize(code, _dispose, engine, context).atexit = False
    return code


def _optimize(module: llvm.ModuleRef, machine: llvm.TargetMachine) -> None:
    options = llvm.create_pipeline_tuning_options(speed_level=3)
    # The schedule decides what is unrolled and vectorized.
    options.loop_vectorization = options.slp_vectorization = False
    options.loop_unrolling = options.loop_interleaving = False
    builder = llvm.create_pass_builder(machine, options)
    builder.getModulePassManager().run(module, builder)


def _dispose(engine: llvm.ExecutionEngine, context: llvm.ContextRef) -> None:
    engine.close()
    context.close()


def _machine(target: Target, optimize: bool = True) -> llvm.TargetMachine:
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    llvm.initialize_native_asmparser()
    return llvm.Target.from_default_triple().create_target_machine(
        cpu=target.cpu, features=target.features, opt=3 if optimize else 0, jit=True
    )
