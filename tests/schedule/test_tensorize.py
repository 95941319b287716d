"""blockize and tensorize."""

import numpy as np
import pytest

import tensorlang as tl
from tensorlang.create_func import create_func
from tensorlang.intrin import cpu
from tensorlang.intrin.intrin import Intrinsic, plain
from tensorlang.ir import interp
from tensorlang.ir.nodes import SERIAL, Block, Do, For, Var, const, seq
from tensorlang.ir.serial import from_json, to_json
from tensorlang.ir.walk import find, replace_node, same, substitute
from tensorlang.schedule.schedule import Schedule
from tensorlang.schedule.trace import Trace
from tests.schedule.programs import (
    add,
    before_and_after,
    check_numbers,
    last_positive,
    matmul,
    outputs,
    refused,
    row_sum,
    running,
)


def check_compiled(s):
    """The kernel computes what the interpreter does."""
    inputs = [p for p in s.func.params if p not in s.func.outputs]
    rng = np.random.default_rng(1)
    arrays = [rng.integers(0, 5, [d.value for d in p.shape]).astype(p.dtype) for p in inputs]
    np.testing.assert_array_equal(tl.interpret(s, *arrays), tl.build(s)(*arrays))


def int8_product(m=5, n=32, k=8):
    a, b = tl.placeholder((m, k), "uint8", name="A"), tl.placeholder((n, k), "int8", name="B")
    r = tl.reduce_axis(k, name="k")
    return tl.compute((m, n), lambda i, j: tl.sum(a[i, r].astype("int32") * b[j, r].astype("int32"), axis=r), name="C")


