"""Random tensor expressions, written as Python source, so that a failure can be cut down and printed as a script.

Their values are exact, so that all ways of computing them agree bit for bit: placeholders hold small whole numbers,
and each element is clamped to -4 .. 4 before another tensor may use it; so sums stay small enough for every float
dtype, whatever their order, and rounding never happens but where it is asked for.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import tensorlang as tl
from tests.fuzz.values import NARROW, POINTS, Array, Axes, Dim, Values, clamped, listed

# the dtype of a sum of products, and those of what is multiplied
PRODUCTS = [("float32", "float32", "float32")] * 3 + [("int32", "uint8", "int8")] * 3
PRODUCTS += [("float32", "float16", "float16"), ("float64", "float32", "float64"), ("int64", "int64", "int16")]
REDUCERS = {
    "argmax": """argmax = tl.reducer(
    lambda x, y: (tl.select(x[1] >= y[1], x[0], y[0]), tl.select(x[1] >= y[1], x[1], y[1])),
    lambda position, value: (-1, tl.min_value(value)),
    commutative=False,  # equal values: the first one wins
    name="argmax",
)""",
    # of equal values, the one at the lowest position wins, whatever the order
    "first_argmax": """def first(x, y):
    left = (x[1] > y[1]) | ((x[1] == y[1]) & (x[0] < y[0]))
    return tl.select(left, x[0], y[0]), tl.select(left, x[1], y[1])
