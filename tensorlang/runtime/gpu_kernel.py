"""A compiled function over arrays in the memory of a GPU: argument checks, launches on a stream, timing by events."""

from __future__ import annotations

import base64
import ctypes
import dataclasses
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from tensorlang.display.roofline import Peaks, Roofline
from tensorlang.errors import ArgumentError, DeviceError
from tensorlang.ir.nodes import Buffer, Size
from tensorlang.runtime import device_arrays
from tensorlang.runtime.arrays import Unusable
from tensorlang.runtime.device_arrays import DeviceArray
from tensorlang.runtime.kernel import Timing
from tensorlang.runtime.signature import Signature, type_text

_BLOCKS_ALONG = (2**31 - 1, 65535, 65535)
_SHARED_ATTRIBUTE = 8  # CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES


@dataclass(frozen=True)
class Usage:
    """What the assembler says that a kernel uses: registers of 4 bytes and bytes of stack of a thread, bytes that are
    spilled from registers to it, and bytes of shared memory of a block that the kernel declares."""

    registers: int
    stack: int
    spills: int
    shared: int


@dataclass(frozen=True)
class LaunchPlan:
    """How one kernel of a program is launched.

    arguments: for each parameter of the kernel, its place among the params, workspaces and sizes of the program;
    grid(*sizes): blocks along x, y and z; shared: dynamic shared memory in bytes.
    """

    name: str
    arguments: tuple[int, ...]
    grid: Callable[..., Sequence[int]]
    block: tuple[int, int, int]
    shared: int


def release_cache() -> None:
    """Let the second-level cache of the current GPU evict what loads have asked it to keep, as it would anything."""
    ctypes.CDLL("libcuda.so.1").cuCtxResetPersistingL2Cache()


class _Call(NamedTuple):
    """A checked call: pointers of the params, values of the sizes, what the caller gets, the stream and the device."""

    views: list[DeviceArray]
    sizes: tuple[int, ...]
    results: list[Any]
    stream: int
    device: int


