"""Kernels: the calling convention and what it refuses. The native functions are written by hand."""

import threading
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from tensorlang.errors import ArgumentError, BuildError
from tensorlang.ir.nodes import Buffer, Size, const
from tensorlang.runtime import arrays
from tensorlang.runtime.kernel import Kernel
from tests.runtime.native import Native

N = Size("n")

# add: C[i] = A[i] + B[i] over n bytes-sized elements; the workspace receives 7 in its first byte.
TEXT = """
define void @add(ptr %a, ptr %b, ptr %c, i64 %n, ptr %workspace) {
entry:
  store i8 7, ptr %workspace
  %some = icmp sgt i64 %n, 0
  br i1 %some, label %loop, label %return
loop:
  %i = phi i64 [ 0, %entry ], [ %next, %loop ]
  %pa = getelementptr i8, ptr %a, i64 %i
  %pb = getelementptr i8, ptr %b, i64 %i
  %pc = getelementptr i8, ptr %c, i64 %i
  %va = load i8, ptr %pa
  %vb = load i8, ptr %pb
  %sum = add i8 %va, %vb
  store i8 %sum, ptr %pc
  %next = add i64 %i, 1
  %more = icmp slt i64 %next, %n
  br i1 %more, label %loop, label %return
return:
  ret void
}

define void @add__repeat(i64 %times, ptr %arguments) {
entry:
  %at1 = getelementptr i64, ptr %arguments, i64 1
  %at2 = getelementptr i64, ptr %arguments, i64 2
  %at3 = getelementptr i64, ptr %arguments, i64 3
  %at4 = getelementptr i64, ptr %arguments, i64 4
  %a = load ptr, ptr %arguments
  %b = load ptr, ptr %at1
  %c = load ptr, ptr %at2
  %n = load i64, ptr %at3
  %workspace = load ptr, ptr %at4
  br label %loop
loop:
  %i = phi i64 [ 0, %entry ], [ %next, %loop ]
  call void @add(ptr %a, ptr %b, ptr %c, i64 %n, ptr %workspace)
  %next = add i64 %i, 1
  %more = icmp slt i64 %next, %times
  br i1 %more, label %loop, label %return
return:
  ret void
}

; copies one 16-bit element, and a constant into a second output
define void @pair__repeat(i64 %times, ptr %arguments) {
  %at1 = getelementptr i64, ptr %arguments, i64 1
  %at2 = getelementptr i64, ptr %arguments, i64 2
  %a = load ptr, ptr %arguments
  %c = load ptr, ptr %at1
  %d = load ptr, ptr %at2
  %value = load i16, ptr %a
  store i16 %value, ptr %c
  store i32 42, ptr %d
  ret void
}
"""
NATIVE = Native(TEXT)


def kernel(name: str, params: list[Buffer], outputs: list[Buffer], sizes: list[Size], workspace: int) -> Kernel:
    return Kernel(
        name=name,
        params=params,
        outputs=outputs,
        sizes=sizes,
        repeat=NATIVE.address(f"{name}__repeat"),
        workspace=lambda *_: workspace,
        source=lambda: TEXT,
        asm=lambda: "ret",
        keepalive=NATIVE,
    )


def adder(*shapes: tuple[Any, ...], dtype: str = "int8") -> Kernel:
    shapes = shapes or ((N,), (N,), (N,))
    a, b, c = (Buffer(name, shape, dtype) for name, shape in zip("ABC", shapes, strict=True))
    return kernel("add", [a, b, c], [c], [N], 16)


def pair(dtype: str = "int16") -> Kernel:
    a, c, d = Buffer("A", (const(1),), dtype), Buffer("C", (const(1),), dtype), Buffer("D", (), "int32")
    return kernel("pair", [a, c, d], [c, d], [], 0)


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int8)


class Foreign:
    """An array of another library: nothing but DLPack, of the version before 1.0 if `old`."""

    def __init__(self, array: np.ndarray, device: int = 1, old: bool = False):
        self.array, self.device, self.old = array, device, old

    def __dlpack__(self, **options: Any) -> object:
        if self.old and options:
            raise TypeError("unexpected keyword argument")
        return self.array.__dlpack__(**options)

    def __dlpack_device__(self) -> tuple[int, int]:
        if not self.device:
            raise ValueError("there is no memory")
        return self.device, 0

    def __array_namespace__(self) -> "type[Foreign]":
        return Foreign

    @staticmethod
    def from_dlpack(array: np.ndarray) -> "Foreign":
        return Foreign(np.from_dlpack(array))


def test_allocates_outputs_aligned() -> None:
    c = adder()(ints(1, 2, 3), ints(10, 20, 30))
    assert c.tolist() == [11, 22, 33] and c.dtype == np.int8
    assert c.ctypes.data % arrays.ALIGNMENT == 0


