"""TensorFlow's SavedModel folder, written for TensorFlow Serving and all else that takes one."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

from facemask_zoo.converters.formats.channels_last import file_shape
from facemask_zoo.converters.formats.saved_model_reading import CARD_FILE, EXTRAS, SERVING
from facemask_zoo.converters.formats.tensorflow import graph_bytes, node_name
from facemask_zoo.graph.program import Program
from facemask_zoo.quiet import import_tensorflow, native_stderr_silenced

tf = import_tensorflow()

from tensorflow.core.protobuf import fingerprint_pb2  # noqa: E402


def write(program: Program, path: Path) -> None:
    """Write the signature ``serving_default``: pictures (N, H, W, C) to the outputs by name.

    The card lies beside the graph, in ``assets.extra``.

    Raises:
        UnsupportedOperationError: TensorFlow has no such operation.
    """
    module = tf.Module()
    module.serve = serving_function(program)
    with native_stderr_silenced():
        tf.saved_model.save(module, str(path), signatures={SERVING: module.serve})
    _settle(path / "fingerprint.pb")
    if program.card:
        (path / EXTRAS).mkdir()
        (path / EXTRAS / CARD_FILE).write_text(program.card, encoding="utf-8")


def _settle(path: Path) -> None:
    """Replace the random number of a fingerprint, so that the same model is the same bytes."""
    if not path.is_file():  # older TensorFlow writes none
        return
    fingerprint = fingerprint_pb2.FingerprintDef.FromString(path.read_bytes())
    fingerprint.ClearField("uuid")
    hashes = fingerprint.SerializeToString(deterministic=True).hex()
    fingerprint.uuid = str(uuid.uuid5(uuid.NAMESPACE_OID, hashes).int)
    path.write_bytes(fingerprint.SerializeToString(deterministic=True))


def serving_function(program: Program) -> Any:
    """A ``tf.function`` of inputs (N, H, W, C) that gives the outputs by name."""
    definition = tf.compat.v1.GraphDef.FromString(graph_bytes(program))
    name = node_name(program.graph.input)
    image = tf.TensorSpec((None, *file_shape(program.graph.input_shape)), tf.float32, name)

    def serve(pictures: Any) -> dict[str, Any]:
        names = program.graph.outputs
        outputs = tf.graph_util.import_graph_def(
            definition,
            {f"{name}:0": pictures},
            return_elements=[f"{node_name(output)}:0" for output in names],
            name="",
        )
        return dict(zip(names, outputs, strict=True))

    return tf.function(serve, [image], autograph=False)
