"""Cases that failed once, made small."""

import pytest

from tests.fuzz.case import Case
from tests.fuzz.random_te import REDUCERS, Expression

UNIT_SUM = Expression(
    [
        'A = tl.placeholder((2,), "float32", name="A")',
        'k = tl.reduce_axis(2, "k")',
        'C = tl.compute((1,), lambda i: tl.sum(A[k] + 1.0, axis=k), name="C")',
    ],
    ["C"],
)
EMPTY_INSIDE = (
    'add_unit_loop("C.i")',
    'loop_partition("C.i.unit", [1])',
    'reorder("C.part1.k", "C.part1.i", "C.i.unit.part1")',
)
FOUND = {
    "the init of a reduction of two results, one of them unused, is inside the allocation of both": Case(
        Expression(
            [
                'A = tl.placeholder((3,), "float64", name="A")',
                'r = tl.reduce_axis(2, "r")',
                REDUCERS["first_argmax"],
                'C_0, C_1 = tl.compute((2,), lambda i: first_argmax((r, A[i + r]), axis=(r,)), name="C")',
                'D = tl.compute((2,), lambda i: C_1[i] + 1.0, name="D")',
            ],
            ["D"],
        ),
        ('compute_at("C", "D.i")',),
        seed=0,
    ),
    "a loop that is known not to run touches nothing": Case(
        Expression(
            [
                'A = tl.placeholder((1,), "uint8", name="A")',
                'C = tl.compute((1, 2), lambda i, j: A[0], name="C")',
            ],
            ["C"],
        ),
        ('split("C.j", [1, 3, None])', 'unroll("C.j.1")'),
        seed=0,
    ),
    "a copy for a loop that runs nothing has no extent below 0": Case(
        Expression(
            [
                'A = tl.placeholder((1, 1, 1), "float64", name="A")',
                'C = tl.compute((1, 1), lambda i, j: A[i, tl.cast(1, "int32"), j * 2], name="C")',
            ],
            ["C"],
        ),
        (
            'split("C.j", [1, None, 1], tail="cut")',
            'cache_read("C.tail", "A", "global")',
            'compute_at("A.global", "C.i")',
        ),
        seed=0,
    ),
    "another layout of no elements takes no elements": Case(
        Expression(
            [
                "m = 0",
                'A = tl.placeholder((m,), "float64", name="A")',
                'B = tl.compute((m, 1), lambda i, j: A[i], name="B")',
                'C = tl.compute((m, 1), lambda i, j: B[i, j], name="C")',
            ],
            ["C"],
        ),
        ('transform_layout("B", lambda i, j: (i * 2,))',),
        seed=0,
    ),
    "reindex leaves subscripts that depend on loops inside the block alone": Case(
        Expression(['C = tl.compute((1, 2), lambda i, j: i, name="C")'], ["C"]),
        ('blockize("C.j")', 'reindex("C", "C")'),
        seed=0,
    ),
    "an empty reduction has an init, also when its loop would be fused with a spatial one": Case(
        Expression(
            [
                'A = tl.placeholder((1,), "float32", name="A")',
                'k = tl.reduce_axis(1, "k")',
                'C = tl.compute((1,), lambda i: tl.sum(A[k], axis=k), name="C")',
            ],
            ["C"],
        ),
        ('loop_partition("C.k", [0])', 'fission("C.i", "C")', 'fuse("C.i", "C.k.part0")'),
        seed=0,
    ),
    "a fused loop that runs nothing has no init either": Case(
        Expression(
            [
                'A = tl.placeholder((2,), "float32", name="A")',
                'k = tl.reduce_axis(2, "k")',
                'C = tl.compute((0,), lambda i: tl.sum(A[k], axis=k), name="C")',
            ],
            ["C"],
        ),
        ('fuse("C.i", "C.k")',),
        seed=0,
    ),
    "tiles are whole in that bound alone for which the loop was cut": Case(
        Expression(
            [
                'n = tl.var("n")',
                'A = tl.placeholder((6, n), "float32", name="A")',
                'C = tl.compute((6, n), lambda i, j: A[i, j] + 1.0, name="C")',
            ],
            ["C"],
            {"n": 1},
        ),
        (
            'fuse("C.i", "C.j")',
            'split("C.i_j", [None, 5])',
            'tile(["C.i_j.0", "C.i_j.1"], [2, 2])',
            'vectorize("C.i_j.1.1")',
        ),
        seed=0,
    ),
    "a consumer follows a producer that holds loops": Case(
        Expression(['C = tl.compute((3, 2), lambda i, j: i * 2 + j, name="C")'], ["C"]),
        (
            'cache_write("C", "global")',
            'blockize("C.j")',
            'split("C.i", [None, 2])',
            'reverse_compute_at("C.global", "C.i.0")',
        ),
        seed=0,
    ),
    "no consumer follows a reduction over nothing into its loop": Case(
        Expression(
            [
                'A = tl.placeholder((2,), "float32", name="A")',
                'k = tl.reduce_axis(0, "k")',
                'C = tl.compute((2,), lambda i: tl.min(A[k], axis=k), name="C")',
                'D = tl.compute((2,), lambda i: C[i] + 1.0, name="D")',
            ],
            ["D"],
        ),
        ('reverse_compute_at("D", "C.k")',),
        seed=0,
    ),
    "a consumer of two elements does not run where only one of them is made": Case(
        Expression(
            [
                'C = tl.compute((3,), lambda i: i * 2, name="C")',
                'D = tl.compute((2, 2), lambda i, j: C[i] * C[j + 1], name="D")',
            ],
            ["D"],
        ),
        ('reverse_compute_at("D", "C.i")',),
        seed=0,
    ),
    "what follows a loop that never runs, whatever the one around it, touches nothing": Case(
        Expression(
            ['A = tl.placeholder((6,), "int16", name="A")', 'C = tl.compute((6,), lambda i: A[i] + 1, name="C")'],
            ["C"],
        ),
        (
            'tile(["C.i"], [5])',
            'cache_write("C", "global")',
            'reverse_compute_at("C.write", "C.i.1")',
            'loop_partition("C.i.1", [1, 5])',
            'double_buffer("C.global.part2")',
        ),
        seed=0,
    ),
    "a block in a loop without iterations has no init": Case(UNIT_SUM, (*EMPTY_INSIDE,), seed=0),
    "nor if the init stands apart": Case(
        UNIT_SUM, (*EMPTY_INSIDE, 'decompose_reduction("C.part1", "C.part1.k")'), seed=0
    ),
    "an init goes no further than the guard of a loop that drives both kinds of iterators": Case(
        Expression(
            [
                'A = tl.placeholder((4,), "float32", name="A")',
                'k = tl.reduce_axis(2, "k")',
                'C = tl.compute((1, 2), lambda i, j: tl.sum(A[j + k], axis=k), name="C")',
            ],
            ["C"],
        ),
        ('fuse("C.i", "C.j", "C.k")', 'split("C.i_j_k", [5, None, 2])'),
        seed=0,
    ),
    "the init keeps a guard of loops that drive nothing": Case(
        Expression(
            [
                'A = tl.placeholder((5,), "float32", name="A")',
                'k = tl.reduce_axis(3, "k")',
                'C = tl.compute((5,), lambda i: tl.sum(A[i], axis=k), name="C")',
            ],
            ["C"],
        ),
        (
            'cache_write("C", "local")',
            'compute_at("C", "C.write.i")',
            'tile(["C.i_1", "C.k_1"], [8, 7])',
            'split("C.i_1.0", [None, 3, 3])',
        ),
        seed=0,
    ),
    "a number that an unsigned dtype does not hold is cast where nobody needs it": Case(
        Expression(
            [
                'C = tl.compute((4,), lambda i: i.astype("uint32"), name="C")',
                'D = tl.compute((6,), lambda i: tl.if_then_else(i >= 2, C[i - 2], tl.cast(1, "uint32")), name="D")',
            ],
            ["D"],
        ),
        ('compute_at("C", "D.i")', 'software_pipeline("D.i", {"C": 0, "D": 1})'),
        seed=0,
    ),
    "registers are filled and emptied only where the loop that uses them runs": Case(
        Expression(
            [
                'A = tl.placeholder((22,), "float32", name="A")',
                'k = tl.reduce_axis(22, "k")',
                'C = tl.compute((7,), lambda i: tl.sum(A[k] + i.astype("float32"), axis=k), name="C")',
            ],
            ["C"],
        ),
        (
            'split("C.i", [3, 5, None])',
            'tile(["C.i.1", "C.i.2", "C.k"], [3, 2, 3])',
            'loop_partition("C.i.1.1", [1, 2])',
        ),
        seed=0,
    ),
    "a consumer is not computed where its producer computes a part": Case(
        Expression(
            [
                'A = tl.placeholder((3,), "float32", name="A")',
                'C = tl.compute((3,), lambda i: A[i] + 1.0, name="C")',
                'D = tl.compute((3,), lambda i: tl.if_then_else(i >= 2, C[i], 1.0), name="D")',
            ],
            ["D"],
        ),
        (
            'add_unit_loop("C.i")',
            'reverse_compute_at("D", "C.i.unit")',
            'compute_at("C", "C.i.unit")',
            'reverse_compute_inline("D")',
        ),
        seed=0,
    ),
    "data is no bound of what is read": Case(
        Expression(
            [
                'A = tl.placeholder((2,), "float32", name="A")',
                'C_0, C_1 = tl.compute((2,), lambda i: (A[i], A[i].astype("int32")), name="C")',
                'D = tl.compute((2,), lambda i: C_0[i] + C_0[C_1[1]], name="D")',
            ],
            ["D"],
        ),
        ('compute_at("C", "D.i")', 'transform_layout("C_0", lambda i: (i % 4, i // 4), pad_value=5)'),
        seed=0,
    ),
    "an init keeps guards that speak of a size of the loops that reduce": Case(
        Expression(
            [
                'm = tl.var("m")',
                'A = tl.placeholder((m,), "float32", name="A")',
                'k = tl.reduce_axis(m, "k")',
                'C = tl.compute((m,), lambda i: tl.sum(A[i] + A[k], axis=k), name="C")',
            ],
            ["C"],
            {"m": 1},
        ),
        ('tile(["C.i", "C.k"], [5, 3])', 'split("C.k.0", [2, 7, None])'),
        seed=0,
    ),
    "a vector of one lane is none": Case(
        Expression(
            [
                'n = tl.var("n")',
                'A = tl.placeholder((n,), "float64", name="A")',
                'C = tl.compute((n,), lambda i: A[i] + 1.0, name="C")',
            ],
            ["C"],
            {"n": 1},
        ),
        ('split("C.i", [None, 6])', 'vectorize("C.i.1")'),
        seed=0,
    ),
    "the zero of conditions is that they do not hold": Case(
        Expression(
            [
                'A = tl.placeholder((1,), "float32", name="A")',
                'k = tl.reduce_axis(1, "k")',
                'B = tl.compute((1,), lambda i: A[i].astype("bool"), name="B")',
                'C = tl.compute((1,), lambda i: tl.sum(B[i].astype("float32"), axis=k), name="C")',
            ],
            ["C"],
        ),
        ('pad_einsum("C", [2, None])',),
        seed=0,
    ),
    "what ran in no iteration does not come to depend on none": Case(
        Expression(
            [
                'A = tl.placeholder((2,), "float32", name="A")',
                'k = tl.reduce_axis(2, "k")',
                'C = tl.compute((0,), lambda i: tl.sum(A[k], axis=k), name="C")',
            ],
            ["C"],
        ),
        ('fuse("C.i", "C.k")', 'split("C.i_k", [1, None])'),
        seed=0,
    ),
    "a loop that has one iteration at most where it stands stays in bindings": Case(
        Expression(
            [
                'p = tl.var("p")',
                'A = tl.placeholder((p, 1), "float32", name="A")',
                'r = tl.reduce_axis(p, "r")',
                'C = tl.compute((1,), lambda i: tl.sum(A[r, i], axis=r), name="C")',
            ],
            ["C"],
            {"p": 1},
        ),
        (
            'split("C.r", [None, 2], tail="cut")',
            "specialize(p >= 3)",
            'split("C.general.r.1", [None, 1])',
        ),
        seed=99150739,
    ),
    "a loop that may run nothing and was around an init is not hidden in one that reduces": Case(
        Expression(
            [
                'p = tl.var("p")',
                'A = tl.placeholder((p,), "float32", name="A")',
                'r = tl.reduce_axis(2, "r")',
                'C = tl.compute((p,), lambda i: tl.sum(A[i], axis=r), name="C")',
            ],
            ["C"],
            {"p": 1},
        ),
        ('loop_partition("C.i", [3, 4])', 'fuse("C.i.part1", "C.part1.r")'),
        seed=36004350,
    ),
    "what holds nothing in one iteration is not copied ahead of its use": Case(
        Expression(
            [
                'A = tl.placeholder((2,), "float32", name="A")',
                'r = tl.reduce_axis(1, "r")',
                'B = tl.compute((2,), lambda i: A[1], name="B")',
                'C = tl.compute((1,), lambda i: tl.sum(B[i], axis=r), name="C")',
            ],
            ["C"],
        ),
        (
            'reverse_compute_at("C", "B.i")',
            'cache_read("C", "B", "shared")',
            'store_at("B.shared")',
            'decompose_reduction("C", "C.i_1")',
            'software_pipeline("B.i", {"B": 0, "B.shared": 2, "C.init": 2, "C": 4}, '
            'order=["C.init", "C", "B", "B.shared"])',
        ),
        seed=36038473,
    ),
    "pipelines inside of pipelines have buffers with names of their own": Case(
        Expression(
            [
                'A = tl.placeholder((9, 5), "float32", name="A")',
                'B_0, B_1 = tl.compute((9, 5), lambda i, j: (A[i, j] + 1.0, A[i, j] * 2.0), name="B")',
                'r = tl.reduce_axis(2, "r")',
                'C = tl.compute((4, 5), lambda i, j: tl.sum(B_1[i + r, j], axis=r), name="C")',
            ],
            ["C"],
        ),
        (
            'compute_at("B", "C.i")',
            'loop_partition("B.j_1", [1])',
            'decompose_reduction("C", "C.r")',
            'software_pipeline("C.i", {"B": 0, "C.init": 3, "C": 3})',
            'software_pipeline("B.i_1", {"B": 0, "B.part1": 1})',
        ),
        seed=50016716,
    ),
    "zeros have signs": Case(
        Expression(
            [
                'A = tl.placeholder((9,), "float32", name="A")',
                'C = tl.compute((3, 3), lambda i, j: tl.minimum(A[i] * A[j + 6], A[j + 3] + A[i]), name="C")',
            ],
            ["C"],
        ),
        (),
        seed=1016,
    ),
}


@pytest.mark.parametrize("what", FOUND)
def test_it_does_not_fail_again(what):
    FOUND[what].run()
