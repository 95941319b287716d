"""Conversions between dtypes in LLVM: truncating and saturating, narrow floats by bits, each lane by itself.

float16 uses the CPU's own conversions where it has them (F16C); the others never do, so that all CPUs round alike.
"""

from __future__ import annotations

from dataclasses import dataclass

from tensorlang.backend.llvm_code import Code, constant, splat, suffix, value_type
from tensorlang.ir import dtypes


@dataclass(frozen=True)
class Format:
    """A float of `bits` bits, of which `fraction` are behind the point. top: the bits of infinity, or where there is
    none, of what stands for all that is too large; nan: those of a NaN."""

    bits: int
    fraction: int
    bias: int
    top: int
    nan: int


FORMATS = {
    "float16": Format(16, 10, 15, 0x7C00, 0x7E00),
    "float8_e5m2": Format(8, 2, 15, 0x7C, 0x7E),
    "float8_e4m3fn": Format(8, 3, 7, 0x7F, 0x7F),
}


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
        if source in dtypes.NARROW:
            return self.cast(self._widen(x, source), "float32", result)
        if result in dtypes.NARROW:
            narrow = self._odd(x) if source == "float64" else self.cast(x, source, "float32")
            return self._to_bf16(narrow) if result == "bfloat16" else self._to_narrow(narrow, result)
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

    # ------------------------------------------------------------------------------------------- narrow floats
    def _i32(self, op: str, x: str, y: int | str) -> str:
        return self.code.let(f"{op} {self.i32} {x}, {splat(str(y), 'i32', self.lanes) if isinstance(y, int) else y}")

    def _select(self, cond: str, x: str, y: str) -> str:
        return self.code.let(f"select {self.i1} {cond}, {self.i32} {x}, {self.i32} {y}")

    def _bits(self, x: str) -> str:
        return self.code.let(f"bitcast {self.f32} {x} to {self.i32}")

    def _float(self, bits: str) -> str:
        return self.code.let(f"bitcast {self.i32} {bits} to {self.f32}")

    def _widen(self, x: str, source: str) -> str:
        """Narrow bits to float32, exactly."""
        if source == "float8_e5m2":  # the upper half of a float16
            x, source = (
                self.code.let(f"shl {self.i16} {self._resize(x, 'uint8', 'uint16', False)}, {self._half(8)}"),
                "float16",
            )
        if source == "float16" and self.f16c:
            half = "half" if self.lanes == 1 else f"<{self.lanes} x half>"
            return self.code.let(f"fpext {half} {self.code.let(f'bitcast {self.i16} {x} to {half}')} to {self.f32}")
        wide = self._resize(x, "uint8" if source == "float8_e4m3fn" else "uint16", "uint32", False)
        if source == "bfloat16":
            return self._float(self._i32("shl", wide, 16))
        # Exponent and fraction land in float32's places; the factor sets the exponent right, subnormals included.
        form = FORMATS[source]
        upper, shift = 1 << (form.bits - 1), 23 - form.fraction
        sign = self._i32("shl", self._i32("and", wide, upper), 32 - form.bits)
        rest = self._i32("shl", self._i32("and", wide, upper - 1), shift)
        factor = splat(constant(2.0 ** (127 - form.bias), "float32"), "float", self.lanes)
        scaled = self._bits(self.code.let(f"fmul {self.f32} {self._float(rest)}, {factor}"))
        special = self._i32("icmp uge", rest, form.top << shift)  # infinity and NaN keep an exponent of ones
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

    def _to_narrow(self, x: str, dtype: str) -> str:
        """float32 to the bits of a narrow format, to nearest even."""
        if dtype == "float16" and self.f16c:
            half = "half" if self.lanes == 1 else f"<{self.lanes} x half>"
            return self.code.let(f"bitcast {half} {self.code.let(f'fptrunc {self.f32} {x} to {half}')} to {self.i16}")
        form = FORMATS[dtype]
        shift, below = 23 - form.fraction, (127 - form.bias) << 23
        bits = self._bits(x)
        sign = self._i32("lshr", self._i32("and", bits, -0x80000000), 32 - form.bits)
        size = self._i32("and", bits, 0x7FFFFFFF)
        # Normal: rebias the exponent, round behind the fraction. An overflow carries into the exponent.
        even = self._i32("and", self._i32("lshr", size, shift), 1)
        rounded = self._i32("add", self._i32("add", size, (1 << (shift - 1)) - 1 - below), even)
        normal = self._i32("lshr", rounded, shift)
        capped = self._select(self._i32("icmp ult", normal, form.top), normal, self._vector(form.top))
        # Subnormal: adding a number whose last place is the format's makes the float adder align and round.
        place = 24 - form.bias - form.fraction
        anchor = splat(constant(2.0**place, "float32"), "float", self.lanes)
        shifted = self._bits(self.code.let(f"fadd {self.f32} {self._float(size)}, {anchor}"))
        small = self._i32("sub", shifted, (127 + place) << 23)
        finite = self._select(self._i32("icmp ult", size, below + (1 << 23)), small, capped)
        nan = self._i32("icmp ugt", size, 0x7F800000)
        result = self._i32("or", sign, self._select(nan, self._vector(form.nan), finite))
        return self._resize(result, "uint32", f"uint{form.bits}", False)

    def _half(self, value: int) -> str:
        return splat(str(value), "i16", self.lanes)

    def _vector(self, value: int) -> str:
        return splat(str(value), "i32", self.lanes)
