"""The CPU backend: flat Funcs to LLVM IR text, and that to machine code in this process.

A kernel is `void kernel_NAME(ptr param..., i64 size..., ptr workspace)`. `void kernel_NAME__repeat(i64 times, ptr
arguments)` calls it so many times, with the arguments that lie in memory as 64-bit words: every kernel is called alike.
"""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from dataclasses import dataclass

import llvmlite
import llvmlite.binding as llvm

from tensorlang.backend.llvm_stmt import Module, symbol
from tensorlang.errors import BuildError
from tensorlang.ir.nodes import Func, Size
from tensorlang.passes.allocs import allocs
from tensorlang.passes.compact import compact
from tensorlang.passes.flatten import flatten
from tensorlang.passes.intrinsics import intrinsics
from tensorlang.passes.legalize_narrow import legalize_narrow
from tensorlang.passes.lower_blocks import lower_blocks
from tensorlang.passes.lower_init import lower_init
from tensorlang.passes.partition import partition
from tensorlang.passes.pipeline import pipeline
from tensorlang.passes.promote import promote
from tensorlang.passes.tidy import tidy
from tensorlang.passes.tighten import tighten
from tensorlang.passes.unbind import unbind
from tensorlang.passes.unroll import unroll
from tensorlang.passes.vectorize import vectorize, vectorize_fixed
from tensorlang.runtime import cache, threads
from tensorlang.target.target import Target

PASSES = [
    unbind,
    lower_init,
    pipeline,
    lower_blocks,
    compact,
    tighten,
    tidy,
    partition,
    tidy,
    vectorize_fixed,
    unroll,
    vectorize,
    promote,
    legalize_narrow,
    flatten,
    intrinsics,
    allocs,
]

# The schedule decides what is unrolled and vectorized.
_OPTIONS = {
    "speed_level": 3,
    "loop_vectorization": False,
    "slp_vectorization": False,
    "loop_unrolling": False,
    "loop_interleaving": False,
}
_VERSIONS = (llvm.llvm_version_info, llvmlite.__version__)

_REPEAT = """define void @{name}__repeat(i64 %times, ptr %arguments) {attributes} {{
entry:
{loads}
  %some = icmp sgt i64 %times, 0
  br i1 %some, label %again, label %done
again:
  %n = phi i64 [ 0, %entry ], [ %next, %again ]
  call void @{name}({args}) noinline
  %next = add i64 %n, 1
  %more = icmp slt i64 %next, %times
  br i1 %more, label %again, label %done
done:
  ret void
}}"""
_LOAD = "  %at{n} = getelementptr i64, ptr %arguments, i64 {n}\n  %a{n} = load {kind}, ptr %at{n}"


def emit(func: Func, sizes: Sequence[Size], target: Target) -> str:
    """The LLVM IR of a flat Func. `sizes` are its integer parameters, those in no shape any more included."""
    module = Module(func, sizes, target)
    module.write()
    types = [*["ptr"] * len(func.params), *["i64"] * len(module.sizes), "ptr"]
    args = ", ".join(f"{kind} %a{n}" for n, kind in enumerate(types))
    loads = "\n".join(_LOAD.format(n=n, kind=kind) for n, kind in enumerate(types))
    repeat = _REPEAT.format(name=symbol(func.name), loads=loads, args=args, attributes=module.attributes)
    parts = [f"; {func.name} for {target.cpu}", *sorted(module.declared), *module.functions, repeat]
    return "\n\n".join(parts) + '\n\n!0 = distinct !{!0, !1}\n!1 = !{!"llvm.loop.unroll.disable"}\n'


@dataclass(frozen=True)
class Code:
    """Machine code in this process, which lives as long as this object; `repeat`: the address of the function above."""

    repeat: int
    engine: llvm.ExecutionEngine
    text: str
    target: Target
    optimize: bool

    def asm(self) -> str:
        """The machine code as assembly text."""
        machine, context = _machine(self.target, self.optimize), llvm.create_context()
        return machine.emit_assembly(_module(self.text, machine, context, self.optimize))


def compile(text: str, name: str, target: Target, optimize: bool = True) -> Code:
    """Optimise and compile LLVM IR text; `name` is the Func's. Raises BuildError if LLVM refuses the text.

    The code is taken from the cache on disk if equal text was compiled before by equal means.
    """
    machine, context = _machine(target, optimize), llvm.create_context()
    means = [target.cpu, target.features, str(_OPTIONS if optimize else None), machine.triple, *map(str, _VERSIONS)]
    key = cache.key([text, *means])
    code = cache.get(key)
    if code is None:
        try:
            code = machine.emit_object(_module(text, machine, context, optimize))
        except RuntimeError as error:
            raise BuildError(f"LLVM refuses the code of {name}: {error}") from error
        cache.put(key, code)
    if "@tl_launch" in text:
        llvm.add_symbol("tl_launch", threads.launch_address())
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly("", context), machine)
    engine.add_object_file(llvm.ObjectFileRef.from_data(code))
    engine.finalize_object()
    result = Code(engine.get_function_address(f"{symbol(name)}__repeat"), engine, text, target, optimize)
    # The engine goes before the context that its code lives in. Left to the garbage collector, which frees the objects
    # of a reference cycle in any order, the context may go first.
    weakref.finalize(result, _dispose, engine, context).atexit = False
    return result


def _module(text: str, machine: llvm.TargetMachine, context: llvm.ContextRef, optimize: bool) -> llvm.ModuleRef:
    """The LLVM module of `text`, verified and (if asked for) optimised. Raises RuntimeError."""
    module = llvm.parse_assembly(text, context)
    module.verify()
    if optimize:
        options = llvm.create_pipeline_tuning_options()
        for option, value in _OPTIONS.items():
            setattr(options, option, value)
        builder = llvm.create_pass_builder(machine, options)
        builder.getModulePassManager().run(module, builder)
    return module


def _dispose(engine: llvm.ExecutionEngine, context: llvm.ContextRef) -> None:
    engine.close()
    context.close()


def _machine(target: Target, optimize: bool) -> llvm.TargetMachine:
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    llvm.initialize_native_asmparser()
    return llvm.Target.from_default_triple().create_target_machine(
        cpu=target.cpu, features=target.features, opt=3 if optimize else 0, jit=True
    )
