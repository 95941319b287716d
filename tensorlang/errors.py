"""The errors that users meet. Each says what was asked, what is wrong, and what would be right.

`code` is stable and meant for programs; the text is meant for people.
"""

from __future__ import annotations


class TensorlangError(Exception):
    """Base of all errors that this package raises on purpose."""

    code = "error"


class ExprError(TensorlangError, TypeError):
    """An expression that has no meaning: mixed dtypes, wrong arity, an index out of range."""

    code = "expression"


class VerifyError(TensorlangError):
    """A Func that breaks a rule of the IR. Users meet it only with hand-made Funcs; otherwise it is our bug."""

    code = "verify"


class BuildError(TensorlangError):
    """A Func that cannot be compiled for the target."""

    code = "build"


class ArgumentError(TensorlangError, ValueError):
    """A kernel was called with an argument it cannot take; nothing was written."""

    code = "argument"


class ScheduleError(TensorlangError):
    """A schedule step that is refused; the schedule is as it was before.

    reason: stable code such as "not_divisible"; primitive and argument: what was asked of what;
    excerpt: the IR with the offending nodes underlined; hint: what would be legal instead.
    """

    def __init__(
        self,
        reason: str,
        message: str,
        *,
        primitive: str = "",
        argument: str = "",
        excerpt: str = "",
        hint: str = "",
    ):
        self.reason = self.code = reason
        self.message, self.primitive, self.argument = message, primitive, argument
        self.excerpt, self.hint = excerpt, hint
        super().__init__(self.oneline)

    def but(self, **changes: str) -> ScheduleError:
        """The same error with some of its texts changed: `error.but(message=...)`."""
        names = ("message", "primitive", "argument", "excerpt", "hint")
        return ScheduleError(self.reason, **{n: changes.get(n, getattr(self, n)) for n in names})

    @property
    def oneline(self) -> str:
        where = f"{self.primitive}({self.argument})" if self.argument else self.primitive
        return f"{where}: {self.message} [{self.reason}]" if where else f"{self.message} [{self.reason}]"

    def __str__(self) -> str:
        parts = [self.oneline]
        if self.excerpt:
            parts.append(self.excerpt.rstrip())
        if self.hint:
            parts.append(f"legal here: {self.hint}")
        return "\n".join(parts)
