"""Pictures of the rich displays for the docs, in light and dark, taken in headless Chromium.

    python -m tests.tools.screenshots [docs/images]

Needs `chromium` on the path. Pages are kept beside the pictures only while they are taken.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import tensorlang as tl
from tensorlang import display
from tensorlang.display.page import document
from tensorlang.topi.linalg import matmul


def views() -> dict[str, tuple[object, int, int]]:
    """For each picture the view and its size in pixels."""
    target = tl.Target("llvm", cpu="znver4", l1=32 << 10, l2=1 << 20, l3=32 << 20, registers=32, vector_bytes=64)
    s = tl.Schedule(matmul(512, 512, 512), target=target)
    i0, j0, i1, j1 = s.tile(["C.i", "C.j"], [8, 32])
    s.reorder(i0, j0, "C.k", i1, j1)
    s.parallel(i0)
    s.unroll(i1)
    s.vectorize(j1)
    before = s.copy()
    copy = s.cache_write("C", "local")
    s.reverse_compute_at(copy, j0)
    small = tl.Schedule(matmul(64, 64, 64))
    tile = small.tile(["C.i", "C.j"], [4, 16])
    small.reorder(tile[0], tile[1], "C.k", tile[2], tile[3])
    small.vectorize(tile[3])
    transposed, tile = transpose()
    return {
        "nest": (display.nest(s), 1130, 335),
        "diff": (s.diff(before), 760, 390),
        "accesses": (display.accesses(small, "C", "B", inside=small.split("C.k", [None, 8])[0]), 600, 340),
        "banks": (display.accesses(transposed, "T", "A.shared", inside=tile), 880, 800),
        "roofline": (last_rung(), 660, 390),
    }


def last_rung() -> display.Roofline:
    """The last rung of notebook 12 with the figures that it keeps, of an H100."""
    n, peaks = 4096, display.Peaks(flops=56.8e12, bandwidth=3.02e12)
    return display.Roofline("C", flops=2 * n**3, bytes=3 * 4 * n**2, seconds=2.8e-3, peaks=peaks)


def transpose() -> tuple[tl.Schedule, object]:
    """A transpose on a GPU whose warps read columns of shared memory; and the loop over its tiles."""
    a = tl.placeholder((64, 64), name="A")
    s = tl.Schedule(tl.compute((64, 64), lambda i, j: a[j, i], name="T"))
    i0, j0, i1, j1 = s.tile(["T.i", "T.j"], [16, 16])
    copy = s.cache_read("T", "A", "shared")
    s.compute_at(copy, j0)
    s.bind(i0, "blockIdx.y")
    s.bind(j0, "blockIdx.x")
    s.bind(i1, "threadIdx.y")
    s.bind(j1, "threadIdx.x")
    return s, j0


def main() -> None:
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "docs/images")
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        for name, (view, width, height) in views().items():
            for theme in ("light", "dark"):
                page = Path(scratch) / f"{name}.html"
                page.write_text(document(view, name, theme), encoding="utf-8")
                picture = folder / f"{name}-{theme}.png"
                size = f"--window-size={width},{height}"
                options = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", size]
                command = ["chromium", *options, f"--screenshot={picture.resolve()}", page.as_uri()]
                subprocess.run(command, check=True, stderr=subprocess.DEVNULL)


if __name__ == "__main__":
    main()
