"""topi/linalg.py against NumPy."""

import numpy as np
import pytest

import tensorlang as tl
from tensorlang.te_eval import evaluate
from tensorlang.topi import linalg

SHAPES = {
    "matmul": [(4, 5, 6), (1, 1, 1), (3, 2, 0), (0, 2, 3)],
    "batch_matmul": [(2, 3, 4, 5), (1, 2, 1, 0)],
    "matvec": [(4, 5), (3, 0)],
}


@pytest.mark.parametrize(("name", "shape"), [(name, shape) for name, shapes in SHAPES.items() for shape in shapes])
@pytest.mark.parametrize(("dtype", "out"), [("float32", None), ("int8", "int32"), ("float16", "float32")])
def test_operators_agree_with_numpy(name, shape, dtype, out):
    rng = np.random.default_rng(0)
    c = getattr(linalg, name)(*shape, dtype=dtype, out_dtype=out)
    inputs = {p: rng.integers(-3, 4, [d.value for d in p.shape]).astype(p.dtype) for p in c.producer.reads}
    result = evaluate(c, inputs)[0]
    wide = (array.astype(out or dtype) for array in inputs.values())
    expected = linalg.NUMPY[name](*wide)
    assert result.dtype == expected.dtype == np.dtype(out or dtype)
    np.testing.assert_array_equal(result, expected)


def test_sizes_may_be_symbolic():
    n = tl.var("n")
    c = linalg.matmul(n, 4, n)
    a, b = c.producer.reads
    x, y = np.arange(9, dtype="float32").reshape(3, 3), np.ones((3, 4), "float32")
    np.testing.assert_array_equal(evaluate(c, {a: x, b: y})[0], x @ y)
