"""Shape variables at a call: their values told from the shapes of the arrays, and what every shape must then be."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate

from tensorlang.errors import ArgumentError, BuildError
from tensorlang.ir import walk
from tensorlang.ir.evaluate import numpy_function
from tensorlang.ir.nodes import Buffer, Const, Size

Shape = tuple[int, ...]


@dataclass(frozen=True)
class _Clue:
    """A dimension that tells about sizes: number `dim` of parameter number `param` is `value(sizes)`."""

    param: int
    dim: int
    sizes: tuple[int, ...]  # numbers of the sizes in it
    value: Callable[..., list]


class Shapes:
    """The shapes of `params` over `sizes`. Without sizes they are `constant`, else that is None.

    Raises BuildError if no dimension tells a size: n * m alone tells neither n nor m.
    """

    def __init__(self, params: Sequence[Buffer], sizes: Sequence[Size]):
        self.params, self.sizes = tuple(params), tuple(sizes)
        self._extents = numpy_function([extent for p in self.params for extent in p.shape], self.sizes)
        ends = list(accumulate(len(p.shape) for p in self.params))
        self._slices = [slice(end - len(p.shape), end) for p, end in zip(self.params, ends, strict=True)]
        self.of = lru_cache(64)(self._of)  # calls with the same sizes as before are the rule
        self.constant = None if self.sizes else self.of(())
        self._clues = self._find_clues()
        self._plain = self._plain_dims()
        everything = self._solvable(set(range(len(self.params))))
        for number, size in enumerate(self.sizes):
            if number not in everything:
                raise BuildError(f"the size {size.name} cannot be told from the shapes of the parameters")

    def _of(self, values: tuple[int, ...]) -> tuple[Shape, ...]:
        """`of(values)`: the shapes of all parameters for these values of the sizes."""
        extents = tuple(self._extents(*values))
        return tuple([extents[where] for where in self._slices])

    def solve(self, given: Sequence[Shape | None]) -> tuple[int, ...]:
        """The values of the sizes, told from the shapes of those arrays that are given, each of the right rank.

        The dimensions that are not needed for it are not checked: compare with `of` afterwards.
        """
        if self._plain is not None:
            shapes = [(given[param], dim) for param, dim in self._plain]
            values = tuple([shape[dim] for shape, dim in shapes if shape is not None])
            if len(values) == len(self.sizes):
                return values
        return self._deduce(given)

    def _deduce(self, given: Sequence[Shape | None]) -> tuple[int, ...]:
        """`solve` in general: whatever dimension leaves one size unknown tells it."""
        known: dict[int, int] = {}
        progress = True
        while progress and len(known) < len(self.sizes):
            progress = False
            for clue in self._clues:
                unknown = [s for s in clue.sizes if s not in known]
                shape = given[clue.param]
                if len(unknown) == 1 and shape is not None:
                    value = self._tell(clue, unknown[0], known, shape[clue.dim])
                    if value is not None:
                        known[unknown[0]] = value
                        progress = True
        for number, size in enumerate(self.sizes):
            if number not in known:
                raise ArgumentError(f"the size {size.name} cannot be told from the inputs: pass the outputs too")
        return tuple(known[number] for number in range(len(self.sizes)))

    def _tell(self, clue: _Clue, unknown: int, known: dict[int, int], extent: int) -> int | None:
        """The value of the unknown size that makes the dimension `extent`, if the dimension is linear in it."""
        values = [known.get(number, 0) for number in range(len(self.sizes))]
        at_zero = int(clue.value(*values)[0])
        values[unknown] = 1
        slope = int(clue.value(*values)[0]) - at_zero
        if slope == 0:
            return None
        return max((extent - at_zero) // slope, 0)

    def _find_clues(self) -> list[_Clue]:
        """All dimensions with sizes; those that are a size and nothing else come first."""
        clues = []
        for number, param in enumerate(self.params):
            for dim, extent in enumerate(param.shape):
                if not isinstance(extent, Const):
                    free = walk.free_vars(extent)
                    inside = tuple(n for n, size in enumerate(self.sizes) if size in free)
                    clues.append(_Clue(number, dim, inside, numpy_function([extent], self.sizes)))
        return sorted(clues, key=lambda c: not isinstance(self.params[c.param].shape[c.dim], Size))

    def _plain_dims(self) -> list[tuple[int, int]] | None:
        """For each size the first (parameter, dimension) that is this size and nothing else, if all have one."""
        found: dict[int, tuple[int, int]] = {}
        for clue in self._clues:
            extent = self.params[clue.param].shape[clue.dim]
            if isinstance(extent, Size):
                found.setdefault(clue.sizes[0], (clue.param, clue.dim))
        return [found[n] for n in range(len(self.sizes))] if len(found) == len(self.sizes) else None

    def _solvable(self, given: set[int]) -> set[int]:
        known: set[int] = set()
        for _ in self.sizes:
            for clue in self._clues:
                unknown = [s for s in clue.sizes if s not in known]
                if clue.param in given and len(unknown) == 1:
                    known.add(unknown[0])
        return known
