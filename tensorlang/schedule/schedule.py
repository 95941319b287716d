"""Schedule: a Func, the steps that made it, and the conditions on open knobs under which they are legal.

The primitives are written in the files beside, each once; what they share is in services.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from tensorlang import display
from tensorlang.create_func import create_func
from tensorlang.display.diff import Diff
from tensorlang.display.page import View
from tensorlang.errors import ScheduleError
from tensorlang.intrin.intrin import Intrinsic
from tensorlang.ir.nodes import Buffer, Expr, For, Func, Var
from tensorlang.ir.ops import all_of
from tensorlang.ir.printer import text
from tensorlang.ir.verify import verify
from tensorlang.schedule import cache as _cache
from tensorlang.schedule import concurrency, instantiate
from tensorlang.schedule import einsum as _einsum
from tensorlang.schedule import inline as _inline
from tensorlang.schedule import kinds as _kinds
from tensorlang.schedule import layout as _layout
from tensorlang.schedule import loops as _loops
from tensorlang.schedule import move as _move
from tensorlang.schedule import padding as _padding
from tensorlang.schedule import partition as _partition
from tensorlang.schedule import pipeline as _pipeline
from tensorlang.schedule import reduction as _reduction
from tensorlang.schedule import reindex as _reindex
from tensorlang.schedule import rfactor as _rfactor
from tensorlang.schedule import rolling as _rolling
from tensorlang.schedule import storage as _storage
from tensorlang.schedule import tensorize as _tensorize
from tensorlang.schedule.handles import BlockLike, BlockRef, Loop, LoopLike, Pattern, search
from tensorlang.schedule.index import BLOCK, BUFFER, LOOP, Index
from tensorlang.schedule.primitive import perform
from tensorlang.schedule.services import Services
from tensorlang.schedule.trace import Step, Trace
from tensorlang.target import target as targets
from tensorlang.target.target import Target


class Schedule(Services, View):
    """The schedule of a computation.

    `computed` is a Tensor, a list of output Tensors, or a loop-level Func; `args` are the parameters in call order
    (default: placeholders by first use, then outputs); `target`, or its kind, makes primitives check its limits;
    `intrinsics` are those that tensorize finds by name, beside the ones that the target lists.

    func: the program so far. trace: the steps so far. constraints: conditions over knobs that must hold.

    >>> s = Schedule(C)
    >>> i0, i1 = s.split("C.i", [None, 32])
    >>> s.parallel(i0)
    """

    def __init__(
        self,
        computed: Any,
        args: Sequence[Any] | None = None,
        target: Target | str | None = None,
        intrinsics: Sequence[Intrinsic] = (),
    ):
        func = computed if isinstance(computed, Func) else create_func(computed, args)
        verify(func, "loop")
        self.func: Func = func
        self.target = None if target is None else targets.of(target)
        self.intrinsics = tuple(intrinsics)
        self.trace = Trace(())
        self.constraints: tuple[Expr, ...] = ()
        self._index: Index = Index(func)
        self._before = self._index  # as it was when the step in progress began
        self._consumed: dict[tuple[str, str], int] = {}  # every name ever used: the step that consumed it, or 0
        self._made: list[str] = []
        self._proved: dict[Var, frozenset] = {}  # what proofs that loops are independent rest on
        self._is_together = False  # whether steps are checked as one
        self._overlap: dict[For, frozenset] = {}  # the same for pipelined loops
        self._planned: Iterator[str] | None = None
        for key in self._nodes.names:
            self._consumed[key] = 0

    # ------------------------------------------------------------------------------------------- primitives
    split = _loops.split
    fuse = _loops.fuse
    reorder = _loops.reorder
    tile = _loops.tile
    add_unit_loop = _partition.add_unit_loop
    loop_partition = _partition.loop_partition
    fission = _partition.fission
    specialize = _partition.specialize
    parallel = _kinds.parallel
    vectorize = _kinds.vectorize
    unroll = _kinds.unroll
    bind = _kinds.bind
    serpentine = _kinds.serpentine
    annotate = _kinds.annotate
    decompose_reduction = _reduction.decompose_reduction
    atomic = _reduction.atomic
    rfactor = _rfactor.rfactor
    cache_read = _cache.cache_read
    cache_write = _cache.cache_write
    cache_hint = _cache.cache_hint
    compute_at = _move.compute_at
    reverse_compute_at = _move.reverse_compute_at
    compute_inline = _inline.compute_inline
    reverse_compute_inline = _inline.reverse_compute_inline
    transform_layout = _layout.transform_layout
    reindex = _reindex.reindex
    set_scope = _storage.set_scope
    storage_align = _storage.storage_align
    swizzle = _storage.swizzle
    store_at = _storage.store_at
    decompose_padding = _padding.decompose_padding
    pad_einsum = _einsum.pad_einsum
    rolling_buffer = _rolling.rolling_buffer
    blockize = _tensorize.blockize
    tensorize = _tensorize.tensorize
    software_pipeline = _pipeline.software_pipeline
    double_buffer = _pipeline.double_buffer
    async_copy = _pipeline.async_copy

    # ---------------------------------------------------------------------------------- what users look at
    def blocks(self) -> list[BlockRef]:
        """The blocks, in program order.

        >>> t.blocks()
        [Block('C'), Block('D')]
        """
        return [BlockRef(self, name) for space, name in self._nodes.names if space == BLOCK]

    def block(self, name: BlockLike) -> BlockRef:
        """The block of that name. Raises ScheduleError (unknown_block, consumed_block).

        >>> t.block("D").reads
        [C: f32[8, 8]]
        """
        return BlockRef(self, self.block_node(name).name)

    def loops(self, block: BlockLike | None = None) -> list[Loop]:
        """The loops around a block, outermost first; without a block all loops, in program order.

        >>> s.loops()
        [Loop('C.i'), Loop('C.j'), Loop('C.k')]
        >>> t.loops("D")
        [Loop('D.i'), Loop('D.j')]
        """
        if block is None:
            return [Loop(self, name) for space, name in self._nodes.names if space == LOOP]
        return [Loop(self, n.var.name) for n in self.path(self.block_node(block)) if isinstance(n, For)]

    def find(self, pattern: Pattern = "*", **facts: Any) -> list[Any]:
        """The handles of loops and blocks that fit, in program order, a loop before what is inside it.

        pattern: a name with wildcards (`*` any text, dots included; `?` any character; `[ab]` one of them), or a
        function of a handle. facts: attributes and the values they must have; what lacks the attribute does not fit.

        >>> s.find("C.i.*")                                     # all that was split off C.i
        >>> s.find(kind="serial", is_reduction=True)            # loops, for blocks have no kind
        >>> s.find(lambda block: block.consumers == [], is_reduction=False, reads=[s.buffers()["A"]])
        """
        return search(self, pattern, facts)

    def loop(self, name: LoopLike) -> Loop:
        """The loop of that name. Raises ScheduleError (unknown_loop, consumed_loop).

        >>> s.loop("C.i").extent
        8
        """
        return Loop(self, self.loop_node(name).var.name)

    def buffers(self) -> dict[str, Buffer]:
        """All buffers by name, parameters included.

        >>> list(s.buffers())
        ['A', 'B', 'C']
        """
        return {name: self.buffer(name) for space, name in self._nodes.names if space == BUFFER}

    def apply(self, trace: Trace) -> Schedule:
        """Do all steps of `trace`, with the names it records, or none; returns this schedule.

        Raises ScheduleError for the first step that is not legal here; its message gives the number of the step.

        >>> i0, i1 = s.split("C.i", [None, 4])
        >>> tl.Schedule(C).apply(s.trace).loops()
        [Loop('C.i.0'), Loop('C.i.1'), Loop('C.j'), Loop('C.k')]
        """
        try:
            with self.transaction(), self.together():
                self._perform(trace)
        except ScheduleError:
            with self.transaction():  # one by one, which tells the step
                self._perform(trace)
        return self

    def _perform(self, trace: Trace) -> None:
        for number, step in enumerate(trace.steps, 1):
            try:
                perform(self, step)
            except ScheduleError as error:
                raise error.but(message=f"step {number} of the trace: {error.message}") from None

    def copy(self) -> Schedule:
        """An independent schedule in the same state. Handles stay with this one; names fit both.

        >>> other = s.copy()
        >>> other.parallel("C.i")
        >>> s, other
        (<Schedule of C, 0 steps>, <Schedule of C, 1 steps>)
        """
        other = object.__new__(Schedule)
        other.__dict__.update(self.__dict__, _consumed=dict(self._consumed), _made=[])
        return other

    def instantiate(self, values: Mapping[str, int]) -> Schedule:
        """A schedule like this one with numbers for knobs, by name; names stay as they are.

        The program is that of a replay with the numbers, and made in a part of the time. Raises ScheduleError if a
        number is not a choice of its knob (knob_value), a constraint does not hold (constraint), or a block that was
        moved makes all there is at once (whole_box), so that a replay would know better where its result lies.

        >>> i0, i1 = s.split("C.i", [None, tl.knob("n", [2, 4])])
        >>> s.instantiate({"n": 4}).loops()[1].extent
        4
        """
        return instantiate.instantiated(self, values)

    def __str__(self) -> str:
        lines = [text(self.func).rstrip()]
        if self.constraints:
            lines.append(f"where {text(all_of(self.constraints))}")
        return "\n".join(lines)

    def diff(self, since: Schedule | Func | None = None) -> Diff:
        """What the last step changed, or all steps since a copy was taken; print it, or show it in a notebook.

        >>> before = s.copy()
        >>> outer, inner = s.split("C.i", [None, 4])
        >>> s.reorder(inner, outer)
        >>> print(s.diff(before))
        """
        if since is None:
            step = str(self.trace.steps[-1]) if self.trace.steps else ""
            return display.diff(self._before.func, self.func, step)
        return display.diff(since, self)

    def _repr_html_(self) -> str:
        return display.nest(self)._repr_html_()

    def __repr__(self) -> str:
        return f"<Schedule of {self.func.name}, {len(self.trace.steps)} steps>"

    # --------------------------------------------------------------------------------- services of @primitive
    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing: whatever error leaves this context, the schedule is as it was before.

        >>> with s.transaction():
        ...     s.parallel("C.i")
        ...     s.parallel("C.k")
        Traceback (most recent call last):
        ...
        tensorlang.errors.ScheduleError: ...
        >>> s.trace.steps
        ()
        """
        saved = dict(self.__dict__, _consumed=dict(self._consumed))
        self._made = []
        self._before = self._nodes
        done = False
        try:
            yield
            done = True
        finally:
            if not done:
                self.__dict__.update(saved)

    @contextmanager
    def naming(self, names: Iterable[str]) -> Iterator[None]:
        """Within this context, `fresh` gives out `names`, all of which must be needed."""
        planned = self._planned = iter(names)
        try:
            yield
        finally:
            self._planned = None
        for name in planned:
            raise ScheduleError("trace_mismatch", f"the trace does not fit: nothing gets the name {name!r}")

    @contextmanager
    def together(self) -> Iterator[None]:
        """Within this context, steps count as one: the program is checked after the last one only.

        Each step keeps the meaning of the program, so that it does not matter what would have been legal in between.

        >>> with s.together():
        ...     s.parallel("C.i")
        ...     s.unroll("C.j")
        """
        outer, self._is_together = self._is_together, True
        try:
            yield
        finally:
            self._is_together = outer
        if not outer:
            self._check()

    def _check(self) -> None:
        """Verify the program, loop kinds and marks included."""
        verify(self.func, "loop")
        self._proved = concurrency.kinds_hold(self, self._proved)
        self._overlap = _pipeline.marks_hold(self, self._overlap)

    def finish(self, op: str, args: dict[str, Any]) -> None:
        """Check the program that a step has made, and add the step to the trace."""
        step = Step(op, args, tuple(self._made))
        if not self._is_together:
            self._check()
        for key in self._nodes.lacks(self._before):
            self._consumed[key] = len(self.trace.steps) + 1
        self.trace = Trace((*self.trace.steps, step))
