"""create_func and the interpreter against the te evaluator, on random expressions, bit for bit."""

import numpy as np
import pytest

import tensorlang as tl
from tensorlang.ir import interp
from tensorlang.ir.verify import verify
from tensorlang.te_eval import evaluate
from tests.fuzz.random_te import Program, concrete


def poisoned(buffer, sizes):
    """An output array full of values that no computation here gives."""
    shape = concrete(buffer.shape, sizes)
    kind = tl.dtypes.to_numpy(buffer.dtype)
    bytes_ = np.full(int(np.prod(shape)) * kind.itemsize, 0xCD, "uint8")
    return bytes_.view(kind).reshape(shape)


def run_both(program):
    """The outputs of the te evaluator and those of the interpreter."""
    func = tl.create_func(program.outputs, args=[*program.inputs, *program.outputs])
    verify(func, "loop")
    inputs = {t.name: a for t, a in program.inputs.items()}
    arrays = {p: inputs[p.name] if p.name in inputs else poisoned(p, program.sizes) for p in func.params}
    interp.run(func, arrays, program.sizes)
    expected = evaluate(program.outputs, program.inputs, program.sizes)
    return expected, [arrays[b] for b in func.outputs]


@pytest.mark.parametrize("seed", range(150))
def test_the_interpreter_agrees_with_the_evaluator(seed):
    program = Program(seed)
    for tensor, expected, got in zip(program.outputs, *run_both(program), strict=True):
        assert expected.dtype == got.dtype and expected.shape == got.shape
        np.testing.assert_array_equal(got.astype(np.float64), expected.astype(np.float64), err_msg=tensor.name)