first_argmax = tl.reducer(first, lambda position, value: (2**31, tl.min_value(value)), name="first_argmax")""",
    "last": 'last = tl.reducer(lambda x, y: tl.select(y == 0, x, y), 0, commutative=False, name="last")',
    # x -> a * x + b, one after the other
    "chain": """chain = tl.reducer(
    lambda x, y: (x[0] * y[0], x[1] * y[0] + y[1]), lambda a, b: (1, 0), commutative=False, name="chain"
)""",
}


@dataclass
class Expression:
    """`lines` of source that define tensors; `outputs` names those to compute; `sizes` gives values to tl.vars."""

    lines: list[str] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)
    sizes: dict[str, int] = field(default_factory=dict)
    _defined: tuple[str, dict[str, Any]] = field(default=("", {}), compare=False, repr=False)

    def define(self) -> dict[str, Any]:
        """The names that the source defines. Raises ExprError where it has no meaning."""
        source = "\n".join(self.lines)
        if self._defined[0] != source:
            names: dict[str, Any] = {"tl": tl}
            exec(source, names)
            self._defined = source, names
        return self._defined[1]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_defined": ("", {})}  # names are made anew where a case is sent to

    def tensors(self) -> tuple[list[tl.Tensor], dict[Any, int]]:
        """The outputs, and the sizes with their values."""
        names = self.define()
        return [names[o] for o in self.outputs], {names[n]: v for n, v in self.sizes.items()}


def random_expression(seed: int, computes: int = 4) -> Expression:
    """One to `computes` computes over a few placeholders."""
    rng = random.Random(f"te {seed}")
    while True:
        writer = _Writer(rng, computes)
        try:
            return _with_known_sizes(writer.expression)
        except tl.ExprError:
            if all(writer.values.values()):
                raise
            # of an empty axis, not every harmless access is proved to be in bounds


def _with_known_sizes(expression: Expression) -> Expression:
    """`expression` with numbers in place of the sizes that its arguments would not tell."""
    outputs, sizes = expression.tensors()
    reached = list(outputs)
    for tensor in reached:
        reached += [] if tensor.producer is None else [t for t in tensor.producer.reads if t not in reached]
    told = {dim for t in reached if t.producer is None or t in outputs for dim in t.shape}
    for size, value in sizes.items():
        if size not in told:
            line = expression.lines.index(f'{size.name} = tl.var("{size.name}")')
            expression.lines[line] = f"{size.name} = {value}"
            del expression.sizes[size.name]
    return expression


class _Writer(Values):
    """Writes an expression line by line."""

    def __init__(self, rng: random.Random, computes: int):
        super().__init__(rng)
        self.expression = Expression(sizes=self.sizes)
        self.bases()
        for n in range(rng.randrange(1, 4)):
            self.placeholder(f"P{n}")
        made: list[str] = []
        for n in range(rng.randrange(1, computes + 1)):
            names = self.compute(f"C{n}")
            made += names
        self.expression.outputs = [made[-1], *(name for name in made[:-1] if self.chance(0.15))]

    def line(self, text: str) -> None:
        if text not in self.expression.lines:
            self.expression.lines.append(text)

    def bases(self) -> None:
        """A few numbers, some of them sizes that are known at the call only."""
        left = POINTS
        for name in ("m", "n", "p"):
            value = self.pick([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 16, 17, 23, 31, 37, 40])
            value = max(1, min(value, left))
            left //= value + 2
            if self.chance(0.02):
                value = 0
            elif self.chance(0.25):
                self.sizes[name] = value
                self.line(f'{name} = tl.var("{name}")')
                self.values[name] = value
                continue
            self.values[name] = value
            self.line(f"{name} = {value}")

    def shape(self, low: int, high: int, halo: int) -> tuple[Dim, ...]:
        """Between low and high dims, with at most `halo` elements more than a base has."""
        count = self.rng.randrange(low, high + 1)
        names = [self.pick("mnp") for _ in range(count)] if self.chance(0.3) else self.rng.sample("mnp", count)
        dims = tuple(
            Dim(name)
            if not halo or (name in self.sizes and self.chance(0.5))
            else Dim(name, 2 if self.chance(0.1) else 1, self.pick([0, 0, 1, 2, 4]))
            for name in names
        )
        while len(dims) > 1 and self.points(dims) > POINTS:
            dims = dims[:-1]
        return dims

    # ------------------------------------------------------------------------------------------- tensors
    def placeholder(self, name: str) -> None:
        array = Array(name, self.shape(0 if self.chance(0.1) else 1, 3, 4), self.dtype())
        self.line(f"{name} = tl.placeholder({listed(array.shape)}, {array.dtype!r}, name={name!r})")
        self.arrays.append(array)

    def compute(self, name: str) -> list[str]:
        """One compute; returns the names of the tensors that may be outputs."""
        dtype, rng = self.dtype(), self.rng
        shape = self.shape(0 if self.chance(0.05) else 1, 3, 0 if self.chance(0.5) else 2)
        axes: Axes = dict(zip("ijk", shape, strict=False))
        head = f"lambda {', '.join(axes)}:" if axes else "lambda:"
        for special in (self.padded, self.contraction, self.stencil, self.stencil):
            if self.chance(0.11) and (made := special(name)):
                return [made]
        kinds = ["element"] * 4 + ["reduce"] * 4 + ["pair", "argmax", "first_argmax", "last", "chain"]
        kind = self.pick(kinds)
        if kind == "element":
            return [self.tensor(name, shape, dtype, f"{head} {self.element(dtype, axes)}")]
        if kind == "pair":
            body = f"({self.element(dtype, axes)}, {self.element('int32', axes)})"
            return self.tuple(name, shape, (dtype, "int32"), f"{head} {body}")
        inner = dict(axes)
        for n in range(rng.randrange(1, 3)):
            dims = [Dim("", 1, 2), Dim("", 1, 3), Dim("m"), Dim("n"), Dim("p")]
            small = [d for d in dims if self.points([*inner.values(), d]) <= 2 * POINTS]
            if small or n == 0:
                dim = self.pick(small or dims[:1])
                inner[f"{name}_r{n}"] = dim
                self.line(f'{name}_r{n} = tl.reduce_axis({dim}, "r{n}")')
        reduced = [a for a in inner if a not in axes]
        over = f"axis=({', '.join(reduced)},)"
        if kind == "reduce":
            body, dtype = self.reduction(dtype, inner, reduced, over)
            return [self.small(name, shape, dtype, f"{head} {body}")]
        self.line(REDUCERS[kind])
        number = "float32" if dtype == "bool" else dtype
        number = "int64" if kind in ("last", "chain") else number
        first, second = (self.over(reduced, number, lambda: self.element(number, inner)) for _ in range(2))
        if kind == "last":
            return [self.small(name, shape, number, f"{head} last({first}, {over})")]
        # a position of its own for each point: of zeros with different signs, too, one must come first
        first = first if kind == "chain" else " * 1000 + ".join(reduced)
        return self.results(name, shape, number, f"{head} {kind}(({first}, {second}), {over})")

    def results(self, name: str, shape: tuple[Dim, ...], dtype: str, body: str) -> list[str]:
        """The two results of a reduction; others may use the second one, of that dtype."""
        self.line(f"{name}_0, {name}_1 = tl.compute({listed(shape)}, {body}, name={name!r})")
        return [self.bounded(f"{name}_1", shape, dtype), f"{name}_0"]

    def tensor(self, name: str, shape: tuple[Dim, ...], dtype: str, body: str) -> str:
        """A tensor of clamped elements, which others may use."""
        self.line(f"{name} = tl.compute({listed(shape)}, {body}, name={name!r})")
        self.arrays.append(Array(name, shape, dtype))
        return name

    def padded(self, name: str) -> str:
        """A tensor inside a box of padding, or "" if there is none to pad."""
        usable = [a for a in self.arrays if a.shape and self.points(a.shape)]
        if not usable:
            return ""
        array = self.pick(usable)
        before = [self.rng.randrange(3) for _ in array.shape]
        after = [self.rng.randrange(3) for _ in array.shape]
        axes = "ijk"[: len(array.shape)]
        shape = tuple(Dim(d.base, d.scale, d.halo + b + a) for d, b, a in zip(array.shape, before, after, strict=True))
        low = [f"({i} >= {b})" for i, b in zip(axes, before, strict=True) if b]
        high = [f"({i} < {d} + {b})" for i, d, b, a in zip(axes, array.shape, before, after, strict=True) if a]
        place = ", ".join(f"{i} - {b}" if b else i for i, b in zip(axes, before, strict=True))
        if not low + high:
            return ""
        value = f"tl.cast({self.rng.randrange(3)}, 'int32').astype({array.dtype!r})"
        body = f"tl.if_then_else({' & '.join(low + high)}, {array.name}[{place}], {value})"
        return self.tensor(name, shape, array.dtype, f"lambda {', '.join(axes)}: {body}")

    def contraction(self, name: str) -> str:
        """A sum of products of plain elements, such as a matrix product."""
        dtype, *factors = self.pick(PRODUCTS)
        bases = self.rng.sample("mnp", self.rng.randrange(2, 4))
        spatial, k = list("ij"[: len(bases) - 1]), f"{name}_k"
        axes: Axes = {a: Dim(b, 1, self.pick([0, 0, 1])) for a, b in zip([*spatial, k], bases, strict=True)}
        if self.points(axes.values()) > 2 * POINTS:
            axes[k] = Dim("", 1, 4)
        self.line(f'{k} = tl.reduce_axis({axes[k]}, "k")')
        product = []
        for n, factor in enumerate(factors):
            used = [*([spatial[-n]] if len(spatial) > 1 or n or self.chance(0.2) else []), k]
            if factor != "int8" and self.chance(0.5):
                used.reverse()
            shape, operand = tuple(axes[a] for a in used), f"{name}_{'AB'[n]}"
            self.line(f"{operand} = tl.placeholder({listed(shape)}, {factor!r}, name={operand!r})")
            cast = "" if factor == dtype else f".astype({dtype!r})"
            product.append(f"{operand}[{', '.join(used)}]{cast}")
        shape = tuple(axes[a] for a in spatial)
        return self.small(name, shape, dtype, f"lambda {', '.join(spatial)}: tl.sum({' * '.join(product)}, axis={k})")

    def stencil(self, name: str) -> str:
        """A sum or a maximum over a window that slides along one axis of a tensor, preferably a computed one."""
        usable = [a for a in self.arrays if any(self.window(d) for d in a.shape)]
        usable = [a for a in usable if a.name[0] == "C"] or usable
        if not usable:
            return ""
        array = self.pick(usable)
        along = self.pick([n for n, d in enumerate(array.shape) if self.window(d)])
        width, shorter = self.window(array.shape[along])
        shape = (*array.shape[:along], shorter, *array.shape[along + 1 :])
        axes = "ijk"[: len(shape)]
        at = [", ".join([*axes[:along], f"{axes[along]} + {n}", *axes[along + 1 :]]) for n in range(width)]
        parts = [f"{array.name}[{a}]" for a in at]
        op = self.pick(["maximum", "minimum"]) if array.dtype != "bool" else "maximum"
        if array.dtype == "bool":
            value = " | ".join(parts)
        elif self.chance(0.5):
            value = (
                f"tl.{op}({parts[0]}, {parts[1]})"
                if width == 2
                else f"tl.{op}(tl.{op}({parts[0]}, {parts[1]}), {parts[2]})"
            )
        else:
            value = clamped(" + ".join(parts), array.dtype)
        return self.tensor(name, shape, array.dtype, f"lambda {', '.join(axes)}: {value}")

    def window(self, dim: Dim) -> tuple[int, Dim] | None:
        """The width of a window that may slide along a dimension, and how many places it has."""
        if dim.base and dim.halo >= 1:
            width = min(3, dim.halo + 1)
            return width, Dim(dim.base, dim.scale, dim.halo - width + 1)
        if not self.symbolic(dim) and self.value(dim) >= 4:
            return 3, Dim("", 1, self.value(dim) - 2)
        return None

    def tuple(self, name: str, shape: tuple[Dim, ...], dtypes: tuple[str, ...], body: str) -> list[str]:
        names = [f"{name}_{n}" for n in range(len(dtypes))]
        self.line(f"{', '.join(names)} = tl.compute({listed(shape)}, {body}, name={name!r})")
        self.arrays += [Array(n, shape, d) for n, d in zip(names, dtypes, strict=True)]
        return names

    def small(self, name: str, shape: tuple[Dim, ...], dtype: str, body: str) -> str:
        """A sum or a product, and, now and then, its values brought back into the range that others may use."""
        self.line(f"{name} = tl.compute({listed(shape)}, {body}, name={name!r})")
        return self.bounded(name, shape, dtype)

    def bounded(self, name: str, shape: tuple[Dim, ...], dtype: str) -> str:
        if self.chance(0.4):
            return name
        body = f"lambda *i: {clamped(f'{name}[i]', dtype)}" if shape else f"lambda: {clamped(f'{name}[()]', dtype)}"
        return self.tensor(f"{name}_small", shape, dtype, body)

    def reduction(self, dtype: str, axes: Axes, reduced: list[str], over: str) -> tuple[str, str]:
        element = self.over(reduced, dtype, lambda: self.element(dtype, axes))
        if dtype == "bool":
            return f"tl.{self.pick(['any', 'all', 'max'])}({element}, {over})", dtype
        count = self.points(axes[r] for r in reduced)
        exact = 16 * count <= NARROW.get(dtype, 1 << 20)
        if not exact or self.chance(0.3):
            kinds = ["max", "min", *(["prod"] if tl.dtypes.is_integer(dtype) else [])]
            return f"tl.{self.pick(kinds)}({element}, {over})", dtype
        if self.chance(0.6):
            product = self.over(reduced, dtype, lambda: f"{self.load(dtype, axes)} * {self.load(dtype, axes)}")
            return f"tl.sum({product}, {over})", dtype
        return f"tl.sum({element}, {over})", dtype

    def over(self, reduced: list[str], dtype: str, write: Callable[[], str]) -> str:
        """What `write` writes, made to depend on all the axes `reduced`, mostly."""
        text = write()
        for axis in reduced:
            if axis in text or self.chance(0.1):
                continue
            text = (
                f"({text} ^ ({axis} < 1))"
                if dtype == "bool"
                else clamped(f"({text} + {axis}.astype({dtype!r}))", dtype)
            )
        return text
