"""How programs for a GPU are checked without one."""

from __future__ import annotations

from typing import Any

import numpy as np

import tensorlang as tl
from tensorlang.backend import cuda
from tensorlang.ir import dtypes, interp_launch, walk
from tensorlang.ir.nodes import Func
from tensorlang.ir.verify import verify
from tests.gpu.programs import H100


def lowered(s: tl.Schedule, upto: str = "") -> Func:
    """The program after all passes, or after the last one named `upto`."""
    func = s.func
    names = [apply.__name__ for apply in cuda.PASSES]
    last = len(names) - 1 - names[::-1].index(upto) if upto else len(names) - 1
    for apply in cuda.PASSES[: last + 1]:
        func = apply(func, H100)
    if not upto:
        verify(func, "flat")
    return func


def inputs(s: tl.Schedule, seed: int = 0) -> list[np.ndarray]:
    """Small integers for the inputs."""
    rng = np.random.default_rng(seed)
    shapes = [(p, [int(d.value) for d in p.shape]) for p in s.func.params if p not in s.func.outputs]
    return [rng.integers(-4, 5, shape).astype(dtypes.to_numpy(p.dtype)) for p, shape in shapes]


def in_threads(s: tl.Schedule, arrays: list[np.ndarray]) -> list[np.ndarray]:
    """What the launch nests compute, one thread beside the other, on poisoned outputs."""
    func = lowered(s)
    given = iter(arrays)
    flat, results = [], []
    for param in s.func.params:
        if param in s.func.outputs:
            shape = [int(d.value) for d in param.shape]
            results.append(np.full(shape, 77, dtypes.to_numpy(param.dtype)))
            flat.append(results[-1].reshape(-1))
        else:
            flat.append(next(given).reshape(-1))
    interp_launch.run(func, flat)
    return results


def several(x: Any) -> list[np.ndarray]:
    return list(x) if isinstance(x, tuple) else [x]


def barriers_of(func: Func) -> int:
    return sum(1 for n in walk.visit(func) if getattr(n, "what", None) == "barrier")
