import signal
import subprocess
import sys

import ml_dtypes
import numpy as np
import pytest

from autotune.measure.check import Output, compare, inputs, tolerance
from autotune.measure.outcome import WrongAnswer
from autotune.task import Array


def spec(dtype, shape=(4, 5), name="C"):
    return Array(name, shape, dtype, np.dtype(ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64", "int8", "uint64", "bool"])
def test_inputs_are_fixed_by_the_seed_and_outputs_start_poisoned(dtype):
    first, again = (inputs([spec(dtype), spec(dtype)], (1, 2)) for _ in range(2))
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not np.array_equal(*first)
    output = Output(spec(dtype))
    with pytest.raises(WrongAnswer, match="elements are off"):
        output.check(first[0], 1)
    output.array[...] = first[0]
    output.check(first[0], 1)


def test_inputs_are_read_only():
    (array,) = inputs([spec("float32")], (0,))
    with pytest.raises(ValueError, match="read-only"):
        array[0, 0] = 1
    program = (
        "import ctypes; from tests.autotune.measure.test_check import inputs, spec\n"
        "(a,) = inputs([spec('float32')], (0,)); ctypes.memset(a.ctypes.data, 1, 4)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == -signal.SIGSEGV


def test_a_write_beside_the_output_is_seen():
    output = Output(spec("float32"))
    want = np.zeros((4, 5), np.float32)
    output.array[...] = 0
    output.check(want, 1)
    output._around[1][0] = 0
    with pytest.raises(WrongAnswer, match="memory around C"):
        output.check(want, 1)


def test_the_tolerance_lets_rounding_pass_and_no_missing_term():
    rng = np.random.default_rng(0)
    a, b = rng.uniform(-1, 1, (2, 64, 1024)).astype(np.float32)
    terms = a * b
    want = np.zeros(64, np.float32)
    for k in range(1024):
        want += terms[:, k]
    compare("C", terms.sum(axis=1), want, "float32", 1024)
    with pytest.raises(WrongAnswer):
        compare("C", terms[:, 1:].sum(axis=1), want, "float32", 1024)
    assert tolerance("float64", 1) < 1e-14


def test_special_values_must_agree():
    want = np.array([np.nan, np.inf, -np.inf, 1], np.float32)
    compare("C", want.copy(), want, "float32", 1)
    compare("C", want + np.float32(1e-7), want, "float32", 1)
    with pytest.raises(WrongAnswer, match=r"C\[1\] is -inf, expected inf"):
        compare("C", want * np.array([1, -1, 1, 1], np.float32), want, "float32", 1)


def test_integers_are_exact():
    with pytest.raises(WrongAnswer, match=r"C\[0, 1\] is 3, expected 2; 1 of 2"):
        compare("C", np.array([[1, 3]]), np.array([[1, 2]]), "int64", 10**6)
