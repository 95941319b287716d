"""An accelerator that nobody has built, from tile loads to tile stores: tensorize with a user's own intrinsics.

It keeps 4 x 4 tiles of operands in a memory `tile` and sums in a memory `acc`, and has four instructions: load a tile,
clear sums, multiply and add tiles, store sums. Its code here is LLVM IR, so that kernels run.
"""

import numpy as np
import pytest

import tensorlang as tl
from tensorlang.create_func import create_func
from tensorlang.intrin.intrin import Intrinsic, plain
from tensorlang.ir.nodes import Do
from tensorlang.ir.walk import find
from tensorlang.schedule.schedule import Schedule
from tensorlang.schedule.trace import Trace
from tests.schedule.programs import matmul, refused

T = 4
STRIDED = (None, 1)  # rows may lie any distance apart


def loops(body):
    """LLVM IR that runs `body` for %i and %j from 0 to 3."""
    return f"""entry:
  br label %row
row:
  %i = phi i64 [ 0, %entry ], [ %i.next, %row.done ]
  br label %column
column:
  %j = phi i64 [ 0, %row ], [ %j.next, %column ]
{body}
  %j.next = add i64 %j, 1
  %more = icmp slt i64 %j.next, {T}
  br i1 %more, label %column, label %row.done
row.done:
  %i.next = add i64 %i, 1
  %rows = icmp slt i64 %i.next, {T}
  br i1 %rows, label %row, label %done
done:
  ret void
}}"""


def at(name, base, stride):
    """Lines that make %name the address of element [%i, %j]."""
    return f"""  %{name}.row = mul i64 %i, {stride}
  %{name}.n = add i64 %{name}.row, %j
  %{name} = getelementptr float, ptr %{base}, i64 %{name}.n"""


def copy_code(name, to, source, to_stride, from_stride):
    body = f"""{at("from", source, from_stride)}
{at("to", to, to_stride)}
  %x = load float, ptr %from, align 4
  store float %x, ptr %to, align 4"""
    signature = "ptr %T, ptr %A, i64 %s" if name == "tile_load" else "ptr %O, ptr %C, i64 %s"
    return f"define internal void @{name}({signature}) alwaysinline {{\n{loops(body)}"


def multiply_code():
    terms = []
    for k in range(T):
        terms.append(f"""  %a{k}.row = mul i64 %i, {T}
  %a{k}.n = add i64 %a{k}.row, {k}
  %a{k}.p = getelementptr float, ptr %A, i64 %a{k}.n
  %b{k}.n = add i64 %j, {k * T}
  %b{k}.p = getelementptr float, ptr %B, i64 %b{k}.n
  %a{k} = load float, ptr %a{k}.p, align 4
  %b{k} = load float, ptr %b{k}.p, align 4
  %c{k + 1} = call float @llvm.fma.f32(float %a{k}, float %b{k}, float %c{k})""")
    body = f"""{at("c", "C", T)}
  %c0 = load float, ptr %c, align 4
{chr(10).join(terms)}
  store float %c{T}, ptr %c, align 4"""
    return (
        "declare float @llvm.fma.f32(float, float, float)\n"
        f"define internal void @tile_multiply(ptr %C, ptr %A, ptr %B) alwaysinline {{\n{loops(body)}"
    )


def tile_load():
    a = tl.placeholder((T, T), name="A")
    t = tl.compute((T, T), lambda i, j: a[i, j], name="T")
    code = copy_code("tile_load", "T", "A", T, "%s")
    semantics = plain(create_func(t, args=[t, a]))
    return Intrinsic("tile_load", semantics, {"A": STRIDED}, {"T": "tile"}, code=lambda target: code)


def tile_clear():
    c = tl.compute((T, T), lambda i, j: tl.cast(0.0, "float32"), name="C")
    body = f"{at('c', 'C', T)}\n  store float 0.0, ptr %c, align 4"
    code = f"define internal void @tile_clear(ptr %C) alwaysinline {{\n{loops(body)}"
    return Intrinsic("tile_clear", plain(create_func(c)), scopes={"C": "acc"}, code=lambda target: code)


def tile_multiply():
    a, b, k = tl.placeholder((T, T), name="A"), tl.placeholder((T, T), name="B"), tl.reduce_axis(T, name="k")
    c = tl.compute((T, T), lambda i, j: tl.sum(a[i, k] * b[k, j], axis=k), name="C")
    scopes = {"A": "tile", "B": "tile", "C": "acc"}
    return Intrinsic(
        "tile_multiply", plain(create_func(c, args=[c, a, b])), scopes=scopes, code=lambda target: multiply_code()
    )


def tile_store():
    c = tl.placeholder((T, T), name="C")
    o = tl.compute((T, T), lambda i, j: c[i, j], name="O")
    code = copy_code("tile_store", "O", "C", "%s", T)
    semantics = plain(create_func(o, args=[o, c]))
    return Intrinsic("tile_store", semantics, {"O": STRIDED}, {"C": "acc"}, code=lambda target: code)


INTRINSICS = (tile_load(), tile_clear(), tile_multiply(), tile_store())


def tiled(s):
    """The loop nest of the accelerator, before any instruction: returns the loops over tiles, outermost first."""
    i0, j0, i1, j1 = s.tile(["C.i", "C.j"], [T, T])
    k0, k1 = s.split("C.k", [None, T])
    s.reorder(i0, j0, k0, i1, j1, k1)
    for operand in "AB":
        s.compute_at(s.cache_read("C", operand, "tile"), k0)
    s.reverse_compute_at(s.cache_write("C", "acc"), j0)
    return i0, j0, k0


