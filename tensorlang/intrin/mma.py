"""Intrinsics of tensor cores: a warp multiplies tiles of halves, which it has loaded from shared memory, into float32.

A warp is 8 threads along y and 4 along x. Of a result of 16 x 8 a thread has the rows y and y + 8, and the columns
2 x and 2 x + 1: so are the accumulators of `mma` laid out (PTX ISA, "Matrix Fragments for mma.m16n8k16"). It needs
these rows of A and these columns of B, and that is what the semantics load into its local memory. The code knows
better: a thread has a part of them only, the other threads of the warp have the rest. So what it keeps in local memory
no other code understands (`layouts`): for each 8 x 8 block a register, where the first two elements of the block are.
"""

from __future__ import annotations

from tensorlang.intrin.intrin import Intrinsic
from tensorlang.ir import ops
from tensorlang.ir.nodes import SERIAL, ZERO, Buffer, Expr, For, Func, Load, Stmt, Store, Var, const

DTYPES = {"float16": "f16", "bfloat16": "bf16"}  # with their names in PTX
ROWS, COLUMNS, DEPTH = 16, 8, 16  # of the product of one instruction
WORD = 8  # elements of the 16 bytes that ldmatrix reads at a time
THREADS = {"threadIdx.y": 8, "threadIdx.x": 4}
Loops = list[tuple[Var, int]]  # outermost first


def mma(m: int, n: int, dtype: str = "float16") -> Intrinsic:
    """C[i, j] += sum over k < 16 of A[i, k] * B[k, j], for i < m and j < n, in float32.

    All are in local memory, A and B where load_a and load_b have put them. The loops: y, x, those of the rows (tiles
    of 16, then halves), of the columns (tiles of 8, then pairs), k. m and n are multiples of 16.
    Raises ValueError for other m, n, or a dtype that is not float16 or bfloat16.

    >>> mma(64, 64)
    mma_64x64_float16
    """
    _check(m, n, dtype)
    c, a, b = (
        Buffer(who, (const(rows), const(columns)), kind)
        for who, rows, columns, kind in (("C", m, n, "float32"), ("A", m, DEPTH, dtype), ("B", DEPTH, n, dtype))
    )
    y, x, k = Var("y"), Var("x"), Var("k")
    (i, i_loops), (j, j_loops) = _rows(m, y), _columns(n, x)
    operands: list[Expr] = [ops.cast(Load(a, (i, k)), "float32"), ops.cast(Load(b, (k, j)), "float32")]
    update = Store(c, (i, j), ops.make("fma", *operands, Load(c, (i, j))))
    body = _by_threads([y, x], _nest([*i_loops, *j_loops, (k, DEPTH)], update))
    name = f"mma_{m}x{n}_{dtype}"
    return _intrinsic(name, Func(name, (c, a, b), (c,), body), {"A": "mma.a", "B": "mma.b"}, _mma(name, m, n, dtype))


def load_a(m: int, dtype: str = "float16") -> Intrinsic:
    """F[i, k] = S[i, k] for i < m and k < 16, from shared memory. The loops: y, those of the rows, k.

    >>> load_a(64)
    load_a_64_float16
    """
    _check(m, ROWS, dtype)
    f, s = (Buffer(who, (const(m), const(DEPTH)), dtype) for who in "FS")
    y, k = Var("y"), Var("k")
    i, loops = _rows(m, y)
    body = _by_threads([y], _nest([*loops, (k, DEPTH)], Store(f, (i, k), Load(s, (i, k)))))
    name = f"load_a_{m}_{dtype}"
    return _intrinsic(name, Func(name, (f, s), (f,), body), {"F": "mma.a"}, _load_a(name, m, dtype))


def load_b(n: int, dtype: str = "float16") -> Intrinsic:
    """F[k, j] = S[k, j] for k < 16 and j < n, from shared memory. The loops: x, k, those of the columns.

    >>> load_b(64)
    load_b_64_float16
    """
    _check(ROWS, n, dtype)
    f, s = (Buffer(who, (const(DEPTH), const(n)), dtype) for who in "FS")
    x, k = Var("x"), Var("k")
    j, loops = _columns(n, x)
    body = _by_threads([x], _nest([(k, DEPTH), *loops], Store(f, (k, j), Load(s, (k, j)))))
    name = f"load_b_{n}_{dtype}"
    return _intrinsic(name, Func(name, (f, s), (f,), body), {"F": "mma.b"}, _load_b(name, n, dtype))


