"""The meaning of launch nests, executable: kernels with threads, barriers and shared memory on the CPU, all checked.

    run(func, [a, b, c])

runs a flat Func as interp.run does, but its launch nests as nodes.py says launches run: all threads of some blocks at
once, as lanes of NumPy arrays, with shadow memory that finds races, missing barriers and waits, accesses out of bounds
and reads of what nothing has written. What runs without an error computes the same in every order that threads may
take.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from tensorlang.errors import ArgumentError, ExprError
from tensorlang.ir import dtypes, interp, walk
from tensorlang.ir.launch import ASYNC_COMMIT, ASYNC_COPY, ASYNC_WAIT, ATOMIC, BARRIER, CACHE_HINTS, SHARED, Launch
from tensorlang.ir.nodes import Alloc, Buffer, Do, For, Func, If, LetStmt, Load, Size, Stmt, Store
from tensorlang.ir.pylanes import LaneWriter
from tensorlang.ir.threads import ORDERS, Grid, Settings, Sites
from tensorlang.ir.verify import verify

_compiled: WeakKeyDictionary[Func, tuple[Callable[..., None], list[Size]]] = WeakKeyDictionary()


def run(
    func: Func,
    arrays: Mapping[Buffer, np.ndarray] | Sequence[np.ndarray],
    sizes: Mapping[Size, int] = {},
    settings: Settings | None = None,
) -> None:
    """Run the flat `func` and its launch nests on NumPy arrays, writing its outputs in place; see `interp.run`.

    settings: the order of blocks, and what reading of uninitialised memory does.
    Raises VerifyError if func is not flat or a launch nest has not the form of one; RaceError, MissingWaitError,
    DivergenceError, OutOfBoundsError or UninitializedError (see errors.py) if threads do what they may not.
    """
    settings = settings or Settings()
    if settings.order not in ORDERS:
        raise ArgumentError(f"order must be one of {', '.join(ORDERS)}, got {settings.order!r}")
    function, needed = _translated(func)
    interp.call(func, arrays, sizes, partial(function, settings=settings), needed)


def _translated(func: Func) -> tuple[Callable[..., None], list[Size]]:
    if func not in _compiled:
        verify(func, "flat")
        code, names = source(func)
        exec(compile(code, f"<launches of {func.name}>", "exec"), names)
        _compiled[func] = names["run"], [n for n in names.values() if isinstance(n, Size)]
    return _compiled[func]


def source(func: Func) -> tuple[str, dict[str, Any]]:
    """The Python text that `func` becomes, and the objects that it refers to by name."""
    program = _Program(func)
    program.func(func)
    return "def run(arrays, sizes, settings):\n" + "\n".join(program.lines) + "\n", program.names


class _Program(LaneWriter, interp.Program):
    """Statements as Python, those inside a launch nest for all threads at once."""

    def __init__(self, func: Func) -> None:
        super().__init__()
        self.sites = Sites(func)
        self.refer("_sites", self.sites)
        self.current: Stmt = func.body
        self.written = {p for p in func.params if p not in func.outputs} | _stored_outside(func.body)
        self.ready: dict[Buffer, str] = {}  # for global memory but that, names of arrays that say what is written

    def site(self) -> int:
        return self.sites.number(self.current)

    def new_memory(self, buffer: Buffer, array: str) -> None:
        super().new_memory(buffer, array)
        if buffer not in self.written:
            zeros = self.refer("_zeros", np.zeros)
            self.ready[buffer] = self.assign("ready", f"{zeros}(len({self.memory[buffer][1]}), bool)")

    # --------------------------------------------------------------------------------------- statements
    def stmt(self, stmt: Stmt) -> None:
        if self.batch is None:
            if Launch.starts(stmt):
                self.launch(Launch.of(stmt))
            else:
                super().stmt(stmt)
            return
        self.current = stmt
        if isinstance(stmt, Alloc):
            self.alloc(stmt.buffer)
            self.stmt(stmt.body)
            return
        if isinstance(stmt, LetStmt):
            self.set_varying(stmt.var, self.varies(stmt.value))
        super().stmt(stmt)

    def launch(self, launch: Launch) -> None:
        """One kernel: batches of its blocks, one after the other."""
        blocks, threads = (
            "{" + ", ".join(f"{loop.kind!r}: {self.value(loop.extent)}" for loop in loops) + "}"
            for loops in (launch.blocks, launch.threads)
        )
        grid = self.assign("grid", f"{self.refer('_Grid', Grid)}(_sites, settings, {blocks}, {threads})")
        stored = {s.buffer for s in walk.find(launch.body, Store)}
        for buffer in dict.fromkeys(n.buffer for n in walk.visit(launch.body) if isinstance(n, Load | Store)):
            if buffer in self.memory:
                array, ready = self.memory[buffer][1], self.ready.get(buffer)
                whole = f"{grid}.whole({buffer.name!r}, {array}, {ready}, {buffer in stored})"
                self.lane_memory[buffer] = self.assign(buffer.name, whole)
        self.lane_vars, self.varying = {loop.var for loop in (*launch.blocks, *launch.threads)}, {}
        self.batch = self.fresh("batch")
        self.line(f"for {self.batch} in {grid}.batches():")
        self.indent += 1
        for loop in (*launch.blocks, *launch.threads):
            kind = self.refer(f"_dtype_{loop.var.dtype}", dtypes.to_numpy(loop.var.dtype))
            self.vars[loop.var] = self.assign(loop.var.name, f"{self.batch}.index({loop.kind!r}, {kind})")
        for buffer in launch.shared:
            self.alloc(buffer)
        self.depth += 1
        self.stmt(launch.body)
        self.depth -= 1
        self.indent -= 1
        self.batch = None

    def alloc(self, buffer: Buffer) -> None:
        scope = "shared" if buffer.scope == SHARED else "local"
        count = self.value(buffer.shape[0])
        memory = f"{self.batch}.{scope}({buffer.name!r}, {count}, {buffer.dtype!r})"
        self.lane_memory[buffer] = self.fresh(buffer.name)
        self.line(f"{self.lane_memory[buffer]} = {memory}")

    def branch(self, stmt: If) -> None:
        if not self.varies(stmt.cond):
            super().branch(stmt)
            return
        cond = self.assign("cond", f"{self.batch}.mask({self.value(stmt.cond)})")
        self.masked(cond, stmt.then)
        if stmt.orelse is not None:
            self.masked(f"~{cond}", stmt.orelse)

    def masked(self, cond: str, body: Stmt) -> None:
        """`body` for those threads for which `cond` holds, unless there are none."""
        outer = self.on
        self.on = self.fresh("on")
        self.line(f"{self.on} = {cond if outer is None else f'{outer} & {cond}'}")
        self.line(f"if {self.on}.any():")
        self.suite(body)
        self.on = outer

    def loop(self, loop: For) -> None:
        self.set_varying(loop.var, False)
        if not self.varies(loop.extent):
            super().loop(loop)
            return
        extent = self.assign("extent", self.value(loop.extent))
        longest = f"{self.batch}.longest({extent}, {self.on})"
        self.counted(loop.var, longest, lambda: self.iteration(f"({self.vars[loop.var]} < {extent})", loop.body))

    def iteration(self, goes_on: str, body: Stmt) -> None:
        """The body of a loop that runs longer for some threads than for others."""
        self.indent += 1
        self.masked(goes_on, body)
        self.indent -= 1

    def effect(self, stmt: Do) -> None:
        if self.batch is None or not isinstance(stmt.what, str) or stmt.what in CACHE_HINTS:
            super().effect(stmt)
        elif stmt.what == BARRIER:
            self.line(f"{self.batch}.barrier({self.on}, {self.site()})")
        elif stmt.what == ASYNC_COMMIT:
            self.line(f"{self.batch}.commit({self.on})")
        elif stmt.what == ASYNC_WAIT:
            self.line(f"{self.batch}.wait({self.value(stmt.args[0])}, {self.on})")
        elif stmt.what == ASYNC_COPY and isinstance(stmt.body, Store):
            self.put(stmt.body, "copy")
        elif stmt.what == ATOMIC and isinstance(stmt.body, Store):
            self.atomic(stmt.body)
        else:
            raise ExprError(f"the interpreter does not know {stmt!r}")

    def atomic(self, store: Store) -> None:
        """An atomic update: threads that meet at an element take turns."""
        self.begin(store.indices[0])
        turns = f"{self.lane_place(store.buffer)}.turns({self.access(store.indices[0], None, 1)})"
        self.scopes.pop()
        outer, self.on = self.on, self.fresh("turn")
        self.line(f"for {self.on} in {turns}:")
        self.indent += 1
        self.updated = store.buffer
        self.put(store, "update")
        self.updated = None
        self.indent -= 1
        self.on = outer

    def put(self, store: Store, how: str) -> None:
        """The store of an effect, done by this method of Memory."""
        self.storing = how
        self.store(store.buffer, store.indices, store.value, store.mask)
        self.storing = "store"


def _stored_outside(stmt: Stmt) -> set[Buffer]:
    """The buffers that statements outside launch nests store to."""
    if Launch.starts(stmt):
        return set()
    own = {stmt.buffer} if isinstance(stmt, Store) else set()
    return own.union(*(_stored_outside(s) for s in walk.children(stmt) if isinstance(s, Stmt)))
