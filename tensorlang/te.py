"""Tensor expressions: what is to be computed, not how.

`placeholder`s come in, each `compute` says what one element of a new tensor is, and together they form a DAG that
create_func.py turns into a Func. Decided here, so that the rest may rely on it:

- Each access is in bounds, proved when the compute is made (access.py). The conditions of `if_then_else` count as
  facts for the branch they guard; `select` evaluates both sides, so its conditions do not.
- An index that depends on data (a gather) is clamped to 0 .. extent - 1: no data can make it leave its tensor. Only
  a symbolic extent that turns out to be 0 is beyond proof: there is no element to gather then.
- Axes and subscripts are exact integers of dtype index. Where one becomes data (the value of an element, the source
  of a reduction), it is an int64.
- A reduction is the whole body of its compute.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tensorlang.access import check_accesses, clamp
from tensorlang.errors import ExprError
from tensorlang.ir import dtypes, ops, walk
from tensorlang.ir.nodes import (
    ORDERED,
    REDUCE,
    SPATIAL,
    Buffer,
    Const,
    Expr,
    Iter,
    Knob,
    Load,
    Reduce,
    Size,
    Var,
    const,
)

Dim = int | Expr
_set = object.__setattr__
_NAME = re.compile(r"[A-Za-z_]\w*", re.ASCII)
_PER_ARGUMENT = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


class Axis(Var):
    """A spatial axis of one compute: the argument that its function receives."""

    __slots__ = ()


class ReduceAxis(Var):
    """An axis to reduce over: 0 <= axis < extent."""

    __slots__ = ("extent", "iters")
    extent: Expr
    iters: dict[str, Iter]  # one per kind, so that equal reductions are identical

    def __init__(self, name: str, extent: Expr):
        super().__init__(name)
        _set(self, "extent", extent)
        _set(self, "iters", {kind: Iter(self, extent, kind) for kind in (REDUCE, ORDERED)})


class Compute:
    """The rule of one or several tensors over the same axes: `bodies[n]` is the element of `tensors[n]`."""

    def __init__(self, name: str, axes: tuple[Iter, ...], bodies: tuple[Expr, ...]):
        self.name, self.axes, self.bodies = name, axes, bodies
        self.tensors: tuple[Tensor, ...] = ()

    @property
    def reduction(self) -> Reduce | None:
        """The reduction that the bodies are, all components of one, or None."""
        return self.bodies[0] if isinstance(self.bodies[0], Reduce) else None

    @property
    def reads(self) -> tuple[Tensor, ...]:
        """The tensors it reads, in order of first use."""
        buffers = (load.buffer for body in self.bodies for load in walk.find(body, Load))
        return tuple(dict.fromkeys(b for b in buffers if isinstance(b, Tensor)))


class Tensor(Buffer):
    """An n-dimensional array of which `A[i, j]` is an element; `producer` computes it, None for a placeholder.

    >>> C.shape, C.dtype, C.ndim
    ((8, 8), 'float32', 2)
    """

    __slots__ = ("producer",)
    producer: Compute | None

    def __init__(self, name: str, shape: tuple[Expr, ...], dtype: str, producer: Compute | None = None):
        super().__init__(name, shape, dtype)
        _set(self, "producer", producer)

    @property
    def ndim(self) -> int:
        return len(self.shape)

    def __getitem__(self, indices: Any) -> Load:
        """The element at `indices`, one for each dimension.

        Raises ExprError for a wrong number of indices, slices, and indices that are not integers.
        """
        given = indices if isinstance(indices, tuple) else (indices,)
        if len(given) != self.ndim:
            raise ExprError(
                f"{self.name} has {self.ndim} dimensions, got {len(given)} indices: an element takes one index for "
                "each dimension, and rows or slices are written as a compute of their own"
            )
        return Load(self, tuple(_index(self, n, index) for n, index in enumerate(given)))

    def __iter__(self) -> Any:
        raise TypeError(f"{self.name} cannot be iterated over: index it inside a compute")

    def __repr__(self) -> str:
        return f"Tensor({self.name}: {self.dtype}[{', '.join(map(repr, self.shape))}])"


def placeholder(shape: Dim | Sequence[Dim], dtype: str = "float32", name: str = "placeholder") -> Tensor:
    """A tensor that the caller passes in.

    shape: ints and expressions over `var`s, () for a scalar. Raises ExprError for an unknown dtype, a bad shape or
    name.

    >>> tl.placeholder((1024, tl.var("n")), "float32", name="X")
    Tensor(X: float32[1024, n])
    """
    return Tensor(check_name(name), _shape(shape), check_dtype(dtype))


def compute(
    shape: Dim | Sequence[Dim],
    body: Callable[..., Any],
    name: str | Sequence[str] = "compute",
    axes: Sequence[str] | None = None,
) -> Any:
    """A tensor of which `body(i, j, ...)` is the element at [i, j, ...]; a body that returns a tuple makes a tuple.

    shape: as for placeholder; one axis for each dimension, named by `axes` or else after the arguments of `body`.
    `name` may be a sequence of names, one for each tensor of a tuple; else they are called name_0, name_1 ...
    Raises ExprError for accesses that are not provably in bounds, axes that do not belong here, and reductions that
    are not the whole body.

    >>> bias = tl.placeholder((8,), name="bias")
    >>> tl.compute((8, 8), lambda i, j: A[i, j] + bias[j], name="biased")
    Tensor(biased: float32[8, 8])
    """
    dims = _shape(shape)
    axis_names = _axis_names(body, len(dims)) if axes is None else [check_name(axis) for axis in axes]
    if len(axis_names) != len(dims):
        raise ExprError(f"axes names {len(axis_names)} axes, but the shape has {len(dims)} dimensions")
    iters = tuple(Iter(Axis(n), dim, SPATIAL) for n, dim in zip(axis_names, dims, strict=True))
    result = body(*(it.var for it in iters))
    several = isinstance(result, tuple | list)
    names = [name] if isinstance(name, str) else list(name)
    bodies = tuple(_value(names[0], value) for value in (result if several else (result,)))
    if not bodies:
        raise ExprError(f"{names[0]}: the body returns an empty tuple")
    _check_reduction(names[0], bodies)
    _check_axes(names[0], iters, bodies)
    check_accesses(names[0], iters, bodies)
    if len(names) != len(bodies):
        if len(names) != 1:
            raise ExprError(f"{names[0]}: got {len(names)} names for {len(bodies)} tensors")
        names = [f"{names[0]}_{n}" for n in range(len(bodies))]
    block = check_name(name if isinstance(name, str) else names[0])
    producer = Compute(block, iters, bodies)
    producer.tensors = tuple(Tensor(check_name(n), dims, b.dtype, producer) for n, b in zip(names, bodies, strict=True))
    return producer.tensors if several else producer.tensors[0]


def reduce_axis(extent: Dim, name: str = "k") -> ReduceAxis:
    """An axis to reduce over, with values 0 .. extent - 1.

    >>> r = tl.reduce_axis(8, name="r")
    >>> tl.compute((), lambda: tl.sum(A[r, r], axis=r), name="trace")
    Tensor(trace: float32[])
    """
    return ReduceAxis(check_name(name), _dim(extent))


def var(name: str) -> Size:
    """A size that is known only when the kernel is called, read off the shapes of its arguments.

    >>> n = tl.var("n")
    >>> x = tl.placeholder((n,), name="x")
    >>> tl.build(tl.compute((n,), lambda i: x[i] + 1.0, name="y")).signature
    'y(x: float32[n]) -> y: float32[n]'
    """
    return Size(check_name(name))


def knob(name: str, choices: Sequence[int]) -> Knob:
    """A tuning parameter >= 1 that stays open in a sketch; it fits wherever an int does.

    >>> s.split("C.i", [None, tl.knob("rows", (1, 2, 4, 8))])
    (Loop('C.i.0'), Loop('C.i.1'))
    """
    if isinstance(choices, int):
        raise ExprError(f"the choices of knob {name} must be a sequence of ints, got {choices}")
    choices = tuple(choices)
    if not choices or any(isinstance(c, bool) or not isinstance(c, int) or c < 1 for c in choices):
        raise ExprError(f"the choices of knob {name} must be ints >= 1, at least one, got {choices}")
    return Knob(check_name(name), choices)


def check_name(name: str) -> str:
    """`name`, if it can name a tensor, axis or size: dots are kept for what schedules derive from it."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ExprError(f"{name!r} is not a name: use letters, digits and _, as in Python")
    return name


