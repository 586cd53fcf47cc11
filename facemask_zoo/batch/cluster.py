"""Units on a Ray cluster: Ray Data hands them to actors that hold the model."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import logging
import os
import socket
from collections.abc import Iterator, Mapping
from typing import Any

from facemask_zoo.batch.job import Job, work
from facemask_zoo.batch.parts import Part
from facemask_zoo.batch.units import Unit
from facemask_zoo.errors import EngineError
from facemask_zoo.extras import require

UNITS_PER_WAVE = 4096
"""Units that Ray knows of at once: the memory that they take is bounded."""

_CONNECT_SECONDS = 10
_UNIT = "unit"


class RayEngine:
    """Actors on the machines of a cluster. They read the sources, under the same paths.

    Args:
        address: Of the cluster's head, ``"host:port"``, ``"ray://host:port"`` or ``"auto"``; None
            starts Ray on this machine alone.
        workers: How many actors at most; as many as the cluster has room for if None.
        cpus: Cores that each takes.
        gpus: GPUs that each takes; a fraction shares one.
    """

    def __init__(
        self,
        address: str | None = None,
        workers: int | None = None,
        cpus: float = 1,
        gpus: float = 0,
    ) -> None:
        self._workers = workers
        self._needs = {"num_cpus": cpus, "num_gpus": gpus}
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is reported to anyone
        self._ray = require("ray", "ray")
        self._data = require("ray.data", "ray")
        self._connect(address)

    def facts(self, job: Job) -> dict[str, Any]:
        """:meth:`Job.facts`, as a worker sees them.

        Raises:
            EngineError: The cluster has no room for a worker, or cannot run one.
        """
        self._check_room()
        with self._errors():
            task = self._ray.remote(**self._needs)(_facts)
            facts: dict[str, Any] = self._ray.get(task.remote(job))
            return facts

    def run(self, job: Job, units: Iterator[Unit]) -> Iterator[Part]:
        """Work on units, and yield their parts in the order in which they are done.

        Ray starts actors that died again, on other machines where need be, and does their units
        once more: a part may come twice.

        Raises:
            EngineError: The cluster went away or has no room, or a worker cannot load the model.
        """
        while wave := [unit.to_json() for unit in itertools.islice(units, UNITS_PER_WAVE)]:
            with self._errors():
                yield from self._wave(job, wave)

    def _wave(self, job: Job, lines: list[str]) -> Iterator[Part]:
        most = self._workers or self._room()
        dataset = self._data.from_items(
            [{_UNIT: line} for line in lines], override_num_blocks=len(lines)
        ).map_batches(
            _Actor,
            fn_constructor_args=(job,),
            batch_size=1,
            compute=self._data.ActorPoolStrategy(min_size=1, max_size=min(most, len(lines))),
            **self._needs,
        )
        for row in dataset.iter_rows():
            yield Part(**row)

    def _connect(self, address: str | None) -> None:
        if self._ray.is_initialized():
            return
        _check_reachable(address)
        local: dict[str, Any] = {"include_dashboard": False} if address is None else {}
        if address is None and self._workers:
            local["num_cpus"] = max(1, round(self._workers * self._needs["num_cpus"]))
        with self._errors():
            self._ray.init(address, log_to_driver=False, logging_level="ERROR", **local)
        context = self._data.DataContext.get_current()
        context.enable_progress_bars = False
        context.print_on_execution_start = False
        logging.getLogger("ray.data").setLevel(logging.WARNING)

    def _check_room(self) -> None:
        if self._room() < 1:
            needs = ", ".join(f"{name} {value:g}" for name, value in self._needs.items())
            raise EngineError(f"No machine of the cluster has room for a worker ({needs}).")

    def _room(self) -> int:
        """Number of workers for which there is room on the machines that are alive."""
        names = {"CPU": self._needs["num_cpus"], "GPU": self._needs["num_gpus"]}
        nodes = [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
        return sum(
            int(min(node.get(name, 0) / need for name, need in names.items() if need))
            for node in nodes
        )

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (self._ray.exceptions.RayError, ConnectionError, TimeoutError) as error:
            raise EngineError(f"Ray: {_last_line(error)}") from error


class _Actor:
    """Holds the model."""

    def __init__(self, job: Job) -> None:
        self._detector = job.detector()

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, list[Any]]:
        parts = [work(self._detector, Unit.from_json(str(line))) for line in batch[_UNIT]]
        names = [field.name for field in dataclasses.fields(Part)]
        return {name: [getattr(part, name) for part in parts] for name in names}


def _facts(job: Job) -> dict[str, Any]:
    return job.facts()


def _check_reachable(address: str | None) -> None:
    """Ray itself goes on trying for minutes."""
    host, colon, port = (address or "").removeprefix("ray://").rpartition(":")
    if not colon:
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), _CONNECT_SECONDS).close()
    except (OSError, ValueError, OverflowError) as error:
        raise EngineError(f"There is no Ray cluster at {address!r}: {error}.") from error


def _last_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
