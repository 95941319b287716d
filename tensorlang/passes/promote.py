"""promote: elements that a serial loop updates again and again stay in registers while it runs.

    C[i, ramp(0, 16)] = 0.0                          acc[ramp(0, 16)] = 0.0
    for k in 64:                                     for k in 64:
      C[i, ramp(0, 16)] =                    ->        acc[ramp(0, 16)] =
        fma(A[i, k], B[k, ramp(0, 16)],                  fma(A[i, k], B[k, ramp(0, 16)],
            C[i, ramp(0, 16)])                               acc[ramp(0, 16)])
                                                     C[i, ramp(0, 16)] = acc[ramp(0, 16)]

A buffer qualifies if all that the loop reads and writes of it are the same elements in each iteration, under the same
mask, and if any two of these places are equal or provably disjoint. LLVM cannot see that for rows of unknown length.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass, field

from tensorlang.arith.affine import linear
from tensorlang.arith.simplify import simplify
from tensorlang.ir import ops, walk
from tensorlang.ir.nodes import (
    FALSE,
    NOTHING,
    ONE,
    SERIAL,
    TRUE,
    ZERO,
    Alloc,
    Buffer,
    Const,
    Do,
    Expr,
    For,
    Func,
    If,
    Let,
    LetStmt,
    Load,
    Node,
    Op,
    Ramp,
    Seq,
    Stmt,
    Store,
    Var,
    const,
    seq,
)
from tensorlang.ir.walk import has_load
from tensorlang.passes.tighten import minimum, needs
from tensorlang.passes.tools import add_const, map_stmts
from tensorlang.target.target import Target

REGISTER = "register"
Subscripts = tuple[tuple[Expr, ...], Expr | None]  # and a mask
Place = Subscripts  # simplified
Needs = tuple[Expr, ...]  # of loops to run at all: each is >= 1


def promote(func: Func, target: Target) -> Func:
    """Accumulators become Allocs of scope register. Needs unroll and vectorize before it and flatten after it."""
    taken = {b.name for b in func.params} | {a.buffer.name for a in walk.find(func.body, Alloc)}
    return func.with_body(_promoted(func.body, 2 * target.registers, taken))


def _promoted(stmt: Stmt, most: int, taken: set[str]) -> Stmt:
    """Outermost loops first: what stays in registers across all of a nest need not do so again inside."""
    if not walk.statements(stmt, For):
        return stmt
    parts: list[Stmt] = []
    for part in stmt.stmts if isinstance(stmt, Seq) else (stmt,):
        if isinstance(part, Do):  # what its body says must stay what its code does
            parts.append(part)
            continue
        if not isinstance(part, For):
            parts.append(map_stmts(part, lambda n: _promoted(n, most, taken)))
            continue
        accumulators = _accumulators(part, most, taken) if part.kind == SERIAL else []
        loop = _on_registers(part, accumulators) if accumulators else part
        loop = map_stmts(loop, lambda n: _promoted(n, most, taken))
        for accumulator in accumulators:
            loop = accumulator.around(loop, part, parts)
        parts.append(loop)
    return seq(*parts)


# ------------------------------------------------------------------------------------------------ what qualifies
@dataclass
class _Uses:
    """The accesses to one buffer inside a loop."""

    places: dict[Subscripts, Place] = field(default_factory=dict)  # of what they are as they stand
    depends: dict[Place, frozenset[Var] | None] = field(default_factory=dict)  # on which variables; None: on data
    lanes: dict[Place, int] = field(default_factory=dict)  # in order of appearance
    runs: dict[Place, dict[Needs, None]] = field(default_factory=dict)  # it is used if one of these holds

    def add(self, access: Load | Store, bound: frozenset[Var], needed: Needs) -> bool:
        """False if the access depends on what the loop changes."""
        subscripts = (access.indices, access.mask)
        place = self.places.get(subscripts)
        if place is None:
            place = self.places[subscripts] = _place(access)
            parts = place[0] if place[1] is None else (*place[0], place[1])
            self.depends[place] = None if any(map(has_load, parts)) else _vars(parts)
            self.lanes[place] = max((i.lanes for i in place[0]), default=1)
        self.runs.setdefault(place, {})[needed] = None
        depends = self.depends[place]
        return depends is not None and depends.isdisjoint(bound)


def _vars(exprs: Iterable[Expr]) -> frozenset[Var]:
    return frozenset[Var]().union(*map(walk.free_vars, exprs))


class _Collector:
    """All accesses in a loop to some buffers, as long as they are at fixed places and none is conditional."""

    def __init__(self, buffers: Set[Buffer]):
        self.fixed = set(buffers)  # to which all accesses so far are so
        self.uses: dict[Buffer, _Uses] = {}

    def stmt(self, stmt: Stmt, bound: frozenset[Var], sure: bool, needed: Needs) -> None:
        """bound: the variables of the loops; sure: `stmt` runs whenever `needed` holds."""
        if self.fixed.isdisjoint(walk.touched(stmt)):
            return
        if isinstance(stmt, Do):  # its code finds its operands in memory
            sure = False
        mask = None
        if isinstance(stmt, Store):
            self.access(stmt, bound, sure, needed)
            mask = stmt.mask
        parts = walk.parts(stmt)
        for child in walk.children(stmt):
            if isinstance(child, Expr) and not self.fixed.isdisjoint(walk.touched(child)):
                self.expr(child, mask, bound, sure, needed)
        if isinstance(stmt, For):
            more = _first_runs(stmt.extent, bound)
            sure, needed = sure and stmt.kind == SERIAL and more is not None, (*needed, *(more or ()))
        if isinstance(stmt, For | LetStmt):
            bound |= {stmt.var}
        for part in parts:
            self.stmt(part, bound, sure and not isinstance(stmt, If), needed)

    def expr(self, expr: Expr, mask: Expr | None, bound: frozenset[Var], sure: bool, needed: Needs) -> None:
        """`mask` is that of the store that the value goes to: another mask's lanes differ."""
        if isinstance(expr, Load):
            sure = sure and (expr.mask is None or expr.mask is mask)
            self.access(expr, bound, sure, needed)
        sure = sure and not isinstance(expr, Let) and not (isinstance(expr, Op) and expr.op == "if_then_else")
        for child in walk.children(expr):
            if not self.fixed.isdisjoint(walk.touched(child)):
                self.expr(child, mask, bound, sure, needed)  # type: ignore[arg-type]

    def access(self, access: Load | Store, bound: frozenset[Var], sure: bool, needed: Needs) -> None:
        buffer = access.buffer
        if buffer in self.fixed:
            uses = self.uses.setdefault(buffer, _Uses())
            if not (sure and uses.add(access, bound, needed)):
                self.fixed.remove(buffer)


