"""scopes: which memory an allocation inside a kernel is in, where a schedule does not say.

    blockIdx.x i in 8:                       blockIdx.x i in 8:
      alloc P: f32[64]                         alloc P: f32[64] in shared
      threadIdx.x j in 64:             ->      threadIdx.x j in 64:
        alloc Q: f32[4]                          alloc Q: f32[4] in local

The place says it: a block of threads has what is allocated outside its threads, a thread what is inside.
"""

from __future__ import annotations

from tensorlang.errors import BuildError
from tensorlang.ir import walk
from tensorlang.ir.nodes import GRID, SHARED, THREADS, Alloc, Buffer, For, Func, Stmt, unit_of
from tensorlang.target.target import Target

GLOBAL, LOCAL = "global", "local"


def scopes(func: Func, target: Target) -> Func:
    """Buffers of scope global are outside all kernels. Raises BuildError for a memory that there is not."""
    placed: dict[Buffer, Buffer] = {}

    def go(stmt: Stmt, unit: str) -> None:
        if isinstance(stmt, For) and unit_of(stmt.kind) in (GRID, THREADS):
            unit = unit_of(stmt.kind)
        elif isinstance(stmt, Alloc):
            buffer = stmt.buffer
            if buffer.scope not in (GLOBAL, SHARED, LOCAL):
                raise BuildError(f"{buffer.name} is in {buffer.scope}: a GPU has memory global, shared and local")
            if buffer.scope == GLOBAL and unit:
                scope = SHARED if unit == GRID else LOCAL
                placed[buffer] = Buffer(buffer.name, buffer.shape, buffer.dtype, scope)
        for child in walk.children(stmt):
            if isinstance(child, Stmt):
                go(child, unit)

    go(func.body, "")
    return func.with_body(walk.substitute(func.body, buffers=placed) if placed else func.body)
