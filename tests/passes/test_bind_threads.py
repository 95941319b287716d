"""Launch nests: which memory of a block is used again."""

from __future__ import annotations

import pytest

from tensorlang.ir.nodes import Alloc, Buffer, For, Func, Load, Stmt, Store, Var, seq
from tensorlang.ir.walk import find
from tensorlang.passes.bind_threads import bind_threads
from tests.gpu.programs import H100
from tests.ir.small_funcs import extents


def in_turn(sizes: tuple[int, ...], nested: bool = False) -> Func:
    """Each output by way of a buffer of its own in shared memory, one after the other; nested: all live to the end."""
    x = Buffer("x", extents(64), "float32")
    outputs = [Buffer(f"y{n}", extents(64), "float32") for n in range(len(sizes))]
    block, body = Var("b"), seq()
    for n, (size, out) in reversed(list(enumerate(zip(sizes, outputs, strict=True)))):
        s = Buffer(f"s{n}", extents(size), "float32", "shared")
        fill, use = Var(f"fill{n}"), Var(f"use{n}")
        both: Stmt = seq(
            For(fill, extents(32)[0], "threadIdx.x", Store(s, (fill,), Load(x, (block * 32 + fill,)))),
            For(use, extents(32)[0], "threadIdx.x", Store(out, (block * 32 + use,), Load(s, (31 - use,)))),
        )
        body = Alloc(s, seq(both, body)) if nested else seq(Alloc(s, both), body)
    return Func("f", (x, *outputs), tuple(outputs), For(block, extents(2)[0], "blockIdx.x", body))


@pytest.mark.parametrize(
    ("sizes", "nested", "left"),
    [
        ((256, 256, 256), False, ["s0"]),
        ((256, 512, 256), False, ["s0", "s1"]),
        ((255, 255), False, ["s0", "s1"]),  # less than a kibibyte is not worth a barrier
        ((256, 256), True, ["s0", "s1"]),
    ],
)
def test_shared_memory_is_used_again(sizes: tuple[int, ...], nested: bool, left: list[str]) -> None:
    func = bind_threads(in_turn(sizes, nested), H100)
    assert [alloc.buffer.name for alloc in find(func, Alloc)] == left
    assert {n.buffer.name for n in find(func, Store)} == {*left, *(f"y{n}" for n in range(len(sizes)))}
