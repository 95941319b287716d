"""Proofs of rules by z3, from the rules themselves: their sides are evaluated on integers of the solver."""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Callable, Iterator
from typing import Any

import z3

DIVISORS = frozenset("adeg")  # letters of a rule that are at least 1
PATIENCE = 1000  # milliseconds for one attempt
WIDTH = 9  # divisors below this are tried one by one where the solver gets nowhere with all at once


class Int:
    """An integer of the solver, with the operators that rules use; divisors are positive, so that // is z3's div."""

    def __init__(self, value: Any):
        self.value = value

    def __add__(self, other: Any) -> Int:
        return Int(self.value + raw(other))

    def __sub__(self, other: Any) -> Int:
        return Int(self.value - raw(other))

    def __mul__(self, other: Any) -> Int:
        return Int(self.value * raw(other))

    def __floordiv__(self, other: Any) -> Int:
        return Int(self.value / raw(other))

    def __mod__(self, other: Any) -> Int:
        return self - Int(raw(other)) * (self // other)

    def min(self, other: Int) -> Int:
        return Int(z3.If(self.value <= other.value, self.value, other.value))

    def max(self, other: Int) -> Int:
        return Int(z3.If(self.value >= other.value, self.value, other.value))

    def __ge__(self, other: Any) -> Any:
        return self.value >= raw(other)

    def __le__(self, other: Any) -> Any:
        return self.value <= raw(other)

    def __gt__(self, other: Any) -> Any:
        return self.value > raw(other)

    def __lt__(self, other: Any) -> Any:
        return self.value < raw(other)

    def __eq__(self, other: object) -> Any:
        return self.value == raw(other)

    __hash__ = None  # type: ignore[assignment]


def raw(value: Any) -> Any:
    return value.value if isinstance(value, Int) else value


def letters_of(function: Callable[..., Any]) -> list[str]:
    return list(inspect.signature(function).parameters)


def counterexample(claim: Callable[..., Any], given: Callable[..., Any], names: list[str]) -> str:
    """Values of the letters for which all of `given` hold and `claim` does not; "" if there are none.

    claim, given: functions of the letters `names`, in that order; given returns a tuple of conditions. Raises
    Undecided if the solver does not know, even for each choice of small divisors by itself.
    """
    found = _attempt(claim, given, {name: Int(z3.Int(name)) for name in names})
    if found is not None:
        return found
    for values in _choices(names):
        found = _attempt(claim, given, values)
        if found is None:
            raise Undecided(f"the solver gives up on {names} with {values}")
        if found:
            return found
    return ""


class Undecided(Exception):
    """The solver neither proves nor refutes."""


def _choices(names: list[str]) -> Iterator[dict[str, Int]]:
    divisors = [name for name in names if name in DIVISORS]
    width = WIDTH if len(divisors) < 3 else 5
    for numbers in itertools.product(range(1, width), repeat=len(divisors)):
        fixed = dict(zip(divisors, (Int(z3.IntVal(n)) for n in numbers), strict=True))
        yield {name: fixed.get(name, Int(z3.Int(name))) for name in names}


def _attempt(claim: Callable[..., Any], given: Callable[..., Any], values: dict[str, Int]) -> str | None:
    """A counterexample, "" if it is proved that there is none, None if the solver does not know."""
    solver = z3.Solver()
    solver.set("timeout", PATIENCE)
    solver.add(*(v.value >= 1 for name, v in values.items() if name in DIVISORS))
    solver.add(*given(*values.values()))
    solver.add(z3.Not(claim(*values.values())))
    answer = solver.check()
    return "" if answer == z3.unsat else str(solver.model()) if answer == z3.sat else None
