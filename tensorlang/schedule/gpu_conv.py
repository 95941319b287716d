"""Schedules of convolutions of images (NCHW) for GPUs, made of public primitives."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from tensorlang.schedule.handles import BlockLike, Loop
from tensorlang.schedule.primitive import composition

if TYPE_CHECKING:
    from tensorlang.schedule.schedule import Schedule


@composition
def conv2d(
    s: Schedule,
    block: BlockLike,
    tile: tuple[int, int, int, int] = (64, 4, 56, 8),
    each: tuple[int, int, int] = (8, 1, 8),
    stages: int = 2,
    vector: int = 1,
    resident: int = 0,
) -> None:
    """C[n, o, h, w] = sum over c, kh, kw of X[n, c, h + kh, w + kw] * W[o, c, kh, kw], X perhaps padded by a block.

    A block of threads has a `tile` of output channels, rows and columns, and goes through the input channels so many
    at a time, for which it keeps the patch of the image and the weights in shared memory. A thread has `each` output
    channels, rows and columns in registers; from a row of the patch it loads what all taps of that row need once.
    Weights lie with output channels along memory. stages: how many patches are in shared memory, of which one is used
    while the others are on their way. vector: how many elements of the image one access fetches, which must lie at a
    multiple of so many. resident: see gpu_library.matmul.

    >>> from tensorlang.topi import convolution
    >>> g = tl.Schedule(convolution.conv2d(1, 56, 56, 64, 64, 3, 1, 1), target=tl.Target("cuda", arch="sm_90a"))
    >>> conv2d(g, "conv2d")
    >>> g.loops("conv2d")[0].kind
    'blockIdx.x'
    """
    node = s.block(block)
    result = node.writes[0].name
    image, weight = (buffer.name for buffer in node.reads if buffer.name != result)
    write = s.cache_write(block, "local")
    n, o, h, w, c, kh, kw = s.loops(block)
    o0, o1, o2 = _tiled(s, o, tile[0], each[0])
    h0, h1, h2 = _tiled(s, h, tile[1], each[1])
    w0, w1, w2 = _tiled(s, w, tile[2], each[2])
    c0, c1 = s.split(c, [None, tile[3]])
    s.reorder(n, h0, w0, o0, o1, h1, w1, c0, c1, kh, kw, o2, h2, w2)
    s.reverse_compute_at(write, o0)
    grid, thread = s.fuse(n, h0, w0, o0), s.fuse(o1, h1, w1)
    s.bind(grid, "blockIdx.x")
    s.bind(thread, "threadIdx.x")
    if resident:
        s.annotate(grid, "resident", resident)
    _store(s, write, tile, each)
    threads = math.prod(whole // part for whole, part in zip(tile, each, strict=False))
    patch = _copy(s, block, image, c0)
    _by_places(s, patch, threads, vector)
    s.storage_align(patch, 2, 4, 0)
    weights = _copy(s, block, weight, c0)
    _by_channels(s, weights, threads)
    s.transform_layout(s.block(weights).writes[0].name, lambda o, c, kh, kw: (c, kh, kw, o))
    s.storage_align(weights, 2, 32, 4)
    for shared, loop in ((patch, kh), (weights, kw)):
        copy = s.cache_read(block, s.block(shared).writes[0].name, "local").name
        s.compute_at(copy, loop)
        _in_registers(s, copy)
    for loop in (kh, kw, o2, h2, w2):
        s.unroll(loop)
    if stages > 1:
        for copy in (patch, weights):
            s.async_copy(copy)
        s.software_pipeline(c0, {patch: 0, weights: 0, node.name: stages - 1})


@composition
def depthwise_conv2d(
    s: Schedule,
    block: BlockLike,
    tile: tuple[int, int] = (56, 56),
    each: tuple[int, int] = (4, 4),
    vector: int = 1,
) -> None:
    """C[n, c, h, w] = sum over kh, kw of X[n, c, h + kh, w + kw] * W[c, 0, kh, kw], X perhaps padded by a block.

    A block of threads has a `tile` of rows and columns of a channel, whose patch is in shared memory; a thread has
    `each` rows and columns, and what these need in registers. vector: see conv2d.

    >>> from tensorlang.topi import convolution
    >>> g = tl.Schedule(convolution.depthwise_conv2d(2, 12, 12, 3, 3, 1, 1), target=tl.Target("cuda", arch="sm_90a"))
    >>> depthwise_conv2d(g, "depthwise_conv2d", (12, 12), (4, 4))
    >>> g.loops("depthwise_conv2d")[0].kind
    'blockIdx.x'
    """
    node = s.block(block)
    result = node.writes[0].name
    image, weight = (buffer.name for buffer in node.reads if buffer.name != result)
    write = s.cache_write(block, "local")
    n, c, h, w, kh, kw = s.loops(block)
    h0, h1, h2 = _tiled(s, h, tile[0], each[0])
    w0, w1, w2 = _tiled(s, w, tile[1], each[1])
    s.reorder(n, c, h0, w0, h1, w1, kh, kw, h2, w2)
    s.reverse_compute_at(write, w0)
    grid, thread = s.fuse(n, c, h0, w0), s.fuse(h1, w1)
    s.bind(grid, "blockIdx.x")
    s.bind(thread, "threadIdx.x")
    _store(s, write, tile, each)
    patch = _copy(s, block, image, grid)
    _by_places(s, patch, tile[0] // each[0] * (tile[1] // each[1]), vector)
    s.storage_align(patch, 2, 4, 0)
    for operand in (s.block(patch).writes[0].name, weight):
        copy = s.cache_read(block, operand, "local").name
        s.compute_at(copy, thread)
        _in_registers(s, copy)
    for loop in (kh, kw, h2, w2):
        s.unroll(loop)


def _in_registers(s: Schedule, copy: str) -> None:
    *outer, lanes = s.loops(copy)[-4:]
    for loop in outer:
        s.unroll(loop)
    s.vectorize(lanes)


def _tiled(s: Schedule, loop: Loop, tile: int, each: int) -> tuple[Loop, ...]:
    return s.split(loop, [None, tile // each, each])


def _store(s: Schedule, write: BlockLike, tile: tuple[int, ...], each: tuple[int, ...]) -> None:
    """The results of a tile, each stored by the thread that has it."""
    loops = s.loops(write)[-len(each) :]
    outer, threads, own = zip(*(_tiled(s, *of) for of in zip(loops, tile, each, strict=False)), strict=True)
    s.reorder(*outer, *threads, *own)
    s.bind(s.fuse(*threads), "threadIdx.x")
    for loop in own[:-1]:
        s.unroll(loop)
    s.vectorize(own[-1])


def _copy(s: Schedule, block: BlockLike, operand: str, loop: Loop) -> str:
    """The block that brings what an iteration of `loop` needs of `operand` to shared memory: that which makes it, or a
    copy."""
    maker = next((b.name for b in s.blocks() if b.writes[0].name == operand), "")
    if maker:
        s.set_scope(operand, "shared")
    copy = maker or s.cache_read(block, operand, "shared").name
    s.compute_at(copy, loop)
    return copy


def _by_places(s: Schedule, copy: str, threads: int, vector: int) -> None:
    """A thread copies the same places of all channels."""
    _, c, h, w = s.loops(copy)[-4:]
    again, thread, lanes = s.split(s.fuse(h, w), [None, threads, vector])
    s.reorder(again, thread, c, lanes)
    for loop in (again, c):
        s.unroll(loop)
    s.bind(thread, "threadIdx.x")
    s.vectorize(lanes)


def _by_channels(s: Schedule, copy: str, threads: int) -> None:
    """A thread copies all taps of a pair of channels."""
    o, c, kh, kw = s.loops(copy)[-4:]
    again, thread = s.split(s.fuse(o, c), [None, threads])
    for loop in (again, kh, kw):
        s.unroll(loop)
    s.bind(thread, "threadIdx.x")
