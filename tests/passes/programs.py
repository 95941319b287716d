"""Programs for the tests of passes, and the check that a pass changes no number."""

from typing import Any

import numpy as np

import tensorlang as tl
from tensorlang.backend.llvm import PASSES
from tensorlang.ir import dtypes, interp, walk
from tensorlang.ir.nodes import Expr, Func
from tensorlang.ir.verify import verify
from tensorlang.passes.flatten import flatten

NARROW = tl.Target("llvm", cpu="x86-64-v3")  # 8 floats a vector: small programs have whole ones and tails


def matmul(m: Any, n: Any, k: Any, lanes: int = 8) -> tl.Schedule:
    """C[m, n] in register tiles of 4 by 2 vectors."""
    a, b = tl.placeholder((m, k), name="A"), tl.placeholder((k, n), name="B")
    kk = tl.reduce_axis(k, name="k")
    s = tl.Schedule(tl.compute((m, n), lambda i, j: tl.sum(a[i, kk] * b[kk, j], axis=kk), name="C"))
    i, j, kk = s.loops("C")
    i0, i1 = s.split(i, [None, 4])
    j0, j1, vector = s.split(j, [None, 2, lanes])
    s.reorder(i0, j0, kk, i1, j1, vector)
    s.unroll(i1)
    s.unroll(j1)
    s.vectorize(vector)
    return s


def lowered(x: tl.Schedule | Func, upto: str, target: tl.Target = NARROW) -> Func:
    """The program after the last pass named `upto`."""
    func = x if isinstance(x, Func) else x.func
    last = max(n for n, p in enumerate(PASSES) if p.__name__ == upto)
    for apply in PASSES[: last + 1]:
        func = apply(func, target)
    return func


def results(func: Func, seed: int = 0) -> list[np.ndarray]:
    """Outputs of the interpreter for random inputs; outputs start poisoned."""
    rng = np.random.default_rng(seed)
    arrays = []
    for param in func.params:
        shape = tuple(int(d.value) for d in param.shape)
        values = rng.integers(-4, 5, shape).astype(dtypes.to_numpy(param.dtype))
        arrays.append(np.full_like(values, 77) if any(param is o for o in func.outputs) else values)
    interp.run(func, arrays)
    return [a.reshape(-1) for a, p in zip(arrays, func.params, strict=True) if any(p is o for o in func.outputs)]


def check_all_passes(x: tl.Schedule, target: tl.Target = NARROW) -> None:
    """No pass changes a number: the interpreter runs the program before the first and after each pass."""
    func = x.func
    expected = results(func)
    for apply in PASSES:
        func = apply(func, target)
        # Vectors have no meaning before they are flat.
        vectors = any(isinstance(n, Expr) and n.lanes > 1 for n in walk.visit(func))
        runs = flatten(func, target) if vectors else func
        verify(runs, "flat" if vectors else "loop")
        for a, b in zip(results(runs), expected, strict=True):
            np.testing.assert_array_equal(a, b, err_msg=apply.__name__)
