"""The intermediate representation: every node there is, and what it means.

Semantics, once and for all:

- **Levels.** *tensor*: te expressions, with `Reduce`. *loop*: loops around `Block`s over multi-dimensional
  buffers; schedules work here. *flat*: no `Block`, one-dimensional buffers, explicit vectors; backends read this.
- **Index** is an exact (unbounded) integer. `//` and `%` floor, and their divisor is positive. Extents may depend
  on outer loop variables, on `Size`s (shape variables, >= 0) and on `Knob`s (tuning parameters, >= 1). A loop runs
  its variable from 0 up to its extent; a negative extent runs nothing.
- **Integers** wrap around. `//` and `%` floor; by zero they give 0. Shifts take counts modulo the width.
- **Floats** follow IEEE 754 with round-to-nearest; nothing is contracted or re-associated behind the author's back:
  a fused multiply-add is the op `fma`, formed once, in create_func. `max` and `min` propagate NaN and put -0.0
  below 0.0. Arithmetic of floats of 8 and 16 bits, casts to and from them included, computes each op in float32 and
  rounds. What float8_e4m3fn, which has no infinity, cannot hold is a NaN. A cast from float to integer truncates and
  saturates, NaN gives 0.
- Mathematical functions (exp ...) are what mathlib.py defines them to be in terms of other ops, everywhere.
- **Vectors.** An expression has `lanes` (1 for scalars); ops work lane by lane. A `mask` on a flat load or store
  switches lanes off: a masked-off lane touches no memory and loads as zero.
- `select` evaluates both sides; `if_then_else` only the one taken, so that it may guard a load.
- **Block.** A `Block` is one computation with its own iterators, each of which the loops around it bind to a value.
  It runs for the loop iterations in which `predicate` holds. Schedules change loops and bindings, never what a body
  computes. What it reads and writes is computed from its body, never stored.
  If it reduces, `init` runs once per spatial point before the first update, even when there is no update at all,
  under the conjuncts of `predicate` that are free of reduction variables.
  Iterators are *spatial* (instances are independent), *reduce* (instances combine in any order, if the user says so
  by a schedule step) or *ordered* (instances run in ascending order).
- **Do** of an Intrinsic stands for its `body`, plain loops and stores that mean the same: that is what the interpreter
  runs and what analyses see. `args` tell a backend where the operands are: for each parameter of the intrinsic a load
  of the first element of its region, then the strides (in elements) that the intrinsic leaves open.
- **Alloc** makes a buffer with unspecified contents for the run of its body.
- **Launch nests** (form: launch.py) are kernels, at the flat level only: loops over blockIdx, `Alloc`s of scope shared,
  which each block has, loops over threadIdx, `Alloc`s of scope local, which each thread has, the body. Elsewhere loops
  of these kinds run like any other. Blocks run in any order, the threads of a block at the same time. Two accesses to
  an element of shared or global memory by different threads, one of which stores, must be ordered: by
  `Do("barrier")`, which all threads of a block reach or none and before which everything that the block does stays, or
  by being in different launches. 32 threads in a row (x runs fastest) are a warp: `shuffle_xor(value, mask)` is the
  value that lane `this lane ^ mask` computes, and all lanes of a warp reach it or none.
  `Do("atomic")` does its body, a store to an element of a value that depends on it, with nothing in between; two
  atomic updates need no order, also of different iterations of a parallel loop. A sum of float32 in global memory of a
  GPU may take numbers below the normal ones for 0.
  `Do("async_copy")` begins its body, a store to shared memory of what the launch only reads, and does not wait for it;
  the store happens at any time until `Do("async_wait", n)` of the same thread ends, after which all but the last n
  groups of the thread's copies are complete; `Do("async_commit")` makes a group of its copies since the last. Until
  then nobody accesses the elements; after it the store counts as the thread's own.
  `Do("evict_first")`, `Do("evict_last")` and `Do("no_allocate")` do their body, a store, and tell the caches how long
  to keep what it loads from global memory.

Nodes are immutable. Expressions are interned: equal means identical, so compare with `is` (`==` builds an
expression). `Var` and `Buffer` are themselves only; statements compare by `walk.same`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, ClassVar

from tensorlang.ir.base import Expr, Node, constructor, intern, known, put

SERIAL, PARALLEL, VECTORIZE, UNROLL = "serial", "parallel", "vectorize", "unroll"
GRID, THREADS, VIRTUAL = "blockIdx", "threadIdx", "vthread"  # units of a GPU: kinds of loops are "threadIdx.x" ...
THREAD_AXES = tuple(f"{unit}.{axis}" for unit in (GRID, THREADS, VIRTUAL) for axis in "xyz")
LOOP_KINDS = (SERIAL, PARALLEL, VECTORIZE, UNROLL, *THREAD_AXES)
_UNITS = {axis: axis.partition(".")[0] for axis in THREAD_AXES}
SHARED = "shared"  # the scope of memory that the threads of a block of a GPU have in common
SPATIAL, REDUCE, ORDERED = "spatial", "reduce", "ordered"
ITER_KINDS = (SPATIAL, REDUCE, ORDERED)

Annotations = tuple[tuple[str, Any], ...]


# ---------------------------------------------------------------------------------------------- expressions
class Var(Expr):
    """A name for a value. Two Vars are never equal, whatever their names."""

    __slots__ = ("name",)
    name: str

    def __init__(self, name: str, dtype: str = "index", lanes: int = 1):
        put(self, "name", name)
        put(self, "dtype", dtype)
        put(self, "lanes", lanes)
        put(self, "memo", {})


class Size(Var):
    """A shape variable: an index >= 0, known at the call."""

    __slots__ = ()


class Knob(Var):
    """A tuning parameter: an index >= 1 that stays open in a sketch. `choices` are the values it may take.

    >>> tl.knob("n", [2, 4]).choices
    (2, 4)
    """

    __slots__ = ("choices",)
    choices: tuple[int, ...]

    def __init__(self, name: str, choices: tuple[int, ...]):
        super().__init__(name)
        put(self, "choices", tuple(choices))


class Const(Expr):
    """A literal: int (also of dtype index), float or bool."""

    __slots__ = ("value",)
    fields = ("value", "dtype")
    value: int | float | bool

    def __new__(cls, value: int | float | bool, dtype: str) -> Const:
        key = (cls, value.hex() if isinstance(value, float) else int(value), dtype)
        found = known(key)
        return intern(cls, key, {"value": value}, dtype, 1) if found is None else found


class Op(Expr):
    """`op(args)`, where `op` is a row of the table in ops.py. Build with ops.make, which checks dtypes."""

    __slots__ = ("args", "op")
    fields = ("op", "args", "dtype")
    op: str
    args: tuple[Expr, ...]

    def __new__(cls, op: str, args: tuple[Expr, ...], dtype: str) -> Op:
        key = (cls, op, args, dtype)
        found = known(key)
        if found is not None:
            return found
        lanes = 1
        for arg in args:
            if arg.lanes > lanes:
                lanes = arg.lanes
        return intern(cls, key, {"op": op, "args": args}, dtype, lanes)


class Load(Expr):
    """`buffer[indices]`; at the flat level one index, maybe a vector, and maybe a bool `mask` of as many lanes."""

    __slots__ = ("buffer", "indices", "mask")
    fields = ("buffer", "indices", "mask")
    buffer: Buffer
    indices: tuple[Expr, ...]
    mask: Expr | None

    def __new__(cls, buffer: Buffer, indices: tuple[Expr, ...], mask: Expr | None = None) -> Load:
        key = (cls, buffer, indices, mask)
        found = known(key)
        if found is not None:
            return found
        lanes = max([i.lanes for i in indices], default=1)
        return intern(cls, key, {"buffer": buffer, "indices": indices, "mask": mask}, buffer.dtype, lanes)


class Let(Expr):
    """`body`, in which `var` stands for `value`."""

    __slots__ = ("body", "value", "var")
    fields = ("var", "value", "body")
    var: Var
    value: Expr
    body: Expr

    def __new__(cls, var: Var, value: Expr, body: Expr) -> Let:
        key = (cls, var, value, body)
        found = known(key)
        if found is not None:
            return found
        return intern(cls, key, {"var": var, "value": value, "body": body}, body.dtype, body.lanes)


class Ramp(Expr):
    """The vector `base, base + stride, ..., base + (lanes - 1) * stride`."""

    __slots__ = ("base", "stride")
    fields = ("base", "stride", "lanes")
    base: Expr
    stride: Expr

    def __new__(cls, base: Expr, stride: Expr, lanes: int) -> Ramp:
        key = (cls, base, stride, lanes)
        found = known(key)
        return intern(cls, key, {"base": base, "stride": stride}, base.dtype, lanes) if found is None else found


class Splat(Expr):
    """`value` in each of `lanes` lanes."""

    __slots__ = ("value",)
    fields = ("value", "lanes")
    value: Expr

    def __new__(cls, value: Expr, lanes: int) -> Splat:
        key = (cls, value, lanes)
        found = known(key)
        return intern(cls, key, {"value": value}, value.dtype, lanes) if found is None else found


class Reduce(Expr):
    """The `index`-th result of folding `sources` over `axes` (tensor level only)."""

    __slots__ = ("axes", "index", "reducer", "sources")
    fields = ("reducer", "sources", "axes", "index")
    reducer: Reducer
    sources: tuple[Expr, ...]
    axes: tuple[Iter, ...]
    index: int

    def __new__(cls, reducer: Reducer, sources: tuple[Expr, ...], axes: tuple[Iter, ...], index: int) -> Reduce:
        key = (cls, reducer, sources, axes, index)
        found = known(key)
        if found is not None:
            return found
        fields = {"reducer": reducer, "sources": sources, "axes": axes, "index": index}
        return intern(cls, key, fields, reducer.identity[index].dtype, 1)


class Reducer(Node):
    """A monoid over tuples: `combine[i]` computes the i-th component from the variables `left` and `right`.

    `identity` is its neutral element. Without `commutative`, its axes are *ordered*.
    """

    __slots__ = ("combine", "commutative", "identity", "left", "name", "right")
    fields = ("name", "left", "right", "combine", "identity", "commutative")
    name: str
    left: tuple[Var, ...]
    right: tuple[Var, ...]
    combine: tuple[Expr, ...]
    identity: tuple[Expr, ...]
    commutative: bool

    def __init__(
        self,
        name: str,
        left: tuple[Var, ...],
        right: tuple[Var, ...],
        combine: tuple[Expr, ...],
        identity: tuple[Expr, ...],
        commutative: bool,
    ):
        for field, value in zip(self.fields, (name, left, right, combine, identity, commutative), strict=True):
            put(self, field, value)


class Iter(Node):
    """An iterator of a block (or a te axis): `var` takes the values 0 <= var < extent."""

    __slots__ = ("extent", "kind", "var")
    fields = ("var", "extent", "kind")
    var: Var
    extent: Expr
    kind: str

    def __init__(self, var: Var, extent: Expr, kind: str = SPATIAL):
        put(self, "var", var)
        put(self, "extent", extent)
        put(self, "kind", kind)


class Buffer(Node):
    """Memory: row-major, compact. `scope` names the memory: global (parameters, heap), local (registers, stack) ...

    >>> copy = s.cache_read("C", "A", "local")
    >>> s.buffers()["A.local"].scope, s.buffers()["A.local"].shape
    ('local', (8, 8))
    """

    __slots__ = ("dtype", "name", "scope", "shape")
    fields = ("name", "shape", "dtype", "scope")
    name: str
    shape: tuple[Expr, ...]
    dtype: str
    scope: str

    def __init__(self, name: str, shape: tuple[Expr, ...], dtype: str, scope: str = "global"):
        for field, value in zip(Buffer.fields, (name, shape, dtype, scope), strict=True):
            put(self, field, value)


# ----------------------------------------------------------------------------------------------- statements
class Stmt(Node):
    """Something that is done. Plain data: fields in constructor order, see `fields`."""

    __slots__ = ("memo",)
    memo: dict[Any, Any]  # what analyses remember about this statement, keyed by the analysis

    defaults: ClassVar[dict[str, Any]] = {}

    def __init_subclass__(cls) -> None:
        cls.__init__ = constructor(cls.fields, cls.defaults)  # type: ignore[method-assign]

    def __init__(self, *values: Any, **named: Any):
        raise TypeError("make one of a subclass")

    def replace(self, **changes: Any) -> Any:
        """A copy with some fields changed."""
        values = [changes.pop(f) if f in changes else getattr(self, f) for f in self.fields]
        return type(self)(*values, **changes)


class For(Stmt):
    """`body` for var = 0 .. extent - 1, run as `kind` says. The name of a loop is its variable's name."""

    __slots__ = fields = ("var", "extent", "kind", "body", "annotations")
    defaults: ClassVar = {"annotations": ()}
    var: Var
    extent: Expr
    kind: str
    body: Stmt
    annotations: Annotations


