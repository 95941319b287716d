"""The thread pool that runs parallel loops: compiled from pool.ll, which explains it, once per process.

Workers are started by the first launch. They spin for 30 us after a launch and then sleep, so that they do not take
cores from NumPy, torch or anyone else. A child made by fork gets a fresh pool. (Fork while another thread is compiling
is not safe all the same: the child then finds llvmlite's own lock taken. Start such children before compiling.)
"""

from __future__ import annotations

import ctypes
import os
import platform
import time
from importlib.resources import files
from string import Template

import llvmlite.binding as llvm

from tensorlang import config

_PAUSE = {"x86_64": "pause", "AMD64": "pause", "i686": "pause", "aarch64": "isb", "arm64": "isb"}
_pools: dict[str, Pool] = {}  # at most one: the pool of this process


class Pool:
    """The compiled pool: `threads` is how many work on a launch, `launch` the address of tl_launch."""

    def __init__(self, threads: int):
        self.threads = threads
        engine = _compile()
        self.launch = engine.get_function_address("tl_launch")
        self._init = ctypes.CFUNCTYPE(None, ctypes.c_int64)(engine.get_function_address("tl_init"))
        # Sleeping workers hold on to this code until the process is gone, so Python must never free it.
        engine.detach()
        self.reset()

    def reset(self) -> None:
        """Forget all workers, as a child after fork must."""
        self._init(self.threads)


def count() -> int:
    """How many threads a parallel loop may run on; its `thread` argument is less than that."""
    return _pool().threads


def launch_address() -> int:
    """Address of `void tl_launch(void (*fn)(void *ctx, int64 begin, int64 end, int64 thread), void *ctx, int64 n)`.

    It runs `fn` over contiguous pieces of 0 .. n - 1 on all threads and returns when all are done. Any thread may call
    it, `fn` too: a launch that finds the pool busy runs on the calling thread alone.
    """
    return _pool().launch


def _pool() -> Pool:
    if "pool" not in _pools:
        fresh = Pool(config.num_threads())
        # Two Python threads may get here at once; setdefault lets one win, and the other pool never starts a worker.
        if _pools.setdefault("pool", fresh) is fresh and hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=fresh.reset)
    return _pools["pool"]


def _compile() -> llvm.ExecutionEngine:
    llvm.initialize_native_target()
    llvm.initialize_native_asmparser()
    llvm.initialize_native_asmprinter()
    text = Template(files(__package__).joinpath("pool.ll").read_text()).substitute(
        pause=_PAUSE.get(platform.machine(), ""), monotonic=time.CLOCK_MONOTONIC
    )
    module = llvm.parse_assembly(text)
    module.verify()
    machine = llvm.Target.from_default_triple().create_target_machine(opt=2, jit=True)
    return llvm.create_mcjit_compiler(module, machine)
