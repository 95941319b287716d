"""Every operator of topi on small odd shapes: the expression, the interpreter and the compiled kernel against NumPy."""

import numpy as np
import pytest

import tensorlang as tl
from tensorlang.te_eval import evaluate
from tests.topi.operators import by_name, families, inputs_of, reference

FAMILIES = {name: module for name, module in families().items() if name != "blas"}  # which has tests of its own
NHWC, NLC, NDHWC = {"layout": "NHWC"}, {"layout": "NLC"}, {"layout": "NDHWC"}
SHAPE = [((3, 5), {}), ((7,), {}), ((2, 3, 5), {}), ((3, 0), {})]
FLOATS = ((5, 7), {"dtype": "float64"})

# (sizes, options) of each operator.
CASES = {
    "matmul": [((4, 5, 6), {}), ((4, 5, 6), {"transpose_a": 1}), ((3, 5, 2), {"transpose_b": 1}), ((3, 2, 0), {})],
    "batch_matmul": [((2, 3, 4, 5), {}), ((2, 3, 4, 5), {"transpose_a": 1, "transpose_b": 1})],
    "matvec": [((4, 5), {})],
    "transpose_batch_matmul": [((2, 5, 3, 4), {})],
    "dense": [
        ((3, 5, 4), {}),
        ((3, 5, 4), {"bias": 0}),
        ((3, 5, 4), {"bias": 0, "activation": "relu"}),
        *(((3, 5, 4), {"activation": a}) for a in ("relu", "gelu", "silu", "sigmoid", "tanh")),
    ],
    "conv1d": [((2, 7, 3, 5, 3, 2, 1), {}), ((2, 7, 3, 5, 3, 2, 1), NLC), ((1, 9, 4, 6, 2, 1, 0, 3, 2), NLC)],
    "conv2d": [
        ((1, 7, 6, 3, 5, 3), {}),
        ((2, 7, 6, 4, 6, 3, 2, 1, 1, 2), {}),
        ((2, 7, 6, 4, 6, 3, 2, 1, 1, 2), NHWC),
        ((1, 7, 8, 3, 2, 3, 1, 2, 2), NHWC),
        ((1, 5, 5, 4, 4, 1, 2, 0, 1, 4), NHWC),
        ((1, 5, 6, 2, 3, 3, 1, 1), {"dtype": "int8", "out_dtype": "int32"}),
    ],
    "conv3d": [((1, 4, 5, 3, 2, 3, 2, 1, 1), {}), ((1, 4, 5, 3, 2, 3, 3, 2, 1), NDHWC)],
    "depthwise_conv2d": [((2, 7, 6, 5, 3, 2, 1), {}), ((2, 7, 6, 5, 3, 2, 1), NHWC), ((1, 7, 6, 3, 2, 1, 0, 2), NHWC)],
    "conv_transpose1d": [((2, 5, 3, 2, 4, 2, 1), {}), ((2, 5, 3, 2, 3, 2, 1, 1), NLC)],
    "conv_transpose2d": [
        ((1, 4, 5, 3, 2, *options), layout)
        for options in ((4, 2, 1), (3, 2, 0, 1), (3, 1, 1), (2, 3, 0, 2), (1, 2), (5, 2, 3), (3,))
        for layout in ({}, NHWC)
    ],
    "conv_transpose3d": [((1, 2, 3, 2, 3, 2, 3, 2, 1), {}), ((1, 2, 3, 2, 3, 2, 2, 2), NDHWC)],
    "conv2d_capsule": [((1, 5, 6, 3, 2, 3, 2, 1, 2), {}), ((2, 4, 3, 2, 3, 2, 1, 0, 3), {})],
    "conv2d_bn_relu": [((1, 5, 6, 3, 4, 3, 2, 1), {}), ((1, 5, 6, 4, 4, 3, 1, 1, 1, 2), NHWC)],
    "max_pool1d": [((2, 7, 3, 3, 2, 1), {}), ((2, 7, 3, 2), NLC)],
    "max_pool2d": [((1, 7, 6, 3, 3, 2, 1), {}), ((1, 7, 6, 3, 3, 1, 1, 2), NHWC), ((1, 5, 6, 3, 2), {"dtype": "int8"})],
    "max_pool3d": [((1, 4, 5, 3, 2, 2, 1, 1), {}), ((1, 4, 5, 3, 2, 3), NDHWC)],
    "avg_pool1d": [((2, 7, 3, 4, 2, 1), {}), ((2, 7, 3, 2), NLC)],
    "avg_pool2d": [((1, 7, 6, 3, 2, 1, 1), {}), ((1, 7, 6, 3, 3, 2, 1), NHWC)],
    "avg_pool3d": [((1, 4, 5, 3, 2, 2), {}), ((1, 4, 5, 3, 2, 2, 1, 1), NDHWC)],
    "softmax": [((5, 7), {}), ((5, 7), {"dim": 0}), ((2, 3, 5), {"dim": 1}), FLOATS, ((7,), {})],
    "log_softmax": [((5, 7), {}), ((5, 7), {"dim": 0}), FLOATS],
    "layer_norm": [((5, 7), {}), ((2, 3, 5), {"eps": 0.1}), FLOATS, ((1, 1), {})],
    "rms_norm": [((5, 7), {}), ((2, 3, 5), {"eps": 0.1}), FLOATS],
    "batch_norm": [((2, 3, 4, 5), {}), ((2, 3, 4, 5), {**NHWC, "eps": 0.1})],
    "matrix_norm": [((5, 7), {}), ((3, 5, 7), {}), ((2, 3, 5), {"keepdim": 1})],
    "argmax": [((5, 7), {}), ((5, 7), {"dim": 0}), ((3, 7), {"keepdim": 1, "dtype": "int32"})],
    "argmin": [((5, 7), {}), ((2, 3, 5), {"dim": 1})],
    "var": [((5, 7), {}), ((3, 4, 5), {"dim": (0, 2), "correction": 0}), ((5, 7), {"keepdim": 1, "dim": 0})],
    "transpose": [((3, 5), {}), ((2, 3, 5), {}), ((2, 3, 5), {"dim0": 0, "dim1": 1}), ((2, 3, 5), {"dim0": 0})],
    "leaky_relu": [*SHAPE, ((3, 5), {"negative_slope": 0.5})],
    **{
        name: [((5, 7), {}), ((5, 7), {"dim": 0}), ((2, 3, 5), {"dim": (0, 2)}), ((5, 7), {"keepdim": 1}), ((4,), {})]
        for name in ("sum", "prod", "amax", "amin", "mean", "vector_norm")
    },
}
NAMES = {name: module for module in FAMILIES.values() for name in module.NUMPY}
ALL = [(name, sizes, options) for name in NAMES for sizes, options in CASES.get(name, SHAPE)]


