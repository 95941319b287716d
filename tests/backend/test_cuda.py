"""CUDA C++ of single expressions, literals and declarations: texts, since no GPU is needed to read them."""

from __future__ import annotations

import re

import pytest

import tensorlang as tl
from tensorlang.backend import cuda, nvrtc
from tensorlang.backend.cuda_expr import Values
from tensorlang.backend.cuda_text import Names, literal
from tensorlang.ir import dtypes, ops
from tensorlang.ir.nodes import Buffer, Expr, Let, Load, Ramp, Splat, Var, const
from tensorlang.ir.walk import free_vars, visit
from tests.gpu.checking import lowered
from tests.gpu.programs import H100
from tests.ir.small_funcs import extents

i, j, n = Var("i"), Var("j"), Var("n")
x, y = Var("x", "float32"), Var("y", "float32")
A = Buffer("A", extents(64), "float32")


def text(expr: Expr) -> str:
    values = Values(Names())
    for var in free_vars(expr):
        values.of[var] = var.name
    for node in visit(expr):
        if isinstance(node, Load):
            values.of[node.buffer] = node.buffer.name
    return values.text(expr)


def test_every_op_and_every_cast(golden) -> None:
    """Of narrow floats, of which the backend sees nothing else, only casts."""
    lines = []
    for dtype in ("index", *dtypes.DATA):
        a, b, c = (Var(name, dtype) for name in "abc")
        for op, row in ops.OPS.items():
            special = op in ("cast", "reinterpret", "select", "if_then_else")
            if not special and dtype not in dtypes.NARROW and ops.kind_of(dtype) in row.kinds:
                lines.append(f"{dtype} {op}: {text(ops.make(op, *(a, b, c)[: row.arity]))}")
        lines += [f"{dtype} to {other}: {text(ops.cast(a, other))}" for other in ("index", *dtypes.DATA)]
    golden("backend/cuda_ops", "\n".join(lines))


