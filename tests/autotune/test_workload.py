import pytest

from autotune.task import WorkloadError
from autotune.workload import parse


def test_options_by_name():
    task = parse("softmax:3,5,dim=0,dtype=float64")
    assert [(a.shape, a.dtype) for a in task.arrays()[0]] == [((3, 5), "float64")]
    assert parse("layer_norm:3,5,eps=0.5").key != parse("layer_norm:3,5").key
    with pytest.raises(
        WorkloadError, match="takes \\(batch, height, width, in_channels, out_channels, kernel, stride=1"
    ):
        parse("conv2d:1,8,8")
