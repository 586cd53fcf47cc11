"""ONNX with boxes as outputs: decoding and suppression are part of the graph.

The input is ``data`` (N, 3, S, S). Outputs list the faces of all pictures, those of a picture with
the best score first:

- ``boxes`` (M, 4): xyxy as fractions of the input, clipped to it;
- ``scores`` (M,) and ``class_ids`` (M,);
- ``pictures`` (M,): which of the N pictures the face is in.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import helper

from facemask_zoo.converters.formats.onnx import OnnxEmitter, image_input
from facemask_zoo.converters.suppression import anchor_centres
from facemask_zoo.model import Model
from facemask_zoo.ssd.grid import BOX_COORDINATES, AnchoredDetector
from facemask_zoo.ssd.postprocess import IOU

_FLOAT, _INT64 = onnx.TensorProto.FLOAT, onnx.TensorProto.INT64


def write(model: Model, path: Path) -> None:
    """Write the graph; its thresholds are the card's and the zoo's."""
    network = model.card.detector
    builder = OnnxEmitter(model.program)
    builder.emit()
    loc, scores = model.graph.outputs
    for name, value in (("conf", model.card.conf), ("iou", IOU)):
        builder.constant(name, np.array([value], np.float32))
    boxes = _decode(builder, network, loc)
    _select(builder, boxes, scores, network.anchor_count)
    path.write_bytes(builder.finish([image_input(model.graph)], _outputs()))


def _decode(builder: OnnxEmitter, network: AnchoredDetector, loc: str) -> str:
    """Boxes (N, A, 4) as normalised corners, from raw offsets."""
    anchors = anchor_centres(network)
    centre, size = np.split(anchors, 2, axis=1)
    scale = np.asarray(network.variances)
    constants = {
        "anchor_centres": centre,
        "centre_scales": size * scale[:2],
        "size_scales": scale[2:],
        "half_sizes": size / 2,
    }
    for name, values in constants.items():
        builder.constant(name, values.astype(np.float32))
    builder.constant("halves", np.array([2, 2], np.int64))
    builder.nodes.append(helper.make_node("Split", [loc, "halves"], ["moves", "growths"], axis=2))
    builder.node("Mul", ["moves", "centre_scales"], "scaled_moves")
    builder.node("Add", ["scaled_moves", "anchor_centres"], "centres")
    builder.node("Mul", ["growths", "size_scales"], "scaled_growths")
    builder.node("Exp", ["scaled_growths"], "factors")
    builder.node("Mul", ["factors", "half_sizes"], "extents")
    builder.node("Sub", ["centres", "extents"], "low_corners")
    builder.node("Add", ["centres", "extents"], "high_corners")
    return builder.node("Concat", ["low_corners", "high_corners"], "all_boxes", axis=2)


def _select(builder: OnnxEmitter, boxes: str, scores: str, anchor_count: int) -> None:
    """What stays of (N, A, 4) and (N, A, C); suppression looks at each anchor's best class."""
    builder.node("ReduceMax", [scores], "best_scores", axes=[2], keepdims=1)
    builder.node("Transpose", ["best_scores"], "ranked_scores", perm=[0, 2, 1])
    limits = [builder.constant("most", np.array([anchor_count], np.int64)), "iou", "conf"]
    builder.node("NonMaxSuppression", [boxes, "ranked_scores", *limits], "selected")
    builder.constant("first_column", np.array(0, np.int64))
    builder.constant("place_columns", np.array([0, 2], np.int64))
    builder.node("Gather", ["selected", "first_column"], "pictures", axis=1)
    builder.node("Gather", ["selected", "place_columns"], "places", axis=1)
    for name, value in (("zero", 0.0), ("one", 1.0)):
        builder.constant(name, np.array(value, np.float32))
    builder.node("GatherND", [boxes, "places"], "selected_boxes")
    builder.node("Clip", ["selected_boxes", "zero", "one"], "boxes")
    builder.node("GatherND", [scores, "places"], "selected_scores")
    builder.node("ReduceMax", ["selected_scores"], "scores", axes=[1], keepdims=0)
    builder.node("ArgMax", ["selected_scores"], "class_ids", axis=1, keepdims=0)


def _outputs() -> list[onnx.ValueInfoProto]:
    rows = "M"
    return [
        helper.make_tensor_value_info("boxes", _FLOAT, [rows, BOX_COORDINATES]),
        helper.make_tensor_value_info("scores", _FLOAT, [rows]),
        helper.make_tensor_value_info("class_ids", _INT64, [rows]),
        helper.make_tensor_value_info("pictures", _INT64, [rows]),
    ]
