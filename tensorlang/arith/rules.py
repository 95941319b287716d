"""The identities that simplification rests on, as data: one a line, in the order in which they are tried.

A `Rule` says that `left` is `right` for all integers that its letters may stand for, wherever `given` holds; the
letters a, d, e and g stand for divisors, which are at least 1. How a place for it is found is the business of `find`,
which returns values of the letters that make `left` of what is to be simplified, and for which it has shown `given`.
The simplifier builds `right` of these values; tests/arith/test_rules.py proves with a solver that it may, and tries
that what was found makes `left`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

Letters = Callable[..., Any]
Values = tuple[Any, ...]


def always(*letters: Any) -> tuple[Any, ...]:
    """No condition."""
    return ()


class Rule(NamedTuple):
    """left = right wherever all of `given` hold, as functions of the letters."""

    find: Callable[..., Values | None]
    left: Letters
    right: Letters
    given: Letters = always


class Bound(NamedTuple):
    """times * (x op y) >= end (or, if `sign` is -1, <= end) wherever all of `given` hold, as functions of x and y."""

    sign: int
    times: Letters
    end: Letters
    given: Letters = always


class Enough(NamedTuple):
    """To show that `goal` >= 0 it is enough to show that `enough` >= 0, wherever all of `given` hold."""

    goal: Letters
    enough: Letters
    given: Letters = always


class Form(NamedTuple):
    """v - u + c >= 0 is `left` op `right` if `when` holds, which asks whether u and v are 0, and what c is."""

    when: Callable[[Any, Any, Any], Any]
    op: str
    left: Letters
    right: Letters


# (x op y) is (difference >= 0)
DIFFERENCES: dict[str, Letters] = {
    "lt": lambda x, y: y - x - 1,
    "le": lambda x, y: y - x,
    "gt": lambda x, y: x - y - 1,
    "ge": lambda x, y: x - y,
}

# What is known of an operation by its operands: of x // d, x % d, max(x, y) and min(x, y), the likely tightest first.
KNOWN: dict[str, tuple[Bound, ...]] = {
    "floordiv": (
        Bound(1, lambda x, d: d, lambda x, d: x - d + 1),
        Bound(-1, lambda x, d: d, lambda x, d: x),
    ),
    "mod": (
        Bound(-1, lambda x, d: 1, lambda x, d: d - 1),
        Bound(-1, lambda x, d: 1, lambda x, d: x, lambda x, d: (x >= 0,)),
    ),
    "max": (Bound(1, lambda x, y: 1, lambda x, y: x), Bound(1, lambda x, y: 1, lambda x, y: y)),
    "min": (Bound(-1, lambda x, y: 1, lambda x, y: x), Bound(-1, lambda x, y: 1, lambda x, y: y)),
}

# How an atom x is eliminated from c*x + r with the help of a*x >= b for a c >= 0, or a*x <= b for a c <= 0.
ELIMINATE = Enough(
    lambda c, a, x, r, b: c * x + r,
    lambda c, a, x, r, b: a * r + c * b + (a - 1),
    lambda c, a, x, r, b: (a >= 1, c * (a * x - b) >= 0),
)
ELIMINATE_MULTIPLE = Enough(  # the same for c = k*a
    lambda k, a, x, r, b: k * a * x + r,
    lambda k, a, x, r, b: k * b + r,
    lambda k, a, x, r, b: (k * (a * x - b) >= 0,),
)

# g*q + c >= 0 if and only if this is: a common factor of the terms does not matter.
REDUCED: Letters = lambda g, q, c: q + c // g  # noqa: E731

# How an inequality is written, with positive terms on both sides: the first form that fits.
FORMS: tuple[Form, ...] = (
    Form(lambda no_u, no_v, c: no_u, "ge", lambda u, v, c: v, lambda u, v, c: c * -1),
    Form(lambda no_u, no_v, c: no_v, "lt", lambda u, v, c: u, lambda u, v, c: v + c + 1),
    Form(lambda no_u, no_v, c: c > 0, "lt", lambda u, v, c: u, lambda u, v, c: v + c + 1),
    Form(lambda no_u, no_v, c: c == 0, "le", lambda u, v, c: u, lambda u, v, c: v),
    Form(lambda no_u, no_v, c: c < 0, "lt", lambda u, v, c: u - c - 1, lambda u, v, c: v),
)
