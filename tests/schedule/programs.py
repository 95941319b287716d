"""Small programs to schedule, and what schedule tests ask of a step: it refuses cleanly, or it changes no number."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tensorlang as tl
from tensorlang.ir import dtypes, interp
from tensorlang.ir.nodes import (
    SERIAL,
    TRUE,
    Alloc,
    Block,
    Buffer,
    For,
    Func,
    Iter,
    Load,
    Size,
    Stmt,
    Store,
    Var,
    const,
    seq,
)
from tensorlang.ir.walk import find, same
from tensorlang.passes.compact import compacted
from tensorlang.passes.lower_blocks import lower_blocks
from tensorlang.passes.lower_init import lower_init
from tensorlang.schedule.schedule import Schedule
from tensorlang.schedule.trace import Trace
from tensorlang.target.target import Target


def matmul(m: Any = 10, n: Any = 12, k: Any = 7) -> tl.Tensor:
    a, b = tl.placeholder((m, k), name="A"), tl.placeholder((k, n), name="B")
    kk = tl.reduce_axis(k, name="k")
    return tl.compute((m, n), lambda i, j: tl.sum(a[i, kk] * b[kk, j], axis=kk), name="C")


def add(m: Any = 10, n: Any = 12) -> tl.Tensor:
    a, b = tl.placeholder((m, n), name="A"), tl.placeholder((m, n), name="B")
    return tl.compute((m, n), lambda i, j: a[i, j] + b[i, j], name="C")


def chain(m: Any = 10, n: Any = 12) -> tl.Tensor:
    """P, then C which reads P."""
    a = tl.placeholder((m, n), name="A")
    p = tl.compute((m, n), lambda i, j: a[i, j] * 2.0, name="P")
    return tl.compute((m, n), lambda i, j: p[i, j] + 1.0, name="C")


def row_sum(m: Any = 10, n: Any = 12) -> tl.Tensor:
    a = tl.placeholder((m, n), name="A")
    k = tl.reduce_axis(n, name="k")
    return tl.compute((m,), lambda i: tl.sum(a[i, k], axis=k), name="C")


def last_positive(m: Any = 10, n: Any = 3, p: Any = 4) -> tl.Tensor:
    """A reduction whose order counts: the last positive element of each slice."""
    a = tl.placeholder((m, n, p), name="A")
    last = tl.reducer(lambda x, y: tl.select(y > 0.0, y, x), 0.0, commutative=False)
    j, k = tl.reduce_axis(n, name="j"), tl.reduce_axis(p, name="k")
    return tl.compute((m,), lambda i: last(a[i, j, k], axis=(j, k)), name="C")


def triangle(extent: Any = None) -> Func:
    """C = A below the diagonal; or C.j runs to `extent`."""
    a, c = Buffer("A", (const(5), const(5)), "float32"), Buffer("C", (const(5), const(5)), "float32")
    i, j, x, y = Var("C.i"), Var("C.j"), Var("x"), Var("y")
    body = Store(c, (x, y), Load(a, (x, y)))
    block = Block("C", (Iter(x, const(5)), Iter(y, const(5))), (i, j), TRUE, None, None, body)
    inner = For(j, i + 1 if extent is None else extent, SERIAL, block)
    return Func("triangle", (a, c), (c,), For(i, const(5), SERIAL, inner))


def running() -> Func:
    """For each t and x: T[x] = A[t, x], then C[t, x] = T[0]. An iteration reads what another one has written."""
    a, c = Buffer("A", (const(3), const(4)), "float32"), Buffer("C", (const(3), const(4)), "float32")
    t, x, held = Var("C.t"), Var("C.x"), Buffer("T", (const(4),), "float32")

    def block(name: str, store: Callable[[Var, Var], Stmt]) -> Block:
        iters = Iter(Var("t"), const(3)), Iter(Var("x"), const(4))
        return Block(name, iters, (t, x), TRUE, None, None, store(iters[0].var, iters[1].var))

    write = block("P", lambda i, j: Store(held, (j,), Load(a, (i, j))))
    read = block("C", lambda i, j: Store(c, (i, j), Load(held, (const(0),))))
    nest = For(t, const(3), SERIAL, For(x, const(4), SERIAL, seq(write, read)))
    return Func("running", (a, c), (c,), Alloc(held, nest))


def arguments(
    func: Func, sizes: dict[str, int] = {}, seed: int = 0
) -> tuple[dict[Buffer, np.ndarray], dict[Size, int]]:
    """Arrays of small integers for the inputs of `func`, poisoned ones for the outputs; and its sizes."""
    rng = np.random.default_rng(seed)
    by_size = {v: sizes[v.name] for p in func.params for d in p.shape for v in [d] if isinstance(v, Size)}
    arrays = {}
    for param in func.params:
        shape = [by_size[d] if isinstance(d, Size) else d.value for d in param.shape]
        array = rng.integers(-4, 5, shape).astype(dtypes.to_numpy(param.dtype))
        arrays[param] = np.full_like(array, 77) if param in func.outputs else array
    return arrays, by_size


def outputs(func: Func, sizes: dict[str, int] = {}, seed: int = 0) -> list[np.ndarray]:
    """What `func` computes by the interpreter."""
    arrays, by_size = arguments(func, sizes, seed)
    interp.run(func, arrays, by_size)
    return [arrays[p] for p in func.outputs]


def check_kernel(before: Func, s: Schedule, *all_sizes: dict[str, int]) -> None:
    """The compiled schedule computes what `before` does, for all these sizes, and check_numbers holds."""
    kernel = tl.build(s)
    for sizes in all_sizes or ({},):
        check_numbers(before, s, sizes)
        arrays, _ = arguments(before, sizes)
        results = kernel(*(a for p, a in arrays.items() if p not in before.outputs))
        results = results if isinstance(results, tuple) else (results,)
        for expected, got in zip(outputs(before, sizes), results, strict=True):
            np.testing.assert_array_equal(expected, got)


def check_numbers(before: Func, s: Schedule, sizes: dict[str, int] = {}) -> None:
    """The schedule computes what `before` does, and its trace makes the same program again."""
    for expected, got in zip(outputs(before, sizes), outputs(s.func, sizes), strict=True):
        np.testing.assert_array_equal(expected, got)
    check_replay(before, s)


def check_replay(before: Func, s: Schedule) -> None:
    """The stored trace makes the same program, with the same names, and the same trace again."""
    stored = Trace.from_json(s.trace.to_json())
    again = stored.apply(before)
    if not s.trace.knobs:
        assert same(again.func, s.func)
    assert str(again) == str(s)
    assert again.trace.to_json() == s.trace.to_json()


def refused(s: Schedule, reason: str, step: Callable[[], Any]) -> tl.ScheduleError:
    """`step` is refused for that reason and leaves `s` as it was, names included."""
    before = (s.func, s.trace, s.constraints, dict(s._consumed))
    with pytest.raises(tl.ScheduleError) as caught:
        step()
    assert caught.value.reason == reason, caught.value
    assert s.func is before[0]
    assert s.trace is before[1]
    assert (s.constraints, s._consumed) == before[2:]
    assert caught.value.primitive and "\n" not in caught.value.oneline
    return caught.value


def before_and_after(before: Schedule | Func, after: Schedule) -> str:
    return f"{before}\n\n-->\n\n{after!s}\n\n{after.trace!s}\n"


def blur(m: Any = 10, n: Any = 11) -> tl.Tensor:
    """A padded input P, sums of three in a row H, then sums of three in a column C."""
    a = tl.placeholder((m, n), name="A")
    inside = lambda i, j: (i >= 1) & (i < m + 1) & (j >= 1) & (j < n + 1)  # noqa: E731
    p = tl.compute((m + 2, n + 2), lambda i, j: tl.if_then_else(inside(i, j), a[i - 1, j - 1], 0.0), name="P")
    h = tl.compute((m + 2, n), lambda i, j: p[i, j] + p[i, j + 1] + p[i, j + 2], name="H")
    return tl.compute((m, n), lambda i, j: h[i, j] + h[i + 1, j] + h[i + 2, j], name="C")


def convolution(m: Any = 9, n: Any = 10) -> tl.Tensor:
    """A 3 x 3 convolution C of P, which is A doubled."""
    a, w = tl.placeholder((m + 2, n + 2), name="A"), tl.placeholder((3, 3), name="W")
    p = tl.compute((m + 2, n + 2), lambda i, j: a[i, j] * 2.0, name="P")
    y, x = tl.reduce_axis(3, name="y"), tl.reduce_axis(3, name="x")
    return tl.compute((m, n), lambda i, j: tl.sum(p[i + y, j + x] * w[y, x], axis=(y, x)), name="C")


def normalised(m: Any = 7, n: Any = 9) -> tl.Tensor:
    """Like a softmax, with exact numbers: top = max of a row, E = A - top, total = sum of E, C = E * 4 - total."""
    a = tl.placeholder((m, n), name="A")
    k, l = tl.reduce_axis(n, name="k"), tl.reduce_axis(n, name="l")  # noqa: E741
    top = tl.compute((m,), lambda i: tl.max(a[i, k], axis=k), name="top")
    e = tl.compute((m, n), lambda i, j: a[i, j] - top[i], name="E")
    total = tl.compute((m,), lambda i: tl.sum(e[i, l], axis=l), name="total")
    return tl.compute((m, n), lambda i, j: e[i, j] * 4.0 - total[i], name="C")


def biased_matmul(m: Any = 10, n: Any = 12, k: Any = 7) -> tl.Tensor:
    """C, then E = C + bias, clipped below at 0."""
    c, bias = matmul(m, n, k), tl.placeholder((n,), name="bias")
    return tl.compute((m, n), lambda i, j: tl.maximum(c[i, j] + bias[j], 0.0), name="E")


def compact_form(s: Schedule) -> Func:
    """The program once its buffers are compact."""
    host = Target("llvm")
    return compacted(lower_blocks(lower_init(s.func, host), host))


def shapes(s: Schedule) -> dict[str, str]:
    """The shapes of the buffers once they are compact."""
    return {alloc.buffer.name: repr(list(alloc.buffer.shape)) for alloc in find(compact_form(s), Alloc)}


def check_compact(before: Func, s: Schedule, sizes: dict[str, int] = {}) -> None:
    """As check_numbers, and the same once buffers are compact."""
    check_numbers(before, s, sizes)
    for expected, got in zip(outputs(before, sizes), outputs(compact_form(s), sizes), strict=True):
        np.testing.assert_array_equal(expected, got)
