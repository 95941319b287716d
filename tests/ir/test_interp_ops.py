"""The interpreter: every op, scalars against vectors."""

import random

import numpy as np
import pytest

from tensorlang.ir import dtypes, interp, ops
from tensorlang.ir.nodes import (
    Buffer,
    Const,
    Expr,
    For,
    Func,
    Load,
    Op,
    Ramp,
    Store,
    Var,
    const,
)
from tests.ir.small_funcs import extents, nest

SPECIAL = [0.0, -0.0, 1.0, -1.0, 0.5, 2.5, -2.5, 1e-40, 1e30, -3e38, float("inf"), float("-inf"), float("nan")]


def random_array(rng: np.random.Generator, dtype: str, count: int) -> np.ndarray:
    if dtypes.is_float(dtype):
        values = rng.standard_normal(count) * 10.0 ** rng.integers(-3, 4, count)
        values[::3] = rng.choice(SPECIAL, len(values[::3]))
        with np.errstate(all="ignore"):
            return values.astype(dtypes.to_numpy(dtype))
    if dtype == "bool":
        return rng.integers(0, 2, count).astype(bool)
    info = np.iinfo(dtype)
    values = rng.integers(info.min, info.max, count, dtype=dtype, endpoint=True)
    values[::4] = rng.choice(np.array([info.min, info.max, 0, 1, 3], dtype), len(values[::4]))
    return values


def random_expr(rng: random.Random, leaves: dict[str, Expr], dtype: str, depth: int) -> Expr:
    """An expression of `dtype` over one leaf of each dtype, of any op but if_then_else and mathematics."""
    if depth == 0 or rng.random() < 0.1:
        return leaves[dtype]
    source = rng.choice(dtypes.DATA)
    choices = []
    for op, row in ops.OPS.items():
        if op in ops.MATH or op in ("if_then_else", "select", "cast", "reinterpret"):
            continue
        if row.result == "same" and ops.kind_of(dtype) in row.kinds:
            choices.append((op, dtype))
        elif row.result == dtype and ops.kind_of(source) in row.kinds:
            choices.append((op, source))
    choices += [("cast", source), ("select", dtype), ("reinterpret", source)]
    op, kind = rng.choice(choices)
    if op == "reinterpret":
        floats_off = not dtypes.is_float(kind) and kind != "bool" != dtype  # NaN payloads may differ
        if not floats_off or dtypes.bits(kind) != dtypes.bits(dtype):
            op = "cast"
    if op == "select":
        cond = random_expr(rng, leaves, "bool", depth - 1)
        return ops.make("select", cond, *(random_expr(rng, leaves, dtype, depth - 1) for _ in range(2)))
    args = [random_expr(rng, leaves, kind, depth - 1) for _ in range(ops.OPS[op].arity)]
    if op == "cast":
        return ops.cast(args[0], dtype)
    return ops.reinterpret(args[0], dtype) if op == "reinterpret" else ops.make(op, *args)


@pytest.mark.filterwarnings("ignore:invalid value encountered in isnan")
@pytest.mark.parametrize("dtype", dtypes.DATA)
def test_scalars_and_vectors_agree_on_random_expressions(dtype):
    rng, lanes = random.Random(dtype), 24
    numbers = np.random.default_rng(1)
    inputs = {d: Buffer(d, extents(lanes), d) for d in dtypes.DATA}
    out, i = Buffer("out", extents(lanes), dtype), Var("i")
    vector = Ramp(const(0), const(1), lanes)
    for _ in range(40):
        state = rng.getstate()
        scalar = random_expr(rng, {d: Load(b, (i,)) for d, b in inputs.items()}, dtype, 4)
        rng.setstate(state)
        wide = random_expr(rng, {d: Load(b, (vector,)) for d, b in inputs.items()}, dtype, 4)
        params = (*inputs.values(), out)
        arrays = [random_array(numbers, d, lanes) for d in inputs]
        results = []
        for body in (nest([(i, lanes)], Store(out, (i,), scalar)), Store(out, (vector,), wide)):
            results.append(np.zeros(lanes, dtypes.to_numpy(dtype)))
            interp.run(Func("random", params, (out,), body), [*arrays, results[-1]])
        one, many = (r if not dtypes.is_float(dtype) else np.where(np.isnan(r), np.nan, r) for r in results)
        assert one.astype(many.dtype).tobytes() == many.tobytes(), scalar


@pytest.mark.parametrize("dtype", dtypes.FLOATS)
@pytest.mark.parametrize("op", ops.MATH)
def test_mathematical_functions_are_close_to_numpy(op, dtype):
    a, b, out = (Buffer(name, extents(8), dtype) for name in ("A", "B", "out"))
    i = Var("i")
    loads = [Load(a, (i,)), Load(b, (i,))][: ops.OPS[op].arity]
    kind = dtypes.to_numpy(dtype)
    x, y = np.linspace(0.1, 1.4, 8).astype(kind), np.linspace(-2, 2, 8).astype(kind)
    result = np.zeros(8, kind)
    interp.run(
        Func("maths", (a, b, out), (out,), nest([(i, 8)], Store(out, (i,), ops.make(op, *loads)))), [x, y, result]
    )
    assert np.isfinite(result.astype(float)).all() and (result != 0).any()


def test_float32_constants_are_rounded():
    out = Buffer("out", extents(1), "float32")
    value = Op("mul", (Const(0.1, "float32"), Const(3.0, "float32")), "float32")
    result = np.full(1, np.nan, np.float32)
    interp.run(Func("constant", (out,), (out,), Store(out, (const(0),), value)), [result])
    assert result[0] == np.float32(0.1) * np.float32(3)


def test_shared_parts_are_computed_once():
    x = Load(Buffer("A", extents(1), "float32"), (const(0),))
    value: Expr = x
    for _ in range(60):
        value = value * value
    out = Buffer("out", extents(1), "float32")
    func = Func("power", (x.buffer, out), (out,), For(Var("i"), const(1), "serial", Store(out, (const(0),), value)))
    result = np.full(1, np.nan, np.float32)
    interp.run(func, [np.ones(1, np.float32), result])
    assert result[0] == 1
