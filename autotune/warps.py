"""What it takes the 32 threads of a warp to reach memory together.

Source of the rules: NVIDIA, "CUDA C++ Programming Guide", "Shared Memory" (banks) and "Global Memory" (lines).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np

from autotune.counts import Count
from autotune.tables import Table, Values
from autotune.task import LANE, Footprint, Knob

WARP = 32
_BANKS, _BANK_BYTES = 32, 4
_LINE = 128  # bytes
_WIDEST = 16  # bytes of an access by a thread


def table(f: Footprint, knobs: Sequence[Knob]) -> Table | None:
    """For knob vectors (elements that a thread reaches by one access, cycles that those of a warp take); None for
    registers, and if no threads share the work."""
    if f.lanes is None or f.scope == "local":
        return None
    exprs = (f.lanes.first, f.lanes.last, f.lanes.vector)
    return Table(knobs, exprs, partial(_access, f), (LANE, WARP))


def _access(f: Footprint, known: Values) -> tuple[Count, Count]:
    assert f.lanes is not None
    exprs = (f.lanes.first, f.lanes.last, f.lanes.vector)
    first, last, vector, _ = np.broadcast_arrays(*(np.atleast_2d(known[e]) for e in exprs), np.empty((1, WARP)))
    side_by_side = (last - first == vector - 1).all(axis=1)
    merged = f.scope == "shared" and not f.written  # the compiler makes few loads of many where it knows the place
    width = np.ones(len(first), np.float32)
    for each in (2, 4, 8, 16):
        if each * f.item_bytes <= _WIDEST:
            fits = vector >= each if merged else vector % each == 0
            width[side_by_side & (fits & (first % each == 0)).all(axis=1)] = each
    cycles = np.empty_like(width)
    for each in np.unique(width):
        cycles[width == each] = _cycles(f, first[width == each], each)
    width = (vector[:, 0] / np.ceil(vector[:, 0] / width)).astype(np.float32)
    return (width, cycles) if len(width) > 1 else (width[0], cycles[0])


def _cycles(f: Footprint, places: np.ndarray, width: float) -> np.ndarray:
    """Of a warp whose threads reach `width` elements each from these places on, one row a warp: in shared memory, each
    bank serves one word a cycle to all who want it, or several banks a wider one; elsewhere, a line takes a cycle."""
    if f.scope != "shared":
        return _first_of_each(np.sort(places * f.item_bytes // _LINE)).sum(axis=1)
    word = max(_BANK_BYTES, width * f.item_bytes)
    words = np.sort(places * f.item_bytes // word)
    lanes = np.arange(WARP)
    banks = np.sort(np.where(_first_of_each(words), words % (_BANKS * _BANK_BYTES / word), -1 - lanes))
    begins = np.maximum.accumulate(np.where(_first_of_each(banks), lanes, 0), axis=1)
    return (lanes - begins).max(axis=1) + 1


def _first_of_each(ordered: np.ndarray) -> np.ndarray:
    """Which of the numbers of a row differ from those before."""
    return np.diff(ordered, axis=1, prepend=-np.inf) != 0
