"""Operators of topi under test: an expression, arrays for its inputs, and what its NumPy reference makes of them."""

import importlib
import inspect
import pkgutil

import numpy as np

from tensorlang import create_func, topi


def families():
    """The modules of topi that have operators, by name."""
    modules = (importlib.import_module(f"{topi.__name__}.{file.name}") for file in pkgutil.iter_modules(topi.__path__))
    return {module.__name__.rpartition(".")[2]: module for module in modules if hasattr(module, "NUMPY")}


def inputs_of(func, seed=0):
    """Arrays for the inputs of `func` in their order: small integers, so that sums are exact in any order."""
    rng = np.random.default_rng(seed)
    params = [p for p in func.params if p not in func.outputs]
    return [rng.integers(-3, 4, [d.value for d in p.shape]).astype(p.dtype) for p in params]


def placeholders(tensor):
    """The inputs of an expression by name."""
    if tensor.producer is None:
        return {tensor.name: tensor}
    return {name: found for read in tensor.producer.reads for name, found in placeholders(read).items()}


def by_name(tensor, arrays):
    """`arrays`, in the order of the kernel's parameters, for te_eval."""
    func, found = create_func(tensor), placeholders(tensor)
    names = [p.name for p in func.params if p not in func.outputs]
    return {found[name]: array for name, array in zip(names, arrays, strict=True)}


def reference(module, name, sizes, options, arrays):
    """What NumPy makes of `arrays`: the options that the reference takes are those of the operator."""
    bound = inspect.signature(getattr(module, name)).bind(*sizes, **options).arguments
    function = module.NUMPY[name]
    try:
        takes = inspect.signature(function).parameters
    except ValueError:  # a NumPy function that does not tell
        takes = {}
    with np.errstate(all="ignore"):
        return function(*arrays, **{key: value for key, value in bound.items() if key in takes})
