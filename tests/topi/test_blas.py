"""topi/blas.py against NumPy: the expressions, and what routines of a few lines make of them, interpreted and compiled.

Numbers are small integers, so that sums are exact in any order.
"""

import numpy as np
import pytest

import tensorlang as tl
from tensorlang.schedule import library
from tensorlang.te_eval import evaluate
from tensorlang.topi import blas

LEVEL_1 = ("copy", "scal", "swap", "axpy", "axpby", "rot", "rotm", "dot", "dsdot", "asum", "nrm2", "iamax")
BY_ROWS = ("gemv", "ger", "syr", "syr2", "symv", "trmv_lower", "trmv_upper")
BY_COLUMNS = ("gemv_t", "gbmv", "sbmv", "tbmv")

SHAPES = {
    "gemv": [(7, 37), (1, 1), (19, 5)],
    "gemv_t": [(7, 37), (1, 1), (37, 19)],
    "ger": [(5, 37), (1, 1)],
    "gbmv": [(21, 19, 1, 3), (13, 21, 1, 0), (1, 1, 1, 1)],
    "sbmv": [(21, 3), (5, 0), (1, 2)],
    "tbmv": [(21, 3), (5, 0), (1, 2)],
}
CASES = [
    (name, shape)
    for name in (*LEVEL_1, *BY_ROWS, *BY_COLUMNS)
    for shape in SHAPES.get(name, [(1,), (37,), (70,)] if name in LEVEL_1 else [(1,), (7,), (21,)])
]


def expression(name, shape):
    made = getattr(blas, name)(*shape)
    return list(made) if isinstance(made, tuple) else [made]


def inputs_of(func, seed=0, length=None):
    """Arrays by name for the inputs of `func`, in the order of its parameters."""
    rng = np.random.default_rng(seed)
    arrays = {
        p.name: rng.integers(-3, 4, [getattr(d, "value", length) for d in p.shape]).astype(p.dtype)
        for p in func.params
        if p not in func.outputs
    }
    if "h" in arrays:
        arrays["h"][0] = seed % 4 - 2  # the flag of rotm
    return arrays


def expected(name, arrays):
    with np.errstate(all="ignore"):
        result = blas.NUMPY[name](**{key.lower(): array for key, array in arrays.items()})
    return result if isinstance(result, tuple) else (result,)


def placeholders(outputs):
    """The inputs of an expression by name."""
    found, todo = {}, list(outputs)
    while todo:
        tensor = todo.pop()
        todo += tensor.producer.reads if tensor.producer else []
        if tensor.producer is None:
            found[tensor.name] = tensor
    return found


def check(name, arrays, results):
    results = results if isinstance(results, tuple | list) else (results,)
    for wanted, got in zip(expected(name, arrays), results, strict=True):
        np.testing.assert_array_equal(got, wanted)


def scheduled(name, shape, lanes=4, vectors=2):
    s = tl.Schedule(expression(name, shape))
    if name in LEVEL_1:
        library.level_1(s, lanes, vectors)
    else:
        library.level_2(s, lanes, vectors, columns=name in BY_COLUMNS)
    return s


def test_every_kernel_is_here():
    operators = {n for n, f in vars(blas).items() if getattr(f, "__module__", "") == blas.__name__ and n[0] != "_"}
    assert operators == set(blas.NUMPY) == {*LEVEL_1, *BY_ROWS, *BY_COLUMNS} and len(operators) >= 20


@pytest.mark.parametrize(("name", "shape"), CASES)
@pytest.mark.parametrize("seed", range(4))
def test_expressions_agree_with_numpy(name, shape, seed):
    outputs = expression(name, shape)
    arrays = inputs_of(tl.create_func(outputs), seed)
    tensors = placeholders(outputs)
    check(name, arrays, evaluate(outputs, {tensors[key]: array for key, array in arrays.items()}))


@pytest.mark.parametrize(("name", "shape"), CASES)
def test_schedules_agree_with_numpy(name, shape):
    s = scheduled(name, shape)
    arrays = inputs_of(s.func)
    check(name, arrays, tl.interpret(s, *arrays.values()))
    check(name, arrays, tl.build(s)(*arrays.values()))


@pytest.mark.parametrize("name", sorted(blas.NUMPY))
def test_schedules_are_vectors_all_through(name):
    s = scheduled(name, SHAPES.get(name, [(37,)])[0])
    vectorized = {block.name for loop in s.find(kind="vectorize") for block in loop.blocks}
    reduced = {block.name for block in s.blocks() if block.producers and block.is_reduction}
    rest = {block.name for block in s.blocks() if block.loops} - reduced
    assert vectorized >= rest and vectorized


@pytest.mark.parametrize("name", ["axpy", "dot", "iamax"])
def test_one_kernel_for_all_lengths(name):
    n = tl.var("n")
    s = scheduled(name, (n,))
    kernel = tl.build(s)
    for length in (1, 3, 8, 37):
        arrays = inputs_of(s.func, length, length)
        check(name, arrays, kernel(*arrays.values()))


def test_elements_outside_a_triangle_do_not_count():
    for name, outside in (("trmv_lower", np.triu_indices(7, 1)), ("trmv_upper", np.tril_indices(7, -1))):
        s = scheduled(name, (7,))
        arrays = inputs_of(s.func)
        wanted = expected(name, arrays)[0]
        arrays["A"][outside] = np.nan
        np.testing.assert_array_equal(tl.build(s)(**arrays), wanted)
