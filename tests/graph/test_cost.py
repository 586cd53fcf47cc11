"""What is too large to be run in double precision is refused, and the rest takes little memory."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from graphs import NETWORKS
from seeded import FULL

from facemask_zoo import WeightsError
from facemask_zoo.graph import operations as ops
from facemask_zoo.graph import reference
from facemask_zoo.graph.builder import GraphBuilder
from facemask_zoo.graph.cost import check_cost, numbers_at_once
from facemask_zoo.graph.graph import MAX_PARAMETERS, Graph
from facemask_zoo.graph.program import Program

_CASES = {
    "input": ((3, 6000, 6000), [(ops.Relu, {})]),
    "outputs": ((1, 64, 64), [(ops.Upsample, {"scales": (64, 64)})]),
    "one value": (
        (1, 128, 128),
        [(ops.Upsample, {"scales": (33, 32)}), (ops.GlobalAveragePool, {})],
    ),
    "taps": ((1, 512, 512), [(ops.Convolution, {"kernel": (256, 256), "filters": 1})]),
    "multiply-adds": (
        (64, 128, 128),
        [(ops.Convolution, {"kernel": (29, 29), "filters": 64, "padding": (14,) * 4})],
    ),
}


def chain(shape, steps):
    builder = GraphBuilder("x", shape)
    value = "x"
    for number, (kind, settings) in enumerate(steps):
        value = builder.add(kind, f"step{number}", value, **settings)
    return builder.finish(value)


@pytest.mark.parametrize("name", _CASES)
def test_what_is_too_large_is_refused_by_the_name_of_the_operation(name):
    kind = _CASES[name][1][0][0].__name__
    with pytest.raises(WeightsError, match=rf"{kind} 'step0'.* {name}"):
        check_cost(chain(*_CASES[name]))


def test_many_values_that_are_needed_at_once_are_refused():
    builder = GraphBuilder("x", (16, 256, 256))
    parts = [builder.add(ops.Relu, f"part{n}", "x") for n in range(60)]
    pooled = [builder.add(ops.GlobalAveragePool, f"pool{n}", x) for n, x in enumerate(parts)]
    end = builder.add(ops.Concatenate, "y", *pooled, axis=1)
    with pytest.raises(WeightsError, match=r"Relu 'part47'.* numbers at once"):
        check_cost(builder.finish(end))


@pytest.mark.parametrize("graph", [*NETWORKS.values(), FULL.graph], ids=[*NETWORKS, "ssd"])
def test_networks_are_not_refused(graph):
    check_cost(graph)


def test_vgg_at_300_pixels_is_not_refused():
    """The trunk of the first SSD: 27 billion multiply-adds, more than most detectors take."""
    steps = []
    for filters, count in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
        setting = {"kernel": (3, 3), "filters": filters, "padding": (1, 1, 1, 1)}
        steps += [(ops.Convolution, setting), (ops.Relu, {})] * count
        steps += [(ops.MaxPool, {"kernel": (2, 2), "strides": (2, 2)})]
    check_cost(chain((3, 300, 300), steps))


def test_values_that_end_do_not_count():
    graph = chain((16, 256, 256), [(ops.Relu, {})] * 100)
    assert numbers_at_once(graph) == 2 * 16 * 256 * 256


def test_any_graph_has_a_limit_on_work():
    setting = {"kernel": (31, 31), "filters": 64, "padding": (15,) * 4}
    with pytest.raises(WeightsError, match=r"Convolution 'step.*multiply-adds"):
        chain((64, 512, 512), [(ops.Convolution, setting)])


def test_any_graph_has_a_limit_on_weights():
    with pytest.raises(WeightsError, match=f"Linear 'step1'.*{MAX_PARAMETERS} weights"):
        chain((4000,), [(ops.Linear, {"features": 3000}), (ops.Linear, {"features": 4000})])
    builder = GraphBuilder("x", (4096,))
    with pytest.raises(WeightsError, match="weights"):
        for number in range(3):
            builder.add(ops.Linear, f"step{number}", "x", features=4096)


def test_a_value_is_refused_as_soon_as_it_is_too_large():
    builder = GraphBuilder("x", (1, 1024, 1024))
    builder.add(ops.Upsample, "a", "x", scales=(8, 8))
    with pytest.raises(WeightsError, match="'b' has the shape"):
        builder.add(ops.Upsample, "b", "a", scales=(8, 8))


def inputs_at_once(graph: Graph) -> float:
    """The most memory that running a graph without tensors takes, in times of its input."""
    batch = np.zeros((1, *graph.input_shape))
    tracemalloc.start()
    reference.forward(Program(graph, {}), batch)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return peak / batch.nbytes


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        (ops.MaxPool, {"kernel": (9, 9), "padding": (4,) * 4}),
        (ops.AveragePool, {"kernel": (9, 9), "padding": (4,) * 4}),
        (ops.Relu, {}),
    ],
)
def test_the_reference_takes_a_few_values_at_once(kind, settings):
    graph = chain((4, 128, 128), [(kind, settings)] * 8)
    assert inputs_at_once(graph) < 5


def test_a_slice_does_not_keep_what_it_is_of():
    builder = GraphBuilder("x", (4, 128, 128))
    parts = []
    for number in range(20):
        whole = builder.add(ops.Relu, f"whole{number}", "x")
        parts.append(builder.add(ops.Slice, f"part{number}", whole, axis=2, start=0, stop=1))
    graph = builder.finish(builder.add(ops.Concatenate, "y", *parts, axis=1))
    assert inputs_at_once(graph) < 5
