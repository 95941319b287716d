"""What each primitive requires, and by which reasons it refuses: read from the docstrings and the code.

`REASONS` ties the two together: for each primitive and each number in its `requires:` the reasons with which that
requirement is refused. test_requirements.py holds it to what the code says, and asks for a test of every reason.
"""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import tensorlang as tl

SOURCE = Path(inspect.getfile(tl.Schedule)).parent
TESTS = Path(__file__).parent
PRIMITIVES = [name for name, method in vars(tl.Schedule).items() if hasattr(method, "signature")]

# Of every primitive alike, and tested once for all in test_requirements.py.
COMMON = frozenset({"bad_argument", "foreign_handle", "trace_mismatch", "unknown_primitive"})

REASONS: dict[str, dict[int, tuple[str, ...]]] = {
    "split": {
        1: ("bad_factor", "factor_not_positive", "several_inferred"),
        2: ("factors_do_not_cover", "factors_exceed"),
        3: ("loop_kind", "loop_annotated"),
        4: ("unknown_tail",),
        5: ("extent_negative",),
        6: ("mixed_iterators", "extent_depends"),
        7: ("mixed_iterators",),
    },
    "fuse": {
        1: ("too_few_loops", "duplicate_loop", "not_adjacent"),
        2: ("loop_kind", "loop_annotated"),
        3: ("extent_depends", "extent_negative"),
        4: ("reduction_may_be_empty", "loop_may_be_empty"),
        5: ("visits_twice",),
        6: ("mixed_iterators",),
    },
    "reorder": {
        1: ("too_few_loops", "duplicate_loop", "not_perfectly_nested"),
        2: ("extent_depends",),
        3: ("ordered_iterators",),
        4: ("loop_carries",),
        5: ("visits_twice",),
    },
    "add_unit_loop": {1: ("ambiguous_name",)},
    "loop_partition": {
        1: ("bad_point",),
        2: ("points_not_ascending",),
        3: ("loop_kind", "loop_annotated"),
        4: ("mixed_iterators", "extent_depends"),
    },
    "fission": {
        1: ("not_around", "nothing_after"),
        2: ("loop_annotated",),
        3: ("loop_carries",),
        4: ("init_before",),
    },
    "specialize": {1: ("bad_condition",), 2: ("condition_decided",), 3: ("vector_loop",)},
    "parallel": {
        1: ("loop_kind",),
        2: ("loop_reduces", "loop_repeats"),
        3: ("loop_carries",),
        4: ("nested_kind",),
    },
    "vectorize": {
        1: ("loop_kind", "extent_not_fixed"),
        2: ("loop_reduces", "loop_repeats"),
        3: ("loop_carries",),
        4: ("nested_kind",),
    },
    "bind": {
        1: ("loop_kind", "extent_not_fixed", "unknown_axis"),
        2: ("loop_reduces", "loop_carries"),
        3: ("nested_kind",),
        4: ("not_a_grid",),
        5: ("axis_taken",),
        6: ("too_many_threads",),
        7: ("threads_differ",),
        8: ("threads_differ",),
    },
    "unroll": {1: ("loop_kind", "extent_not_fixed")},
    "serpentine": {
        1: ("loop_kind", "pipelined"),
        2: ("no_outer_loop",),
        3: ("ordered_iterators",),
        4: ("loop_carries",),
    },
    "annotate": {1: ("ambiguous_name",), 2: ("bad_annotation",)},
    "decompose_reduction": {
        1: ("no_init",),
        2: ("not_around",),
        3: ("reduction_may_be_empty",),
        4: ("visits_twice",),
        5: ("extent_depends",),
        6: ("allocated_inside",),
        7: ("several_writers",),
    },
    "atomic": {
        1: ("has_init",),
        2: ("not_commutative",),
        3: ("not_atomic",),
        4: ("atomic_vectors",),
    },
    "rfactor": {
        1: ("several_blocks", "not_reducing", "no_init"),
        2: ("not_commutative",),
        3: ("not_an_update",),
        4: ("bad_factor_axis",),
        5: ("extent_depends", "extent_negative"),
        6: ("visits_twice", "conditional"),
        7: ("mixed_guard",),
        8: ("used_inside",),
    },
    "cache_read": {
        1: ("not_read",),
        2: ("writes_buffer",),
        3: ("producer_not_before",),
        4: ("bad_scope",),
    },
    "cache_write": {1: ("several_outputs", "not_written"), 2: ("consumer_inside",), 3: ("bad_scope",)},
    "compute_at": {
        1: ("several_writers",),
        2: ("no_consumer", "consumer_outside_loop", "writes_parameter"),
        3: ("producer_not_before", "not_produced_there", "overwritten_before"),
        4: ("vector_loop",),
        5: ("loop_kind", "loop_annotated"),
        6: ("overwrites",),
    },
    "reverse_compute_at": {
        1: ("no_producer_in_loop", "producer_in_parts"),
        2: ("producer_incomplete", "reduction_split"),
        3: ("not_gapless", "not_elementwise", "conditional_read"),
        4: ("producer_not_before",),
        5: ("several_writers",),
        6: ("vector_loop",),
        7: ("loop_kind", "loop_annotated"),
        8: ("overwrites",),
        9: ("consumer_before", "not_produced_there"),
        10: ("other_branch",),
    },
    "compute_inline": {
        1: ("reduces", "several_stores"),
        2: ("writes_parameter", "several_writers"),
        3: ("not_plain",),
        4: ("no_consumer",),
        5: ("out_of_scope", "overwritten_before"),
    },
    "reverse_compute_inline": {
        1: ("reduces", "several_stores"),
        2: ("no_producer", "several_producers", "producer_reduces"),
        3: ("several_consumers", "writes_parameter", "several_writers"),
        4: ("not_elementwise",),
        5: ("other_domain",),
    },
    "transform_layout": {
        1: ("parameter_layout", "several_outputs"),
        2: ("index_map",),
        3: ("not_injective",),
        4: ("storage_fixed",),
        5: ("bad_pad_value", "loop_kind", "loop_annotated"),
    },
    "reindex": {
        1: ("not_accessed",),
        2: ("several_accesses", "loops_inside"),
        3: ("producer_not_before",),
        4: ("several_writers", "consumer_inside", "overwrites"),
    },
    "set_scope": {1: ("parameter_storage", "several_outputs"), 2: ("bad_scope",)},
    "storage_align": {1: ("parameter_storage", "several_outputs"), 2: ("bad_axis",), 3: ("bad_factor",)},
    "swizzle": {1: ("parameter_storage", "several_outputs"), 2: ("bad_swizzle",)},
    "store_at": {
        1: ("parameter_storage", "several_outputs"),
        2: ("uses_outside_loop",),
        3: ("iterations_share", "not_produced_there", "consumer_before"),
        4: ("loop_repeats", "loop_carries"),
    },
    "decompose_padding": {
        1: ("not_padded",),
        2: ("not_a_box",),
        3: ("not_around", "not_perfectly_nested"),
        4: ("loop_kind", "loop_annotated"),
        5: ("overwrites",),
    },
    "pad_einsum": {
        1: ("bad_padding", "bad_factor", "factor_not_positive"),
        2: ("not_a_contraction",),
        3: ("several_writers",),
        4: ("operand_without",),
        5: ("loops_remade", "loop_kind", "loop_annotated"),
    },
    "rolling_buffer": {
        1: ("parameter_storage", "several_outputs", "several_writers"),
        2: ("uses_outside_loop", "loop_kind"),
        3: ("not_a_window", "no_overlap"),
        4: ("guard_differs",),
        5: ("input_changes", "overwrites"),
        6: ("consumer_before", "not_produced_there"),
    },
    "blockize": {
        1: ("not_perfectly_nested",),
        2: ("loop_kind", "extent_depends", "tile_may_be_empty"),
        3: ("not_affine", "not_whole_tiles"),
        4: ("guard_inside",),
        5: ("visits_twice", "loop_repeats"),
    },
    "tensorize": {
        1: ("ambiguous_name", "not_perfectly_nested"),
        2: ("unknown_intrinsic", "target_lacks"),
        3: ("not_the_semantics", "aliased"),
        4: ("strides", "scope"),
    },
    "software_pipeline": {
        1: ("bad_stages", "bad_order", "block_outside_loop", "pipelined"),
        2: ("loop_kind",),
        3: ("stages_missing", "stages_differ"),
        4: ("stage_order",),
        5: ("loop_carries",),
    },
    "double_buffer": {
        1: ("parameter_storage", "several_outputs"),
        2: ("not_in_a_loop",),
    },
    "cache_hint": {1: ("bad_cache_hint",), 2: ("several_stores",), 3: ("scope",)},
    "async_copy": {
        1: ("not_a_copy", "source_written"),
        2: ("scope",),
    },
}