class Block(Stmt):
    """One computation: see the semantics above. `bindings[n]` is the value of `iters[n]` in terms of loop variables."""

    __slots__ = fields = ("name", "iters", "bindings", "predicate", "reducer", "init", "body", "annotations")
    defaults: ClassVar = {"annotations": ()}
    name: str
    iters: tuple[Iter, ...]
    bindings: tuple[Expr, ...]
    predicate: Expr
    reducer: Reducer | None
    init: Stmt | None
    body: Stmt
    annotations: Annotations


class Store(Stmt):
    """`buffer[indices] = value`; at the flat level one index, possibly a vector, and possibly a mask."""

    __slots__ = fields = ("buffer", "indices", "value", "mask")
    defaults: ClassVar = {"mask": None}
    buffer: Buffer
    indices: tuple[Expr, ...]
    value: Expr
    mask: Expr | None


class Alloc(Stmt):
    """`body`, in which `buffer` exists. Annotations say how it is stored, and change no value."""

    __slots__ = fields = ("buffer", "body", "annotations")
    defaults: ClassVar = {"annotations": ()}
    buffer: Buffer
    body: Stmt
    annotations: Annotations


class If(Stmt):
    """`then` if the scalar `cond` holds, else `orelse` (which may be None)."""

    __slots__ = fields = ("cond", "then", "orelse")
    defaults: ClassVar = {"orelse": None}
    cond: Expr
    then: Stmt
    orelse: Stmt | None