class GpuKernel(Signature):
    """A compiled function over GPU arrays. `tensorlang.build(s, target="cuda")` makes it, also where no GPU is.

    Call it with cupy arrays, torch tensors, or anything that offers DLPack in GPU memory, in the order that
    `signature` shows, or by name. It works on the stream that is current in the library of the first argument, or on
    `stream`, and does not wait. Outputs that are not given are allocated, as arrays of that library; with all outputs
    given, a call allocates nothing (but memory between kernels, once for each stream), so that it may be captured
    into a graph.

        c = f(a, b)                          # allocates c
        f(a, b, out=c, stream=stream)
        f.time(a, b).median                  # seconds a call

    A kernel is compiled without a GPU, too:

    >>> s.bind("C.i", "blockIdx.x")
    >>> s.bind("C.j", "threadIdx.x")
    >>> tl.build(s, tl.Target("cuda", arch="sm_90a")).signature
    'C(A: float32[8, 8], B: float32[8, 8]) -> C: float32[8, 8]'

    Raises ArgumentError, before anything is launched, if an argument does not fit, and DeviceError if this machine has
    no GPU that the kernel runs on. usage: registers and memory that each kernel of the program uses, by name.
    """

    def __init__(
        self,
        *,
        name: str,
        params: Sequence[Buffer],
        outputs: Sequence[Buffer],
        sizes: Sequence[Size],
        launches: Sequence[LaunchPlan],
        workspaces: Callable[..., Sequence[int]],
        aligned: Sequence[int],
        cubin: bytes,
        arch: str,
        wide: bool,
        usage: Mapping[str, Usage],
        source: Callable[[], str],
        asm: Callable[[], str],
        work: Callable[..., int] | None = None,
        peaks: Callable[[], Peaks] | None = None,
    ):
        """workspaces(*sizes): the bytes of each buffer between kernels; aligned: numbers of the params whose address
        must be a multiple of 16; wide: whether sizes are passed as 64 bits; work(*sizes): floating-point operations of
        a call; peaks: what the GPU can do."""
        super().__init__(name, params, outputs, sizes)
        self.launches, self.cubin, self.arch, self.usage = tuple(launches), cubin, arch, dict(usage)
        self.source, self.asm, self._work, self._peaks = source, asm, work, peaks
        self._workspaces = lru_cache(64)(workspaces)
        self._aligned = frozenset(aligned)
        self._size_type = np.int64 if wide else np.int32
        self._loaded: dict[int, list[Any]] = {}  # functions by device
        self._memory: dict[tuple[int, int], list[Any]] = {}  # workspaces by device and stream
        self._grids = lru_cache(64)(self._grids_of)

    def __repr__(self) -> str:
        return f"GpuKernel {self.signature}"

    def __call__(self, *args: Any, out: Any = None, stream: Any = None, **named: Any) -> Any:
        call = self._prepare(args, out, named, stream)
        self._launch(call)
        return call.results[0] if len(call.results) == 1 else tuple(call.results)

    # ------------------------------------------------------------------------------------------------ to elsewhere
    def packed(self) -> dict[str, Any]:
        """A JSON value from which `unpacked` makes the kernel again, in a process that need not compile anything.

        Raises ArgumentError if sizes are open.
        """
        if self.sizes:
            raise ArgumentError(
                f"{self.name}: expected a kernel of known sizes, got one with {self.sizes[0].name} open"
            )
        return {
            "name": self.name,
            "launches": [{**dataclasses.asdict(p), "grid": [int(n) for n in p.grid()]} for p in self.launches],
            "workspaces": [int(n) for n in self._workspaces()],
            "aligned": sorted(self._aligned),
            "cubin": base64.b64encode(self.cubin).decode(),
            "arch": self.arch,
            "wide": self._size_type is np.int64,
            "usage": {name: dataclasses.asdict(usage) for name, usage in self.usage.items()},
            "source": self.source(),
        }

    @classmethod
    def unpacked(cls, value: Mapping[str, Any], params: Sequence[Buffer], outputs: Sequence[Buffer]) -> GpuKernel:
        """The kernel that `packed` told of, with the parameters that it was built for."""
        stated = {name: value[name] for name in ("name", "aligned", "arch", "wide")}

        def always(known: Sequence[int]) -> Callable[..., Sequence[int]]:
            return lambda *_: known

        return cls(
            **stated,
            params=params,
            outputs=outputs,
            sizes=(),
            launches=[
                LaunchPlan(p["name"], tuple(p["arguments"]), always(p["grid"]), tuple(p["block"]), p["shared"])
                for p in value["launches"]
            ],
            workspaces=always(value["workspaces"]),
            cubin=base64.b64decode(value["cubin"]),
            usage={name: Usage(**usage) for name, usage in value["usage"].items()},
            source=lambda: value["source"],
            asm=lambda: "",
        )

    def time(self, *args: Any, out: Any = None, repeat: int = 20, cold: bool = False, **named: Any) -> Timing:
        """Time calls with these arguments by events on their stream; `repeat` runs of one call each, in seconds.

        cold: empty the second-level cache before each run, as it is for inputs that other work has made.
        """
        import cupy

        call = self._prepare(args, out, named, None)
        with cupy.cuda.Device(call.device):
            stream = cupy.cuda.ExternalStream(call.stream) if call.stream else cupy.cuda.Stream.null
            size = 4 * cupy.cuda.Device(call.device).attributes["L2CacheSize"] if cold else 0
            flush = cupy.empty(size, np.uint8)
            runs = []
            for number in range(repeat + 2):
                begin, end = cupy.cuda.Event(), cupy.cuda.Event()
                if cold:
                    release_cache()
                    flush.data.memset_async(number % 7, size, stream)
                begin.record(stream)
                self._launch(call)
                end.record(stream)
                end.synchronize()
                runs.append(cupy.cuda.get_elapsed_time(begin, end) / 1e3)
        runs = runs[2:]
        low, _, high = statistics.quantiles(runs, n=4, method="inclusive") if repeat > 1 else (0.0, 0.0, 0.0)
        return Timing(statistics.median(runs), high - low, min(runs), tuple(runs))

    def roofline(
        self, *args: Any, peaks: Peaks | None = None, out: Any = None, repeat: int = 20, **named: Any
    ) -> Roofline:
        """Time cold calls as `time` does, and set them beside the GPU's limits; print it, or show it in a notebook.

        peaks: by default those of the current GPU in float32, without tensor cores, measured when they are first
        needed, in about a second. The work of a call is what the program states; its traffic is each argument once.
        Raises ArgumentError and DeviceError as a call, and ValueError for a kernel that does not know its work.

        >>> f.roofline(a, b).share          # 1.0: no faster way, with the data in memory
        """
        if self._work is None or (peaks is None and self._peaks is None):
            raise ValueError(f"{self.name} does not know its work and the GPU's peaks: tensorlang.build tells it")
        timing = self.time(*args, out=out, repeat=repeat, cold=True, **named)
        call = self._prepare(args, out, named, None)
        size = sum(view.nbytes for view in call.views)
        return Roofline(self.name, self._work(*call.sizes), size, timing.median, peaks or self._peaks())  # type: ignore[misc]

    # ------------------------------------------------------------------------------------------------ launching
    def _launch(self, call: _Call) -> None:
        functions = self._loaded.get(call.device) or self._load(call.device)
        memory = self._workspace(call)
        values: list[Any] = [np.uint64(v.pointer) for v in call.views]
        values += [np.uint64(m.data.ptr) for m in memory]
        values += [self._size_type(size) for size in call.sizes]
        stream = _Stream(call.stream)
        for plan, function, grid in zip(self.launches, functions, self._grids(call.sizes), strict=True):
            if all(grid):
                arguments = tuple([values[n] for n in plan.arguments])
                function(grid, plan.block, arguments, shared_mem=plan.shared, stream=stream)

    def _grids_of(self, sizes: tuple[int, ...]) -> list[tuple[int, ...]]:
        grids = []
        for plan in self.launches:
            grid = tuple(max(0, int(n)) for n in plan.grid(*sizes))
            for axis, blocks, most in zip("xyz", grid, _BLOCKS_ALONG, strict=True):
                if blocks > most:
                    raise ArgumentError(f"{self.name}: {blocks} blocks along {axis} are more than the {most} of a grid")
            grids.append(grid)
        return grids

    def _workspace(self, call: _Call) -> list[Any]:
        sizes = self._workspaces(*call.sizes)
        if not sizes:
            return []
        key = (call.device, call.stream)
        memory = self._memory.get(key)
        if memory is None or any(m.nbytes < size for m, size in zip(memory, sizes, strict=True)):
            import cupy

            with cupy.cuda.Device(call.device):
                memory = self._memory[key] = [cupy.empty(max(1, int(size)), np.uint8) for size in sizes]
        return memory

    def _load(self, device: int) -> list[Any]:
        """The functions of the program on a device. Raises DeviceError."""
        cupy = _cupy(self.name)
        have = cupy.cuda.Device(device).compute_capability
        want = self.arch.removeprefix("sm_")
        exact = want.endswith("a")
        if not (have == want[:-1] if exact else have[:-1] == want[:-1] and int(have) >= int(want)):
            raise DeviceError(
                f"{self.name} was compiled for {self.arch}, but GPU {device} is sm_{have}: build it for that arch"
            )
        from cupy_backends.cuda.api import driver

        functions = []
        with cupy.cuda.Device(device):
            module = cupy.cuda.function.Module()
            module.load(self.cubin)
            for plan in self.launches:
                function = module.get_function(plan.name)
                if plan.shared:
                    driver.funcSetAttribute(function.ptr, _SHARED_ATTRIBUTE, plan.shared)
                functions.append(function)
        self._loaded[device] = functions
        return functions

    # ------------------------------------------------------------------------------------------------ arguments
    def _prepare(self, args: tuple[Any, ...], out: Any, named: dict[str, Any], stream: Any) -> _Call:
        """Check the arguments and allocate what is missing."""
        passed = self._arrange(args, out, named)
        views = [None if array is None else self._view(number, array) for number, array in enumerate(passed)]
        for number, view in enumerate(views):
            if view is not None and (view.dtype != self._dtypes[number] or len(view.shape) != self._ranks[number]):
                raise self._misfit(number, view)
        values, shapes = self._solve([None if view is None else view.shape for view in views])
        first = next((number for number, view in enumerate(views) if view is not None), None)
        if first is None:
            raise ArgumentError(f"{self.name}: pass out=, which tells where to compute; signature: {self.signature}")
        example, device = passed[first], views[first].device  # type: ignore[union-attr]
        for number, view in enumerate(views):
            if view is None:
                passed[number] = device_arrays.empty(example, shapes[number], self._dtypes[number], device)
                views[number] = self._view(number, passed[number])
            else:
                self._check(number, view, shapes[number], device)
        whole = [view for view in views if view is not None]
        for number in self._outputs:
            self._check_output(number, whole)
        handle = self._stream(stream, example, device)
        return _Call(whole, values, [passed[n] for n in self._outputs], handle, device)

    def _stream(self, stream: Any, example: Any, device: int) -> int:
        if stream is None:
            return device_arrays.current_stream(example, device)
        try:
            return device_arrays.stream_handle(stream)
        except Unusable as error:
            raise ArgumentError(
                f"{self.name}: stream: expected one of cupy or torch, or its handle, got {error}"
            ) from None

    def _view(self, number: int, array: Any) -> DeviceArray:
        try:
            return device_arrays.view(array)
        except Unusable as error:
            raise ArgumentError(f"{self._expected(number)} in GPU memory, got {error}") from None

    def _check(self, number: int, view: DeviceArray, shape: tuple[int, ...], device: int) -> None:
        if view.shape != shape or not view.compact:
            raise self._misfit(number, view)
        if view.device != device:
            raise ArgumentError(f"{self._expected(number)} on GPU {device}, got one on GPU {view.device}")
        if number in self._aligned and view.pointer % 16:
            raise ArgumentError(f"{self._expected(number)}, got one at an address that is no multiple of 16 (copy it)")

    def _check_output(self, number: int, views: list[DeviceArray]) -> None:
        """An output must be writable and share no memory with another argument."""
        view = views[number]
        if not view.writable:
            raise ArgumentError(f"{self._expected(number)}, writable; got a read-only array")
        begin, end = view.pointer, view.pointer + view.nbytes
        for other, there in enumerate(views):
            if other != number and begin < end and there.pointer < end and begin < there.pointer + there.nbytes:
                raise ArgumentError(
                    f"{self.name}: argument {self.params[number].name}: expected an output with memory of its own, "
                    f"got one that overlaps argument {self.params[other].name}"
                )

    def _misfit(self, number: int, view: DeviceArray) -> ArgumentError:
        came = f"{view.dtype.name}[{', '.join(map(str, view.shape))}]"
        right = view.dtype == self._dtypes[number] and len(view.shape) == self._ranks[number]
        hint = "" if view.compact or not right else " that is not compact and row-major (copy it)"
        return ArgumentError(f"{self._expected(number)}, got {came}{hint}; parameter {type_text(self.params[number])}")


class _Stream(NamedTuple):
    """A stream as cupy takes it."""

    ptr: int


def _cupy(name: str) -> Any:
    """The package cupy, with a GPU. Raises DeviceError."""
    try:
        import cupy
    except ImportError as error:
        raise DeviceError(f"{name} needs the package cupy to run: pip install 'tensorlang[cuda13]'") from error
    if not cupy.cuda.is_available():
        raise DeviceError(f"{name} needs a GPU to run, and this machine has none that CUDA can use")
    return cupy
