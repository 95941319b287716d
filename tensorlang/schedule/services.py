"""What primitives share: finding nodes by name, replacing them, making names, asking for proofs, and refusing."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterator
from typing import Any, NoReturn

from tensorlang.arith.context import Context
from tensorlang.arith.prove import prove
from tensorlang.arith.simplify import negation
from tensorlang.errors import ScheduleError
from tensorlang.ir.nodes import FALSE, TRUE, Alloc, Block, Buffer, Expr, For, Func, If, Knob, Node, Seq, Stmt, seq
from tensorlang.ir.printer import text
from tensorlang.ir.walk import free_vars, replace_along
from tensorlang.schedule import loops
from tensorlang.schedule.checks import Hint
from tensorlang.schedule.handles import BlockLike, LoopLike
from tensorlang.schedule.index import BLOCK, BUFFER, LOOP, Index
from tensorlang.schedule.trace import Trace


class Services:
    """The half of Schedule that primitives are written with."""

    func: Func
    trace: Trace
    constraints: tuple[Expr, ...]
    _index: Index
    _consumed: dict[tuple[str, str], int]
    _made: list[str]
    _planned: Iterator[str] | None

    def loop_node(self, loop: LoopLike) -> For:
        """The For of that name."""
        return self._lookup(LOOP, loop)

    def block_node(self, block: BlockLike) -> Block:
        """The Block of that name."""
        return self._lookup(BLOCK, block)

    def has_loop(self, name: str) -> bool:
        return self._nodes.get(LOOP, name) is not None

    def has_block(self, name: str) -> bool:
        return self._nodes.get(BLOCK, name) is not None

    def buffer(self, buffer: Buffer | str) -> Buffer:
        """The Buffer of that name."""
        return self._lookup(BUFFER, buffer)

    def path(self, node: Stmt) -> tuple[Node, ...]:
        """The nodes around a statement of the program, from the Func inwards, without the statement itself."""
        return self._nodes.path(node)

    def replace(self, old: Stmt, new: Stmt) -> None:
        """Put `new` where the statement `old` stands."""
        path = self.path(old)
        parent = path[-1]
        if isinstance(parent, Seq) and isinstance(new, Seq):  # sequences do not nest
            path, old, new = path[:-1], parent, seq(*(new if stmt is old else stmt for stmt in parent.stmts))
        self.func = replace_along(path, old, new)

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
        self._consumed[space, name] = 0
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
                ctx = ctx.bind(outer.var, loops.open_extent(outer.extent, ctx) if rewriting else outer.extent)
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

    @property
    def _nodes(self) -> Index:
        if self._index.func is not self.func:
            self._index = Index(self.func)
        return self._index

    def _lookup(self, space: str, ref: Any) -> Any:
        name = getattr(ref, "name", ref)
        if not isinstance(name, str):
            names = [n for sp, n in self._nodes.names if sp == space]
            raise ScheduleError(
                "bad_argument", f"expected a {space} or its name, got {ref!r}", hint=", ".join(names) or f"no {space}"
            )
        node = self._nodes.get(space, name)
        if node is not None:
            return node
        number = self._consumed.get((space, name))
        if number:
            step = self.trace.steps[number - 1]
            made = [n for n in step.out if self._nodes.get(space, n) is not None]
            message = f"{space} {name} was consumed by step {number}: {step}"
            raise ScheduleError(f"consumed_{space}", message, hint=", ".join(made))
        names = [n for sp, n in self._nodes.names if sp == space]
        lower = {n.lower(): n for n in names}
        close = [lower[n] for n in difflib.get_close_matches(name.lower(), lower, n=3)]
        raise ScheduleError(
            f"unknown_{space}",
            f"there is no {space} named {name!r}" + (f"; did you mean {' or '.join(close)}?" if close else ""),
            hint=", ".join(names),
        )
