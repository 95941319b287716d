"""The words of CUDA C++: types, literals, names, and the helper functions that kernels call.

PTX stands in these helpers and nowhere else. They take and give plain values; narrow floats are their bits.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from tensorlang.ir import dtypes

_TYPES = {
    "float8_e4m3fn": "float8_e4m3",
    "float8_e5m2": "float8_e5m2",
    "float16": "float16",
    "bfloat16": "bfloat16",
    "float32": "float",
    "float64": "double",
    "bool": "bool",
    "int8": "signed char",
    "int16": "short",
    "int32": "int",
    "int64": "long long",
    "index": "index",
    "uint8": "unsigned char",
    "uint16": "unsigned short",
    "uint32": "unsigned",
    "uint64": "unsigned long long",
}
_KEYWORDS = """
alignas asm auto bool break case char class const continue default delete do double else enum extern false float
float16 bfloat16 float8_e4m3 float8_e5m2 for goto if index inline int long namespace new operator private public
register return short signed sizeof static struct switch template this true typedef union unsigned using void volatile
while v abs erf exp log max min pow sin cos tan threadIdx blockIdx blockDim gridDim
"""
_RESERVED = frozenset(_KEYWORDS.split())


def type_of(dtype: str) -> str:
    """The C type of an element."""
    return _TYPES[dtype]


def literal(value: int | float | bool, dtype: str) -> str:
    """A constant of `type_of(dtype)`; narrow floats by their bits."""
    if dtype == "bool":
        return "true" if value else "false"
    if dtype in dtypes.NARROW:
        size = dtypes.bits(dtype)
        with np.errstate(over="ignore"):
            bits = int(np.array(value).astype(dtypes.to_numpy(dtype)).view(f"uint{size}"))
        return f"{_TYPES[dtype]}({bits:#0{2 + size // 4}x})"
    if dtypes.is_float(dtype):
        return _float(value, dtype)
    if dtype in ("int64", "uint64"):
        text = f"{value}ll" if dtype == "int64" else f"{value}ull"
        return "(-9223372036854775807ll - 1)" if value == -(2**63) else text
    if dtype == "int32" and value == -(2**31):
        return "(-2147483647 - 1)"
    return f"{value}u" if dtype == "uint32" else str(value)


def _float(value: float, dtype: str) -> str:
    single = dtype == "float32"
    if math.isnan(value):
        return "__int_as_float(0x7fc00000)" if single else "__longlong_as_double(0x7ff8000000000000ll)"
    if math.isinf(value):
        sign = "-" if value < 0 else ""
        return sign + ("__int_as_float(0x7f800000)" if single else "__longlong_as_double(0x7ff0000000000000ll)")
    with np.errstate(over="ignore"):
        text = str(np.float32(value)) if single else repr(float(value))
    text = text if any(c in text for c in ".e") else f"{text}.0"
    return f"{text}f" if single else text


class Names:
    """C identifiers, each given once."""

    def __init__(self) -> None:
        self._taken: set[str] = set(_RESERVED)

    def take(self, base: str) -> str:
        """An identifier like `base`."""
        base = re.sub(r"\W", "_", base) or "v"
        base = f"_{base}" if base[0].isdigit() else base
        name, n = base, 0
        while name in self._taken:
            n += 1
            name = f"{base}_{n}"
        self._taken.add(name)
        return name

    @contextmanager
    def scope(self) -> Iterator[None]:
        """Names taken in this context are free again after it."""
        outer, self._taken = self._taken, set(self._taken)
        yield
        self._taken = outer


PRELUDE = """typedef unsigned short float16, bfloat16;  // bits
typedef unsigned char float8_e4m3, float8_e5m2;
"""


def _mma(kind: str) -> str:
    """The product of tiles of 16 x 16 and 16 x 8 by a warp."""
    return f"""__device__ __forceinline__ void mma_{kind}(
    float& c0, float& c1, float& c2, float& c3, unsigned a0, unsigned a1, unsigned a2, unsigned a3,
    unsigned b0, unsigned b1) {{
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.{kind}.{kind}.f32 "
               "{{%0, %1, %2, %3}}, {{%4, %5, %6, %7}}, {{%8, %9}}, {{%0, %1, %2, %3}};"
               : "+f"(c0), "+f"(c1), "+f"(c2), "+f"(c3)
               : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
}}"""


def _load_matrices(name: str, option: str, what: str) -> str:
    return f"""template <typename P>  // {what}
