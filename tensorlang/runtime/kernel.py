"""A compiled function over arrays: argument checks, allocation of outputs, the native call, timing."""

from __future__ import annotations

import ctypes
import math
import statistics
import struct
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np

from tensorlang.display.roofline import Peaks, Roofline
from tensorlang.errors import ArgumentError
from tensorlang.ir.nodes import Buffer, Size
from tensorlang.runtime import arrays, records
from tensorlang.runtime.signature import Signature


@dataclass(frozen=True)
class Timing:
    """Seconds a call, from several runs of many calls each; `spread` is the interquartile range of `runs`."""

    median: float
    spread: float
    minimum: float
    runs: tuple[float, ...]


class _Call(NamedTuple):
    """A checked call: the arrays, which must live until it is over; the native arguments; what the caller gets."""

    arrays: list[np.ndarray]
    native: list[int]
    results: list[Any]


class Kernel(Signature):
    """A compiled function over arrays. `tensorlang.build` makes it.

    Call it with arrays in the order that `signature` shows, or by name: NumPy arrays, or anything that offers DLPack
    in CPU memory. Outputs that are not given are allocated, and come back as arrays of the library that the first
    input is of. Any thread may call it, several at a time; the GIL is released meanwhile.

    >>> c = f(a, b)                # allocates c
    >>> f(a, b, out=c) is c        # writes to c; several outputs: out=(c, d), with None for those to allocate
    True
    >>> f(A=a, B=b)                # by the names of the parameters
    >>> f.time(a, b).median        # seconds a call

    Raises ArgumentError, before anything is written, if an argument does not fit.

    repeat: address of `void(int64 times, int64 *arguments)`, where the arguments are the addresses of the parameters,
    the sizes and the address of the workspace; workspace(*sizes): bytes of scratch memory that a call needs;
    work(*sizes): floating-point operations of a call; peaks: what the machine can do; keepalive: what owns the machine
    code.
    """

    def __init__(
        self,
        *,
        name: str,
        params: Sequence[Buffer],
        outputs: Sequence[Buffer],
        sizes: Sequence[Size],
        repeat: int,
        workspace: Callable[..., int],
        source: Callable[[], str],
        asm: Callable[[], str],
        work: Callable[..., int] | None = None,
        peaks: Callable[[], Peaks] | None = None,
        keepalive: object = None,
    ):
        super().__init__(name, params, outputs, sizes)
        self.source, self.asm = source, asm
        self._work, self._peaks, self._keepalive = work, peaks, keepalive
        self._repeat = ctypes.CFUNCTYPE(None, ctypes.c_int64, ctypes.c_void_p)(repeat)
        self._code, self._packed = repeat, struct.Struct(f"{len(self.params) + len(self.sizes) + 1}q").pack
        self._workspace = lru_cache(64)(workspace)
        self._workspace_bytes = -1 if self.sizes else workspace()  # -1: depends on the sizes
        self._free_workspaces: list[np.ndarray] = []  # append and pop are atomic: no lock is needed
        self._may_record = self._in_order()
        self._seen: tuple[int, ...] = ()
        self._record: np.ndarray | None = None  # of the last call, if it need not be checked again

    def __call__(self, *args: Any, out: Any = None, **named: Any) -> Any:
        return self._checked_call(*args, out=out, **named)

    def _checked_call(self, *args: Any, out: Any = None, **named: Any) -> Any:
        call = self._prepare(args, out, named)
        self._run(1, call.native)
        if self._may_record and not named:
            given = args if out is None else (*args, *out) if type(out) is tuple else (*args, out)
            if len(given) == len(self.params):
                self._remember(given, call.native)
        return call.results[0] if len(call.results) == 1 else tuple(call.results)

    def _remember(self, given: tuple[Any, ...], native: list[int]) -> None:
        """What the next call need not check again: all parameters, `given` in their order for the second time."""
        seen, self._seen = self._seen, tuple(map(id, given))
        if seen == self._seen:
            self._record = records.make(
                given, len(self.outputs), self._dtypes, self._code, native, self._scratch(native)
            )
            if self._record is not None:
                self._free_workspaces.clear()  # the record has one of its own
                records.install(Kernel, "_record", "_checked_call")

    def time(self, *args: Any, out: Any = None, repeat: int = 5, min_seconds: float = 0.05, **named: Any) -> Timing:
        """Time calls with these arguments: `repeat` runs of at least `min_seconds` each, in a native loop.

        Results are in seconds a call, without Python's part of it. One call warms up. Outputs are as by a call.

        >>> f.time(a, b).median < 1.0
        True
        """
        if repeat < 1:
            raise ArgumentError(f"{self.name}: repeat must be at least 1, got {repeat}")
        call = self._prepare(args, out, named)
        self._run(1, call.native)
        calls = 1
        seconds = self._seconds(calls, call.native)
        while seconds < min_seconds:
            # A short run says little about a long one, so approach the wanted length in steps.
            calls *= min(max(math.ceil(1.1 * min_seconds / max(seconds, 1e-9)), 2), 100)
            seconds = self._seconds(calls, call.native)
        runs = tuple(self._seconds(calls, call.native) / calls for _ in range(repeat))
        low, _, high = statistics.quantiles(runs, n=4, method="inclusive") if repeat > 1 else (0.0, 0.0, 0.0)
        return Timing(statistics.median(runs), high - low, min(runs), runs)

    def roofline(
        self,
        *args: Any,
        peaks: Peaks | None = None,
        out: Any = None,
        repeat: int = 5,
        min_seconds: float = 0.05,
        **named: Any,
    ) -> Roofline:
        """Time calls as `time` does, and set them beside the machine's limits; print it, or show it in a notebook.

        peaks: by default those of this machine, measured when they are first needed, in about a second. The work of
        a call is what the program states; its traffic is each argument once. Raises ArgumentError, and ValueError
        for a kernel that does not know its work or the machine's peaks.

        >>> f.roofline(a, b).share          # 1.0: no faster way, with the data in memory
        """
        if self._work is None or (peaks is None and self._peaks is None):
            raise ValueError(f"{self.name} does not know its work and the machine's peaks: tensorlang.build tells it")
        timing = self.time(*args, out=out, repeat=repeat, min_seconds=min_seconds, **named)
        call = self._prepare(args, out, named)
        flops, size = self._work(*call.native[len(self.params) :]), sum(array.nbytes for array in call.arrays)
        return Roofline(self.name, flops, size, timing.median, peaks or self._peaks())  # type: ignore[misc]

    # ------------------------------------------------------------------------------------------ the native call
    def _run(self, times: int, native: Sequence[int]) -> None:
        """Call the kernel so many times with a workspace of its own."""
        size = self._scratch(native)
        if not size:
            self._repeat(times, self._packed(*native, 0))
            return
        try:
            workspace = self._free_workspaces.pop()
        except IndexError:  # the first call, or one beside another
            workspace = None
        if workspace is None or workspace.size < size:
            workspace = arrays.empty((size,), np.dtype(np.uint8))
        self._repeat(times, self._packed(*native, arrays.address(workspace)))
        self._free_workspaces.append(workspace)

    def _scratch(self, native: Sequence[int]) -> int:
        """Bytes of the workspace."""
        size = self._workspace_bytes
        return size if size >= 0 else self._workspace(*native[len(self.params) :])

    def _seconds(self, calls: int, native: Sequence[int]) -> float:
        start = time.perf_counter()
        self._run(calls, native)
        return time.perf_counter() - start

    # ------------------------------------------------------------------------------------------ arguments
    def _prepare(self, args: tuple[Any, ...], out: Any, named: dict[str, Any]) -> _Call:
        """Check the arguments and allocate what is missing."""
        passed = self._arrange(args, out, named)
        views = list(passed)
        for number, view in enumerate(views):
            if view is None:
                continue
            if type(view) is not np.ndarray:
                views[number] = view = self._view(number, view)
            if view.dtype != self._dtypes[number] or view.ndim != self._ranks[number]:
                raise self._misfit(number, view)
        values, shapes = self._solve([None if view is None else view.shape for view in views])
        native: list[int] = []
        for number, view in enumerate(views):
            if view is None:
                views[number] = view = arrays.empty(shapes[number], self._dtypes[number])
            else:
                flags = view.flags
                if view.shape != shapes[number] or not flags.c_contiguous or not flags.aligned:
                    raise self._misfit(number, view, values)
            native.append(arrays.address(view))
        for number in self._outputs:
            if passed[number] is not None:
                self._check_output(number, views, native)
        native.extend(values)
        example = passed[self._inputs[0]] if self._inputs else None
        return _Call(views, native, [self._result(passed[n], views[n], example) for n in self._outputs])

    def _view(self, number: int, array: Any) -> np.ndarray:
        try:
            return arrays.as_numpy(array)
        except arrays.Unusable as error:
            raise ArgumentError(f"{self._expected(number)}, got {error}") from None

    def _check_output(self, number: int, views: list[np.ndarray], addresses: list[int]) -> None:
        """An output must be writable and share no memory with another argument."""
        name = self.params[number].name
        if not views[number].flags.writeable:
            raise ArgumentError(f"{self._expected(number)}, writable; got a read-only array")
        begin, end = addresses[number], addresses[number] + views[number].nbytes
        for other, view in enumerate(views):
            if begin < end and other != number and addresses[other] < end and begin < addresses[other] + view.nbytes:
                raise ArgumentError(
                    f"{self.name}: argument {name}: expected an output with memory of its own, "
                    f"got one that overlaps argument {self.params[other].name}"
                )

    def _result(self, passed: Any, view: np.ndarray, example: Any) -> Any:
        if passed is not None:
            return passed
        return view if example is None else arrays.like(example, view)

    def _misfit(self, number: int, view: np.ndarray, values: Sequence[int] = ()) -> ArgumentError:
        """The error for an array of the wrong dtype, shape or layout."""
        param, known = self.params[number], ""
        if values:
            known = f" with {', '.join(f'{s.name} = {v}' for s, v in zip(self.sizes, values, strict=True))}"
        order = "" if view.dtype.isnative else " in the other byte order"
        came = f"{view.dtype.name}[{', '.join(map(str, view.shape))}]{order}"
        hint = ""
        if view.dtype != self._dtypes[number]:
            extra = hasattr(ml_dtypes, param.dtype)
            hint = f" (convert it: astype({f'ml_dtypes.{param.dtype}' if extra else repr(param.dtype)}))"
        elif values or not self.sizes:
            shape = self._shapes.of(tuple(values))[number]
            if view.shape == shape and not view.flags.c_contiguous:
                came += f" with strides {view.strides}"
                hint = " (row-major, compact memory is needed: numpy.ascontiguousarray)"
            elif view.shape == shape:
                came += " at an address that is no multiple of its element size"
                hint = " (copy it)"
        return ArgumentError(f"{self._expected(number)}{known}, got {came}{hint}")