def test_writes_to_out_and_returns_it() -> None:
    f, a, b, c = adder(), ints(1, 2), ints(3, 4), ints(0, 0)
    assert f(a, b, out=c) is c and c.tolist() == [4, 6]
    for again in (lambda: f(a, b, c), lambda: f(C=c, B=b, A=a), lambda: f(a, B=b, out=(c,))):
        c[:] = 0
        assert again() is c and c.tolist() == [4, 6]


def test_names() -> None:
    assert adder()(B=ints(5), A=ints(1)).tolist() == [6]


def test_several_outputs() -> None:
    f, d = pair(), np.zeros((), np.int32)
    c, got = f(np.array([9], np.int16), out=(None, d))
    assert c.tolist() == [9] and got is d and d == 42
    assert isinstance(f(np.array([9], np.int16)), tuple)


def test_zero_size() -> None:
    assert adder()(ints(), ints()).shape == (0,)
    out = ints(1, 2)
    assert adder()(out[1:1], out[1:1], out=out[1:1]).shape == (0,)


def test_bfloat16() -> None:
    a = np.array([1.5], ml_dtypes.bfloat16)
    c, _ = pair("bfloat16")(a)
    assert c.dtype == a.dtype and c[0] == a[0]


@pytest.mark.parametrize("old", [False, True])
def test_dlpack_in_and_out(old: bool) -> None:
    a, b, c = (Foreign(ints(*v), old=old) for v in ([1, 2], [3, 4], [0, 0]))
    result = adder()(a, b)
    assert isinstance(result, Foreign) and result.array.tolist() == [4, 6]
    assert adder()(a, b, out=c) is c and c.array.tolist() == [4, 6]
    assert isinstance(adder()(ints(1), Foreign(ints(2))), np.ndarray)


def test_dlpack_keeps_strides_and_read_only() -> None:
    with pytest.raises(ArgumentError, match=r"argument A: expected int8\[n\] with n = 2, got int8\[2\] with strides"):
        adder()(Foreign(ints(1, 2, 3, 4)[::2]), ints(1, 2))
    frozen = ints(0, 0)
    frozen.flags.writeable = False
    with pytest.raises(ArgumentError, match=r"argument C: .* writable; got a read-only array"):
        adder()(ints(1, 2), ints(1, 2), out=Foreign(frozen))


def test_torch() -> None:
    torch = pytest.importorskip("torch")
    c = adder()(torch.tensor([1, 2], dtype=torch.int8), torch.tensor([3, 4], dtype=torch.int8))
    assert isinstance(c, torch.Tensor) and c.tolist() == [4, 6]
    c, _ = pair("bfloat16")(torch.tensor([1.5], dtype=torch.bfloat16))
    assert c.dtype == torch.bfloat16 and c.item() == 1.5
    with pytest.raises(ArgumentError, match=r"argument A: .* that does not give its memory away"):
        pair("bfloat16")(torch.tensor([1.5], dtype=torch.bfloat16, requires_grad=True))


