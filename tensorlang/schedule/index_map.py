"""A function from indices to indices, kept as expressions: `lambda i, j: (j // 16, i, j % 16)`."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

from tensorlang.errors import ScheduleError
from tensorlang.ir.nodes import Expr, Var, const
from tensorlang.ir.walk import substitute


class IndexMap:
    """`exprs` in terms of the index variables `vars`; call it with as many indices to get theirs.

    >>> IndexMap.of(lambda i, j: (j // 4, i, j % 4))
    (i, j) -> (j // 4, i, j % 4)
    """

    __slots__ = ("exprs", "vars")

    def __init__(self, variables: Sequence[Var], exprs: Sequence[Expr]):
        self.vars, self.exprs = tuple(variables), tuple(exprs)

    @classmethod
    def of(cls, function: Callable[..., Any]) -> IndexMap:
        """The map that `function` computes; its parameters name the indices, so `*i` is refused."""
        parameters = inspect.signature(function).parameters.values()
        if any(p.kind is not inspect.Parameter.POSITIONAL_OR_KEYWORD for p in parameters):
            raise ScheduleError(
                "index_map", "an index map takes one plain parameter per index", hint="lambda i, j: (j // 4, i, j % 4)"
            )
        variables = [Var(p.name) for p in parameters]
        result = function(*variables)
        values = result if isinstance(result, list | tuple) else (result,)
        exprs = [const(v) if isinstance(v, int) and not isinstance(v, bool) else v for v in values]
        for expr in exprs:
            if not isinstance(expr, Expr) or expr.dtype != "index":
                raise ScheduleError("index_map", f"an index map returns index expressions, got {expr!r}")
        return cls(variables, exprs)

    def __call__(self, *indices: Expr) -> tuple[Expr, ...]:
        values = dict(zip(self.vars, indices, strict=True))
        return tuple(substitute(e, values) for e in self.exprs)

    def __repr__(self) -> str:
        return f"({', '.join(v.name for v in self.vars)}) -> ({', '.join(map(repr, self.exprs))})"
