"""The accesses that one tile makes to one buffer: which elements, in which order, by which lane or thread.

They are enumerated, not estimated: loops run with those outside the tile at their first iteration, and buffers have
the shape and the pitches that lowering gives them. Lanes of a vector and threads of a block act in one step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from tensorlang.display import access_picture, page
from tensorlang.ir import dtypes
from tensorlang.ir.evaluate import numpy_function
from tensorlang.ir.nodes import VECTORIZE, Alloc, Block, Buffer, Const, Expr, For, Func, Load, Node, Store, Var
from tensorlang.ir.walk import children, find, path_to, substitute, visit
from tensorlang.passes.compact import compacted
from tensorlang.passes.flatten import strides

LINE_BYTES = 64  # of a cache, on common CPUs
BANKS, BANK_BYTES, WARP = 32, 4, 32  # of shared memory: CUDA C++ Programming Guide, "Shared Memory"
LIMIT = 1 << 16


@dataclass(frozen=True, eq=False)
class Accesses:
    """Accesses in program order, one in each row of the arrays.

    elements: indices in the buffer, [accesses, dimensions]; steps: which ones happen together, counted from 0; lanes:
    the lane or thread that makes it; pitches: bytes from one index to the next in each dimension; threads: whether
    lanes are threads of a GPU; complete: False if there were too many to enumerate them all.
    """

    buffer: str
    scope: str
    shape: tuple[int, ...]
    pitches: tuple[int, ...]
    elements: np.ndarray
    steps: np.ndarray
    lanes: np.ndarray
    threads: bool
    complete: bool

    @cached_property
    def bytes(self) -> np.ndarray:
        """Where each access goes, in bytes from the start of the buffer."""
        return self.elements @ np.array(self.pitches, dtype=int)

    @cached_property
    def cache_lines(self) -> list[int]:
        """For each step, how many lines of 64 bytes it touches, if the buffer starts with one."""
        touched = np.unique(np.stack([self.steps, self.bytes // LINE_BYTES]), axis=1)
        return np.bincount(touched[0]).tolist()

    @cached_property
    def conflicts(self) -> list[int]:
        """For each step, how many different words a warp wants of the busiest bank of shared memory: 1 is free of
        conflicts. Lanes that want the same word share it."""
        worst = np.zeros(self.steps.max(initial=-1) + 1, int)
        np.maximum.at(worst, self.steps, self._words_of_bank)
        return worst.tolist()

    @cached_property
    def _words_of_bank(self) -> np.ndarray:
        """For each access, how many different words its warp wants of its bank in its step."""
        words = self.bytes // BANK_BYTES
        places = np.stack([self.steps, self.lanes // WARP, words % BANKS])
        place = np.unique(places, axis=1, return_inverse=True)[1].reshape(-1)
        distinct = np.unique(np.stack([place, words]), axis=1)
        return np.bincount(distinct[0])[place]

    # ------------------------------------------------------------------------------------------ as a matrix
    @cached_property
    def first(self) -> np.ndarray:
        """The step that first touches each element, -1 where none does: the buffer as a matrix, the last dimension
        along its rows."""
        return self._spread(self.steps)

    def _spread(self, values: np.ndarray) -> np.ndarray:
        """The value of the first access to each element, as a matrix; -1 where there is none."""
        columns = self.shape[-1] if self.shape else 1
        matrix = np.full((int(np.prod(self.shape[:-1], dtype=int)), columns), -1)
        matrix.reshape(-1)[self._flat[::-1]] = values[::-1]
        return matrix

    @cached_property
    def _flat(self) -> np.ndarray:
        flat = np.zeros(len(self.steps), int)
        for index, extent in zip(self.elements.T, self.shape, strict=True):
            flat = flat * extent + index
        return flat

    @cached_property
    def lane(self) -> np.ndarray:
        """The lane or thread of that access, as such a matrix."""
        return self._spread(self.lanes)

    @cached_property
    def in_conflict(self) -> np.ndarray:
        """Whether that access waits for another one of its warp to the same bank, as such a matrix of bools."""
        return self._spread(self._words_of_bank) > (1 if self.scope == "shared" else np.inf)

    def told(self, row: int, column: int) -> str:
        """One touched element of the matrix in words."""
        place = row * self.first.shape[1] + column
        index = ", ".join(str(int(n)) for n in np.unravel_index(place, self.shape or (1,)))
        who = f"{'thread' if self.threads else 'lane'} {self.lane[row, column]}"
        times = int(np.count_nonzero(self._flat == place))
        return f"{self.buffer}[{index}]: step {self.first[row, column]}, {who}, touched {times} times"

    def begins_line(self, row: int, column: int) -> bool:
        """Whether a cache line, or the first bank of shared memory, begins at this element of the matrix."""
        index = np.unravel_index(row * self.first.shape[1] + column, self.shape or (1,))
        unit = BANKS * BANK_BYTES if self.scope == "shared" else LINE_BYTES
        return sum(int(n) * pitch for n, pitch in zip(index, self.pitches, strict=False)) % unit == 0

    # ------------------------------------------------------------------------------------------ views
    @property
    def summary(self) -> str:
        """The figures in a line."""
        total, elements, steps = len(self.steps), len(np.unique(self._flat)), self.steps.max(initial=-1) + 1
        shape = ", ".join(map(str, self.shape))
        parts = [f"{self.buffer}[{shape}]: {total} accesses to {elements} elements in {steps} steps"]
        if self.threads:
            parts.append(f"{self.lanes.max(initial=-1) + 1} threads")
        if self.scope == "shared":
            worst = max(self.conflicts, default=1)
            parts.append("no bank conflicts" if worst == 1 else f"bank conflicts: up to {worst}-way")
        elif self.cache_lines:
            low, high = min(self.cache_lines), max(self.cache_lines)
            parts.append(f"cache lines in a step: {low if low == high else f'{low} to {high}'}")
        return ", ".join(parts) + ("" if self.complete else f" (the first {total} accesses only)")

    def __str__(self) -> str:
        return f"{self.summary}\n{access_picture.text(self)}" if len(self.steps) else self.summary

    def _repr_html_(self) -> str:
        unit = "row of banks" if self.scope == "shared" else "cache line"
        numbers = (
            "numbers: the thread that first touches an element, colours: in which step"
            if self.threads
            else ("numbers and colours: the step that first touches an element")
        )
        red = "; red: another thread of the warp wants the same bank" if self.in_conflict.any() else ""
        legend = f"{numbers}; a bar: a {unit} begins{red}"
        picture = access_picture.svg(self) if len(self.steps) else ""
        return page.fragment(f'{picture}<div class="foot">{page.escape(self.summary)}<br>{legend}</div>')


def accesses(program: Any, block: Any, buffer: Any, inside: Any = None) -> Accesses:
    """What `block` touches of `buffer` in one iteration of the loop `inside`, or in the whole program without one.

    program: a Schedule or a loop-level Func of known sizes; block, buffer, inside: names or handles.
    Raises ValueError if there is no such block or loop, if the block never touches the buffer, if an index depends on
    data, or if a size is open.

    >>> print(accesses(s, "C", "A", inside="C.i").summary)
    A[8, 8]: 64 accesses to 8 elements in 64 steps, cache lines in a step: 1
    """
    func = compacted(getattr(program, "func", program))
    block, buffer, inside = (getattr(x, "name", x) for x in (block, buffer, inside))
    node = next(find(func.body, Block, lambda b: b.name == block), None)
    if node is None:
        raise ValueError(f"there is no block named {block!r}")
    around = [n for n in path_to(func.body, node) or () if isinstance(n, For)]
    names = [n.var.name for n in around]
    if inside is not None and inside not in names:
        raise ValueError(f"there is no loop {inside!r} around block {block}: there is {', '.join(names)}")
    fixed = 0 if inside is None else 1 + names.index(inside)
    body = substitute(node.body, dict(zip((it.var for it in node.iters), node.bindings, strict=True)))
    found = [(n, (*around[fixed:], *inner)) for n, inner in _in_order(body, ()) if n.buffer.name == buffer]
    if not found:
        raise ValueError(f"block {block} does not touch a buffer named {buffer!r}")
    tile = _Tile(tuple(n.var for n in around[:fixed]), node.predicate)
    return tile.accesses(found, _pitches(func, found[0][0].buffer))


Found = tuple["Load | Store", tuple[For, ...]]


def _in_order(node: Node, loops: tuple[For, ...]) -> Iterator[Found]:
    """The loads and stores of a body, each with the loops around it; a store after the loads of its value."""
    if isinstance(node, For):
        loops = (*loops, node)
    for child in children(node):
        yield from _in_order(child, loops)
    if isinstance(node, Load | Store):
        yield node, loops


def _pitches(func: Func, buffer: Buffer) -> tuple[int, ...]:
    """Bytes from one index to the next in each dimension."""
    alloc = next(find(func.body, Alloc, lambda a: a.buffer is buffer), None)
    aligned = () if alloc is None else dict(alloc.annotations).get("align", ())
    return tuple(_known(pitch) * dtypes.bytes_of(buffer.dtype) for pitch in strides(buffer, aligned)[1:])


def _known(value: Expr) -> int:
    if not isinstance(value, Const):
        raise ValueError(f"the size {value!r} is not known")
    return int(value.value)


@dataclass(frozen=True)
class _Tile:
    """One iteration, the first, of the loops whose variables are `outer`."""

    outer: tuple[Var, ...]
    predicate: Expr

    def accesses(self, found: Sequence[Found], pitches: tuple[int, ...]) -> Accesses:
        buffer = found[0][0].buffer
        threads = any(loop.kind.startswith("threadIdx") for _, loops in found for loop in loops)
        # An access: the iteration of the serial loops, its place in the body, its lane; and the indices.
        made: list[tuple[tuple[int, ...], int, int, tuple[int, ...]]] = []
        complete = True
        for number, (node, loops) in enumerate(found):
            for serial, lane, indices in self._runs(node, loops, threads):
                complete = len(made) < LIMIT
                if not complete:
                    break
                made.append((serial, number, lane, indices))
        made.sort()
        order = {key: n for n, key in enumerate(dict.fromkeys(access[:2] for access in made))}
        return Accesses(
            buffer=buffer.name,
            scope=buffer.scope,
            shape=tuple(map(_known, buffer.shape)),
            pitches=pitches,
            elements=np.array([a[3] for a in made], dtype=int).reshape(len(made), len(buffer.shape)),
            steps=np.array([order[a[:2]] for a in made], dtype=int),
            lanes=np.array([a[2] for a in made], dtype=int),
            threads=threads,
            complete=complete,
        )

    def _runs(
        self, node: Load | Store, loops: tuple[For, ...], threads: bool
    ) -> Iterator[tuple[tuple[int, ...], int, tuple[int, ...]]]:
        """(iteration of the serial loops, lane, indices) of each run of an access."""
        if any(isinstance(n, Load) for index in node.indices for n in visit(index)):
            raise ValueError(f"an index of {node.buffer.name} depends on data: {node!r}")
        variables = [*self.outer, *(loop.var for loop in loops)]
        function = numpy_function([self.predicate, *node.indices], variables)
        known = len(self.outer)
        extents = [numpy_function([loop.extent], variables[: known + n]) for n, loop in enumerate(loops)]
        is_lane = [loop.kind.startswith("threadIdx") if threads else loop.kind == VECTORIZE for loop in loops]
        # x of the threads runs fastest, and the innermost loop of vectors
        fastest_last = sorted((n for n, lane in enumerate(is_lane) if lane), key=lambda n: loops[n].kind, reverse=True)
        for point in _points(extents, (0,) * known):
            runs, *indices = function(*point)
            if runs:
                lane = 0
                for n in fastest_last:
                    lane = lane * _known(loops[n].extent) + point[known + n]
                serial = tuple(value for value, one in zip(point[known:], is_lane, strict=True) if not one)
                yield serial, lane, tuple(map(int, indices))


def _points(extents: Sequence[Callable[..., list[int]]], outer: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    """The iterations of a loop nest, after the values of the variables outside, on which extents may depend."""
    if not extents:
        yield outer
        return
    for value in range(int(extents[0](*outer)[0])):
        yield from _points(extents[1:], (*outer, value))
