"""Runs files of the formats that no backend loads, to prove them: each by what it is for."""

from __future__ import annotations

import dataclasses
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facemask_zoo.backends.base import to_channels_last
from facemask_zoo.errors import WeightsError
from facemask_zoo.model import Model
from facemask_zoo.ssd.network import INPUT_NAME
from facemask_zoo.ssd.postprocess import Found

Batch = NDArray[np.float32]
Outputs = dict[str, NDArray[np.floating[Any]]]

_TFJS_SCRIPT = Path(__file__).parent / "tfjs_predict.cjs"
_TFJS_SECONDS = 300


@dataclasses.dataclass(frozen=True)
class Runner:
    """A way to run the files of one format.

    Attributes:
        name: What runs them.
        find: Its version; None if it is not installed.
        missing: What to say if it is not.
        run: From file, model and (N, ...) batch to what each sample gives: its outputs by name; of
            formats that give boxes, its faces with boxes as fractions of it.
    """

    name: str
    find: Callable[[], str | None]
    missing: str
    run: Callable[[Path, Model, Batch], Sequence[Any]]


def run_tfjs(path: Path, model: Model, batch: Batch) -> list[Outputs]:
    """Run a TensorFlow.js layers model in node.

    Raises:
        WeightsError: TensorFlow.js does not accept the model.
    """
    with tempfile.TemporaryDirectory() as folder:
        images = to_channels_last(batch)
        images.tofile(Path(folder) / "in.bin")
        words = [str(path), folder, *map(str, images.shape)]
        result = subprocess.run(
            [_node(), _TFJS_SCRIPT, *words], capture_output=True, timeout=_TFJS_SECONDS, check=False
        )
        if result.returncode:
            raise WeightsError(f"TensorFlow.js does not accept {path}: {result.stderr.decode()}")
        outputs = {
            name: np.fromfile(Path(folder) / f"{index}.out", np.float32).reshape(-1, *shape)
            for index, (name, shape) in enumerate(model.graph.output_shapes.items())
        }
        return [{name: each[i] for name, each in outputs.items()} for i in range(len(batch))]


def run_coreml(path: Path, model: Model, batch: Batch) -> list[Outputs]:
    """Run a Core ML program by Apple's own runtime, on the processor and in full precision.

    Raises:
        WeightsError: Core ML does not accept it.
    """
    import coremltools

    try:
        on_processor = coremltools.ComputeUnit.CPU_ONLY
        network = coremltools.models.MLModel(str(path), compute_units=on_processor)
        answers = [network.predict({model.graph.input: sample[None]}) for sample in batch]
    except Exception as error:  # coremltools hands on what Apple's runtime says in many ways
        raise WeightsError(f"Core ML does not accept {path}: {error}") from error
    return [{name: answer[name][0] for name in model.graph.outputs} for answer in answers]


def run_onnx_nms(path: Path, model: Model, batch: Batch) -> list[Found]:
    """Run an ONNX file that gives boxes.

    Raises:
        WeightsError: onnxruntime does not accept it.
    """
    import onnxruntime

    try:
        session = onnxruntime.InferenceSession(path)
        boxes, scores, class_ids, pictures = session.run(
            ["boxes", "scores", "class_ids", "pictures"], {INPUT_NAME: batch}
        )
    except Exception as error:  # onnxruntime's exceptions share no base class of their own
        raise WeightsError(f"onnxruntime does not accept {path}: {error}") from error
    chosen = (pictures == index for index in range(len(batch)))
    return [(boxes[rows], scores[rows], class_ids[rows]) for rows in chosen]


def run_tflite_nms(path: Path, model: Model, batch: Batch) -> list[Found]:
    """Run a TFLite file that gives boxes.

    Raises:
        WeightsError: TFLite does not accept it.
    """
    from ai_edge_litert.interpreter import Interpreter

    try:
        run = Interpreter(model_content=path.read_bytes()).get_signature_runner()
        answers = [run(**{INPUT_NAME: picture.transpose(1, 2, 0)[None]}) for picture in batch]
    except (ValueError, RuntimeError) as error:
        raise WeightsError(f"TFLite does not accept {path}: {error}") from error
    found = []
    for answer in answers:
        rows = slice(int(answer["count"][0]))
        boxes = np.clip(answer["boxes"][0, rows], 0, 1)
        found.append((boxes, answer["scores"][0, rows], answer["class_ids"][0, rows]))
    return found


def _node() -> str:
    return shutil.which("node") or "node"


def _tfjs_version() -> str | None:
    """Version of the package, where node and NODE_PATH lead to one."""
    if not shutil.which("node") or not os.environ.get("NODE_PATH"):
        return None
    program = "console.log(require('@tensorflow/tfjs/package.json').version)"
    result = subprocess.run([_node(), "-e", program], capture_output=True, text=True, check=False)
    return None if result.returncode else result.stdout.strip()


def _version_of(module: str, distribution: str) -> str | None:
    return metadata.version(distribution) if importlib.util.find_spec(module) else None


RUNNERS: dict[str, Runner] = {
    "tfjs": Runner(
        "TensorFlow.js",
        _tfjs_version,
        "node with @tensorflow/tfjs in NODE_PATH is not there",
        run_tfjs,
    ),
    "coreml": Runner(
        "Core ML",
        lambda: _version_of("coremltools", "coremltools") if sys.platform == "darwin" else None,
        "Core ML runs on Apple's systems alone",
        run_coreml,
    ),
    "onnx_nms": Runner(
        "onnx",
        lambda: _version_of("onnxruntime", "onnxruntime"),
        "onnxruntime is not installed",
        run_onnx_nms,
    ),
    "tflite_nms": Runner(
        "tflite",
        lambda: _version_of("ai_edge_litert", "ai-edge-litert"),
        "ai-edge-litert is not installed",
        run_tflite_nms,
    ),
}
"""By name of the format."""
