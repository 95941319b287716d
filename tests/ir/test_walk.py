"""Traversal, substitution, comparison."""

from tensorlang.ir import walk
from tensorlang.ir.nodes import (
    NOTHING,
    Block,
    Buffer,
    Const,
    Expr,
    For,
    Func,
    Iter,
    Knob,
    Let,
    LetStmt,
    Load,
    Reduce,
    Reducer,
    Size,
    Store,
    Var,
    const,
    seq,
)
from tests.ir.small_funcs import extents, literal, matmul, nest, row_sum

i, j = Var("i"), Var("j")
x = Var("x", "float32")
A = Buffer("A", extents(4), "float32")
n = Size("n")


def test_children_leave_out_buffers_and_bound_variables():
    loop = For(i, n, "serial", Store(A, (i,), literal(1.0)))
    assert [type(c).__name__ for c in walk.children(loop)] == ["Size", "Store"]
    assert list(walk.children(loop.body)) == [i, literal(1.0)]


def test_unchanged_subtrees_are_the_same_object():
    func = matmul(2, 3, 4)
    assert walk.transform(func, lambda node: node) is func
    assert walk.substitute(func, {i: const(0)}) is func
    other = nest([(j, 2)], Store(A, (j,), literal(1.0)))
    body = seq(nest([(i, 2)], Store(A, (i,), x)), other)
    changed = walk.substitute(body, {x: literal(2.0)})
    assert changed is not body and changed.stmts[1] is other


def test_transform_sees_children_first_and_shared_parts_once():
    seen = []

    def note(node):
        seen.append(node)
        return node

    value = (i + 1) * (i + 1)
    walk.transform(value, note)
    assert sum(node is i for node in seen) == 1 and seen[-1] is value


def test_find_visit_and_paths():
    func = matmul(2, 3, 4)
    [block] = walk.find(func, Block)
    assert [loop.var.name for loop in walk.path_to(func, block)[1:-1]] == ["C.i", "C.j", "C.k"]
    assert walk.path_to(func, NOTHING) is None
    assert len(list(walk.find(func, Load, lambda load: load.buffer.name == "C"))) == 1
    gone = walk.replace_node(func, block, NOTHING)
    assert not list(walk.find(gone, Block)) and list(walk.find(func, Block)) == [block]


def test_free_variables():
    t = Knob("t", (1, 2))
    assert walk.free_vars(i * t + 1) == {i, t}
    assert walk.free_vars(Let(x, literal(1.0), x * x)) == frozenset()
    assert walk.free_vars(For(i, n, "serial", Store(A, (i + j,), literal(1.0)))) == {n, j}
    assert walk.free_vars(LetStmt(j, j + i, Store(A, (j,), literal(1.0)))) == {i, j}
    sized = Buffer("B", (n,), "float32")
    assert walk.free_vars(Store(sized, (const(0),), literal(1.0))) == {n}
    k = Var("B.k")
    func = row_sum(n, 4, lambda block: nest([(i, n), (k, 4)], block(i, k)))
    assert walk.free_vars(func) == {n}
    [block] = walk.find(func, Block)
    assert walk.free_vars(block) == {i, k, n}


def test_variables_of_a_reducer_are_bound():
    y = Var("y", "float32")
    total = Reducer("sum", (x,), (y,), (x + y,), (literal(0.0),), True)
    assert walk.free_vars(total) == frozenset()
    k = Var("k")
    assert walk.free_vars(Reduce(total, (Load(A, (k,)),), (Iter(k, n, "reduce"),), 0)) == {n}


def test_sizes_come_in_order_of_first_mention():
    m = Size("m")
    params = (Buffer("A", (m * 2, n), "float32"), Buffer("B", (n, m), "float32"))
    assert walk.sizes(Func("f", params, (), NOTHING)) == (m, n)


def test_substitute_folds_and_renames():
    assert walk.substitute((i + j) * 4, {i: const(0)}) is j * 4
    assert walk.substitute(i * 4 + j, {i: const(2), j: const(1)}) is const(9)
    loop = nest([(i, 4)], Store(A, (i,), literal(1.0)))
    renamed = walk.substitute(loop, {i: j})
    assert renamed.var is j and renamed.body.indices == (j,)
    other = Buffer("B", extents(4), "float32")
    moved = walk.substitute(Store(A, (i,), Load(A, (i,))), buffers={A: other})
    assert moved.buffer is other and moved.value.buffer is other


def test_same_ignores_names_of_what_is_bound():
    assert walk.same(matmul(2, 3, 4), matmul(2, 3, 4))
    assert not walk.same(matmul(2, 3, 4), matmul(2, 3, 5))
    assert not walk.same(i + 1, j + 1) and walk.same(i + 1, j + 1, {i: j})
    a, b = (nest([(v, 4)], Store(A, (v,), literal(1.0))) for v in (i, j))
    assert walk.same(a, b)
    assert not walk.same(a, a.replace(kind="parallel"))


def test_same_pairs_the_sizes_of_funcs():
    def sized(size: Expr) -> Func:
        at, k = Var("B.i"), Var("B.k")
        return row_sum(size, 4, lambda block: nest([(at, size), (k, 4)], block(at, k)))

    assert walk.same(sized(n), sized(Size("m")))
    assert not walk.same(sized(n), sized(const(4)))


def test_same_tells_constants_apart():
    assert walk.same(Const(float("nan"), "float32"), Const(float("nan"), "float32"))
    assert not walk.same(Const(0.0, "float32"), Const(-0.0, "float32"))
    assert not walk.same(Const(1, "index"), Const(1, "int32"))
