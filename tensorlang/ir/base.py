"""What all nodes are: immutable values with fields; expressions are interned besides."""

from __future__ import annotations

from typing import Any, ClassVar
from weakref import WeakValueDictionary

from tensorlang.ir.operators import Operators

interned: WeakValueDictionary[tuple, Expr] = WeakValueDictionary()
put = object.__setattr__  # which only constructors use


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


def intern(cls: type, key: tuple, fields: dict[str, Any], dtype: str, lanes: int) -> Any:
    """The expression with that key: the one that there is, or one with these fields."""
    found = interned.get(key)
    if found is not None:
        return found
    node: Any = object.__new__(cls)
    for name, value in fields.items():
        put(node, name, value)
    put(node, "dtype", dtype)
    put(node, "lanes", lanes)
    put(node, "memo", {})
    interned[key] = node
    return node
