"""HTML fragments of one look: colours that read well in light and dark, in notebooks and in a plain page.

Each colour is written once, for both. JupyterLab and VS Code say which theme they show, elsewhere the system does.
"""

from __future__ import annotations

from html import escape
from typing import Any

__all__ = ["View", "document", "escape", "fragment"]

# name: (in light, in dark)
COLOURS = {
    "text": ("#1f2328", "#e2e6ea"),
    "faint": ("#656d76", "#98a2ad"),
    "line": ("#d0d7de", "#454c55"),
    "shade": ("#f2f4f7", "#2a2f36"),
    "serial": ("#57606a", "#aab4bf"),
    "parallel": ("#b35900", "#ffb057"),
    "vectorize": ("#1a7f37", "#63d07d"),
    "unroll": ("#7048b6", "#c8a6ff"),
    "blockIdx": ("#b35900", "#ffb057"),
    "threadIdx": ("#0a6bc2", "#6cb6ff"),
    "vthread": ("#a3306e", "#ff9bce"),
    "block": ("#0a6bc2", "#6cb6ff"),
    "alloc": ("#9a3412", "#f0a58a"),
    "registers": ("#1a7f37", "#63d07d"),
    "L1": ("#1a7f37", "#63d07d"),
    "shared": ("#1a7f37", "#63d07d"),
    "L2": ("#806000", "#e3c04a"),
    "L3": ("#b35900", "#ffb057"),
    "memory": ("#b42318", "#ff8f85"),
    "gone": ("#ffe3e0", "#582322"),
    "added": ("#d5f5dc", "#1b4428"),
    "gone-mark": ("#b42318", "#ff8f85"),
    "added-mark": ("#1a7f37", "#63d07d"),
}

_RULES = """
.tl { color-scheme: light dark; color: var(--tl-text); font: 13px/1.5 ui-monospace, "DejaVu Sans Mono", Menlo,
  Consolas, monospace; max-width: 100%; overflow-x: auto; }
[data-jp-theme-light="true"] .tl, .vscode-light .tl, .tl.light { color-scheme: light; }
[data-jp-theme-light="false"] .tl, .vscode-dark .tl, .tl.dark { color-scheme: dark; }
.tl .row { display: flex; gap: 2em; justify-content: space-between; align-items: baseline; white-space: pre;
  padding: 0 .4em; border-radius: 3px; }
.tl .row:hover { background: var(--tl-shade); }
.tl details > div { margin-left: .45em; padding-left: 1em; border-left: 2px solid var(--tl-line); }
.tl summary { list-style: none; cursor: pointer; }
.tl summary::-webkit-details-marker { display: none; }
.tl details:not([open]) > summary .row > :first-child::after { content: "  ..."; color: var(--tl-faint); }
.tl .key { font-weight: 600; }
.tl .faint { color: var(--tl-faint); }
.tl .sizes { color: var(--tl-faint); font-size: 12px; }
.tl .tag { border: 1px solid; border-radius: 4px; padding: 0 .4em; margin-left: .7em; font-size: 11px; }
.tl .foot { color: var(--tl-faint); font-size: 12px; padding: .5em .4em; white-space: normal; }
.tl .gone { background: var(--tl-gone); }
.tl .added { background: var(--tl-added); }
.tl .gone .mark { color: var(--tl-gone-mark); }
.tl .added .mark { color: var(--tl-added-mark); }
.tl svg text { font: 11px ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace; fill: var(--tl-text); }
.tl svg .faint { fill: var(--tl-faint); }
""".strip()


class View:
    """What a notebook shows as HTML and a terminal as text: the base of all views, whose `str` says what they show.

    >>> isinstance(s, tl.display.View), isinstance(tl.display.nest(s), tl.display.View)
    (True, True)
    """

    def _repr_html_(self) -> str:
        raise NotImplementedError

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        """What IPython shows where there is no HTML."""
        printer.text(str(self))


def _style() -> str:
    variables = "".join(f"--tl-{name}: light-dark({light}, {dark}); " for name, (light, dark) in COLOURS.items())
    kinds = "".join(f".tl .c-{name} {{ color: var(--tl-{name}); }}\n" for name in COLOURS)
    bars = "".join(f".tl details.b-{name} > div {{ border-color: var(--tl-{name}); }}\n" for name in COLOURS)
    return f"<style>\n.tl {{ {variables}}}\n{_RULES}\n{kinds}{bars}</style>"


STYLE = _style()


def fragment(body: str) -> str:
    """`body` with its style, to stand in any page."""
    return f'{STYLE}<div class="tl">{body}</div>'


def document(view: View, title: str = "", theme: str = "light dark") -> str:
    """A whole page of HTML that shows a view. theme: "light", "dark", or both for what the reader's system says.

    >>> page = tl.display.document(tl.display.nest(s), title="C")
    >>> "for" in page and "C.local" not in page
    True
    """
    return (
        f'<!doctype html><html style="color-scheme: {theme}"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f"<style>body {{ background: Canvas; margin: 16px; }} .tl {{ color-scheme: {theme} !important; }}</style>"
        f"</head><body>{view._repr_html_()}</body></html>"
    )
