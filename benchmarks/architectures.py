"""What networks cost before they are trained: ONNX on one thread, against zoo-260's time.

Weights are drawn from a seed. Networks take turns, and the processor's time of the thread counts,
not the clock's, so that other work on the machine changes the ratios little.

Usage: python -m facemask_zoo.benchmarks.architectures zoo-s@256x320 zoo-m@480x640 my.toml@640
"""

from __future__ import annotations

import argparse
import sys
import time

import numpy as np
import onnxruntime

from facemask_zoo.architectures.pyramid import Pyramid
from facemask_zoo.benchmarks import environment, markdown
from facemask_zoo.cards import load_card
from facemask_zoo.converters.formats import onnx
from facemask_zoo.errors import InvalidArgumentError
from facemask_zoo.graph.graph import Graph
from facemask_zoo.graph.program import Program
from facemask_zoo.training.config import find_config, read_config

REFERENCE = "zoo-260"


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("networks", nargs="+", help="CONFIG@HEIGHTxWIDTH or CONFIG@SIDE")
    parser.add_argument("--rounds", type=int, default=60)
    args = parser.parse_args()
    graphs = {REFERENCE: load_card(REFERENCE).network.graph}
    graphs |= {name: _graph(name) for name in args.networks}
    times = measure(graphs, args.rounds)
    rows = [
        (
            name,
            f"{graph.parameter_count / 1e3:.0f}",
            f"{graph.multiply_adds / 1e6:.0f}",
            f"{np.median(times[name]) / np.median(times[REFERENCE]):.2f}",
        )
        for name, graph in graphs.items()
    ]
    header = ("Network", "Thousand parameters", "Million multiply-adds", f"Time of {REFERENCE}")
    sys.stdout.write(f"{markdown.table(header, rows)}\n\n{environment.sentence()}\n")
    return 0


def measure(graphs: dict[str, Graph], rounds: int) -> dict[str, list[float]]:
    """Seconds of the processor for each run of each network."""
    sessions = {name: _session(graph) for name, graph in graphs.items()}
    random = np.random.default_rng(1)
    inputs = {n: random.random((1, *g.input_shape), dtype=np.float32) for n, g in graphs.items()}
    times: dict[str, list[float]] = {name: [] for name in graphs}
    for number in range(rounds + 1):
        for name, session in sessions.items():
            begin = time.thread_time()
            session.run(None, {graphs[name].input: inputs[name]})
            if number:
                times[name].append(time.thread_time() - begin)
    return times


def _graph(text: str) -> Graph:
    name, _, size = text.partition("@")
    network = read_config(find_config(name)).network
    if not size:
        return network.graph
    if not isinstance(network, Pyramid):
        raise InvalidArgumentError(f"{name} has one input size alone.")
    sides = [int(side) for side in size.split("x")]
    return network.with_input_size(sides[0] if len(sides) == 1 else (sides[0], sides[1])).graph


def _session(graph: Graph) -> onnxruntime.InferenceSession:
    random = np.random.default_rng(0)
    tensors = {
        name: (random.standard_normal(shape) / np.sqrt(np.prod(shape[1:]))).astype(np.float32)
        for name, shape in graph.tensor_shapes.items()
    }
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(onnx.graph_bytes(Program(graph, tensors)), options)


if __name__ == "__main__":
    sys.exit(main())
