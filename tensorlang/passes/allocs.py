"""allocs: where each allocation lives, said by the scope of its buffer.

*stack* for small buffers of constant size; *workspace* for the rest, memory that the caller of the kernel provides
once; *thread* for those of them inside a parallel loop, of which each thread has its own. The accumulators that promote
made keep their scope, *register*.

    alloc P: f32[64, 1024] @ global  ->  alloc P: f32[65536] @ workspace
"""

from __future__ import annotations

from tensorlang.errors import BuildError
from tensorlang.ir import dtypes, walk
from tensorlang.ir.nodes import PARALLEL, Alloc, Buffer, Const, Expr, For, Func, Size, Stmt, const
from tensorlang.ir.ops import make
from tensorlang.passes.promote import REGISTER
from tensorlang.target.target import Target

STACK, WORKSPACE, THREAD = "stack", "workspace", "thread"
ALIGNMENT = 64
_STACK_BYTES = 16 << 10  # of one buffer, and of one function; more goes to the workspace


def allocs(func: Func, target: Target) -> Func:
    """Every Alloc of the result has one of these scopes."""
    used = {STACK: 0}
    placed: dict[Buffer, Buffer] = {}

    def decide(stmt: Stmt, parallel: bool) -> None:
        if isinstance(stmt, Alloc) and stmt.buffer not in placed:  # copies of a loop share their buffers
            placed[stmt.buffer] = _place(stmt.buffer, parallel, used)
        for part in walk.parts(stmt):
            decide(part, parallel or (isinstance(stmt, For) and stmt.kind == PARALLEL))

    decide(func.body, False)
    moved = {old: new for old, new in placed.items() if new is not old}
    return func.with_body(walk.substitute(func.body, buffers=moved) if moved else func.body)


def _place(buffer: Buffer, parallel: bool, used: dict[str, int]) -> Buffer:
    if buffer.scope == REGISTER:
        return buffer
    size = size_bytes(buffer)
    scope = THREAD if parallel else WORKSPACE
    if isinstance(size, Const) and used[STACK] + size.value <= _STACK_BYTES:
        used[STACK] += int(size.value)
        scope = STACK
    elif any(not isinstance(v, Size) for v in walk.free_vars(size)):
        raise BuildError(f"the size of {buffer.name}, {size!r} bytes, is known only inside a loop")
    return Buffer(buffer.name, buffer.shape, buffer.dtype, scope)


def size_bytes(buffer: Buffer) -> Expr:
    """Bytes of a flat buffer, rounded up to whole cache lines."""
    size = make("max", buffer.shape[0], 0) * dtypes.bytes_of(buffer.dtype)  # below 0 where no loop around it runs
    return (size + (ALIGNMENT - 1)) // ALIGNMENT * ALIGNMENT


def workspace_layout(func: Func) -> tuple[dict[Buffer, Expr], Expr, Expr]:
    """Byte offsets of the workspace and thread buffers in their regions, and the bytes of the two regions."""
    offsets: dict[Buffer, Expr] = {}
    total: dict[str, Expr] = {WORKSPACE: const(0), THREAD: const(0)}
    for alloc in walk.find(func.body, Alloc):
        if alloc.buffer.scope in total and alloc.buffer not in offsets:
            offsets[alloc.buffer] = total[alloc.buffer.scope]
            total[alloc.buffer.scope] = total[alloc.buffer.scope] + size_bytes(alloc.buffer)
    return offsets, total[WORKSPACE], total[THREAD]