def instructed(s):
    """All work of a tile is done by instructions."""
    _, _, k0 = tiled(s)
    clear = s.decompose_reduction("C", k0)
    for block in ("A.tile", "B.tile"):
        s.tensorize(s.loops(block)[-2], "tile_load")
    s.tensorize(s.loops(clear)[-2], "tile_clear")
    s.tensorize(s.loops("C")[-3], "tile_multiply")
    s.tensorize(s.loops("C.write")[-2], "tile_store")
    return k0


def calls(kernel):
    return {each.name: kernel.source().count(f"call void @{each.name}(") for each in INTRINSICS}


def check(s, m, n, k):
    """Kernel, interpreter and NumPy agree."""
    rng = np.random.default_rng(0)
    a, b = (rng.integers(-4, 5, shape).astype("float32") for shape in ((m, k), (k, n)))
    np.testing.assert_array_equal(tl.interpret(s, a, b), a @ b)
    np.testing.assert_array_equal(tl.build(s)(a, b), a @ b)


def test_all_work_is_done_by_instructions(golden):
    s = Schedule(matmul(8, 12, 20), intrinsics=INTRINSICS)
    instructed(s)
    golden("schedule/accelerator", f"{s}\n\n{s.trace.as_python()}")
    check(s, 8, 12, 20)
    assert calls(tl.build(s)) == {"tile_load": 2, "tile_clear": 1, "tile_multiply": 1, "tile_store": 1}
    assert sum(1 for _ in find(s.func.body, Do)) == 5


def test_traces_by_name_and_by_value():
    before = Schedule(matmul(8, 12, 20)).func
    s = Schedule(before, intrinsics=INTRINSICS)
    instructed(s)
    stored = Trace.from_json(s.trace.to_json())
    assert str(stored.apply(before, intrinsics=INTRINSICS)) == str(s)
    unknown = Schedule(before)
    assert "tile_load" in refused(unknown, "unknown_intrinsic", lambda: unknown.apply(stored)).message
    by_value = Schedule(matmul(8, 12, 20))
    tiled(by_value)
    by_value.tensorize(by_value.loops("A.tile")[-2], INTRINSICS[0])
    assert "'tile_load'" in by_value.trace.as_python()
    again = by_value.trace.apply(before)  # a trace in memory holds the value
    assert str(again) == str(by_value)


@pytest.mark.parametrize(("m", "n", "k"), [(8, 12, 20), (5, 7, 9), (4, 4, 1)])
def test_sizes_that_do_not_divide_are_padded(m, n, k):
    s = Schedule(matmul(m, n, k), intrinsics=INTRINSICS)
    s.pad_einsum("C", [T, T, T])
    i0, j0, i1, j1 = s.tile(["C.i", "C.j"], [T, T])
    k0, k1 = s.split("C.k", [None, T])
    s.reorder(i0, j0, k0, i1, j1, k1)
    for operand in ("A.pad", "B.pad"):
        s.compute_at(s.cache_read("C", operand, "tile"), k0)
    s.reverse_compute_at(s.cache_write("C", "acc"), j0)
    s.decompose_reduction("C", k0)
    s.tensorize(s.loops("C")[-3], "tile_multiply")
    for block in ("A.pad.tile", "B.pad.tile"):
        s.tensorize(s.loops(block)[-2], "tile_load")
    check(s, m, n, k)
    assert calls(tl.build(s))["tile_multiply"] == 1


def test_loads_run_ahead():
    """Instructions are pipelined like all else: tiles of the next steps are loaded while this one is multiplied."""
    s = Schedule(matmul(8, 12, 24), intrinsics=INTRINSICS)
    k0 = instructed(s)
    s.software_pipeline(k0, {"A.tile": 0, "B.tile": 0, "C": 2})
    s.parallel("C.i.0")
    check(s, 8, 12, 24)
    kernel = tl.build(s)
    assert calls(kernel) == {"tile_load": 4, "tile_clear": 1, "tile_multiply": 2, "tile_store": 1}


def test_unrolled_tiles_stay_instructions():
    s = Schedule(matmul(8, 8, 8), intrinsics=INTRINSICS)
    _, j0, k0 = tiled(s)
    s.decompose_reduction("C", k0)
    for loop in s.loops("C")[-3:]:
        s.unroll(loop)
    s.tensorize(s.loops("C")[-3], "tile_multiply")
    s.unroll(k0)
    s.unroll(j0)
    check(s, 8, 8, 8)
    assert calls(tl.build(s))["tile_multiply"] == 4


def test_what_the_accelerator_refuses():
    s = Schedule(matmul(8, 12, 20), intrinsics=INTRINSICS)
    tiled(s)
    error = refused(s, "not_the_semantics", lambda: s.tensorize(s.loops("C")[-3], "tile_load"))
    assert "T[T.i, T.j] = A[T.i, T.j]" in error.hint
    s.set_scope("A.tile", "global")
    assert "tile" in refused(s, "scope", lambda: s.tensorize(s.loops("A.tile")[-2], "tile_load")).message
    s.set_scope("A.tile", "tile")
    s.transform_layout("B.tile", lambda k, j: (j, k))
    assert "B" in refused(s, "strides", lambda: s.tensorize(s.loops("B.tile")[-2], "tile_load")).message
    guarded = Schedule(matmul(7, 12, 20), intrinsics=INTRINSICS)
    tiled(guarded)
    hint = refused(guarded, "guard_inside", lambda: guarded.tensorize(guarded.loops("C")[-3], "tile_multiply")).hint
    assert "cut" in hint
