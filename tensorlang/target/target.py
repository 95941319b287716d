"""What passes and schedules may know about the machine that code is made for: a value of facts."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import llvmlite.binding as llvm

from tensorlang import config
from tensorlang.errors import BuildError
from tensorlang.target import gpus
from tensorlang.target.cpus import X86

_CACHES = Path("/sys/devices/system/cpu/cpu0/cache")


@dataclass(frozen=True)
class Target:
    """The machine that a kernel is compiled for. `Target("llvm")` describes the host; name a fact to set it.

    >>> tl.Target("llvm", cpu="x86-64-v3").vector_bytes
    32

    cpu and features are LLVM's names (`features` as "+avx2,-sse4a"); vector_bytes is the size of a vector register
    and registers how many there are; cores counts usable CPUs; l1, l2 and l3 are bytes of data cache of a core, a
    core, and the chip. Raises BuildError for an unknown kind or cpu, and for facts that no machine has.

    `Target("cuda")` describes the current GPU, `Target("cuda", arch="sm_90a")` one that need not be there. vector_bytes
    is the widest access to memory, registers how many 4-byte ones a thread may use, cores counts multiprocessors, l1
    and l2 are bytes of cache of a multiprocessor and of the chip; threads_per_block and shared_bytes limit a block.

        Target("llvm")                                      # this machine
        Target("llvm", cpu="x86-64-v3")                     # AVX2: 32-byte vectors, 16 registers
        Target("cuda", arch="sm_90a")                       # H100; compiles without a GPU
    """

    kind: str = "llvm"
    cpu: str = ""
    features: str = ""
    vector_bytes: int = 0
    registers: int = 0
    cores: int = 0
    l1: int = 0
    l2: int = 0
    l3: int = 0
    arch: str = ""
    threads_per_block: int = 0
    shared_bytes: int = 0

    def __post_init__(self) -> None:
        facts: tuple[str, ...] = ("vector_bytes", "registers", "cores", "l1", "l2")
        if self.kind == "llvm":
            self._describe_cpu()
            facts += ("l3",)
        elif self.kind == "cuda":
            self._describe_gpu()
            facts += ("threads_per_block", "shared_bytes")
        else:
            raise BuildError(f"unknown target {self.kind!r}: there is 'llvm', and 'cuda'")
        for fact in facts:
            value = getattr(self, fact)
            if type(value) is not int or value < 1:
                raise BuildError(f"{fact} must be an int of at least 1, got {value!r}")
        if self.vector_bytes < 8 or self.vector_bytes & (self.vector_bytes - 1):
            raise BuildError(f"vector_bytes must be a power of two of at least 8, got {self.vector_bytes}")

    def _describe_cpu(self) -> None:
        host = not self.cpu
        if host:
            self._default("cpu", llvm.get_host_cpu_name)
            self._default("features", lambda: llvm.get_host_cpu_features().flatten())
        elif _is_x86() and self.cpu not in X86 and self.cpu != llvm.get_host_cpu_name():
            raise BuildError(f"unknown cpu {self.cpu!r}: name one of {', '.join(sorted(X86))}")
        wide, vectors = self.has("avx512f"), self.has("avx")
        self._default("vector_bytes", lambda: 64 if wide else 32 if vectors else 16)
        self._default("registers", lambda: 32 if wide or not _is_x86() else 16)
        self._default("cores", config.cores)
        for level, typical in ((1, 32 << 10), (2, 512 << 10), (3, 8 << 20)):
            self._default(f"l{level}", functools.partial(_cache_bytes, level, typical))

    def _describe_gpu(self) -> None:
        if not self.arch:
            for fact, value in _device().items():
                self._default(fact, functools.partial(int, value) if fact != "arch" else functools.partial(str, value))
        if self.arch not in gpus.GPUS:
            raise BuildError(f"unknown arch {self.arch!r}: name one of {', '.join(gpus.GPUS)}")
        known = gpus.GPUS[self.arch]
        self._default("cpu", lambda: self.arch)
        for fact in ("shared_bytes", "l1", "cores", "l2"):
            self._default(fact, functools.partial(getattr, known, fact))
        self._default("vector_bytes", lambda: gpus.VECTOR_BYTES)
        self._default("registers", lambda: gpus.REGISTERS)
        self._default("threads_per_block", lambda: gpus.THREADS_PER_BLOCK)

    @property
    def simt(self) -> bool:
        """Whether threads take the place of vectors, so that a vector is no more than one access to memory."""
        return self.threads_per_block > 0

    @property
    def async_copies(self) -> bool:
        """Whether copies from global to shared memory run by themselves (cp.async): from compute capability 8.0."""
        return self.simt and int("".join(filter(str.isdigit, self.arch))) >= 80

    @property
    def cache_hints(self) -> bool:
        """Whether loads may say how long caches are to keep what they load: from compute capability 8.0."""
        return self.async_copies

    @property
    def tensor_cores(self) -> bool:
        """Whether a warp multiplies tiles of float16 and bfloat16 (mma.m16n8k16): from compute capability 8.0."""
        return self.async_copies

    @property
    def halves_compared(self) -> bool:
        """Whether there is an instruction for the larger one of two values of 16 bits: from compute capability 8.0."""
        return self.async_copies

    @property
    def threads_along(self) -> dict[str, int]:
        """The most threads of a block along x, y and z."""
        return gpus.THREADS_ALONG if self.simt else {}

    def _default(self, fact: str, value: Callable[[], object]) -> None:
        if not getattr(self, fact):
            object.__setattr__(self, fact, value())

    def has(self, feature: str) -> bool:
        """Whether the CPU has an instruction set, by LLVM's name: `target.has("f16c")`.

        >>> tl.Target("llvm", cpu="x86-64-v3").has("avx2")
        True
        """
        stated = _stated(self.features)
        return stated[feature] if feature in stated else feature in X86.get(self.cpu, ())


@functools.lru_cache
def _stated(features: str) -> dict[str, bool]:
    """What a string of features such as "+avx2,-avx512f" says."""
    return {f[1:]: f[0] == "+" for f in features.split(",") if f}


def of(target: Target | str) -> Target:
    """A Target from itself or from its kind."""
    return target if isinstance(target, Target) else Target(target)


@functools.lru_cache
def _device() -> dict[str, str | int]:
    """Facts of the current CUDA device. Raises BuildError where there is none."""
    try:
        import cupy
    except ImportError as error:
        raise BuildError(
            "target 'cuda' needs the package cupy to look at the GPU (pip install cupy-cuda13x); without a GPU name "
            "the architecture: Target('cuda', arch='sm_90a')"
        ) from error
    try:
        device = cupy.cuda.Device()
        attributes = device.attributes
    except cupy.cuda.runtime.CUDARuntimeError as error:
        raise BuildError(
            f"target 'cuda' finds no GPU ({error}): name the architecture, as in Target('cuda', arch='sm_90a')"
        ) from error
    arch = f"sm_{device.compute_capability}"
    return {
        "arch": f"{arch}a" if f"{arch}a" in gpus.GPUS else arch,
        "cores": attributes["MultiProcessorCount"],
        "l2": attributes["L2CacheSize"],
        "shared_bytes": attributes["MaxSharedMemoryPerBlockOptin"],
    }


def _is_x86() -> bool:
    return llvm.get_process_triple().startswith(("x86_64", "i686", "amd64"))


@functools.lru_cache
def _cache_bytes(level: int, typical: int) -> int:
    """Bytes of data cache at a level of this machine; `typical` where the system does not tell."""
    for index in _CACHES.glob("index*") if _CACHES.is_dir() else ():
        at, kind, size = ((index / name).read_text().strip() for name in ("level", "type", "size"))
        if at == str(level) and kind != "Instruction":
            return int(size.rstrip("KMG")) << {"K": 10, "M": 20, "G": 30}.get(size[-1], 0)
    return typical
