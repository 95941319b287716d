"""Each rule of verify has a Func that breaks it."""

import pytest

from tensorlang.errors import VerifyError
from tensorlang.ir import ops
from tensorlang.ir.nodes import (
    NOTHING,
    TRUE,
    Alloc,
    Block,
    Buffer,
    Const,
    For,
    Func,
    If,
    Iter,
    Knob,
    LetStmt,
    Load,
    Op,
    Ramp,
    Reduce,
    Size,
    Splat,
    Stmt,
    Store,
    Var,
    const,
    seq,
)
from tensorlang.ir.verify import verify
from tests.ir.small_funcs import extents, literal, matmul, nest, row_sum, sum_reducer

A, B = Buffer("A", extents(4), "float32"), Buffer("B", extents(4), "float32")
i, j = Var("i"), Var("j")
x = Var("x", "float32")
AT = (const(0),)


def func(body: Stmt, params=(A, B), outputs=(B,)) -> Func:
    return Func("f", params, outputs, body)


def store(value) -> Store:
    return Store(B, AT, value)


def test_good_funcs_pass():
    verify(matmul(2, 3, 4), "loop")
    n, k, r = Size("n"), Var("B.k"), Var("B.i")
    verify(row_sum(n, n, lambda block: nest([(r, n), (k, n)], block(r, k))), "loop")
    t = Knob("t", (2, 4))
    verify(func(nest([(i, t)], store(Load(A, (i,))))), "loop")
    at = Ramp(i * 4, const(1), 4)
    mask = ops.make("lt", at, Splat(const(4), 4))
    verify(func(nest([(i, 1)], Store(B, (at,), Load(A, (at,), mask) + literal(1.0), mask))), "flat")
    verify(func(nest([(i, 4)], Store(B, (i.astype("int64"),), literal(1.0)))), "flat")
    repeated = nest([(i, 4)], store(literal(1.0)))
    verify(func(seq(repeated, nest([(Var("i"), 4)], store(literal(2.0))))), "flat")


def block_with(**changes) -> Func:
    inner = Var("i")
    block = Block("S", (Iter(inner, const(4)),), (i,), TRUE, None, None, Store(B, (inner,), Load(A, (inner,))))
    return func(nest([(i, 4)], block.replace(**changes)))


wide = Ramp(const(0), const(1), 4)
iter_k = Iter(Var("k"), const(4), "reduce")
LOOP_RULES = {
    "Ramp is illegal": func(store(Load(A, (wide,)))),
    "Reduce is illegal": func(store(Reduce(sum_reducer(), (literal(1.0),), (iter_k,), 0))),
    "j has no value here": func(nest([(i, 4)], Store(B, (i + j,), literal(1.0)))),
    "9223372036854775808 is no index": func(nest([(i, ops.make("min", Size("n"), 1 << 63))], store(literal(1.0)))),
    "i is bound already": func(nest([(i, 4), (i, 4)], store(literal(1.0)))),
    "buffer A does not exist": func(store(Load(A, AT)), (B,)),
    "A is an input": func(Store(A, AT, literal(1.0))),
    "output B is not a parameter": func(NOTHING, (A,)),
    "two buffers are named A": func(Alloc(Buffer("A", extents(2), "int8"), NOTHING)),
    "needs 1 subscripts, got 2": func(Store(B, (i, i), literal(1.0))),
    "0.0 is float64 where float32 is needed": func(store(literal(0.0, "float64"))),
    "cannot be a subscript": func(Store(B, (literal(1, "int32"),), literal(1.0))),
    "masks belong to the flat level": func(Store(B, AT, literal(1.0), TRUE)),
    "unknown kind of loop": func(For(i, const(4), "sideways", NOTHING)),
    "4.0 is float32 where index": func(For(i, literal(4.0), "serial", NOTHING)),
    "where bool is needed": func(If(const(1), NOTHING)),
    "is float64 where float32": func(LetStmt(x, literal(1.0, "float64"), NOTHING)),
    "add of float32 is float32, not int8": func(store(Op("add", (literal(1.0), literal(1.0)), "int8"))),
    "operands of add differ in dtype": func(store(Op("add", (literal(1.0), Const(1, "int8")), "float32"))),
    "add takes 2 operands": func(store(Op("add", (literal(1.0),), "float32"))),
    "sqrt does not take int8": func(store(Op("sqrt", (Const(1, "int8"),), "int8"))),
    "the condition of select must be bool": func(
        store(Op("select", (const(1), literal(1.0), literal(1.0)), "float32"))
    ),
    "iterators and bindings differ in number": block_with(bindings=(i, i)),
    "unknown kind of iterator": block_with(iters=(Iter(Var("i"), const(4), "diagonal"),)),
    "i has no value here": block_with(body=Store(B, (i,), literal(1.0))),
    "k has no value here": block_with(
        iters=(iter_k,), init=Store(B, (iter_k.var,), literal(0.0)), body=Store(B, (iter_k.var,), literal(1.0))
    ),
    "two blocks are named S": func(seq(block_with().body, nest([(j, 4)], block_with(bindings=(j,)).body.body))),
    "two loops are named i": func(seq(block_with().body, nest([(i, 4)], block_with(name="T").body.body))),
}


@pytest.mark.parametrize("rule", LOOP_RULES)
def test_loop_level_rules(rule):
    with pytest.raises(VerifyError, match=rule.replace(".", r"\.")) as caught:
        verify(LOOP_RULES[rule], "loop")
    assert str(caught.value).startswith("f: ") and ", in: " in str(caught.value)


matrix = Buffer("M", extents(2, 2), "float32")
FLAT_RULES = {
    "Block is illegal": block_with(),
    "M needs 1 subscripts, got 2": func(store(Load(matrix, (const(0), const(0)))), (matrix, B)),
    "knobs t are still open": func(nest([(i, Knob("t", (1, 2)))], store(literal(1.0)))),
    "has 1 lanes where 4 are needed": func(Store(B, (wide,), literal(1.0))),
    "the mask must be 4 bools": func(Store(B, (wide,), Splat(literal(1.0), 4), TRUE)),
    "operands of add differ in lanes": func(
        Store(B, (wide,), Op("add", (Splat(literal(1.0), 4), literal(1.0)), "float32"))
    ),
    "only a scalar can be splat": func(Store(B, (wide,), Splat(Splat(literal(1.0), 4), 4))),
    "base and stride of a ramp": func(Store(B, (Ramp(const(0), literal(1, "int32"), 4),), Splat(literal(1.0), 4))),
}


@pytest.mark.parametrize("rule", FLAT_RULES)
def test_flat_level_rules(rule):
    with pytest.raises(VerifyError, match=rule):
        verify(FLAT_RULES[rule], "flat")
