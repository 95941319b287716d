"""The requirements of primitives, each a function with a name, shared among them.

A check returns what it found, or refuses the step with a stable reason code, a sentence, the offending nodes and
what would be legal instead.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from tensorlang.ir.nodes import SERIAL, Block, Expr, For, Knob, Stmt, const
from tensorlang.ir.walk import find, free_vars

if TYPE_CHECKING:
    from tensorlang.schedule.schedule import Schedule


def blocks_below(stmt: Stmt) -> Iterator[Block]:
    """The blocks in `stmt`, in order."""
    return find(stmt, Block)


def as_factor(s: Schedule, value: Any) -> Expr:
    """A loop extent given by the user: a whole number >= 1, or an index expression over knobs.

    Reasons: bad_factor, factor_not_positive.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        if value < 1:
            s.refuse("factor_not_positive", f"a factor must be at least 1, got {value}")
        return const(value)
    if not isinstance(value, Expr) or value.dtype != "index":
        s.refuse("bad_factor", f"a factor is an int or a knob, got {value!r}")
    strangers = [v.name for v in free_vars(value) if not isinstance(v, Knob)]
    if strangers:
        s.refuse("bad_factor", f"a factor may depend on knobs only, {value!r} depends on {', '.join(strangers)}")
    return value


def is_serial(s: Schedule, loop: For) -> None:
    """The loop has no kind yet: steps that remake loops come before those that say how they run. Reason: loop_kind."""
    if loop.kind != SERIAL:
        s.refuse(
            "loop_kind",
            f"loop {loop.var.name} is already {loop.kind}, which the new loops could not keep",
            at=[loop],
            hint=f"do this step before {loop.kind}({loop.var.name})",
        )


def has_no_annotations(s: Schedule, loop: For) -> None:
    """Nothing was said about the loop that its successors would lose. Reason: loop_annotated."""
    if loop.annotations:
        keys = ", ".join(key for key, _ in loop.annotations)
        s.refuse(
            "loop_annotated",
            f"loop {loop.var.name} is annotated with {keys}, which the new loops would lose",
            at=[loop],
            hint="annotate the loops that this step makes",
        )


def split_factors(s: Schedule, factors: Any) -> list[Expr | None]:
    """The factors of a split. Reasons: bad_factor, factor_not_positive, several_inferred."""
    if not isinstance(factors, list) or not factors:
        s.refuse("bad_factor", f"factors are a list such as [None, 32], got {factors!r}")
    extents = [None if f is None else as_factor(s, f) for f in factors]
    if sum(e is None for e in extents) > 1:
        s.refuse("several_inferred", "at most one factor can be None", hint="[None, 4, 8]")
    return extents


def known_tail(s: Schedule, tail: Any) -> None:
    """How iterations beyond the extent are kept from running. Reason: unknown_tail."""
    if tail != "guard":
        s.refuse("unknown_tail", f"there is no tail {tail!r}", hint='"guard"')
