"""What a call of a kernel costs beside its work: with given outputs about 1 us, allocated ones 10.

python -m benchmarks.call_overhead
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable

from benchmarks.harness import Contender, arguments, compare, record, show

SETUP = "benchmarks.call_overhead:"
CALLS = 100  # in one go, so that the loop that measures costs nothing


def empty_call() -> Callable[[], None]:
    """A native function without arguments that does nothing, called through ctypes."""
    import llvmlite.binding as llvm

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    machine = llvm.Target.from_default_triple().create_target_machine()
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly("define void @empty() { ret void }"), machine)
    native = ctypes.CFUNCTYPE(None)(engine.get_function_address("empty"))

    def run() -> None:
        keep = engine  # owns the code
        for _ in range(CALLS):
            native()
        del keep

    return run


def kernel_call(allocate: bool, symbolic: bool) -> Callable[[], None]:
    """A kernel that adds two vectors of 16 elements, of a size that is fixed or found at the call."""
    import numpy as np

    import tensorlang as tl

    n = tl.var("n") if symbolic else 16
    a, b = (tl.placeholder((n,), "float32", name=name) for name in "AB")
    kernel = tl.build(tl.compute((n,), lambda i: a[i] + b[i], name="C"))
    x, y, z = (np.ones(16, np.float32) for _ in range(3))

    def run() -> None:
        for _ in range(CALLS):
            if allocate:
                kernel(x, y)
            else:
                kernel(x, y, out=z)

    return run


def main() -> None:
    options = arguments(__doc__).parse_args()
    contenders = [Contender("empty ctypes call", SETUP + "empty_call")]
    for symbolic in (False, True):
        for allocate in (False, True):
            name = f"kernel, {'size n' if symbolic else 'fixed size'}, {'result allocated' if allocate else 'out='}"
            contenders.append(Contender(name, SETUP + "kernel_call", {"allocate": allocate, "symbolic": symbolic}))
    rows = compare(contenders, options.turns, options.min_seconds)
    show(f"{CALLS} calls of a kernel over 3 vectors of 16 floats", rows)
    overheads = {row.name: (row.median - rows[0].median) / CALLS * 1e6 for row in rows[1:]}
    for name, overhead in overheads.items():
        print(f"  {name}: {overhead:.2f} us a call above an empty one")
    record("call_overhead", rows, calls=CALLS, overhead_us=overheads)


if __name__ == "__main__":
    main()
