"""Facts of the GPUs that code is compiled for, by architecture: from NVIDIA's CUDA C++ Programming Guide, section
"Compute Capabilities", and the whitepapers of the chips."""

from __future__ import annotations

from typing import NamedTuple


class Gpu(NamedTuple):
    """shared_bytes: of memory that one block may ask for; l1: bytes of shared memory and cache of a multiprocessor;
    cores and l2: multiprocessors and bytes of the largest part that is sold, which a device in the machine corrects."""

    shared_bytes: int
    l1: int
    cores: int
    l2: int


KB, MB = 1 << 10, 1 << 20
GPUS = {
    "sm_75": Gpu(64 * KB, 96 * KB, 72, 6 * MB),
    "sm_80": Gpu(163 * KB, 192 * KB, 108, 40 * MB),
    "sm_86": Gpu(99 * KB, 128 * KB, 84, 6 * MB),
    "sm_89": Gpu(99 * KB, 128 * KB, 128, 72 * MB),
    "sm_90": Gpu(227 * KB, 256 * KB, 132, 50 * MB),
    "sm_90a": Gpu(227 * KB, 256 * KB, 132, 50 * MB),
    "sm_100": Gpu(227 * KB, 256 * KB, 148, 126 * MB),
    "sm_100a": Gpu(227 * KB, 256 * KB, 148, 126 * MB),
    "sm_120": Gpu(99 * KB, 128 * KB, 170, 96 * MB),
}
WARP = 32  # threads
THREADS_PER_BLOCK = 1024
THREADS_ALONG = {"x": 1024, "y": 1024, "z": 64}
BLOCKS_ALONG = {"x": 2**31 - 1, "y": 65535, "z": 65535}
REGISTERS = 255  # of 4 bytes, that one thread may use
VECTOR_BYTES = 16  # of the widest access to memory that a thread makes
