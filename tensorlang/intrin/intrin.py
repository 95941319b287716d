"""An instruction of some hardware as a value: what it means, what it needs, and the code that runs it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from tensorlang.errors import VerifyError
from tensorlang.ir.nodes import TRUE, Block, Func, Node
from tensorlang.ir.verify import verify
from tensorlang.ir.walk import find, same, substitute, transform
from tensorlang.target.target import Target

Strides = tuple[int | None, ...]


def _everywhere(target: Target) -> bool:
    return True


def _no_code(target: Target) -> str | None:
    return None


@dataclass(frozen=True, eq=False)
class Intrinsic:
    """An operation on regions of buffers.

    name: how traces and programs call it. semantics: a Func without blocks (see `plain`); its parameters stand for the
    regions, its loops have constant extents. strides: for a parameter, the distance in elements from one index to the
    next in each dimension, None where any will do; by default those of a compact row-major region.
    scopes: the memory a parameter must live in; by default any. aligned: the number of elements of which the place of a
    parameter and its open strides are multiples. requires: whether a target has it.
    code: for a target the text of a function `name` that takes a pointer for each parameter, in order, then an integer
    for each None in the strides (LLVM IR: `define internal void @name(ptr ..., i64 ...) alwaysinline`, with what it
    declares in lines of their own before; CUDA C++: a `__device__` function); None if there is no code for the target.

    threads: for axes of threads how many call the code together, each with its part of what is in local memory; the
    outermost loops of the semantics may be over them. swizzled: the parameters in shared memory of which the code takes
    a Swizzled (backend/cuda_text.py), too. layouts: for a parameter in local memory the name of a layout that is not
    what the semantics say: only intrinsics that name it, too, may use what the code has put there.

    >>> Intrinsic("tile8", plain(tl.create_func(C)), requires=lambda target: target.has("tiles"))
    tile8
    """

    name: str
    semantics: Func
    strides: Mapping[str, Strides] = field(default_factory=dict)
    scopes: Mapping[str, str] = field(default_factory=dict)
    aligned: Mapping[str, int] = field(default_factory=dict)
    threads: Mapping[str, int] = field(default_factory=dict)
    swizzled: frozenset[str] = frozenset()
    layouts: Mapping[str, str] = field(default_factory=dict)
    requires: Callable[[Target], bool] = _everywhere
    code: Callable[[Target], str | None] = _no_code

    def __post_init__(self) -> None:
        verify(self.semantics, "loop")
        if next(find(self.semantics.body, Block), None) is not None:
            raise VerifyError(f"the semantics of {self.name} hold blocks: make it plain(func)")

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Intrinsic):
            return NotImplemented
        mine, others = ((i.name, dict(i.strides), dict(i.scopes)) for i in (self, other))
        return mine == others and same(self.semantics, other.semantics)

    def __hash__(self) -> int:
        return hash(self.name)

    def __repr__(self) -> str:
        return self.name


def plain(func: Func) -> Func:
    """`func` with its blocks replaced by what they do. Reductions lose their init: they add to what is there.

    >>> plain(s.func)
    func C(A: f32[8, 8], B: f32[8, 8]) -> C: f32[8, 8]
      for C.i in 8:
        for C.j in 8:
          for C.k in 8:
            C[C.i, C.j] = fma(A[C.i, C.k], B[C.k, C.j], C[C.i, C.j])
    """

    def body_of(node: Node) -> Node:
        if not isinstance(node, Block):
            return node
        if node.predicate is not TRUE:
            raise VerifyError(f"block {node.name} is guarded: an intrinsic does the same for all its elements")
        return substitute(node.body, dict(zip((it.var for it in node.iters), node.bindings, strict=True)))

    return func.with_body(transform(func.body, body_of))
