"""When two blocks compute the same."""

from __future__ import annotations

from tensorlang.arith.alike import commute, repeats, restarts, updates
from tensorlang.ir.nodes import REDUCE, SPATIAL, TRUE, Block, Buffer, Expr, Iter, LetStmt, Load, Stmt, Store, Var, seq
from tests.ir.small_funcs import extents, literal, sum_reducer

A, B, C = (Buffer(name, extents(8), "float32") for name in "ABC")
Z = Var("z", "float32")


def block(body, kind: str = SPATIAL, extent: int = 8, init=None) -> Block:
    """`body` and `init` of an iterator of its own."""
    v = Var("i")
    domain = (Iter(v, extents(extent)[0], kind),)
    reducer = None if init is None else sum_reducer()
    return Block("P", domain, (Var("loop"),), TRUE, reducer, None if init is None else init(v), body(v))


def plus(value: float, target: Buffer = B):
    return lambda v: Store(target, (v,), Load(A, (v,)) + literal(value))


def total(value: float = 1.0):
    return lambda v: Store(B, (v,), Load(B, (v,)) + Load(A, (v,)) * literal(value))


def zero(value: float = 0.0):
    return lambda v: Store(B, (v,), literal(value))


def named(value, used: Expr = Z):
    """A value that has a name."""

    def body(v: Expr) -> Stmt:
        return LetStmt(Z, value(v), Store(B, (v,), used))

    return body


def test_copies_repeat_each_other() -> None:
    assert repeats(block(plus(1)), block(plus(1)))
    assert not repeats(block(plus(1)), block(plus(2)))
    assert not repeats(block(plus(1)), block(plus(1, C)))
    assert repeats(block(plus(1)), block(plus(1), extent=7))  # wherever both store
    both = lambda v: seq(plus(1)(v), plus(2, C)(v))  # noqa: E731
    assert repeats(block(both), block(both))
    assert not repeats(block(both), block(lambda v: seq(plus(1)(v), plus(1, C)(v))))


def test_names_of_values_count_as_the_values() -> None:
    one = named(lambda v: Load(A, (v,)))
    assert repeats(block(one), block(one))
    assert not repeats(block(one), block(named(lambda v: Load(A, (v,)) + literal(1.0))))
    assert not repeats(block(one), block(named(lambda v: Load(A, (v,)), Z + literal(1.0))))


def test_updates_do_not_repeat_but_restart_or_commute() -> None:
    def once(init: float = 0.0, by: float = 1.0, kind: str = REDUCE) -> Block:
        return block(total(by), kind, init=zero(init))

    assert updates(once()) and not updates(block(plus(1)))
    assert not repeats(once(), once())
    assert not repeats(block(plus(1), REDUCE), block(plus(1), REDUCE))  # an element is stored more than once
    assert restarts(once(), once())
    assert not restarts(once(), once(init=1.0)) and not restarts(once(), once(by=2.0))
    assert not restarts(once(), block(total(), REDUCE))
    assert commute(once(), once(init=1.0))
    assert not commute(once(), once(by=2.0))
    assert not commute(block(plus(1)), block(plus(1)))
