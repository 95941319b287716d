"""What faults there are, and that a mutant is the code with one of them."""

from __future__ import annotations

import ast

import pytest

from tests.mutate.mutants import GROUPS, ROOT, draw, files
from tests.mutate.operators import faults, mutated

SOURCE = '''
LIMIT = 5  # outside of functions: no place for a fault


def check(s, a, b):
    """No text is changed, 1 + 1."""
    checks.is_serial(s, a)
    if a < b and not b:
        s.refuse("reason", f"no {a + 1}", hint="2 + 2")
    for x in (y for y in a if y.ok):
        s.require(a >= 1, "text", 3)
    return proves(a + b, a) or min(a, -b)
'''
EXPECTED = [
    ("drop statement", "checks.is_serial(s, a)", "pass"),
    ("negate", "a < b and (not b)", "not (a < b and (not b))"),
    ("drop term", "a < b and (not b)", "not b"),
    ("drop term", "a < b and (not b)", "a < b"),
    ("compare", "a < b", "a <= b"),
    ("drop not", "not b", "b"),
    ("drop statement", "s.refuse('reason', f'no {a + 1}', hint='2 + 2')", "pass"),
    ("drop condition", "y.ok", "True"),
    ("drop statement", "s.require(a >= 1, 'text', 3)", "pass"),
    ("compare", "a >= 1", "a > 1"),
    ("constant", "1", "2"),
    ("drop term", "proves(a + b, a) or min(a, -b)", "min(a, -b)"),
    ("drop term", "proves(a + b, a) or min(a, -b)", "proves(a + b, a)"),
    ("trust", "proves(a + b, a)", "True"),
    ("operator", "a + b", "a - b"),
    ("call", "min(a, -b)", "max(a, -b)"),
    ("swap", "proves(a + b, a)", "proves(a, a + b)"),
    ("sign", "-b", "b"),
]


def test_faults_of_a_function() -> None:
    found = [(f.kind, f.before, f.after) for f in faults(SOURCE)]
    assert sorted(found) == sorted(EXPECTED)
    assert {f.function for f in faults(SOURCE)} == {"check"}


@pytest.mark.parametrize("fault", faults(SOURCE), ids=lambda f: f"{f.kind} {f.number}")
def test_one_fault_is_put_in(fault) -> None:
    before = ast.unparse(ast.parse(SOURCE)).splitlines()
    after = mutated(SOURCE, fault.number).splitlines()
    assert len(before) == len(after)
    (changed,) = [n for n, (a, b) in enumerate(zip(before, after, strict=True)) if a != b]
    assert fault.before in before[changed] and fault.after in after[changed]


def test_a_seed_draws_the_same_mutants() -> None:
    few, many = draw(3, 8), draw(3, 12)
    assert few == many[:8] and len({m.identity for m in many}) == 12
    rooms = {path.split("/")[1] for path in (m.path for m in few)}
    assert rooms == {room for each in GROUPS.values() for room in each}
    assert few != draw(4, 8)


@pytest.mark.parametrize("group", GROUPS)
def test_every_mutant_of_a_file_is_python(group: str) -> None:
    path = files(group)[-1]
    source = (ROOT / path).read_text(encoding="utf-8")
    for fault in faults(source)[::25]:
        ast.parse(mutated(source, fault.number))
