"""CUDA C++ to machine code by NVRTC, which needs no GPU."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from types import ModuleType

from tensorlang.errors import BuildError
from tensorlang.runtime.gpu_kernel import Usage

# Products and sums are fused where the IR says so. What comes from NVRTC's own cache comes without the log of usage.
OPTIONS = ("-std=c++17", "-fmad=false", "--ptxas-options=-v", "--no-cache")


@dataclass(frozen=True)
class Binary:
    """Machine code for one architecture, the PTX that it was made of, and what its kernels use, by name."""

    cubin: bytes
    ptx: str
    usage: dict[str, Usage]


def compile(text: str, name: str, arch: str) -> Binary:
    """Compile a program. Raises BuildError without the package cupy, and if NVRTC refuses the text."""
    nvrtc = _nvrtc()
    program = nvrtc.createProgram(text, f"{name}.cu", (), ())
    try:
        nvrtc.compileProgram(program, (*OPTIONS, f"-arch={arch}"))
        log = nvrtc.getProgramLog(program)
        cubin = bytes(nvrtc.getCUBIN(program)) + b"\0"  # of which the wrapper drops the last byte
        ptx = nvrtc.getPTX(program)
    except nvrtc.NVRTCError as error:
        raise BuildError(f"NVRTC refuses the code of {name}: {error}\n{nvrtc.getProgramLog(program)}") from error
    finally:
        nvrtc.destroyProgram(program)
    return Binary(cubin, ptx.decode() if isinstance(ptx, bytes) else ptx, usage(log))


def disassemble(binary: Binary) -> str:
    """The machine code as text, by the tool cuobjdump or nvdisasm if there is one; else the PTX."""
    for tool, options in (("cuobjdump", ["-sass"]), ("nvdisasm", [])):
        found = shutil.which(tool)
        if found is None:
            continue
        with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
            file.write(binary.cubin)
            file.flush()
            done = subprocess.run([found, *options, file.name], capture_output=True, text=True)
        if done.returncode == 0:
            return done.stdout
    return binary.ptx


def _nvrtc() -> ModuleType:
    try:
        from cupy_backends.cuda.libs import nvrtc
    except ImportError as error:
        raise BuildError(
            "target 'cuda' needs the packages cupy and nvidia-cuda-nvrtc: pip install 'tensorlang[cuda13]'"
        ) from error
    return nvrtc


def usage(log: str) -> dict[str, Usage]:
    """The kernels that a log of the assembler speaks of."""
    found: dict[str, Usage] = {}
    parts = re.split(r"Compiling entry function '(\w+)'", log)
    for name, text in zip(parts[1::2], parts[2::2], strict=True):
        numbers = {what: int(n) for n, what in re.findall(r"(\d+) (registers|bytes stack|bytes smem)", text)}
        spills = sum(int(n) for n in re.findall(r"(\d+) bytes spill", text))
        found[name] = Usage(
            numbers.get("registers", 0), numbers.get("bytes stack", 0), spills, numbers.get("bytes smem", 0)
        )
    return found
