"""autotune: finds fast schedules for tensorlang programs by measuring. `import autotune`.

    r = autotune.tune(C, target="llvm", trials=200, log="tuned.jsonl")   # r.best, r.kernel, r.history
    f = autotune.compile(C, target="llvm", log="tuned.jsonl")            # the best known kernel
    s = autotune.suggest(C, target="llvm")                               # a schedule without any trial

Names are imported when they are first used: a worker process, which imports this package too, starts at once.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from autotune.measure.outcome import Limits, Status, WorkerError
    from autotune.record import Record
    from autotune.sketches import RULES, Part, sketches_for
    from autotune.space import Sketch
    from autotune.task import Task, WorkloadError
    from autotune.tuner import Result, compile, tune
    from autotune.workload import UserCodeError
    from autotune.zero_trial import suggest

__all__ = [
    "RULES",
    "Limits",
    "Part",
    "Record",
    "Result",
    "Sketch",
    "Status",
    "Task",
    "UserCodeError",
    "WorkerError",
    "WorkloadError",
    "compile",
    "sketches_for",
    "suggest",
    "tune",
]

_HOMES = {
    "autotune.measure.outcome": ("Limits", "Status", "WorkerError"),
    "autotune.record": ("Record",),
    "autotune.sketches": ("RULES", "Part", "sketches_for"),
    "autotune.space": ("Sketch",),
    "autotune.task": ("Task", "WorkloadError"),
    "autotune.workload": ("UserCodeError",),
    "autotune.tuner": ("Result", "compile", "tune"),
    "autotune.zero_trial": ("suggest",),
}


def __getattr__(name: str) -> Any:
    for home, names in _HOMES.items():
        if name in names:
            return getattr(importlib.import_module(home), name)
    raise AttributeError(f"module 'autotune' has no attribute {name!r}")
