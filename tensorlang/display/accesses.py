"""The accesses that one tile makes to one buffer: which elements, in which order, by which lane or thread.

They are enumerated, not estimated: loops run with those outside the tile at their first iteration, and buffers have
the shape and the pitches that lowering gives them. Lanes of a vector and threads of a block act in one step; threads
do so wherever their loops stand, and of two loops of one axis the inner one counts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import Any, NamedTuple

import numpy as np

from tensorlang.arith.strides import strides
from tensorlang.display import access_picture, page
from tensorlang.ir import dtypes
from tensorlang.ir.evaluate import numpy_function
from tensorlang.ir.nodes import VECTORIZE, Alloc, Block, Buffer, Const, Expr, For, Func, Load, Node, Store, Var
from tensorlang.ir.walk import children, find, path_to, substitute, visit
from tensorlang.passes.compact import compacted

LINE_BYTES = 64  # of a cache, on common CPUs
BANKS, BANK_BYTES, WARP = 32, 4, 32  # of shared memory: CUDA C++ Programming Guide, "Shared Memory"
LIMIT = 1 << 16


@dataclass(frozen=True, eq=False)
class Accesses(page.View):
    """Accesses in program order, one in each row of the arrays.

    elements: indices in the buffer, [accesses, dimensions]; steps: which ones happen together, counted from 0; lanes:
    the lane or thread that makes it; pitches: bytes from one index to the next in each dimension; threads: whether
    lanes are threads of a GPU; complete: False if there were too many to enumerate them all.

    >>> accesses(s, "C", "A", inside="C.i").elements.shape
    (64, 2)
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
        """For each step, how many different words are wanted at once of the busiest bank of shared memory: 1 is free
        of conflicts. Threads that want the same word share it."""
        worst = np.zeros(self.steps.max(initial=-1) + 1, int)
        np.maximum.at(worst, self.steps, self._words_of_bank)
        return worst.tolist()

    @cached_property
    def banks(self) -> np.ndarray:
        """For each access, the bank of shared memory that it goes to."""
        return self.bytes // BANK_BYTES % BANKS

    @cached_property
    def _moments(self) -> np.ndarray:
        """For each access, a number that it shares with those that shared memory serves at the same time.

        These are the accesses of a warp in a step; vectors of 8 or 16 bytes are served to half or a quarter of a warp.
        """
        alike = _numbered(self.steps, self.lanes)
        words = np.bincount(alike)[alike] * self.pitches[-1] // BANK_BYTES if self.pitches else 1
        return _numbered(self.steps, self.lanes // (WARP // np.clip(words, 1, WARP)))

    @cached_property
    def _words_of_bank(self) -> np.ndarray:
        """For each access, how many different words are wanted of its bank at the same time."""
        queues = _numbered(self._moments, self.banks)
        distinct = np.unique(np.stack([queues, self.bytes // BANK_BYTES]), axis=1)
        return np.bincount(distinct[0])[queues]

    @cached_property
    def turns(self) -> np.ndarray:
        """The moment with the most bank conflicts, the first of these: at [turn, bank] the thread whose word that bank
        gives in that turn, -1 for none. Of threads that want the same word, the first one stands for all."""
        if self.scope != "shared" or not self.threads or not len(self.steps):
            return np.zeros((0, BANKS), int)
        at = int(self._words_of_bank.argmax())
        found = np.full((self._words_of_bank[at], BANKS), -1)
        then = np.flatnonzero(self._moments == self._moments[at])
        _, first = np.unique(self.bytes[then] // BANK_BYTES, return_index=True)
        for n in then[np.sort(first)]:
            bank = self.banks[n]
            found[np.count_nonzero(found[:, bank] >= 0), bank] = self.lanes[n]
        return found

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
        """Whether that access waits for another one to the same bank, as such a matrix of bools."""
        return self._spread(self._words_of_bank) > (1 if self.scope == "shared" else np.inf)

    def told(self, row: int, column: int) -> str:
        """One touched element of the matrix in words.

        >>> accesses(s, "C", "A", inside="C.i").told(0, 3)
        'A[0, 3]: step 3, lane 0, touched 8 times'
        """
        place = row * self.first.shape[1] + column
        index = ", ".join(str(int(n)) for n in np.unravel_index(place, self.shape or (1,)))
        who = f"{'thread' if self.threads else 'lane'} {self.lane[row, column]}"
        accesses = np.flatnonzero(self._flat == place)
        times = f"touched {len(accesses)} time{'s' * (len(accesses) > 1)}"
        bank = f", bank {self.banks[accesses[0]]}" if self.scope == "shared" else ""
        return f"{self.buffer}[{index}]: step {self.first[row, column]}, {who}{bank}, {times}"

    def begins_line(self, row: int, column: int) -> bool:
        """Whether a cache line, or the first bank of shared memory, begins at this element of the matrix.

        >>> accesses(s, "C", "A").begins_line(2, 0), accesses(s, "C", "A").begins_line(1, 0)
        (True, False)
        """
        index = np.unravel_index(row * self.first.shape[1] + column, self.shape or (1,))
        unit = BANKS * BANK_BYTES if self.scope == "shared" else LINE_BYTES
        return sum(int(n) * pitch for n, pitch in zip(index, self.pitches, strict=False)) % unit == 0

    # ------------------------------------------------------------------------------------------ views
    @property
    def summary(self) -> str:
        """The figures in a line."""
        total, elements, steps = len(self.steps), len(np.unique(self._flat)), self.steps.max(initial=-1) + 1
        shape, in_steps = ", ".join(map(str, self.shape)), "1 step" if steps == 1 else f"{steps} steps"
        parts = [f"{self.buffer}[{shape}]: {total} accesses to {elements} elements in {in_steps}"]
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
        if not len(self.steps):
            return self.summary
        return "\n".join([self.summary, access_picture.text(self), *access_picture.banks_text(self)])

    def _repr_html_(self) -> str:
        unit = "row of banks" if self.scope == "shared" else "cache line"
        numbers = (
            "numbers: the thread that first touches an element, colours: in which step"
            if self.threads
            else ("numbers and colours: the step that first touches an element")
        )
        red = "; red: another thread of the warp wants another word of the same bank" if self.in_conflict.any() else ""
        legend = f"{numbers}; a bar: a {unit} begins{red}"
        picture = access_picture.svg(self) if len(self.steps) else ""
        told = f'<div class="foot">{page.escape(self.summary)}<br>{legend}</div>'
        return page.fragment(f"{picture}{told}{access_picture.banks_html(self)}")


def _numbered(*keys: np.ndarray) -> np.ndarray:
    """For each place a number, the same where all the keys are."""
    return np.unique(np.stack(keys), axis=1, return_inverse=True)[1].reshape(-1)


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
    free = around[0 if inside is None else 1 + names.index(inside) :]
    threads = {loop.kind: loop for loop in around if loop.kind.startswith("threadIdx")}  # the inner one of each axis
    run = [n for n in around if threads.get(n.kind, n if n in free else None) is n]
    body = substitute(node.body, dict(zip((it.var for it in node.iters), node.bindings, strict=True)))
    found = [(n, (*run, *inner)) for n, inner in _in_order(body, ()) if n.buffer.name == buffer]
    if not found:
        raise ValueError(f"block {block} does not touch a buffer named {buffer!r}")
    tile = _Tile(tuple(n.var for n in around if n not in run), node.predicate, bool(threads))
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
    return tuple(_known(pitch) * dtypes.bytes_of(buffer.dtype) for pitch in strides(buffer.shape, aligned)[1:])


def _known(value: Expr) -> int:
    if not isinstance(value, Const):
        raise ValueError(f"the size {value!r} is not known")
    return int(value.value)


class _Run(NamedTuple):
    """One run of an access: the iteration of the serial loops, which access of the block it is, the lane or thread,
    and the element."""

    serial: tuple[int, ...]
    number: int
    lane: int
    element: tuple[int, ...]


@dataclass(frozen=True)
class _Tile:
    """One iteration, the first, of the loops whose variables are `outer`; threads: whether there are any."""

    outer: tuple[Var, ...]
    predicate: Expr
    threads: bool

    def accesses(self, found: Sequence[Found], pitches: tuple[int, ...]) -> Accesses:
        buffer = found[0][0].buffer
        runs = (run for number, (node, loops) in enumerate(found) for run in self._runs(number, node, loops, pitches))
        made = list(islice(runs, LIMIT + 1))
        complete = len(made) <= LIMIT
        made = sorted(made[:LIMIT])
        order = {key: n for n, key in enumerate(dict.fromkeys(run[:2] for run in made))}
        return Accesses(
            buffer=buffer.name,
            scope=buffer.scope,
            shape=tuple(map(_known, buffer.shape)),
            pitches=pitches,
            elements=np.array([run.element for run in made], dtype=int).reshape(len(made), len(buffer.shape)),
            steps=np.array([order[run[:2]] for run in made], dtype=int),
            lanes=np.array([run.lane for run in made], dtype=int),
            threads=self.threads,
            complete=complete,
        )

    def _runs(
        self, number: int, node: Load | Store, loops: tuple[For, ...], pitches: tuple[int, ...]
    ) -> Iterator[_Run]:
        """The runs of an access, the `number`th of its block."""
        if any(isinstance(n, Load) for index in node.indices for n in visit(index)):
            raise ValueError(f"an index of {node.buffer.name} depends on data: {node!r}")
        variables = [*self.outer, *(loop.var for loop in loops)]
        function = numpy_function([self.predicate, *node.indices], variables)
        known = len(self.outer)
        extents = [numpy_function([loop.extent], variables[: known + n]) for n, loop in enumerate(loops)]
        is_lane = [loop.kind.startswith("threadIdx") if self.threads else loop.kind == VECTORIZE for loop in loops]
        # x of the threads runs fastest, and the innermost loop of vectors
        fastest_last = sorted((n for n, lane in enumerate(is_lane) if lane), key=lambda n: loops[n].kind, reverse=True)
        in_vectors = self.threads and _are_neighbours(function, loops, known, pitches)
        for point in _points(extents, (0,) * known):
            runs, *indices = function(*point)
            if runs:
                lane = 0
                for n in fastest_last:
                    lane = lane * _known(loops[n].extent) + point[known + n]
                serial = [value for value, one in zip(point[known:], is_lane, strict=True) if not one]
                yield _Run(tuple(serial[:-1] if in_vectors else serial), number, lane, tuple(map(int, indices)))


def _are_neighbours(
    function: Callable[..., list[Any]], loops: Sequence[For], known: int, pitches: Sequence[int]
) -> bool:
    """Whether an access is in the vectors of the innermost loop: one iteration after the other, in memory too."""
    if not loops or loops[-1].kind != VECTORIZE:
        return False
    first, second = (function(*(0,) * (known + len(loops) - 1), n)[1:] for n in (0, 1))
    return sum((int(b) - int(a)) * p for a, b, p in zip(first, second, pitches, strict=True)) == pitches[-1]


def _points(extents: Sequence[Callable[..., list[int]]], outer: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    """The iterations of a loop nest, after the values of the variables outside, on which extents may depend."""
    if not extents:
        yield outer
        return
    for value in range(int(extents[0](*outer)[0])):
        yield from _points(extents[1:], (*outer, value))
