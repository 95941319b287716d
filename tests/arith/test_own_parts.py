"""What a thread reads it has written: with gaps, in other orders, in parts of a box."""

import pytest

from tensorlang.arith.context import Context
from tensorlang.arith.own_parts import reads_own
from tensorlang.ir.nodes import NOTHING, SERIAL, Buffer, Const, Expr, For, If, Knob, Load, Stmt, Store, Var, const, seq
from tensorlang.ir.ops import make

B = Buffer("B", (const(64), const(64)), "float32")
OUT = Buffer("O", (const(1),), "float32")
T = Var("t")
ZERO = Const(0.0, "float32")


def if_then_else(*args: Expr) -> Expr:
    return make("if_then_else", *args)


def nest(extents: dict[str, Expr | int], access) -> Stmt:
    loops = [Var(name) for name in extents]
    body = access(*loops)
    for var, extent in reversed(list(zip(loops, extents.values(), strict=True))):
        body = For(var, index(extent), SERIAL, body)
    return body


def index(value: Expr | int) -> Expr:
    return const(value) if isinstance(value, int) else value


def store(*indices: Expr | int) -> Stmt:
    return Store(B, tuple(map(index, indices)), ZERO)


def load(*indices: Expr | int) -> Stmt:
    return Store(OUT, (const(0),), Load(B, tuple(map(index, indices))))


GAPS = {"a": 2, "v": 4}
RUNS = nest(GAPS, lambda a, v: store(a * 32 + T * 4 + v, T))


@pytest.mark.parametrize(
    ("writes", "reads", "own"),
    [
        # every other run of 4, which neighbours have the rest of
        (
            nest(GAPS, lambda a, v: store(a * 32 + T * 4 + v, T)),
            nest(GAPS, lambda a, v: load(a * 32 + T * 4 + v, T)),
            True,
        ),
        (nest(GAPS, lambda a, v: store(a * 32 + T * 4 + v, T)), nest({"w": 36}, lambda w: load(T * 4 + w, T)), False),
        (
            nest(GAPS, lambda a, v: store(a * 32 + T * 4 + v, T)),
            nest({"v": 4, "a": 2}, lambda v, a: load(a * 32 + T * 4 + v, T)),
            True,
        ),
        # a box, all of it and a part; one that is not all written
        (nest({"f": 32}, lambda f: store(f // 8, f % 8)), nest({"i": 4, "j": 8}, lambda i, j: load(i, j)), True),
        (nest({"f": 32}, lambda f: store(f // 8, f % 8)), load(T, T), True),
        (nest({"f": 16}, lambda f: store(f // 4 + T * 4, f % 4 * 2)), load(T * 4, 1), False),
        # of another thread
        (store(T, T), load(3 - T, T), False),
        (nest({"i": 4}, lambda i: store(i, T)), load(T, 3 - T), False),
        (store(T, T), load(T, T), True),
        # by some of the threads, or in some of the iterations
        (If(T < 1, store(T, T)), load(T, T), False),
        (If(T < 1, store(T, T)), If(T < 2, load(T, T)), False),
        (If(T < 2, store(T, T)), If(T < 1, load(T, T)), True),
        (If(T < 2, NOTHING, store(T, T)), If(T < 2, load(T, T)), False),
        (If(T < 2, NOTHING, store(T, T)), If(T < 3, NOTHING, load(T, T)), True),
        (If(T < 2, store(T, T)), Store(OUT, (const(0),), if_then_else(T < 2, Load(B, (T, T)), ZERO)), True),
        (If(T < 2, store(T, T)), Store(OUT, (const(0),), if_then_else(T < 2, ZERO, Load(B, (T, T)))), False),
        (
            nest({"i": 4}, lambda i: If(i * 4 + T < 9, store(i, T))),
            nest({"j": 4}, lambda j: If(j * 4 + T < 9, load(j, T))),
            True,
        ),
        (nest({"i": 4}, lambda i: If(i * 4 + T < 9, store(i, T))), nest({"j": 4}, lambda j: load(j, T)), False),
        # all write the same, then one of them something else, to this place, to a place of its own, or to another
        (seq(store(T, 0), If(T < 2, store(T, 0))), load(T, 0), True),
        (nest({"j": 2}, lambda j: seq(store(j, 0), If(T < 1, store(j, 0)))), If(T < 2, load(T, 0)), False),
        (nest({"j": 2}, lambda j: seq(store(j, 0), If(T < 1, store(j, 0)))), If(T < 1, load(T, 0)), True),
        (nest({"j": 2}, lambda j: seq(store(j, 0), If(T < 1, store(j + 2, 0)))), If(T < 2, load(T, 0)), True),
        (nest({"j": 2}, lambda j: seq(store(j, 0), nest({"k": T}, lambda k: store(j, 0)))), load(0, 0), False),
        # where only one of them stores, its place looks like one that all have
        (
            nest({"v": 2}, lambda v: seq(store(T * 2 + v, 0), If(T * 2 + v < 1, store(T * 2 + v, 0)))),
            nest({"w": 2}, lambda w: load(T * 2 + w, 0)),
            True,
        ),
        # a box with a border that is left out, which the load leaves out, too, or not
        (
            nest({"i": 5, "j": 3}, lambda i, j: If(i * 3 + j < 13, store(i * 3 + j, T))),
            nest({"w": 13}, lambda w: load(w, T)),
            True,
        ),
        (
            nest({"i": 5, "j": 3}, lambda i, j: If(i * 3 + j < 13, store(i * 3 + j, T))),
            nest({"w": 14}, lambda w: load(w, T)),
            False,
        ),
        # some digits of a subscript
        (nest({"i": 5, "j": 4}, lambda i, j: store(i * 8 + j, T)), nest({"w": 5}, lambda w: load(w * 8 + T, T)), True),
        (nest({"i": 5, "j": 4}, lambda i, j: store(i * 8 + j, T)), nest({"w": 6}, lambda w: load(w * 8 + T, T)), False),
        (nest({"i": 5, "j": 3}, lambda i, j: store(i * 8 + j, T)), nest({"w": 5}, lambda w: load(w * 8 + T, T)), False),
    ],
)
def test_reads_own(writes: Stmt, reads: Stmt, own: bool) -> None:
    assert reads_own(seq(writes, reads), B, {T: const(4)}, Context().bind(T, 4)) is own


@pytest.mark.parametrize(("border", "own"), [(0, True), (1, False)])
def test_parts_of_open_sizes(border: int, own: bool) -> None:
    """A box of y * z rows, of which each thread reads those that it has of every z."""
    y, z, n, t = (Knob(name, (2, 4)) for name in "yznt")
    i, j, w = Var("i"), Var("j"), Var("w")
    written = For(i, n, SERIAL, For(j, y, SERIAL, If(i * y * z + j < t * y, store(i * y * z + j, T))))
    read = For(w, n, SERIAL, If(w * y * z + T < t * y + border, load(w * y * z + T, T)))
    assert reads_own(seq(written, read), B, {T: y}, Context().bind(T, y)) is own
