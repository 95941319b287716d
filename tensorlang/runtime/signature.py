"""What a compiled function takes: parameters by position or name, outputs if wanted, sizes as the shapes tell them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tensorlang.errors import ArgumentError
from tensorlang.ir import dtypes
from tensorlang.ir.nodes import Buffer, Size
from tensorlang.ir.printer import text
from tensorlang.runtime.shapes import Shape, Shapes


class Signature:
    """Arguments of a function called `name`: `params` in call order, of which `outputs` are written."""

    def __init__(self, name: str, params: Sequence[Buffer], outputs: Sequence[Buffer], sizes: Sequence[Size]):
        self.name = name
        self.params, self.outputs, self.sizes = tuple(params), tuple(outputs), tuple(sizes)
        self._shapes = Shapes(self.params, self.sizes)
        self._dtypes = [dtypes.to_numpy(p.dtype) for p in self.params]
        self._ranks = [len(p.shape) for p in self.params]
        self._numbers = {p.name: number for number, p in enumerate(self.params)}
        written = {id(p) for p in self.outputs}
        self._inputs = [n for n, p in enumerate(self.params) if id(p) not in written]
        self._outputs = [next(n for n, p in enumerate(self.params) if p is output) for output in self.outputs]

    @property
    def signature(self) -> str:
        """The parameters in call order and the outputs: `matmul(A: float32[n, 8], B: float32[8]) -> C: float32[n]`."""
        params, outputs = (
            ", ".join(f"{p.name}: {type_text(p)}" for p in (self.params[n] for n in numbers))
            for numbers in (self._inputs if self._in_order() else range(len(self.params)), self._outputs)
        )
        return f"{self.name}({params}) -> {outputs}"

    def __repr__(self) -> str:
        return f"Kernel {self.signature}"

    # ------------------------------------------------------------------------------------------ arguments
    def _arrange(self, args: tuple[Any, ...], out: Any, named: dict[str, Any]) -> list[Any]:
        """The arguments in the order of the parameters; None for the outputs to allocate."""
        passed: list[Any] = [None] * len(self.params)
        if len(args) == len(self.params):
            passed[:] = args
        elif len(args) <= len(self._inputs):
            for number, array in zip(self._inputs, args, strict=False):
                passed[number] = array
        else:
            raise ArgumentError(
                f"{self.name}: expected {len(self._inputs)} inputs or all {len(self.params)} arrays, "
                f"got {len(args)}; signature: {self.signature}"
            )
        if out is not None:
            self._arrange_outputs(passed, out)
        for name, array in named.items():
            if name not in self._numbers:
                raise ArgumentError(f"{self.name}: no parameter is called {name}; signature: {self.signature}")
            number = self._numbers[name]
            if passed[number] is not None:
                raise ArgumentError(f"{self.name}: argument {name} was given twice")
            passed[number] = array
        for number in self._inputs:
            if passed[number] is None:
                param = self.params[number]
                raise ArgumentError(
                    f"{self.name}: argument {param.name} is missing: expected {type_text(param)}; "
                    f"signature: {self.signature}"
                )
        return passed

    def _arrange_outputs(self, passed: list[Any], out: Any) -> None:
        outputs = out if isinstance(out, (tuple, list)) else (out,)
        if len(outputs) != len(self._outputs):
            expected = f"{len(self._outputs)} output" + ("s" if len(self._outputs) > 1 else "")
            raise ArgumentError(f"{self.name}: out: expected {expected}, got {len(outputs)}")
        for number, array in zip(self._outputs, outputs, strict=True):
            if array is not None and passed[number] is not None:
                raise ArgumentError(f"{self.name}: argument {self.params[number].name} was given twice")
            passed[number] = array if array is not None else passed[number]

    def _solve(self, shapes: Sequence[Shape | None]) -> tuple[tuple[int, ...], tuple[Shape, ...]]:
        if self._shapes.constant is not None:
            return (), self._shapes.constant
        try:
            values = self._shapes.solve(shapes)
        except ArgumentError as error:
            raise ArgumentError(f"{self.name}: {error}; signature: {self.signature}") from None
        return values, self._shapes.of(values)

    # ------------------------------------------------------------------------------------------ messages
    def _in_order(self) -> bool:
        """Whether the outputs come last, so that the inputs alone show the order of the call."""
        return [*self._inputs, *self._outputs] == list(range(len(self.params)))

    def _expected(self, number: int) -> str:
        param = self.params[number]
        return f"{self.name}: argument {param.name}: expected {type_text(param)}"


def type_text(param: Buffer) -> str:
    return f"{param.dtype}[{', '.join(text(extent) for extent in param.shape)}]"
