"""Survivors that compute the same as the code: (file, function, kind, before, after, nth of its kind there) -> why."""

from __future__ import annotations

EQUIVALENT: dict[tuple[str, str, str, str, str, int], str] = {
    (
        "tensorlang/arith/division.py",
        "_parts",
        "constant",
        "0",
        "1",
        0,
    ): "a default that is only asked whether it is < 0",
    (
        "tensorlang/arith/inequality.py",
        "_shifted",
        "compare",
        "c >= 0",
        "c > 0",
        0,
    ): "no coefficient of a polynomial is 0",
    (
        "tensorlang/arith/context.py",
        "_factors_positive",
        "constant",
        "0",
        "1",
        2,
    ): "no coefficient of a polynomial is 0",
    (
        "tensorlang/arith/alike.py",
        "repeats",
        "swap",
        "_do_the_same(a, b)",
        "_do_the_same(b, a)",
        0,
    ): "asked both ways round, it says the same",
    (
        "tensorlang/passes/barriers.py",
        "_Walk.clash",
        "drop term",
        "buffer in a and buffer in b",
        "buffer in b",
        0,
    ): "only saves the time of what follows, which asks again",
    (
        "tensorlang/arith/own_parts.py",
        "_apart",
        "swap",
        "zip(box or (), part or (), strict=False)",
        "zip(part or (), box or (), strict=False)",
        0,
    ): "of two parts, neither comes first",
    ("tensorlang/arith/inequality.py", "_shifted", "constant", "0", "1", 1): "no coefficient of a polynomial is 0",
    (
        "tensorlang/passes/pipeline.py",
        "_Rewrite.box",
        "drop term",
        "written_box(body, buffer, (*self.outer, self.loop), self.ctx) or whole",
        "written_box(body, buffer, (*self.outer, self.loop), self.ctx)",
        0,
    ): "what a loop allocates, it writes",
    (
        "tensorlang/backend/cuda_stmt.py",
        "KernelWriter.kernel",
        "drop condition",
        "isinstance(v, Size)",
        "True",
        0,
    ): "no other variables are free in a launch nest",
    (
        "tensorlang/schedule/partition.py",
        "_nothing_carried_backwards",
        "drop term",
        "b.init is None and node.var in free_vars(b.predicate)",
        "node.var in free_vars(b.predicate)",
        0,
    ): "a condition on this loop alone, as only such are found out to fail, holds inits back, too",
}
