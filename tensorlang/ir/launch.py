"""Launch nests, the kernels of a GPU at the flat level (see nodes.py): taken apart, and held to their form.

blockIdx.y C.i.0 in 8:
  blockIdx.x C.j.0 in 8:
    alloc A.shared: f32[256] in shared
    threadIdx.y C.i.1 in 16:
      threadIdx.x C.j.1 in 16:
        alloc C.local: f32[1] in local
        ...
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from tensorlang.errors import VerifyError
from tensorlang.ir import walk
from tensorlang.ir.nodes import Alloc, Buffer, Const, Do, Expr, For, Load, Op, Stmt, Store
from tensorlang.ir.printer import text

BARRIER, ATOMIC = "barrier", "atomic"
ASYNC_COPY, ASYNC_COMMIT, ASYNC_WAIT = "async_copy", "async_commit", "async_wait"
CACHE_HINTS = ("evict_first", "evict_last", "no_allocate")
EFFECTS = {BARRIER: 0, ATOMIC: 0, ASYNC_COPY: 0, ASYNC_COMMIT: 0, ASYNC_WAIT: 1}  # with their number of arguments
EFFECTS |= dict.fromkeys(CACHE_HINTS, 0)
CACHE_HINT = "cache_hint"  # annotation of a block: which of them its loads have
BLOCK_AXES = ("blockIdx.z", "blockIdx.y", "blockIdx.x")  # in the order of the loops
THREAD_AXES = ("threadIdx.z", "threadIdx.y", "threadIdx.x")
_AXES = (*BLOCK_AXES, *THREAD_AXES)
SHARED, LOCAL = "shared", "local"
SWIZZLE = "swizzle"  # annotation of an Alloc: among how many bytes its words of 16 bytes are permuted
_INTEGERS = ("int32", "uint32", "int64", "uint64")
UPDATES = {"add": (*_INTEGERS, "float32", "float64"), "min": _INTEGERS, "max": _INTEGERS}  # what memory does by itself


@dataclass(frozen=True, eq=False)
class Launch:
    """One kernel: `blocks` and `threads` are its loops, outermost first; `shared` the buffers of a block, with the
    bytes of their swizzle, 0 for none."""

    nest: Stmt
    blocks: tuple[For, ...]
    shared: dict[Buffer, int]
    threads: tuple[For, ...]
    body: Stmt

    @staticmethod
    def starts(stmt: Stmt) -> bool:
        """Whether `stmt` is the outermost statement of a launch nest. Shared memory that no threads share is none."""
        if isinstance(stmt, Alloc) and stmt.buffer.scope == SHARED:
            return any(loop.kind in _AXES for loop in walk.statements(stmt, For))
        return isinstance(stmt, For) and stmt.kind in _AXES

    @staticmethod
    def of(nest: Stmt) -> Launch:
        """The launch nest that starts at `nest`. Raises VerifyError, naming the rule and the statement.

        Its form: loops over blockIdx.z, y and x, `Alloc`s of scope shared, loops over threadIdx.z, y and x, each at
        most once and in this order; below them no other loop of a thread kind, no other Alloc than of scope local.
        Extents of threadIdx and the sizes of shared and local buffers are constants; no extent depends on another
        loop of the nest.
        """
        blocks, inside = _loops(nest, BLOCK_AXES)
        shared: dict[Buffer, int] = {}
        while isinstance(inside, Alloc) and inside.buffer.scope == SHARED:
            shared[inside.buffer] = dict(inside.annotations).get(SWIZZLE, 0)
            inside = inside.body
        threads, body = _loops(inside, THREAD_AXES)
        launch = Launch(nest, blocks, shared, threads, body)
        launch.check()
        return launch

    @property
    def thread_extents(self) -> tuple[int, ...]:
        """Of the loops over threads, outermost first."""
        return tuple(int(loop.extent.value) for loop in self.threads)  # type: ignore[attr-defined]

    def check(self) -> None:
        """Raise VerifyError unless this has the form of a launch nest."""
        _require(bool(self.threads), "a launch nest needs a loop of kind threadIdx", self.nest)
        own = {loop.var for loop in (*self.blocks, *self.threads)}
        for loop in self.blocks:
            _require(not walk.free_vars(loop.extent) & own, "a grid is a box: no extent depends on another", loop)
        for loop in self.threads:
            constant = isinstance(loop.extent, Const) and loop.extent.value >= 1
            _require(constant, f"the extent of {loop.kind} must be a constant of 1 or more", loop)
        for buffer in self.shared:
            _require(all(isinstance(e, Const) for e in buffer.shape), f"the size of {buffer.name} is open", self.nest)
        stored = {s.buffer for s in walk.find(self.body, Store)}
        for node in walk.visit(self.body):
            if isinstance(node, For):
                threads = node.kind.partition(".")[0] in ("blockIdx", "threadIdx", "vthread")
                _require(not threads, f"a loop of kind {node.kind} inside the threads of a launch nest", node)
            elif isinstance(node, Alloc):
                closed = all(isinstance(e, Const) for e in node.buffer.shape)
                _require(node.buffer.scope == LOCAL, f"{node.buffer.name} is allocated inside the threads", node)
                _require(closed, f"the size of {node.buffer.name} is open", node)
            elif isinstance(node, Do):
                _check_effect(node, stored)


def update_of(store: Store) -> tuple[str, Expr] | None:
    """`op` and `e`, if memory can do the store by itself: it is C[i] = op(C[i], e) of UPDATES, and `e` reads no C."""
    value, own = store.value, Load(store.buffer, store.indices)
    if not isinstance(value, Op) or store.buffer.dtype not in UPDATES.get(value.op, ()):
        return None
    others = [arg for arg in value.args if arg is not own]
    if len(others) != 1 or any(n.buffer is store.buffer for n in walk.find(others[0], Load)):
        return None
    return value.op, others[0]


def _loops(stmt: Stmt, axes: tuple[str, ...]) -> tuple[tuple[For, ...], Stmt]:
    """The loops over `axes` that nest directly from `stmt`, and what is inside them."""
    loops: list[For] = []
    while isinstance(stmt, For) and stmt.kind in axes:
        inner_first = not loops or axes.index(loops[-1].kind) < axes.index(stmt.kind)
        _require(inner_first, f"the loops of a launch nest are in the order {', '.join(axes)}, each once", stmt)
        loops.append(stmt)
        stmt = stmt.body
    return tuple(loops), stmt


def _check_effect(do: Do, stored: Iterable[Buffer]) -> None:
    if not isinstance(do.what, str):  # an intrinsic is its body
        return
    _require(do.what in EFFECTS, f"unknown effect {do.what}", do)
    _require(len(do.args) == EFFECTS[do.what], f"{do.what} takes {EFFECTS[do.what]} arguments", do)
    if do.what in (ATOMIC, ASYNC_COPY, *CACHE_HINTS):
        _require(isinstance(do.body, Store), f"the body of {do.what} must be one store", do)
        assert isinstance(do.body, Store)
        loads = [n for n in walk.visit(do.body) if isinstance(n, Load)]
        if do.what == ATOMIC:
            own = [n for n in loads if n.buffer is do.body.buffer]
            same = all(n.indices == do.body.indices for n in own)
            _require(bool(own) and same, "atomic updates one element from its own value", do)
        elif do.what == ASYNC_COPY:
            _require(do.body.buffer.scope == SHARED, "async_copy stores to shared memory", do)
            _require(not any(n.buffer in stored for n in loads), "async_copy reads what the launch does not store", do)
        return
    _require(do.body is None, f"{do.what} has no body", do)
    _require(all(isinstance(a, Const) for a in do.args), f"{do.what} takes a number", do)


def _require(holds: bool, rule: str, where: Stmt) -> None:
    if not holds:
        raise VerifyError(f"{rule}, in: {text(where).splitlines()[0].strip()}")