__device__ __forceinline__ void {name}(unsigned& w0, unsigned& w1, unsigned& w2, unsigned& w3, P row) {{
  asm volatile("ldmatrix.sync.aligned.m8n8.x4{option}.shared.b16 {{%0, %1, %2, %3}}, [%4];"
               : "=r"(w0), "=r"(w1), "=r"(w2), "=r"(w3) : "r"(shared_address(row)) : "memory");
}}"""


# Loads from global memory that is only read; HINT is what both levels of cache are told of it.
_HINTED_LOADS = {
    "policy_HINT": """__device__ __forceinline__ unsigned long long policy_HINT() {
  unsigned long long policy; asm("createpolicy.fractional.L2::LEVEL2.b64 %0, 1.0;" : "=l"(policy)); return policy;
}""",
    "fetch_HINT": """__device__ __forceinline__ void fetch_HINT(unsigned char& word, const void* from) {
  unsigned short wide;  // the narrowest register
  asm("ld.global.nc.L1::HINT.L2::cache_hint.u8 %0, [%1], %2;"
      : "=h"(wide) : "l"(__cvta_generic_to_global(from)), "l"(policy_HINT()));
  word = (unsigned char)wide;
}
__device__ __forceinline__ void fetch_HINT(unsigned short& word, const void* from) {
  asm("ld.global.nc.L1::HINT.L2::cache_hint.u16 %0, [%1], %2;"
      : "=h"(word) : "l"(__cvta_generic_to_global(from)), "l"(policy_HINT()));
}
__device__ __forceinline__ void fetch_HINT(unsigned& word, const void* from) {
  asm("ld.global.nc.L1::HINT.L2::cache_hint.u32 %0, [%1], %2;"
      : "=r"(word) : "l"(__cvta_generic_to_global(from)), "l"(policy_HINT()));
}
__device__ __forceinline__ void fetch_HINT(uint2& word, const void* from) {
  asm("ld.global.nc.L1::HINT.L2::cache_hint.v2.u32 {%0, %1}, [%2], %3;"
      : "=r"(word.x), "=r"(word.y) : "l"(__cvta_generic_to_global(from)), "l"(policy_HINT()));
}
__device__ __forceinline__ void fetch_HINT(uint4& word, const void* from) {
  asm("ld.global.nc.L1::HINT.L2::cache_hint.v4.u32 {%0, %1, %2, %3}, [%4], %5;"
      : "=r"(word.x), "=r"(word.y), "=r"(word.z), "=r"(word.w)
      : "l"(__cvta_generic_to_global(from)), "l"(policy_HINT()));
}""",
    "load_vector_HINT": """template <int n, typename T>  // in one access