def _first_runs(extent: Expr, bound: frozenset[Var]) -> Needs | None:
    """When a loop of that extent runs in some iteration of those that `bound` counts: if so, in the first one.

    None if that is not known.
    """
    found = []
    for part in minimum(extent):
        for var in walk.free_vars(part) & bound:
            form = linear(part, (var,))
            slope = None if form is None else form[0].get(var, ZERO)
            if form is None or not (isinstance(slope, Const) and slope.value <= 0):
                return None
            part = form[1]
        found.append(simplify(part))
    return tuple(n for n in found if not isinstance(n, Const) or n.value < 1)


def _accumulators(loop: For, most: int, taken: set[str]) -> list[_Accumulator]:
    stored = {n.buffer for n in walk.statements(loop, Store) if n.buffer.scope != REGISTER}
    collector = _Collector(stored - {n.buffer for n in walk.statements(loop, Alloc)})
    collector.stmt(loop, frozenset(), True, ())
    return [
        _Accumulator(buffer, uses, _fresh(f"{buffer.name}.acc", taken))
        for buffer, uses in collector.uses.items()
        if buffer in collector.fixed and len(uses.lanes) <= most and _all_disjoint(uses.lanes)
    ]


def _fresh(base: str, taken: set[str]) -> str:
    """A name that no buffer has, from now on taken."""
    name = next(n for n in (base, *(f"{base}_{k}" for k in range(1, len(taken) + 2))) if n not in taken)
    taken.add(name)
    return name


def _place(access: Load | Store) -> Place:
    return tuple(map(simplify, access.indices)), access.mask


def _all_disjoint(places: dict[Place, int]) -> bool:
    """Whether any two places have no element in common."""
    spans: list[list[tuple[Expr, int, int]]] = []
    for indices, _ in places:
        found = [s for s in map(_span, indices) if s is not None]
        if len(found) < len(indices):
            return False
        spans.append(found)
    return all(any(map(_apart, a, b)) for n, a in enumerate(spans) for b in spans[:n])


