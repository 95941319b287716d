"""The intrinsics that targets have, for steps that name them."""

from __future__ import annotations

from tensorlang.intrin import cpu, mma
from tensorlang.intrin.intrin import Intrinsic
from tensorlang.target.target import Target

LIBRARIES = (cpu.INTRINSICS, mma.INTRINSICS)


def listed(target: Target | None = None) -> tuple[Intrinsic, ...]:
    """The intrinsics of the house that `target` has; all of them without a target.

    >>> [each.name for each in listed(Target("llvm"))]
    """
    every = (each for library in LIBRARIES for each in library)
    return tuple(each for each in every if target is None or each.requires(target))
