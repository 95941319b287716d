"""intrinsics: each Do of an Intrinsic gets the operands that its code takes; where its code does not fit, its body.

    dot4(C[i], A[k * 4], B[i, k * 4])   ->   dot4(C[i], A[k * 4], B[i, k * 4])       (args computed anew)

Steps and passes after tensorize may have given a buffer another layout: then the plain statements run. So they do where
not all of the threads that an intrinsic is for would reach it, where what its code keeps in a layout of its own is
used by other statements, and where its code does not look for elements where a swizzle has put them.
"""

from __future__ import annotations

from typing import Any

from tensorlang.errors import BuildError
from tensorlang.intrin.intrin import Intrinsic
from tensorlang.intrin.match import Mismatch, match
from tensorlang.ir import walk
from tensorlang.ir.launch import EFFECTS, SWIZZLE
from tensorlang.ir.nodes import THREADS, Alloc, Buffer, Do, Expr, For, Func, If, Load, Stmt, Store, unit_of
from tensorlang.target.target import Target


def intrinsics(func: Func, target: Target) -> Func:
    """Needs flatten before it, so that positions in memory are known.

    Raises BuildError for an intrinsic that the target does not have.
    """
    if not any(do.body is not None and do.what not in EFFECTS for do in walk.find(func.body, Do)):
        return func
    swizzled = {a.buffer for a in walk.find(func.body, Alloc) if dict(a.annotations).get(SWIZZLE)}
    rewrite = _Rewrite(target, swizzled)
    while True:
        body = rewrite.stmt(func.body)
        misread = _misread(body)
        if not misread:
            return func.with_body(body)
        rewrite.plain |= misread


def _misread(body: Stmt) -> set[Buffer]:
    """The buffers in a layout of some intrinsic that something else uses, too."""
    found: dict[Buffer, set[str]] = {}

    def go(node: Any) -> None:
        if isinstance(node, Do) and isinstance(node.what, Intrinsic):
            for param, arg in zip(node.what.semantics.params, node.args, strict=False):
                assert isinstance(arg, Load)
                found.setdefault(arg.buffer, set()).add(node.what.layouts.get(param.name, ""))
            return
        if isinstance(node, Load | Store):
            found.setdefault(node.buffer, set()).add("")
        for child in walk.children(node):
            go(child)

    go(body)
    return {buffer for buffer, layouts in found.items() if len(layouts) > 1}


class _Rewrite:
    """threads: the loops of the launch nest at hand, by axis; says: what says how often the statement at hand runs;
    plain: the buffers that are in no layout but what the program says."""

    def __init__(self, target: Target, swizzled: set[Buffer]):
        self.target, self.swizzled = target, swizzled
        self.threads: dict[str, For] = {}
        self.says: list[Expr] = []
        self.plain: set[Buffer] = set()

    def stmt(self, node: Any) -> Any:
        if not isinstance(node, Stmt):
            return node
        if isinstance(node, Do) and node.body is not None and node.what not in EFFECTS:
            return self.intrinsic(node, node.body)
        if isinstance(node, For) and unit_of(node.kind) == THREADS:
            self.threads[node.kind] = node
            result: Stmt = walk.map_children(node, self.stmt)
            del self.threads[node.kind]
            return result
        if not isinstance(node, For | If):
            return walk.map_children(node, self.stmt)
        self.says.append(node.extent if isinstance(node, For) else node.cond)
        result = walk.map_children(node, self.stmt)
        self.says.pop()
        return result

    def intrinsic(self, node: Do, body: Stmt) -> Stmt:
        what = node.what
        if not isinstance(what, Intrinsic):  # known by name only
            return body
        if not what.requires(self.target) or what.code(self.target) is None:
            raise BuildError(f"{self.target.kind} ({self.target.cpu}) has no {what.name}: only the interpreter runs it")
        lanes = {self.threads[axis].var for axis in what.threads if axis in self.threads}
        if any(walk.free_vars(e) & lanes or (lanes and walk.has_load(e)) for e in self.says):
            return body
        try:
            fit = match(what, body, threads=self.threads if self.target.simt else None)
        except Mismatch:
            return body
        params = list(zip(what.semantics.params, fit.origins, strict=True))
        own = {origin.buffer for param, origin in params if param.name in what.layouts}
        unseen = {origin.buffer for param, origin in params if param.name not in what.swizzled}
        return body if self.plain & own or self.swizzled & unseen else Do(what, fit.args, body)