__device__ __forceinline__ void load_vector_HINT(T* to, const T* from) {
  union { typename Word<n * sizeof(T)>::type word; T each[n]; } both;
  fetch_HINT(both.word, from);
  #pragma unroll
  for (int v = 0; v < n; ++v) to[v] = both.each[v];
}""",
    "load_HINT": """template <typename T> __device__ __forceinline__ T load_HINT(const T* from) {
  T value;
  load_vector_HINT<1>(&value, from);
  return value;
}""",
}


def _hinted_loads(hint: str, level2: str) -> dict[str, str]:
    return {
        name.replace("HINT", hint): text.replace("HINT", hint).replace("LEVEL2", level2)
        for name, text in _HINTED_LOADS.items()
    }


def _halves_compared(op: str, kind: str) -> str:
    return f"""__device__ __forceinline__ unsigned short {op}_nan_{kind}(unsigned short a, unsigned short b) {{
  unsigned short c; asm("{op}.NaN.{kind} %0, %1, %2;" : "=h"(c) : "h"(a), "h"(b)); return c;
}}"""


# Each helper by name; a text is written if a kernel, or another helper that is written, mentions the name.
HELPERS = {
    "float_of_f16": """__device__ __forceinline__ float float_of_f16(float16 x) {
  float y; asm("cvt.f32.f16 %0, %1;" : "=f"(y) : "h"(x)); return y;
}""",
    "f16_of_float": """__device__ __forceinline__ float16 f16_of_float(float x) {
  float16 y; asm("cvt.rn.f16.f32 %0, %1;" : "=h"(y) : "f"(x)); return y;
}""",
    "f16_of_double": """__device__ __forceinline__ float16 f16_of_double(double x) {
  float16 y; asm("cvt.rn.f16.f64 %0, %1;" : "=h"(y) : "d"(x)); return y;
}""",
    "float_of_bf16": """__device__ __forceinline__ float float_of_bf16(bfloat16 x) {
  return __uint_as_float((unsigned)x << 16);
}""",
    "bf16_of_float": """__device__ __forceinline__ bfloat16 bf16_of_float(float x) {
  bfloat16 y; asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(y) : "f"(x)); return y;
}""",
    "odd_float": """__device__ __forceinline__ float odd_float(double x) {  // so that it can be rounded once more
  float y = __double2float_rz(x);
  return (double)y != x && x == x ? __uint_as_float(__float_as_uint(y) | 1u) : y;
}""",
    "bf16_of_double": """__device__ __forceinline__ bfloat16 bf16_of_double(double x) {
  return bf16_of_float(odd_float(x));
}""",
    "float8_of_float": """template <int fraction, int bias, unsigned top>  // top: infinity, or what stands for too much
__device__ __forceinline__ unsigned char float8_of_float(float x) {
  unsigned size = __float_as_uint(x) & 0x7fffffffu;
  const int cut = 23 - fraction;
  const unsigned least = (128u - bias) << 23, unit = (151u - bias - fraction) << 23;
  unsigned normal = (size + (1u << (cut - 1)) - 1 - ((127u - bias) << 23) + (size >> cut & 1)) >> cut;
  unsigned small = __float_as_uint(__uint_as_float(size) + __uint_as_float(unit)) - unit;
  unsigned y = size < least ? small : normal < top ? normal : top;
  return (unsigned char)((size > 0x7f800000u ? 0x7fu : y) | __float_as_uint(x) >> 31 << 7);
}""",
    "float_of_f8e4m3": """__device__ __forceinline__ float float_of_f8e4m3(float8_e4m3 x) {
  unsigned size = x & 0x7fu;
  float y = __uint_as_float(size << 20) * 0x1p120f;
  return copysignf(size == 0x7fu ? __uint_as_float(0x7fc00000u) : y, __uint_as_float((unsigned)x << 24));
}""",
    "f8e4m3_of_float": """__device__ __forceinline__ float8_e4m3 f8e4m3_of_float(float x) {
  return float8_of_float<3, 7, 0x7f>(x);
}""",
    "f8e4m3_of_double": """__device__ __forceinline__ float8_e4m3 f8e4m3_of_double(double x) {
  return f8e4m3_of_float(odd_float(x));
}""",
    "float_of_f8e5m2": """__device__ __forceinline__ float float_of_f8e5m2(float8_e5m2 x) {
  return float_of_f16((float16)(x << 8));
}""",
    "f8e5m2_of_float": """__device__ __forceinline__ float8_e5m2 f8e5m2_of_float(float x) {
  return float8_of_float<2, 15, 0x7c>(x);
}""",
    "f8e5m2_of_double": """__device__ __forceinline__ float8_e5m2 f8e5m2_of_double(double x) {
  return f8e5m2_of_float(odd_float(x));
}""",
    "max_nan": """__device__ __forceinline__ float max_nan(float a, float b) {
  float c; asm("max.NaN.f32 %0, %1, %2;" : "=f"(c) : "f"(a), "f"(b)); return c;
}
__device__ __forceinline__ double max_nan(double a, double b) {
  return a != a || a > b || (a == b && __double_as_longlong(a) >= 0) ? a : b;
}""",
    "min_nan": """__device__ __forceinline__ float min_nan(float a, float b) {
  float c; asm("min.NaN.f32 %0, %1, %2;" : "=f"(c) : "f"(a), "f"(b)); return c;
}
__device__ __forceinline__ double min_nan(double a, double b) {
  return a != a || a < b || (a == b && __double_as_longlong(a) < 0) ? a : b;
}""",
    **{f"{op}_nan_{kind}": _halves_compared(op, kind) for op in ("max", "min") for kind in ("f16", "bf16")},
    "floor_div": """template <typename T> __device__ __forceinline__ T floor_div(T a, T b) {  // 0 by 0; wraps
  if (b == 0) return 0;
  if (T(-1) < T(0) && b == T(-1)) return T(0ull - (unsigned long long)a);
  const T q = a / b;
  return a % b != 0 && (a % b < 0) != (b < 0) ? T(q - 1) : q;
}""",
    "floor_mod": """template <typename T> __device__ __forceinline__ T floor_mod(T a, T b) {  // 0 by 0
  if (b == 0 || (T(-1) < T(0) && b == T(-1))) return 0;
  const T r = a % b;
  return r != 0 && (r < 0) != (b < 0) ? T(r + b) : r;
}""",
    "saturate": """template <typename T, typename F>  // truncated; least and most are those of T; NaN gives 0
