"""Values of random tensor expressions, written as Python source: what may stand in the body of a compute."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

import tensorlang as tl

NARROW = {"float16": 2048, "bfloat16": 256}  # the largest whole number up to which all are exact
POINTS = 300  # the most elements of one tensor, and half the most iterations of one compute


@dataclass(frozen=True)
class Dim:
    """The extent `base * scale + halo`. base: the name of a number or of a size, or "" for just `halo`."""

    base: str
    scale: int = 1
    halo: int = 0

    def __str__(self) -> str:
        if not self.base:
            return str(self.halo)
        scaled = self.base if self.scale == 1 else f"{self.base} * {self.scale}"
        return f"{scaled} + {self.halo}" if self.halo else scaled


@dataclass(frozen=True)
class Array:
    """A tensor as the source names it."""

    name: str
    shape: tuple[Dim, ...]
    dtype: str


Axes = dict[str, Dim]  # the axes in reach, by name


class Values:
    """Writes values over `arrays`; `values` are those of the bases of dimensions, `sizes` the symbolic ones."""

    def __init__(self, rng: random.Random):
        self.rng = rng
        self.simple = self.chance(0.7)  # short bodies, as most programs have
        self.values: dict[str, int] = {}
        self.sizes: dict[str, int] = {}
        self.arrays: list[Array] = []

    # ------------------------------------------------------------------------------------------- choices
    def chance(self, probability: float) -> bool:
        return self.rng.random() < probability

    def pick(self, options: Any) -> Any:
        return self.rng.choice(options)

    def dtype(self) -> str:
        """Mostly float32; else any, every other time a float, as only those fuse."""
        if self.chance(0.5):
            return "float32"
        kinds = tl.dtypes.FLOATS if self.chance(0.5) else tl.dtypes.DATA
        return self.pick([d for d in kinds if d not in tl.dtypes.FLOATS8])  # which hold too few whole numbers

    def value(self, dim: Dim) -> int:
        return self.values[dim.base] * dim.scale + dim.halo if dim.base else dim.halo

    def symbolic(self, dim: Dim) -> bool:
        return dim.base in self.sizes

    def points(self, dims: Any) -> int:
        count = 1
        for dim in dims:
            count *= self.value(dim)
        return count

    def element(self, dtype: str, axes: Axes) -> str:
        depth = self.pick([0, 1, 1, 2]) if self.simple else self.rng.randrange(1, 3 if dtype in NARROW else 4)
        return clamped(self.value_of(dtype, axes, depth), dtype)

    # --------------------------------------------------------------------------------------------- values
    def value_of(self, dtype: str, axes: Axes, depth: int) -> str:
        """A random value of `dtype`."""
        if depth == 0:
            return self.load(dtype, axes)
        x = self.value_of(dtype, axes, depth - 1)
        if self.chance(0.15):
            choose = self.pick(["select", "if_then_else"])
            return f"tl.{choose}({self.value_of('bool', axes, 1)}, {x}, {self.value_of(dtype, axes, depth - 1)})"
        if self.chance(0.1):
            return f"({self.value_of(self.dtype(), axes, depth - 1)}).astype({dtype!r})"
        y = self.value_of(dtype, axes, depth - 1)
        if dtype == "bool":
            compared = self.pick(["float32", "int16", "uint8"])
            p, q = (self.value_of(compared, axes, depth - 1) for _ in range(2))
            pair = f"({p}) {self.pick(['<', '>=', '==', '!='])} ({q})"
            return self.pick([f"({x} & {y})", f"({x} | {y})", f"({x} ^ {y})", f"(~{x})", f"({pair})", f"({pair})"])
        common = [f"({x} + {y})", f"({x} - {y})", f"({x} * {y})", f"tl.maximum({x}, {y})", f"abs({x})"]
        common += [f"({x} * {y} + {self.load(dtype, axes)})", f"({x} - {y} * {y})"]
        if tl.dtypes.is_integer(dtype):
            whole = [f"({x} {op} {y})" for op in ("//", "%", "&", "|", "^")]
            return self.pick([*common, *whole, f"({x} << ({y} & 3))", f"({x} >> ({y} & 7))", f"(~{x})", f"(3 - {x})"])
        return self.pick([*common, f"(-{x})", f"tl.minimum({x}, {y})", f"tl.floor({x})", f"(2 - {x})", f"({x} + 1.0)"])

    def load(self, dtype: str, axes: Axes) -> str:
        """An element of a random tensor at a random place, cast; now and then a number, or an axis."""
        if self.chance(0.03):
            return f'tl.cast({self.rng.randrange(5)}, "int32").astype({dtype!r})'
        if axes and self.chance(0.03):
            return f"{self.pick(list(axes))}.astype({dtype!r})"
        usable = [a for a in self.arrays if self.points(a.shape)]
        if not usable:
            return f'tl.cast(1, "int32").astype({dtype!r})'
        array = self.pick(usable[-3:] if self.chance(0.6) else usable)
        cast = "" if array.dtype == dtype else f".astype({dtype!r})"
        if array.shape and axes and self.chance(0.12):
            return self.guarded(array, axes) + cast
        return f"{array.name}[{self.at(array.shape, axes)}]{cast}"

    def at(self, shape: tuple[Dim, ...], axes: Axes) -> str:
        return ", ".join(self.index(d, axes) for d in shape) or "()"

    def guarded(self, array: Array, axes: Axes) -> str:
        """An access that leaves the tensor, where it does not count."""
        like = [a for a, d in axes.items() if d.base == array.shape[0].base and d.scale == array.shape[0].scale]
        axis = self.pick(like or list(axes))
        offset, scale = self.rng.randrange(4), 1 if like else self.pick([1, 2])
        at = f"({axis} * {scale} - {offset})" if scale > 1 else f"({axis} - {offset})"
        rest = [self.index(d, {a: e for a, e in axes.items() if a != axis} or axes) for d in array.shape[1:]]
        inside = f"({at} >= 0) & ({at} < {array.shape[0]})"
        element = f"{array.name}[{', '.join([at, *rest])}]"
        return f'tl.if_then_else({inside}, {element}, tl.cast(1, "int32").astype({array.dtype!r}))'

    def index(self, dim: Dim, axes: Axes) -> str:
        """An index that is provably in 0 .. dim - 1."""
        if self.chance(0.05):
            whole = [a for a in self.arrays if a.dtype in ("int8", "int32", "uint64") and len(a.shape) == 1]
            whole = [a for a in whole if self.points(a.shape)]
            if whole:
                array = self.pick(whole)
                inside = [self.index(array.shape[0], axes)] if self.chance(0.5) and axes else ['tl.cast(1, "int32")']
                return f"{array.name}[{inside[0]}]"
        like = [a for a, d in axes.items() if d.base and d.base == dim.base and d.scale <= dim.scale]
        like = [a for a in like if axes[a].halo <= dim.halo]
        if like and self.chance(0.95):
            return self.near(dim, self.pick(like), axes)
        if self.symbolic(dim):  # at an unknown size only data may point, as it is clamped
            return f'tl.cast({self.rng.randrange(-2, 6)}, "int32")'
        value = self.value(dim)
        fixed = [a for a, d in axes.items() if not self.symbolic(d) and self.value(d) <= value]
        if fixed and self.chance(0.7):
            axis = self.pick(fixed)
            room = value - self.value(axes[axis])
            return axis if not room or self.chance(0.6) else f"{axis} + {self.rng.randrange(room + 1)}"
        if not axes or self.chance(0.3):
            return str(self.rng.randrange(value))
        axis = self.pick(list(axes))
        return self.pick([f"{axis} % ({dim})", f"tl.minimum({axis}, {dim} - 1)", f"({axis} * 3 + 1) // 2 % ({dim})"])

    def near(self, dim: Dim, axis: str, axes: Axes) -> str:
        """An index made of an axis over the same base: shifted by what there is of a halo, strided, or bent."""
        own = axes[axis]
        if own.scale < dim.scale:  # a * 2 + (0 .. 1), for a below base + halo
            return f"{axis} * 2 + {self.pick([0, 1])}" if 2 * own.halo <= dim.halo else axis
        room = dim.halo - own.halo
        windows = [a for a, d in axes.items() if not d.base and d.halo - 1 <= room]
        if windows and self.chance(0.7):
            return f"{axis} + {self.pick(windows)}"
        if room and self.chance(0.7):
            return f"{axis} + {self.rng.randrange(room + 1)}"
        if self.chance(0.85):
            return axis
        bent = [f"tl.maximum({axis} - 1, 0)", f"{axis} // 2", f"tl.minimum({axis} + 1, {dim} - 1)"]
        return self.pick([*bent, *([f"{dim} - 1 - {axis}"] if not room else [])])


def listed(shape: tuple[Dim, ...]) -> str:
    """A shape as Python writes it."""
    return f"({', '.join(map(str, shape))}{',' if len(shape) == 1 else ''})"


def clamped(value: str, dtype: str) -> str:
    """`value` in -4 .. 4."""
    if dtype == "bool":
        return value
    return f"tl.minimum({value}, 4)" if dtype.startswith("u") else f"tl.maximum(tl.minimum({value}, 4), -4)"
