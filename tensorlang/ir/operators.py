"""Python's operators on expressions, as NumPy users expect them; each builds a node through ops.make."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from tensorlang import ir

if TYPE_CHECKING:
    from tensorlang.ir.nodes import Expr


class Operators:
    """Mixed into Expr. `==` builds an expression too, so expressions are compared with `is`."""

    __slots__ = ()

    def __bool__(self) -> bool:
        raise TypeError(
            f"the truth of {self!r} is not known while a program is built: use select, if_then_else, & | ~ "
            "instead of if, and, or, not"
        )

    def __iter__(self) -> Any:
        raise TypeError(f"{self!r} is a scalar expression: it cannot be iterated over")

    def astype(self, dtype: Any) -> Expr:
        """The value converted to `dtype`, as NumPy's astype: `(A[i] * B[i]).astype("float32")`."""
        return ir.ops.cast(cast("Expr", self), dtype)

    __hash__ = object.__hash__

    def __eq__(self, other: object) -> Any:
        return ir.ops.make("eq", self, other)

    def __ne__(self, other: object) -> Any:
        return ir.ops.make("ne", self, other)

    def __lt__(self, other: Any) -> Expr:
        return ir.ops.make("lt", self, other)

    def __le__(self, other: Any) -> Expr:
        return ir.ops.make("le", self, other)

    def __gt__(self, other: Any) -> Expr:
        return ir.ops.make("gt", self, other)

    def __ge__(self, other: Any) -> Expr:
        return ir.ops.make("ge", self, other)

    def __neg__(self) -> Expr:
        return ir.ops.make("neg", self)

    def __pos__(self) -> Expr:
        return cast("Expr", self)

    def __abs__(self) -> Expr:
        return ir.ops.make("abs", self)

    def __invert__(self) -> Expr:
        return ir.ops.invert(cast("Expr", self))

    def __pow__(self, other: Any) -> Expr:
        return ir.ops.power(cast("Expr", self), other)

    def __rpow__(self, other: Any) -> Expr:
        return ir.ops.make("pow", other, self)

    def __add__(self, other: Any) -> Expr:
        return ir.ops.make("add", self, other)

    def __radd__(self, other: Any) -> Expr:
        return ir.ops.make("add", other, self)

    def __sub__(self, other: Any) -> Expr:
        return ir.ops.make("sub", self, other)

    def __rsub__(self, other: Any) -> Expr:
        return ir.ops.make("sub", other, self)

    def __mul__(self, other: Any) -> Expr:
        return ir.ops.make("mul", self, other)

    def __rmul__(self, other: Any) -> Expr:
        return ir.ops.make("mul", other, self)

    def __truediv__(self, other: Any) -> Expr:
        return ir.ops.make("div", self, other)

    def __rtruediv__(self, other: Any) -> Expr:
        return ir.ops.make("div", other, self)

    def __floordiv__(self, other: Any) -> Expr:
        return ir.ops.make("floordiv", self, other)

    def __rfloordiv__(self, other: Any) -> Expr:
        return ir.ops.make("floordiv", other, self)

    def __mod__(self, other: Any) -> Expr:
        return ir.ops.make("mod", self, other)

    def __rmod__(self, other: Any) -> Expr:
        return ir.ops.make("mod", other, self)

    def __and__(self, other: Any) -> Expr:
        return ir.ops.logic("and", self, other)

    def __rand__(self, other: Any) -> Expr:
        return ir.ops.logic("and", other, self)

    def __or__(self, other: Any) -> Expr:
        return ir.ops.logic("or", self, other)

    def __ror__(self, other: Any) -> Expr:
        return ir.ops.logic("or", other, self)

    def __xor__(self, other: Any) -> Expr:
        return ir.ops.logic("xor", self, other)

    def __rxor__(self, other: Any) -> Expr:
        return ir.ops.logic("xor", other, self)

    def __lshift__(self, other: Any) -> Expr:
        return ir.ops.make("shl", self, other)

    def __rlshift__(self, other: Any) -> Expr:
        return ir.ops.make("shl", other, self)

    def __rshift__(self, other: Any) -> Expr:
        return ir.ops.make("shr", self, other)

    def __rrshift__(self, other: Any) -> Expr:
        return ir.ops.make("shr", other, self)
