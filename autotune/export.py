"""The best schedule as a Python script that needs no log."""

from __future__ import annotations

from autotune.progress import clean, seconds
from autotune.record import Record, processor
from autotune.task import Schedule, Target, Task
from autotune.workload import source

_SCRIPT = '''\
"""{title}

Written by `autotune export`. Run it to time the kernel, or import `kernel` from it.
"""

{imports}

import numpy as np

import tensorlang as tl{more_imports}

TARGET = {target}


def schedule():
    """The schedule that was found."""
    s = tl.Schedule({computed}, target=TARGET)
{steps}
    return s


def kernel():
    """The compiled function: call it with arrays."""
    return tl.build(schedule())


if __name__ == "__main__":
    f = kernel()
    outputs = {{p.name for p in f.outputs}}
    shapes = {{p.name: tuple(int(repr(n)) for n in p.shape) for p in f.params if p.name not in outputs}}
    types = {{p.name: tl.dtypes.to_numpy(p.dtype) for p in f.params}}
    rng = np.random.default_rng(0)
    arrays = {{name: rng.uniform(-4, 4, shape).astype(types[name]) for name, shape in shapes.items()}}
    timing = f.time(**arrays)
    print(f.signature)
    print(f"{{1e3 * timing.median:.4g}} ms, {{{flops} / timing.median / 1e9:.1f}} GFLOP/s")
'''


def script(task: Task, workload: str, record: Record, schedule: Schedule) -> str:
    """Python source that builds the kernel of `record`, whose schedule for the task is `schedule`.

    workload: what the task is called on the command line, from which the script takes the program.
    """
    imports, call = source(workload)
    renamed = record.names not in ([], task.names)
    computed = f"renamed(tl.create_func({call}), {record.names!r})" if renamed else call
    title = (
        f"{workload}: {seconds(record.seconds or 0.0)}, {record.gflops:.1f} GFLOP/s on "
        f"{processor(record)}, {record.when}."
    )
    return _SCRIPT.format(
        title=clean(title).replace("\\", "/").replace('"', "'"),
        imports=imports,
        more_imports="\nfrom tensorlang.analysis import renamed" if renamed else "",
        target=_target(task.target),
        computed=computed,
        steps="".join(f"    {line}\n" for line in schedule.trace.as_python().splitlines()).rstrip("\n"),
        flops=task.flops,
    )


def _target(target: Target) -> str:
    """How to write the target: by its kind alone if that is this machine."""
    if target == Target(target.kind):
        return f"tl.Target({target.kind!r})"
    return f"tl.{target!r}"
