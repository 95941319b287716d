"""What must hold: every way of computing a scheduled expression gives the same bits, and a refusal changes nothing."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import tensorlang as tl
from tensorlang.ir import interp, ops
from tensorlang.ir.evaluate import numpy_function
from tensorlang.ir.nodes import SERPENTINE, THREAD_AXES, Buffer, For, Func, Node
from tensorlang.ir.verify import verify
from tensorlang.ir.walk import find, substitute, transform
from tensorlang.te_eval import evaluate

Arrays = dict[str, np.ndarray]
GUARD = 64  # bytes before and behind every array, which nobody may touch
POISON = 0xCD
INDEPENDENT = ("parallel", "vectorize", *THREAD_AXES)


class Failure(Exception):
    """What must not be. kind: what went wrong, the same for what is most likely the same bug."""

    def __init__(self, kind: str, details: str):
        self.kind, self.details = kind, details
        super().__init__(f"{kind}\n{details}")


def attempt(s: tl.Schedule, step: str, names: Mapping[str, Any]) -> tl.ScheduleError | None:
    """Do a step, given as source text: `split("C.i", [None, 3])`. Returns the refusal, if it is refused.

    Raises Failure if the refusal has changed the schedule or says too little, and for any other exception.
    """
    before = _state(s)
    try:
        guard(f"step {step.split('(')[0]}", lambda: eval(f"s.{step}", {**names, "s": s}))
    except tl.ScheduleError as error:
        if not all(a is b or a == b for a, b in zip(before, _state(s), strict=True)):
            raise Failure(f"{step.split('(')[0]}: a refusal changed the schedule", str(error)) from None
        if not (error.reason and error.message and error.primitive):
            raise Failure(f"{step.split('(')[0]}: a refusal says too little", str(error)) from None
        return error
    return None


def _state(s: tl.Schedule) -> tuple:
    return s.func, s.trace, s.constraints, dict(s._consumed)


def guard(what: str, action: Callable[[], Any]) -> Any:
    """The result of `action`; an exception other than ScheduleError becomes a Failure that says where it came from."""
    try:
        return action()
    except (tl.ScheduleError, Failure):
        raise
    except Exception as error:
        frames = [f for f in traceback.extract_tb(error.__traceback__) if "tensorlang" in f.filename]
        last = frames[-1] if frames else traceback.extract_tb(error.__traceback__)[-1]
        kind = f"{what}: {type(error).__name__} in {Path(last.filename).name}:{last.name}"
        raise Failure(kind, traceback.format_exc()) from error


def check(
    s: tl.Schedule,
    outputs: Sequence[tl.Tensor],
    sizes: Mapping[Any, int],
    seed: int,
    native: bool = True,
    thorough: bool = True,
) -> None:
    """The te evaluator, the interpreter before and after lowering, and (if `native`) the kernel agree bit for bit.

    Also: independent iterations may run backwards, and the trace makes the same program again; the latter, and what
    LLVM's optimisations make of the kernel, only if `thorough`, as both take long. Raises Failure.
    """
    inputs = random_inputs(outputs, sizes, seed)
    expected = guard("te_eval", lambda: evaluate(outputs, inputs, sizes))
    by_name = {t.name: a for t, a in inputs.items()}
    want = {t.name: a for t, a in zip(outputs, expected, strict=True)}
    func = s.func
    compare("interpreter", want, interpreted("interpreter", func, func, by_name, sizes))
    turned = run_backwards(func)
    if turned is not func:
        compare("interpreter, backwards", want, interpreted("interpreter, backwards", turned, func, by_name, sizes))
    if thorough:
        guard("trace", lambda: check_trace(s, outputs))
    module = guard("lower", lambda: tl.lower(s))
    guard("verify", lambda: verify(module.func, "flat"))
    compare("lowered", want, interpreted("lowered", module.func, func, by_name, sizes))
    if native:
        compare("kernel", want, guard("kernel", lambda: call_kernel(module, by_name, sizes, thorough)))


def placeholders(outputs: Sequence[tl.Tensor]) -> list[tl.Tensor]:
    """The placeholders that `outputs` are computed from, by first use."""
    reached = list(outputs)
    for tensor in reached:
        reached += [] if tensor.producer is None else [t for t in tensor.producer.reads if t not in reached]
    return [t for t in reached if t.producer is None]


def random_inputs(outputs: Sequence[tl.Tensor], sizes: Mapping[Any, int], seed: int) -> dict[tl.Tensor, np.ndarray]:
    """Small whole numbers for every placeholder."""
    rng = np.random.default_rng(seed)
    tensors = sorted(placeholders(outputs), key=lambda t: t.name)
    arrays: dict[tl.Tensor, np.ndarray] = {}
    for tensor in tensors:
        low = 0 if tensor.dtype.startswith("u") or tensor.dtype == "bool" else -4
        high = 2 if tensor.dtype == "bool" else 5
        arrays[tensor] = rng.integers(low, high, shape_of(tensor, sizes)).astype(tl.dtypes.to_numpy(tensor.dtype))
    return arrays


def shape_of(buffer: Buffer, sizes: Mapping[Any, int]) -> list[int]:
    """The shape of `buffer` in numbers."""
    return [int(d) for d in numpy_function(buffer.shape, list(sizes))(*sizes.values())]


def guarded(func: Func, inputs: Arrays, sizes: Mapping[Any, int]) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Arrays for the parameters of `func`, outputs poisoned, and the memory around them, poisoned as well."""
    arrays, memories = [], []
    for param in func.params:
        array, memory = poisoned(shape_of(param, sizes), tl.dtypes.to_numpy(param.dtype))
        if param.name in inputs:
            array[...] = inputs[param.name]
        arrays.append(array)
        memories.append(memory)
    return arrays, memories


