"""Statements and kernels in CUDA C++, to be read: loops stay loops, with a pragma where they are unrolled.

A store of a vector becomes a loop over its lanes, around which accesses to memory are as wide as their alignment
allows: the address of a buffer is a multiple of 16 bytes, and what index arithmetic shows to be a multiple counts.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass

from tensorlang.arith.strides import multiple_of
from tensorlang.backend.cuda_expr import LANE, Swizzle, Values
from tensorlang.backend.cuda_text import Names, type_of
from tensorlang.errors import BuildError
from tensorlang.intrin.intrin import Intrinsic
from tensorlang.ir import dtypes, walk
from tensorlang.ir.launch import (
    ASYNC_COMMIT,
    ASYNC_WAIT,
    ATOMIC,
    BARRIER,
    CACHE_HINTS,
    EFFECTS,
    LOCAL,
    SHARED,
    Launch,
    update_of,
)
from tensorlang.ir.nodes import (
    NOTHING,
    UNROLL,
    Alloc,
    Buffer,
    Const,
    Do,
    Expr,
    For,
    If,
    LetStmt,
    Load,
    Op,
    Ramp,
    Seq,
    Size,
    Stmt,
    Store,
)
from tensorlang.target.target import Target

STATIC_SHARED = 48 << 10  # bytes of shared memory that a kernel may declare; more is asked for at the launch
ALIGNMENT = 16
RESIDENT = "resident"  # annotation of a loop over blocks: how many a multiprocessor is to hold at a time
_SUFFIXES = ("init", "all", "rest", "vector", "tail")  # that passes append to the name of a loop they copy
_AXES = {"threadIdx": "t", "blockIdx": "b"}


@dataclass(frozen=True)
class KernelText:
    """One kernel: its text, the buffers and sizes that it takes, its grid (x, y, z), threads, and shared memory.

    dynamic_shared is what the launch asks for, in bytes; aligned are the buffers that are read or written in vectors.
    """

    name: str
    text: str
    buffers: tuple[Buffer, ...]
    sizes: tuple[Size, ...]
    grid: tuple[Expr, Expr, Expr]
    block: tuple[int, int, int]
    shared_bytes: int
    dynamic_shared: int
    aligned: tuple[Buffer, ...]


class KernelWriter:
    """Writes the launch nest `launch` as the kernel `name`."""

    def __init__(self, name: str, launch: Launch, target: Target):
        self.name, self.launch, self.target = name, launch, target
        self.names = Names()
        self.values = Values(self.names)
        self.lines: list[str] = []
        self.indent = 1
        self.aligned: set[Buffer] = set()

    def kernel(self) -> KernelText:
        launch = self.launch
        own = {*launch.shared, *(a.buffer for a in walk.find(launch.body, Alloc))}
        used = [n.buffer for n in walk.visit(launch.nest) if isinstance(n, Load | Store)]
        buffers = tuple(b for b in dict.fromkeys(used) if b not in own)
        free = walk.free_vars(launch.nest)
        sizes = tuple(sorted((v for v in free if isinstance(v, Size)), key=lambda v: v.name))
        self.values.constant = frozenset(buffers) - {n.buffer for n in walk.find(launch.body, Store)}
        for buffer in buffers:
            self.values.of[buffer] = self.names.take(buffer.name)
        for size in sizes:
            self.values.of[size] = self.names.take(size.name)
        shared = self.shared()
        for loop in (*launch.blocks, *launch.threads):
            unit, _, axis = loop.kind.partition(".")
            self.values.of[loop.var] = name = self.names.take(_AXES[unit] + axis)
            self.line(f"const index {name} = {loop.kind};")
        self.stmt(launch.body)
        threads = {loop.kind[-1]: int(loop.extent.value) for loop in launch.threads if isinstance(loop.extent, Const)}
        grid = {loop.kind[-1]: loop.extent for loop in launch.blocks}
        block = tuple(threads.get(axis, 1) for axis in "xyz")
        resident = max((dict(loop.annotations).get(RESIDENT, 0) for loop in launch.blocks), default=0)
        bounds = [math.prod(block), *([resident] if resident else [])]
        head = (
            f'extern "C" __global__ void __launch_bounds__({", ".join(map(str, bounds))})\n'
            f"{self.name}({', '.join(self.parameters(buffers, sizes))}) {{"
        )
        return KernelText(
            self.name,
            "\n".join([head, *self.lines, "}"]),
            buffers,
            sizes,
            tuple(grid.get(axis, Const(1, "index")) for axis in "xyz"),  # type: ignore[arg-type]
            block,  # type: ignore[arg-type]
            shared,
            shared if shared > STATIC_SHARED else 0,
            tuple(b for b in buffers if b in self.aligned),
        )

    def parameters(self, buffers: Sequence[Buffer], sizes: Sequence[Size]) -> list[str]:
        """In the order of the arguments.

        `__restrict__` lets the compiler keep what it has read over barriers, since nobody else writes there: not said
        of what threads may hand on to each other.
        """
        body = self.launch.body
        stored = {n.buffer for n in walk.find(body, Store)}
        waits = any(n.what == BARRIER for n in walk.find(body, Do))
        handed_on = stored & {n.buffer for n in walk.find(body, Load)} if waits else set()
        pointers = [
            f"{'' if b in stored else 'const '}{type_of(b.dtype)}*{'' if b in handed_on else ' __restrict__'} "
            f"{self.values.of[b]}"
            for b in buffers
        ]
        return [*pointers, *(f"const index {self.values.of[s]}" for s in sizes)]

    def shared(self) -> int:
        """Declare the shared memory; returns its bytes."""
        sizes = {b: _bytes(b, swizzle) for b, swizzle in self.launch.shared.items()}
        total = sum(sizes.values())
        if total > self.target.shared_bytes:
            parts = ", ".join(f"{b.name} {n}" for b, n in sizes.items())
            raise BuildError(
                f"{self.name}: {total} bytes of shared memory in a block ({parts}) are more than the "
                f"{self.target.shared_bytes} of {self.target.arch}: choose smaller tiles"
            )
        if total > STATIC_SHARED:
            alignment = max(ALIGNMENT, *self.launch.shared.values())
            self.line(f"extern __shared__ __align__({alignment}) unsigned char shared_memory[];")
        offset = 0
        for buffer, size in sorted(sizes.items(), key=lambda pair: -self.launch.shared[pair[0]]):
            name = self.values.of[buffer] = self.names.take(buffer.name)
            kind, swizzle = type_of(buffer.dtype), self.launch.shared[buffer]
            if swizzle:
                self.values.swizzles[buffer] = Swizzle.of(swizzle, buffer.dtype)
            if total > STATIC_SHARED:
                self.line(f"{kind}* const {name} = reinterpret_cast<{kind}*>(shared_memory + {offset});")
            else:
                count = size // dtypes.bytes_of(buffer.dtype) if swizzle else _count(buffer)
                self.line(f"__shared__ __align__({max(ALIGNMENT, swizzle)}) {kind} {name}[{count}];")
            offset += size
        return total

    # ---------------------------------------------------------------------------------------------- statements
    def line(self, text: str) -> None:
        self.lines.append("  " * self.indent + text)

    @contextmanager
    def braces(self, head: str) -> Iterator[None]:
        self.line(head + " {" if head else "{")
        self.indent += 1
        kept = dict(self.values.of)
        with self.names.scope():
            yield
        self.values.of = kept
        self.indent -= 1
        self.line("}")

    def stmt(self, stmt: Stmt) -> None:
        if isinstance(stmt, Seq):
            for part in stmt.stmts:
                self.stmt(part)
        elif isinstance(stmt, For):
            self.loop(stmt)
        elif isinstance(stmt, Store):
            self.store(stmt)
        elif isinstance(stmt, If):
            with self.braces(f"if ({self.values.text(stmt.cond)})"):
                self.stmt(stmt.then)
            if stmt.orelse not in (None, NOTHING):
                assert stmt.orelse is not None
                with self.braces("else"):
                    self.stmt(stmt.orelse)
        elif isinstance(stmt, LetStmt):
            self.let(stmt)
        elif isinstance(stmt, Alloc):
            self.values.of[stmt.buffer] = name = self.names.take(stmt.buffer.name)
            words = "__align__(4) " if dtypes.bytes_of(stmt.buffer.dtype) < 4 else ""
            self.line(f"{words}{type_of(stmt.buffer.dtype)} {name}[{_count(stmt.buffer)}];")
            self.stmt(stmt.body)
        elif isinstance(stmt, Do) and stmt.what in EFFECTS:
            self.effect(stmt)
        elif isinstance(stmt, Do) and isinstance(stmt.what, Intrinsic):
            self.line(f"{stmt.what.name}({', '.join(map(self.argument, stmt.args))});")
        else:
            raise BuildError(f"{stmt!r} cannot be compiled for this target")

    def argument(self, arg: Expr) -> str:
        """An argument of an intrinsic: a pointer for a region, or a stride."""
        if not isinstance(arg, Load):
            return self.values.text(arg)
        values, swizzle = self.values, self.values.swizzles.get(arg.buffer)
        if swizzle is None:
            return self.address(arg.buffer, arg.indices[0], 0)
        whole, rest = swizzle.split(arg.indices[0])
        kind = f"Swizzled<{type_of(arg.buffer.dtype)}, {swizzle.changed}>"
        return f"{kind}{{{values.of[arg.buffer]} + {values.text(whole, 69)}, {values.text(rest)}}}"

    def effect(self, stmt: Do) -> None:
        if stmt.what == BARRIER:
            self.line("__syncthreads();")
        elif stmt.what == ASYNC_COMMIT:
            self.line("async_commit();")
        elif stmt.what == ASYNC_WAIT:
            self.line(f"async_wait<{self.values.text(stmt.args[0])}>();")
        elif stmt.what == ATOMIC and isinstance(stmt.body, Store):
            self.atomic(stmt.body)
        elif stmt.what in CACHE_HINTS and stmt.body is not None:
            self.values.hint = stmt.what
            self.stmt(stmt.body)
            self.values.hint = ""
        elif isinstance(stmt.body, Store) and not self.async_copy(stmt.body):
            self.store(stmt.body)  # at once, which is one of the times at which it may be done

    def atomic(self, stmt: Store) -> None:
        """An update by memory, which knows signed integers of 64 bits only where the sign matters."""
        update = update_of(stmt)
        if update is None:
            raise BuildError(f"memory of this target does not do {stmt!r} by itself")
        op, value = update
        as_unsigned = "({0}*)({1}), ({0})({2})" if op == "add" and stmt.buffer.dtype == "int64" else "{1}, {2}"
        at = self.address(stmt.buffer, stmt.indices[0], 0)
        self.last(
            value,
            lambda: f"atomic{op.capitalize()}({as_unsigned.format(type_of('uint64'), at, self.values.text(value))});",
        )

    def loop(self, loop: For) -> None:
        name = self.names.take(_short(loop.var.name))
        if loop.kind == UNROLL:
            self.line("#pragma unroll")
        end = self.values.text(loop.extent, 55)
        if _takes_turns(loop):
            self.line("#pragma unroll 1")
            end = f"hidden((index){end})"
        with self.braces(f"for (index {name} = 0; {name} < {end}; ++{name})"):
            self.values.of[loop.var] = name
            self.stmt(loop.body)

    def let(self, stmt: LetStmt) -> None:
        name, kind, lanes = self.names.take(stmt.var.name), type_of(stmt.var.dtype), stmt.var.lanes
        with self.braces(""):
            if lanes == 1:
                self.line(f"const {kind} {name} = {self.values.text(stmt.value)};")
                self.values.of[stmt.var] = name
            else:
                self.line(f"{kind} {name}[{lanes}];")
                with self.lanes(lanes, [stmt.value]):
                    self.line(f"{name}[{LANE}] = {self.values.text(stmt.value)};")
                self.values.of[stmt.var] = f"{name}[{LANE}]"
            self.stmt(stmt.body)

    def parts(self, exprs: list[Expr]) -> None:
        """Compute what occurs several times in `exprs` once."""
        for part in self.values.shared_parts(exprs):
            name = self.names.take("x")
            self.line(f"const {type_of(part.dtype)} {name} = {self.values.text(part)};")
            self.values.of[part] = name

    def store(self, stmt: Store) -> None:
        lanes = max(stmt.indices[0].lanes, stmt.value.lanes)
        if lanes > 1:
            self.vector_store(stmt, lanes)
            return
        values = self.values
        place = values.element(stmt.buffer, stmt.indices[0])
        self.last(stmt.value, lambda: f"{place} = {values.text(stmt.value)};")

    def last(self, value: Expr, text: Callable[[], str]) -> None:
        """The line `text()`, which uses `value`, after what occurs several times in it."""
        kept = dict(self.values.of)
        with self.braces("") if self.values.shared_parts([value]) else nullcontext():
            self.parts([value])
            self.line(text())
        self.values.of = kept

    # ------------------------------------------------------------------------------------------------- vectors
    def vector_store(self, stmt: Store, lanes: int) -> None:
        buffer, index = stmt.buffer, stmt.indices[0]
        width = self.width(buffer, index, lanes) if stmt.mask is None else 1
        value = stmt.value
        if stmt.mask is None and isinstance(value, Load) and value.mask is None and self.copy(stmt, value, lanes):
            return
        if width == 1 and not self.wide_loads([value], lanes):
            self.each_lane(stmt, value, lanes, "")
            return
        with self.braces(""):
            self.vector_loads([value], lanes)
            result = self.names.take("value") if width > 1 else ""
            if result:
                self.line(f"{type_of(buffer.dtype)} {result}[{lanes}];")
            self.each_lane(stmt, value, lanes, result)
            for n in range(0, lanes, width) if result else ():
                self.line(f"store_vector<{width}>({self.address(buffer, index, n)}, {result}{f' + {n}' if n else ''});")

    def each_lane(self, stmt: Store, value: Expr, lanes: int, result: str) -> None:
        """Compute each lane, and put it into the array `result`, or where it goes."""
        values = self.values
        with self.lanes(lanes, [value, *([stmt.mask] if stmt.mask is not None else [])]):
            place = f"{result}[{LANE}]" if result else values.element(stmt.buffer, stmt.indices[0])
            guard = f"if ({values.text(stmt.mask)}) " if stmt.mask is not None else ""
            self.line(f"{guard}{place} = {values.text(value)};")

    def copy(self, stmt: Store, value: Load, lanes: int) -> bool:
        """Store what is loaded as it is, if that needs no array between; says whether it did."""
        to, source = (stmt.buffer, stmt.indices[0]), (value.buffer, value.indices[0])
        widths = [self.width(*place, lanes) for place in (to, source) if place[0].scope != LOCAL]
        width = math.gcd(*widths) if widths else 1
        if width == 1 or not all(_contiguous(index) for _, index in (to, source)):
            return False
        verb = "load" if stmt.buffer.scope == LOCAL else "store" if value.buffer.scope == LOCAL else "copy"
        hint = self.values.hint_at(value.buffer)
        if hint and verb == "copy":
            return False
        for n in range(0, lanes, width):
            self.line(f"{verb}_vector{hint}<{width}>({self.address(*to, n)}, {self.address(*source, n)});")
        return True

    def async_copy(self, stmt: Store) -> bool:
        """Begin a copy to shared memory of 4, 8 or 16 bytes at a time, if it is one; says whether it is."""
        value, index, there = stmt.value, stmt.indices[0], None
        if isinstance(value, Op) and value.op == "if_then_else" and _is_zero(value.args[2]) and value.lanes == 1:
            there, value, _ = value.args
        if stmt.mask is not None or not isinstance(value, Load) or value.mask is not None:
            return False
        places = ((stmt.buffer, index), (value.buffer, value.indices[0]))
        width = math.gcd(*(self.width(*place, index.lanes) for place in places)) if index.lanes > 1 else 1
        if width * dtypes.bytes_of(stmt.buffer.dtype) not in (4, 8, 16) or (index.lanes > 1 and width == 1):
            return False
        for n in range(0, index.lanes, width):
            to, source = self.address(stmt.buffer, index, n), self.address(value.buffer, value.indices[0], n)
            if there is None:
                self.line(f"async_copy<{width}>({to}, {source});")
            else:
                self.line(f"async_copy_or_zero<{width}>({to}, {source}, {self.values.text(there)});")
        return True

    @contextmanager
    def lanes(self, lanes: int, exprs: list[Expr]) -> Iterator[None]:
        """A loop over the lanes, in which what `exprs` have in common is computed first."""
        self.line("#pragma unroll")
        with self.braces(f"for (int {LANE} = 0; {LANE} < {lanes}; ++{LANE})"):
            self.parts(exprs)
            yield

    def wide_loads(self, exprs: list[Expr], lanes: int) -> dict[Load, int]:
        """The loads in `exprs` that wide accesses can do, with the number of elements of each access."""
        loads = dict.fromkeys(n for e in exprs for n in _always(e) if isinstance(n, Load))
        plain = [n for n in loads if n.mask is None and n not in self.values.of]
        widths = {n: self.width(n.buffer, n.indices[0], lanes) for n in plain}
        return {n: width for n, width in widths.items() if width > 1}

    def vector_loads(self, exprs: list[Expr], lanes: int) -> None:
        """Load what can be in wide accesses into arrays, and name their elements."""
        for load, width in self.wide_loads(exprs, lanes).items():
            name = self.names.take(f"{load.buffer.name}_v")
            self.line(f"{type_of(load.dtype)} {name}[{lanes}];")
            for n in range(0, lanes, width):
                source = self.address(load.buffer, load.indices[0], n)
                hint = self.values.hint_at(load.buffer)
                self.line(f"load_vector{hint}<{width}>({name}{f' + {n}' if n else ''}, {source});")
            self.values.of[load] = f"{name}[{LANE}]"

    def width(self, buffer: Buffer, index: Expr, lanes: int) -> int:
        """The number of elements that one access may have."""
        if buffer.scope == LOCAL or not isinstance(index, Ramp) or not _contiguous(index):
            return 1
        size = dtypes.bytes_of(buffer.dtype)
        width = math.gcd(math.gcd(multiple_of(index.base), lanes), ALIGNMENT // size)
        if width > 1 and buffer.scope != SHARED:
            self.aligned.add(buffer)
        return width

    def address(self, buffer: Buffer, index: Expr, offset: int) -> str:
        base = self.values.place(buffer, (index.base if isinstance(index, Ramp) else index) + offset, 69)
        return f"{self.values.of[buffer]} + {base}" if base != "0" else self.values.of[buffer]


def _is_zero(expr: Expr) -> bool:
    return isinstance(expr, Const) and expr.value == 0


def _contiguous(index: Expr) -> bool:
    return isinstance(index, Ramp) and isinstance(index.stride, Const) and index.stride.value == 1


def _takes_turns(loop: For) -> bool:
    """Are remainders of the number of an iteration computed in `loop`, which runs a known number of times and has loops
    inside?

    NVRTC 13.0 is not to be trusted with these, in two ways. It computes (k + 2) % 3 * 9 in 8 bits if they suffice,
    takes 18 out of the sum of which that is a part, and extends the rest, which may be negative, without sign. And its
    assembler unrolls such a loop, and makes 0 of max(j % 5 - 1, 0) where j is 9.
    """

    def turns(e: Op) -> bool:
        divisor = int(e.args[1].value) if e.op == "mod" and isinstance(e.args[1], Const) else 0
        return divisor & (divisor - 1) != 0 and loop.var in walk.free_vars(e)

    known = isinstance(loop.extent, Const) and loop.kind != UNROLL
    around = known and any(n.kind != UNROLL for n in walk.find(loop.body, For))
    return around and any(True for _ in walk.find(loop.body, Op, turns))


def _always(expr: Expr) -> Iterator[Expr]:
    """The parts of `expr` that are computed whatever its conditions say, and no subscripts."""
    yield expr
    if isinstance(expr, Op):
        for child in expr.args[:1] if expr.op == "if_then_else" else expr.args:
            yield from _always(child)


def _short(name: str) -> str:
    """The name of a loop without the block it was made for: k.0 of C.k.0."""
    parts = name.split(".")
    last = max(
        (n for n, part in enumerate(parts) if not part.replace("_", "").isdigit() and part not in _SUFFIXES), default=0
    )
    return ".".join(parts[last:])


def _count(buffer: Buffer) -> int:
    size = buffer.shape[0] if buffer.shape else Const(1, "index")
    if not isinstance(size, Const):
        raise BuildError(f"{buffer.name} is in {buffer.scope} memory, but its size {size!r} is not constant")
    return max(1, int(size.value))


def _bytes(buffer: Buffer, swizzle: int) -> int:
    """In whole words, and whole rows of words that are permuted."""
    size, unit = _count(buffer) * dtypes.bytes_of(buffer.dtype), max(ALIGNMENT, swizzle)
    return -(-size // unit) * unit
