"""Schedule: a Func, the steps that made it, and the conditions on open knobs under which they are legal.

The primitives are written in the files beside, each once. This file holds what they share: finding nodes by name,
replacing them, making names, and refusing.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn

from tensorlang import display
from tensorlang.arith.context import Context
from tensorlang.arith.prove import prove
from tensorlang.arith.simplify import negation
from tensorlang.create_func import create_func
from tensorlang.display.diff import Diff
from tensorlang.errors import ScheduleError
from tensorlang.intrin.intrin import Intrinsic
from tensorlang.ir.nodes import FALSE, TRUE, Alloc, Block, Buffer, Expr, For, Func, If, Knob, Node, Seq, Stmt, Var, seq
from tensorlang.ir.ops import all_of
from tensorlang.ir.printer import text
from tensorlang.ir.verify import verify
from tensorlang.ir.walk import free_vars, parts, path_to, replace_node
from tensorlang.schedule import cache as _cache
from tensorlang.schedule import concurrency
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
from tensorlang.schedule.checks import Hint
from tensorlang.schedule.handles import BlockLike, BlockRef, Loop, LoopLike, Pattern, search
from tensorlang.schedule.primitive import perform
from tensorlang.schedule.trace import Step, Trace
from tensorlang.target import target as targets
from tensorlang.target.target import Target

LOOP, BLOCK, BUFFER = "loop", "block", "buffer"


class Schedule:
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
        self._index: _Index = _Index(func)
        self._before = self._index  # as it was when the step in progress began
        self._consumed: dict[tuple[str, str], str] = {}  # every name ever used: what consumed it, or "" if alive
        self._made: list[str] = []
        self._proved: dict[Var, frozenset] = {}  # what proofs that loops are independent rest on
        self._is_together = False  # whether steps are checked as one
        self._overlap: dict[For, frozenset] = {}  # the same for pipelined loops
        self._planned: Iterator[str] | None = None
        for key in self._nodes.named:
            self._consumed[key] = ""

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
    annotate = _kinds.annotate
    decompose_reduction = _reduction.decompose_reduction
    rfactor = _rfactor.rfactor
    cache_read = _cache.cache_read
    cache_write = _cache.cache_write
    compute_at = _move.compute_at
    reverse_compute_at = _move.reverse_compute_at
    compute_inline = _inline.compute_inline
    reverse_compute_inline = _inline.reverse_compute_inline
    transform_layout = _layout.transform_layout
    reindex = _reindex.reindex
    set_scope = _storage.set_scope
    storage_align = _storage.storage_align
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
        """The blocks, in program order."""
        return [BlockRef(self, name) for space, name in self._nodes.named if space == BLOCK]

    def block(self, name: BlockLike) -> BlockRef:
        """The block of that name. Raises ScheduleError (unknown_block, consumed_block)."""
        return BlockRef(self, self.block_node(name).name)

    def loops(self, block: BlockLike | None = None) -> list[Loop]:
        """The loops around a block, outermost first; without a block all loops, in program order."""
        if block is None:
            return [Loop(self, name) for space, name in self._nodes.named if space == LOOP]
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
        """The loop of that name. Raises ScheduleError (unknown_loop, consumed_loop)."""
        return Loop(self, self.loop_node(name).var.name)

    def buffers(self) -> dict[str, Buffer]:
        """All buffers by name, parameters included."""
        return {name: node for (space, name), node in self._nodes.named.items() if space == BUFFER}  # type: ignore[misc]

    def apply(self, trace: Trace) -> Schedule:
        """Do all steps of `trace`, with the names it records, or none; returns this schedule.

        Raises ScheduleError for the first step that is not legal here; its message gives the number of the step.
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
        """An independent schedule in the same state. Handles stay with this one; names fit both."""
        other = object.__new__(Schedule)
        other.__dict__.update(self.__dict__, _consumed=dict(self._consumed), _made=[])
        return other

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

    # ------------------------------------------------------------------------------ services for primitives
    def loop_node(self, loop: LoopLike) -> For:
        """The For of that name."""
        return self._lookup(LOOP, loop)

    def block_node(self, block: BlockLike) -> Block:
        """The Block of that name."""
        return self._lookup(BLOCK, block)

    def has_loop(self, name: str) -> bool:
        return (LOOP, name) in self._nodes.named

    def has_block(self, name: str) -> bool:
        return (BLOCK, name) in self._nodes.named

    def buffer(self, buffer: Buffer | str) -> Buffer:
        """The Buffer of that name."""
        return self._lookup(BUFFER, buffer)

    def path(self, node: Stmt) -> tuple[Node, ...]:
        """The nodes around a statement of the program, from the Func inwards, without the statement itself."""
        return self._nodes.path(node)

    def replace(self, old: Stmt, new: Stmt) -> None:
        """Put `new` where the statement `old` stands."""
        parent = self.path(old)[-1]
        if isinstance(parent, Seq) and isinstance(new, Seq):  # sequences do not nest
            old, new = parent, seq(*(new if stmt is old else stmt for stmt in parent.stmts))
        self.func = self.func.with_body(replace_node(self.func.body, old, new))

    def fresh(self, base: str, space: str = LOOP) -> str:
        """A name that was never used before: `base`, or `base` with a number. `space`: loop, block or buffer."""
        spaces = (BUFFER,) if space == BUFFER else (LOOP, BLOCK)

        def taken(candidate: str) -> bool:
            return any((each, candidate) in self._consumed for each in spaces)

        if self._planned is not None:
            name = next(self._planned, "")
            if not name or taken(name):
                what = f"its name {name!r} for {base!r} is taken" if name else f"it has no name for {base!r}"
                raise ScheduleError("trace_mismatch", f"the trace does not fit: {what}")
        else:
            name, number = base, 0
            while taken(name):
                number += 1
                name = f"{base}_{number}"
        self._consumed[space, name] = ""
        self._made.append(name)
        return name

    def context(self, node: Stmt, inside: bool = False, rewriting: bool = False) -> Context:
        """What holds where `node` stands: enclosing loops are bound, conditions and constraints assumed.

        `inside=True` adds what `node` itself brings: the variable of a loop, the predicate of a block.
        `rewriting=True` is for simplifying what goes into the program, and knows less: see loops.open_extent.
        """
        ctx = Context()
        for constraint in self.constraints:
            ctx = ctx.assume(constraint)
        around = (*self.path(node), node) if inside else self.path(node)
        for outer, inner in zip(around, (*around[1:], node), strict=True):
            if isinstance(outer, Alloc):
                continue
            if isinstance(outer, For):
                ctx = ctx.bind(outer.var, _loops.open_extent(outer.extent) if rewriting else outer.extent)
            elif isinstance(outer, Block):
                ctx = ctx.assume(outer.predicate)
            elif isinstance(outer, If):
                ctx = ctx.assume(outer.cond if inner is outer.then else negation(outer.cond))
        return ctx

    def require(
        self, cond: Expr, ctx: Context, reason: str, message: str, *, at: Collection[Node] = (), hint: Hint = ""
    ) -> None:
        """Go on if `cond` is proved; if it depends on knobs only, it becomes a constraint; else refuse."""
        verdict = prove(cond, ctx)
        if verdict is TRUE:
            return
        if verdict is not FALSE and all(isinstance(v, Knob) for v in free_vars(verdict)):
            if not any(c is verdict for c in self.constraints):
                self.constraints += (verdict,)
            return
        self.refuse(reason, message, at=at, hint=hint)

    def refuse(self, reason: str, message: str, *, at: Collection[Node] = (), hint: Hint = "") -> NoReturn:
        """Refuse the step: a stable reason code, a sentence, the nodes to underline, what would be legal."""
        excerpt = text(self.func, mark=set(at)) if at else ""
        raise ScheduleError(reason, message, excerpt=excerpt, hint=hint if isinstance(hint, str) else hint())

    # --------------------------------------------------------------------------------- services of @primitive
    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing: whatever error leaves this context, the schedule is as it was before."""
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
        """Within this context, steps count as one: what loop kinds and marks need must hold after the last one only.

        Each step keeps the meaning of the program, so that it does not matter what would have been legal in between.
        """
        outer, self._is_together = self._is_together, True
        try:
            yield
        finally:
            self._is_together = outer
        if not outer:
            self._kinds_hold()

    def _kinds_hold(self) -> None:
        self._proved = concurrency.kinds_hold(self, self._proved)
        self._overlap = _pipeline.marks_hold(self, self._overlap)

    def finish(self, op: str, args: dict[str, Any]) -> None:
        """Verify the program that a step has made, loop kinds included, and add the step to the trace."""
        step = Step(op, args, tuple(self._made))
        verify(self.func, "loop")
        if not self._is_together:
            self._kinds_hold()
        for key in self._before.named.keys() - self._nodes.named.keys():
            self._consumed[key] = f"step {len(self.trace.steps) + 1}: {step}"
        self.trace = Trace((*self.trace.steps, step))

    # ------------------------------------------------------------------------------------------------- inside
    @property
    def _nodes(self) -> _Index:
        if self._index.func is not self.func:
            self._index = _Index(self.func)
        return self._index

    def _lookup(self, space: str, ref: Any) -> Any:
        name = getattr(ref, "name", ref)
        if not isinstance(name, str):
            names = [n for sp, n in self._nodes.named if sp == space]
            raise ScheduleError(
                "bad_argument", f"expected a {space} or its name, got {ref!r}", hint=", ".join(names) or f"no {space}"
            )
        node = self._nodes.named.get((space, name))
        if node is not None:
            return node
        consumer = self._consumed.get((space, name))
        if consumer:
            step = next((t for t in self.trace.steps if consumer.endswith(f": {t}")), None)
            made = [n for n in step.out if (space, n) in self._nodes.named] if step else []
            message = f"{space} {name} was consumed by {consumer}"
            raise ScheduleError(f"consumed_{space}", message, hint=", ".join(made))
        names = [n for sp, n in self._nodes.named if sp == space]
        lower = {n.lower(): n for n in names}
        close = [lower[n] for n in difflib.get_close_matches(name.lower(), lower, n=3)]
        raise ScheduleError(
            f"unknown_{space}",
            f"there is no {space} named {name!r}" + (f"; did you mean {' or '.join(close)}?" if close else ""),
            hint=", ".join(names),
        )


class _Index:
    """Where things are in one Func: nodes by (space, name), and the way to every statement."""

    def __init__(self, func: Func):
        self.func = func
        self.named: dict[tuple[str, str], Node] = {(BUFFER, p.name): p for p in func.params}
        self.named.update(_named(func.body))
        self._paths: dict[int, tuple[Node, ...]] = {}

    def path(self, node: Stmt) -> tuple[Node, ...]:
        """The nodes around a statement, outermost first. Raises LookupError if it is not part of the program."""
        found = self._paths.get(id(node))
        if found is None:
            whole = path_to(self.func, node)
            if whole is None:
                raise LookupError("the statement is not part of the program")
            found = self._paths[id(node)] = whole[:-1]
        return found


def _named(stmt: Stmt) -> dict[tuple[str, str], Node]:
    """The loops, blocks and allocated buffers down to blocks, in program order; remembered at each loop."""
    found: dict[tuple[str, str], Node] = {}
    stack = [stmt]
    while stack:
        node = stack.pop()
        if isinstance(node, For):
            if "named" not in node.memo:
                node.memo["named"] = {(LOOP, node.var.name): node, **_named(node.body)}
            found.update(node.memo["named"])
        elif isinstance(node, Block):
            found[BLOCK, node.name] = node
        else:
            if isinstance(node, Alloc):
                found[BUFFER, node.buffer.name] = node.buffer
            stack.extend(reversed(parts(node)))
    return found
