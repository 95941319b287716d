"""What depends on few knobs: computed once for each combination of their values, then looked up."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from math import prod
from typing import Any

import numpy as np

from autotune.task import Expr, Knob, free_vars, numpy_function

Values = Mapping[Expr, Any]  # float32, an array or a number
_MOST = 1 << 16  # entries of a table


class Rows:
    """Some knob vectors: int64[n, knobs], each value one of its knob's choices."""

    def __init__(self, knobs: Sequence[Knob], values: np.ndarray):
        self.knobs, self._values = knobs, values
        self._places: dict[tuple[int, ...], np.ndarray] = {}

    @cached_property
    def columns(self) -> np.ndarray:
        """The values of each knob, float32[knobs, n]."""
        return np.ascontiguousarray(self._values.T, np.float32)

    @cached_property
    def _digits(self) -> list[np.ndarray]:
        """The places of the values among the choices of each knob."""
        return [np.searchsorted(_choices(k), c) for k, c in zip(self.knobs, self.columns, strict=True)]

    def places(self, used: tuple[int, ...]) -> np.ndarray:
        """The places of the vectors among all combinations of these knobs."""
        if used not in self._places:
            place = np.zeros(1, np.intp)
            for n in used:
                place = place * len(self.knobs[n].choices) + self._digits[n]
            self._places[used] = place
        return self._places[used]


class Table:
    """`function(values of exprs)`, a tuple of numbers, for any knob vectors.

    along: a variable besides the knobs, and how many values it takes from 0 on: the function then sees float64 arrays,
    one row a knob vector, one column a value.

    >>> Table(knobs, [rows * columns], lambda known: (np.sqrt(known[rows * columns]),))(Rows(knobs, values))
    """

    def __init__(
        self,
        knobs: Sequence[Knob],
        exprs: Sequence[Expr],
        function: Callable[[Values], tuple[Any, ...]],
        along: tuple[Any, int] | None = None,
    ):
        used = frozenset[Any]().union(*map(free_vars, exprs))
        self._used = tuple(n for n, knob in enumerate(knobs) if knob in used)
        self._exprs, self._function = tuple(dict.fromkeys(exprs)), function
        self._along = along
        variables = [*(knobs[n] for n in self._used), *([along[0]] if along else [])]
        self._evaluate = numpy_function(self._exprs, variables)
        self._entries: tuple[Any, ...] | None = None
        if prod(len(knobs[n].choices) for n in self._used) <= _MOST:
            grid = np.meshgrid(*(_choices(knobs[n]) for n in self._used), indexing="ij")
            self._entries = self._compute([axis.ravel() for axis in grid])

    def __call__(self, rows: Rows) -> tuple[Any, ...]:
        if self._entries is None:
            return self._compute([rows.columns[n] for n in self._used])
        places = rows.places(self._used) if self._used else None
        return tuple(e.take(places, mode="clip") if np.ndim(e) else e for e in self._entries)

    def _compute(self, columns: Sequence[np.ndarray]) -> tuple[Any, ...]:
        if self._along:
            columns = [*(c.astype(float)[:, None] for c in columns), np.arange(float(self._along[1]))]
        kind = np.float64 if self._along else np.float32
        values = self._evaluate(*columns)
        return self._function({e: np.asarray(v, kind)[()] for e, v in zip(self._exprs, values, strict=True)})


def _choices(knob: Knob) -> np.ndarray:
    return np.array(knob.choices, np.float32)