def made(name, sizes, options):
    """An operator, arrays, and the reference's result."""
    module = NAMES[name]
    tensor = getattr(module, name)(*sizes, **options)
    arrays = inputs_of(tl.create_func(tensor))
    if name == "batch_norm":
        arrays[2] = np.abs(arrays[2])  # the variance
    wide = [a.astype(options["out_dtype"]) if "out_dtype" in options else a for a in arrays]
    return tensor, arrays, np.asarray(reference(module, name, sizes, options, wide))


def agree(got, wanted):
    assert got.shape == wanted.shape
    tolerance = 1e-12 if wanted.dtype == np.float64 and got.dtype == np.float64 else 1e-5
    np.testing.assert_allclose(got, wanted, tolerance, tolerance)


@pytest.mark.parametrize(("name", "sizes", "options"), ALL)
def test_operators_agree_with_numpy(name, sizes, options):
    tensor, arrays, wanted = made(name, sizes, options)
    agree(evaluate(tensor, by_name(tensor, arrays))[0], wanted)
    agree(tl.interpret(tensor, *arrays), wanted)
    agree(tl.build(tensor)(*arrays), wanted)


def test_names_are_unique_and_functions_documented():
    modules = families().values()
    assert len(NAMES) + len(families()["blas"].NUMPY) == sum(len(module.NUMPY) for module in modules)
    assert len({name for module in modules for name in module.NUMPY}) == sum(len(module.NUMPY) for module in modules)
    for name, module in NAMES.items():
        assert getattr(module, name).__doc__, name


