"""The PyTorch module of a graph against the reference, operation by operation."""

from __future__ import annotations

import numpy as np
import pytest
from graphs import NETWORKS, SINGLE, seeded_batch, seeded_program

from facemask_zoo.graph import reference

GRAPHS = {**SINGLE, **NETWORKS}


@pytest.mark.parametrize("name", GRAPHS)
def test_the_module_computes_the_graph(name, need):
    need("pytorch")
    import torch

    from facemask_zoo.backends.torch_graph import GraphModule

    program = seeded_program(GRAPHS[name])
    module = GraphModule(program).eval()
    assert list(module.state_dict()) == list(program.graph.tensor_shapes)
    batch = seeded_batch(program.graph, 3) * 4 - 2
    with torch.inference_mode():
        answers = module(torch.from_numpy(batch))
    expected = reference.forward(program, batch).values()
    for answer, wanted in zip(answers, expected, strict=True):
        np.testing.assert_allclose(answer.numpy(), wanted, atol=2e-5)