def _check(m: int, n: int, dtype: str) -> None:
    if m < ROWS or n < ROWS or m % ROWS or n % ROWS or dtype not in DTYPES:
        raise ValueError(f"m and n must be multiples of 16, dtype one of {', '.join(DTYPES)}; got {m}, {n}, {dtype!r}")


def _rows(m: int, y: Var) -> tuple[Expr, Loops]:
    """The row of a thread, and the loops over its rows."""
    tile, half = Var("tile"), Var("half")
    several = m > ROWS
    return (tile * ROWS if several else ZERO) + half * 8 + y, [*([(tile, m // ROWS)] if several else []), (half, 2)]


def _columns(n: int, x: Var) -> tuple[Expr, Loops]:
    tile, pair = Var("tile"), Var("pair")
    return tile * COLUMNS + x * 2 + pair, [(tile, n // COLUMNS), (pair, 2)]


def _nest(loops: Loops, body: Stmt, kind: str = SERIAL) -> Stmt:
    for var, extent in reversed(loops):
        body = For(var, const(extent), kind, body)
    return body


def _by_threads(variables: list[Var], body: Stmt) -> Stmt:
    for var in reversed(variables):
        axis = f"threadIdx.{var.name}"
        body = _nest([(var, THREADS[axis])], body, axis)
    return body


def _intrinsic(name: str, semantics: Func, layouts: dict[str, str], code: str) -> Intrinsic:
    """S is in shared memory, all else in local."""
    params = [p.name for p in semantics.params]
    return Intrinsic(
        name,
        semantics,
        strides={p: (None, None) if p == "C" else (None, 1) for p in params},
        scopes={p: "shared" if p == "S" else "local" for p in params},
        aligned={p: WORD if p == "S" else 2 for p in params if p != "C"},
        threads=THREADS,
        swizzled=frozenset("S"),
        layouts=layouts,
        requires=lambda target: target.tensor_cores,
        code=lambda target: code if target.tensor_cores else None,
    )


# ----------------------------------------------------------------------------------------------- CUDA C++
def _load_a(name: str, m: int, dtype: str) -> str:
    """Lane l gives ldmatrix the address of row l % 16 of a tile of 16 x 16, and of its half l / 16."""
    return f"""template <typename P>  // a pointer, or Swizzled
__device__ __forceinline__ void {name}({dtype}* f, P s, int f_row, int s_row) {{
  const int lane = threadIdx.y * 4 + threadIdx.x;
  const auto own = at_lane(s, lane % 16 * s_row + lane / 16 * 8);
  #pragma unroll
  for (int i = 0; i < {m}; i += {ROWS})
    load_matrices(word_at(f, i * f_row), word_at(f, (i + 8) * f_row), word_at(f, i * f_row + 8),
                  word_at(f, (i + 8) * f_row + 8), own + i * s_row);
}}"""


def _load_b(name: str, n: int, dtype: str) -> str:
    return f"""template <typename P>  // a pointer, or Swizzled
__device__ __forceinline__ void {name}({dtype}* f, P s, int f_row, int s_row) {{
  const int lane = threadIdx.y * 4 + threadIdx.x;
  const auto own = at_lane(s, lane % 16 * s_row + lane / 16 * 8);
  #pragma unroll
  for (int j = 0; j < {n}; j += 2 * {COLUMNS})
    load_matrices_transposed(word_at(f, j), word_at(f, 8 * f_row + j), word_at(f, j + 8),
                             word_at(f, 8 * f_row + j + 8), own + j);
}}"""


def _mma(name: str, m: int, n: int, dtype: str) -> str:
    return f"""__device__ __forceinline__ void {name}(
    float* c, {dtype}* a, {dtype}* b, int c_row, int c_column, int a_row, int b_row) {{
  #pragma unroll
  for (int i = 0; i < {m}; i += {ROWS}) {{
    #pragma unroll
    for (int j = 0; j < {n}; j += {COLUMNS}) {{
      float* const top = c + i * c_row + j * c_column;
      float* const bottom = top + 8 * c_row;
      mma_{DTYPES[dtype]}(top[0], top[c_column], bottom[0], bottom[c_column],
               word_at(a, i * a_row), word_at(a, (i + 8) * a_row), word_at(a, i * a_row + 8),
               word_at(a, (i + 8) * a_row + 8), word_at(b, j), word_at(b, 8 * b_row + j));
    }}
  }}
}}"""


INTRINSICS = tuple(
    each
    for dtype in DTYPES
    for m in (16, 32, 64)
    for each in (load_a(m, dtype), load_b(m, dtype), *(mma(m, n, dtype) for n in (16, 32, 64)))
)
"""Those that a schedule knows by name."""
