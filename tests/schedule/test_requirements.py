"""Every numbered requirement of every primitive is checked, and every way to be refused is tested."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import pytest

import tensorlang as tl
from tensorlang.ir.nodes import Alloc, Block, For, Func, If, Load, Seq, Var, const
from tensorlang.ir.walk import find, replace_node, transform
from tensorlang.schedule.schedule import Schedule
from tests.schedule.programs import biased_matmul, blur, chain, matmul, refused, row_sum, running
from tests.schedule.requirements import (
    NOT_HERE,
    PRIMITIVES,
    REASONS,
    numbers,
    pairs_tested,
    possible_reasons,
    without_hint,
)

TESTED = pairs_tested()


@pytest.mark.parametrize("primitive", PRIMITIVES)
def test_every_requirement_has_its_refusals(primitive: str) -> None:
    """REASONS has the numbers of the docstring and the reasons of the code; each reason has a test."""
    reasons = REASONS.get(primitive, {})
    assert list(reasons) == numbers(primitive), "tests.schedule.requirements.REASONS takes the numbers of the docstring"
    said = {reason for each in reasons.values() for reason in each}
    elsewhere = {reason for (op, reason) in NOT_HERE if op == primitive}
    assert possible_reasons(primitive) <= said | elsewhere, "REASONS takes these reasons, too"
    missing = {(primitive, reason) for reason in said} - TESTED
    assert not missing, f'no test says refused(s, "reason", lambda: s.{primitive}(...)) for {sorted(missing)}'


def test_every_refusal_says_what_would_be_legal() -> None:
    """A hint stands at every place where a step is refused."""
    assert list(without_hint()) == []


# ----------------------------------------------------------------------------------------- of all primitives alike
HANDLES = [
    (name, parameter)
    for name in PRIMITIVES
    for parameter in ("loop", "outer", "block", "buffer", "loop_or_block")
    if parameter in getattr(Schedule, name).signature.parameters
]
# What else a primitive needs to come to look its handle up.
OTHERS: dict[str, Any] = {
    "factors": [2, None],
    "at": [1],
    "after": "C",
    "condition": True,
    "scope": "local",
    "key": "note",
    "hint": "evict_last",
    "value": 1,
    "index_map": lambda i, j: (j, i),
    "padding": [None, None, None],
    "axis": 0,
    "factor": 4,
    "bytes": 64,
    "intrinsic": "fma_row16",
    "stages": {"C": 0, "E": 1},
    "loop": "C.i",
    "outer": "C.i",
    "block": "C",
    "buffer": "C",
}


def call(s: Schedule, primitive: str, **given: Any) -> Any:
    parameters = getattr(Schedule, primitive).signature.parameters
    needed = {n for n, p in parameters.items() if p.default is p.empty and n != "s"}
    arguments = {n: OTHERS[n] for n in needed if n not in given} | given
    return getattr(s, primitive)(**arguments)


@pytest.mark.parametrize(("primitive", "parameter"), HANDLES)
def test_handles_are_looked_up_with_care(primitive: str, parameter: str) -> None:
    """What is no handle, a handle of another schedule, and names that nobody has are refused, each with its reason."""
    s, other = Schedule(biased_matmul()), Schedule(matmul())
    refused(s, "foreign_handle", lambda: call(s, primitive, **{parameter: other.loops()[0]}))
    refused(s, "bad_argument", lambda: call(s, primitive, **{parameter: object()}))
    with pytest.raises(tl.ScheduleError) as caught:
        call(s, primitive, **{parameter: "no.thing"})
    assert caught.value.reason.startswith("unknown_") and caught.value.hint


def test_every_primitive_is_in_the_table() -> None:
    assert list(REASONS) and set(REASONS) == set(PRIMITIVES)
    for primitive in PRIMITIVES:
        assert inspect.getdoc(getattr(Schedule, primitive))


# ------------------------------------------------------------------------ refusals that need a program made by hand
def changed(func: Func, old: Any, fresh: Any) -> Func:
    return func.with_body(replace_node(func.body, old, fresh))


def turned(func: Func) -> Func:
    """`func` with its innermost sequence of statements the other way round."""
    sequence = list(find(func.body, Seq))[-1]
    return changed(func, sequence, Seq(tuple(reversed(sequence.stmts))))


def block_of(func: Func, name: str) -> Block:
    return next(find(func.body, Block, lambda b: b.name == name))


def reading(block: Block, load: Callable[[Load], Load]) -> Block:
    """`block` with other loads."""
    return block.replace(body=transform(block.body, lambda n: load(n) if isinstance(n, Load) else n))


def unread() -> Func:
    """chain, in which C reads the input instead of P."""
    func = Schedule(chain()).func
    c = block_of(func, "C")
    return changed(func, c, reading(c, lambda n: Load(func.params[0], n.indices)))


def ahead() -> Func:
    """For each t: P makes T[t], then C reads U[t + 1]; before all that, Q makes U of the T that is not there yet."""
    a, t = tl.placeholder((5,), name="A"), tl.placeholder((5,), name="T0")
    p = tl.compute((5,), lambda t: a[t] * 2.0, name="P")
    q = tl.compute((5,), lambda x: t[x] + 1.0, name="Q")
    func = Schedule(tl.compute((4,), lambda t: p[t] + q[t + 1], name="C")).func
    made = next(n.buffer for n in find(func.body, Alloc) if n.buffer.name == "P")
    fresh = block_of(func, "Q")
    func = changed(func, fresh, reading(fresh, lambda n: Load(made, n.indices)))
    nests = {next(find(n, Block)).name: n for n in find(func.body, For)}
    inner = block_of(func, "P").replace(bindings=(nests["C"].var,))
    both = nests["C"].replace(body=Seq((inner, block_of(func, "C"))))
    return changed(func, next(find(func.body, Seq)), Seq((nests["Q"], both)))


def test_who_writes_later_cannot_be_copied_before() -> None:
    s = Schedule(turned(running()))
    assert refused(s, "producer_not_before", lambda: s.cache_read("C", "T", "local")).hint
    assert refused(s, "producer_not_before", lambda: s.reindex("C", "T")).hint


def test_copies_of_what_is_written_twice() -> None:
    s = Schedule(running())
    refused(s, "overwrites", lambda: s.reindex("P", "T"))


def test_what_nobody_reads_has_nowhere_to_go() -> None:
    s = Schedule(unread())
    assert refused(s, "no_consumer", lambda: s.compute_inline("P")).hint
    assert refused(s, "no_consumer", lambda: s.compute_at("P", "C.i")).hint


def test_moves_ahead_of_what_is_read() -> None:
    s = Schedule(ahead())
    refused(s, "not_produced_there", lambda: s.compute_at("Q", "C.t"))
    refused(s, "not_produced_there", lambda: s.reverse_compute_at("Q", "C.t"))


def test_pad_einsum_refuses_parts() -> None:
    s = Schedule(matmul())
    refused(s, "bad_factor", lambda: s.pad_einsum("C", [2.5, 4, 4]))
    s.split("C.i", [None, 4], tail="cut")
    assert refused(s, "several_writers", lambda: s.pad_einsum("C", [4, 4, 4])).hint


def two_results() -> tuple[tl.Tensor, tl.Tensor]:
    a = tl.placeholder((6,), name="A")
    b = tl.compute((6,), lambda i: a[i] * 2.0, name="B")
    return tl.compute((6,), lambda i: (b[i] + 1.0, b[i] * 2.0), name="P")


def test_two_results_are_one_too_many() -> None:
    p, q = two_results()
    s = Schedule([p, q])
    refused(s, "several_stores", lambda: s.reverse_compute_inline("P"))
    s = Schedule(tl.compute((6,), lambda i: p[i] + q[i], name="C"))
    refused(s, "several_outputs", lambda: s.transform_layout("P", lambda i: (i // 2, i % 2)))
    refused(s, "several_outputs", lambda: s.storage_align("P", 0, 4))
    refused(s, "several_outputs", lambda: s.swizzle("P", 64))
    refused(s, "several_outputs", lambda: s.store_at("P"))
    refused(s, "several_outputs", lambda: s.set_scope("P", "local"))
    refused(s, "several_outputs", lambda: s.double_buffer("P"))
    refused(s, "several_outputs", lambda: s.rolling_buffer("P", "C.i"))


def test_reverse_compute_inline_into_what_another_block_writes() -> None:
    func = Schedule(chain()).func
    c = block_of(func, "C")
    other = c.replace(name="D", body=c.body.replace(value=const(0).astype("float32")))
    nest = next(find(func.body, For, lambda n: n.var.name == "C.j"))
    s = Schedule(changed(func, nest, Seq((nest, For(Var("D.j"), nest.extent, "serial", moved(other, nest.var))))))
    refused(s, "several_writers", lambda: s.reverse_compute_inline("C"))


def moved(block: Block, old: Var) -> Block:
    """`block` driven by no loop instead of by `old`."""
    return block.replace(bindings=tuple(const(0) if b is old else b for b in block.bindings))


def test_transform_layout_fills_what_is_new_by_loops_that_are_plain() -> None:
    uneven = lambda i, j: (j // 5, i, j % 5)  # noqa: E731
    s = Schedule(chain())
    s.annotate("P.i", "note", 1)
    refused(s, "loop_annotated", lambda: s.transform_layout("P", uneven, pad_value=0.0))
    s.parallel("P.i")
    refused(s, "loop_kind", lambda: s.transform_layout("P", uneven, pad_value=0.0))


@pytest.mark.parametrize("kind", ["parallel", "vectorize", "unroll"])
def test_a_loop_has_one_kind(kind: str) -> None:
    s = Schedule(matmul())
    getattr(s, kind)("C.j")
    refused(s, "loop_kind", lambda: s.parallel("C.j"))
    refused(s, "loop_kind", lambda: s.vectorize("C.j"))
    refused(s, "loop_kind", lambda: s.unroll("C.j"))


def test_moved_blocks_get_other_loops() -> None:
    s = Schedule(chain())
    s.parallel("P.i")
    s.parallel("C.i")
    refused(s, "loop_kind", lambda: s.compute_at("P", "C.j"))
    refused(s, "loop_kind", lambda: s.reverse_compute_at("C", "P.j"))
    s = Schedule(chain())
    s.annotate("P.i", "note", 1)
    s.annotate("C.i", "note", 1)
    refused(s, "loop_annotated", lambda: s.compute_at("P", "C.j"))
    refused(s, "loop_annotated", lambda: s.reverse_compute_at("C", "P.j"))


def test_rolling_buffer_keeps_the_order_of_a_window() -> None:
    s = Schedule(blur())
    s.compute_at("H", "C.i")
    late = Schedule(turned(s.func))
    refused(late, "consumer_before", lambda: late.rolling_buffer("H", "C.i"))
    c = block_of(s.func, "C")
    h = next(n.buffer for n in find(s.func.body, Alloc) if n.buffer.name == "H")
    beyond = reading(c, lambda n: Load(n.buffer, (n.indices[0] + 1, n.indices[1])) if n.buffer is h else n)
    far = Schedule(changed(s.func, c, beyond))
    refused(far, "not_produced_there", lambda: far.rolling_buffer("H", "C.i"))


def test_rolling_buffer_needs_inputs_that_stay() -> None:
    s = Schedule(blur())
    s.compute_at("H", "C.i")
    s.compute_at("P", "C.i")
    s.decompose_padding("P", s.loops("P")[1])
    refused(s, "input_changes", lambda: s.rolling_buffer("H", "C.i"))


def test_store_at_keeps_threads_apart() -> None:
    """T[x] is made and read in one iteration of C.t, and made anew in the next: each thread needs its own T."""
    func = running()
    c = block_of(func, "C")
    x = c.iters[1].var
    held = next(find(func.body, Alloc)).buffer
    s = Schedule(changed(func, c, reading(c, lambda n: Load(held, (x,)))))
    s.store_at("T", "C.t")
    s.parallel("C.t")
    refused(s, "loop_carries", lambda: s.store_at("T", None))


def test_vectors_are_held_to_what_threads_are() -> None:
    s = Schedule(row_sum())
    refused(s, "loop_reduces", lambda: s.vectorize("C.k"))
    refused(s, "loop_reduces", lambda: s.parallel("C.k"))
    s = Schedule(running())
    refused(s, "loop_carries", lambda: s.vectorize("C.x"))
    func = Schedule(chain()).func
    again = func.with_body(For(Var("C.r"), const(3), "serial", func.body))
    s = Schedule(again)
    refused(s, "loop_repeats", lambda: s.vectorize("C.r"))


def test_store_at_keeps_what_is_read_before_it_is_written() -> None:
    s = Schedule(turned(running()))
    refused(s, "consumer_before", lambda: s.store_at("T", "C.t"))


def test_tensorize_takes_one_thing() -> None:
    func = Schedule(chain()).func
    c = block_of(func, "C")
    s = Schedule(changed(func, c, c.replace(name="C.j")))
    refused(s, "ambiguous_name", lambda: s.tensorize("C.j", "fma_row16"))
    assert refused(s, "ambiguous_name", lambda: s.annotate("C.j", "note", 1)).argument
    s.compute_at("P", "C.i")
    refused(s, "not_perfectly_nested", lambda: s.tensorize("C.i", "fma_row16"))


def test_conditions_stand_where_they_are() -> None:
    """An If between the loops of a reduction: what rfactor would make of it is not known."""
    func = Schedule(matmul()).func
    c = block_of(func, "C")
    loop = next(find(func.body, For, lambda n: n.var.name == "C.k"))
    s = Schedule(changed(func, c, If(loop.var < 3, c)))
    refused(s, "conditional", lambda: s.rfactor("C.k"))