def check_dtype(dtype: Any) -> str:
    """`dtype` (a string, or a NumPy dtype) as the string used here."""
    if isinstance(dtype, str):
        if dtype in dtypes.DATA:
            return dtype
    elif isinstance(dtype, np.dtype | type):
        found = dtypes.from_numpy(np.dtype(dtype))
        if found is not None:
            return found
    raise ExprError(f"unknown dtype {dtype!r}: one of {', '.join(dtypes.DATA)}")


def as_data(value: Any) -> Expr:
    """`value` as an expression of a data dtype: indices and Python ints become int64, Python floats float32."""
    if isinstance(value, Tensor):
        raise ExprError(f"{value.name} is a tensor: name one of its elements, as in {value.name}[...]")
    if isinstance(value, bool | np.bool_):
        return ops.literal(value, "bool")
    if not isinstance(value, Expr):
        value = ops.literal(value, "float32" if isinstance(value, float | np.floating) else "int64")
    return ops.cast(value, "int64") if value.dtype == "index" else value


def _value(name: str, value: Any) -> Expr:
    if value is None:
        raise ExprError(f"{name}: the body returns None; it must return an expression")
    return as_data(value)


def _index(tensor: Tensor, position: int, index: Any) -> Expr:
    """One subscript as an expression of dtype index, clamped if it depends on data."""
    where = f"index {position} of {tensor.name}"
    if isinstance(index, bool | np.bool_) or index is None or isinstance(index, slice | float) or index is Ellipsis:
        raise ExprError(f"{where} must be an integer, got {index!r}")
    if not isinstance(index, Expr):
        return const(int(index)) if isinstance(index, int | np.integer) else ops.literal(index, "index")
    if index.dtype != "index" and not dtypes.is_integer(index.dtype):
        raise ExprError(f'{where} must be an integer, got {index.dtype} {index!r}: write .astype("int64")')
    exact = index.dtype == "index" and not any(True for _ in walk.find(index, Load))
    if exact:
        return index
    if index.dtype == "uint64":  # index is 64 bits wide at run time
        index = ops.make("min", index, 2**63 - 1)
    return clamp(ops.cast(index, "index"), tensor.shape[position])


