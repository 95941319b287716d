"""Faults seeded into kernels, one at a time, each with what the interpreter must say.

python -m tests.ir.faults        runs them and prints what was found
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from tensorlang.errors import (
    DivergenceError,
    ExecutionError,
    MissingWaitError,
    OutOfBoundsError,
    RaceError,
    UninitializedError,
)
from tensorlang.ir import interp_launch, walk
from tensorlang.ir.interp_launch import Settings
from tensorlang.ir.launch import ASYNC_COMMIT, ASYNC_WAIT, ATOMIC, BARRIER
from tensorlang.ir.nodes import NOTHING, Alloc, Buffer, Do, Expr, For, Func, If, Op, Seq, Stmt, Store, const, seq
from tests.ir.kernels import CASES, at, barrier, bx, by, histogram, ko, softmax, tx, ty, wait


# ------------------------------------------------------------------------------------------------ mutations
def change(kind: type[Stmt], number: int, edit: Callable[..., Stmt], name: str = "") -> Callable[[Func], Func]:
    """A mutation: `edit` the statement `number` (from 0) of a kind; `name`: only of this buffer, effect or variable."""

    def mutate(func: Func) -> Func:
        def named(node: Stmt) -> bool:
            what = getattr(node, "what", None) or getattr(node, "buffer", None) or getattr(node, "var", None)
            return not name or getattr(what, "name", what) == name

        chosen = list(walk.find(func.body, kind, named))[number]
        fresh = walk.replace_node(func.body, chosen, edit(chosen))
        return func.with_body(walk.transform(fresh, lambda node: seq(*node.stmts) if isinstance(node, Seq) else node))

    return mutate


def without(what: str, number: int = 0) -> Callable[[Func], Func]:
    return change(Do, number, lambda node: NOTHING, what)


def unguarded(number: int) -> Callable[[Func], Func]:
    return change(If, number, lambda node: node.then)


def plain(number: int) -> Callable[[Func], Func]:
    """An update that is atomic no more."""
    return change(Do, number, lambda node: node.body, ATOMIC)


def index(buffer: str, number: int, edit: Callable[[Expr], Expr]) -> Callable[[Func], Func]:
    """Another subscript in store `number` to a buffer."""
    return change(Store, number, lambda node: node.replace(indices=(edit(node.indices[0]),)), buffer)


def exchange(old: Expr, fresh: Expr) -> Callable[[Func], Func]:
    """Another expression wherever `old` stands."""
    return lambda func: func.with_body(walk.transform(func.body, lambda node: fresh if node is old else node))


def smaller(name: str, elements: int) -> Callable[[Func], Func]:
    def mutate(func: Func) -> Func:
        (buffer,) = {a.buffer for a in walk.find(func.body, Alloc) if a.buffer.name == name}
        fresh = Buffer(name, (const(elements),), buffer.dtype, buffer.scope)
        return func.with_body(walk.substitute(func.body, buffers={buffer: fresh}))

    return mutate


def each(*mutations: Callable[[Func], Func]) -> Callable[[Func], Func]:
    def mutate(func: Func) -> Func:
        for mutation in mutations:
            func = mutation(func)
        return func

    return mutate


def unpadded(buffer: str) -> Callable[[Func], Func]:
    """The store to a buffer without the condition of what it loads."""

    def edit(store: Store) -> Stmt:
        assert isinstance(store.value, Op) and store.value.op == "if_then_else"
        return store.replace(value=store.value.args[1])

    return change(Store, 0, edit, buffer)


# ------------------------------------------------------------------------------------------------- programs
def _softmax_numpy(a: np.ndarray) -> np.ndarray:
    e = np.exp(a - a.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def _softmax_inputs(seed: int) -> list[np.ndarray]:
    return [np.random.default_rng(seed).standard_normal((5, 150), np.float32)]


def _histogram_inputs(seed: int) -> list[np.ndarray]:
    return [np.random.default_rng(seed).integers(0, 10, 300).astype(np.int32)]


def _histogram_numpy(a: np.ndarray) -> np.ndarray:
    return np.bincount(a, minlength=10).astype(np.int32)


PROGRAMS: dict[str, tuple[Func, Callable[[int], list[np.ndarray]], Callable[..., np.ndarray]]] = {
    **{name: (case.func, case.inputs, case.expected) for name, case in CASES.items()},
    "softmax": (softmax(5, 150, 64), _softmax_inputs, _softmax_numpy),
    "histogram": (histogram(300, 10, 32), _histogram_inputs, _histogram_numpy),
}


def run(program: str, func: Func, seed: int = 0, settings: Settings | None = None) -> bool:
    """Run a variant of a program; whether it computes what NumPy does."""
    _, inputs_of, expected_of = PROGRAMS[program]
    inputs = inputs_of(seed)
    expected = expected_of(*inputs)
    result = np.empty_like(expected)
    result[...] = np.nan if expected.dtype == np.float32 else -1
    interp_launch.run(func, [*inputs, result], settings=settings)
    return np.allclose(result, expected, rtol=1e-6) if program == "softmax" else np.array_equal(result, expected)


# --------------------------------------------------------------------------------------------------- faults
class WrongNumbers(Exception):
    """Nothing is illegal, but the result is not NumPy's."""


