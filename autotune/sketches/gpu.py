"""The rules for GPUs: what gpu_library knows to schedule, with its counts as knobs."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

from autotune.sketches.parts import Part
from autotune.sketches.program import Program, Stage
from autotune.space import AskKnob
from autotune.task import Schedule, gpu_library

_THREADS = (32, 64, 128, 256, 512, 1024)
_EACH = (1, 2, 4, 8)
_HELD, _MOST_HELD = 32, 64  # elements of a row that a thread is to have in registers; where rows are long
_HALVES = {"float16", "bfloat16"}
# Threads, and elements of a thread, for a tile of a convolution.
_ACROSS = {
    "rows": {"threads": (1, 2, 4, 7, 8, 14, 28), "each": (1, 2, 4)},
    "columns": {"threads": (1, 2, 4, 7, 8, 14, 28), "each": (2, 4, 7, 8, 14)},
}
_CHANNELS = {"channel_threads": (4, 8, 16, 32), "channel_each": (4, 8, 16)}
_TENSOR_TILES = (  # of a block of threads, of a warp; stages
    ((128, 256, 32), (64, 64), 4),
    ((128, 256, 64), (64, 64), 3),
    ((128, 128, 32), (64, 64), 4),
    ((64, 64, 32), (32, 32), 4),
)


def elementwise(program: Program, stage: Stage) -> Sequence[Part]:
    """Of any block: a thread has some elements, or reduces for one by itself."""
    inputs = _inputs(program, stage)

    def write(s: Schedule, knob: AskKnob) -> None:
        _inline(s, inputs)
        if stage.reduction:
            gpu_library.reductions(s, stage.block, knob("threads", _THREADS))
        else:
            lanes = 16 // stage.result_bytes
            gpu_library.elementwise(s, stage.block, knob("threads", _THREADS), lanes, knob("each", _EACH))

    blocks = frozenset({stage.block, *inputs})
    return [Part("elements", blocks, write, exact=not stage.reduction)] if stage.spatial else []


def rows(program: Program, stage: Stage) -> Sequence[Part]:
    """Of a chain along rows, such as softmax or a norm: threads share a row, which stays in their registers."""
    chain = _chain(program, stage)
    if not any(member.reduction for member in chain) or stage.spatial[-1].extent > _THREADS[-1] * _MOST_HELD:
        return []
    enough = [n for n in _THREADS if n * _HELD >= stage.spatial[-1].extent] or _THREADS[-1:]

    def write(s: Schedule, knob: AskKnob) -> None:
        vector = knob("vector", sorted({16 // stage.result_bytes, _lanes(stage)}))
        before = [member.block for member in chain[1:]]
        gpu_library.rows(s, stage.block, knob("threads", enough), vector, knob("beside", _EACH), before)

    return [Part("rows", frozenset(member.block for member in chain), write, exact=True)]


def _chain(program: Program, stage: Stage) -> list[Stage]:
    """The stage, if it does not reduce, and all before it that work for it alone and have a row, or one value, for
    each of its rows."""
    if stage.reduction or len(stage.spatial) < 2:
        return []
    chain, depth = [stage], len(stage.spatial)
    for block in reversed(list(program)):
        member = program[block]
        works = member.consumers and all(c in {m.block for m in chain} for c in member.consumers)
        along = len(member.spatial) + len(member.reduction) == depth and len(member.reduction) < 2
        if member is not stage and works and (along or not member.reduction) and _is_of_row(member, chain, depth):
            chain.append(member)
    return chain


def _is_of_row(member: Stage, chain: Sequence[Stage], depth: int) -> bool:
    """Whether the stage has rows as the others have, or one value for each of theirs."""
    if len(member.spatial) != depth - 1:
        return len(member.spatial) == depth
    readers = [(c, a) for c in chain for a in c.reads if a.buffer == member.result.buffer]
    return all(a.loops <= {loop.name for loop in c.spatial[: depth - 1]} for c, a in readers)


def sums(program: Program, stage: Stage) -> Sequence[Part]:
    """Of a reduction along memory: blocks of threads have rows, or parts of the one that there is; along columns: parts
    of the rows, then these."""
    if len(stage.reads) != 1 or not stage.spatial or not stage.reduction:
        return []
    inputs, along = _inputs(program, stage), set(stage.reads[0].steps[-1])
    blocks = frozenset({stage.block, *inputs})

    def ask(knob: AskKnob) -> tuple[Any, int, Any]:
        return knob("threads", _THREADS), _lanes(stage), knob("each", _EACH)

    def whole(s: Schedule, knob: AskKnob) -> None:
        _inline(s, inputs)
        gpu_library.whole_sum(s, stage.block, knob("parts", (128, 256, 512, 1024, 2048)), *ask(knob))

    def by_rows(s: Schedule, knob: AskKnob) -> None:
        _inline(s, inputs)
        gpu_library.row_sums(s, stage.block, *ask(knob))

    def by_columns(s: Schedule, knob: AskKnob) -> None:
        _inline(s, inputs)
        gpu_library.column_sums(s, stage.block, knob("parts", (16, 32, 64, 128, 256)), *ask(knob))

    if len(stage.spatial) == 1 and stage.spatial[0].extent == 1:
        return [Part("parts", blocks, whole, exact=True)]
    if len(stage.reduction) == 1 and along == {stage.reduction[0].name}:
        return [Part("row sums", blocks, by_rows, exact=True)]
    if len(stage.reduction) == len(stage.spatial) == 1 and along == {stage.spatial[0].name}:
        return [Part("column sums", blocks, by_columns, exact=True)]
    return []


def _inputs(program: Program, stage: Stage) -> list[str]:
    """The elementwise blocks that work for the stage alone, the first one first."""
    found: list[str] = []
    for producer in program.private_producers(stage):
        if not producer.reduction:
            found += [*_inputs(program, producer), producer.block]
    return found


def _inline(s: Schedule, blocks: Sequence[str]) -> None:
    for block in blocks:
        s.compute_inline(block)


def transpose(program: Program, stage: Stage) -> Sequence[Part]:
    """Of a block that reads along another dimension than it writes: through shared memory."""
    if stage.reduction or len(stage.spatial) != 2 or len(stage.reads) != 1:
        return []
    if set(stage.reads[0].steps[-1]) != {stage.spatial[0].name}:
        return []

    def write(s: Schedule, knob: AskKnob) -> None:
        gpu_library.transpose(s, stage.block, (knob("y", (4, 8, 16, 32)), knob("x", (4, 8, 16, 32))), _lanes(stage))

    return [Part("transpose", frozenset({stage.block}), write, exact=True)]


def contraction(program: Program, stage: Stage) -> Sequence[Part]:
    """Of C[i, j] += A[i, k] * B[k, j]: tiles in shared memory and registers."""
    if not _is_product(stage):
        return []
    m, n = (loop.extent for loop in stage.spatial)
    limit = program.target.shared_bytes // stage.item_bytes

    def write(stages: int, order: str, s: Schedule, knob: AskKnob) -> list[Any]:
        z, y, x = knob("z", (1, 2, 4, 8)), knob("y", (4, 8, 16, 32)), knob("x", (4, 8))
        fi, fj = knob("far_i", (1, 2, 4)), knob("far_j", (1, 2, 4))
        deep, unrolled, group = knob("deep", (1, 2, 4)), knob("unrolled", (4, 8, 16, 32)), knob("group", (1, 4, 16))
        threads, far, depth = (z, y, x), (fi, fj), (deep, unrolled)
        gpu_library.tiled_matmul(
            s, stage.block, threads, far, depth, group, stages, 0, True, order=order, turning=order != "squares"
        )
        rows, columns = fi * y * 4, fj * z * x * 4
        return [
            z * y * x >= 64,
            fi * fj <= 8,  # registers: 16 for each
            fi * fj * unrolled <= 64,  # text to compile
            deep * unrolled <= 32,
            deep * unrolled * ((rows + 4) * stages + columns * 2) <= limit,
            *(deep * unrolled >= y, 4 * fi >= z),  # all threads fetch of one operand
            *((fi - 1) * y * 4 < m, (fj * z - 1) * x * 4 < n),  # and none for nothing
            (group == 1) | (m % (rows * group) == 0),
        ]

    block = frozenset({stage.block})
    return [
        Part("two stages", block, partial(write, 2, "squares"), exact=True),
        Part("two stages, columns in turn", block, partial(write, 2, "columns"), exact=True),
        Part("one stage", block, partial(write, 1, "squares"), exact=True),
    ]


def _is_product(stage: Stage) -> bool:
    """Whether it is C[i, j] += A[i, k] * B[k, j], as far as its loops tell, of different A and B."""
    buffers = {access.buffer for access in stage.reads}
    if [loop.reduce for loop in stage.loops] != [False, False, True] or len(buffers) != 2:
        return False
    i, j, k = (loop.name for loop in stage.loops)
    return [[[*step] for step in access.steps] for access in stage.reads] == [[[i], [k]], [[k], [j]]]


def tensor_cores(program: Program, stage: Stage) -> Sequence[Part]:
    """Of such a product of float16 or bfloat16, accumulated in float32, with what else is done to its elements."""
    inputs = [] if stage.reduction else _inputs(program, stage)
    users = [] if stage.reduction else [stage, *(program[block] for block in inputs)]
    products = [p for user in users for p in program.private_producers(user) if p.reduction]
    if stage.reduction and not stage.consumers:
        products = [stage]
    if len(products) != 1 or not _fits_tensor_cores(program, products[0]):
        return []
    (product,) = products
    if not all(_is_along(user, [product, *users]) for user in users):
        return []

    def write(tile: tuple[int, int, int], warp: tuple[int, int], stages: int, s: Schedule, knob: AskKnob) -> None:
        _inline(s, inputs)
        group = max(g for g in (1, 2, 4, 8) if height % (tile[0] * g) == 0)
        halves = stages * (tile[0] * tile[2] + tile[2] * tile[1])
        staged = 2 * halves + stage.result_bytes * tile[0] * (tile[1] + 8) <= program.target.shared_bytes
        gpu_library.tensor_core_matmul(s, product.block, tile, warp, stages, group, staged=staged)

    height, width, depth = (loop.extent for loop in product.loops)
    blocks = frozenset({stage.block, product.block, *inputs})
    return [
        Part("tensor cores, {}x{}x{} tiles".format(*tile), blocks, partial(write, tile, warp, stages))
        for tile, warp, stages in _TENSOR_TILES
        if height % tile[0] == width % tile[1] == depth % tile[2] == 0
    ]


def _fits_tensor_cores(program: Program, stage: Stage) -> bool:
    """Whether a warp of the target does what the stage does."""
    if not program.target.tensor_cores or not _is_product(stage) or {*stage.operations} - {"cast"} != {"fma"}:
        return False
    kinds = {stage.dtypes[access.buffer] for access in stage.reads}
    steps = {size for access in stage.reads for step in access.steps for size in step.values()}
    return steps == {1} and len(kinds) == 1 and kinds < _HALVES and stage.dtypes[stage.result.buffer] == "float32"


def _is_along(stage: Stage, makers: Sequence[Stage]) -> bool:
    """Whether the stage stores elements, and reads those of `makers`, each at the place of its loops."""
    places = [{loop.name: 1} for loop in stage.loops]
    made = {maker.result.buffer for maker in makers}
    own = [access for access in stage.accesses if access.buffer in made]
    return all([dict(step) for step in access.steps] == places for access in own)


def convolution(program: Program, stage: Stage) -> Sequence[Part]:
    """Of C[n, o, h, w] += X[n, c, h + kh, w + kw] * W[o, c, kh, kw], or of W[o, 0, kh, kw] for each channel alone:
    patches of the image in shared memory."""
    kinds = [loop.reduce for loop in stage.loops]
    depthwise = kinds == [False] * 4 + [True] * 2
    if not (depthwise or kinds == [False] * 4 + [True] * 3) or len(stage.reads) != 2:
        return []
    n, o, h, w, *c, kh, kw = (loop.name for loop in stage.loops)
    size = {loop.name: loop.extent for loop in stage.loops}
    wanted = [{n}, set(c) or {o}, {h, kh}, {w, kw}], [{o}, set(c), {kh}, {kw}]
    for access, along in zip(stage.reads, wanted, strict=True):
        if [set(step) for step in access.steps] != [{name for name in names if size[name] > 1} for names in along]:
            return []
    blocks = frozenset({stage.block, *(p.block for p in program.private_producers(stage))})
    across = {f"{axis}_{what}": choices for axis, of in _ACROSS.items() for what, choices in of.items()}
    channels = {**_CHANNELS, "depth": tuple(d for d in (1, 3, 4, 8, 16) if c and size[c[0]] % d == 0)}

    def fit(ht: Any, he: Any, wt: Any, we: Any) -> list[Any]:
        return [(ht * he) * (size[h] // (ht * he)) >= size[h], (wt * we) * (size[w] // (wt * we)) >= size[w]]

    def whole_fits(stages: int, ht: Any, he: Any, wt: Any, we: Any, ot: Any, oe: Any, depth: Any) -> list[Any]:
        patch = (ht * he + size[kh] - 1) * (wt * we + size[kw] + 3)
        taps = size[kh] * size[kw]
        return [
            *fit(ht, he, wt, we),
            ot * oe * (size[o] // (ot * oe)) >= size[o],
            *(ot * ht * wt >= 64, ot * ht * wt <= 512, oe * he * we <= 128, oe * he * we * taps <= 2048),
            4 * stages * depth * (patch + (ot * oe + 4) * taps) <= program.target.shared_bytes,
        ]

    def alone_fits(ht: Any, he: Any, wt: Any, we: Any) -> list[Any]:
        return [*fit(ht, he, wt, we), ht * wt >= 32, ht * wt <= 1024, he * we <= 64]

    def whole(stages: int, vector: int, s: Schedule, knob: AskKnob) -> list[Any]:
        ht, he, wt, we, ot, oe, depth = (knob(*each) for each in {**across, **channels}.items())
        gpu_library.conv2d(s, stage.block, (ot * oe, ht * he, wt * we, depth), (oe, he, we), stages, vector)
        return whole_fits(stages, ht, he, wt, we, ot, oe, depth)

    def alone(vector: int, s: Schedule, knob: AskKnob) -> list[Any]:
        ht, he, wt, we = (knob(*each) for each in across.items())
        gpu_library.depthwise_conv2d(s, stage.block, (ht * he, wt * we), (he, we), vector)
        return alone_fits(ht, he, wt, we)

    if depthwise:
        parts = [Part("depthwise", blocks, partial(alone, 1))]
        return parts if _some(alone_fits, across.values()) else []
    vector = 4 if size[kw] == 1 and not stage.producers and size[w] % 4 == 0 else 1
    return [
        Part(f"patches, {stages} stages", blocks, partial(whole, stages, vector))
        for stages in (1, 2, 3)
        if _some(partial(whole_fits, stages), [*across.values(), *channels.values()])
    ]


def _some(conditions: Callable[..., list[Any]], choices: Iterable[Sequence[int]]) -> bool:
    """Whether one of all choices meets the conditions."""
    return any(all(conditions(*values)) for values in itertools.product(*choices))


def _lanes(stage: Stage) -> int:
    """Elements of 16 bytes of what it stores."""
    return max(1, 16 // stage.item_bytes)


GPU_RULES = (tensor_cores, contraction, convolution, transpose, sums, rows, elementwise)
