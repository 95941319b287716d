"""Make a failing case small: drop steps, make numbers smaller, cut expressions down, as long as it fails alike."""

from __future__ import annotations

import ast
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

from tests.fuzz.case import Case
from tests.fuzz.random_te import Expression


def shrink(case: Case, fails: Callable[[Case], bool], seconds: float = 30) -> Case:
    """The smallest case found that `fails`, which must hold for `case`; stops after that many seconds."""
    deadline = time.monotonic() + seconds
    progress = True
    while progress:
        progress = False
        for smaller in candidates(case):
            if time.monotonic() > deadline:
                return case
            if fails(smaller):
                case, progress = smaller, True
                break
    return case


def candidates(case: Case) -> Iterator[Case]:
    """Cases that are a little smaller, the boldest first."""
    yield from (replace(case, steps=s) for s in _shorter(case.steps))
    e = case.expression
    if len(e.outputs) > 1:
        yield from (replace(case, expression=replace(e, outputs=[o])) for o in e.outputs)
    for number in reversed(range(len(e.lines))):
        yield replace(case, expression=_without(e, number))
    for name, value in e.sizes.items():
        for smaller in _smaller_numbers(value):
            yield replace(case, expression=replace(e, sizes={**e.sizes, name: smaller}))
        fixed = [f"{name} = {value}" if line == f'{name} = tl.var("{name}")' else line for line in e.lines]
        rest = {n: v for n, v in e.sizes.items() if n != name}
        yield replace(case, expression=Expression(fixed, e.outputs, rest))
    for number, line in enumerate(e.lines):
        for text in _simpler(line):
            lines = [*e.lines[:number], text, *e.lines[number + 1 :]]
            yield replace(case, expression=replace(e, lines=lines))
    for number, step in enumerate(case.steps):
        for text in _simpler(step):
            yield replace(case, steps=(*case.steps[:number], text, *case.steps[number + 1 :]))


def _shorter(steps: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """Without a run of steps: halves, quarters, ... single ones."""
    size = len(steps)
    while size:
        for first in reversed(range(0, len(steps) - size + 1, size)):
            yield steps[:first] + steps[first + size :]
        size //= 2


def _without(e: Expression, number: int) -> Expression:
    """`e` without a line; whoever needs it makes that a case without meaning, which does not fail alike."""
    defined = e.lines[number].split(" = ")[0].split(", ")
    left = [o for o in e.outputs if o not in defined]
    lines = [*e.lines[:number], *e.lines[number + 1 :]]
    last = next((line for line in reversed(lines) if "tl.compute(" in line), "")
    return Expression(lines, left or last.split(" = ")[0].split(", ")[:1], e.sizes)


def _smaller_numbers(value: int) -> list[int]:
    return sorted({n for n in (1, 2, value // 2, value - 1) if 0 < n < value})


def _simpler(line: str) -> Iterator[str]:
    """`line` with a number made smaller, or an operation replaced by one of its operands."""
    if "reducer(" in line:  # what is said of a reducer must stay true
        return
    tree = ast.parse(line)
    for node in ast.walk(tree):
        for name, old in ast.iter_fields(node):
            for position, child in enumerate(old if isinstance(old, list) else [old]):
                if not isinstance(child, ast.AST):
                    continue
                for new in _parts(child):
                    _put(node, name, position, new)
                    yield ast.unparse(tree)
                    _put(node, name, position, child)


def _put(node: ast.AST, name: str, position: int, value: ast.AST) -> None:
    old = getattr(node, name)
    if isinstance(old, list):
        old[position] = value
    else:
        setattr(node, name, value)


def _parts(node: ast.AST) -> list[ast.AST]:
    """What may stand in place of an expression."""
    if isinstance(node, ast.Constant) and type(node.value) is int:
        return [ast.Constant(n) for n in _smaller_numbers(node.value)]
    if isinstance(node, ast.BinOp):
        return [node.left, node.right]
    if isinstance(node, ast.UnaryOp):
        return [node.operand]
    if isinstance(node, ast.Compare):
        return [node.left]
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        if node.func.attr in ("minimum", "maximum", "select", "if_then_else", "floor", "cast"):
            return list(node.args)
        if node.func.attr == "astype":
            return [node.func.value]
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "abs":
        return list(node.args)
    return []