def _span(index: Expr) -> tuple[Expr, int, int] | None:
    """A subscript as (base, from, to): the elements base + from .. base + to - 1."""
    if isinstance(index, Ramp):
        base, offset = add_const(index.base)
        if not (isinstance(index.stride, Const) and index.stride.value == 1):
            return None
        return base, offset, offset + index.lanes
    base, offset = add_const(index)
    return (base, offset, offset + 1) if index.lanes == 1 else None


def _apart(a: tuple[Expr, int, int], b: tuple[Expr, int, int]) -> bool:
    return a[0] is b[0] and (a[2] <= b[1] or b[2] <= a[1])


def _hold(needed: Iterable[Expr]) -> Expr:
    return ops.all_of(dict.fromkeys(simplify(ops.make("ge", need, ONE)) for need in needed))


# ------------------------------------------------------------------------------------------------- the rewriting
def _on_registers(loop: For, accumulators: list[_Accumulator]) -> Stmt:
    """`loop` working on the registers."""
    of = {accumulator.buffer: accumulator for accumulator in accumulators}

    def fold(node: Node) -> Node:
        if not isinstance(node, Load | Store) or node.buffer not in of:
            return node
        accumulator = of[node.buffer]
        indices = accumulator.indices[accumulator.places[node.indices, node.mask]]
        if isinstance(node, Load):
            return Load(accumulator.register, indices)
        return Store(accumulator.register, indices, node.value)

    return walk.transform(loop, fold, skip=lambda e: of.keys().isdisjoint(walk.touched(e)))


class _Accumulator:
    """The registers for the places of one buffer."""

    def __init__(self, buffer: Buffer, uses: _Uses, name: str):
        self.buffer, self.places, self.lanes, self.runs = buffer, uses.places, uses.lanes, uses.runs
        self.slots: dict[Place, int] = {}
        total = 0
        for place, lanes in uses.lanes.items():
            self.slots[place] = total
            total += lanes
        self.register = Buffer(name, (const(total),), buffer.dtype, REGISTER)
        self.indices = {place: (self._index(place),) for place in self.slots}

    def _index(self, place: Place) -> Expr:
        slot, lanes = const(self.slots[place]), self.lanes[place]
        return slot if lanes == 1 else Ramp(slot, ONE, lanes)

    def around(self, loop: Stmt, original: For, before: list[Stmt]) -> Stmt:
        """`loop` with loads before and stores after; values stored right `before` it are taken from there."""
        initial = self._stored_before(before)
        fill: dict[Place, Stmt] = {}
        after: dict[Place, Stmt] = {}
        for place, own in self.indices.items():
            value = Load(self.buffer, *place) if initial is None else initial[place]
            fill[place] = Store(self.register, own, value)
            after[place] = Store(self.buffer, place[0], Load(self.register, own), place[1])
        if initial is not None:
            return Alloc(self.register, seq(*fill.values(), loop, *after.values()))
        # A loop that does not run must touch nothing.
        known = set(needs(original))
        whole = seq(self._used(fill, known), loop, self._used(after, known))
        runs = _hold(needs(original))
        if runs is FALSE:
            return NOTHING
        whole = Alloc(self.register, whole)
        return whole if runs is TRUE else If(runs, whole)

    def _used(self, stores: Mapping[Place, Stmt], known: Set[Expr]) -> Stmt:
        """The stores, one for each place, of the places that are used, if `known` hold."""
        parts: list[Stmt] = []
        for place, store in stores.items():
            more = dict.fromkeys(tuple(n for n in each if n not in known) for each in self.runs[place])
            used: Expr = TRUE if () in more else FALSE
            for each in more:
                used = used if used is TRUE else ops.make("or", used, _hold(each))
            parts += [store] if used is TRUE else [] if used is FALSE else [If(used, store)]
        return seq(*parts)

    def _stored_before(self, before: list[Stmt]) -> dict[Place, Expr] | None:
        """Take the stores to all places from the end of `before`; None, and nothing taken, unless all are there."""
        found: dict[Place, Expr] = {}
        others: list[Stmt] = []  # that stay, the last one first
        first = len(before)
        while first and isinstance(store := before[first - 1], Store) and not has_load(store.value):
            if store.buffer is not self.buffer:
                others.append(store)
            elif (place := _place(store)) in self.slots:
                found.setdefault(place, store.value)
            else:  # perhaps a part of one of ours
                break
            first -= 1
        if len(found) != len(self.slots):
            return None
        before[first:] = reversed(others)
        return found
