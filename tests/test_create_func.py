"""create_func.py: the Func that comes out, as text, and the order and names of its parameters."""

import pytest

import tensorlang as tl
from tensorlang.ir import walk
from tensorlang.ir.nodes import ORDERED, Alloc, Block
from tensorlang.ir.printer import text
from tensorlang.topi.linalg import matmul


def refused(message, function, *args, **named):
    with pytest.raises(tl.ExprError, match=message):
        function(*args, **named)


def names(tensors):
    return [t.name for t in tensors]


def blocks(func):
    return {block.name: block for block in walk.find(func, Block)}


def body_lines(func):
    return [line.strip() for line in text(func).splitlines()]


def vector(name, n=8, dtype="float32"):
    return tl.placeholder((n,), dtype, name=name)


def test_matmul():
    assert text(tl.create_func(matmul(8, 9, 7))) == (
        "func C(A: f32[8, 7], B: f32[7, 9]) -> C: f32[8, 9]\n"
        "  for C.i in 8:\n"
        "    for C.j in 9:\n"
        "      for C.k in 7:\n"
        "        block C(i = C.i, j = C.j, k: reduce = C.k):\n"
        "          init: C[i, j] = 0.0\n"
        "          C[i, j] = fma(A[i, k], B[k, j], C[i, j])"
    )


def test_a_chain_allocates_its_intermediates_and_orders_its_blocks():
    a, b = vector("A"), vector("B")
    t = tl.compute((8,), lambda i: a[i] + b[i], name="T")
    u = tl.compute((8,), lambda i: t[i] * t[7 - i], name="U")
    func = tl.create_func(tl.compute((8,), lambda i: u[i] - t[i], name="V"))
    assert names(func.params) == ["A", "B", "V"] and names(func.outputs) == ["V"]
    assert list(blocks(func)) == ["T", "U", "V"]
    assert [a.buffer.name for a in walk.find(func, Alloc)] == ["T", "U"]


def test_parameters_stand_in_the_order_of_first_use_or_of_args():
    a, b, c = vector("A"), vector("B"), vector("C")
    t = tl.compute((8,), lambda i: b[i] + a[i], name="T")
    u = tl.compute((8,), lambda i: c[i] + t[i], name="U")
    assert names(tl.create_func([u, t]).params) == ["C", "B", "A", "U", "T"]
    assert names(tl.create_func(u, args=[u, a, b, c]).params) == ["U", "A", "B", "C"]
    assert names(tl.create_func(u, args=[u, a, b, c]).outputs) == ["U"]
    refused("args lacks B", tl.create_func, u, args=[u, a, c])
    refused("args lacks U", tl.create_func, u, args=[a, b, c])
    refused("has a tensor twice", tl.create_func, u, args=[a, a, b, c, u])
    refused("placeholders and outputs only", tl.create_func, u, args=[a, b, c, u, t])


def test_the_func_is_named_after_the_first_output():
    t = tl.compute((8,), lambda i: 1.0, name="T")
    assert tl.create_func(t).name == "T" and tl.create_func(t, name="ones").name == "ones"


def test_an_output_may_be_read_by_another_one():
    a = vector("A")
    t = tl.compute((8,), lambda i: a[i] + 1.0, name="T")
    u = tl.compute((8,), lambda i: t[i] + 1.0, name="U")
    func = tl.create_func([u, t])
    assert list(blocks(func)) == ["T", "U"] and not list(walk.find(func, Alloc))


def test_bad_outputs_are_refused():
    t = tl.compute((8,), lambda i: 1.0, name="T")
    refused("is a placeholder", tl.create_func, vector("A"))
    refused("given twice", tl.create_func, [t, t])
    refused("no output", tl.create_func, [])
    refused("must be a Tensor, got int", tl.create_func, [3])
    refused("must be Tensors, got int", tl.create_func, 3)


def test_names_that_are_taken_get_numbers():
    a, b = vector("A"), vector("A")
    t = tl.compute((8,), lambda i: a[i] + b[i], name="A")
    k = tl.reduce_axis(8, "i")
    u = tl.compute((8,), lambda i: tl.sum(t[k] * t[i], axis=k), name="A")
    func = tl.create_func(u)
    assert names(func.params) == ["A", "A_1", "A_2"]
    assert [a.buffer.name for a in walk.find(func, Alloc)] == ["A_3"]
    assert list(blocks(func)) == ["A", "A_1"]
    assert [it.var.name for it in blocks(func)["A_1"].iters] == ["i", "i_1"]