def test_every_public_function_of_a_family_has_a_reference():
    for module in FAMILIES.values():
        public = {n for n, f in vars(module).items() if getattr(f, "__module__", "") == module.__name__ and n[0] != "_"}
        assert public == set(module.NUMPY)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("name", ["softmax", "layer_norm", "rms_norm", "vector_norm", "mean", "gelu"])
def test_16_bit_floats_are_summed_in_32(name, dtype):
    tensor, arrays, _ = made(name, (3, 70), {"dtype": dtype})
    wanted = np.asarray(reference(NAMES[name], name, (3, 70), {}, [a.astype("float32") for a in arrays]))
    got = tl.build(tensor)(*arrays)
    assert got.dtype == arrays[0].dtype
    np.testing.assert_allclose(got.astype("float32"), wanted, 2e-2, 2e-2)


def test_a_nan_is_the_extreme_and_comes_first():
    x = np.array([[1, np.nan, 3, np.nan], [-np.inf] * 4, [2, 5, 5, 1]], "float32")
    for name in ("argmax", "argmin"):
        np.testing.assert_array_equal(tl.build(getattr(NAMES[name], name)(3, 4))(x), getattr(np, name)(x, axis=-1))
    assert np.isnan(tl.build(NAMES["softmax"].softmax(3, 4))(x)[0]).all()


def test_softmax_of_large_numbers_does_not_overflow():
    x = np.array([[1e4, 1e4, -1e4]], "float32")
    np.testing.assert_allclose(tl.build(NAMES["softmax"].softmax(1, 3))(x), [[0.5, 0.5, 0]])


@pytest.mark.parametrize(
    ("name", "sizes", "options", "message"),
    [
        ("conv2d", (1, 8, 8, 4, 4, 3), {"stride": 0}, "stride: expected an int of at least 1, got 0"),
        ("conv2d", (1, 8, 8, 4, 4, 3), {"padding": -1}, "padding: expected an int of at least 0, got -1"),
        ("conv2d", (1, 8, 8, 4, 4, 3), {"layout": "HWCN"}, "layout: expected NCHW or NHWC, got 'HWCN'"),
        ("conv2d", (1, 8, 8, 4, 6, 3), {"groups": 4}, "groups: 4 and 6 channels cannot both be cut into 4"),
        ("conv1d", (1, 3, 4, 4, 5), {}, "kernel: a window of 5 does not fit into 3 "),
        ("conv_transpose2d", (1, 1, 4, 4, 4, 3, 1, 2), {}, "padding: 2 on either side leaves nothing"),
        ("conv_transpose2d", (1, 4, 4, 4, 4, 3, 2, 0, 2), {}, "output_padding: expected less than the stride 2, got 2"),
        ("max_pool2d", (1, 8, 8, 4, 3, 1, 2), {}, "padding: expected at most half of the kernel 3, got 2"),
        ("sum", (3, 4), {"dim": 2}, "dim: expected ints in -2 .. 1, got 2"),
        ("sum", (3, 4), {"dim": (1, -1)}, "dim: expected one or more different dimensions"),
        ("mean", (3, tl.var("n")), {}, "dim: expected dimensions of known extents, got the extent n"),
        ("dense", (3, 4, 5), {"activation": "step"}, "activation: expected one of none, relu"),
    ],
)
def test_what_makes_no_sense_is_refused(name, sizes, options, message):
    with pytest.raises(tl.ExprError, match=message):
        getattr(NAMES[name], name)(*sizes, **options)


@pytest.mark.parametrize("stride", [1, 2])
def test_one_kernel_for_all_image_sizes(stride):
    n, h = tl.var("n"), tl.var("h")
    module = NAMES["conv2d"]
    kernel = tl.build(module.conv2d(n, h, 6, 2, 3, 3, stride, 1, layout="NHWC"))
    for batch, height in ((1, 5), (2, 8)):
        args = (batch, height, 6, 2, 3, 3, stride, 1)
        arrays = inputs_of(tl.create_func(module.conv2d(*args, layout="NHWC")))
        np.testing.assert_array_equal(kernel(*arrays), reference(module, "conv2d", args, NHWC, arrays))