READ_ONLY = ints(0, 0)
READ_ONLY.flags.writeable = False
MEMORY = np.zeros(8, np.int8)
REFUSED = {
    "missing": (lambda f: f(ints(1)), r"add: argument B is missing: expected int8\[n\]"),
    "nothing": (lambda f: f(), "argument A is missing"),
    "too many": (lambda f: f(*[ints(1)] * 4), "expected 2 inputs or all 3 arrays, got 4"),
    "name": (lambda f: f(ints(1), ints(1), D=ints(1)), "no parameter is called D; signature: add"),
    "twice": (lambda f: f(ints(1), ints(1), A=ints(1)), "argument A was given twice"),
    "out twice": (lambda f: f(ints(1), ints(1), ints(1), out=ints(1)), "argument C was given twice"),
    "outs": (lambda f: f(ints(1), ints(1), out=(ints(1), ints(1))), "out: expected 1 output, got 2"),
    "dtype": (lambda f: f(ints(1), np.ones(1)), r"argument B: expected int8\[n\], got float64\[1\] \(convert it"),
    "endian": (lambda f: f(ints(1), np.ones(1, ">i2")), r"expected int8\[n\], got int16\[1\] in the other byte order"),
    "rank": (lambda f: f(ints(1), np.ones((1, 1), np.int8)), r"expected int8\[n\], got int8\[1, 1\]"),
    "shape": (lambda f: f(ints(1, 2), ints(1)), r"argument B: expected int8\[n\] with n = 2, got int8\[1\]"),
    "out shape": (lambda f: f(ints(1), ints(1), out=ints(1, 2)), r"argument C: expected int8\[n\] with n = 1, got"),
    "layout": (lambda f: f(ints(1, 2)[::-1], ints(1, 2)), r"argument A: .* with strides \(-1,\) \(row-major"),
    "read-only": (lambda f: f(ints(1, 2), ints(1, 2), out=READ_ONLY), "argument C: .* got a read-only array"),
    "overlap": (lambda f: f(MEMORY[:4], ints(1, 2, 3, 4), out=MEMORY[3:7]), "argument C: .* overlaps argument A"),
    "list": (lambda f: f([1], ints(1)), r"argument A: expected int8\[n\], got a list, which is neither"),
    "scalar": (lambda f: f(1, ints(1)), "got a int, which is neither a NumPy array nor offers DLPack"),
    "masked": (lambda f: f(np.ma.masked_array(ints(1)), ints(1)), "got a masked array"),
    "device": (lambda f: f(Foreign(ints(1), device=2), ints(1)), "in the memory of another device"),
    "no device": (lambda f: f(Foreign(ints(1), device=0), ints(1)), "got a Foreign that does not give its memory"),
    "complex": (lambda f: f(Foreign(np.ones(1, np.complex64)), ints(1)), "elements of a type that NumPy has not"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refuses(case: str) -> None:
    call, message = REFUSED[case]
    with pytest.raises(ArgumentError, match=message):
        call(adder())
    assert not MEMORY.any() and not READ_ONLY.any()


def test_refuses_misaligned_elements() -> None:
    a = np.zeros(5, np.int8)[1:3].view(np.int16)
    if not a.flags.aligned:
        with pytest.raises(ArgumentError, match="at an address that is no multiple of its element size"):
            pair()(a)


def test_outputs_must_not_overlap_each_other() -> None:
    memory = np.zeros(8, np.int16)
    with pytest.raises(ArgumentError, match=r"argument C: .* overlaps argument D"):
        pair()(np.ones(1, np.int16), out=(memory[1:2], memory[:2].view(np.int32).reshape(())))


def test_sizes_from_expressions() -> None:
    f = adder((2 * N + 1,), (2 * N + 1,), (N,))
    assert f(ints(1, 2, 3, 4, 5), ints(1, 1, 1, 1, 1)).tolist() == [2, 3]
    with pytest.raises(ArgumentError, match=r"argument A: expected int8\[.*\] with n = 1, got int8\[4\]"):
        f(ints(1, 2, 3, 4), ints(1, 1, 1, 1))
    with pytest.raises(ArgumentError, match=r"argument A: .* with n = 0"):
        f(ints(), ints())


def test_a_size_that_nothing_tells() -> None:
    m = Size("m")
    buffer = Buffer("A", (N * m,), "int8")
    with pytest.raises(BuildError, match="the size n cannot be told from the shapes"):
        kernel("add", [buffer], [buffer], [N, m], 0)


def test_a_size_that_only_an_output_tells() -> None:
    f = adder((const(2),), (const(2),), (N,))
    assert f(ints(1, 2), ints(1, 2), out=ints(0, 0)).tolist() == [2, 4]
    with pytest.raises(ArgumentError, match="the size n cannot be told from the inputs: pass the outputs too"):
        f(ints(1, 2), ints(1, 2))


def test_signature() -> None:
    assert adder().signature == "add(A: int8[n], B: int8[n]) -> C: int8[n]"
    assert pair().signature == "pair(A: int16[1]) -> C: int16[1], D: int32[]"
    assert repr(pair()) == "Kernel pair(A: int16[1]) -> C: int16[1], D: int32[]"


def test_outputs_that_do_not_come_last() -> None:
    c, b, a = (Buffer(name, (N,), "int8") for name in "CBA")
    f = kernel("add", [a, c, b], [b], [N], 16)
    g = kernel("add", [a, b, c], [b], [N], 16)
    assert f.signature == "add(A: int8[n], C: int8[n]) -> B: int8[n]"
    assert g.signature == "add(A: int8[n], B: int8[n], C: int8[n]) -> B: int8[n]"
    assert g(ints(1), ints(0), ints(2)).tolist() == [0]


def test_calls_from_several_threads() -> None:
    f, wrong = adder(), []

    def work(number: int) -> None:
        a = np.full(1000, number, np.int8)
        wrong.extend(1 for _ in range(200) if not (f(a, a) == 2 * a).all())

    workers = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not wrong


def test_time() -> None:
    a = np.ones(1000, np.int8)
    timing = adder().time(a, a, repeat=3, min_seconds=0.001)
    assert len(timing.runs) == 3 and timing.minimum == min(timing.runs) > 0
    assert timing.minimum <= timing.median <= max(timing.runs) and timing.spread >= 0
    assert adder().time(a, a, repeat=1, min_seconds=0.0).spread == 0
    with pytest.raises(ArgumentError, match="repeat must be at least 1, got 0"):
        adder().time(a, a, repeat=0)


def test_source_and_asm() -> None:
    assert "define void @add" in adder().source() and adder().asm() == "ret"
