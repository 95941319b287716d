"""Intrinsics as values, and plain."""

import pytest

import tensorlang as tl
from tensorlang.create_func import create_func
from tensorlang.intrin.intrin import Intrinsic, plain
from tensorlang.intrin.listed import listed
from tensorlang.ir.nodes import Block
from tensorlang.ir.printer import text
from tensorlang.ir.walk import find, replace_node


def total():
    a, k = tl.placeholder((4,), name="A"), tl.reduce_axis(4, name="k")
    return create_func(tl.compute((), lambda: tl.sum(a[k], axis=k), name="C"))


def test_plain_makes_an_update_of_a_reduction():
    func = plain(total())
    assert text(func.body) == "for C.k in 4:\n  C[] = C[] + A[C.k]"
    assert repr(Intrinsic("add4", func)) == "add4"


def test_semantics_without_blocks():
    with pytest.raises(tl.VerifyError, match="blocks"):
        Intrinsic("add4", total())
    func = total()
    block = next(find(func, Block))
    with pytest.raises(tl.VerifyError, match="guarded"):
        plain(replace_node(func, block, block.replace(predicate=func.body.var < 3)))


def test_targets_list_what_they_have():
    names = [each.name for each in listed()]
    assert "dot4x16" in names and len(set(names)) == len(names)
    assert set(listed(tl.Target("llvm"))) <= set(listed())
