"""What a log must survive, at full size: `python -m tests.tools.log_torture`, which takes minutes.

It prints one JSON line for each part. The parts are functions of how many; tests/autotune/test_log_torture.py runs
them small.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import tempfile
import time
import warnings
from pathlib import Path

from autotune.database import Database, read, write
from autotune.record import MAX_LINE_BYTES, Record, to_line

STEP = {"op": "split", "args": {"loop": "C.i", "factors": [None, 4], "tail": "guard"}, "out": ["C.i.0", "C.i.1"]}


def record(key: str, number: int, filler: int = 0) -> Record:
    return Record(
        key=key,
        task=f"task of {key}",
        target={"kind": "llvm"},
        sketch="tile",
        knobs={"n": number},
        trace={"version": 1, "knobs": {}, "steps": [STEP]},
        names=[key, "x" * filler],
        status="OK",
        seconds=1e-3 * (1 + number),
    )


def kill_writers(path: Path, kills: int, seed: int = 0) -> dict[str, int]:
    """Kill a writer at a random moment, again and again: what it had acknowledged must be there, and in order."""
    rng = random.Random(seed)
    acknowledged = []
    for round_ in range(kills):
        out, into = os.pipe()
        child = os.fork()
        if child == 0:
            number = 0
            while True:  # records of up to half a megabyte, so that some kills hit the middle of a write
                write(path, [record(f"round{round_}", number, filler=(round_ * 7919 + number * 104729) % (1 << 19))])
                os.write(into, b".")
                number += 1
        os.close(into)
        os.read(out, 1)
        time.sleep(rng.random() * 0.01)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        acknowledged.append(1 + sum(len(data) for data in iter(lambda out=out: os.read(out, 1 << 16), b"")))
        os.close(out)
    found: dict[str, list[int]] = {}
    with warnings.catch_warnings(record=True):
        warnings.simplefilter("always")
        for r in read(path):
            assert r.names[0] == r.key
            found.setdefault(r.key, []).append(r.knobs["n"])
    lines = sum(1 for line in path.read_bytes().split(b"\n") if line)
    for round_, count in enumerate(acknowledged):
        numbers = found[f"round{round_}"]
        assert numbers == list(range(len(numbers))), round_
        assert count <= len(numbers) <= count + 1, (round_, count, len(numbers))
    return {"kills": kills, "acknowledged": sum(acknowledged), "torn": lines - sum(map(len, found.values()))}


def write_together(path: Path, writers: int, records: int) -> dict[str, int]:
    """Several writers at once: every record is there, under its own task, in its writer's order."""
    children = []
    for writer in range(writers):
        children.append(os.fork())
        if children[-1] == 0:
            for number in range(records):
                write(path, [record(f"writer{writer}", number, filler=number % 300)])
            os._exit(0)
    for child in children:
        assert os.waitpid(child, 0)[1] == 0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        database = Database(path)
    for writer in range(writers):
        found = database.records(f"writer{writer}")
        assert [r.knobs["n"] for r in found] == list(range(records))
        assert all(r.names[0] == r.key and r.task == f"task of {r.key}" for r in found)
    assert len(database.records()) == writers * records
    return {"writers": writers, "records": writers * records}


def cut_everywhere(path: Path) -> dict[str, int]:
    """Cut the log at every byte of its last two records: what is whole is read, what is torn warned of."""
    records = [record("a", n) for n in range(4)]
    write(path, records)
    whole = path.read_bytes()
    ends = [n + 1 for n, byte in enumerate(whole) if byte == ord("\n")]
    for cut in range(ends[1], len(whole) + 1):
        path.write_bytes(whole[:cut])
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            found = list(read(path))
        count = sum(end <= cut + 1 for end in ends)  # all but the newline is all of a record
        assert found == records[:count], cut
        torn = cut not in ends and cut + 1 not in ends
        assert len(caught) == torn and all("torn" in str(w.message) for w in caught), cut
        write(path, [record("b", 0)])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert list(read(path))[count:][0].key == "b", cut
    return {"cuts": len(whole) + 1 - ends[1]}


def hostile_lines(mark: Path) -> list[bytes]:
    """Lines of a log that nobody should believe; code in them would make the file `mark`."""
    code = f"__import__('pathlib').Path({str(mark)!r}).touch()"
    pickle = f"cos\nsystem\n(S'touch {mark}'\ntR."
    whole = json.loads(to_line(record("hostile", 1)))

    def changed(**fields: object) -> bytes:
        return json.dumps({**whole, **fields}).encode()

    def step(**fields: object) -> bytes:
        return changed(trace={"version": 1, "knobs": {}, "steps": [{**STEP, **fields}]})

    return [
        b"[" * 100_000,
        b'{"version": 1, "trace": ' + b'{"a": ' * 5000 + b"1" + b"}" * 5001,
        changed(trace={"steps": [], "deep": json.loads("[" * 60 + "]" * 60)}),
        b"9" * 5000,
        changed(seconds=10**400),
        changed(seconds=float("nan")),
        changed(seconds=float("inf")),
        changed(seconds=-1e-3),
        changed(seconds=0),
        to_line(record("hostile", 1)).replace(b"0.002", b"1e999"),
        changed(machine={"peak_gflops": float("nan")}),
        changed(flops=1 << 80),
        changed(knobs={"n": 1 << 80}),
        changed(knobs={"n": "1"}),
        changed(knobs=["n"]),
        changed(seconds=True),
        changed(seconds="1e-3"),
        changed(status="FINE"),
        changed(status=["OK"]),
        changed(seconds=None),
        changed(version=2),
        changed(version="1"),
        changed(key=None),
        changed(names=[1]),
        changed(trace=code),
        changed(trace={"steps": code}),
        changed(trace={"steps": [code]}),
        step(op="__init__"),
        step(op="func"),
        step(op="exec"),
        step(op=code),
        step(op=["split"]),
        step(args=[code]),
        step(out=[1]),
        step(op="no_such_primitive"),
        code.encode(),
        *pickle.encode().split(b"\n"),
        b"\x80\x04\x95\x00",
        b"\xff\xfe{}",
        b"{" + b" " * (MAX_LINE_BYTES + 5) + b"}",
        changed(reason="x" * (MAX_LINE_BYTES + 5)),
        b"null",
        b"{}",
    ]


def read_hostile(path: Path, mark: Path, times: int = 1) -> dict[str, int]:
    """Each hostile line is refused for itself: the records between them are read, and nothing is evaluated."""
    lines = hostile_lines(mark) * times
    good = to_line(record("good", 0))
    path.write_bytes(good + b"".join(line + b"\n" + good for line in lines))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = list(read(path))
    assert len(found) == len(lines) + 1
    assert {r.key for r in found} == {"good"}
    assert str(caught[-1].message).endswith(f"{len(lines) - len(caught) + 1} more lines skipped")
    assert not mark.exists()
    return {"hostile": len(lines)}


def main() -> None:
    parts = {
        "kill -9": lambda folder: kill_writers(folder / "killed.jsonl", 1000),
        "8 writers": lambda folder: write_together(folder / "together.jsonl", 8, 10_000),
        "cuts": lambda folder: cut_everywhere(folder / "cut.jsonl"),
        "hostile": lambda folder: read_hostile(folder / "hostile.jsonl", folder / "mark", 100),
    }
    for name, part in parts.items():
        with tempfile.TemporaryDirectory() as folder:
            begin = time.monotonic()
            print(json.dumps({"part": name, **part(Path(folder)), "seconds": round(time.monotonic() - begin, 1)}))
            sys.stdout.flush()


if __name__ == "__main__":
    main()
