"""Ray: the same rows, also when a worker and a machine of the cluster are killed midway."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import needs
import pytest

from facemask_zoo import EngineError
from facemask_zoo.batch.cluster import RayEngine
from facemask_zoo.batch.run import run

STORE_BYTES = 80 << 20
"""Of each machine; Ray takes no less."""


@pytest.mark.parametrize("address", ["127.0.0.1:1", "ray://127.0.0.1:1", "127.0.0.1:port"])
def test_a_cluster_that_is_not_there_is_told_at_once(address):
    needs.module("ray")
    with pytest.raises(EngineError, match="There is no Ray cluster"):
        RayEngine(address)


@pytest.fixture(scope="module")
def cluster():
    """Three machines, each a process tree of its own."""
    ray = needs.module("ray")
    made = needs.module("ray.cluster_utils").Cluster()
    for _ in range(3):
        made.add_node(num_cpus=1, object_store_memory=STORE_BYTES, include_dashboard=False)
    yield made
    ray.shutdown()
    made.shutdown()


def actors() -> list[int]:
    """Processes in which an actor of ours works, or waits."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            try:
                words = (folder / "cmdline").read_bytes()
            except OSError:
                continue
            if words.startswith(b"ray::MapWorker(MapBatches(_Actor))"):
                found.append(int(folder.name))
    return found


@pytest.fixture
def large(tmp_path_factory, picture, write_tar, request):
    """Shards that take long enough to be disturbed in."""
    folder = tmp_path_factory.mktemp("large")
    for shard in range(request.param):
        members = {f"{number}.jpg": picture(shard + number, 1500) for number in range(4)}
        write_tar(folder / f"shard-{shard:06d}.tar", members)
    return folder


@pytest.mark.parametrize("large", [24, pytest.param(400, marks=pytest.mark.scale)], indirect=True)
def test_a_killed_worker_and_a_killed_machine_cost_nothing(
    large, cluster, here, loading, rows, tmp_path
):
    once, target = tmp_path / "once.parquet", tmp_path / "results.parquet"
    run([large], once, here, loading=loading)
    victim = cluster.worker_nodes.copy().pop()
    killed = []

    def disturb(progress):
        if progress.share < 1 and not killed:
            killed.append(actors()[0])
            os.kill(killed[0], signal.SIGKILL)
        elif 0.2 < progress.share < 1 and len(killed) == 1:
            killed.append(victim)
            cluster.remove_node(victim, allow_graceful=False)

    engine = RayEngine(cluster.address)
    summary = run([large], target, engine, loading=loading, report=disturb)
    assert len(killed) == 2
    assert rows(target) == rows(once)
    assert summary.rows == len(rows(once))
    with pytest.raises(EngineError, match="No machine of the cluster has room"):
        RayEngine(cluster.address, gpus=1).facts(None)
