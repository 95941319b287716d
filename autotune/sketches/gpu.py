"""The rules for GPUs: what gpu_library knows to schedule, with its counts as knobs."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from autotune.sketches.parts import Part
from autotune.sketches.program import Program, Stage
from autotune.space import AskKnob
from autotune.task import Schedule, gpu_library

_THREADS = (32, 64, 128, 256, 512, 1024)
_EACH = (1, 2, 4, 8)
_HELD = 64  # elements of a row that a thread may have in registers


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

    return [Part("elements", frozenset({stage.block, *inputs}), write)] if stage.spatial else []


def rows(program: Program, stage: Stage) -> Sequence[Part]:
    """Of a chain along rows, such as softmax or a norm: threads share a row, which stays in their registers."""
    chain = _chain(program, stage)
    if not any(member.reduction for member in chain) or stage.spatial[-1].extent > _THREADS[-1] * _HELD:
        return []

    def write(s: Schedule, knob: AskKnob) -> None:
        vector = knob("vector", sorted({16 // stage.result_bytes, _lanes(stage)}))
        before = [member.block for member in chain[1:]]
        gpu_library.rows(s, stage.block, knob("threads", _THREADS), vector, knob("beside", _EACH), before)

    return [Part("rows", frozenset(member.block for member in chain), write)]


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
        return [Part("parts", blocks, whole)]
    if len(stage.reduction) == 1 and along == {stage.reduction[0].name}:
        return [Part("row sums", blocks, by_rows)]
    if len(stage.reduction) == len(stage.spatial) == 1 and along == {stage.spatial[0].name}:
        return [Part("column sums", blocks, by_columns)]
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

    return [Part("transpose", frozenset({stage.block}), write)]


def contraction(program: Program, stage: Stage) -> Sequence[Part]:
    """Of C[i, j] += A[i, k] * B[k, j]: tiles in shared memory and registers."""
    if [loop.reduce for loop in stage.loops] != [False, False, True] or len(stage.reads) != 2:
        return []
    i, j, k = (loop.name for loop in stage.loops)
    m, n = (loop.extent for loop in stage.spatial)
    a, b = stage.reads
    if [[*step] for step in a.steps] != [[i], [k]] or [[*step] for step in b.steps] != [[k], [j]]:
        return []

    limit = program.target.shared_bytes // stage.item_bytes

    def write(stages: int, asynchronous: bool, s: Schedule, knob: AskKnob) -> list[Any]:
        z, y, x = knob("z", (1, 2, 4, 8)), knob("y", (4, 8, 16, 32)), knob("x", (4, 8))
        fi, fj = knob("far_i", (1, 2, 4)), knob("far_j", (1, 2, 4))
        deep, unrolled, group = knob("deep", (1, 2, 4)), knob("unrolled", (4, 8, 16)), knob("group", (1, 2, 4, 8, 16))
        threads, far, depth = (z, y, x), (fi, fj), (deep, unrolled)
        gpu_library.tiled_matmul(s, stage.block, threads, far, depth, group, stages, asynchronous=asynchronous)
        rows, columns = fi * y * 4, fj * z * x * 4
        return [
            z * y * x >= 64,
            fi * fj <= 8,  # registers: 16 for each
            fi * fj * unrolled <= 64,  # text to compile
            deep * unrolled <= 32,
            deep * unrolled * ((rows + 4) * stages + columns * (stages + 1)) <= limit,
            *(deep * unrolled >= y, 4 * fi >= z),  # all threads fetch of one operand
            *((fi - 1) * y * 4 < m, (fj * z - 1) * x * 4 < n),  # and none for nothing
        ]

    block = frozenset({stage.block})
    return [
        Part("two stages", block, partial(write, 2, True)),
        Part("one stage", block, partial(write, 1, True)),
    ]


def _lanes(stage: Stage) -> int:
    """Elements of 16 bytes of what it stores."""
    return max(1, 16 // stage.item_bytes)


GPU_RULES = (contraction, transpose, sums, rows, elementwise)
