"""set_scope, storage_align, swizzle, store_at."""

import numpy as np
import pytest

import tensorlang as tl
from tensorlang.arith.strides import strides
from tensorlang.ir import serial
from tensorlang.ir.nodes import TRUE, ZERO, Alloc, Block, Buffer, For, Func, Iter, Load, Store, Var, const, seq
from tensorlang.ir.walk import find, same, substitute
from tensorlang.passes.flatten import flatten
from tensorlang.schedule.schedule import Schedule
from tensorlang.target.target import Target
from tests.schedule.programs import (
    before_and_after,
    blur,
    chain,
    check_compact,
    compact_form,
    matmul,
    normalised,
    outputs,
    refused,
    running,
    shapes,
)


def built(before, s, sizes={}):
    """As check, and the compiled kernel agrees too."""
    check_compact(before, s, sizes)
    rng = np.random.default_rng(0)
    kernel = tl.build(s)
    arrays = []
    for param in s.func.params:
        shape = [sizes.get(getattr(d, "name", ""), getattr(d, "value", None)) for d in param.shape]
        array = rng.integers(-4, 5, shape).astype(param.dtype)
        arrays.append(np.full_like(array, 77) if param in s.func.outputs else array)
    inputs = [a for a, p in zip(arrays, s.func.params, strict=True) if p not in s.func.outputs]
    got = kernel(*inputs)
    for expected, value in zip(outputs(before, sizes), [got] if isinstance(got, np.ndarray) else got, strict=True):
        np.testing.assert_array_equal(expected, value)


# ------------------------------------------------------------------------------------------------------ set_scope
def test_set_scope(golden):
    s = Schedule(chain())
    before = s.func
    s.set_scope("P", "local")
    golden("schedule/set_scope", before_and_after(before, s))
    assert s.buffers()["P"].scope == "local"
    built(before, s)


def test_parameters_stay_where_callers_put_them():
    s = Schedule(matmul())
    assert "cache_read" in refused(s, "parameter_storage", lambda: s.set_scope("A", "local")).hint
    refused(s, "parameter_storage", lambda: s.set_scope("C", "local"))


@pytest.mark.parametrize("scope", ["", "two words", 3, "register"])
def test_scopes_are_names(scope):
    s = Schedule(chain())
    refused(s, "bad_scope", lambda: s.set_scope("P", scope))


def test_a_block_of_several_buffers_is_no_buffer():
    a = tl.placeholder((8,), name="A")
    p, q = tl.compute((8,), lambda i: (a[i] + 1.0, a[i] * 2.0), name="P")
    s = Schedule(tl.compute((8,), lambda i: p[i] + q[i], name="C"))
    names = [b for b in s.buffers() if b not in ("A", "C")]
    if "P" not in names:
        refused(s, "several_outputs", lambda: s.set_scope("P", "local"))
    s.set_scope(names[0], "local")


def prefix_sum():
    """For each t: T[0] = T[0] + A[t], then C[t] = T[0]."""
    a, c, held = (Buffer(n, (const(d),), "float32") for n, d in (("A", 5), ("C", 5), ("T", 1)))
    t = Var("C.t")

    def block(name, store):
        it = Iter(Var("t"), const(5), "ordered" if name == "P" else "spatial")
        return Block(name, (it,), (t,), TRUE, None, None, store(it.var))

    add = block("P", lambda i: Store(held, (ZERO,), Load(held, (ZERO,)) + Load(a, (i,))))
    read = block("C", lambda i: Store(c, (i,), Load(held, (ZERO,))))
    return Func("prefix", (a, c), (c,), Alloc(held, For(t, const(5), "serial", seq(add, read))))


# -------------------------------------------------------------------------------------------------- storage_align
def test_storage_align(golden):
    s = Schedule(chain())
    before = s.func
    s.storage_align("P", axis=0, factor=8, offset=1)
    golden("schedule/storage_align", before_and_after(before, s))
    built(before, s)
    flat = flatten(compact_form(s), Target("llvm"))
    assert repr(next(find(flat.body, Alloc)).buffer.shape) == "(170,)"


def test_pitches():
    p = Schedule(chain(5, 12)).buffers()["P"]
    assert repr(strides(p.shape)) == "[60, 12, 1]"
    assert repr(strides(p.shape, ((0, 16, 0),))) == "[80, 16, 1]"
    assert repr(strides(p.shape, ((0, 4, 3),))) == "[75, 15, 1]"


def test_alignment_follows_the_buffer():
    """It holds for the box that is left of the buffer, after further moves, and in JSON."""
    s = Schedule(blur(10, 11))
    before = s.func
    s.storage_align("H", axis=-2, factor=8)
    s.storage_align("P", axis=0, factor=4, offset=3)
    s.storage_align("P", axis=0, factor=16)
    i0, _ = s.split("C.i", [None, 4])
    s.compute_at("H", i0)
    s.compute_at("P", i0)
    notes = {a.buffer.name: a.annotations for a in find(s.func.body, Alloc)}
    assert notes == {"H": (("align", ((0, 8, 0),)),), "P": (("align", ((0, 16, 0),)),)}
    assert same(serial.from_json(serial.to_json(s.func)), s.func)
    assert serial.structural_hash(before) != serial.structural_hash(s.func)
    built(before, s)