# Reasons that a shared check can give, but not in this primitive.
NOT_HERE: dict[tuple[str, str], str] = {
    ("compute_at", "consumer_before"): "producer_not_before is found first",
    **{
        ("tensorize", reason): "a loop is blockized first, and refused as blockize refuses it"
        for reasons in REASONS["blockize"].values()
        for reason in reasons
        if reason != "not_perfectly_nested"
    },
}


def numbers(primitive: str) -> list[int]:
    """The numbers of its requirements, as its docstring gives them."""
    doc = inspect.getdoc(getattr(tl.Schedule, primitive)) or ""
    required = re.search(r"^requires.*?:\n(.*?)(\n\n|\Z)", doc, re.DOTALL | re.MULTILINE)
    assert required is not None, f"{primitive}: no requires:"
    return [int(n) for n in re.findall(r"^  (\d+)\. ", required[1], re.MULTILINE)]


# ------------------------------------------------------------------------------------- what the code may refuse with
class _Function(NamedTuple):
    reasons: frozenset[str]
    uses: frozenset[tuple[str, str]]  # other functions: (module, name)


def possible_reasons(primitive: str) -> set[str]:
    """The reason codes in a primitive and in all checks that it calls, those of every step aside."""
    functions = _functions()
    module = getattr(tl.Schedule, primitive).__module__.split(".")[-1]
    found: set[str] = set()
    waiting, seen = [(module, primitive)], set()
    while waiting:
        key = waiting.pop()
        if key in functions and key not in seen and key[0] != "primitive":
            seen.add(key)
            found |= functions[key].reasons
            waiting += functions[key].uses
    return found - COMMON


