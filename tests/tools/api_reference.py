"""The API reference: pages of HTML from docstrings, by pdoc, to be read with any browser and no network.

    python -m tests.tools.api_reference [build/docs]

Docstrings are plain text with a few habits, which are turned into Markdown here: the indented program after a line
such as `rewrite:` is shown as it stands, and so are examples.
"""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pdoc
import pdoc.extract

import tensorlang as tl

# What pdoc walks through: these and their public submodules, without those that "!" precedes.
MODULES = (
    "tensorlang",
    "!tensorlang.build",
    "!tensorlang.create_func",
    "!tensorlang.display.",
    "tensorlang.analysis",
    "tensorlang.intrin",
    "!tensorlang.intrin.match",
    "tensorlang.schedule.handles",
    "tensorlang.schedule.library",
    "tensorlang.schedule.gpu_library",
    "tensorlang.topi",
    "!tensorlang.topi.dims",
    "!tensorlang.topi.windows",
    "autotune",
)
EXAMPLES = """
In examples, `A` and `B` are placeholders of 8 x 8 float32, `C` is their product and `D` is max(C, 0); `k` is a
reduction axis, `i` and `j` are axes; `s` is a fresh `Schedule(C)`, `t` one of `D`; `f` is the kernel of `C`; `a` and
`b` are arrays for it. A test runs them all.
"""


def markdown(docstring: str) -> str:
    """A docstring as Markdown: indented parts become code, but for numbered lists."""
    made: list[str] = []
    block: list[str] = []  # the indented part that is being collected

    def flush() -> None:
        while block and not block[-1].strip():
            block.pop()
        if not block:
            return
        if block[0].lstrip()[:2] in ("1.", "- "):
            made.extend(["", *(line.removeprefix("  ") for line in block), ""])
        else:
            made.extend(["", "```text", *(line.removeprefix("  ") for line in block), "```", ""])
        block.clear()

    for line in inspect.cleandoc(docstring).splitlines():
        if line.startswith("  ") or (block and not line.strip()):
            block.append(line)
        else:
            flush()
            made.append(line)
    flush()
    return "\n".join(made)


def modules() -> list[ModuleType]:
    """The modules that the reference is about."""
    return [importlib.import_module(name) for name in pdoc.extract.walk_specs(MODULES)]


def documented() -> Iterator[Any]:
    """Every function and class of the modules, and the functions of classes."""
    for module in modules():
        for member in list(getattr(module, "__all__", vars(module))):
            value = getattr(module, member)
            setattr(module, member, value)  # some are imported when they are first asked for
            if inspect.isclass(value):
                yield from (v for v in vars(value).values() if inspect.isfunction(v))
            if inspect.isclass(value) or inspect.isfunction(value):
                yield value


def prepare() -> None:
    """Give all that is documented docstrings in Markdown, in this process only."""
    for value in {id(f): f for v in documented() for f in (v, inspect.unwrap(v))}.values():
        if value.__doc__ and value.__module__.partition(".")[0] in ("tensorlang", "autotune"):
            value.__doc__ = markdown(value.__doc__)
    tl.__doc__ = f"{tl.__doc__}\n{EXAMPLES}"


def main() -> None:
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "build/docs")
    prepare()
    pdoc.render.configure(docformat="markdown", show_source=False, search=True, footer_text="tensorlang")
    pdoc.pdoc(*MODULES, output_directory=folder)
    print(folder / "index.html")


if __name__ == "__main__":
    main()
