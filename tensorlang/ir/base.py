"""What all nodes are: immutable values with fields; expressions are interned besides."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, ClassVar
from weakref import ref

from tensorlang.ir.operators import Operators

put = object.__setattr__  # which only constructors use


@contextmanager
def collection_put_off() -> Iterator[None]:
    """Garbage collection, if it is on, waits: for work that makes thousands of nodes, which are in no cycles, so that
    the collector would look through them, and through all else that there is, again and again for next to nothing.

    >>> with collection_put_off():
    ...     module = tl.lower(C)
    >>> gc.isenabled()
    True

    What was made meanwhile counts as old, as it would after the collector had looked through it twice: garbage among it
    goes with the next full collection. If several threads are here, collection is on again when the first one leaves,
    which harms no one.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            if not gc.get_freeze_count():  # of what somebody froze, unfreeze would let go
                gc.freeze()  # all objects, in no time
                gc.unfreeze()  # into the oldest generation
            gc.enable()


def constructor(fields: tuple[str, ...], defaults: dict[str, Any]) -> Callable[..., None]:
    """`__init__` of a statement with these fields, written out, as a loop over them would take twice as long."""
    params = ", ".join(f"{field}=defaults[{field!r}]" if field in defaults else field for field in fields)
    lines = [f"def __init__(self, {params}):", " put(self, 'memo', {})", *(f" put(self, '{f}', {f})" for f in fields)]
    scope: dict[str, Any] = {"put": put, "defaults": defaults}
    exec("\n".join(lines), scope)
    return scope["__init__"]


class Node:
    """Base of all nodes: fields in order, immutability, repr through the printer."""

    __slots__ = ("__weakref__",)
    fields: ClassVar[tuple[str, ...]] = ()

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{type(self).__name__} is immutable: make a new node instead of setting {name}")

    def __repr__(self) -> str:
        from tensorlang.ir.printer import text

        return text(self)


class Expr(Operators, Node):
    """A value: `dtype` of each lane, `lanes` of them. Python operators build expressions (see ops.py).

    >>> value = A[i, j] * 2.0 + 1.0
    >>> value, value.dtype, value.astype("float64")
    (A[i, j] * 2.0 + 1.0, 'float32', f64(A[i, j] * 2.0 + 1.0))
    """

    __slots__ = ("dtype", "lanes", "memo")
    dtype: str
    lanes: int
    memo: dict[Any, Any]  # what analyses remember about this node, keyed by the analysis

    def __reduce__(self) -> Any:
        raise TypeError("IR is not pickled: use ir.serial (Func <-> JSON) or a Trace")


class _Entry(ref[Expr]):
    """An expression that others may use while somebody does, and the key under which it is found until then."""

    __slots__ = ("key",)
    key: tuple


interned: dict[tuple, _Entry] = {}  # a plain dict: looking into a WeakValueDictionary takes as long as making a node


def _forget(entry: _Entry, interned: dict[tuple, _Entry] = interned) -> None:
    if interned.get(entry.key) is entry:
        del interned[entry.key]


def known(key: tuple) -> Any:
    """The expression with that key, if there is one."""
    entry = interned.get(key)
    return None if entry is None else entry()


_set_dtype, _set_lanes, _set_memo = (vars(Expr)[slot].__set__ for slot in Expr.__slots__)  # which need not be found


def intern(cls: type, key: tuple, fields: dict[str, Any], dtype: str, lanes: int) -> Any:
    """The expression with that key and these fields, of which none is known yet."""
    node: Any = object.__new__(cls)
    for name, value in fields.items():
        put(node, name, value)
    _set_dtype(node, dtype)
    _set_lanes(node, lanes)
    _set_memo(node, {})
    entry = _Entry(node, _forget)
    entry.key = key
    while (there := interned.setdefault(key, entry)) is not entry:  # from another thread
        if (other := there()) is not None:
            return other
    return node
