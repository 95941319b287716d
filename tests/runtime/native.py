"""Native functions for the tests of the runtime, from LLVM IR text."""

import llvmlite.binding as llvm


class Native:
    """Compiled LLVM IR; `address(name)` is that of a function, valid while this object lives."""

    def __init__(self, text: str):
        llvm.initialize_native_target()
        llvm.initialize_native_asmprinter()
        module = llvm.parse_assembly(text)
        module.verify()
        machine = llvm.Target.from_default_triple().create_target_machine()
        self._engine = llvm.create_mcjit_compiler(module, machine)

    def address(self, name: str) -> int:
        return self._engine.get_function_address(name)
