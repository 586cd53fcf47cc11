"""TFLite with boxes as outputs: decoding and suppression are part of the graph.

The input is ``data`` (1, S, S, 3): TFLite's operator for it takes one picture. Outputs, best score
first, of which the first ``count`` rows count:

- ``boxes`` (1, 100, 4): xyxy as fractions of the input, not clipped to it;
- ``class_ids`` (1, 100) and ``scores`` (1, 100);
- ``count`` (1,).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from flatbuffers import flexbuffers

from facemask_zoo.cards import ModelCard
from facemask_zoo.converters.formats.tflite import SUPPRESSION, TFLiteEmitter, card_metadata
from facemask_zoo.converters.suppression import anchor_centres
from facemask_zoo.model import Model
from facemask_zoo.ssd.grid import BOX_COORDINATES
from facemask_zoo.ssd.network import INPUT_NAME
from facemask_zoo.ssd.postprocess import IOU

MAX_FACES = 100


def write(model: Model, path: Path) -> None:
    """Write the graph; its thresholds are the card's and the zoo's."""
    network = model.card.detector
    emitter = TFLiteEmitter(model.program, any_batch=False)
    loc, scores = emitter.emit().values()
    writer = emitter.writer
    # The operator expects y before x throughout; giving it x before y swaps them back.
    anchors = writer.constant("anchors", anchor_centres(network).astype(np.float32))
    shapes = {
        "boxes": (1, MAX_FACES, BOX_COORDINATES),
        "class_ids": (1, MAX_FACES),
        "scores": (1, MAX_FACES),
        "count": (1,),
    }
    outputs = {name: writer.tensor(name, shape, any_batch=False) for name, shape in shapes.items()}
    options = _options(model.card)
    writer.custom_operator(SUPPRESSION, [loc, scores, anchors], list(outputs.values()), options)
    inputs = {INPUT_NAME: emitter.image_tensor}
    path.write_bytes(writer.finish(model.card.name, inputs, outputs, card_metadata(model.program)))


def _options(card: ModelCard) -> bytes:
    builder = flexbuffers.Builder()
    scales = (1 / variance for variance in card.detector.variances)
    with builder.Map():
        for key, scale in zip(("y_scale", "x_scale", "h_scale", "w_scale"), scales, strict=True):
            builder.Float(key, scale)
        builder.Int("num_classes", len(card.classes))
        builder.Int("max_detections", MAX_FACES)
        builder.Int("max_classes_per_detection", 1)
        builder.Float("nms_score_threshold", card.conf)
        builder.Float("nms_iou_threshold", IOU)
        builder.Bool("use_regular_nms", False)
    return bytes(builder.Finish())