__device__ __forceinline__ T saturate(F x, T least, T most) {
  if (x != x) return 0;
  if (x <= (F)least) return least;
  return x >= (F)most ? most : (T)x;
}""",
    "bits_as": """template <typename T, typename U> __device__ __forceinline__ T bits_as(U x) {
  union { U from; T to; } both;
  both.from = x;
  return both.to;
}""",
    "hidden": """__device__ __forceinline__ int hidden(int x) { asm("" : "+r"(x)); return x; }  // from the optimiser
__device__ __forceinline__ long long hidden(long long x) { asm("" : "+l"(x)); return x; }""",
    "shuffle_xor": """template <typename T> __device__ __forceinline__ T shuffle_xor(T x, int mask) {
  return __shfl_xor_sync(0xffffffffu, x, mask);
}""",
    "Word": """template <int bytes> struct Word;
template <> struct Word<1> { typedef unsigned char type; };
template <> struct Word<2> { typedef unsigned short type; };
template <> struct Word<4> { typedef unsigned type; };
template <> struct Word<8> { typedef uint2 type; };
template <> struct Word<16> { typedef uint4 type; };""",
    "load_vector": """template <int n, typename T>  // in one access
__device__ __forceinline__ void load_vector(T* to, const T* from) {
  union { typename Word<n * sizeof(T)>::type word; T each[n]; } both;
  both.word = *reinterpret_cast<const typename Word<n * sizeof(T)>::type*>(from);
  #pragma unroll
  for (int v = 0; v < n; ++v) to[v] = both.each[v];
}""",
    "store_vector": """template <int n, typename T>  // in one access
