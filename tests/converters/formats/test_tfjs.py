"""TensorFlow.js carries what its layers have, and computes the reference's numbers in node."""

from __future__ import annotations

import subprocess

import numpy as np
import pytest
from graphs import NETWORKS, SINGLE, a_third, seeded_batch, seeded_program
from places import ROOT
from seeded import FULL

from facemask_zoo.converters.formats import tfjs as format_
from facemask_zoo.converters.runners import RUNNERS
from facemask_zoo.errors import UnsupportedOperationError
from facemask_zoo.graph import reference
from facemask_zoo.graph.matching import renamed_like


def underscored(networks):
    """Names as PyTorch's exporter leaves them: ``/features/0/Conv_output_0``, ``400``."""
    graph = next(iter(networks.values()))
    return graph.renamed({name: f"_{name}" for name in graph.shapes})


SCRIPT = ROOT / "converters" / "tfjs_predict.cjs"
REFUSED = {"grouped": "groups", "bilinear": "bilinear"}
"""Graphs that TensorFlow.js's layers cannot compute, and what is said of them."""
GRAPHS = {**SINGLE, **NETWORKS, "ssd": FULL.graph, "underscored": underscored(NETWORKS)}
CARRIED = [name for name in GRAPHS if name not in REFUSED]


@pytest.mark.parametrize("name", CARRIED)
def test_a_graph_comes_back(name, tmp_path):
    program = seeded_program(GRAPHS[name])
    format_.write(program, tmp_path / "model.json")
    found = renamed_like(format_.read(tmp_path / "model.json"), program.graph)
    assert found is not None
    assert found.digest == program.digest


def test_names_come_back_as_well(tmp_path):
    graph = GRAPHS["underscored"]
    format_.write(seeded_program(graph), tmp_path / "model.json")
    found = format_.read(tmp_path / "model.json").graph
    assert (found.input, found.outputs) == (graph.input, graph.outputs)


@pytest.mark.parametrize("name", REFUSED)
def test_what_it_cannot_carry_is_refused_by_name(name, tmp_path):
    with pytest.raises(UnsupportedOperationError, match=REFUSED[name]):
        format_.write(seeded_program(GRAPHS[name]), tmp_path / "model.json")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", a_third(CARRIED))
def test_node_computes_the_references_numbers(name, tmp_path):
    if RUNNERS["tfjs"].find() is None:
        pytest.skip(RUNNERS["tfjs"].missing)
    program = seeded_program(GRAPHS[name])
    format_.write(program, tmp_path / "model.json")
    batch = seeded_batch(program.graph, 2) * 4 - 2
    stored = np.ascontiguousarray(batch.transpose(0, 2, 3, 1) if batch.ndim == 4 else batch)
    stored.tofile(tmp_path / "in.bin")
    words = [tmp_path / "model.json", tmp_path, *map(str, stored.shape)]
    subprocess.run(["node", SCRIPT, *words], check=True, timeout=120, capture_output=True)
    for index, expected in enumerate(reference.forward(program, batch).values()):
        answer = np.fromfile(tmp_path / f"{index}.out", np.float32)
        tolerance = 1e-4 if name == "ssd" else 2e-5
        np.testing.assert_allclose(answer.reshape(expected.shape), expected, atol=tolerance)
    again = renamed_like(format_.read(tmp_path / "again.json"), program.graph)
    assert again is not None
    assert again.digest == program.digest