def packed(s):
    """The product by tiles of 16 columns and 4 elements, with B packed accordingly; returns the loop to tensorize."""
    s.cache_read("C", "B", "global")
    s.transform_layout("B.global", lambda j, k: (j // 16, k // 4, j % 16, k % 4))
    j0, j1 = s.split("C.j", [None, 16])
    k0, k1 = s.split("C.k", [None, 4])
    s.reorder(j0, k0, j1, k1)
    s.decompose_reduction("C", k0)
    return j1


def tile4():
    """A product of 4 x 4 tiles on an invented accelerator, which keeps what it adds to in a memory `acc`."""
    a, b, k = tl.placeholder((4, 4), name="A"), tl.placeholder((4, 4), name="B"), tl.reduce_axis(4, name="k")
    c = tl.compute((4, 4), lambda i, j: tl.sum(a[i, k] * b[k, j], axis=k), name="C")
    rows = dict.fromkeys("ABC", (None, 1))
    return Intrinsic("tile4", plain(create_func(c)), rows, {"C": "acc"}, requires=lambda target: target.has("tiles"))


# -------------------------------------------------------------------------------------------------- blockize
def test_blockize(golden):
    s = Schedule(matmul(8, 12, 6))
    before = s.func
    i0, j0, i1, j1 = s.tile(["C.i", "C.j"], [4, 3])
    block = s.blockize(i1)
    assert block.name == "C" and [n.name for n in s.loops(block)] == [i0.name, j0.name]
    assert [axis.kind for axis in block.iters] == ["spatial", "spatial"]
    golden("schedule/blockize", before_and_after(before, s))
    check_numbers(before, s)
    check_compiled(s)
    refused(s, "consumed_loop", lambda: s.blockize(j1))


@pytest.mark.parametrize("depth", range(6))
def test_blockize_at_any_loop(depth):
    s = Schedule(matmul(8, 12, 6))
    before = s.func
    pairs = {axis: s.split(f"C.{axis}", [None, 2]) for axis in "ijk"}
    s.reorder(*(pairs[axis][0] for axis in "ikj"), *(pairs[axis][1] for axis in "jki"))
    s.blockize(s.loops("C")[depth])
    check_numbers(before, s)
    check_compiled(s)


def test_what_is_around_a_blockized_block_can_still_change():
    s = Schedule(matmul(8, 12, 6))
    before = s.func
    _, j1 = s.split("C.j", [None, 4])
    _, k1 = s.split("C.k", [None, 3])
    s.reorder("C.k.0", k1, j1)
    s.unroll(j1)
    s.annotate(j1, "note", 1)
    s.blockize(k1)
    s.reorder("C.k.0", "C.i")
    s.parallel(s.fuse("C.j.0", "C.i"))
    s.decompose_reduction("C", "C.k.0")
    assert next(find(s.block_node("C"), For, lambda n: n.var.name == "C.j.1")).annotations == (("note", 1),)
    check_numbers(before, s)
    check_compiled(s)


def test_a_blockized_producer_moves():
    a = tl.placeholder((8, 12), name="A")
    p = tl.compute((8, 12), lambda i, j: a[i, j] * 2.0, name="P")
    s = Schedule(tl.compute((8, 12), lambda i, j: p[i, j] + 1.0, name="C"))
    before = s.func
    for factor in (4, 1):
        _, inner = s.split("P.j" if factor == 4 else "P.i", [None, factor])
        if factor == 4:
            s.blockize(inner)
    s.compute_at("P", "C.i")
    check_numbers(before, s)
    check_compiled(s)


def test_ordered_reductions_keep_their_order():
    s = Schedule(last_positive())
    before = s.func
    s.blockize("C.k")
    check_numbers(before, s)


def test_blockize_with_a_knob():
    s = Schedule(add(12, 8))
    before = s.func
    s.split("C.i", [None, tl.knob("t", (2, 5))])
    s.blockize("C.j")
    for value in (2, 5):
        literal = s.trace.instantiate({"t": value}).apply(before)
        assert [str(a) for a in outputs(before)] == [str(a) for a in outputs(literal.func)]


def test_blockize_refuses():
    s = Schedule(running())
    refused(s, "not_perfectly_nested", lambda: s.blockize("C.t"))
    s = Schedule(add(10, 8))
    s.vectorize("C.j")
    refused(s, "loop_kind", lambda: s.blockize("C.j"))
    _, i1 = s.split("C.i", [None, 4])
    s = Schedule(add(10, 8))
    _, i1 = s.split("C.i", [None, 4])
    assert "cut" in refused(s, "guard_inside", lambda: s.blockize(i1)).hint
    n = tl.var("n")
    func = Schedule(row_sum(4, n)).func
    s = Schedule(func.with_body(For(Var("C.d"), n % 2, SERIAL, func.body)))
    refused(s, "tile_may_be_empty", lambda: s.blockize("C.d"))
    s = Schedule(add(4, 6))
    _, inner = s.split(s.fuse("C.i", "C.j"), [None, 4])
    refused(s, "not_affine", lambda: s.blockize(inner))


def test_blockize_refuses_extents_that_follow_other_loops():
    func = Schedule(add(5, 5)).func
    s = Schedule(func.with_body(func.body.replace(body=func.body.body.replace(extent=func.body.var + 1))))
    refused(s, "extent_depends", lambda: s.blockize("C.j"))


def test_blockize_refuses_partial_tiles():
    func = Schedule(add(6, 5)).func
    inner = func.body.body
    i = func.body.var
    for binding in (inner.var + i, inner.var + i * 3):  # begins in the midst of a tile, leaves the domain
        block = inner.body.replace(bindings=(inner.body.bindings[0], binding))
        s = Schedule(func.with_body(func.body.replace(body=inner.replace(extent=const(3), body=block))))
        refused(s, "not_whole_tiles", lambda s=s: s.blockize("C.j"))


def test_blockize_tiles_that_are_not_the_whole_domain():
    s = Schedule(add(6, 5))
    before = s.func
    for loop in s.loop_partition("C.j", [2, 4])[:2]:
        s.blockize(loop)
    check_numbers(before, s)


@pytest.mark.parametrize("n", [0, 1, 5])
def test_blockize_whole_iterators_of_any_size(n):
    size = tl.var("n")
    for loop in ("C.k", "C.i"):
        s = Schedule(row_sum(size, size))
        before = s.func
        s.blockize(loop)
        check_numbers(before, s, {"n": n})


def test_blockize_a_loop_for_points_and_their_sums():
    """All inits come before the updates, one for each iteration, which is once too often and no harm."""
    for loop in ("C.i", "C.j_k"):
        s = Schedule(matmul(3, 5, 4))
        before = s.func
        s.fuse("C.j", "C.k")
        s.blockize(loop)
        check_numbers(before, s)


def test_blockize_refuses_inits_that_run_again():
    func = Schedule(row_sum()).func
    repeated = func.with_body(For(Var("C.r"), const(3), SERIAL, func.body))
    s = Schedule(repeated)
    refused(s, "loop_repeats", lambda: s.blockize("C.r"))
    block = next(find(func, Block))
    i, k = block.bindings
    twice = Schedule(
        func.with_body(
            For(Var("C.z"), const(2), SERIAL, replace_node(func.body, block, block.replace(bindings=(i // 2, k))))
        )
    )
    assert refused(twice, "visits_twice", lambda: twice.blockize("C.i")).reason == "visits_twice"


# ------------------------------------------------------------------------------------------------- tensorize
def test_tensorize(golden):
    s = Schedule(int8_product())
    before = s.func
    block = s.tensorize(packed(s), "dot4x16")
    assert [n.name for n in block.loops] == ["C.i", "C.j.0", "C.k.0"]
    golden("schedule/tensorize", before_and_after(before, s))
    check_numbers(before, s)
    check_compiled(s)
    assert "call void @dot4x16(" in tl.build(s).source()
    plain_cpu = tl.build(s, target=tl.Target("llvm", cpu="x86-64-v3"))
    assert "call void @dot4x16(" in plain_cpu.source() and "vpdpbusd" not in plain_cpu.asm()


def test_int8_products_of_any_size_are_one_instruction():
    """From te to machine code: padded to whole tiles, packed, sums in registers, rows in parallel."""
    s = Schedule(int8_product(13, 37, 27))
    s.pad_einsum("C", [None, 16, 4])
    s.transform_layout("B.pad", lambda j, k: (j // 16, k // 4, j % 16, k % 4))
    j0, j1 = s.split("C.j", [None, 16])
    k0, k1 = s.split("C.k", [None, 4])
    s.reorder(j0, k0, j1, k1)
    s.decompose_reduction("C", k0)
    s.tensorize(j1, "dot4x16")
    s.parallel("C.i")
    a, b = (np.random.default_rng(0).integers(*r, size) for r, size in (((0, 256), (13, 27)), ((-128, 128), (37, 27))))
    expected = a @ b.T
    for target in (tl.Target("llvm"), tl.Target("llvm", cpu="x86-64-v3")):
        kernel = tl.build(s, target=target)
        np.testing.assert_array_equal(kernel(a.astype("uint8"), b.astype("int8")), expected)
        assert ("vpdpbusd" in kernel.asm()) == target.has("avx512vnni")
    has = tl.Target("llvm", cpu="x86-64-v4", features="+avx512vnni,+avx512vl")
    assert "vpdpbusd" in tl.build(s, target=has).asm()


def test_tensorize_a_row_and_go_on():
    s = Schedule(matmul(6, 32, 7))
    before = s.func
    _, j1 = s.split("C.j", [None, 16])
    s.reorder("C.k", j1)
    s.tensorize(j1, cpu.fma_row(16))
    s.unroll(s.split("C.i", [None, 2])[1])
    s.parallel("C.i.0")
    check_numbers(before, s)
    check_compiled(s)
    assert "call void @fma_row16(" in tl.build(s).source()


def test_tensorize_the_update_beside_an_init():
    s = Schedule(matmul(4, 8, 4))
    before = s.func
    s.cache_write("C", "acc")
    i0, j0, i1, j1 = s.tile(["C.i", "C.j"], [4, 4])
    s.reorder(i0, j0, i1, j1, "C.k")
    s.blockize(i1)
    s.tensorize("C", tile4())
    assert len(list(find(s.block_node("C"), Do))) == 1
    assert s.block("C").reads == [p for p in s.func.params if p.name in "AB"]
    intrinsics = (tile4(),)
    for expected, got in zip(outputs(before), outputs(s.func), strict=True):
        np.testing.assert_array_equal(expected, got)
    stored = Trace.from_json(s.trace.to_json())
    again = stored.apply(before, intrinsics=intrinsics)
    assert str(again) == str(s)
    assert "s.tensorize('C', 'tile4')" in s.trace.as_python()
    unknown = Schedule(before)
    assert refused(unknown, "unknown_intrinsic", lambda: unknown.apply(stored)).message.startswith("step")


def test_an_invented_accelerator_runs_in_the_interpreter_only():
    s = Schedule(matmul(8, 8, 12))
    before = s.func
    s.cache_write("C", "acc")
    i0, j0, i1, j1 = s.tile(["C.i", "C.j"], [4, 4])
    k0, k1 = s.split("C.k", [None, 4])
    s.reorder(i0, j0, k0, i1, j1, k1)
    s.decompose_reduction("C", k0)
    value = tile4()
    s.tensorize(i1, value)
    for expected, got in zip(outputs(before), outputs(s.func), strict=True):
        np.testing.assert_array_equal(expected, got)
    with pytest.raises(tl.BuildError, match="tile4"):
        tl.build(s)
    restored = from_json(to_json(s.func), intrinsics={"tile4": value})
    assert same(restored, s.func)
    nameless = from_json(to_json(s.func))
    for expected, got in zip(outputs(before), outputs(nameless), strict=True):
        np.testing.assert_array_equal(expected, got)


def test_a_layout_that_no_longer_fits_runs_the_plain_statements():
    s = Schedule(matmul(4, 32, 6))
    before = s.func
    s.cache_read("C", "B", "global")
    _, j1 = s.split("C.j", [None, 16])
    s.reorder("C.k", j1)
    s.tensorize(j1, "fma_row16")
    s.transform_layout("B.global", lambda k, j: (j, k))
    check_numbers(before, s)
    check_compiled(s)
    assert "call void @fma_row16(" not in tl.build(s).source()


def test_tensorize_refuses():
    s = Schedule(matmul(4, 32, 6))
    assert "fma_row16" in refused(s, "unknown_intrinsic", lambda: s.tensorize("C.j", "fma_row17")).hint
    error = refused(s, "not_the_semantics", lambda: s.tensorize("C.k", "fma_row16"))
    assert "fma(A[0], B[j], C[j])" in error.hint
    lacking = Schedule(matmul(4, 4, 4), target="llvm")
    assert "fma_row16" in refused(lacking, "target_lacks", lambda: lacking.tensorize("C.i", tile4())).hint


def test_tensorize_refuses_other_strides_and_memories():
    s = Schedule(int8_product())
    j0, j1 = s.split("C.j", [None, 16])
    k0, k1 = s.split("C.k", [None, 4])
    s.reorder(j0, k0, j1, k1)
    assert "B" in refused(s, "strides", lambda: s.tensorize(j1, "dot4x16")).message
    s = Schedule(matmul(4, 4, 4))
    refused(s, "scope", lambda: s.tensorize("C.i", tile4()))


def test_tensorize_refuses_regions_that_are_the_same():
    func = Schedule(matmul(1, 16, 1)).func
    block = next(find(func, Block))
    c, b = func.outputs[0], next(p for p in func.params if p.name == "B")
    body = substitute(block.body, buffers={b: c})
    s = Schedule(replace_node(func, block, block.replace(init=None, reducer=None, body=body)))
    s.reorder("C.k", "C.j")
    refused(s, "aliased", lambda: s.tensorize("C.j", "fma_row16"))


def test_interpreter_and_verifier_read_the_body():
    s = Schedule(matmul(2, 16, 3))
    s.reorder("C.k", "C.j")
    s.tensorize("C.j", "fma_row16")
    a, b = np.ones((2, 3), "float32"), np.ones((3, 16), "float32")
    c = np.full((2, 16), np.nan, "float32")
    interp.run(s.func, [a, b, c])
    assert (c == 3).all()
    assert isinstance(seq(s.block_node("C").body), Do)
