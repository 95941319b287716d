"""A loop nest as a tree: what runs how, and how much memory one iteration of each loop touches."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tensorlang import analysis
from tensorlang.display import page, units
from tensorlang.ir.nodes import Alloc, Block, Expr, For, Func
from tensorlang.ir.printer import lines
from tensorlang.target import target as targets
from tensorlang.target.target import Target

_COLUMN = 64  # where the second column of the text begins, at the latest


@dataclass(frozen=True)
class Row:
    """A line of the program. kind: func, block, alloc, the kind of a loop, or "" for all else. sizes: bytes of each
    buffer that one iteration of a loop touches, or that the program or an alloc needs; home: the memory they fit."""

    depth: int
    shown: str
    kind: str = ""
    sizes: tuple[tuple[str, Expr], ...] = ()
    home: str = ""

    @property
    def sizes_text(self) -> str:
        return "  ".join(f"{name} {units.size(size)}" for name, size in self.sizes)


@dataclass(frozen=True)
class Nest(page.View):
    """A program as rows; `print` it, or let a notebook show it.

    >>> "C.k" in tl.display.nest(s)._repr_html_()
    True
    """

    rows: tuple[Row, ...]
    target: Target

    def __str__(self) -> str:
        program = [(row, "  " * row.depth + row.shown) for row in self.rows]
        width = min(_COLUMN, max(len(line) for row, line in program if row.sizes))
        table = (
            f"{line:{width}} | {row.sizes_text}{f' ({row.home})' if row.home else ''}" if row.sizes else line
            for row, line in program
        )
        return "\n".join((*table, self.legend))

    @property
    def legend(self) -> str:
        """What the second column means, with the sizes of the target's caches."""
        held = ", ".join(f"{name} {units.size(capacity)}" for name, capacity in units.caches(self.target))
        return f"right: bytes that one iteration touches, and the nearest memory that holds them ({held})"

    def _repr_html_(self) -> str:
        rows = iter(self.rows)
        body = "".join(_subtrees(next(rows), rows)[0])
        return page.fragment(f'{body}<div class="foot">{page.escape(self.legend)}</div>')


def nest(program: Any, target: Target | str | None = None) -> Nest:
    """The loop nest of a Schedule or a loop-level Func, with what each loop touches in bytes.

    target: whose caches are meant; by default the schedule's own, else this machine's.

    >>> print(nest(s))
    func C(A: f32[8, 8], B: f32[8, 8]) -> C: f32[8, 8] | A 256 B  B 256 B  C 256 B (L1)
      for C.i in 8:                                    | A 32 B  B 256 B  C 32 B (L1)
        for C.j in 8:                                  | A 32 B  B 32 B  C 4 B (L1)
          for C.k in 8:                                | A 4 B  B 4 B  C 4 B (L1)
            block C(i = C.i, j = C.j, k: reduce = C.k):
              init: C[i, j] = 0.0
              C[i, j] = fma(A[i, k], B[k, j], C[i, j])
    right: bytes that one iteration touches, and the nearest memory that holds them (...)
    """
    func: Func = getattr(program, "func", program)
    chosen = targets.of(target or getattr(program, "target", None) or "llvm")
    sets = analysis.working_sets(func)
    return Nest(tuple(_rows(func, sets, chosen)), chosen)


def _rows(func: Func, sets: dict[str, dict[str, Expr]], target: Target) -> Iterator[Row]:
    around = [""]  # the loops around a line, by depth
    for indent, shown, node in lines(func):
        depth = len(indent) // 2
        del around[depth:]
        if isinstance(node, Func):
            yield _sized(Row(depth, shown, "func"), sets[""], "", target)
        elif isinstance(node, For):
            yield _sized(Row(depth, shown, node.kind), sets.get(node.var.name, {}), "", target)
        elif isinstance(node, Alloc):
            needed = sets[next(name for name in reversed(around) if name in sets)]
            name = node.buffer.name
            yield _sized(Row(depth, shown, "alloc"), {name: needed[name]}, node.buffer.scope, target)
        else:
            yield Row(depth, shown, "block" if isinstance(node, Block) and shown.startswith("block") else "")
        around += [node.var.name if isinstance(node, For) else around[-1] if around else ""]


def _sized(row: Row, sizes: dict[str, Expr], scope: str, target: Target) -> Row:
    home = units.home(units.total(sizes), scope, target)
    return Row(row.depth, row.shown, row.kind, tuple(sizes.items()), home)


# ------------------------------------------------------------------------------------------------------- HTML
def _subtrees(row: Row, rest: Iterator[Row]) -> tuple[list[str], Row | None]:
    """The HTML of `row` and of the rows after it that are no less deep, and the first row that is less deep."""
    made: list[str] = []
    depth = row.depth
    current: Row | None = row
    while current is not None and current.depth >= depth:
        following = next(rest, None)
        if following is not None and following.depth > current.depth:
            inside, after = _subtrees(following, rest)
            unit = current.kind.partition(".")[0] or "line"
            head = f"<summary>{_row(current)}</summary>"
            made.append(f'<details open class="b-{unit}">{head}<div>{"".join(inside)}</div></details>')
            current = after
        else:
            made.append(_row(current))
            current = following
    return made, current


def _row(row: Row) -> str:
    tag = f'<span class="tag c-{row.home}">{row.home}</span>' if row.home else ""
    right = f'<span class="sizes">{page.escape(row.sizes_text)}{tag}</span>' if row.sizes else ""
    return f'<div class="row"><span>{_line(row)}</span>{right}</div>'


def _line(row: Row) -> str:
    """The program's line with its keyword and its name set off."""
    if not row.kind:
        return page.escape(row.shown)
    keyword, _, rest = row.shown.partition(" ")
    colour = row.kind.partition(".")[0]
    name = rest.split(" in ")[0] if row.kind not in ("func", "block", "alloc") else rest.split("(")[0].split(":")[0]
    return (
        f'<span class="key c-{colour}">{page.escape(keyword)}</span> '
        f'<span class="key">{page.escape(name)}</span>{page.escape(rest[len(name) :])}'
    )
