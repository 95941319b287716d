"""Conversions between dtypes in LLVM: truncating and saturating, half floats by bits, each lane by itself.

float16 uses the CPU's own conversions where it has them (F16C); bfloat16 never does, so that all CPUs round alike.
"""

from __future__ import annotations

from tensorlang.backend.llvm_code import Code, constant, splat, suffix, value_type
from tensorlang.ir import dtypes

HALF = ("float16", "bfloat16")


class Caster:
    """Writes casts of values with `lanes` lanes into `code`."""

    def __init__(self, code: Code, lanes: int, f16c: bool):
        self.code, self.lanes, self.f16c = code, lanes, f16c
        self.f32, self.f64, self.i32 = (value_type(t, lanes) for t in ("float32", "float64", "int32"))
        self.i16, self.i1 = value_type("int16", lanes), value_type("bool", lanes)

    def cast(self, x: str, source: str, result: str) -> str:
        """`x` of dtype `source` as dtype `result`."""
        if source == result:
            return x
        if source in HALF:
            return self.cast(self._widen(x, source), "float32", result)
        if result in HALF:
            narrow = self._odd(x) if source == "float64" else self.cast(x, source, "float32")
            return self._to_f16(narrow) if result == "float16" else self._to_bf16(narrow)
        a, b = value_type(source, self.lanes), value_type(result, self.lanes)
        if result == "bool":
            zero = splat(constant(0, source), value_type(source), self.lanes)
            return self.code.let(f"{'fcmp une' if dtypes.is_float(source) else 'icmp ne'} {a} {x}, {zero}")
        if dtypes.is_float(source) and dtypes.is_float(result):
            return self.code.let(f"{'fpext' if result == 'float64' else 'fptrunc'} {a} {x} to {b}")
        if dtypes.is_float(source):
            return self._saturate(x, a, b, result)
        signed = source in dtypes.SIGNED or source == "index"
        if dtypes.is_float(result):
            return self.code.let(f"{'sitofp' if signed else 'uitofp'} {a} {x} to {b}")
        return self._resize(x, source, result, signed)

    def _saturate(self, x: str, a: str, b: str, result: str) -> str:
        name = "llvm.fptoui.sat" if result in dtypes.UNSIGNED else "llvm.fptosi.sat"
        self.code.declared.add(f"declare {b} @{name}.{suffix(b)}.{suffix(a)}({a})")
        return self.code.let(f"call {b} @{name}.{suffix(b)}.{suffix(a)}({a} {x})")

    def _resize(self, x: str, source: str, result: str, signed: bool) -> str:
        old, new = (1 if d == "bool" else dtypes.bits(d) for d in (source, result))
        if old == new:
            return x
        verb = "trunc" if new < old else "sext" if signed else "zext"
        return self.code.let(f"{verb} {value_type(source, self.lanes)} {x} to {value_type(result, self.lanes)}")

    # --------------------------------------------------------------------------------------------- half floats
    def _i32(self, op: str, x: str, y: int | str) -> str:
        return self.code.let(f"{op} {self.i32} {x}, {splat(str(y), 'i32', self.lanes) if isinstance(y, int) else y}")

    def _select(self, cond: str, x: str, y: str) -> str:
        return self.code.let(f"select {self.i1} {cond}, {self.i32} {x}, {self.i32} {y}")

    def _bits(self, x: str) -> str:
        return self.code.let(f"bitcast {self.f32} {x} to {self.i32}")

    def _float(self, bits: str) -> str:
        return self.code.let(f"bitcast {self.i32} {bits} to {self.f32}")

    def _widen(self, x: str, source: str) -> str:
        """Half bits to float32, exactly."""
        if source == "float16" and self.f16c:
            half = "half" if self.lanes == 1 else f"<{self.lanes} x half>"
            return self.code.let(f"fpext {half} {self.code.let(f'bitcast {self.i16} {x} to {half}')} to {self.f32}")
        wide = self.code.let(f"zext {self.i16} {x} to {self.i32}")
        if source == "bfloat16":
            return self._float(self._i32("shl", wide, 16))
        # Exponent and mantissa land in float32's places; times 2**112 sets the exponent right, subnormals included.
        sign = self._i32("shl", self._i32("and", wide, 0x8000), 16)
        rest = self._i32("shl", self._i32("and", wide, 0x7FFF), 13)
        factor = splat(constant(2.0**112, "float32"), "float", self.lanes)
        scaled = self._bits(self.code.let(f"fmul {self.f32} {self._float(rest)}, {factor}"))
        special = self._i32("icmp uge", rest, 0x7C00 << 13)  # infinity and NaN keep an exponent of ones
        return self._float(self._i32("or", sign, self._select(special, self._i32("or", rest, 0x7F800000), scaled)))

    def _odd(self, x: str) -> str:
        """float64 to float32 rounded to odd, so that rounding once more to a half float is as if rounded once."""
        near = self.code.let(f"fptrunc {self.f64} {x} to {self.f32}")
        back = self.code.let(f"fpext {self.f32} {near} to {self.f64}")
        inexact = self.code.let(f"fcmp one {self.f64} {back}, {x}")
        big, true = (self.code.call(self.f64, "llvm.fabs", (self.f64, v)) for v in (back, x))
        above = self.code.let(f"fcmp ogt {self.f64} {big}, {true}")
        down = self.code.let(f"sext {self.i1} {above} to {self.i32}")
        bits = self._bits(near)
        odd = self._i32("or", self._i32("add", bits, down), 1)
        return self._float(self._select(inexact, odd, bits))

    def _to_bf16(self, x: str) -> str:
        """float32 to bfloat16 bits, to nearest even; a NaN stays a quiet NaN."""
        bits = self._bits(x)
        even = self._i32("and", self._i32("lshr", bits, 16), 1)
        rounded = self._i32("lshr", self._i32("add", self._i32("add", bits, 0x7FFF), even), 16)
        quiet = self._i32("or", self._i32("lshr", bits, 16), 0x40)
        nan = self.code.let(f"fcmp uno {self.f32} {x}, {x}")
        return self.code.let(f"trunc {self.i32} {self._select(nan, quiet, rounded)} to {self.i16}")

    def _to_f16(self, x: str) -> str:
        """float32 to float16 bits, to nearest even."""
        if self.f16c:
            half = "half" if self.lanes == 1 else f"<{self.lanes} x half>"
            return self.code.let(f"bitcast {half} {self.code.let(f'fptrunc {self.f32} {x} to {half}')} to {self.i16}")
        bits = self._bits(x)
        sign = self._i32("lshr", self._i32("and", bits, -0x80000000), 16)
        size = self._i32("and", bits, 0x7FFFFFFF)
        # Normal: rebias the exponent by -112, round at bit 13. An overflow carries into the exponent, up to infinity.
        even = self._i32("and", self._i32("lshr", size, 13), 1)
        normal = self._i32("lshr", self._i32("add", self._i32("add", size, 0xFFF - (112 << 23)), even), 13)
        # Subnormal: adding 0.5 makes the float adder align and round the mantissa at 2**-24.
        half_one = splat(constant(0.5, "float32"), "float", self.lanes)
        shifted = self._bits(self.code.let(f"fadd {self.f32} {self._float(size)}, {half_one}"))
        small = self._i32("sub", shifted, 0x3F000000)
        finite = self._select(self._i32("icmp ult", size, 113 << 23), small, normal)
        finite = self._select(self._i32("icmp uge", size, 0x477FF000), self._vector(0x7C00), finite)
        quiet = self._i32("or", self._i32("and", self._i32("lshr", size, 13), 0x3FF), 0x7E00)
        nan = self._i32("icmp ugt", size, 0x7F800000)
        result = self._i32("or", sign, self._select(nan, quiet, finite))
        return self.code.let(f"trunc {self.i32} {result} to {self.i16}")

    def _vector(self, value: int) -> str:
        return splat(str(value), "i32", self.lanes)