@pytest.mark.parametrize(
    "expr, expected",
    [
        ((i - j) - n, "i - j - n"),
        (i - (j - n), "i - (j - n)"),
        ((i + j) * n, "(i + j) * n"),
        (i * j // n, "i * j / n"),
        (i // (j * n), "i / (j * n)"),
        (i // 8, "i >> 3"),
        ((i + 1) // 8, "(i + 1) >> 3"),
        (i // 8 * 8, "(i >> 3) * 8"),
        (i % 8 + j, "(i & 7) + j"),
        (i % 7, "i % 7"),
        ((i - j) // 7, "floor_div((index)(i - j), (index)7)"),
        ((i - j) % 7, "floor_mod((index)(i - j), (index)7)"),
        ((-i) // 8, "-((i + 7) >> 3)"),
        ((-i) % 8, "-i & 7"),
        (-(i + j), "-(i + j)"),
        (ops.make("not", i < j), "!(i < j)"),
        ((i < j) & (j < n) | (i == n), "i < j && j < n || i == n"),
        ((i < j) & ((j < n) | (i == n)), "i < j && (j < n || i == n)"),
        (ops.make("eq", i < j, j < n), "i < j == j < n"),
        (ops.make("max", (i < j) | (j < n), i == n), "i < j || j < n || i == n"),
        (ops.make("min", (i < j) | (j < n), i == n), "(i < j || j < n) && i == n"),
        (ops.make("select", i < j, x, y) + x, "(i < j ? x : y) + x"),
        (ops.make("select", i < j, x, ops.make("select", j < n, y, x)), "i < j ? x : (j < n ? y : x)"),
        (x * (y / x), "x * (y / x)"),
        (ops.make("sigmoid", x) * y, "1.0f / (1.0f + expf(-x)) * y"),
        (y / ops.make("sigmoid", x), "y / (1.0f / (1.0f + expf(-x)))"),
        (ops.cast(i + j, "float32"), "(float)(i + j)"),
        (ops.cast(x + y, "int32"), "__float2int_rz(x + y)"),
        (ops.reinterpret(x + y, "int32"), "bits_as<int>((float)(x + y))"),
        (Load(A, (i + j,)), "A[i + j]"),
        (Load(A, (i,), i < n), "i < n ? A[i] : 0.0f"),
        (Load(A, (Ramp(i, const(1), 4),)), "A[i + v]"),
        (Load(A, (Ramp(const(0), const(3), 4),)), "A[v * 3]"),
        (Load(A, (Ramp(i % 8, i + 1, 4),)), "A[(i & 7) + v * (i + 1)]"),
        (Splat(x, 4) * Splat(y, 4), "x * y"),
        (Let(Var("t", "float32"), x + y, x) * y, "[&] { const float t = x + y; return x; }() * y"),
    ],
)
def test_parentheses(expr: Expr, expected: str) -> None:
    assert text(expr) == expected


@pytest.mark.parametrize(
    "value, dtype, expected",
    [
        (True, "bool", "true"),
        (-(2**31), "int32", "(-2147483647 - 1)"),
        (2**31 - 1, "int32", "2147483647"),
        (-(2**31), "int64", "-2147483648ll"),
        (-(2**63), "int64", "(-9223372036854775807ll - 1)"),
        (2**64 - 1, "uint64", "18446744073709551615ull"),
        (2**32 - 1, "uint32", "4294967295u"),
        (-3, "int8", "-3"),
        (2.0, "float32", "2.0f"),
        (1e-30, "float32", "1e-30f"),
        (0.1, "float64", "0.1"),
        (float("inf"), "float32", "__int_as_float(0x7f800000)"),
        (float("-inf"), "float64", "-__longlong_as_double(0x7ff0000000000000ll)"),
        (float("nan"), "float32", "__int_as_float(0x7fc00000)"),
        (1.0, "float16", "float16(0x3c00)"),
        (-2.0, "bfloat16", "bfloat16(0xc000)"),
        (1.0, "float8_e4m3fn", "float8_e4m3(0x38)"),
        (-1.0, "float8_e5m2", "float8_e5m2(0xbc)"),
    ],
)
def test_literals(value: float, dtype: str, expected: str) -> None:
    assert literal(value, dtype) == expected


@pytest.mark.parametrize("extra, declared", [(0, True), (4, False)])
def test_more_than_48_kibibytes_of_shared_memory_are_asked_for_at_the_launch(extra: int, declared: bool) -> None:
    m = (48 << 10) // 4 + extra
    program = cuda.emit(lowered(copied_to_shared_memory(m)), [], H100)
    assert (f"__shared__ __align__(16) float x_shared[{m}];" in program.text) is declared
    assert ("extern __shared__ __align__(16) unsigned char shared_memory[];" in program.text) is not declared
    assert program.kernels[0].dynamic_shared == (0 if declared else 4 * m)


def test_all_of_the_shared_memory_and_no_more() -> None:
    most = H100.shared_bytes // 4
    assert cuda.emit(lowered(copied_to_shared_memory(most)), [], H100).kernels[0].shared_bytes == H100.shared_bytes
    with pytest.raises(tl.BuildError, match=f"more than the {H100.shared_bytes} of sm_90a: choose smaller tiles"):
        cuda.emit(lowered(copied_to_shared_memory(most + 4)), [], H100)


def test_buffers_share_what_is_asked_for() -> None:
    text = cuda.emit(lowered(copied_to_shared_memory(1 << 13, "xy")), [], H100).text
    places = re.findall(r"(\w+) = reinterpret_cast<float\*>\(shared_memory \+ (\d+)\)", text)
    assert places == [("x_shared", "0"), ("y_shared", str(4 << 13))]


def copied_to_shared_memory(m: int, inputs: str = "x") -> tl.Schedule:
    read = [tl.placeholder((m,), name=name) for name in inputs]
    s = tl.Schedule(tl.compute((m,), lambda i: sum(x[i] for x in read) + 1.0, name="C"), target=H100)
    outer, *threads = s.split("C.i", [1, m])
    for name in inputs:
        copy = s.cache_read("C", name, "shared")
        s.compute_at(copy, outer)
        threads.append(s.loops(copy)[-1])
    s.bind(outer, "blockIdx.x")
    for loop in threads:
        s.bind(s.split(loop, [None, 128])[1], "threadIdx.x")
    return s


def test_what_the_assembler_tells_of_kernels() -> None:
    log = """ptxas info    : Compiling entry function 'first' for 'sm_90a'
ptxas info    : Function properties for first
    8 bytes stack frame, 4 bytes spill stores, 12 bytes spill loads
ptxas info    : Used 32 registers, used 1 barriers, 8 bytes cumulative stack size, 1024 bytes smem
ptxas info    : Compiling entry function 'second' for 'sm_90a'
ptxas info    : Used 10 registers
"""
    assert nvrtc.usage(log) == {"first": nvrtc.Usage(32, 8, 16, 1024), "second": nvrtc.Usage(10, 0, 0, 0)}
