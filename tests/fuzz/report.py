"""What many cases came to: counts of steps by primitive and reason, kept as lines of JSON that add up."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tests.fuzz.refusals import HARMLESS
from tests.fuzz.runner import Result


class Report:
    """Counts of what was tried, and one failure of each kind."""

    def __init__(self) -> None:
        self.cases = 0
        self.accepted: Counter[str] = Counter()
        self.refused: Counter[tuple[str, str]] = Counter()  # by primitive and reason
        self.hintless: Counter[tuple[str, str]] = Counter()
        self.unchecked: Counter[tuple[str, str, str]] = Counter()  # by primitive, reason and verdict
        self.kinds: Counter[str] = Counter()
        self.failures: dict[str, Result] = {}

    def add(self, result: Result) -> None:
        self.cases += 1
        for t in result.tried:
            if not t.reason:
                self.accepted[t.op] += 1
                continue
            self.refused[t.op, t.reason] += 1
            self.hintless[t.op, t.reason] += not t.hint
            if t.unchecked:
                self.unchecked[t.op, t.reason, t.unchecked] += 1
        if result.kind:
            self.kinds[result.kind] += 1
            self.failures.setdefault(result.kind, result)

    def table(self, reasons: bool = False) -> str:
        """One line a primitive: uses accepted and refused, refusals tried unchecked and harmless among them."""
        ops = sorted({*self.accepted, *(op for op, _ in self.refused)})
        lines = [f"{'':44}{'accepted':>9}{'refused':>9}{'no hint':>9}{'unchecked':>11}{'harmless':>10}"]
        for op in ops:
            lines.append(self._line(op, [k for k in self.refused if k[0] == op], str(self.accepted[op])))
            if reasons:
                lines += [self._line(f"  {k[1]}", [k], "") for k in sorted(self.refused) if k[0] == op]
        return "\n".join(lines)

    def _line(self, title: str, keys: list[tuple[str, str]], accepted: str) -> str:
        tried = sum(n for (op, reason, _), n in self.unchecked.items() if (op, reason) in keys)
        harmless = sum(self.unchecked[op, reason, HARMLESS] for op, reason in keys)
        share = f"{harmless / tried:.0%}" if tried else "-"
        counts = [sum(self.refused[k] for k in keys), sum(self.hintless[k] for k in keys)]
        return f"{title:44}{accepted:>9}{counts[0]:>9}{counts[1]:>9}{tried:>11}{harmless:>5} {share:>4}"

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values: what `plus` takes. Of failures, their kinds, numbers and first seeds."""
        return {
            "cases": self.cases,
            "failures": [[kind, n, self.failures[kind].seed] for kind, n in sorted(self.kinds.items())],
            "accepted": dict(sorted(self.accepted.items())),
            "refused": [[*key, n] for key, n in sorted(self.refused.items())],
            "hintless": [[*key, n] for key, n in sorted(self.hintless.items()) if n],
            "unchecked": [[*key, n] for key, n in sorted(self.unchecked.items())],
        }

    def plus(self, line: dict[str, Any]) -> None:
        """Add the counts of another report, given as `to_json` wrote it."""
        self.cases += line["cases"]
        self.accepted.update(line["accepted"])
        for name in ("refused", "hintless", "unchecked"):
            getattr(self, name).update({tuple(key): n for *key, n in line[name]})
        for kind, n, seed in line["failures"]:
            self.kinds[kind] += n
            self.failures.setdefault(kind, Result(seed, kind))


def append(path: Path, commit: str, seed: int, seconds: float, report: Report) -> None:
    """Add a line for the cases of seeds `seed`, `seed` + 1, ... on that commit."""
    line = {"commit": commit, "seed": seed, "seconds": round(seconds, 1), **report.to_json()}
    with path.open("a") as file:
        file.write(json.dumps(line, separators=(",", ":")) + "\n")


def summed(lines: Iterable[str]) -> tuple[Report, list[dict[str, Any]]]:
    """The sum of the runs in `lines`, and the runs. Raises ValueError if two runs have a seed in common."""
    report, runs = Report(), [json.loads(line) for line in lines]
    ends = 0
    for run in sorted(runs, key=lambda run: run["seed"]):
        if run["seed"] < ends:
            raise ValueError(f"seed {run['seed']} was run twice")
        ends = run["seed"] + run["cases"]
        report.plus(run)
    return report, runs
