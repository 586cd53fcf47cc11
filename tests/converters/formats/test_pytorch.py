"""PyTorch's files hold tensors, graph and card, or tensors alone; torch computes the same."""

from __future__ import annotations

import dataclasses
import io
import json
import zipfile

import numpy as np
import pytest
from graphs import NETWORKS, SINGLE, seeded_batch, seeded_program
from seeded import FULL

from facemask_zoo import WeightsError
from facemask_zoo.converters.formats import pytorch as format_
from facemask_zoo.converters.formats.importing import LooseTensors
from facemask_zoo.graph import reference
from facemask_zoo.graph.program import Program

GRAPHS = {**SINGLE, **NETWORKS, "ssd": FULL.graph}


@pytest.mark.parametrize("name", GRAPHS)
def test_a_program_comes_back_bit_for_bit(name, tmp_path):
    program = dataclasses.replace(seeded_program(GRAPHS[name]), card='{"name": "x"}')
    path = tmp_path / "file.pt"
    format_.write(program, path)
    found = format_.read(path)
    assert isinstance(found, Program)
    assert (found.graph, found.digest, found.card) == (program.graph, program.digest, program.card)


@pytest.mark.parametrize("name", GRAPHS)
def test_torch_loads_and_computes_it(name, need, tmp_path):
    need("pytorch")
    import torch

    from facemask_zoo.backends.torch_graph import GraphModule

    program = seeded_program(GRAPHS[name])
    path = tmp_path / "file.pt"
    format_.write(program, path)
    blank = Program(program.graph, {n: np.zeros_like(v) for n, v in program.tensors.items()})
    module = GraphModule(blank).eval()
    module.load_state_dict(torch.load(path, weights_only=True))
    batch = seeded_batch(program.graph, 2) * 4 - 2
    with torch.inference_mode():
        answers = module(torch.from_numpy(batch))
    for answer, expected in zip(answers, reference.forward(program, batch).values(), strict=True):
        assert tuple(answer.shape) == expected.shape
        np.testing.assert_allclose(answer, expected, atol=1e-4 if name == "ssd" else 2e-5)


def test_a_state_dict_of_torchs_own_is_loose(need, tmp_path):
    need("pytorch")
    import torch

    module = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
    module.append(torch.nn.Linear(5, 2))
    torch.save(module.state_dict(), tmp_path / "own.pt")
    found = format_.read(tmp_path / "own.pt")
    assert isinstance(found, LooseTensors)
    assert found.card == ""
    wanted = {name: t for name, t in module.state_dict().items() if t.is_floating_point()}
    assert found.tensors.keys() == wanted.keys()
    for name, values in found.tensors.items():
        np.testing.assert_array_equal(values, wanted[name])


@pytest.mark.parametrize("norm", ["weight", "bias", "running_mean"])
def test_half_a_normalisation_is_refused(norm, need, tmp_path):
    need("pytorch")
    import torch

    state = {"a.weight": torch.ones(4, 3, 1, 1)}
    state |= {f"a_bn.{name}": each for name, each in torch.nn.BatchNorm2d(4).state_dict().items()}
    del state[f"a_bn.{norm}"]
    torch.save(state, tmp_path / "own.pt")
    with pytest.raises(WeightsError, match="a_bn"):
        format_.read(tmp_path / "own.pt")


@pytest.mark.parametrize("graph", [b"{}", b"[1]", b"\xff", json.dumps({"input": "a"}).encode()])
def test_a_graph_that_is_none_is_refused(graph, tmp_path):
    path = tmp_path / "file.pt"
    format_.write(seeded_program(SINGLE["relu"]), path)
    content = io.BytesIO(path.read_bytes())
    with zipfile.ZipFile(content) as source, zipfile.ZipFile(path, "w") as copy:
        for member in source.infolist():
            own = not member.filename.endswith(format_._GRAPH)
            copy.writestr(member.filename, source.read(member) if own else graph)
    with pytest.raises(WeightsError):
        format_.read(path)


def test_tensors_that_do_not_fit_their_graph_are_refused(tmp_path):
    program = seeded_program(SINGLE["linear"])
    path = tmp_path / "file.pt"
    format_.write(program, path)
    other = format_._pickled([("result.weight", (4, 15)), ("result.bias", (5,))])
    content = io.BytesIO(path.read_bytes())
    with zipfile.ZipFile(content) as source, zipfile.ZipFile(path, "w") as copy:
        for member in source.infolist():
            own = not member.filename.endswith("data.pkl")
            copy.writestr(member.filename, source.read(member) if own else other)
    with pytest.raises(WeightsError, match=r"result\.weight"):
        format_.read(path)
