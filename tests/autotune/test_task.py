import numpy as np
import pytest

import tensorlang as tl
from autotune.task import Task, WorkloadError
from autotune.workload import operators, parse


def test_an_operator_with_its_shape():
    task = parse("matmul:4,5,6")
    assert (task.name, task.flops, task.reduction_length) == ("matmul:4,5,6", 240, 6)
    inputs, outputs = task.arrays()
    assert [(a.name, a.shape, a.dtype) for a in inputs] == [("A", (4, 6), "float32"), ("B", (6, 5), "float32")]
    assert [(a.shape, a.numpy) for a in outputs] == [((4, 5), np.dtype("float32"))]
    assert "matmul" in operators()


def test_a_task_survives_the_way_to_another_process():
    task = parse("matmul:4,5,6")
    again = Task.from_json(task.to_json())
    assert (again.key, again.name, again.flops, again.names) == (task.key, task.name, task.flops, task.names)


def test_the_key_depends_on_shape_dtype_and_target():
    tasks = [
        parse("matmul:4,5,6"),
        parse("matmul:5,4,6"),
        Task.of(operators()["matmul"](4, 5, 6, "float64")),
        parse("matmul:4,5,6", tl.Target("llvm", cpu="x86-64-v3")),
    ]
    assert len({t.key for t in tasks}) == 4
    assert parse("matmul:4,5,6").key == tasks[0].key


def test_the_reference_keeps_the_order_of_the_reduction():
    task = parse("matmul:7,9,33")
    a, b = (np.random.default_rng(0).standard_normal(s).astype(np.float32) for s in ((7, 33), (33, 9)))
    plain, stated = (task.build(s)(a, b) for s in (task.plain(), task.schedule()))
    assert np.array_equal(plain, stated)


def test_open_sizes_are_refused():
    with pytest.raises(WorkloadError, match="cannot be tuned with open sizes"):
        Task.of(operators()["matmul"](tl.var("n"), 5, 6))


def test_facts_that_a_target_does_not_have_are_not_part_of_its_key():
    target = tl.Target("llvm", cpu="x86-64-v3", cores=2)
    facts = Task.of(parse("matmul:8,8,8").func, target).target_facts
    assert "" not in facts.values() and 0 not in facts.values()
    assert tl.Target(**facts) == target
