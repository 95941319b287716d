"""Operators against torch, where it is installed: order of arguments, options, layouts of weights."""

import numpy as np
import pytest

import tensorlang as tl
from tests.topi.operators import families, inputs_of

torch = pytest.importorskip("torch")
F = torch.nn.functional
OPERATORS = {name: getattr(module, name) for module in families().values() for name in module.NUMPY}

CASES = [
    ("conv1d", (2, 7, 3, 5, 3, 2, 1), lambda x, w: F.conv1d(x, w, None, 2, 1)),
    ("conv2d", (1, 7, 6, 4, 6, 3, 2, 1, 1, 2), lambda x, w: F.conv2d(x, w, None, 2, 1, 1, 2)),
    ("conv2d", (1, 7, 8, 3, 2, 3, 1, 2, 2), lambda x, w: F.conv2d(x, w, None, 1, 2, 2)),
    ("conv3d", (1, 4, 5, 3, 2, 3, 2, 1, 1), lambda x, w: F.conv3d(x, w, None, 1, 1)),
    ("depthwise_conv2d", (1, 7, 6, 5, 3, 2, 1), lambda x, w: F.conv2d(x, w, None, 2, 1, 1, 5)),
    ("conv_transpose1d", (2, 5, 3, 2, 4, 2, 1), lambda x, w: F.conv_transpose1d(x, w, None, 2, 1)),
    ("conv_transpose2d", (1, 4, 5, 3, 2, 3, 2, 0, 1), lambda x, w: F.conv_transpose2d(x, w, None, 2, 0, 1)),
    ("conv_transpose3d", (1, 2, 3, 2, 3, 2, 3, 2, 1), lambda x, w: F.conv_transpose3d(x, w, None, 2, 1)),
    ("max_pool2d", (1, 7, 6, 3, 3, 2, 1), lambda x: F.max_pool2d(x, 3, 2, 1)),
    ("max_pool2d", (1, 7, 6, 3, 3, 1, 1, 2), lambda x: F.max_pool2d(x, 3, 1, 1, 2)),
    ("avg_pool2d", (1, 7, 6, 3, 3, 2, 1), lambda x: F.avg_pool2d(x, 3, 2, 1)),
    ("avg_pool3d", (1, 4, 5, 3, 2, 2), lambda x: F.avg_pool3d(x, 2)),
    ("softmax", (5, 7), lambda x: F.softmax(x, -1)),
    ("log_softmax", (5, 7), lambda x: F.log_softmax(x, -1)),
    ("layer_norm", (5, 7), lambda x, w, b: F.layer_norm(x, (7,), w, b)),
    ("rms_norm", (5, 7), lambda x, w: F.rms_norm(x, (7,), w, 1e-5)),
    ("batch_norm", (2, 3, 4, 5), lambda x, m, v, w, b: F.batch_norm(x, m, v, w, b)),
    ("var", (5, 7), lambda x: torch.var(x, -1)),
    ("matrix_norm", (2, 5, 7), torch.linalg.matrix_norm),
    ("vector_norm", (5, 7), lambda x: torch.linalg.vector_norm(x, dim=-1)),
    ("dense", (3, 5, 4), F.linear),
    ("argmax", (5, 7), lambda x: torch.argmax(x, -1)),
    ("gelu", (5, 7), F.gelu),
    ("gelu_tanh", (5, 7), lambda x: F.gelu(x, approximate="tanh")),
    ("silu", (5, 7), F.silu),
    ("leaky_relu", (5, 7), F.leaky_relu),
    ("transpose", (2, 3, 5), lambda x: torch.transpose(x, -2, -1)),
]


@pytest.mark.parametrize(("name", "sizes", "function"), CASES)
def test_operators_agree_with_torch(name, sizes, function):
    tensor = OPERATORS[name](*sizes)
    arrays = inputs_of(tl.create_func(tensor))
    if name in ("argmax", "batch_norm"):
        rng = np.random.default_rng(1)
        arrays = [rng.random(a.shape, dtype="float32") for a in arrays]  # no ties, no negative variance
    wanted = function(*map(torch.from_numpy, arrays)).numpy()
    np.testing.assert_allclose(tl.build(tensor)(*arrays), wanted, 2e-5, 2e-5)
