"""TensorFlow's SavedModel folder, for TensorFlow Serving and everything else that takes one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from facemask_zoo.converters.formats import CARD_KEY
from facemask_zoo.converters.tensorflow import graph_bytes
from facemask_zoo.model import Model
from facemask_zoo.quiet import import_tensorflow, native_stderr_silenced
from facemask_zoo.ssd.network import INPUT_NAME, LOC_NAME, SCORES_NAME

tf = import_tensorflow()

# SavedModel's own place for files that TensorFlow shall leave alone.
_EXTRAS = "assets.extra"


def write(model: Model, path: Path) -> None:
    """Write the signature ``serving_default``: ``data`` (N, S, S, 3) to the two named outputs.

    The card lies beside the graph, in ``assets.extra``.
    """
    module = tf.Module()
    module.serve = serving_function(model)
    with native_stderr_silenced():
        tf.saved_model.save(module, str(path), signatures={"serving_default": module.serve})
    (path / _EXTRAS).mkdir()
    (path / _EXTRAS / f"{CARD_KEY}.json").write_text(model.card.portable().to_json())


def serving_function(model: Model) -> Any:
    """A ``tf.function`` of pictures (N, S, S, 3) that gives the two outputs by name."""
    definition = tf.compat.v1.GraphDef.FromString(graph_bytes(model))
    size = model.card.network.input_size
    image = tf.TensorSpec((None, size, size, 3), tf.float32, INPUT_NAME)

    def serve(pictures: Any) -> dict[str, Any]:
        names = (LOC_NAME, SCORES_NAME)
        outputs = tf.graph_util.import_graph_def(
            definition,
            {f"{INPUT_NAME}:0": pictures},
            return_elements=[f"{name}:0" for name in names],
            name="",
        )
        return dict(zip(names, outputs, strict=True))

    return tf.function(serve, [image], autograph=False)
