"""The definition of the language, executable: runs Funcs of the loop and the flat level exactly as nodes.py says.

A Func is translated to Python once. Loops of every kind run one iteration after the other; scalars are Python
numbers rounded after each operation (exact.py), vectors are NumPy arrays; fresh memory is poisoned, and every access
is checked against the shape of its buffer, every block iterator against its extent.

When an `init` runs: the loops that bind reduction iterators of its block, and no spatial ones, are its *reduction
loops*. Right before the outermost of them, the init runs for all iterations of the other loops inside that one, under
the conjuncts of the predicate (and of `If`s in between) that are free of reduction loops' variables.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from tensorlang.errors import ArgumentError, VerifyError
from tensorlang.ir import dtypes, memory, walk
from tensorlang.ir.launch import ASYNC_COMMIT, ASYNC_WAIT
from tensorlang.ir.nodes import (
    SPATIAL,
    TRUE,
    Alloc,
    Block,
    Buffer,
    Do,
    Expr,
    For,
    Func,
    If,
    LetStmt,
    Seq,
    Size,
    Stmt,
    Store,
    Var,
)
from tensorlang.ir.ops import all_of, conjuncts
from tensorlang.ir.printer import text
from tensorlang.ir.pycode import Writer

_DEEPEST = 16  # nested loops in one Python function, which allows 20
_compiled: WeakKeyDictionary[Func, tuple[Callable[..., None], list[Size]]] = WeakKeyDictionary()


def run(
    func: Func,
    arrays: Mapping[Buffer, np.ndarray] | Sequence[np.ndarray],
    sizes: Mapping[Size, int] = {},
) -> None:
    """Run `func` on NumPy arrays (by parameter, or in the order of `func.params`), writing its outputs in place.

    Sizes that stand alone as an extent of a parameter are taken from the arrays; others come from `sizes`. An array
    for a one-dimensional parameter may have any shape of as many elements (row-major).
    Raises ArgumentError if an array does not fit, IndexError for an access outside its buffer.
    """
    function, needed = compiled(func)
    call(func, arrays, sizes, function, needed)


def call(
    func: Func,
    arrays: Mapping[Buffer, np.ndarray] | Sequence[np.ndarray],
    sizes: Mapping[Size, int],
    function: Callable[..., None],
    needed: Sequence[Size],
) -> None:
    """Check the arguments of `func`, as `run` says, and pass them to the `function` that it was translated to."""
    given = list(arrays.values()) if isinstance(arrays, Mapping) else list(arrays)
    if isinstance(arrays, Mapping):
        given = [arrays[p] for p in func.params]
    if len(given) != len(func.params):
        raise ArgumentError(f"{func.name} takes {len(func.params)} arrays, got {len(given)}")
    known = dict(sizes)
    for param, array in zip(func.params, given, strict=True):
        _check_argument(param, array, known)
    flat = [np.ascontiguousarray(a).reshape(-1) for a in given]
    missing = [size.name for size in needed if size not in known]
    if missing:
        raise ArgumentError(f"{func.name} needs the values of {', '.join(missing)}: pass sizes={{size: value}}")
    with np.errstate(all="ignore"):
        function(flat, known)
    for param, array, memory_of in zip(func.params, given, flat, strict=True):
        if param in func.outputs and not np.shares_memory(array, memory_of):
            array[...] = memory_of.reshape(array.shape)


def _check_argument(param: Buffer, array: np.ndarray, known: dict[Size, int]) -> None:
    if array.dtype != dtypes.to_numpy(param.dtype):
        raise ArgumentError(f"{param.name} must be {param.dtype}, got {array.dtype}")
    if len(param.shape) == 1 != array.ndim:
        return
    if array.ndim != len(param.shape):
        raise ArgumentError(f"{param.name} must have {len(param.shape)} dimensions, got {array.ndim}")
    for axis, (extent, actual) in enumerate(zip(param.shape, array.shape, strict=True)):
        if isinstance(extent, Size):
            known.setdefault(extent, actual)
        expected = known.get(extent) if isinstance(extent, Size) else getattr(extent, "value", actual)
        if expected != actual:
            raise ArgumentError(f"{param.name} must have {expected} elements on axis {axis}, got {actual}")


def compiled(func: Func) -> tuple[Callable[..., None], list[Size]]:
    """The Python function of `func`, which takes flat arrays in order and a dict of sizes, and the sizes it needs."""
    if func not in _compiled:
        code, names = source(func)
        exec(compile(code, f"<interpreter of {func.name}>", "exec"), names)
        _compiled[func] = names["run"], [n for n in names.values() if isinstance(n, Size)]
    return _compiled[func]


def source(func: Func) -> tuple[str, dict[str, Any]]:
    """The Python text that `func` becomes, and the objects that it refers to by name."""
    program = Program()
    program.func(func)
    return "def run(arrays, sizes):\n" + "\n".join(program.lines) + "\n", program.names


class Program(Writer):
    """Statements as Python."""

    def __init__(self) -> None:
        super().__init__()
        self.depth = 0
        self.inits: dict[int, list[Stmt]] = {}  # what runs right before a loop, by id of the loop
        self.done: set[int] = set()  # blocks whose init has its place before a loop, by id

    def func(self, func: Func) -> None:
        for size in sorted(walk.free_vars(func), key=lambda v: v.name):
            if not isinstance(size, Size):
                raise VerifyError(f"{func.name}: variable {size.name} is free")
            self.vars[size] = self.assign(size.name, f"sizes[{self.refer(self.fresh('_size'), size)}]")
        for n, param in enumerate(func.params):
            self.new_memory(param, f"arrays[{n}]")
        self.place_inits(func.body, ())
        self.stmt(func.body)
        self.line("return")

    def new_memory(self, buffer: Buffer, array: str) -> None:
        """Name the memory of `buffer`, which the expression `array` gives, and its strides."""
        strides, step = ["1"], ""
        for extent in reversed(buffer.shape[1:]):
            code = self.value(extent)
            step = f"{code} * {step}" if step else code
            step = str(eval(step)) if step.replace(" * ", "").isdecimal() else self.assign("stride", step)
            strides.append(step)
        self.strides[buffer] = tuple(reversed(strides)) if buffer.shape else ()
        name = self.fresh(buffer.name)
        self.line(f"{name} = {array}")
        self.line(f"m{name} = {self.refer('_scalar_view', memory.scalar_view)}({name}, {buffer.dtype!r})")
        self.memory[buffer] = (f"m{name}", name)

    # -------------------------------------------------------------------------------------------- inits
    def place_inits(self, stmt: Stmt, path: tuple[Stmt, ...]) -> None:
        """Find for each reduction below `stmt` the loop before which its init runs."""
        if isinstance(stmt, Block):
            if stmt.init is not None:
                self.place_init(stmt, path)
            return
        for child in walk.children(stmt):
            if isinstance(child, Stmt):
                self.place_inits(child, (*path, stmt))

    def place_init(self, block: Block, path: tuple[Stmt, ...]) -> None:
        loops = [s for s in path if isinstance(s, For)]
        spatial, reduction = set[Var](), set[Var]()
        for it, binding in zip(block.iters, block.bindings, strict=True):
            (spatial if it.kind == SPATIAL else reduction).update(walk.free_vars(binding))
        outermost = next((loop for loop in loops if loop.var in reduction), None)
        if outermost is None:
            return
        inside = path[next(n for n, s in enumerate(path) if s is outermost) :]
        for loop in reversed([s for s in inside if isinstance(s, For)]):  # extents may need outer loops' variables
            if loop.var not in reduction or loop.var in spatial:
                spatial |= walk.free_vars(loop.extent)
        dropped = {s.var for s in inside if isinstance(s, For)} & (reduction - spatial)
        self.inits.setdefault(id(outermost), []).append(_init_nest(block, inside, dropped))
        self.done.add(id(block))

    # --------------------------------------------------------------------------------------- statements
    def stmt(self, stmt: Stmt) -> None:
        if isinstance(stmt, Seq):
            for part in stmt.stmts:
                self.stmt(part)
        elif isinstance(stmt, For):
            for init in self.inits.get(id(stmt), ()):
                self.stmt(init)
            self.loop(stmt)
        elif isinstance(stmt, Block):
            self.block(stmt)
        elif isinstance(stmt, Store):
            self.store(stmt.buffer, stmt.indices, stmt.value, stmt.mask)
        elif isinstance(stmt, If):
            self.branch(stmt)
        elif isinstance(stmt, LetStmt):
            self.vars[stmt.var] = name = self.fresh(stmt.var.name)
            self.line(f"{name} = {self.value(stmt.value)}")
            self.stmt(stmt.body)
        elif isinstance(stmt, Alloc):
            count = " * ".join(self.value(extent) for extent in stmt.buffer.shape) or "1"
            self.new_memory(stmt.buffer, f"{self.refer('_poison', memory.poison)}({count}, {stmt.buffer.dtype!r})")
            self.stmt(stmt.body)
        elif isinstance(stmt, Do):
            self.effect(stmt)
        else:
            raise VerifyError(f"the interpreter does not know {stmt!r}")

    def effect(self, stmt: Do) -> None:
        if stmt.body is not None:
            self.stmt(stmt.body)
        elif stmt.what not in (ASYNC_COMMIT, ASYNC_WAIT):  # these order nothing that is not in order already
            raise VerifyError(f"{text(stmt)} has no meaning one thread after the other: use interp_launch.run")

    def suite(self, body: Stmt) -> None:
        """`body`, indented under the line that opens it."""
        self.indent += 1
        before = len(self.lines)
        self.stmt(body)
        if len(self.lines) == before:
            self.line("pass")
        self.indent -= 1

    def loop(self, loop: For) -> None:
        extent = self.value(loop.extent)
        self.checked[loop.var] = loop.extent
        self.counted(loop.var, extent, lambda: self.suite(loop.body))

    def counted(self, var: Var, extent: str, suite: Callable[[], None]) -> None:
        """A Python loop in which `suite` writes what is done for each value of `var`."""
        self.vars[var] = name = self.fresh(var.name)
        self.line(f"for {name} in range({extent}):")
        self.depth += 1
        if self.depth % _DEEPEST:
            suite()
        else:
            inner, self.indent = self.fresh("inner"), self.indent + 1
            self.line(f"def {inner}():")
            suite()
            self.line(f"{inner}()")
            self.indent -= 1
        self.depth -= 1

    def branch(self, stmt: If) -> None:
        self.line(f"if {self.value(stmt.cond)}:")
        self.suite(stmt.then)
        if stmt.orelse is not None:
            self.line("else:")
            self.suite(stmt.orelse)

    def block(self, block: Block) -> None:
        if block.predicate is not TRUE:
            self.line(f"if {self.value(block.predicate)}:")
            self.indent += 1
        for it, binding in zip(block.iters, block.bindings, strict=True):
            self.bind(block, it.var, it.extent, binding)
        if block.init is not None and id(block) not in self.done:
            self.stmt(block.init)
        before = len(self.lines)
        self.stmt(block.body)
        if block.predicate is not TRUE:
            if len(self.lines) == before:
                self.line("pass")
            self.indent -= 1

    def bind(self, block: Block, var: Var, extent: Expr, binding: Expr) -> None:
        """Give a block iterator its value, and check it unless the range of the loop shows that it fits."""
        self.vars[var] = name = self.assign(var.name, self.value(binding))
        if not self.within(binding, extent):
            report, limit = self.refer("_outside_iter", memory.outside_iter), self.value(extent)
            self.line(f"if not 0 <= {name} < {limit}: {report}({block.name!r}, {var.name!r}, {name}, {limit})")
        self.checked[var] = extent


def _init_nest(block: Block, inside: tuple[Stmt, ...], dropped: set[Var]) -> Stmt:
    """The init of `block` in those of the statements `inside` around it that do not depend on `dropped` variables."""
    bound = [(i, b) for i, b in zip(block.iters, block.bindings, strict=True) if i.kind == SPATIAL]
    iters, bindings = tuple(i for i, _ in bound), tuple(b for _, b in bound)
    nest: Stmt = block.replace(
        iters=iters,
        bindings=bindings,
        predicate=_free_conjuncts(block.predicate, dropped),
        reducer=None,
        init=None,
        body=block.init,
    )
    for stmt, child in reversed(list(zip(inside, (*inside[1:], block), strict=True))):
        if isinstance(stmt, For) and stmt.var not in dropped:
            nest = For(stmt.var, stmt.extent, stmt.kind, nest)
        elif isinstance(stmt, LetStmt) and not walk.free_vars(stmt.value) & dropped:
            nest = LetStmt(stmt.var, stmt.value, nest)
        elif isinstance(stmt, If):
            nest = If(_free_conjuncts(stmt.cond if child is stmt.then else ~stmt.cond, dropped), nest)
    return nest


def _free_conjuncts(cond: Expr, dropped: set[Var]) -> Expr:
    """The conjunction of those conjuncts of `cond` that mention no variable of `dropped`."""
    return all_of(c for c in conjuncts(cond) if not walk.free_vars(c) & dropped)
