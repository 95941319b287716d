"""The form of launch nests: taken apart, and each rule has a Func that breaks it."""

import pytest

from tensorlang.errors import ExprError, VerifyError
from tensorlang.ir import ops, serial, walk
from tensorlang.ir.launch import Launch
from tensorlang.ir.nodes import NOTHING, TRUE, Alloc, Buffer, Do, For, Func, If, Size, Stmt, Var, const, seq
from tensorlang.ir.printer import excerpt, text
from tensorlang.ir.verify import verify
from tests.ir.faults import PROGRAMS
from tests.ir.kernels import (
    at,
    barrier,
    buffer,
    bx,
    by,
    line,
    literal,
    loops,
    matmul,
    pipelined,
    put,
    softmax,
    tx,
    ty,
)

A, B = buffer("A", 64), buffer("B", 64)
store = put(B, tx, literal(1.0))
threads = loops(store, tx=("threadIdx.x", 8))
shared = buffer("S", 8, "shared")
n = Size("n")


def func(body: Stmt) -> Func:
    return Func("f", (A, B), (B,), body)


def test_a_launch_nest_taken_apart():
    launch = Launch.of(matmul(19, 21, 37, 8).body)
    assert [loop.var for loop in launch.blocks] == [by, bx]
    assert [loop.var for loop in launch.threads] == [ty, tx]
    assert [b.name for b in launch.shared] == ["A.tile", "B.tile"]
    assert launch.thread_extents == (8, 8)
    assert isinstance(launch.body, Alloc) and launch.body.buffer.name == "acc"


@pytest.mark.parametrize("program", PROGRAMS)
def test_kernels_pass_and_survive_json(program):
    kernel = PROGRAMS[program][0]
    verify(kernel, "flat")
    again = serial.from_json(serial.to_json(kernel))
    assert walk.same(kernel, again) and text(kernel) == text(again)


def test_grids_over_sizes_and_launches_of_one_block_pass():
    verify(func(For(bx, n, "blockIdx.x", threads)), "flat")
    verify(func(seq(threads, Alloc(shared, loops(seq(store, barrier()), tx=("threadIdx.x", 8))))), "flat")
    verify(func(Alloc(buffer("work", 4), If(TRUE, threads))), "flat")


RULES = {
    "a launch nest needs a loop of kind threadIdx": loops(put(B, bx, literal(1.0)), bx=("blockIdx.x", 4)),
    "the loops of a launch nest are in the order blockIdx.z, blockIdx.y, blockIdx.x": loops(
        threads, bx=("blockIdx.x", 2), by=("blockIdx.y", 2)
    ),
    "in the order threadIdx.z, threadIdx.y, threadIdx.x, each once": loops(
        store, tx=("threadIdx.x", 2), ty=("threadIdx.x", 2)
    ),
    "the extent of threadIdx.x must be a constant of 1 or more": For(tx, n, "threadIdx.x", store),
    "no extent depends on another": loops(For(bx, by + 1, "blockIdx.x", threads), by=("blockIdx.y", 2)),
    "the size of S is open": Alloc(Buffer("S", (n,), "float32", "shared"), threads),
    "the size of L is open": loops(Alloc(Buffer("L", (n,), "float32", "local"), store), tx=("threadIdx.x", 8)),
    "S is allocated inside the threads": loops(Alloc(shared, store), tx=("threadIdx.x", 8)),
    "a loop of kind blockIdx.x inside the threads": loops(store, tx=("threadIdx.x", 8), bx=("blockIdx.x", 2)),
    "loops of kind vthread are unrolled": loops(threads, by=("vthread.x", 2)),
    "barrier outside the threads": seq(threads, barrier()),
    "shuffle_xor outside the threads": put(B, 0, ops.shuffle_xor(at(A, 0), 1)),
    "threads exchange values in an operand of select": loops(
        put(B, tx, ops.make("select", tx < 1, at(B, tx), ops.shuffle_xor(at(B, tx), 1))), tx=("threadIdx.x", 8)
    ),
    "threads exchange values in an operand of and": loops(
        If((tx < 1) & (ops.shuffle_xor(at(B, tx), 1) < 0.0), put(B, tx, literal(1.0))), tx=("threadIdx.x", 8)
    ),
    "unknown effect wish": loops(Do("wish", ()), tx=("threadIdx.x", 8)),
    "async_wait takes 1 arguments": loops(Do("async_wait", ()), tx=("threadIdx.x", 8)),
    "async_wait takes a number": loops(Do("async_wait", (tx,)), tx=("threadIdx.x", 8)),
    "barrier has no body": loops(Do("barrier", (), NOTHING), tx=("threadIdx.x", 8)),
    "the body of atomic must be one store": loops(Do("atomic", (), NOTHING), tx=("threadIdx.x", 8)),
    "the body of evict_last must be one store": loops(Do("evict_last", (), NOTHING), tx=("threadIdx.x", 8)),
    "evict_last outside the threads": seq(threads, Do("evict_last", (), store)),
    "atomic updates one element from its own value": loops(Do("atomic", (), store), tx=("threadIdx.x", 8)),
    "async_copy stores to shared memory": loops(Do("async_copy", (), store), tx=("threadIdx.x", 8)),
    "async_copy reads what the launch does not store": line(
        seq(store, Do("async_copy", (), put(shared, tx, at(B, tx)))), 1, 8, shared
    ),
    "x has no value here": loops(put(B, Var("x"), literal(1.0)), tx=("threadIdx.x", 8)),
}


@pytest.mark.parametrize("rule", RULES)
def test_rules(rule):
    with pytest.raises(VerifyError, match=rule) as caught:
        verify(func(RULES[rule]), "flat")
    assert str(caught.value).startswith("f: ") and ", in: " in str(caught.value)


def test_masks_of_shuffles_are_numbers_from_1_to_31():
    x = Var("x", "float32")
    assert ops.shuffle_xor(x, 3) is ops.make("shuffle_xor", x, const(3))
    assert ops.shuffle_xor(x, 3).dtype == "float32"
    for mask in (0, 32, tx, 1.0, True):
        with pytest.raises(ExprError, match="the mask of shuffle_xor must be a number from 1 to 31"):
            ops.shuffle_xor(x, mask)
    assert walk.substitute(ops.shuffle_xor(x, 3) + x, {x: literal(2.0)}).dtype == "float32"


def test_long_programs_are_cut_to_the_lines_that_matter():
    kernel = softmax(5, 150, 64)
    marked = list(walk.find(kernel.body, Do))[1:2]
    assert excerpt(kernel, marked).splitlines() == [
        "func softmax(A: f32[750]) -> B: f32[750]",
        "  blockIdx.x bx in 5:",
        "    ...",
        "    threadIdx.x tx in 64:",
        "      ...",
        "      for k in 1:",
        "        most[0] = max(most[0], parts[k + 1])",
        "      barrier()",
        "      ^^^^^^^^^",
        "      total[0] = 0.0",
        "      ...",
    ]
    short = matmul(8, 8, 8, 8)
    assert excerpt(short, []) == text(short)


def test_effects_print_what_they_do():
    lines = [shown.strip() for shown in text(pipelined(8, 8, 16, 8)).splitlines()]
    assert "async_copy A.tile[ty * 8 + tx] = A[(by * 8 + ty) * 16 + tx]" in lines
    assert "async_commit()" in lines and "async_wait(1)" in lines
