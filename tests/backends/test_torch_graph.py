"""The PyTorch module of a graph against the reference, operation by operation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import process
import pytest
from graphs import NETWORKS, SINGLE, seeded_batch, seeded_program, single

from facemask_zoo.graph import operations as ops
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


STRIDED_POINTS = {
    f"{filters} filters, side {side}, padding {padding}": single(
        ops.Convolution,
        (3, side, side),
        filters=filters,
        kernel=(1, 1),
        strides=(2, 2),
        padding=(padding, 0, 0, padding),
    )
    for filters, side, padding in ((16, 64, 0), (8, 33, 0), (5, 32, 1))
}


def compute_strided_points() -> None:
    """Forward, compared with the reference, and backward, in the layout of the backend."""
    import torch

    from facemask_zoo.backends.torch_graph import GraphModule

    for name, graph in STRIDED_POINTS.items():
        program = seeded_program(graph)
        module = GraphModule(program).to(memory_format=torch.channels_last)
        batch = seeded_batch(graph, 4)
        pictures = torch.from_numpy(batch).to(memory_format=torch.channels_last)
        (answer,) = module(pictures)
        (expected,) = reference.forward(program, batch).values()
        np.testing.assert_allclose(answer.detach().numpy(), expected, atol=2e-5, err_msg=name)
        answer.sum().backward()
        with torch.inference_mode():
            module.eval()(pictures)


def test_a_strided_convolution_of_one_cell_does_not_end_the_process(need):
    """PyTorch 2.13 was killed by it; in a process of its own, since nothing can catch that."""
    need("pytorch")
    folders = [str(Path(__file__).parents[1]), str(Path(__file__).parent)]
    program = f"import sys; sys.path[:0] = {folders}; import test_torch_graph as test; "
    result = process.run("-c", f"{program}test.compute_strided_points()")
    assert (result.returncode, result.stderr) == (0, "")