@dataclass(frozen=True)
class Fault:
    program: str
    what: str
    mutate: Callable[[Func], Func]
    error: type[Exception]
    about: str = ""  # the buffer that the report names


_MATMUL, _DOUBLE, _PIPE, _TURN = "matmul of odd sizes", "double buffered", "pipelined", "transpose"
RACE, NO_WAIT, DIVERGENT = RaceError, MissingWaitError, DivergenceError
OUTSIDE, UNWRITTEN, WRONG = OutOfBoundsError, UninitializedError, WrongNumbers
FAULTS = [
    Fault(_MATMUL, "no barrier after the copies", without(BARRIER, 0), RACE, "A.tile"),
    Fault(_MATMUL, "no barrier at the end of a step", without(BARRIER, 1), RACE, "A.tile"),
    Fault(_MATMUL, "no guard for A", unpadded("A.tile"), OUTSIDE, "A"),
    Fault(_MATMUL, "no guard for the result", unguarded(0), OUTSIDE, "C"),
    Fault(_MATMUL, "index of a copy names x twice", index("A.tile", 0, lambda _: tx * 8 + tx), RACE, "A.tile"),
    Fault(_MATMUL, "index of the copy swapped", index("B.tile", 0, lambda _: tx * 8 + ty), WRONG),
    Fault(_MATMUL, "tile one too small", smaller("B.tile", 63), OUTSIDE, "B.tile"),
    Fault(_MATMUL, "sum not cleared", change(Store, 0, lambda _: NOTHING, "acc"), UNWRITTEN, "acc"),
    Fault(
        _MATMUL,
        "inner loop one too long",
        change(For, 0, lambda loop: loop.replace(extent=const(9)), "k"),
        OUTSIDE,
        "A.tile",
    ),
    Fault(
        _MATMUL,
        "barrier only where the result is inside",
        change(Do, 0, lambda node: If((by * 8 + ty < 19) & (bx * 8 + tx < 21), node), BARRIER),
        DIVERGENT,
    ),
    Fault(_MATMUL, "blocks overlap", exchange(bx * 8 + tx, bx * 7 + tx), RACE, "C"),
    Fault(_DOUBLE, "one slot", each(exchange(ko % 2, const(0)), exchange((ko + 1) % 2, const(0))), RACE, "A.tile"),
    Fault(_DOUBLE, "no barrier in a step", without(BARRIER, 1), RACE, "A.tile"),
    Fault(_DOUBLE, "no barrier before the first step", without(BARRIER, 0), RACE, "A.tile"),
    Fault(_DOUBLE, "copies to the slot in use", exchange((ko + 1) % 2, ko % 2), RACE, "A.tile"),
    Fault(_DOUBLE, "computes from the other slot", exchange(ko % 2, (ko + 1) % 2), RACE, "A.tile"),
    Fault(_PIPE, "no wait", without(ASYNC_WAIT), NO_WAIT, "A.tile"),
    Fault(_PIPE, "waits for one group too few", change(Do, 0, lambda _: wait(2), ASYNC_WAIT), NO_WAIT, "A.tile"),
    Fault(_PIPE, "no commit in a step", without(ASYNC_COMMIT, 2), NO_WAIT, "A.tile"),
    Fault(_PIPE, "one commit too few before", without(ASYNC_COMMIT, 1), NO_WAIT, "A.tile"),
    Fault(_PIPE, "no barrier", without(BARRIER), RACE, "A.tile"),
    Fault(
        _PIPE,
        "barrier before the wait",
        each(
            change(Do, 0, lambda node: NOTHING, BARRIER), change(Do, 0, lambda node: seq(barrier(), node), ASYNC_WAIT)
        ),
        RACE,
        "A.tile",
    ),
    Fault(
        _PIPE,
        "two slots for three stages",
        each(exchange(ko % 3, ko % 2), exchange((ko + 2) % 3, (ko + 2) % 2)),
        NO_WAIT,
        "A.tile",
    ),
    Fault(_PIPE, "vectors overlap", exchange(tx * 4, tx * 3), RACE, "B.tile"),
    Fault(_TURN, "no barrier", without(BARRIER), RACE, "tile"),
    Fault(_TURN, "index of the copy names y twice", index("tile", 0, lambda _: ty * 9 + ty), RACE, "tile"),
    Fault(_TURN, "rows of the tile overlap", each(exchange(ty * 9, ty * 7), exchange(tx * 9, tx * 7)), RACE, "tile"),
    Fault(_TURN, "no guard for the result", unguarded(1), UNWRITTEN, "tile"),
    Fault(_TURN, "guard swapped", exchange(bx * 8 + ty, by * 8 + ty), UNWRITTEN, "tile"),
    Fault("softmax", "no barrier before the parts are read", without(BARRIER, 0), RACE, "parts"),
    Fault("softmax", "no barrier before the parts are used again", without(BARRIER, 1), RACE, "parts"),
    Fault("softmax", "mask of a shuffle wrong", exchange(const(16), const(8)), WRONG),
    Fault("softmax", "shuffles of half a warp", change(Store, 2, lambda s: If(tx % 32 < 16, s), "most"), DIVERGENT),
    Fault("softmax", "one part too few", smaller("parts", 1), OUTSIDE, "parts"),
    Fault("softmax", "every thread writes the part", unguarded(0), RACE, "parts"),
    Fault("tree sum", "no barrier in a step", without(BARRIER, 1), RACE, "part"),
    Fault(
        "tree sum",
        "barrier inside the condition",
        change(If, 0, lambda node: node.replace(then=seq(node.then, barrier()))),
        DIVERGENT,
    ),
    Fault(
        "tree sum",
        "adds a neighbour",
        change(Store, 1, lambda s: s.replace(value=at(s.buffer, tx) + at(s.buffer, tx + 1)), "part"),
        RACE,
        "part",
    ),
    Fault("stencil", "halo one too small", change(If, 0, lambda node: node.replace(cond=tx < 1)), UNWRITTEN, "tile"),
    Fault("stencil", "tile without its halo", smaller("tile", 16), OUTSIDE, "tile"),
    Fault("stencil", "no barrier", without(BARRIER), RACE, "tile"),
    Fault("histogram", "counts without atomics", plain(0), RACE, "own"),
    Fault("histogram", "adds without atomics", plain(1), RACE, "H"),
    Fault("histogram", "no barrier after clearing", without(BARRIER, 0), RACE, "own"),
    Fault("histogram", "no barrier before adding", without(BARRIER, 1), RACE, "own"),
    Fault("triangle", "loop one too long", exchange(const(1), const(2)), WRONG),
]


def find(fault: Fault, settings: Settings | None = None) -> Exception | None:
    """What the interpreter finds in a faulty program; None: nothing."""
    try:
        right = run(fault.program, fault.mutate(PROGRAMS[fault.program][0]), settings=settings)
    except ExecutionError as error:
        return error
    return None if right else WrongNumbers("the result differs from NumPy's")


def main() -> None:
    found = 0
    for number, fault in enumerate(FAULTS, 1):
        error = find(fault)
        found += error is not None
        said = "MISSED" if error is None else f"{type(error).__name__}: {str(error).splitlines()[0]}"
        print(f"{number:2} {fault.program:20} {fault.what:44} {said}")
    print(f"{found} of {len(FAULTS)} found")


if __name__ == "__main__":
    main()
