"""The faults: each a small change of a syntax tree, such as a condition negated or a requirement left out."""

from __future__ import annotations

import ast
import copy
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

# Functions whose answer a check rests on: a fault makes them say yes.
PROOFS = frozenset(
    {"proves", "injective", "nonneg", "positive", "disjoint", "covers", "separates", "runs_once", "refuted", "_apart"}
    | {"refuted_at_worst", "_mentions", "_harmless", "_all_disjoint", "_is_free", "_beats", "_implies", "holds"}
)
# What says no: its texts are not code.
REFUSALS = frozenset({"refuse", "fail", "Mismatch", "BuildError"})
COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
ARITHMETIC: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Add,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.FloorDiv,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
}
CALLS = {"min": "max", "max": "min", "any": "all", "all": "any"}
STRINGS = {"min": "max", "max": "min", "and": "or", "or": "and", "lt": "le", "le": "lt", "floordiv": "mod", "eq": "ne"}


@dataclass(frozen=True)
class Fault:
    """One change that can be made: the `number`-th in its file, the `nth` that reads the same in its function.

    `before` and `after` are source text.
    """

    number: int
    nth: int
    kind: str
    function: str
    line: int
    before: str
    after: str


Change = tuple[str, ast.AST, ast.AST]  # kind, the node, what takes its place


def faults(source: str) -> list[Fault]:
    """All faults that fit into a file, in the order of its text."""
    alike: Counter[tuple[str, ...]] = Counter()
    found = []
    for number, (name, (kind, node, fresh)) in enumerate(_changes(ast.parse(source))):
        key = (name, kind, ast.unparse(node), ast.unparse(fresh))
        found.append(Fault(number, alike[key], kind, name, getattr(node, "lineno", 0), *key[2:]))
        alike[key] += 1
    return found


def mutated(source: str, number: int) -> str:
    """The file with one of its faults put in."""
    tree = ast.parse(source)
    for n, (_, (_, node, fresh)) in enumerate(_changes(tree)):
        if n == number:
            return ast.unparse(ast.fix_missing_locations(_Put(node, fresh).visit(tree)))
    raise LookupError(f"there is no fault number {number}")


class _Put(ast.NodeTransformer):
    def __init__(self, node: ast.AST, fresh: ast.AST):
        self.node, self.fresh = node, fresh

    def visit(self, node: ast.AST) -> ast.AST:
        return self.fresh if node is self.node else super().generic_visit(node)


def _changes(tree: ast.Module) -> Iterator[tuple[str, Change]]:
    """(name of the function, change) for all code in functions, texts and annotations aside."""

    def inside(node: ast.AST, name: str, computes: bool) -> Iterator[tuple[str, Change]]:
        for child in _code(node):
            if isinstance(child, ast.FunctionDef | ast.ClassDef):
                within = isinstance(child, ast.FunctionDef)
                yield from inside(child, f"{name}.{child.name}" if name else child.name, within)
                continue
            if computes:
                yield from ((name, change) for find in FINDERS for change in find(child))
            yield from inside(child, name, computes)

    return inside(tree, "", False)


def _code(node: ast.AST) -> list[ast.AST]:
    """The children of a node that compute: no annotations, docstrings, decorators, or texts of errors."""
    if isinstance(node, ast.FunctionDef):
        return list(node.body if ast.get_docstring(node) is None else node.body[1:])
    if isinstance(node, ast.AnnAssign):
        return [node.value] if node.value is not None else []
    if isinstance(node, ast.Raise | ast.Assert | ast.JoinedStr):
        return []
    if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
        return []
    if isinstance(node, ast.Call) and _name(node) in REFUSALS:
        return []
    if isinstance(node, ast.Call) and _name(node) == "require":
        return [node.args[0]]
    if isinstance(node, ast.keyword) and node.arg == "strict":  # of zip: an assertion
        return []
    return list(ast.iter_child_nodes(node))


def _name(call: ast.Call) -> str:
    return call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")


def _changed(node: ast.AST, **fields: object) -> ast.AST:
    fresh = copy.copy(node)
    for field, value in fields.items():
        setattr(fresh, field, value)
    return fresh


def _conditions(node: ast.AST) -> Iterator[Change]:
    """if c: ... -> if not c: ...;  a and b -> a;  not a -> a"""
    if isinstance(node, ast.If | ast.While | ast.IfExp):
        yield "negate", node.test, ast.UnaryOp(ast.Not(), node.test)
    if isinstance(node, ast.comprehension):
        for test in node.ifs:
            yield "drop condition", test, ast.Constant(True)
    if isinstance(node, ast.BoolOp):
        for n in range(len(node.values)):
            rest = node.values[:n] + node.values[n + 1 :]
            yield "drop term", node, rest[0] if len(rest) == 1 else _changed(node, values=rest)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        yield "drop not", node, node.operand


def _operators(node: ast.AST) -> Iterator[Change]:
    """a < b -> a <= b;  a + b -> a - b"""
    if isinstance(node, ast.Compare):
        for n, op in enumerate(node.ops):
            if type(op) in COMPARISONS:
                ops = [*node.ops[:n], COMPARISONS[type(op)](), *node.ops[n + 1 :]]
                yield "compare", node, _changed(node, ops=ops)
    if isinstance(node, ast.BinOp) and type(node.op) in ARITHMETIC:
        yield "operator", node, _changed(node, op=ARITHMETIC[type(node.op)]())
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        yield "sign", node, node.operand


def _constants(node: ast.AST) -> Iterator[Change]:
    """1 -> 2;  True -> False;  "min" -> "max" """
    if not isinstance(node, ast.Constant):
        return
    if isinstance(node.value, bool):
        yield "constant", node, ast.Constant(not node.value)
    elif isinstance(node.value, int):
        yield "constant", node, ast.Constant(node.value + 1)
    elif isinstance(node.value, str) and node.value in STRINGS:
        yield "constant", node, ast.Constant(STRINGS[node.value])


def _calls(node: ast.AST) -> Iterator[Change]:
    """f(a, b) -> f(b, a);  min(a, b) -> max(a, b);  proves(c) -> True"""
    if not isinstance(node, ast.Call) or _name(node) in REFUSALS:
        return
    if _name(node) in PROOFS:
        yield "trust", node, ast.Constant(True)
    if isinstance(node.func, ast.Name) and node.func.id in CALLS:
        yield "call", node, _changed(node, func=ast.Name(CALLS[node.func.id], ast.Load()))
    elif len(node.args) == 2 and not any(isinstance(a, ast.Starred) for a in node.args):
        one, two = node.args
        same_kind = not any(isinstance(a, ast.Name) and a.id in ("s", "ctx") for a in node.args)
        if ast.dump(one) != ast.dump(two) and same_kind and _name(node) not in ("isinstance", "getattr", "hasattr"):
            yield "swap", node, _changed(node, args=[two, one])


def _statements(node: ast.AST) -> Iterator[Change]:
    """checks.is_serial(s, loop) -> pass;  x += 1 -> pass;  continue -> pass"""
    called = isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)
    if called or isinstance(node, ast.AugAssign | ast.Continue | ast.Break):
        yield "drop statement", node, ast.Pass()


FINDERS: tuple[Callable[[ast.AST], Iterator[Change]], ...] = (_conditions, _operators, _constants, _calls, _statements)