def poisoned(shape: Sequence[int], dtype: np.dtype) -> tuple[np.ndarray, np.ndarray]:
    """An array full of values that no computation here gives, in the midst of memory that belongs to nobody."""
    size = int(np.prod(shape)) * dtype.itemsize
    memory = np.full(size + 3 * GUARD, POISON, np.uint8)
    begin = GUARD + -memory.ctypes.data % GUARD
    return memory[begin : begin + size].view(dtype).reshape(shape), memory


def untouched(name: str, array: np.ndarray, memory: np.ndarray) -> None:
    """Nobody wrote around the array."""
    begin = array.ctypes.data - memory.ctypes.data
    around = np.concatenate([memory[:begin], memory[begin + array.nbytes :]])
    if (around != POISON).any():
        raise Failure("kernel: wrote outside a buffer", f"around {name}: {np.flatnonzero(around != POISON)}")


def interpreted(what: str, func: Func, signature: Func, inputs: Arrays, sizes: Mapping[Any, int]) -> Arrays:
    """The outputs of `func`, loop-level or flat, by the interpreter."""
    arrays, _ = guarded(signature, inputs, sizes)
    guard(what, lambda: interp.run(func, arrays, sizes))
    return {p.name: a for p, a in zip(signature.params, arrays, strict=True) if p in signature.outputs}


def call_kernel(module: tl.Module, inputs: Arrays, sizes: Mapping[Any, int], optimize: bool = True) -> Arrays:
    """The outputs of the compiled kernel; nothing but the outputs is written."""
    kernel = tl.build(module, optimize=optimize)
    signature = Func(module.name, module.params, module.outputs, module.func.body)
    arrays, memories = guarded(signature, inputs, sizes)
    scratch = module.workspace()(*(sizes[v] for v in module.sizes))
    workspace, beyond = poisoned((scratch,), np.dtype(np.uint8))
    kernel._free_workspaces.append(workspace)
    kernel(*arrays)
    for param, array, memory in zip(module.params, arrays, memories, strict=True):
        untouched(param.name, array, memory)
        if param.name in inputs and array.tobytes() != np.ascontiguousarray(inputs[param.name]).tobytes():
            raise Failure("kernel: wrote an input", param.name)
    untouched("the workspace", workspace, beyond)
    return {p.name: a for p, a in zip(module.params, arrays, strict=True) if p in module.outputs}


def compare(what: str, expected: Arrays, got: Arrays) -> None:
    """The arrays are equal bit for bit, but that one NaN is like another."""
    for name, want in expected.items():
        if not equal(want, got[name]):
            where = np.argwhere(bits(want) != bits(got[name]))[:5].tolist()
            details = f"{name} differs at {where}\nexpected\n{want}\ngot\n{got[name]}"
            raise Failure(f"{what}: wrong numbers", details)


def equal(a: np.ndarray, b: np.ndarray) -> bool:
    return a.dtype == b.dtype and a.shape == b.shape and np.array_equal(bits(a), bits(b))


def bits(array: np.ndarray) -> np.ndarray:
    """The elements as unsigned integers, all NaNs alike."""
    whole = np.ascontiguousarray(array).view(f"u{array.dtype.itemsize}").reshape(array.shape)
    return whole if array.dtype.kind in "biu" else np.where(np.isnan(array), np.array(1, whole.dtype), whole)


def run_backwards(func: Func, kinds: Collection[str] = INDEPENDENT) -> Func:
    """`func`, whose loops of these kinds run the last iteration first, as independent iterations may; so do those of
    serpentine loops that turn by a loop of several iterations, in all of these."""
    extents = {loop.var.name: loop.extent for loop in find(func.body, For)}

    def turn(node: Node) -> Node:
        if not isinstance(node, For):
            return node
        last_first = node.extent - 1 - node.var
        outer = extents.get(dict(node.annotations).get(SERPENTINE, ""))
        if outer is not None and node.kind not in kinds:
            last_first = ops.make("select", outer > 1, last_first, node.var)
        elif node.kind not in kinds:
            return node
        return node.replace(body=substitute(node.body, {node.var: last_first}))

    return func.with_body(transform(func.body, turn))


def check_trace(s: tl.Schedule, outputs: Sequence[tl.Tensor]) -> None:
    """The stored trace makes the same program, with the same names, and the same trace again."""
    try:
        again = tl.Trace.from_json(s.trace.to_json()).apply(list(outputs), intrinsics=s.intrinsics)
    except tl.ScheduleError as error:
        raise Failure("trace: refused at replay", str(error)) from None
    if str(again) != str(s) or again.trace.to_json() != s.trace.to_json():
        raise Failure("trace: makes another program", f"{s}\n\nreplayed\n\n{again}")
    compile("import tensorlang as tl\n" + s.trace.as_python(), "<trace>", "exec")
