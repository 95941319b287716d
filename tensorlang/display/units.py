"""Sizes and rates as people read them, and which memory of a machine holds how much."""

from __future__ import annotations

from tensorlang.ir.nodes import Const, Expr
from tensorlang.ir.printer import text
from tensorlang.target.target import Target

_BINARY = ("B", "KiB", "MiB", "GiB", "TiB")
_METRIC = ("", "k", "M", "G", "T", "P")


def size(value: int | Expr) -> str:
    """Bytes with three digits at least; an open size stays an expression.

    >>> size(96), size(24576), size(10**7)
    ('96 B', '24 KiB', '9.54 MiB')
    """
    if isinstance(value, Expr):
        if not isinstance(value, Const):
            return f"{text(value)} B"
        value = int(value.value)
    rank = max(0, (value.bit_length() - 1) // 10)
    return f"{_digits(value / 1024**rank)} {_BINARY[rank]}"


def rate(value: float, unit: str) -> str:
    """A rate with a metric prefix.

    >>> rate(1.015e11, "FLOP/s"), rate(0.5, "FLOP/B")
    ('102 GFLOP/s', '0.5 FLOP/B')
    """
    rank = 0
    while value >= 1000 and rank < len(_METRIC) - 1:
        value, rank = value / 1000, rank + 1
    return f"{_digits(value)} {_METRIC[rank]}{unit}"


def seconds(value: float) -> str:
    """A time with three digits.

    >>> seconds(0.00123), seconds(4.5e-6)
    ('1.23 ms', '4.5 us')
    """
    for scale, unit in ((1.0, "s"), (1e-3, "ms"), (1e-6, "us")):
        if value >= scale:
            return f"{_digits(value / scale)} {unit}"
    return f"{_digits(value * 1e9)} ns"


def _digits(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def total(sizes: dict[str, Expr]) -> int | None:
    """The sum of sizes in bytes, None if one is open."""
    known = [int(s.value) for s in sizes.values() if isinstance(s, Const)]
    return sum(known) if len(known) == len(sizes) else None


def caches(target: Target) -> list[tuple[str, int]]:
    """The data caches of a target with their bytes, nearest first."""
    levels = (("L1", target.l1), ("L2", target.l2), ("L3", target.l3))
    return [(name, capacity) for name, capacity in levels if capacity]


def home(needed: int | None, scope: str, target: Target) -> str:
    """The nearest memory that holds so many bytes of a buffer of this scope; "" if they are not known."""
    if scope == "shared":
        return "shared"
    if needed is None:
        return ""
    if scope == "local" and needed <= target.registers * target.vector_bytes:
        return "registers"
    return next((name for name, capacity in caches(target) if needed <= capacity), "memory")
