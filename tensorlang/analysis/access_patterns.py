"""How blocks touch memory: the step of each subscript along each loop."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tensorlang.analysis.blocks import Accesses, with_subscripts
from tensorlang.ir.nodes import Block, Const, Expr, For, Func, Op, Store
from tensorlang.ir.walk import find, free_vars


@dataclass(frozen=True)
class Access:
    """A load or store of a block. For each dimension of the buffer, `steps` says by how much the subscript grows from
    one iteration of a loop to the next; None where that is no constant. Loops that are not in it do not matter.

    >>> patterns(s.func)["C"].accesses[1].steps
    ({'C.i': 1}, {'C.k': 1})
    """

    buffer: str
    dtype: str
    written: bool
    shape: tuple[Expr, ...]
    steps: tuple[Mapping[str, int | None], ...]

    @property
    def loops(self) -> set[str]:
        """The loops on which the element depends."""
        return {name for step in self.steps for name in step}


@dataclass(frozen=True)
class Pattern:
    """How a block touches memory. divisors: constants by which subscripts divide a loop's variable, by loop.

    >>> patterns(s.func)["C"].divisors
    {}
    """

    accesses: tuple[Access, ...]
    divisors: Mapping[str, int]


def patterns(func: Func) -> dict[str, Pattern]:
    """How each block of a loop-level Func touches memory, by name.

    >>> list(patterns(t.func))
    ['C', 'D']
    """
    return {block.name: _pattern(path, block, found) for path, block, _, found in with_subscripts(func)}


def _pattern(path: tuple[For, ...], block: Block, accessed: Accesses) -> Pattern:
    names = {loop.var: loop.var.name for loop in path}
    found: list[Access] = []
    divisors: dict[str, int] = {}
    for node, indices in accessed:
        steps = tuple(
            {names[v]: int(c.value) if isinstance(c, Const) else None for v, c in s.coefficients.items()}
            | {names[v]: None for v in s.wild}
            for s in indices
        )
        access = Access(node.buffer.name, node.buffer.dtype, isinstance(node, Store), node.buffer.shape, steps)
        found += [access] if access not in found else []
        for op in (n for s in indices for n in find(s.rest, Op)):
            if op.op in ("floordiv", "mod") and isinstance(op.args[1], Const):
                divisors.update({names[v]: int(op.args[1].value) for v in free_vars(op.args[0]) if v in names})
    return Pattern(tuple(found), divisors)