class LetStmt(Stmt):
    """`body`, in which `var` stands for `value`, evaluated once, before it."""

    __slots__ = fields = ("var", "value", "body")
    var: Var
    value: Expr
    body: Stmt


class Seq(Stmt):
    """`stmts`, one after the other. Build with `seq`, which flattens."""

    __slots__ = fields = ("stmts",)
    stmts: tuple[Stmt, ...]


class Do(Stmt):
    """An effect: barrier, asynchronous copy, matrix instruction ... `what` is the op or an Intrinsic.

    `body` is what it does, said in other statements; None for effects that change no values.
    """

    __slots__ = fields = ("what", "args", "body")
    defaults: ClassVar = {"body": None}
    what: Any
    args: tuple[Expr, ...]
    body: Stmt | None


class Func(Node):
    """A function over buffers: `params` in call order; those in `outputs` are written, in full, the rest only read.

    The `Size`s in the shapes of `params` are implicit parameters.

    >>> s.func.name, s.func.params, s.func.outputs
    ('C', (A: f32[8, 8], B: f32[8, 8], C: f32[8, 8]), (C: f32[8, 8],))
    """

    __slots__ = ("body", "name", "outputs", "params")
    fields = ("name", "params", "outputs", "body")
    name: str
    params: tuple[Buffer, ...]
    outputs: tuple[Buffer, ...]
    body: Stmt

    def __init__(self, name: str, params: tuple[Buffer, ...], outputs: tuple[Buffer, ...], body: Stmt):
        for field, value in zip(self.fields, (name, params, outputs, body), strict=True):
            put(self, field, value)

    def with_body(self, body: Stmt) -> Func:
        """The same function with another body.

        >>> s.func.with_body(s.func.body) is s.func
        True
        """
        return self if body is self.body else Func(self.name, self.params, self.outputs, body)


SERPENTINE = "serpentine"  # annotation of a loop: the name of one around it, every other iteration of which turns it


def unit_of(kind: str) -> str:
    """The unit of a thread axis, "threadIdx" for "threadIdx.x"; "" for other kinds of loops."""
    return _UNITS.get(kind, "")


NOTHING = Seq(())


def seq(*stmts: Stmt) -> Stmt:
    """The statements one after the other, with nested sequences flattened; a single one is returned as it is."""
    flat: list[Stmt] = []
    for stmt in stmts:
        flat.extend(stmt.stmts if isinstance(stmt, Seq) else (stmt,))
    return flat[0] if len(flat) == 1 else Seq(tuple(flat)) if flat else NOTHING


def const(value: int) -> Const:
    """An index literal."""
    return Const(int(value), "index")


TRUE, FALSE, ZERO, ONE = Const(True, "bool"), Const(False, "bool"), const(0), const(1)

Fold = Callable[[Node], Node]
Nodes = Iterator[Node]
