"""`python -m tests.fuzz.prefixes --cases N --seed S`: random steps after fixed ones, which random cases seldom come by.

The fixed steps lay buffers out aslant or in digits, with padding or without, in windows, rolling buffers and partial
sums; or make loops with more iterations than there are points, which guards leave out. What a schedule of a few more
steps computes is compared as in `tests.fuzz`. Exit status 1 if anything failed.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections.abc import Iterator

from tests.fuzz.case import Case, CaseFailure, Trial
from tests.fuzz.check import Failure
from tests.fuzz.drawers import draw_steps
from tests.fuzz.random_te import Expression

SIZES = ["m = tl.var('m')", "n = tl.var('n')", "p = tl.var('p')"]
ROW_SUMS = [
    "A = tl.placeholder((p, 5), 'int32', name='A')",
    "k = tl.reduce_axis(5, 'k')",
    "C = tl.compute((p,), lambda i: tl.sum(A[i, k], axis=k), name='C')",
    "E = tl.compute((p,), lambda i: C[p - 1 - i] + 1, name='E')",
]
CHAIN = [
    "A = tl.placeholder((p, 6), 'int32', name='A')",
    "P = tl.compute((p, 6), lambda i, j: A[i, j] * 3, name='P')",
    "Q = tl.compute((p, 6), lambda i, j: P[i, j] + i.astype('int32'), name='Q')",
    "E = tl.compute((p, 6), lambda i, j: Q[p - 1 - i, j] - P[i, j], name='E')",
]
PADDED = [
    "A = tl.placeholder((9, 7), 'int32', name='A')",
    "inside = lambda i, j: (i >= 1) & (i < 10) & (j >= 1) & (j < 8)",
    "P = tl.compute((11, 9), lambda i, j: tl.if_then_else(inside(i, j), A[i - 1, j - 1], 7), name='P')",
    "Q = tl.compute((9, 7), lambda i, j: P[i, j] + P[i + 1, j + 1] * 2 - P[i + 2, j], name='Q')",
    "E = tl.compute((9, 7), lambda i, j: Q[8 - i, j] + P[i + 1, j], name='E')",
]
WINDOWS = [
    "A = tl.placeholder((9, 8), 'int32', name='A')",
    "k = tl.reduce_axis(3, 'k')",
    "P = tl.compute((9, 8), lambda i, j: A[i, j] + 1, name='P')",
    "C = tl.compute((7, 8), lambda i, j: tl.sum(P[i + k, j], axis=k), name='C')",
    "D = tl.compute((7, 8), lambda i, j: C[i, j] - P[i + 1, j], name='D')",
    "E = tl.compute((7, 8), lambda i, j: D[6 - i, j] + C[i, j], name='E')",
]
SUMS = [
    "A = tl.placeholder((6, 5), 'int32', name='A')",
    "k = tl.reduce_axis(5, 'k')",
    "C = tl.compute((6,), lambda i: tl.sum(A[i, k], axis=k), name='C')",
    "E = tl.compute((6,), lambda i: C[5 - i] + A[i, 0], name='E')",
]
IN_ORDER = [
    "A = tl.placeholder((6, 3, 4), 'int32', name='A')",
    "j, k = tl.reduce_axis(3, 'j'), tl.reduce_axis(4, 'k')",
    "last = tl.reducer(lambda a, b: tl.select(b > 0, b, a), -1, commutative=False)",
    "C = tl.compute((6,), lambda i: last(A[i, j, k], axis=(j, k)), name='C')",
    "E = tl.compute((6,), lambda i: C[5 - i] + A[i, 0, 0], name='E')",
]
LAYOUTS = ("(i + j, j)", "(i, i + j)", "(j // 4, i, j % 4)", "(i * 9 + j,)", "(i // 3, j, i % 3)", "(i + j // 3, j)")
STEPS: list[tuple[list[str], str, list[str]]] = [  # program, the buffer that is laid out anew, the steps before
    (ROW_SUMS, "C.rf", ["rfactor('C.k', 1)"]),
    (CHAIN, "P", []),
    (CHAIN, "P", ["reverse_compute_at('Q', 'P.i')"]),
    (CHAIN, "Q", ["compute_at('P', 'E.i')", "compute_at('Q', 'E.i')"]),
    (PADDED, "P", ["decompose_padding('P', 'P.j')"]),
    (PADDED, "P", ["compute_at('P', 'Q.i')", "decompose_padding('P', 'P.j_1')"]),
    (PADDED, "P", ["compute_at('P', 'Q.i')", "store_at('P', None)"]),
    (WINDOWS, "P", ["compute_at('P', 'C.i')", "decompose_reduction('C', 'C.k')"]),
    (WINDOWS, "P", ["compute_at('P', 'C.i')", "cache_read('C', 'P', 'local')"]),
    (WINDOWS, "C", ["compute_at('C', 'D.i')", "compute_at('P', 'C.i_1')"]),
    (WINDOWS, "C", ["loop_partition('C.i', [3])"]),
    (WINDOWS, "P", ["compute_at('P', 'C.i')", "store_at('P', None)", "rolling_buffer('P', 'C.i')"]),
]
IN_TWO = "C.i_k.0_i_k.1"
FUSED = ["fuse('C.i', 'C.k')", "split('C.i_k', [None, 4])", "fuse('C.i_k.0', 'C.i_k.1')"]
LOOPS = [
    (SUMS, FUSED),
    (SUMS, [*FUSED, f"split('{IN_TWO}', [2, 20])", f"fuse('{IN_TWO}.0', '{IN_TWO}.1')"]),
    (SUMS, ["add_unit_loop('C')", "split('C.unit', [2, 3])"]),
    (SUMS, ["add_unit_loop('C.k')", "split('C.k.unit', [2, 3])"]),
    (SUMS, ["tile(['C.i', 'C.k'], [4, 3])"]),
    (SUMS, ["tile(['C.i', 'C.k'], [4, 3])", "fuse('C.k.0', 'C.i.1')"]),
    (SUMS, ["split('C.i', [None, 4], tail='cut')", "split('C.k', [7])"]),
    (IN_ORDER, ["split('C.i', [None, 4])", "split('C.j', [5])", "split('C.k', [None, 3])"]),
    (IN_ORDER, ["split('C.j', [2, 3])", "fuse('C.j.1', 'C.k')"]),
]
ON_LOOPS = ("split", "fuse", "reorder", "tile", "loop_partition", "add_unit_loop", "decompose_reduction", "rfactor")


def prefixes() -> Iterator[tuple[list[str], list[str]]]:
    """Programs, each with steps that lay out a buffer to begin with; some steps may be refused."""
    for program, buffer, steps in STEPS:
        yield program, steps
        for layout in LAYOUTS:
            for pad in ("", ", pad_value=2"):
                yield program, [*steps, f"transform_layout({buffer!r}, lambda i, j: {layout}{pad})"]


def attempt(seed: int) -> CaseFailure | None:
    """The failure of the case of that seed, if it fails."""
    layouts, on_loops = list(prefixes()), seed % 5 == 4
    program, steps = LOOPS[seed // 5 % len(LOOPS)] if on_loops else layouts[seed % len(layouts)]
    rng = random.Random(f"prefix {seed}")
    trial = Trial(Case(Expression([*SIZES, *program], ["E"], {"p": 5} if "(p, " in program[0] else {}), (), seed))
    try:
        for step in steps:
            trial.attempt(step)
        for _ in range(rng.randint(1, 4)):
            for step in draw_steps(trial.s, rng, 0.1, ON_LOOPS if on_loops and rng.random() < 0.7 else ()):
                trial.attempt(step)
        trial.check(native=False)
    except CaseFailure as failure:
        return failure
    except Failure as failure:
        return CaseFailure(trial.case, failure)
    return None


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.prefixes", description=__doc__)
    parser.add_argument("--seed", type=int, default=0, help="the seed of the first case")
    parser.add_argument("--cases", type=int, default=1000, help="how many cases")
    options = parser.parse_args()
    failed = 0
    for seed in range(options.seed, options.seed + options.cases):
        if (failure := attempt(seed)) is not None:
            failed += 1
            print(f"seed {seed}: {failure.failure}", failure.case.script(), sep="\n", flush=True)
    print(f"{options.cases} cases, {failed} failed")
    return min(failed, 1)


if __name__ == "__main__":
    sys.exit(main())
