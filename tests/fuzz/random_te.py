"""Random tensor expressions whose values are exact, so that all ways of computing them agree bit for bit.

Placeholders hold small whole numbers, and each element is clamped to -4 .. 4 before another tensor may use it; so
products and sums stay small enough for every float dtype, and rounding never happens but where it is asked for.
"""

from __future__ import annotations

import numpy as np

import tensorlang as tl
from tensorlang.ir.nodes import Const, Expr, Var

NARROW = ("float16", "bfloat16")


class Program:
    """A few computes over a few placeholders: `outputs` of random choice, with `inputs` and `sizes` to run them on."""

    def __init__(self, seed: int, computes: int = 3):
        self.rng = np.random.default_rng(seed)
        self.inputs: dict[tl.Tensor, np.ndarray] = {}
        self.sizes: dict[Var, int] = {}
        self.tensors: list[tl.Tensor] = []
        for n in range(self.integer(1, 4)):
            self.add_placeholder(f"P{n}")
        made: list[tl.Tensor] = []
        for n in range(self.integer(1, computes + 1)):
            made += self.compute(f"C{n}")
            self.tensors += made[-2:]
        others = [t for t in made[:-1] if self.chance(0.3)]
        self.outputs = [made[-1], *others]
        for tensor in self.inputs:
            self.inputs[tensor] = self.values(tensor)

    def integer(self, low: int, high: int) -> int:
        return int(self.rng.integers(low, high))

    def chance(self, probability: float) -> bool:
        return bool(self.rng.random() < probability)

    def pick(self, options):
        return options[self.integer(0, len(options))]

    def dtype(self) -> str:
        """Any dtype; every other time a float, as only those fuse."""
        return self.pick(tl.dtypes.FLOATS if self.chance(0.5) else tl.dtypes.DATA)

    def extent(self):
        """A small extent: sometimes 0, sometimes a shape variable that some placeholder has as its extent."""
        if self.sizes and self.chance(0.3):
            return self.pick(list(self.sizes))
        return 0 if self.chance(0.02) else 1 if self.chance(0.1) else self.integer(2, 6)

    def add_placeholder(self, name: str) -> None:
        shape = [self.extent() for _ in range(self.integer(0, 4))]
        if shape and self.chance(0.4):
            size = tl.var(f"n{len(self.sizes)}")
            self.sizes[size] = self.integer(1, 6)
            shape[0] = size
        tensor = tl.placeholder(tuple(shape), self.dtype(), name=name)
        self.inputs[tensor] = np.empty(0)
        self.tensors.append(tensor)

    def values(self, tensor: tl.Tensor) -> np.ndarray:
        shape = concrete(tensor.shape, self.sizes)
        low = 0 if tensor.dtype.startswith("u") or tensor.dtype == "bool" else -4
        high = 2 if tensor.dtype == "bool" else 5
        return self.rng.integers(low, high, shape).astype(tl.dtypes.to_numpy(tensor.dtype))

    # ------------------------------------------------------------------------------------------- computes
    def compute(self, name: str) -> list[tl.Tensor]:
        """One compute: elementwise (of one or two tensors) or a reduction, with at most 3 spatial axes."""
        shape = tuple(self.extent() for _ in range(0 if self.chance(0.1) else self.integer(1, 4)))
        dtype = self.dtype()
        kind = self.pick(["element", "element", "pair", "reduce", "reduce", "argmax", "ordered"])
        reduced = [tl.reduce_axis(self.extent(), f"r{n}") for n in range(self.integer(1, 3))]

        def body(*axes):
            extents = dict(zip(axes, shape, strict=True))
            if kind == "element":
                return self.element(dtype, extents)
            if kind == "pair":
                return self.element(dtype, extents), self.element("int32", extents)
            extents |= {r: r.extent for r in reduced}
            if kind == "reduce":
                return self.reduction(dtype, extents, reduced)
            if kind == "argmax":
                number = "float32" if dtype == "bool" else dtype
                return argmax((reduced[0], self.element(number, extents)), axis=reduced)
            return horner(self.element("int64", extents), axis=reduced)

        result = tl.compute(shape, body, name=name)
        return list(result) if isinstance(result, tuple) else [self.small(result, name)]

    def small(self, tensor: tl.Tensor, name: str) -> tl.Tensor:
        """Sums and products, brought back into the range that the next compute may use."""
        if tensor.producer.reduction is None:
            return tensor
        return tl.compute(tensor.shape, lambda *i: clamped(tensor[i]), name=f"{name}_small")

    def reduction(self, dtype: str, extents: dict, reduced: list) -> Expr:
        if dtype == "bool":
            return self.pick([tl.any, tl.all, tl.max])(self.element(dtype, extents), axis=reduced)
        reduce = self.pick([tl.sum, tl.sum, tl.max, tl.min])
        if reduce is tl.sum and self.chance(0.5):
            return tl.sum(self.load(dtype, extents) * self.load(dtype, extents), axis=reduced)
        return reduce(self.element(dtype, extents), axis=reduced)

    def element(self, dtype: str, extents: dict) -> Expr:
        return clamped(self.value(dtype, extents, self.integer(0, 3 if dtype in NARROW else 4)))

    # --------------------------------------------------------------------------------------------- values
    def value(self, dtype: str, extents: dict, depth: int) -> Expr:
        """A random expression of `dtype`."""
        if depth == 0:
            return self.load(dtype, extents)
        x = self.value(dtype, extents, depth - 1)
        if self.chance(0.2):
            other = self.value(dtype, extents, depth - 1)
            return self.pick([tl.select, tl.if_then_else])(self.value("bool", extents, 1), x, other)
        if self.chance(0.1):
            return self.value(self.pick(tl.dtypes.DATA), extents, depth - 1).astype(dtype)
        y = self.value(dtype, extents, depth - 1)
        if dtype == "bool":
            compared = self.pick(["float32", "int16", "uint8"])
            p, q = (self.value(compared, extents, depth - 1) for _ in range(2))
            return self.pick([x & y, x | y, x ^ y, ~x, p < q, p >= q, p == q, p != q])
        common = [x + y, x - y, x * y, x * y + self.load(dtype, extents), x - y * y, tl.maximum(x, y), abs(x)]
        if tl.dtypes.is_integer(dtype):
            return self.pick(
                [*common, x // y, x % y, x & y, x | y, x ^ y, x << (y & 3), x >> (y & 7), ~x, x + 1, 3 - x]
            )
        return self.pick(
            [*common, -x, tl.minimum(x, y), tl.floor(x), 2 - x, x + 1.0, tl.sqrt(tl.floor(abs(x)) * 0 + 4)]
        )

    def load(self, dtype: str, extents: dict) -> Expr:
        """An element of a random tensor at a random place, cast; or a number, or an axis."""
        if self.chance(0.1):
            return tl.cast(self.integer(0, 5), "int32").astype(dtype)
        if extents and self.chance(0.1):
            return self.pick(list(extents)).astype(dtype)
        tensor = self.pick(self.tensors)
        if self.zero_sized(tensor):
            return tl.cast(1, "int32").astype(dtype)
        if tensor.ndim and extents and self.chance(0.2):
            return self.guarded(tensor, extents).astype(dtype)
        return tensor[tuple(self.index(d, extents) for d in tensor.shape)].astype(dtype)

    def zero_sized(self, tensor: tl.Tensor) -> bool:
        return any(d not in self.sizes and d.value == 0 for d in tensor.shape)

    def guarded(self, tensor: tl.Tensor, extents: dict) -> Expr:
        """An access that leaves the tensor, where it does not count."""
        axis = self.pick(list(extents))
        at = axis * self.integer(1, 3) - self.integer(0, 3)
        others = {a: e for a, e in extents.items() if a is not axis}
        rest = [self.index(d, others) for d in tensor.shape[1:]]
        inside = (at >= 0) & (at < tensor.shape[0])
        return tl.if_then_else(inside, tensor[(at, *rest)], tl.cast(1, "int32").astype(tensor.dtype))

    def index(self, extent: Expr, extents: dict) -> Expr:
        """An index that is provably in 0 .. extent - 1, given that a shape variable is at least 1 where it is used."""
        whole = [t for t in self.tensors if t.dtype in ("int8", "int32", "uint64") and t.ndim == 1]
        whole = [t for t in whole if not self.zero_sized(t)]
        if whole and self.chance(0.15):
            return self.pick(whole)[tl.cast(self.integer(0, 3), "int32")]
        same = [a for a, e in extents.items() if e is extent or (isinstance(e, int) and self.known(extent) == e)]
        if same and self.chance(0.7):
            axis = self.pick(same)
            return self.pick([axis, axis, extent - 1 - axis, tl.maximum(axis - 1, 0), axis // 2])
        if self.known(extent) is None:  # at an unknown size only data may point, as it is clamped
            return tl.cast(self.integer(-2, 6), "int32")
        if not extents:
            return tl.cast(self.integer(0, self.known(extent)), "index")
        axis = self.pick(list(extents))
        return self.pick([axis % extent, tl.minimum(axis, extent - 1), (axis * 3 + 1) // 2 % extent])

    def known(self, extent: Expr) -> int | None:
        return None if extent in self.sizes else extent.value


def concrete(shape: tuple[Expr, ...], sizes: dict[Var, int]) -> list[int]:
    """`shape` as ints."""
    return [d.value if isinstance(d, Const) else sizes[d] for d in shape]


def clamped(x: Expr) -> Expr:
    """`x` in -4 .. 4."""
    if x.dtype == "bool":
        return x
    return tl.minimum(x, 4) if x.dtype.startswith("u") else tl.maximum(tl.minimum(x, 4), -4)


argmax = tl.reducer(
    lambda x, y: (tl.select(x[1] >= y[1], x[0], y[0]), tl.select(x[1] >= y[1], x[1], y[1])),
    lambda position, value: (-1, tl.min_value(value)),
    name="argmax",
)
horner = tl.reducer(lambda x, y: tl.select(y == 0, x, tl.select(x == 0, y, x - x // 3 + y)), 0, False, name="horner")
