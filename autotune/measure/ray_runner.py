"""Measuring on the machines of a Ray cluster (the extra `ray`).

A *station* is an actor that has the resources which it asked for and measures one candidate at a time with a
LocalRunner of its own, so that a candidate that crashes or hangs costs a process and not the actor. A station that is
lost (its machine went away, its process was killed) costs the candidate that it had; another one takes its place as
soon as the cluster has room. All machines must have this package installed, in the same version.
"""

from __future__ import annotations

import dataclasses
import logging
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from autotune import machine
from autotune.measure.outcome import LIMITS, Limits, Outcome, Status, WorkerError
from autotune.measure.runner import Cores, Job, LocalRunner, Waiting, available

_SLACK_SECONDS = 30.0  # for the network and for Ray itself, on top of what a candidate may take
_MOST_STATIONS = 1000


class Station:
    """The part that runs as an actor."""

    def where(self) -> tuple[str, list[int]]:
        """(the machine, the CPUs that there are)."""
        import ray

        return ray.get_runtime_context().get_node_id(), available()

    def start(self, setup: dict[str, Any], limits: Limits, entry: str, cpus: list[int]) -> str:
        """Get ready; returns what is wrong, or nothing."""
        try:
            self._runner = LocalRunner(setup, limits, entry, Cores(tuple(cpus), ()))
            self._runner.start()
            self._facts = machine.facts()
        except WorkerError as error:
            return str(error) or "unknown"
        return ""

    def measure(self, job: Job) -> Outcome:
        ((_, outcome),) = self._runner.measure([job])
        return dataclasses.replace(outcome, machine=self._facts)


@dataclass
class _Place:
    """A station as the tuner sees it: `waits` is what it was asked last; node and slot: where it is, once it is."""

    actor: Any
    waits: Any
    node: str = ""
    slot: int = -1
    ready: bool = False
    job: int | None = None


class RayRunner:
    """Measures candidates on a Ray cluster.

    setup, limits, entry: as for LocalRunner; address: of the cluster, "auto" for the one of this machine; resources:
    what each station asks for by name, such as {"CPU": 4, "GPU": 1, "board": 1}, by default the cores of the task's
    target; workers: how many stations, by default as many as the cluster has room for.
    Raises WorkerError if there is no cluster, or none that has these resources.
    """

    def __init__(
        self,
        setup: dict[str, Any],
        limits: Limits = LIMITS,
        address: str = "auto",
        resources: dict[str, float] | None = None,
        workers: int | None = None,
        entry: str = "autotune.measure.candidate:entry",
    ):
        self._ray = _connect(address)
        cores = setup["task"]["target"]["cores"] if "task" in setup else 1
        self._resources = {"CPU": float(cores), **(resources or {})}
        self._setup, self._limits, self._entry = setup, limits, entry
        self._actor = self._ray.remote(Station).options(
            num_cpus=self._resources["CPU"],
            num_gpus=self._resources.get("GPU", 0),
            resources={name: n for name, n in self._resources.items() if name not in ("CPU", "GPU")},
            max_restarts=0,
        )
        self._places = [self._open() for _ in range(workers or self._room())]

    def measure(self, jobs: Sequence[Job]) -> Iterator[tuple[int, Outcome]]:
        waiting = Waiting(jobs)
        while waiting or any(place.job is not None for place in self._places):
            for place in self._places:
                if place.ready and place.job is None and waiting:
                    place.job = waiting.take()
                    place.waits = place.actor.measure.remote(jobs[place.job])
            for place in self._next():
                end = self._advance(place)
                if end is not None:
                    yield end

    def close(self) -> None:
        """Give the stations back."""
        for place in self._places:
            self._ray.kill(place.actor)
        self._places = []

    # ------------------------------------------------------------------------------------------ stations
    def _open(self) -> _Place:
        actor = self._actor.remote()
        return _Place(actor, actor.where.remote())

    def _next(self) -> list[_Place]:
        """The places whose station has answered or was lost. Raises WorkerError if nothing at all goes on."""
        by_answer = {place.waits: place for place in self._places if place.waits is not None}
        limits = self._limits
        timeout = limits.start_seconds + limits.build_seconds + limits.run_seconds + _SLACK_SECONDS
        done, _ = self._ray.wait(list(by_answer), timeout=timeout)
        if not done and not any(place.ready for place in self._places):
            raise WorkerError(f"the Ray cluster has no room for a worker with {self._resources}")
        if not done:  # whoever is measuring has been silent for too long: it is as good as lost
            return [place for place in self._places if place.job is not None]
        return [by_answer[answer] for answer in done]

    def _advance(self, place: _Place) -> tuple[int, Outcome] | None:
        """Take the answer of a station; the end of its job, if it had one."""
        job, place.job = place.job, None
        answer, place.waits = place.waits, None
        try:
            value = self._ray.get(answer, timeout=0)
        except self._ray.exceptions.RayError as error:
            self._replace(place)
            reason = f"the worker was lost: {str(error).strip().splitlines()[0]}"
            return None if job is None else (job, Outcome(Status.CRASH, reason))
        if job is not None:
            return job, value
        if not place.node:
            place.node, cpus = value
            place.slot = self._free_slot(place)
            place.waits = place.actor.start.remote(self._setup, self._limits, self._entry, self._share(place, cpus))
        elif value:
            raise WorkerError(value)
        else:
            place.ready = True
        return None

    def _replace(self, place: _Place) -> None:
        self._ray.kill(place.actor)
        self._places[self._places.index(place)] = self._open()

    def _free_slot(self, place: _Place) -> int:
        taken = {p.slot for p in self._places if p.node == place.node and p is not place}
        return next(n for n in range(len(taken) + 1) if n not in taken)

    def _share(self, place: _Place, cpus: list[int]) -> list[int]:
        """The CPUs of a machine for one of the stations on it, so that they do not disturb each other."""
        count = max(1, math.floor(self._resources["CPU"]))
        return [cpus[(place.slot * count + n) % len(cpus)] for n in range(min(count, len(cpus)))]

    def _room(self) -> int:
        """How many stations the cluster has room for."""
        there = self._ray.cluster_resources()
        fits = min(there.get(name, 0) // n for name, n in self._resources.items() if n)
        if fits < 1:
            known = ", ".join(f"{name}={n:g}" for name, n in sorted(there.items()) if ":" not in name)
            raise WorkerError(f"no machine of the Ray cluster has {self._resources}; all together have {known}")
        return int(min(fits, _MOST_STATIONS))


def _connect(address: str) -> Any:
    """Ray, connected to the cluster."""
    try:
        import ray
    except ImportError:
        raise WorkerError("measuring on Ray needs the package ray: pip install 'tensorlang[ray]'") from None
    if not ray.is_initialized():
        try:
            ray.init(address=address, log_to_driver=False, logging_level=logging.WARNING)
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise WorkerError(f"no Ray cluster at {address!r} (start one: ray start --head): {error}") from error
    return ray
