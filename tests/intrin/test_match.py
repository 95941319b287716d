"""Matching statements with what an intrinsic means."""

import pytest

from tensorlang.intrin.intrin import Intrinsic
from tensorlang.intrin.match import Mismatch, match
from tensorlang.ir import ops
from tensorlang.ir.nodes import SERIAL, Buffer, For, Func, Load, Store, Var, const
from tensorlang.ir.printer import text


def row(n=4, strides=None, scopes=None):
    """C[j] = A[0] * B[j]."""
    a, b, c = (Buffer(name, (const(size),), "float32") for name, size in (("A", 1), ("B", n), ("C", n)))
    j = Var("j")
    body = For(j, const(n), SERIAL, Store(c, (j,), Load(a, (const(0),)) * Load(b, (j,))))
    return Intrinsic("row", Func("row", (a, b, c), (c,), body), strides=strides or {}, scopes=scopes or {})


X, Y, Z = (Buffer(name, (const(8), const(12)), "float32") for name in "XYZ")
OUT, V = Var("i"), Var("v")


def loop(value, store=(OUT, V), n=4, target=Z):
    return For(V, const(n), SERIAL, Store(target, store, value))


def refused(reason, stmt, intrinsic=None):
    with pytest.raises(Mismatch) as caught:
        match(intrinsic or row(), stmt)
    assert caught.value.reason == reason, caught.value


def test_offsets_are_found_and_products_commute():
    fit = match(row(), loop(Load(Y, (OUT + 1, V + 3)) * Load(X, (OUT, const(2))), (OUT, V + OUT * 2)))
    assert [text(e) for e in fit.args] == ["X[i, 2]", "Y[i + 1, 3]", "Z[i, i * 2]"]


def test_what_is_not_the_same():
    x, y = Load(X, (OUT, OUT)), Load(Y, (OUT, V))
    refused("not_the_semantics", loop(x + y))
    refused("not_the_semantics", loop(x * y * 2.0))
    refused("not_the_semantics", loop(x * y, n=5))
    refused("not_the_semantics", loop(x * y).body)
    refused("not_the_semantics", loop(x * y).replace(kind="vectorize"))
    wide = Buffer("W", (const(8), const(12)), "float64")
    refused("not_the_semantics", loop(ops.cast(Load(wide, (OUT, V)), "float32") * x))


def test_strides():
    x = Load(X, (OUT, OUT))
    refused("strides", loop(x * Load(Y, (V, OUT))))
    refused("strides", loop(x * Load(Y, (OUT, V * 2))))
    refused("strides", loop(Load(X, (OUT, V)) * Load(Y, (OUT, V))))
    refused("strides", loop(x * Load(Y, (OUT, V)), (OUT, V % 3)))
    spread = row(strides={"B": (12,)})
    assert text(match(spread, loop(x * Load(Y, (V, OUT)))).origins[1]) == "Y[0, i]"
    refused("strides", loop(x * Load(Y, (OUT, V))), spread)


def test_open_strides_become_arguments():
    anywhere = row(strides={"B": (None,), "C": (None,)})
    x = Load(X, (OUT, OUT))
    for indices, stride in (((OUT, V), 1), ((V, OUT), 12), ((OUT, V * 2), 2), ((V, V), 13)):
        fit = match(anywhere, loop(x * Load(Y, indices)))
        assert [e.value for e in fit.strides] == [stride, 1]


def test_regions_that_are_written_are_nothing_else():
    refused("aliased", loop(Load(Z, (OUT + 1, OUT)) * Load(Y, (OUT, V))))
    twice = match(row(), loop(Load(X, (OUT, OUT)) * Load(X, (OUT, V))))
    assert twice.origins[0].buffer is twice.origins[1].buffer is X


def test_memories():
    refused("scope", loop(Load(X, (OUT, OUT)) * Load(Y, (OUT, V))), row(scopes={"C": "acc"}))
    acc = Buffer("T", (const(8), const(12)), "float32", "acc")
    match(row(scopes={"C": "acc"}), loop(Load(X, (OUT, OUT)) * Load(Y, (OUT, V)), target=acc))