def test_symbolic_pitch():
    n = tl.var("n")
    s = Schedule(chain(5, n))
    before = s.func
    s.storage_align("P", 0, 16, 3)
    for value in (0, 1, 16, 19):
        built(before, s, {"n": value})


@pytest.mark.parametrize("axis", [1, -1, 2, -3, "i", True])
def test_axes_that_have_no_pitch(axis):
    s = Schedule(chain())
    assert refused(s, "bad_axis", lambda: s.storage_align("P", axis, 8)).hint == "0"


@pytest.mark.parametrize(("factor", "offset"), [(0, 0), (8, 8), (8, -1)])
def test_pitches_that_are_none(factor, offset):
    s = Schedule(chain())
    refused(s, "bad_factor", lambda: s.storage_align("P", 0, factor, offset))


def test_parameters_are_not_aligned():
    s = Schedule(matmul())
    refused(s, "parameter_storage", lambda: s.storage_align("A", 0, 8))


# --------------------------------------------------------------------------------------------------------- swizzle
def test_swizzle(golden):
    s = Schedule(chain())
    before = s.func
    s.swizzle("P", 32)
    s.swizzle("P", 64)
    golden("schedule/swizzle", before_and_after(before, s))
    assert same(serial.from_json(serial.to_json(s.func)), s.func)
    built(before, s)


@pytest.mark.parametrize("bytes", [16, 256, 128.0, "128", True, None])
def test_swizzles_that_are_none(bytes):
    s = Schedule(chain())
    refused(s, "bad_swizzle", lambda: s.swizzle("P", bytes))


def test_parameters_are_not_swizzled():
    s = Schedule(matmul())
    refused(s, "parameter_storage", lambda: s.swizzle("A", 128))


# ------------------------------------------------------------------------------------------------------- store_at
def test_store_at(golden):
    s = Schedule(blur(6, 7))
    before = s.func
    s.compute_at("H", "C.j")
    s.store_at("H", "C.i")
    golden("schedule/store_at", before_and_after(before, s))
    built(before, s)
    assert shapes(s)["H"] == "[3, 7]"


def test_allocations_move_out_and_in():
    s = Schedule(blur(6, 7))
    before = s.func
    s.compute_at("H", "C.j")
    for loop, shape in ((None, "[8, 7]"), ("C.i", "[3, 7]"), ("C.j", "[3, 1]"), (None, "[8, 7]")):
        s.store_at("H", loop)
        assert shapes(s)["H"] == shape
        built(before, s)


def test_later_steps_leave_it_there():
    s = Schedule(blur(6, 7))
    before = s.func
    s.compute_at("H", "C.j")
    s.store_at("H", None)
    s.split("C.i", [None, 2])
    s.compute_at("H", "C.i.1")
    s.compute_at("P", "C.i.1")
    assert shapes(s)["H"] == "[8, 7]"
    built(before, s)


def test_a_use_outside_frees_it():
    s = Schedule(blur(6, 7))
    before = s.func
    s.compute_at("H", "C.j")
    s.store_at("H", "C.i")
    i0, _ = s.split("C.i", [None, 2])
    s.compute_at("H", i0)
    built(before, s)


def test_store_at_holds_all_uses():
    s = Schedule(blur())
    assert refused(s, "uses_outside_loop", lambda: s.store_at("H", "C.i")).hint == "None, which allocates it once"
    s.compute_at("H", "C.j")
    assert refused(s, "uses_outside_loop", lambda: s.store_at("H", "H.i_1")).hint == "C.i, C.j"


def test_store_at_keeps_threads_apart():
    s = Schedule(blur())
    s.compute_at("H", "C.i")
    s.parallel("C.i")
    refused(s, "loop_repeats", lambda: s.store_at("H", None))
    s = Schedule(chain())
    before = s.func
    s.compute_at("P", "C.i")
    s.parallel("C.i")
    s.store_at("P", None)
    built(before, s)


def test_store_at_keeps_what_reductions_have():
    s = Schedule(normalised())
    before = s.func
    s.compute_at("total", "C.i")
    s.store_at("total", None)
    s.store_at("total", "C.i")
    built(before, s)


def test_store_at_does_not_cut_what_iterations_share():
    """A hand-made running sum: T goes from one iteration to the next, so it cannot start anew in each."""
    s = Schedule(running())
    refused(s, "not_produced_there", lambda: s.store_at("T", "C.x"))
    s = Schedule(prefix_sum())
    refused(s, "iterations_share", lambda: s.store_at("T", "C.t"))


def test_store_at_is_for_intermediates():
    s = Schedule(matmul())
    refused(s, "parameter_storage", lambda: s.store_at("A", "C.i"))


def test_all_parts_are_written_in_the_iteration_that_reads_them():
    """The last part is, the first is of the iteration before."""
    a = tl.placeholder((5,), name="A")
    p = tl.compute((5,), lambda i: a[i] + 1.0, name="P")
    s = Schedule(tl.compute((4,), lambda i: p[i] + p[4] + tl.if_then_else(i >= 1, p[i - 1], 0.0), name="Q"))
    s.loop_partition("P.i", [4])
    alloc = next(find(s.func, Alloc))
    first, last, use = alloc.body.stmts
    together = first.replace(body=seq(first.body, last, substitute(use.body, {use.var: first.var})))
    s = Schedule(s.func.with_body(alloc.replace(body=together)))
    refused(s, "not_produced_there", lambda: s.store_at("P", "P.i.part0"))
