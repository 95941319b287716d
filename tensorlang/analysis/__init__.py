"""The public view of a Func, for tools that look at programs without taking part in making them.

Loop extents and footprints come as expressions over whatever is open in the Func: sizes and knobs. Evaluate many
points at once with `numpy_function`.
"""

from tensorlang.analysis.access_patterns import Access, Pattern, patterns
from tensorlang.analysis.loop_nests import Footprint, LoopInfo, Nest, nests
from tensorlang.analysis.naming import names, renamed
from tensorlang.analysis.sizes import extents, flops, work, working_sets
from tensorlang.arith.lanes import LANE, Lanes
from tensorlang.ir.base import collection_put_off
from tensorlang.ir.dtypes import to_numpy
from tensorlang.ir.evaluate import numpy_function
from tensorlang.ir.nodes import Knob
from tensorlang.ir.serial import from_json, structural_hash, to_json
from tensorlang.ir.walk import free_vars

__all__ = [
    "LANE",
    "Access",
    "Footprint",
    "Knob",
    "Lanes",
    "LoopInfo",
    "Nest",
    "Pattern",
    "collection_put_off",
    "extents",
    "flops",
    "free_vars",
    "from_json",
    "names",
    "nests",
    "numpy_function",
    "patterns",
    "renamed",
    "structural_hash",
    "to_json",
    "to_numpy",
    "work",
    "working_sets",
]
