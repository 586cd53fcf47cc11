"""Units on processes of this machine."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnContext
from typing import Any

from facemask_zoo.batch.job import Job, work
from facemask_zoo.batch.parts import Part
from facemask_zoo.batch.units import Unit
from facemask_zoo.errors import EngineError
from facemask_zoo.orphans import end_with_parent

ATTEMPTS = 3
"""So often a unit is tried whose worker dies."""


class LocalEngine:
    """Processes that hold the model each.

    They are started afresh, not forked: not every framework survives that.

    Args:
        workers: How many; one for each core that this process may use if None.
    """

    def __init__(self, workers: int | None = None) -> None:
        self.workers = workers or _cores()
        self._context = multiprocessing.get_context("spawn")

    def facts(self, job: Job) -> dict[str, Any]:
        """:meth:`Job.facts`, as a worker sees them."""
        with ProcessPoolExecutor(1, self._context, end_with_parent) as pool:
            return pool.submit(job.facts).result()

    def run(self, job: Job, units: Iterator[Unit]) -> Iterator[Part]:
        """Work on units, and yield their parts in the order in which they are done.

        Raises:
            EngineError: A worker cannot load the model, or died several times over one unit.
        """
        again: list[tuple[Unit, int]] = []
        fresh = ((unit, 1) for unit in units)
        workers: list[_Worker] = []
        try:
            while True:
                for worker in workers:
                    if worker.unit is None:
                        worker.give(again.pop() if again else next(fresh, None))
                while len(workers) < self.workers:
                    task = again.pop() if again else next(fresh, None)
                    if task is None:
                        break
                    workers.append(_Worker(self._context, job))
                    workers[-1].give(task)
                busy = [worker for worker in workers if worker.unit is not None]
                if not busy:
                    return
                for worker in _answering(busy):
                    part = worker.answer()
                    if part is not None:
                        yield part
                        continue
                    workers.remove(worker)
                    again.append(_once_more(worker))
        finally:
            for worker in workers:
                worker.stop()


class _Worker:
    """A process, and the unit that it has at the moment."""

    def __init__(self, context: SpawnContext, job: Job) -> None:
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, job), daemon=True)
        self._process.start()
        theirs.close()
        self.unit: Unit | None = None
        self.attempt = 0

    @property
    def connection(self) -> Connection:
        """Where its answers come from; at its end when the process died."""
        return self._connection

    @property
    def exit_code(self) -> int | None:
        """Of a process that died."""
        self._process.join()
        return self._process.exitcode

    def give(self, task: tuple[Unit, int] | None) -> None:
        """Let it do a unit, the so-manieth time, if there is one."""
        if task is None:
            return
        self.unit, self.attempt = task
        with contextlib.suppress(OSError):  # it died: that is seen when its answer is read
            self._connection.send(self.unit)

    def answer(self) -> Part | None:
        """The part of its unit; None if it died.

        Raises:
            EngineError: It failed.
        """
        try:
            part, problem = self._connection.recv()
        except (EOFError, OSError):
            return None
        if problem:
            raise EngineError(f"A worker failed: {problem}")
        self.unit = None
        assert isinstance(part, Part)
        return part

    def stop(self) -> None:
        """End it, whatever it does."""
        self._connection.close()
        self._process.terminate()
        self._process.join()


def _answering(workers: list[_Worker]) -> list[_Worker]:
    ready = wait([worker.connection for worker in workers])
    return [worker for worker in workers if worker.connection in ready]


def _once_more(worker: _Worker) -> tuple[Unit, int]:
    assert worker.unit is not None
    if worker.attempt >= ATTEMPTS:
        first, last = worker.unit.paths[0], worker.unit.paths[-1]
        raise EngineError(
            f"Workers died {ATTEMPTS} times (exit code {worker.exit_code}) over {first} to {last}. "
            "Is there too little memory for so many?"
        )
    return worker.unit, worker.attempt + 1


def _serve(connection: Connection, job: Job) -> None:
    """What a worker process runs."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that started it
    end_with_parent()
    try:
        detector = job.detector()
        for unit in iter(connection.recv, None):
            connection.send((work(detector, unit), ""))
    except EOFError:
        return
    except Exception as error:  # whatever it is, it ends the run and is told to the user
        with contextlib.suppress(OSError):
            connection.send((None, f"{type(error).__name__}: {error}"))


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
