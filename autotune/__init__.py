"""autotune: finds fast schedules for tensorlang programs by measuring. `import autotune`.

>>> r = autotune.tune(C, target="llvm", trials=200, log="tuned.jsonl")   # r.best, r.kernel, r.history
>>> f = autotune.compile(C, target="llvm", log="tuned.jsonl")            # the best known kernel
>>> s = autotune.suggest(C, target="llvm")                               # a schedule without any trial
"""

from autotune.database import Record
from autotune.measure.outcome import Limits, Status, WorkerError
from autotune.space import Sketch
from autotune.task import Task, UserCodeError, WorkloadError
from autotune.tuner import Result, compile, suggest, tune

__all__ = [
    "Limits",
    "Record",
    "Result",
    "Sketch",
    "Status",
    "Task",
    "UserCodeError",
    "WorkerError",
    "WorkloadError",
    "compile",
    "suggest",
    "tune",
]
