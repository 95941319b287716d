"""serpentine: loops marked so run backwards in every other iteration of the loop that they turn by.

for i in 4:                        for i in 4:
  for j in 8:  # serpentine: i ->    for j_turning in 8:
    C[i * 8 + j] = A[j]                let j = select(i % 2 == 0, j_turning, 7 - j_turning)
                                       C[i * 8 + j] = A[j]

Order is all that they say: one whose loop to turn by is gone, as it had one iteration, runs forwards.
"""

from __future__ import annotations

from tensorlang.ir import ops, walk
from tensorlang.ir.nodes import SERPENTINE, For, Func, LetStmt, Stmt, Var
from tensorlang.target.target import Target


def serpentine(func: Func, target: Target) -> Func:
    """No loop is serpentine any more. Run it last: afterwards, less is known of subscripts."""
    if not any(SERPENTINE in dict(loop.annotations) for loop in walk.find(func.body, For)):
        return func
    return func.with_body(_turned(func.body, {}))


def _turned(stmt: Stmt, around: dict[str, Var]) -> Stmt:
    """`stmt` inside the loops `around`, by name."""
    if not isinstance(stmt, For):
        return walk.map_children(stmt, lambda n: _turned(n, around) if isinstance(n, Stmt) else n)
    body = _turned(stmt.body, {**around, stmt.var.name: stmt.var})
    notes = dict(stmt.annotations)
    outer = around.get(notes.pop(SERPENTINE, ""))
    if outer is None:
        return stmt.replace(body=body)
    var = Var(f"{stmt.var.name}_turning")
    place = ops.make("select", ops.make("eq", outer % 2, 0), var, stmt.extent - 1 - var)
    return For(var, stmt.extent, stmt.kind, LetStmt(stmt.var, place, body), tuple(notes.items()))
