"""The errors that users meet. Each says what was asked, what is wrong, and what would be right.

`code` is stable and meant for programs; the text is meant for people.
"""

from __future__ import annotations


class TensorlangError(Exception):
    """Base of all errors that this package raises on purpose.

    >>> try:
    ...     s.parallel("C.k")
    ... except tl.TensorlangError as error:
    ...     print(error.code)
    loop_reduces
    """

    code = "error"


class ExprError(TensorlangError, TypeError):
    """An expression that has no meaning: mixed dtypes, wrong arity, an index out of range.

    >>> tl.compute((8,), lambda i: A[i + 1, 0], name="shifted")
    Traceback (most recent call last):
    ...
    tensorlang.errors.ExprError: shifted: A[i + 1, 0] may be out of bounds: ...
    """

    code = "expression"


class VerifyError(TensorlangError):
    """A Func that breaks a rule of the IR. Users meet it only with hand-made Funcs; otherwise it is our bug.

    >>> func = s.func
    >>> tl.Schedule(tl.Func(func.name, func.params[1:], func.outputs, func.body))
    Traceback (most recent call last):
    ...
    tensorlang.errors.VerifyError: ...
    """

    code = "verify"


class BuildError(TensorlangError):
    """A Func that cannot be compiled for the target.

    >>> outer, inner = s.split("C.i", [None, tl.knob("rows", (1, 2, 4))])
    >>> tl.build(s)
    Traceback (most recent call last):
    ...
    tensorlang.errors.BuildError: C still has open knobs: rows
    """

    code = "build"


class ArgumentError(TensorlangError, ValueError):
    """A kernel was called with an argument it cannot take; nothing was written.

    >>> f(a, np.ones((8, 9), "float32"))
    Traceback (most recent call last):
    ...
    tensorlang.errors.ArgumentError: C: argument B: expected float32[8, 8], got float32[8, 9]
    """

    code = "argument"


class ExecutionError(TensorlangError):
    """What no program may do, found while a launch nest runs in the interpreter.

    buffer and element: where, if anywhere (the element counts from the start of the flat buffer); threads: who, for
    example "thread (3, 0) of block (1, 2)"; excerpt: the program with the statements underlined.
    """

    code = "execution"

    def __init__(
        self, message: str, *, buffer: str = "", element: int = -1, threads: tuple[str, ...] = (), excerpt: str = ""
    ):
        self.message, self.buffer, self.element, self.threads = message, buffer, element, threads
        self.excerpt = excerpt
        super().__init__(message)

    def __str__(self) -> str:
        return f"{self.message}\n{self.excerpt}" if self.excerpt else self.message


class OutOfBoundsError(ExecutionError, IndexError):
    """A thread accesses an element that its buffer does not have."""

    code = "out_of_bounds"


class UninitializedError(ExecutionError):
    """A thread reads memory that nothing has written."""

    code = "uninitialized"


class RaceError(ExecutionError):
    """Two threads access one element, one of them at least to store, and no barrier orders the two."""

    code = "race"


class MissingWaitError(RaceError):
    """A thread accesses what an asynchronous copy may still be writing: its thread has not waited for it."""

    code = "missing_wait"


class DivergenceError(ExecutionError):
    """Some threads of a block reach a barrier, or of a warp a shuffle, and others do not."""

    code = "divergence"


class DeviceError(TensorlangError, RuntimeError):
    """A kernel cannot run here: there is no GPU, it is another one than the kernel was compiled for, or it failed.

    >>> raise tl.DeviceError("the kernel read outside of the memory of its arguments")
    Traceback (most recent call last):
    ...
    tensorlang.errors.DeviceError: the kernel read outside of the memory of its arguments
    """

    code = "device"


class ScheduleError(TensorlangError):
    """A schedule step that is refused; the schedule is as it was before.

    reason: stable code such as "not_divisible"; primitive and argument: what was asked of what;
    excerpt: the IR with the offending nodes underlined; hint: what would be legal instead.

    >>> try:
    ...     s.vectorize("C.k")
    ... except tl.ScheduleError as error:
    ...     print(error.reason, error.hint, sep=": ")
    loop_reduces: a loop that drives spatial iterators only: C.i, C.j; or rfactor(C.k) first
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
        """The same error with some of its texts changed: `error.but(message=...)`.

        >>> try:
        ...     s.parallel("C.k")
        ... except tl.ScheduleError as error:
        ...     print(error.but(message="no").oneline)
        parallel(C.k): no [loop_reduces]
        """
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