__device__ __forceinline__ void store_vector(T* to, const T* from) {
  union { typename Word<n * sizeof(T)>::type word; T each[n]; } both;
  #pragma unroll
  for (int v = 0; v < n; ++v) both.each[v] = from[v];
  *reinterpret_cast<typename Word<n * sizeof(T)>::type*>(to) = both.word;
}""",
    **_hinted_loads("evict_first", "evict_first"),
    **_hinted_loads("evict_last", "evict_last"),
    **_hinted_loads("no_allocate", "evict_normal"),
    "swizzled": """template <int changed> __device__ __forceinline__ int swizzled(int n) {
  return n ^ (n >> 3 & changed);
}""",
    "shared_address": """__device__ __forceinline__ unsigned shared_address(const void* at) {
  return (unsigned)__cvta_generic_to_shared(at);
}""",
    "Swizzled": """template <typename T, int changed> struct Swizzled {  // a pointer to element n
  const T* memory;
  int n;
  __device__ __forceinline__ Swizzled operator+(int more) const {  // whole periods change nothing
    const bool whole = more % (8 * changed + 128 / (int)sizeof(T)) == 0;
    return {memory + (whole ? more : 0), n + (whole ? 0 : more)};
  }
};
template <typename T> __device__ __forceinline__ const T* at_lane(const T* at, int n) { return at + n; }
template <typename T, int changed>
__device__ __forceinline__ Swizzled<T, changed> at_lane(Swizzled<T, changed> at, int n) {
  return {at.memory, at.n + n};
}
template <typename T, int changed>
__device__ __forceinline__ unsigned shared_address(Swizzled<T, changed> at) {
  return shared_address(at.memory + swizzled<changed>(at.n));
}""",
    "async_copy": """template <int n, typename T>  // of 4, 8 or 16 bytes, to shared memory
__device__ __forceinline__ void async_copy(T* to, const T* from) {
  const unsigned shared = (unsigned)__cvta_generic_to_shared(to);
  if (n * sizeof(T) == 16)
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" :: "r"(shared), "l"(from) : "memory");
  else
    asm volatile("cp.async.ca.shared.global [%0], [%1], %2;" :: "r"(shared), "l"(from), "n"(n * sizeof(T)) : "memory");
}""",
    "async_copy_or_zero": """template <int n, typename T>  // as async_copy if the source is there, else zeros
__device__ __forceinline__ void async_copy_or_zero(T* to, const T* from, bool there) {
  constexpr int size = n * sizeof(T);
  asm volatile("cp.async.ca.shared.global [%0], [%1], %2, %3;"
               :: "r"(shared_address(to)), "l"(from), "n"(size), "r"(there ? size : 0) : "memory");
}""",
    "async_commit": """__device__ __forceinline__ void async_commit() {
  asm volatile("cp.async.commit_group;" ::: "memory");
}""",
    "async_wait": """template <int n> __device__ __forceinline__ void async_wait() {
  asm volatile("cp.async.wait_group %0;" :: "n"(n) : "memory");
}""",
    "word_at": """template <typename T> __device__ __forceinline__ unsigned& word_at(T* memory, int element) {
  return *reinterpret_cast<unsigned*>(memory + element);
}""",
    "load_matrices": _load_matrices(
        "load_matrices", "", "four of 8 x 8; a thread gives the address of a row of one of them"
    ),
    "load_matrices_transposed": _load_matrices(
        "load_matrices_transposed", ".trans", "as load_matrices, but transposed"
    ),
    "mma_f16": _mma("f16"),
    "mma_bf16": _mma("bf16"),
    "copy_vector": """template <int n, typename T>  // in one access each
__device__ __forceinline__ void copy_vector(T* to, const T* from) {
  typedef typename Word<n * sizeof(T)>::type Access;
  *reinterpret_cast<Access*>(to) = *reinterpret_cast<const Access*>(from);
}""",
}


def helpers_of(text: str) -> str:
    """The helpers that `text` mentions, and those that these mention, in the order of the table."""
    wanted: set[str] = set()
    pending = [text]
    while pending:
        now = pending.pop()
        fresh = {n for n in HELPERS if n not in wanted and re.search(rf"\b{n}\b", now)}
        wanted |= fresh
        pending += [HELPERS[n] for n in fresh]
    return "\n".join(HELPERS[n] for n in HELPERS if n in wanted)