def _functions() -> dict[tuple[str, str], _Function]:
    found = {}
    for path in SOURCE.glob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        modules, names = _imports(tree)
        for node in tree.body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name != "Schedule":
                uses = {(modules[n.value.id], n.attr) for n in _modules_used(node, modules)}
                uses |= {names.get(n.id, (path.stem, n.id)) for n in ast.walk(node) if isinstance(n, ast.Name)}
                found[path.stem, node.name] = _Function(frozenset(_reasons(node)), frozenset(uses))
    return found


def _imports(tree: ast.Module) -> tuple[dict[str, str], dict[str, tuple[str, str]]]:
    """Modules of schedule/ by the names they have in a file, and functions of theirs."""
    modules, names = {}, {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module == "tensorlang.schedule":
            modules.update((a.asname or a.name, a.name) for a in node.names)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("tensorlang.schedule."):
            module = (node.module or "").split(".")[-1]
            names.update((a.asname or a.name, (module, a.name)) for a in node.names)
    return modules, names


def _modules_used(node: ast.AST, modules: dict[str, str]) -> Iterator[ast.Attribute]:
    for n in ast.walk(node):
        if isinstance(n, ast.Attribute) and isinstance(n.value, ast.Name) and n.value.id in modules:
            yield n


def _reasons(node: ast.AST) -> Iterator[str]:
    """The codes given to refuse, require and ScheduleError."""
    for call in (n for n in ast.walk(node) if isinstance(n, ast.Call)):
        name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
        at = {"refuse": 0, "ScheduleError": 0, "Mismatch": 0, "require": 2}.get(name)
        if at is not None and len(call.args) > at and isinstance(code := call.args[at], ast.Constant):
            yield str(code.value)


def without_hint() -> Iterator[str]:
    """The places that refuse a step and do not say what would be legal instead."""
    for path in sorted(SOURCE.glob("*.py")):
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            refuses = isinstance(call, ast.Call) and getattr(call.func, "attr", "") in ("refuse", "require")
            if refuses and not any(keyword.arg == "hint" for keyword in call.keywords):  # type: ignore[attr-defined]
                yield f"{path.name}:{call.lineno}"  # type: ignore[attr-defined]


# ----------------------------------------------------------------------------------------------- what tests refuse
def pairs_tested() -> set[tuple[str, str]]:
    """(primitive, reason) of every refused(s, "reason", lambda: s.primitive(...)) in the tests."""
    found = set()
    for path in TESTS.glob("test_*.py"):
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(call, ast.Call) and getattr(call.func, "id", "") == "refused" and len(call.args) == 3:
                _, reason, step = call.args
                if (
                    isinstance(reason, ast.Constant)
                    and isinstance(step, ast.Lambda)
                    and isinstance(step.body, ast.Call)
                ):
                    found.add((getattr(step.body.func, "attr", ""), str(reason.value)))
    return found
