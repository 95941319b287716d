"""The proof, made with each compute, that its accesses are in bounds and its index divisions mean something."""

from __future__ import annotations

from collections.abc import Iterable

from tensorlang.arith.bounds import bounds
from tensorlang.arith.context import Context
from tensorlang.arith.prove import prove, proves
from tensorlang.errors import ExprError
from tensorlang.ir import ops, walk
from tensorlang.ir.nodes import FALSE, ZERO, Const, Expr, Iter, Load, Node, Op, Reduce


def check_accesses(name: str, axes: Iterable[Iter], bodies: Iterable[Expr]) -> None:
    """Prove that every access of compute `name` is in bounds and every index divisor positive.

    Raises ExprError with the tensor, the index and its range where that fails. The conditions of if_then_else are
    facts for its branches.
    """
    _Checker(name).check_all(bodies, _bind(Context(), axes), {})


class _Checker:
    """One walk over the bodies; `done` remembers what was checked under the facts at hand."""

    def __init__(self, name: str):
        self.name = name

    def check_all(self, nodes: Iterable[Node], ctx: Context, done: dict[Expr, None]) -> None:
        for node in nodes:
            if isinstance(node, Expr) and node not in done:
                done[node] = None
                self.check(node, ctx, done)

    def check(self, node: Expr, ctx: Context, done: dict[Expr, None]) -> None:
        if isinstance(node, Reduce):
            self.check_all(node.sources, _bind(ctx, node.axes), {})
        elif isinstance(node, Op) and node.op == "if_then_else":
            condition, value, otherwise = node.args
            self.check_all((condition,), ctx, done)
            for fact, branch in ((condition, value), (ops.invert(condition), otherwise)):
                if prove(fact, ctx) is not FALSE:  # else the branch is never taken
                    self.check_all((branch,), ctx.assume(fact), {})
        else:
            self.check_all(walk.children(node), ctx, done)
            if isinstance(node, Load):
                self._check_load(node, ctx)
            elif isinstance(node, Op) and node.op in ("floordiv", "mod") and node.dtype == "index":
                self._check_division(node, ctx)

    def _check_load(self, load: Load, ctx: Context) -> None:
        for position, (index, extent) in enumerate(zip(load.indices, load.buffer.shape, strict=True)):
            if is_clamped(index, extent) and not isinstance(extent, Const):
                continue  # in bounds wherever there is any element at all
            if not (_holds(index >= 0, ctx) and _holds(index < extent, ctx)):
                raise ExprError(
                    f"{self.name}: {load!r} may be out of bounds: index {position} of {load.buffer.name} must be in "
                    f"0 .. {extent - 1!r}, but {_range(index, ctx)}; if_then_else may guard an access (select may "
                    "not: it evaluates both sides)"
                )

    def _check_division(self, node: Op, ctx: Context) -> None:
        divisor = node.args[1]
        if not _holds(divisor > 0, ctx):
            raise ExprError(
                f"{self.name}: the divisor of the index {node!r} must be provably positive, but {_range(divisor, ctx)}"
            )


def clamp(index: Expr, extent: Expr) -> Expr:
    """`index` forced into 0 .. extent - 1."""
    return ops.make("max", ops.make("min", index, extent - 1), 0)


def is_clamped(index: Expr, extent: Expr) -> bool:
    """Whether `index` is what `clamp` made for `extent`."""
    if not isinstance(index, Op) or index.op != "max" or index.args[1] is not ZERO:
        return False
    inner = index.args[0]
    return isinstance(inner, Op) and inner.op == "min" and inner.args[1] is extent - 1


def _bind(ctx: Context, axes: Iterable[Iter]) -> Context:
    for axis in axes:
        ctx = ctx.bind(axis.var, axis.extent)
    return ctx


def _holds(condition: Expr, ctx: Context, choices: int = 4) -> bool:
    """Whether `condition` is proved, if need be case by case for up to so many nested choices in it."""
    if proves(condition, ctx):
        return True
    choice = next(walk.find(condition, Op, lambda n: n.op in ("select", "if_then_else")), None)
    if choice is None or choices == 0:
        return False
    fact, value, otherwise = choice.args
    return _holds(_replaced(condition, choice, value), ctx.assume(fact), choices - 1) and _holds(
        _replaced(condition, choice, otherwise), ctx.assume(ops.invert(fact)), choices - 1
    )


def _replaced(expr: Expr, old: Expr, fresh: Expr) -> Expr:
    return walk.transform(expr, lambda node: fresh if node is old else node)


def _range(expr: Expr, ctx: Context) -> str:
    """What is known about the values of `expr`, as a clause."""
    if isinstance(expr, Const):
        return f"it is {expr.value}" + (" (indices count from the front only)" if expr.value < 0 else "")
    low, high = bounds(expr, ctx)
    return f"{expr!r} ranges over {'-inf' if low is None else low!r} .. {'inf' if high is None else high!r}"
