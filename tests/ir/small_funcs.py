"""Small Funcs that several tests use."""

from tensorlang.ir import ops
from tensorlang.ir.nodes import (
    REDUCE,
    SERIAL,
    TRUE,
    Block,
    Buffer,
    Const,
    Expr,
    For,
    Func,
    Iter,
    Load,
    Reducer,
    Stmt,
    Store,
    Var,
    const,
)


def literal(value: float, dtype: str = "float32") -> Const:
    return ops.literal(value, dtype)


def extents(*values: int | Expr) -> tuple[Expr, ...]:
    return tuple(v if isinstance(v, Expr) else const(v) for v in values)


def sum_reducer(dtype: str = "float32") -> Reducer:
    left, right = Var("left", dtype), Var("right", dtype)
    return Reducer("sum", (left,), (right,), (left + right,), (literal(0, dtype),), True)


def nest(loops: list[tuple[Var, int | Expr]], body: Stmt, kind: str = SERIAL) -> Stmt:
    """`body` in loops, the first outermost."""
    for var, extent in reversed(loops):
        body = For(var, extents(extent)[0], kind, body)
    return body


def row_sum(rows: int | Expr, columns: int | Expr, make_nest) -> Func:
    """B[i] = sum of A[i, k] over k, in loops that `make_nest(block)` puts around the block.

    `make_nest` gets a function from (i binding, k binding, predicate) to the block.
    """
    a = Buffer("A", extents(rows, columns), "float32")
    b = Buffer("B", extents(rows), "float32")
    i, k = Var("i"), Var("k")
    iters = (Iter(i, a.shape[0]), Iter(k, a.shape[1], REDUCE))

    def block(at_i: Expr, at_k: Expr, predicate: Expr = TRUE) -> Block:
        return Block(
            "B",
            iters,
            (at_i, at_k),
            predicate,
            sum_reducer(),
            Store(b, (i,), literal(0.0)),
            Store(b, (i,), Load(b, (i,)) + Load(a, (i, k))),
        )

    return Func("row_sum", (a, b), (b,), make_nest(block))


def matmul(rows: int, columns: int, depth: int) -> Func:
    """C[i, j] = sum of A[i, k] * B[k, j]; loops C.i, C.j, C.k."""
    a = Buffer("A", extents(rows, depth), "float32")
    b = Buffer("B", extents(depth, columns), "float32")
    c = Buffer("C", extents(rows, columns), "float32")
    i, j, k = Var("i"), Var("j"), Var("k")
    at = [Var("C.i"), Var("C.j"), Var("C.k")]
    update = ops.make("fma", Load(a, (i, k)), Load(b, (k, j)), Load(c, (i, j)))
    block = Block(
        "C",
        (Iter(i, const(rows)), Iter(j, const(columns)), Iter(k, const(depth), REDUCE)),
        tuple(at),
        TRUE,
        sum_reducer(),
        Store(c, (i, j), literal(0.0)),
        Store(c, (i, j), update),
    )
    return Func("matmul", (a, b, c), (c,), nest(list(zip(at, (rows, columns, depth), strict=True)), block))
