"""Arguments that mean nothing: every primitive refuses them in each place, and changes nothing."""

import inspect

import pytest

import tensorlang as tl
from tensorlang.schedule.schedule import Schedule
from tests.schedule.pipelines import staged

NONSENSE = [
    *(None, 3, -1, 1.5, True, float("nan"), 2**70, "", "x", "C", "C.i", b"x", object()),
    *([], ["C.i"], [None, None], [[1]], {}, {"C": 0}, (1, 2)),
    *(lambda: 0, lambda *i: i, tl.var("q"), tl.cast(1.0, "float32"), tl.placeholder((3,), name="Z")),
]
SENSIBLE = {
    "loop": "C.i",
    "loop_or_block": "C",
    "block_or_loop": "C",
    "block": "C",
    "buffer": "A.shared",
    "loops": ["C.i", "C.j"],
    "factors": [None, 2],
    "scope": "local",
    "at": [1],
    "after": "A.shared",
    "condition": True,
    "axis": 0,
    "factor": 4,
    "index_map": lambda i, j: (j, i),
    "padding": [None, 2, 2],
    "intrinsic": "fma_row16",
    "stages": {"A.shared": 0, "B.shared": 0, "C": 1},
}
PRIMITIVES = sorted(name for name, step in vars(Schedule).items() if hasattr(step, "signature") or name == "tile")


@pytest.mark.parametrize("name", PRIMITIVES)
def test_refuses_nonsense(name):
    step, start = getattr(Schedule, name), staged(8, 8, 8)
    parameters = [p for p in inspect.signature(step).parameters.values() if p.name != "s"]
    for place in parameters:
        for value in NONSENSE:
            s = start.copy()
            listed, named = [], {}
            for p in parameters:
                own = SENSIBLE.get(p.name, "C" if p.default is p.empty else p.default)
                given = value if p is place else own
                if p.kind is p.VAR_POSITIONAL:
                    listed += given if isinstance(given, list | tuple) else [given]
                else:
                    named[p.name] = given
            try:
                step(s, *listed, **named)
            except tl.ScheduleError as error:
                assert error.message and error.primitive
                assert s.func is start.func and s.trace is start.trace
