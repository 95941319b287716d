import numpy as np
import pytest

import tensorlang as tl
from tensorlang.display import Peaks, Roofline
from tests.schedule.programs import matmul


def test_figures():
    r = Roofline("f", flops=4e9, bytes=40_000_000, seconds=0.04, peaks=Peaks(2e11, 2e10))
    assert (r.intensity, r.achieved, r.roof, r.limit, r.share) == (100.0, 1e11, 2e11, "computing", 0.5)
    slow = Roofline("g", flops=1e7, bytes=40_000_000, seconds=0.004, peaks=Peaks(2e11, 2e10))
    assert (slow.limit, slow.roof, slow.share) == ("memory", 5e9, 0.5)


@pytest.mark.parametrize("seconds", [1e-9, 1e-3, 10.0])
@pytest.mark.parametrize("flops", [1e3, 1e7, 1e12])
def test_pictures_hold_any_figures(flops, seconds):
    r = Roofline("f", flops, 40_000_000, seconds, Peaks(2e11, 2e10))
    shown = str(r)
    assert "*" in shown and "/" in shown and "FLOP/B" in shown
    html = r._repr_html_()
    assert "<circle" in html and "nan" not in html and 'cy="-' not in html


def test_a_kernel_knows_its_work():
    n = tl.var("n")
    f = tl.build(matmul(n, 8, 4))
    a, b = np.ones((6, 4), "float32"), np.ones((4, 8), "float32")
    r = f.roofline(a, b, peaks=Peaks(1e11, 1e10), repeat=1, min_seconds=1e-4)
    assert (r.flops, r.bytes) == (2 * 6 * 8 * 4, 4 * (24 + 32 + 48))
    assert r.seconds > 0 and r.peaks == Peaks(1e11, 1e10)
