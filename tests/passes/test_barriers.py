"""Barriers between the threads of a block: behind a loop that may not run, and beside intrinsics."""

from __future__ import annotations

import pytest

from tensorlang.ir.launch import BARRIER
from tensorlang.ir.nodes import Alloc, Buffer, Do, Expr, For, Func, Load, Seq, Size, Stmt, Store, Var, seq
from tensorlang.ir.walk import find
from tensorlang.passes.barriers import barriers
from tests.gpu.programs import H100
from tests.ir.small_funcs import extents

LANES = 32


def through(shared: Buffer, source: Load, out: Buffer, t: Var) -> tuple[Stmt, Stmt]:
    """Each thread stores into `shared`, and reads what another has stored."""
    return Store(shared, (t,), source), Store(out, (t,), Load(shared, (LANES - 1 - t,)))


@pytest.mark.parametrize(("rounds", "behind"), [(4, 0), (Size("n"), 1)])
def test_a_loop_that_may_not_run_waits_for_nobody(rounds: int | Expr, behind: int) -> None:
    """s is stored before the loop and read behind it; the barriers in the loop are for r."""
    x, y, z = (Buffer(name, extents(LANES), "float32") for name in "xyz")
    r, s = (Buffer(name, extents(LANES), "float32", "shared") for name in "rs")
    t, k = Var("t"), Var("k")
    store_s, read_s = through(s, Load(x, (t,)), y, t)
    loop = For(k, extents(rounds)[0], "serial", seq(*through(r, Load(x, (t,)), z, t)))
    body = Alloc(r, Alloc(s, seq(store_s, loop, read_s)))
    nest = For(t, extents(LANES)[0], "threadIdx.x", body)
    func = barriers(Func("f", (x, y, z), (y, z), nest), H100)
    assert len(list(find(func, Do, lambda n: n.what == BARRIER))) == 2 + behind
    whole = next(n for n in find(func, Seq) if any(isinstance(part, For) for part in n.stmts))
    after = next(n for n, part in enumerate(whole.stmts) if isinstance(part, For)) + 1
    assert sum(isinstance(part, Do) for part in whole.stmts[after:]) == behind
