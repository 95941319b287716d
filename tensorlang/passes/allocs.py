"""allocs: where each allocation lives, said by an annotation.

*stack* for small buffers of constant size; *workspace* for the rest, memory that the caller of the kernel provides
once; *thread* for those of them inside a parallel loop, of which each thread has its own. The accumulators that promote
made are of scope *register*, and have no place in memory.

    alloc P: f32[65536]  ->  alloc P: f32[65536]  # memory = 'workspace'
"""

from __future__ import annotations

from typing import NamedTuple

from tensorlang.errors import BuildError
from tensorlang.ir import dtypes, walk
from tensorlang.ir.nodes import PARALLEL, Alloc, Buffer, Const, Expr, For, Func, Size, Stmt, const
from tensorlang.ir.ops import make
from tensorlang.passes.promote import REGISTER
from tensorlang.passes.tools import map_stmts
from tensorlang.target.target import Target

STACK, WORKSPACE, THREAD = "stack", "workspace", "thread"
ALIGNMENT = 64
_MEMORY = "memory"  # the annotation
_STACK_BYTES = 16 << 10  # of one buffer, and of one function; more goes to the workspace


def allocs(func: Func, target: Target) -> Func:
    """Every Alloc of the result has such an annotation, those of registers aside."""
    used = 0  # bytes of the stack
    places: dict[Buffer, str] = {}

    def place(buffer: Buffer, parallel: bool) -> str:
        nonlocal used
        size = size_bytes(buffer)
        if isinstance(size, Const) and used + size.value <= _STACK_BYTES:
            used += int(size.value)
            return STACK
        if any(not isinstance(v, Size) for v in walk.free_vars(size)):
            raise BuildError(f"the size of {buffer.name}, {size!r} bytes, is known only inside a loop")
        return THREAD if parallel else WORKSPACE

    def go(stmt: Stmt, parallel: bool) -> Stmt:
        if not walk.statements(stmt, Alloc):
            return stmt
        if isinstance(stmt, Alloc) and stmt.buffer.scope != REGISTER:
            if stmt.buffer not in places:  # copies of a loop share their buffers
                places[stmt.buffer] = place(stmt.buffer, parallel)
            return Alloc(stmt.buffer, go(stmt.body, parallel), ((_MEMORY, places[stmt.buffer]),))
        inside = parallel or (isinstance(stmt, For) and stmt.kind == PARALLEL)
        return map_stmts(stmt, lambda part: go(part, inside))

    return func.with_body(go(func.body, False))


def memory_of(alloc: Alloc) -> str:
    """Where its buffer lives; "" for registers."""
    return dict(alloc.annotations).get(_MEMORY, "")


def size_bytes(buffer: Buffer) -> Expr:
    """Bytes of a flat buffer, rounded up to whole cache lines."""
    size = make("max", buffer.shape[0], 0) * dtypes.bytes_of(buffer.dtype)  # below 0 where no loop around it runs
    return (size + (ALIGNMENT - 1)) // ALIGNMENT * ALIGNMENT


class Layout(NamedTuple):
    """Byte offsets of the buffers in the workspace and in what each thread has, and the bytes of these two."""

    workspace: dict[Buffer, Expr]
    thread: dict[Buffer, Expr]
    workspace_bytes: Expr
    thread_bytes: Expr


def workspace_layout(func: Func) -> Layout:
    """How the memory that the caller provides is divided; needs allocs before it."""
    offsets: dict[str, dict[Buffer, Expr]] = {WORKSPACE: {}, THREAD: {}}
    total: dict[str, Expr] = {WORKSPACE: const(0), THREAD: const(0)}
    for alloc in walk.find(func.body, Alloc):
        memory = memory_of(alloc)
        if memory in offsets and alloc.buffer not in offsets[memory]:
            offsets[memory][alloc.buffer] = total[memory]
            total[memory] = total[memory] + size_bytes(alloc.buffer)
    return Layout(offsets[WORKSPACE], offsets[THREAD], total[WORKSPACE], total[THREAD])
