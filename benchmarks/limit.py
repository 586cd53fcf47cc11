"""How many multiply-adds a second the processor makes in large matrix products, on onnxruntime.

No convolution is faster for long: a network's multiply-adds over this rate are a limit to its time.

Usage: python -m facemask_zoo.benchmarks.limit [--threads 2] [--repeats 30]
"""

from __future__ import annotations

import argparse
import sys

import numpy as np
import onnxruntime
from onnx import TensorProto, helper

from facemask_zoo.benchmarks.processes import write_answer
from facemask_zoo.benchmarks.timing import times_of

_SIDE = 1024
_WARM_UP = 3
_OPSET, _IR_VERSION = 17, 8
_KINDS = {
    "fp32": ("MatMul", TensorProto.FLOAT, TensorProto.FLOAT, np.float32),
    "int8": ("MatMulInteger", TensorProto.UINT8, TensorProto.INT32, np.uint8),
}


def main() -> int:
    """Print the rates as one line of JSON."""
    parser = argparse.ArgumentParser(description="Measure the rates of matrix products.")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=30)
    args = parser.parse_args()
    write_answer(rates(args.threads, args.repeats))
    return 0


def rates(threads: int, repeats: int) -> dict[str, float]:
    """Multiply-adds per second, by type: those of the fastest product of all repetitions.

    Args:
        threads: CPU threads.
        repeats: Products of each type.
    """
    random = np.random.default_rng(0)
    found = {}
    for name, (operator, kind, result, dtype) in _KINDS.items():
        session = _session(operator, kind, result, threads)
        square = (random.random((_SIDE, _SIDE)) * 100).astype(dtype)
        feed = {"a": square, "b": square}
        run = session.run
        times = times_of(lambda run=run, feed=feed: run(None, feed), _WARM_UP + repeats)  # type: ignore[misc]
        found[name] = _SIDE**3 / (min(times[_WARM_UP:]) / 1000)
    return found


def _session(operator: str, kind: int, result: int, threads: int) -> onnxruntime.InferenceSession:
    side = [_SIDE, _SIDE]
    graph = helper.make_graph(
        [helper.make_node(operator, ["a", "b"], ["c"])],
        "product",
        [helper.make_tensor_value_info(name, kind, side) for name in "ab"],
        [helper.make_tensor_value_info("c", result, side)],
    )
    opset = [helper.make_opsetid("", _OPSET)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=_IR_VERSION)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(model.SerializeToString(), options)


if __name__ == "__main__":
    sys.exit(main())
