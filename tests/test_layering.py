"""The layers of the house: who may import whom, and who may read the environment. Found by parsing, not by running."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
EVERYWHERE = {"errors", "config"}

# What the modules of each room of tensorlang may import from tensorlang, itself and EVERYWHERE apart.
ALLOWED = {
    "errors": set(),
    "config": set(),
    "ir": set(),
    "arith": {"ir"},
    "target": {"ir", "arith"},
    "te": {"ir", "arith"},
    "intrin": {"ir", "arith", "target", "te"},
    "passes": {"ir", "arith", "target", "intrin"},
    "analysis": {"ir", "arith", "target"},
    "display": {"ir", "arith", "target", "passes", "analysis"},
    "schedule": {"ir", "arith", "target", "te", "intrin", "display"},
    "runtime": {"ir", "display"},
    "backend": {"ir", "arith", "target", "passes", "runtime", "intrin"},
    "topi": {"ir", "te"},
    "build": {"ir", "arith", "target", "te", "schedule", "passes", "runtime", "backend", "analysis", "display"},
}

# Modules that stand at the top of tensorlang belong to a room too.
ROOM_OF_MODULE = {
    "errors": "errors",
    "config": "config",
    "build": "build",
    "ceilings": "build",
    "__init__": "build",
    "te": "te",
    "access": "te",
    "create_func": "te",
    "functions": "te",
    "reducers": "te",
    "te_eval": "te",
}


def modules(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def imports(path: Path) -> Iterator[tuple[str, ...]]:
    """The modules that a file imports, as dotted parts; `from x import y` counts as x.y."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (tuple(alias.name.split(".")) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import"
            base = tuple((node.module or "").split("."))
            yield from ((*base, alias.name) for alias in node.names)


LIBRARIES = (("schedule", "gpu_library"),)  # of schedules made of public primitives


def room(parts: tuple[str, ...]) -> str:
    """The room of a module of tensorlang, given by the parts of its name after `tensorlang`."""
    first = parts[0]
    return first if (ROOT / "tensorlang" / first).is_dir() else ROOM_OF_MODULE[first]


def where(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", modules("tensorlang"), ids=where)
def test_layers(path: Path) -> None:
    own = room(path.relative_to(ROOT / "tensorlang").with_suffix("").parts)
    for name in imports(path):
        assert name[0] != "autotune", f"{where(path)}: tensorlang never imports autotune"
        if name[0] != "tensorlang":
            continue
        other = room(name[1:]) if len(name) > 1 else "build"
        assert other in ALLOWED[own] | {own} | EVERYWHERE, f"{where(path)}: {own} may not import {'.'.join(name)}"


@pytest.mark.parametrize("path", modules("autotune"), ids=where)
def test_autotune_reaches_tensorlang_through_task_alone(path: Path) -> None:
    used = [name for name in imports(path) if name[0] == "tensorlang"]
    if path != ROOT / "autotune" / "task.py":
        assert not used, f"{where(path)}: import it from autotune.task"
    for name in used:
        public = len(name) == 1 or name[1] in ("analysis", "display", "topi") or is_public(name[1])
        assert public or name[1:] in LIBRARIES, f"{where(path)}: {'.'.join(name)}"


def is_public(name: str) -> bool:
    """Whether tensorlang/__init__.py offers this name."""
    tree = ast.parse((ROOT / "tensorlang" / "__init__.py").read_text(encoding="utf-8"))
    offered = {
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    }
    return name in offered and not name.startswith("_")


@pytest.mark.parametrize("path", [*modules("tensorlang"), *modules("autotune")], ids=where)
def test_only_config_reads_the_environment(path: Path) -> None:
    if path == ROOT / "tensorlang" / "config.py":
        return
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        reads = isinstance(node, ast.Attribute) and node.attr in ("environ", "getenv", "environb")
        taken = isinstance(node, ast.ImportFrom) and any(a.name in ("environ", "getenv") for a in node.names)
        assert not reads and not taken, f"{where(path)}:{node.lineno}: only tensorlang/config.py reads the environment"
