"""Targets: the facts of named CPUs, and the refusal of what LLVM does not know."""

from __future__ import annotations

import platform
from typing import Any

import llvmlite.binding as llvm
import pytest

import tensorlang as tl
from tensorlang.target.cpus import X86

x86 = pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="names of x86 CPUs")


def test_the_host() -> None:
    target = tl.Target("llvm")
    assert target.cpu == llvm.get_host_cpu_name()
    assert tl.Target("llvm", cpu=target.cpu, features=target.features) == target


@x86
@pytest.mark.parametrize(
    ("cpu", "vector_bytes", "registers"),
    [("x86-64", 16, 16), ("x86-64-v3", 32, 16), ("skylake-avx512", 64, 32), ("sandybridge", 32, 16)],
)
def test_facts_of_named_cpus(cpu: str, vector_bytes: int, registers: int) -> None:
    target = tl.Target("llvm", cpu=cpu)
    assert (target.vector_bytes, target.registers) == (vector_bytes, registers)
    assert target.has("fma") == (cpu in ("x86-64-v3", "skylake-avx512"))


@x86
def test_llvm_knows_every_name(capfd: pytest.CaptureFixture[str]) -> None:
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    for cpu in X86:
        llvm.Target.from_default_triple().create_target_machine(cpu=cpu)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    ("facts", "text"),
    [
        ({"kind": "gpu"}, "unknown target 'gpu'"),
        pytest.param({"cpu": "x86-64-v9"}, "unknown cpu 'x86-64-v9': name one of", marks=x86),
        ({"cores": -1}, "cores must be an int of at least 1, got -1"),
        ({"l1": "32K"}, "l1 must be an int of at least 1, got '32K'"),
        ({"vector_bytes": 24}, "vector_bytes must be a power of two of at least 8, got 24"),
    ],
)
def test_unknown_facts_are_refused(facts: dict[str, Any], text: str) -> None:
    with pytest.raises(tl.BuildError, match=text):
        tl.Target(**facts)


def test_facts_of_gpus() -> None:
    """Named, so that no GPU need be there."""
    h100 = tl.Target("cuda", arch="sm_90a")
    assert (h100.shared_bytes, h100.threads_per_block, h100.vector_bytes, h100.cores) == (232448, 1024, 16, 132)
    assert h100.simt and h100.threads_along == {"x": 1024, "y": 1024, "z": 64}
    assert tl.Target("cuda", arch="sm_90a", cores=114).cores == 114
    assert not tl.Target("llvm").simt
    with pytest.raises(tl.BuildError, match="unknown arch 'sm_1': name one of sm_75, sm_80"):
        tl.Target("cuda", arch="sm_1")
