"""pipeline on the way to a GPU: the threads of a block load tiles ahead, and never race."""

import numpy as np
import pytest

import tensorlang as tl
from tensorlang.ir import interp_launch
from tensorlang.schedule import gpu_library
from tests.schedule.programs import matmul

GPU = tl.Target("cuda", arch="sm_90a")


@pytest.mark.parametrize(("shape", "last"), [((16, 32, 24), 1), ((17, 33, 30), 1), ((16, 32, 40), 2), ((16, 32, 8), 2)])
def test_tiles_in_shared_memory(shape, last):
    m, n, k = shape
    s = tl.Schedule(matmul(m, n, k), target=GPU)
    gpu_library.matmul(s, "C", tile=(16, 32, 8), each=(4, 4), lanes=(4, 8), group=1, stages=0)
    s.software_pipeline("C.k.0", {"A.shared": 0, "B.shared": 0, "C": last})
    module = tl.lower(s, GPU)
    assert "A.shared.versions" in str(module)
    rng = np.random.default_rng(0)
    a, b = (rng.integers(-4, 5, size).astype("float32") for size in ((m, k), (k, n)))
    c = np.full((m, n), np.nan, "float32")
    interp_launch.run(module.func, [a, b, c])
    np.testing.assert_array_equal(c, a @ b)