def test_a_tuple_is_stored_by_one_block_after_all_is_computed():
    a, k = tl.placeholder((4, 5), name="A"), tl.reduce_axis(5, "k")
    argmax = tl.reducer(
        lambda x, y: (tl.select(x[1] >= y[1], x[0], y[0]), tl.maximum(x[1], y[1])),
        lambda i, v: (-1, tl.min_value(v)),
        commutative=False,
    )
    where, top = tl.compute((4,), lambda i: argmax((k, a[i, k]), axis=k), name=("where", "top"))
    func = tl.create_func([where, top])
    assert body_lines(func)[3:] == [
        "block where(i = where.i, k: ordered = where.k):",
        "init:",
        "where[i] = -1",
        "top[i] = -inf",
        "where.next = select(top[i] >= A[i, k], where[i], i64(k))",
        "top.next = max(top[i], A[i, k])",
        "where[i] = where.next",
        "top[i] = top.next",
    ]
    assert blocks(func)["where"].iters[1].kind == ORDERED
    alone = tl.create_func(where)
    assert names(alone.outputs) == ["where"] and [a.buffer.name for a in walk.find(alone, Alloc)] == ["top"]


def test_several_elementwise_outputs_share_a_block():
    a = vector("A")
    c, d = tl.compute((8,), lambda i: (a[i] + 1.0, a[i] > 0.0), name="C")
    func = tl.create_func([c, d])
    assert list(blocks(func)) == ["C"]
    assert body_lines(func)[-2:] == ["C_0[i] = A[i] + 1.0", "C_1[i] = A[i] > 0.0"]


def test_scalars_have_no_loops():
    a = tl.placeholder((), name="A")
    assert body_lines(tl.create_func(tl.compute((), lambda: a[()] + 1.0, name="C")))[1:] == [
        "block C():",
        "C[] = A[] + 1.0",
    ]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (lambda a, b, c: a * b + c, "fma(A[i], B[i], C[i])"),
        (lambda a, b, c: c + a * b, "fma(A[i], B[i], C[i])"),
        (lambda a, b, c: a * b - c, "fma(A[i], B[i], -C[i])"),
        (lambda a, b, c: c - a * b, "fma(-A[i], B[i], C[i])"),
        (lambda a, b, c: a * b + b * c, "fma(A[i], B[i], B[i] * C[i])"),
        (lambda a, b, c: a * b * c + 1.0, "fma(A[i] * B[i], C[i], 1.0)"),
        (lambda a, b, c: a + b + c * a, "fma(C[i], A[i], A[i] + B[i])"),
        (lambda a, b, c: tl.exp(a * b + c), "exp(fma(A[i], B[i], C[i]))"),
        (lambda a, b, c: (a * b) / c, "A[i] * B[i] / C[i]"),
    ],
)
def test_products_of_floats_fuse_with_additions(body, expected):
    a, b, c = vector("A"), vector("B"), vector("C")
    func = tl.create_func(tl.compute((8,), lambda i: body(a[i], b[i], c[i]), name="D"))
    assert body_lines(func)[-1] == f"D[i] = {expected}"


def test_integers_do_not_fuse():
    a = vector("A", dtype="int32")
    func = tl.create_func(tl.compute((4,), lambda i: a[i * 2 + 1] * a[i] + 1, name="D"))
    assert body_lines(func)[-1] == "D[i] = A[i * 2 + 1] * A[i] + 1"


def test_symbolic_sizes():
    n = tl.var("n")
    a = tl.placeholder((n, 4), name="A")
    func = tl.create_func(tl.compute((n, 4), lambda i, j: a[i, j] + 1.0, name="B"))
    assert walk.sizes(func) == (n,) and walk.free_vars(func) == {n}


def test_sizes_that_no_argument_gives_are_refused():
    n, other = tl.var("n"), tl.var("n")
    a, b = tl.placeholder((n,), name="A"), tl.placeholder((other,), name="B")
    c = tl.compute((), lambda: tl.sum(a[k := tl.reduce_axis(n)], axis=k), name="C")
    d = tl.compute((), lambda: tl.sum(b[k := tl.reduce_axis(other)], axis=k), name="D")
    refused("two sizes named n", tl.create_func, [c, d])
    e = tl.compute((), lambda: tl.sum(1.0, axis=tl.reduce_axis(n)), name="E")
    refused("n is not the extent of any dimension", tl.create_func, e)


def test_each_func_has_variables_of_its_own():
    c = matmul(4, 4, 4)
    one, other = tl.create_func(c), tl.create_func(c)
    assert not set(one.params) & set(other.params) and walk.same(one, other)
