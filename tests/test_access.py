"""access.py: which accesses are proved in bounds, and what is said about the others."""

import pytest

import tensorlang as tl

N, M = tl.var("n"), tl.var("m")
A = tl.placeholder((8,), name="A")
S = tl.placeholder((N,), name="S")
T = tl.placeholder((N, 4 * M), name="T")
AT = tl.placeholder((8,), "int64", name="AT")
K, R = tl.reduce_axis(3, "k"), tl.reduce_axis(M, "r")


@pytest.mark.parametrize(
    ("shape", "body"),
    [
        (8, lambda i: A[i]),
        (8, lambda i: A[7 - i]),
        (4, lambda i: A[2 * i + 1]),
        (32, lambda i: A[i // 4]),
        (32, lambda i: A[i % 8]),
        ((2, 4), lambda i, j: A[i * 4 + j]),
        (6, lambda i: tl.sum(A[i + K], axis=K)),
        (10, lambda i: tl.if_then_else((i >= 1) & (i < 9), A[i - 1], 0.0)),
        (10, lambda i: tl.if_then_else((i < 1) | (i >= 9), 0.0, A[i - 1])),
        (10, lambda i: tl.if_then_else(~(i >= 8), A[i], 0.0)),
        (10, lambda i: tl.if_then_else(i < 8, tl.if_then_else(i > 0, A[i - 1], 1.0), A[i - 8])),
        (1, lambda i: tl.if_then_else((i * 2 - 1 >= 0) & (i * 2 - 1 < 1), A[i * 2 - 1], 0.0)),
        (10, lambda i: A[tl.minimum(i, 7)]),
        (10, lambda i: A[tl.maximum(i - 2, 0)]),
        (10, lambda i: A[tl.select(i < 8, i, 0)]),
        (10, lambda i: tl.exp(tl.if_then_else(i < 8, A[i], 0.0))),
        (N, lambda i: S[N - 1 - i]),
        (N, lambda i: S[tl.maximum(i - 1, 0)]),
        ((N, M), lambda i, j: T[i, j * 4 + 3]),
        ((N, 4 * M), lambda i, j: T[i, j // 4 * 4 + j % 4]),
        ((N, M), lambda i, j: T[i, j % M]),
        (N * 4, lambda i: S[i // 4]),
        ((N + 2,), lambda i: tl.if_then_else((i >= 2), S[i - 2], 0.0)),
        (N, lambda i: tl.sum(T[i, 4 * R], axis=R)),
        (N, lambda i: tl.sum(T[i, R + 3 * M], axis=R)),
        (N, lambda i: S[AT[0].astype("index") + i]),
        (5, lambda i: A[AT[i]]),
        (5, lambda i: A[AT[AT[i]] // 2 - 1]),
        (0, lambda i: A[i]),
        (8, lambda i: A[i // tl.maximum(AT[i].astype("index"), 1)]),
    ],
)
def test_accesses_in_bounds(shape, body):
    assert tl.compute(shape, body, name="C").dtype == "float32"


@pytest.mark.parametrize(
    ("shape", "body", "message"),
    [
        (
            9,
            lambda i: A[i],
            r"C: A\[i\] may be out of bounds: index 0 of A must be in 0 \.\. 7, but i ranges over 0 \.\. 8",
        ),
        (8, lambda i: A[i - 1], r"but i - 1 ranges over -1 \.\. 6"),
        (8, lambda i: A[-1], r"must be in 0 \.\. 7, but it is -1 .indices count from the front only"),
        (8, lambda i: tl.sum(A[i + K], axis=K), "i \\+ k ranges over 0 .. 9; if_then_else may guard"),
        (10, lambda i: tl.select(i < 8, A[i], 0.0), "i ranges over 0 .. 9; .* it evaluates both sides"),
        (10, lambda i: tl.if_then_else(i < 9, A[i], 0.0), "i ranges over 0 .. 8"),
        (10, lambda i: tl.if_then_else(i < 8, 0.0, A[i]), "index 0 of A"),
        (10, lambda i: tl.if_then_else((i < 8) | (i > 3), A[i], 0.0), "index 0 of A"),
        (10, lambda i: tl.if_then_else(A[i] > 0.0, 1.0, 0.0), "index 0 of A"),
        (N, lambda i: S[i + 1], "index 0 of S must be in 0 .. n - 1, but i \\+ 1"),
        (N, lambda i: A[i], "index 0 of A"),
        (8, lambda i: S[i], "index 0 of S"),
        (8, lambda i: tl.placeholder((0,), name="E")[AT[i]], r"index 0 of E must be in 0 \.\. -1"),
        ((N, N), lambda i, j: T[i, j], "index 1 of T"),
        (8, lambda i: A[i // M], "the divisor of the index i // m must be provably positive"),
        (8, lambda i: A[i % (i - 3)], "must be provably positive"),
        (8, lambda i: A[i // AT[i].astype("index")], "must be provably positive"),
    ],
)
def test_accesses_that_may_be_out_of_bounds(shape, body, message):
    with pytest.raises(tl.ExprError, match=message):
        tl.compute(shape, body, name="C")
