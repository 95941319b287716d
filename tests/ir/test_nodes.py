"""Nodes: interning, immutability, what Python may not do with expressions."""

import gc
import pickle
import sys
import threading

import pytest

from tensorlang.ir import base
from tensorlang.ir.nodes import (
    NOTHING,
    SERIAL,
    Buffer,
    Const,
    For,
    Knob,
    Let,
    Load,
    Op,
    Ramp,
    Size,
    Splat,
    Store,
    Var,
    const,
    seq,
)
from tests.ir.small_funcs import extents, literal

i, j = Var("i"), Var("j")
A = Buffer("A", extents(4), "float32")


def test_equal_expressions_are_one_object():
    assert i * 4 + j is i * 4 + j
    assert Load(A, (i,)) is Load(A, (i,))
    assert Ramp(i, const(1), 4) is Ramp(i, const(1), 4)
    assert Splat(i, 4) is not Splat(i, 8)
    assert Let(j, i, j + 1) is Let(j, i, j + 1)
    assert i + j is not j + i


def test_variables_and_buffers_are_themselves_only():
    assert Var("i") is not i
    assert Load(Buffer("A", extents(4), "float32"), (i,)) is not Load(A, (i,))


def test_constants_of_different_kinds_differ():
    assert Const(1, "index") is not Const(1, "int32")
    assert Const(0.0, "float32") is not Const(-0.0, "float32")
    assert Const(float("nan"), "float32") is Const(float("nan"), "float32")
    assert Const(True, "bool").value is True


def test_interning_keeps_nothing_alive():
    name = id(i * 12345 + 678)
    gc.collect()
    kept = [entry() for entry in base.interned.values()]
    assert not any(id(e) == name and repr(e) == "i * 12345 + 678" for e in kept)


def test_nodes_are_immutable():
    for node in (i, i + 1, A, Store(A, (i,), literal(1.0))):
        with pytest.raises(AttributeError, match="is immutable"):
            node.name = "x"


def test_expressions_have_no_truth_and_are_no_sequences():
    with pytest.raises(TypeError, match="truth of i < j is not known"):
        bool(i < j)
    with pytest.raises(TypeError, match="cannot be iterated"):
        list(i)
    with pytest.raises(TypeError, match="not pickled"):
        pickle.dumps(i + 1)


def test_operators():
    x, p, n = Var("x", "float32"), Var("p", "bool"), Var("n", "int32")
    cases = {
        "i + 1": i + 1,
        "1 + i": 1 + i,
        "1 - i": 1 - i,
        "2 * i": 2 * i,
        "i // 2": i // 2,
        "7 // i": 7 // i,
        "7 % i": 7 % i,
        "1.0 / x": 1 / x,
        "x / 2.0": x / 2,
        "abs(x)": abs(x),
        "x": +x,
        "pow(2.0, x)": 2**x,
        "p and i < j": p & (i < j),
        "True or p": Op("or", (Const(True, "bool"), p), "bool"),
        "p != (i < j)": p ^ (i < j),
        "n & 3": n & 3,
        "3 | n": 3 | n,
        "n ^ 3": n ^ 3,
        "n << 2": n << 2,
        "1 >> n": 1 >> n,
        "~n": ~n,
        "not p": ~p,
        "i == 2": i == 2,
        "i != 2": i != 2,
        "i >= 2": i >= 2,
        "i > 2": i > 2,
    }
    for expected, expr in cases.items():
        assert repr(expr) == expected


def test_lanes():
    ramp = Ramp(i, const(1), 4)
    assert (ramp + 1).lanes == (ramp < j).lanes == Load(A, (ramp,)).lanes == 4
    assert (ramp + 1).args[1] is Splat(const(1), 4)


def test_equal_expressions_of_all_threads_are_one():
    interval = sys.getswitchinterval()
    different = []

    def work():
        for n in range(2000):
            if i * (n % 50 + 1000) is not i * (n % 50 + 1000):
                different.append(n)

    threads = [threading.Thread(target=work) for _ in range(4)]
    sys.setswitchinterval(1e-6)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert different == []


def test_sizes_and_knobs_are_index_variables():
    assert Size("n").dtype == Knob("t", [1, 2]).dtype == "index"
    assert Knob("t", [1, 2]).choices == (1, 2)


def test_statements_take_fields_by_position_or_name():
    loop = For(i, const(4), SERIAL, NOTHING)
    assert loop.annotations == ()
    wider = loop.replace(extent=const(8), annotations=(("a", 1),))
    assert (wider.extent.value, wider.body, wider.annotations) == (8, NOTHING, (("a", 1),))
    with pytest.raises(TypeError, match="unexpected keyword argument 'depth'"):
        loop.replace(depth=1)
    with pytest.raises(TypeError, match="unexpected keyword argument 'depth'"):
        For(i, const(4), SERIAL, NOTHING, depth=1)


def test_seq_flattens():
    a, b, c = (Store(A, (const(n),), literal(1.0)) for n in range(3))
    assert seq(a, seq(b, c), NOTHING).stmts == (a, b, c)
    assert seq(a) is a and seq() is NOTHING