def _shape(shape: Dim | Sequence[Dim]) -> tuple[Expr, ...]:
    return tuple(map(_dim, (shape,) if isinstance(shape, int | Expr | np.integer) else shape))


def _dim(value: Any) -> Expr:
    """An extent: an int >= 0, or an index expression over sizes and knobs."""
    if isinstance(value, int | np.integer) and not isinstance(value, bool):
        value = const(int(value))
    if not isinstance(value, Expr) or value.dtype != "index":
        raise ExprError(f"an extent must be an int, a var or an expression over them, got {value!r}")
    if isinstance(value, Const) and value.value < 0:
        raise ExprError(f"an extent must be at least 0, got {value.value}")
    strangers = [v for v in walk.free_vars(value) if not isinstance(v, Size | Knob)]
    if strangers:
        raise ExprError(f"an extent may depend on sizes only, but {value!r} uses the axis {strangers[0].name}")
    return value


def _axis_names(body: Callable[..., Any], ndim: int) -> list[str]:
    """Names of the axes from the arguments of `body`; `*i` takes all that are left, as i0, i1 ..."""
    names: list[str] = []
    rest = None
    for parameter in inspect.signature(body).parameters.values():
        if parameter.kind in _PER_ARGUMENT and parameter.default is inspect.Parameter.empty:
            names.append(parameter.name)
        elif parameter.kind is inspect.Parameter.VAR_POSITIONAL:
            rest = parameter.name
    if rest is not None and len(names) <= ndim:
        left = ndim - len(names)
        names += [rest] if left == 1 else [f"{rest}{n}" for n in range(left)]
    if len(names) != ndim:
        raise ExprError(f"the body takes {len(names)} axes ({', '.join(names)}), but the shape has {ndim} dimensions")
    return names


def _check_reduction(name: str, bodies: tuple[Expr, ...]) -> None:
    """A reduction is all of the body, and a tuple of bodies is all of one reduction."""
    found = [node for body in bodies for node in walk.find(body, Reduce)]
    if not found:
        return
    own_compute = "put the reduction into a compute of its own and use that tensor here"
    if not all(isinstance(body, Reduce) for body in bodies):
        raise ExprError(f"{name}: a reduction must be the whole body: {own_compute}")
    if len(found) != len(bodies):
        raise ExprError(f"{name}: a reduction cannot stand inside another one: {own_compute}")
    first = found[0]
    whole = [Reduce(first.reducer, first.sources, first.axes, n) for n in range(len(first.sources))]
    if len(whole) != len(bodies) or any(a is not b for a, b in zip(whole, bodies, strict=True)):
        raise ExprError(
            f"{name}: the body must return all {len(whole)} results of one {first.reducer.name} in their order: use "
            "the tensors that you need, and make one compute for each reduction"
        )


def _check_axes(name: str, axes: tuple[Iter, ...], bodies: tuple[Expr, ...]) -> None:
    """Every variable of the bodies is an axis of this compute, a reduced axis, a size or a knob."""
    known = {axis.var for axis in axes}
    for stranger in sorted((v for b in bodies for v in walk.free_vars(b) - known), key=lambda v: v.name):
        if isinstance(stranger, ReduceAxis):
            raise ExprError(f"{name}: the axis {stranger.name} is used outside a reduction: pass it as axis=...")
        if isinstance(stranger, Axis):
            raise ExprError(f"{name}: {stranger.name} is an axis of another compute; use the arguments of the body")
        if not isinstance(stranger, Size | Knob):
            raise ExprError(f"{name}: the variable {stranger.name} has no value here")
